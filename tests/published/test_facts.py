"""Facts distilled from releases, our runs compared with them, and the documents made from them."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from benchmark import commands, files
from benchmark.analysis import plots, statistics
from benchmark.analysis.figures import FORMATS
from benchmark.analysis.scores import Method
from benchmark.analysis.statistics import select
from benchmark.errors import BenchmarkError
from benchmark.published import (
    audit,
    claims,
    compare,
    facts,
    paper_plots,
    release,
    replot,
    report,
    sources,
)
from benchmark.published.claims import Difference
from benchmark.published.release import Cell
from benchmark.training.evaluations import write_evaluations
from tests.analysis import synthetic
from tests.analysis.pdf import assert_fonts_are_embedded
from tests.published import releases
from tests.published.releases import END

ROOT = Path(__file__).parent.parent.parent
RAW = Path(os.environ.get("R3DM_PUBLISHED", ROOT.parent / "shared" / "published"))
FIGURES = [
    {"name": "figure_1", "title": "Figure 1", "maps": ["corridor", "MMM2"]},
    {"name": "figure_2", "title": "Figure 2", "metric": "return", "maps": ["corridor"]},
    {
        "name": "figure_3",
        "title": "Figure 3",
        "maps": ["corridor"],
        "panels": {"speed": "how slow", "main": "all"},
    },
]


@pytest.fixture(scope="module")
def audited():
    """A release with an ablation, one training curve, and a group."""
    curves = releases.clean(seeds=3)
    training = releases.run("corridor", "cia", 0)
    noise = np.random.default_rng(0).uniform(0.2, 0.8, len(training.value)) / 32
    training.value[:] = np.clip(training.value + noise, 0, 0.99)
    acorm = [releases.run("corridor", "acorm", seed) for seed in range(3)]
    slow = [replace(releases.run(variant="slow", seed=seed), panel="speed") for seed in range(3)]
    again = [
        replace(curve, panel="speed", file=f"again/{curve.file}")
        for curve in curves
        if curve.cell == Cell("corridor", "qmix", "default", "win_rate")
    ]
    figures = [sources.PaperFigure(**curve) for curve in FIGURES]
    every = [*curves, training, releases.group(acorm), *slow, *again]
    return audit.audit(releases.release(every, figures=figures))


@pytest.fixture(scope="module")
def folder(audited, tmp_path_factory) -> Path:
    """Its facts on disk."""
    tables = facts.distil([audited], claims.load(claims.PAPER))
    folder = tmp_path_factory.mktemp("facts")
    statistics.write(tables, folder, facts.DECIMALS)
    files.write_json(facts.about([audited], {"claims": "A picture."}), folder / "sources.json")
    return folder


def test_facts_say_how_many_runs_stand_behind_each_number(folder):
    tables, about = facts.read(folder)
    final = tables["final"].set_index(["data", "map", "algorithm", "variant", "metric"])
    row = final.loc[("cleaned", "corridor", "qmix", "default", "win_rate")]
    assert (row["n"], row["at"], row["identified"]) == (3, END, True)
    assert row["low"] < row["mean"] < row["high"]
    group = final.loc[("cleaned", "corridor", "acorm", "default", "win_rate")]
    assert (group["n"], group["identified"]) == (3, False)
    assert group["sd"] <= group["sd_widest"]
    assert "run identity unknown" in group["flags"]
    assert ("cleaned", "corridor", "cia", "default", "win_rate") not in final.index
    assert (
        "not_test" in final.loc[("as released", "corridor", "cia", "default", "win_rate")]["flags"]
    )
    drawn = final.loc[("as drawn", "corridor", "qmix", "default", "win_rate")]
    assert drawn["low"] < drawn["mean"] < drawn["high"]
    assert (about["sources"][0]["episodes"], about["sources"][0]["curves"]) == (32, 32)


def test_scores_are_those_behind_the_means(folder):
    tables, _ = facts.read(folder)
    cell = {"map": "MMM2", "algorithm": "r3dm", "metric": "win_rate"}
    scores, final = (select(tables[name], data="cleaned", **cell) for name in ("scores", "final"))
    assert scores["run"].tolist() == ["seed 0", "seed 1", "seed 2"]
    assert scores["score"].mean() == pytest.approx(final["mean"].item(), abs=1e-4)


def test_curves_are_thinned(folder):
    tables, _ = facts.read(folder)
    curves = select(tables["curves"], map="MMM2", algorithm="r3dm", metric="win_rate")
    for data in ("cleaned", "as drawn"):
        part = select(curves, data=data)
        assert part["step"].tolist() == list(range(100_000, END + 1, 100_000))
    assert select(curves, data="cleaned")["mean"].is_monotonic_increasing


@pytest.fixture
def copied(folder, tmp_path) -> Path:
    """A copy of the facts, to be damaged."""
    return Path(shutil.copytree(folder, tmp_path / "copied"))


def test_a_missing_or_old_fact_is_one_line(copied, tmp_path):
    with pytest.raises(BenchmarkError, match=r"final\.csv"):
        facts.read(tmp_path)
    (copied / "curves.csv").write_text("a,b\n1,2\n")
    with pytest.raises(BenchmarkError, match=r"curves\.csv does not have the columns"):
        facts.read(copied)


def test_the_hash_follows_the_content(folder, copied):
    assert facts.content_hash(copied) == facts.content_hash(folder)
    (copied / "final.csv").write_text("changed")
    assert facts.content_hash(copied) != facts.content_hash(folder)


def test_figures_are_drawn_twice_side_by_side(audited):
    figures = dict(replot.draw(audited))
    assert list(figures) == ["figure_1", "figure_2", "figure_3"]
    first = figures["figure_1"]
    titles = [axes.get_title() for axes in first.axes]
    assert titles == [
        f"{m}, {how}" for m in ("corridor", "MMM2") for how in ("as published", "cleaned")
    ]
    published, cleaned = first.axes[:2]
    assert len(published.get_lines()) == 4  # r3dm, qmix, acorm, cia
    assert len(cleaned.get_lines()) == 3
    assert any("CIA" in text.get_text() for text in cleaned.texts)
    assert {len(axes.get_lines()) for axes in figures["figure_3"].axes} >= {2}
    for name, figure in figures.items():
        footer = figure.texts[-1].get_text().replace("\n", " ")
        assert "Made-up release" in footer, name
        assert "StarCraft II" in footer, name
        box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
        assert -0.05 < box.x0 < box.x1 < width + 0.05, name
        assert -0.05 < box.y0 < box.y1 < height + 0.05, name


def test_a_drawn_curve_is_the_notebooks_and_a_clean_one_the_mean(audited):
    plots.style()
    axes = dict(replot.draw(audited))["figure_1"].axes
    orange = next(line for line in axes[3].get_lines() if line.get_color() == "#D55E00")
    runs = audited.release.cells[Cell("MMM2", "r3dm", "default", "win_rate")]
    last = np.mean([curve.between(END - 100_000, END).value.mean() for curve in runs])
    assert orange.get_ydata()[-1] == pytest.approx(last)
    drawn = next(line for line in axes[2].get_lines() if line.get_color() == "#D55E00")
    assert drawn.get_ydata() == pytest.approx(paper_plots.draw(runs, END)["mean"].to_numpy())


def test_seven_variants_of_a_method_are_told_apart():
    variants = [Method("r3dm", f"without_{k}") for k in range(7)]
    styles = replot._styles(variants)
    assert len({(style.colour, style.marker) for style in styles.values()}) == 7


def test_a_release_without_figures_cannot_be_replotted():
    with pytest.raises(BenchmarkError, match="names no figures"):
        list(replot.draw(audit.audit(releases.release(releases.clean(seeds=2)))))


def study(backend: str, algorithm: str = "qmix", seeds: int = 3, **changes) -> pd.DataFrame:
    """Our own runs on corridor, as long as the published ones and under their protocol."""
    rules = {"budget": END, "absolute": 0, "episodes": 16, "protocol": "released", **changes}
    rules["backend"] = backend
    runs = [synthetic.run("corridor", algorithm, seed, **rules) for seed in range(seeds)]
    return pd.concat(runs, ignore_index=True)


def compared(folder, evaluations) -> compare.Comparison:
    tables, about = facts.read(folder)
    return compare.compare(evaluations, tables, about, claims.load(claims.PAPER))


def test_a_map_with_variants_alone_is_no_row_of_the_figure(folder):
    default, variant = study("simulator"), study("simulator", "cds", variant="slow")

    def words(table: pd.DataFrame) -> str:
        texts = compared(folder, table).figure.findobj(Text)
        return "\n".join(text.get_text() for text in texts)

    assert "no map of this study has published results" in words(variant)
    assert "not released" not in words(variant)
    assert "CDS" not in words(pd.concat([default, variant]))  # in the legend


@pytest.mark.parametrize(
    ("backend", "protocol", "reason"),
    [
        ("simulator", "released", "other backend"),
        ("starcraft2", "unified", "other protocol"),
        ("simulator", "unified", "other backend and protocol"),
    ],
)
def test_no_verdict_across_backends_and_protocols(folder, backend, protocol, reason):
    found = compared(folder, study(backend, protocol=protocol)).reproduction
    assert set(found["verdict"]) == {f"{reason}: no verdict"}
    assert found[["difference", "low", "high"]].isna().all(axis=None)
    assert set(found["backend"]) == {backend}
    assert set(found["published_backend"]) == {"starcraft2"}


@pytest.mark.parametrize(
    ("interval", "verdict"),
    [
        ((-0.1, 0.1), "reproduced"),
        ((0.01, 0.09), "reproduced"),
        ((0.01, 0.3), "inconclusive"),  # surely higher, but perhaps by less than the margin
        ((-0.3, -0.01), "inconclusive"),
        ((-0.3, 0.3), "inconclusive"),
        ((0.11, 0.3), "not reproduced"),
        ((-0.3, -0.11), "not reproduced"),
        ((np.nan, np.nan), "no valid data"),
    ],
)
def test_the_margin_of_reproduction(interval, verdict):
    assert compare.reproduction(Difference(0.0, *interval), 0.1) == verdict


def test_verdicts_within_a_backend(folder):
    tables, _ = facts.read(folder)
    cell = {"map": "corridor", "algorithm": "qmix", "variant": "default", "metric": "win_rate"}
    mean = select(tables["final"], data="cleaned", **cell)["mean"].item()

    def reproduced(seeds: int, skill: float) -> pd.Series:
        found = compared(folder, study("starcraft2", seeds=seeds, skill=skill))
        return select(found.reproduction, metric="win_rate").iloc[0]

    alike = reproduced(8, mean)
    assert alike["verdict"] in ("reproduced", "inconclusive")
    assert alike["low"] < alike["difference"] < alike["high"]
    assert reproduced(8, 0.95)["verdict"] == "not reproduced"
    assert reproduced(1, mean)["verdict"] == "no valid data"


def test_runs_that_are_too_short_have_no_valid_data(folder):
    short = study("starcraft2")
    short = short[short["step"] <= END / 2]
    found = compared(folder, short)
    assert set(found.reproduction["verdict"]) == {"no valid data"}
    assert set(found.reproduction["n_ours"]) == {0}


def test_our_claims_stand_next_to_the_published_ones(folder):
    both = pd.concat([study("simulator"), study("simulator", "r3dm", skill=0.9)])
    found = compared(folder, both)
    assert {claims.CLEANED, "ours"} <= set(found.claims["data"])
    ours = select(found.claims, data="ours", claim="final_win_rate", place="corridor")
    row = ours[ours["right"] == "qmix"].iloc[0]
    assert (row["backend"], row["n_left"], row["n_right"]) == ("simulator", 3, 3)
    assert row["difference"] > 0.2
    assert set(ours[ours["right"] == "emc"]["verdict"]) == {"no valid data"}


def test_every_panel_names_its_backend(folder, tmp_path):
    found = compared(folder, study("simulator"))
    titles = [axes.get_title() for axes in found.figure.axes]
    assert titles == [
        "corridor: Made-up release\nStarCraft II",
        "corridor: ours, released\nbattle simulator (not StarCraft II)",
    ]
    compare.write(found, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(compare.NAMES)
    kept, reproduction = compare.read(tmp_path)
    assert len(kept) == len(found.claims)
    assert reproduction["verdict"].tolist() == found.reproduction["verdict"].tolist()


def test_our_curve_ends_with_the_last_evaluation(folder):
    """Every window has as many evaluations, or the curve would saw; wins come in the last alone."""
    ours = study("simulator", budget=510_000)
    ours["battle_won"] = ours["step"] == 510_000
    figure = compared(folder, ours).figure
    line = figure.axes[-1].get_lines()[0]
    steps = np.round(line.get_xdata() * 1e6)
    assert steps[-1] == 510_000
    assert set(np.diff(steps)) == {20_000}  # the next multiple of 10 000 to a thirtieth
    assert line.get_ydata()[-1] == pytest.approx(0.5)
    assert not line.get_ydata()[:-1].any()


def test_a_study_on_other_maps_says_so(folder):
    found = compared(folder, synthetic.study(["3m"], ["qmix"], seeds=2, episodes=4, absolute=4))
    assert found.reproduction.empty
    words = " ".join(text.get_text() for text in found.figure.texts)
    assert "no map of this study has published results" in words


def test_commands_from_files_to_document(tmp_path, monkeypatch, capsys):
    """Import, distil, compare a study with it, and write the document: as users do."""
    monkeypatch.chdir(tmp_path)
    releases.save(releases.clean(seeds=3), tmp_path / "raw")
    mapping = str(releases.mapping(tmp_path, figures=FIGURES[:1]))
    assert commands.main(["published", "import", "raw", "--source", mapping]) == 0
    imported = "results/imported/made_up"
    assert commands.main(["published", "replot", imported]) == 0
    assert_fonts_are_embedded(Path(imported, "figures/figure_1.pdf"))
    assert commands.main(["published", "facts", imported]) == 0
    assert sorted(path.name for path in Path("results/published").iterdir()) == sorted(
        [*facts.outputs(), "figures"]
    )
    write_evaluations(study("simulator"), Path("results/mine/evaluations.parquet"))
    command = ["published", "compare", "results/mine", "--facts", "results/published"]
    assert commands.main(command) == 0
    assert Path("results/mine/published/compare.png").exists()
    assert_fonts_are_embedded(Path("results/mine/published/compare.pdf"))
    capsys.readouterr()
    assert commands.main(["published", "compare", "results/mine", "--facts", "nowhere"]) == 2
    assert "nowhere/final.csv" in capsys.readouterr().err


def test_the_document_speaks_of_two_releases(folder, tmp_path):
    with pytest.raises(BenchmarkError, match="r3dm_release and acorm_release"):
        report.write(folder, tmp_path / "audit.md")


def test_the_document_is_made_from_the_facts(tmp_path):
    """Every number of docs/published_audit.md follows from the facts."""
    report.write(facts.FOLDER, tmp_path / "audit.md")
    written = (ROOT / "docs" / "published_audit.md").read_text()
    assert (tmp_path / "audit.md").read_text() == written


def test_the_document_words_what_the_comparisons_say(tmp_path):
    """Other facts, other sentences: on the ablations and on suites without a map."""
    folder = Path(shutil.copytree(facts.FOLDER, tmp_path / "facts"))
    tests = pd.read_csv(folder / "claims.csv")
    cleaned = tests["data"] == claims.CLEANED
    changes = {"r3dm/horizon_2": ("lower", "fails"), "r3dm/no_contrast": ("higher", "holds")}
    for right, change in changes.items():
        tests.loc[cleaned & (tests["right"] == right), ["verdict", "outcome"]] = change
    rows = cleaned & (tests["claim"] == "outperforms_on_smac") & (tests["right"] == "emc")
    tests.loc[rows, ["place", "outcome"]] = ("SMAC (lacks MMM2)", "partial")
    tests.to_csv(folder / "claims.csv", index=False)
    report.write(folder, tmp_path / "audit.md")
    page = (tmp_path / "audit.md").read_text()
    assert "R3DM (horizon 2): -0.47 [-0.86, -0.08], fails;" in page
    assert "R3DM higher against R3DM (no contrast)" in page
    assert "comparisons of ablations 2 are decided" in page
    assert "* R3DM minus EMC, SMAC (lacks MMM2): +0.46" in page


def test_the_document_counts_each_rules_findings_by_severity():
    """One rule's findings may be warnings on some maps and notes on others."""
    findings = facts.read()[0]["findings"]
    expected = findings.groupby(["rule", "severity", "source"]).size().to_dict()
    rules = report.rules(facts.read()[0])
    shown = {
        (rule["name"], rule["severity"], source): count
        for rule in rules
        for source, count in rule["count"].items()
    }
    assert shown == expected
    assert len({rule["name"] for rule in rules}) < len(rules)
    excluded = findings["excluded"].loc[findings["excluded"] != ""].str.split(" | ", regex=False)
    assert sum(rule["excluded"] for rule in rules) == excluded.map(len).sum()


