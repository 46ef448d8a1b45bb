"""The report in headless Chromium: curves, tables and runs answer; nothing is cut at any width.

Needs Chromium (``apt-get install chromium``) and playwright (``pip install -e .[browser]``).
"""

import csv
import itertools
import shutil

import pytest

from benchmark.analysis import statistics
from benchmark.training.study import Study
from tests.analysis import full_study

playwright = pytest.importorskip("playwright.sync_api", reason="pip install -e .[browser]")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")

STUDY = Study(
    version=2,
    name="made_up",
    backend="simulator",
    protocol="unified",
    seeds=[0, 1, 2],
    maps=["3s5z_vs_3s6z", "MMM2", "zerg_5_vs_5"],
    algorithms=["r3dm", "qmix", "acorm"],
    set={"budget": 50_000},
)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The report of a made-up study."""
    folder = full_study.make(STUDY, tmp_path_factory.mktemp("results"), replications=50)
    return full_study.write_report(STUDY, folder)


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as running:
        launched = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture
def opened(browser, report):
    """Opens the report in a window; whatever the page complains of fails the test."""
    complaints, contexts = [], []

    def open_page(**window):
        contexts.append(browser.new_context(**window))
        page = contexts[-1].new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: complaints.append(request.url))
        page.goto(report.as_uri())
        page.wait_for_selector("html[data-ready]")
        return page

    yield open_page
    for context in contexts:
        context.close()
    own = [text for text in complaints if text != report.as_uri() and not text.startswith("data:")]
    assert own == []


def group(page):
    """The plots of the SMAC maps with their controls."""
    return page.locator(".explorer").first


def test_curves_answer_to_pointer_and_keyboard(opened, report):
    page = opened()
    plots = group(page).locator("svg[role=slider]")
    assert plots.count() == 2
    final = statistics.read(report.parent / "statistics")["final"]
    rows = final.query("map == 'MMM2' and phase == 'training' and metric == 'win_rate'")
    plot = group(page).locator("[data-map=MMM2] svg[role=slider]")
    for mean in rows["mean"]:
        assert f"{mean:.2f}" in plot.get_attribute("aria-valuetext")
    plot.hover()
    readout = group(page).locator("[data-map=MMM2] .readout")
    assert readout.is_visible()
    assert "n = 3" in readout.inner_text()
    plot.focus()
    page.keyboard.press("Home")
    assert plot.get_attribute("aria-valuenow") == "0"
    page.keyboard.press("ArrowRight")
    assert plot.get_attribute("aria-valuenow") == "10000"
    page.keyboard.press("Escape")
    assert not readout.is_visible()


def test_methods_seeds_metric_and_smoothing_can_be_chosen(opened):
    page = opened()
    plot = group(page).locator("[data-map=MMM2]")
    assert plot.locator(".line").count() == 3
    group(page).get_by_label("QMIX").uncheck()
    assert plot.locator(".line").count() == 2
    group(page).get_by_label("every seed").check()
    assert plot.locator(".seed").count() == 2 * 3
    before = plot.locator(".line").first.get_attribute("d")
    group(page).get_by_label("Smoothing").select_option("5")
    assert plot.locator(".line").first.get_attribute("d") != before
    group(page).get_by_label("Metric").select_option("return")
    assert "test return" in plot.inner_text()
    group(page).get_by_label("95 % interval").uncheck()
    assert plot.locator(".band").count() == 0
    group(page).get_by_role("button", name="all or none").click()
    assert plot.locator(".line").count() == 3


def test_shown_runs_can_be_saved(opened):
    page = opened()
    with page.expect_download() as saved:
        group(page).get_by_role("button", name="Shown runs as CSV").click()
    rows = list(csv.DictReader(saved.value.path().open()))
    assert len(rows) == 2 * 3 * 3 * 6  # maps, methods, seeds, evaluations
    assert {row["map"] for row in rows} == {"3s5z_vs_3s6z", "MMM2"}
    assert all(0 <= float(row["win_rate"]) <= 1 for row in rows)


def test_tables_sort_and_filter(opened):
    page = opened()
    table = page.locator("#runs")
    head = table.get_by_role("button", name="Win rate")
    for order, sign in (("ascending", 1), ("descending", -1)):
        head.click()
        assert table.locator(f"th[aria-sort={order}]").count() == 1
        values = [
            float(text) for text in table.locator("tbody tr td:nth-child(5)").all_inner_texts()
        ]
        assert values == sorted(values, key=lambda value: sign * value)
    page.locator("label.filter input").last.fill("acorm mmm2")
    assert table.locator("tbody tr:not([hidden])").count() == 3
    assert page.locator("label.filter output").last.inner_text() == "3 of 27 rows"


def test_a_run_shows_its_curve_settings_and_log(opened):
    page = opened()
    button = page.get_by_role("button", name="ACORM on MMM2, seed 2")
    button.focus()
    page.keyboard.press("Enter")
    assert button.get_attribute("aria-expanded") == "true"
    shown = page.locator("#runs .run")
    assert shown.locator("svg[role=slider]").count() == 2
    assert "contrastive_interval" in shown.inner_text()
    assert "step 50000 win_rate" in shown.locator("pre").inner_text()
    assert shown.get_by_role("link", name="run.json").get_attribute("href") == (
        "runs/simulator/MMM2/acorm/default/2/run.json"
    )
    page.keyboard.press("Enter")
    assert shown.count() == 0


@pytest.mark.parametrize("width", [400, 1280])
def test_nothing_is_wider_than_the_window(opened, width):
    page = opened(viewport={"width": width, "height": 900})
    page.locator("[data-run]").first.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    right = """[...document.querySelectorAll('svg, figure, p, h2, .inside')].map(
        e => e.getBoundingClientRect().right)"""
    assert max(page.evaluate(right)) <= width


def test_dark_scheme_is_dark_and_prints_on_white(opened):
    page = opened(color_scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(ground) == "rgb(20, 24, 28)"
    page.emulate_media(media="print")
    assert page.evaluate(ground) == "rgb(255, 255, 255)"


def test_printed_pages_cut_nothing(opened):
    page = opened(viewport={"width": 688, "height": 1000})  # 182 mm, the width of a page's text
    page.emulate_media(media="print")
    cut = """[...document.querySelectorAll('.scroll')].filter(e => e.checkVisibility() &&
        e.scrollWidth > e.clientWidth + 1).map(e => e.textContent.slice(0, 80))"""
    assert page.evaluate(cut) == []
    assert page.pdf(prefer_css_page_size=True)[:5] == b"%PDF-"


def test_every_picture_and_control_has_a_name(opened):
    page = opened()
    name = "(e.alt || e.ariaLabel || e.labels?.[0]?.textContent || e.textContent).trim()"
    controls = "[...document.querySelectorAll('img, button, input, select, svg[role]')]"
    nameless = f"{controls}.filter(e => !{name}).length"
    assert page.evaluate(nameless) == 0
    headings = page.locator("h1, h2, h3").evaluate_all("all => all.map(e => +e.tagName[1])")
    assert all(after - before <= 1 for before, after in itertools.pairwise(headings))