def test_the_pictures_of_the_facts_are_there():
    _, about = facts.read()
    listed = {path.name for path in (facts.FOLDER / "figures").iterdir()}
    assert listed == {f"{name}.{suffix}" for name in about["pictures"] for suffix in FORMATS}
    for path in (facts.FOLDER / "figures").glob("*.pdf"):
        assert_fonts_are_embedded(path)


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """The audits of the real releases."""
    found = []
    for name in ("r3dm_release", "acorm_release"):
        if not (RAW / name).is_dir():
            pytest.skip(f"the raw files are not in {RAW} (set R3DM_PUBLISHED)")
        imported = release.import_release(RAW / name, sources.load(name))
        assert imported.problems == []
        out = tmp_path_factory.mktemp(name)
        release.write(imported, out, RAW / name)
        found.append(audit.audit(release.read_import(out)))
    return found


def test_the_facts_follow_from_the_raw_files(raw):
    """The findings and final values that are kept are those of the releases."""
    kept, about = facts.read()
    findings = pd.concat([curve.table() for curve in raw], ignore_index=True)
    assert kept["findings"]["evidence"].tolist() == findings["evidence"].tolist()
    assert kept["findings"]["excluded"].tolist() == findings["excluded"].tolist()
    final = pd.DataFrame([row for curve in raw for row in facts.final(curve)])
    for name in ("mean", "sd", "low", "high"):
        assert kept["final"][name].tolist() == pytest.approx(
            final[name].astype(float).tolist(), abs=1e-4, nan_ok=True
        )
    again = facts.about(raw, about["pictures"])
    assert again["sources"] == about["sources"]


@pytest.mark.parametrize(
    ("map", "algorithm", "mean"),
    [
        ("MMM2", "r3dm", 0.92),
        ("3s5z_vs_3s6z", "r3dm", 0.76),
        ("3s5z_vs_3s6z", "acorm", 0.48),
        ("corridor", "r3dm", 0.91),
        ("corridor", "acorm", 0.64),
        ("6h_vs_8z", "r3dm", 0.40),
        ("zerg_10_vs_11", "acorm", 0.23),
    ],
)
def test_final_values_are_those_known_from_elsewhere(raw, map, algorithm, mean):
    """Read off the files by hand, all evaluations pooled."""
    cell = {"map": map, "algorithm": algorithm, "variant": "default", "metric": "win_rate"}
    row = select(pd.DataFrame(facts.final(raw[0])), data="cleaned", **cell)
    assert row["mean"].item() == pytest.approx(mean, abs=0.015)
