"""Figures depend on the statistics alone, to the byte, and have one style."""

import io
import itertools

import numpy as np
import pandas as pd
import pytest
import yaml
from matplotlib import colors, image
from matplotlib.figure import Figure
from matplotlib.text import Text

from benchmark import commands, files
from benchmark.analysis import ablations, figures, labels, made_from, plots, statistics
from benchmark.errors import BenchmarkError
from benchmark.published import compare
from benchmark.training.evaluations import write_evaluations
from benchmark.training.protocol import MAP_RULES
from benchmark.training.study import load_study
from tests.analysis import synthetic
from tests.analysis.pdf import assert_fonts_are_embedded

MAPS = ["3m", "8m", "2s3z", "terran_3_vs_3"]


@pytest.fixture(scope="module")
def results() -> dict[str, pd.DataFrame]:
    table = synthetic.study(MAPS, ["qmix", "r3dm", "mystery"], seeds=2)
    return statistics.compute(table, replications=100)


@pytest.fixture(scope="module")
def drawn(results) -> dict:
    return dict(figures.draw(results))


def texts(figure) -> str:
    return "\n".join(text.get_text() for text in figure.texts).replace("\n", " ")


def test_files_are_those_announced_and_the_same_every_time(tmp_path):
    results = statistics.compute(synthetic.study(["3m"], ["qmix", "r3dm"]), replications=20)
    for folder in ("a", "b"):
        figures.write(results, tmp_path / folder)
    announced = sorted(set(figures.outputs(["3m"])) - {made_from.NAME})  # the command's
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == announced
    for name in announced:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_figures_are_those_announced(drawn):
    captions = figures.captions(MAPS)
    assert list(drawn) == list(captions)
    assert not any("{" in caption for caption in captions.values())


def test_captions_of_curves_name_their_smoothing():
    """In the figures' own captions and in those of Snakemake's report."""
    paper = load_study(files.ROOT / "config" / "paper.yaml")
    captions = figures.captions(paper.maps) | ablations.captions(paper.ablations)
    captions["compare"] = compare.CAPTION
    for path in (files.ROOT / "workflow" / "report").glob("*.rst"):
        captions[path.stem] = " ".join(path.read_text().split())
    for name, caption in captions.items():
        if name.startswith(("learning", "ablation", "compare", "efficiency")):
            assert "Smoothing:" in caption or "Not smoothed." in caption, name
    for name in ("learning", "ablation"):
        assert f"at most {plots.POINTS} points" in captions[name]
    smoothing = compare.CAPTION.partition("Smoothing:")[2].partition(" Every panel")[0]
    assert smoothing in captions["compare"]


def test_fonts_are_embedded_in_every_pdf(drawn, tmp_path):
    for name, figure in drawn.items():
        figures.save(figure, name, tmp_path, ("pdf",))
        assert_fonts_are_embedded(tmp_path / f"{name}.pdf")


def test_every_figure_is_one_column_wide_and_names_its_source(drawn):
    for name, figure in drawn.items():
        assert figure.get_figwidth() == plots.WIDTH, name
        assert "battle simulator (not StarCraft II), unified protocol" in texts(figure), name


def test_nothing_leaves_its_figure(drawn):
    for name, figure in drawn.items():
        box = figure.get_tightbbox()  # inches
        width, height = figure.get_size_inches()
        assert min(box.x0, box.y0) > -0.03, name
        assert box.x1 < width + 0.03, name
        assert box.y1 < height + 0.03, name


def test_learning_curves_have_a_panel_per_map_and_show_the_means(drawn, results):
    figure = drawn["learning_smac_win_rate"]
    assert [axes.get_title() for axes in figure.axes] == ["3m", "8m", "2s3z"]
    lines = {line.get_color(): line for line in figure.axes[1].get_lines()}
    assert set(lines) == {labels.plot_style(name).colour for name in ("qmix", "r3dm", "mystery")}
    curve = results["curves"].query("map == '8m' and algorithm == 'qmix' and metric == 'win_rate'")
    line = lines[labels.plot_style("qmix").colour]
    assert line.get_ydata() == pytest.approx(curve["value"].to_numpy())
    assert line.get_xdata() == pytest.approx(curve["step"].to_numpy() / 1000)


@pytest.mark.parametrize(
    ("figure", "statistic", "x", "unit", "of"),
    [
        ("efficiency_smac", "efficiency", "step", 1000, "suite == 'smac'"),
        ("profiles_all", "profiles", "threshold", 1, "suite == 'all'"),
        ("learning_smac_return", "curves", "step", 1000, "map == '3m' and metric == 'return'"),
    ],
)
def test_curves_and_bands_are_the_rows_of_their_statistic(
    drawn, results, figure, statistic, x, unit, of
):
    axes = drawn[figure].axes[0]
    for name in ("qmix", "r3dm", "mystery"):
        rows = results[statistic].query(f"{of} and algorithm == '{name}'")
        colour = labels.plot_style(name).colour
        (line,) = (line for line in axes.get_lines() if line.get_color() == colour)
        assert line.get_xdata() == pytest.approx(rows[x].to_numpy() / unit)
        assert line.get_ydata() == pytest.approx(rows["value"].to_numpy())
        bands = {colors.to_hex(band.get_facecolor()[0]): band for band in axes.collections}
        corners = pd.DataFrame(bands[colour.lower()].get_paths()[0].vertices, columns=["x", "y"])
        bounds = corners.groupby("x")["y"].agg(["min", "max"])
        assert bounds["min"].to_numpy() == pytest.approx(rows["low"].to_numpy())
        assert bounds["max"].to_numpy() == pytest.approx(rows["high"].to_numpy())


def test_long_curves_are_averaged_and_say_so():
    table = synthetic.study(["3m"], ["qmix"], seeds=2, budget=2_000_000, absolute=0, episodes=2)
    results = statistics.compute(table, replications=20)
    figure = dict(figures.draw(results))["learning_smac_win_rate"]
    assert "a point averages up to 4 evaluations" in texts(figure)
    values = results["curves"].query("metric == 'win_rate'")["value"].to_numpy()
    line = figure.axes[0].get_lines()[0].get_ydata()
    assert len(line) == 51
    assert line[-1] == pytest.approx(values[-4:].mean())


def test_curves_of_one_plot_are_averaged_alike():
    """A short one is not drawn rougher than the long one next to it."""
    rest = {"seeds": 1, "absolute": 0, "episodes": 2}
    runs = [
        synthetic.study(["3m"], [name], budget=budget, **rest)
        for name, budget in (("r3dm", 2_000_000), ("qmix", 500_000))
    ]
    results = statistics.compute(pd.concat(runs), replications=5)
    drawn = dict(figures.draw(results))
    assert "judged before the end of some training" in texts(drawn["aggregate_smac"])
    axes = drawn["learning_smac_win_rate"].axes[0]
    assert sorted(len(line.get_ydata()) for line in axes.get_lines()) == [13, 51]


def test_maps_of_short_and_long_training_share_the_unit_of_their_axes():
    """200 000 steps count in thousands when they are alone, in millions next to 2 000 000."""
    few = {"algorithms": ["qmix"], "seeds": 1, "absolute": 0, "episodes": 2, "interval": 100_000}
    table = pd.concat(
        [
            synthetic.study(["3m"], budget=200_000, **few),
            synthetic.study(["8m"], budget=2_000_000, **few),
        ]
    )
    figure = dict(figures.draw(statistics.compute(table, replications=20)))["learning_smac_return"]
    for axes, millions in zip(figure.axes, (0.2, 2.0), strict=True):
        assert axes.get_xticks()[-1] == pytest.approx(millions)  # the last step has a label
        assert axes.get_xlim() == pytest.approx((0, millions))
        assert axes.get_lines()[0].get_xdata()[-1] == pytest.approx(millions)


def test_no_tick_is_next_to_the_last_step():
    axes = Figure().subplots()
    plots.steps_axis(axes, 2_050_000, 1e6)
    assert axes.get_xticks() == pytest.approx([0, 1, 2.05])  # not 2


def test_intervals_show_values_and_bounds(drawn, results):
    shown = "suite == 'smac' and phase == 'training'"
    panels = drawn["aggregate_smac"].axes
    wanted = [
        (axes, results["aggregate"].query(f"{shown} and algorithm == 'qmix' and metric == @metric"))
        for axes, metric in zip(panels, labels.AGGREGATES, strict=True)
    ]
    pair = "algorithm_x == 'r3dm' and algorithm_y == 'qmix'"
    beaten = results["improvement"].query(f"{shown} and {pair}")
    wanted.append((drawn["improvement_smac"].axes[0], beaten))
    for axes, rows in wanted:
        (row,) = rows.to_dict("records")
        colour = labels.plot_style("qmix").colour
        bar, point = (line for line in axes.get_lines() if line.get_color() == colour)
        assert list(bar.get_xdata()) == pytest.approx([row["low"], row["high"]])
        assert list(point.get_xdata()) == pytest.approx([row["value"]])
    names = [tick.get_text() for tick in panels[0].get_yticklabels()]
    assert names == ["R3DM", "QMIX", "mystery"]


def test_aggregates_share_one_range_and_name_their_axes(drawn):
    axes = drawn["aggregate_smac"].axes
    assert {plot.get_xlim() for plot in axes} == {(-0.02, 1.02)}
    labelled = [plot.get_xlabel() for plot in axes]
    assert labelled == ["final test win rate"] * 3 + ["distance to a win rate of 1"]


def test_every_figure_names_its_band(drawn):
    for name, figure in drawn.items():
        assert f": {figures.INTERVAL}" in texts(figure), name


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=() if key in (("paper", 1), ("slides", 2)) else pytest.mark.slow)
        for key, page in plots.PAGES.items()
    ],
    ids=str,
)
def test_labels_of_the_full_study_neither_leave_nor_collide(page, monkeypatch):
    """Seven methods on the twelve maps, on every page."""
    few = {"absolute": 0, "episodes": 2, "interval": 500_000, "seeds": 2}
    parts = [
        synthetic.study([map], synthetic.ALGORITHMS, budget=budget, **few)
        for map in [*synthetic.SMAC, *synthetic.SMACV2]
        for budget in [MAP_RULES.get(map, {}).get("budget", 2_000_000)]
    ]
    drawn = dict(figures.draw(statistics.compute(pd.concat(parts), replications=5), page))
    assert len(drawn) == 4 + 3 * 4
    shown, draw = [], Text.draw
    monkeypatch.setattr(Text, "draw", lambda text, *rest: (shown.append(text), draw(text, *rest)))
    for name, figure in drawn.items():
        width, height = figure.get_size_inches()
        box = figure.get_tightbbox()
        assert min(box.x0, box.y0) > -0.01, name
        assert max(box.x1 - width, box.y1 - height) < 0.01, name
        shown.clear()
        figure.draw_without_rendering()
        boxes = [
            text.get_window_extent()
            for text in shown
            if text.get_visible() and text.get_text().strip()
        ]
        for one, other in itertools.combinations(boxes, 2):
            assert not one.padded(-0.5).overlaps(other.padded(-0.5)), name


def test_chosen_maps_and_methods(tmp_path):
    table = synthetic.study(["3m", "8m"], ["qmix", "r3dm", "acorm"], seeds=2)
    statistics.write(statistics.compute(table, replications=20), tmp_path / "statistics")
    command = ["figures", str(tmp_path), "--output", str(tmp_path / "chosen")]
    assert commands.main([*command, "--maps", "8m", "--methods", "r3dm", "qmix"]) == 0
    written = {path.stem for path in (tmp_path / "chosen").iterdir()}
    assert written == {"learning_smac_win_rate", "learning_smac_return"}
    results = statistics.read(tmp_path / "statistics")
    drawn = dict(figures.draw(figures.chosen(results, [], ["r3dm", "qmix"])))
    ticks = [tick.get_text() for tick in drawn["aggregate_smac"].axes[0].get_yticklabels()]
    assert ticks == ["R3DM", "QMIX"]


def test_chosen_methods_without_a_run_on_some_map():
    further = synthetic.study(["terran_3_vs_3"], ["qmix"], seeds=1)
    table = pd.concat([synthetic.study(["3m"], ["qmix", "acorm"], seeds=1), further])
    results = statistics.compute(table, replications=5)
    (legend,) = dict(figures.draw(results))["learning_smacv2_return"].legends
    assert [text.get_text() for text in legend.get_texts()] == ["QMIX"]
    drawn = dict(figures.draw(figures.chosen(results, [], ["acorm"])))
    assert [name for name in drawn if name.startswith("learning")] == [
        "learning_smac_win_rate",
        "learning_smac_return",
    ]
    with pytest.raises(BenchmarkError, match="no run of these methods on these maps"):
        figures.chosen(results, ["terran_3_vs_3"], ["acorm"])


def test_unknown_maps_and_methods_are_named(tmp_path, capsys):
    results = statistics.compute(synthetic.study(["3m"]), replications=5)
    statistics.write(results, tmp_path / "statistics")
    for option, name in (("--maps", "corridor"), ("--methods", "cds")):
        command = ["figures", str(tmp_path), option, name]
        assert commands.main(command) == 2
        assert "say with --output" in capsys.readouterr().err  # the study's own stay whole
        assert commands.main([*command, "--output", str(tmp_path / "chosen")]) == 2
        assert name in capsys.readouterr().err
    assert not (tmp_path / "figures").exists()


def test_names_in_figures_are_no_formulas():
    """Nor do they break a figure: with these, matplotlib would find no end of a formula."""
    name = r"_a$x^2$\frac{$ b^"
    table = synthetic.study(["3m"], [name.replace(" ", "\n\n"), "qmix"], seeds=2)
    drawn = dict(figures.draw(statistics.compute(table, replications=5)))
    drawn["profiles_smac"].savefig(io.BytesIO())  # its axes show a formula of ours
    for kind in ("learning_smac_win_rate", "aggregate_smac", "improvement_smac"):
        figure = drawn[kind]
        figure.savefig(io.BytesIO())
        shown = [text for text in figure.findobj(Text) if "x^2" in text.get_text()]
        assert shown
        for text in shown:
            assert text.get_text() in (name, f"P({name} > method)")
            assert text._preprocess_math(text.get_text()) == (text.get_text(), False)
    assert drawn["profiles_smac"].axes[0].xaxis.label.get_parse_math()


def test_methods_have_colours_and_markers_of_their_own():
    styles = list(labels.ALGORITHMS.values())
    for looks in zip(*((style.colour, style.marker) for style in styles), strict=True):
        assert len(set(looks)) == len(styles)
    rgb = np.array([colors.to_rgb(style.colour) for style in styles])
    # as a person without one kind of cone sees them (Viénot et al. 1999, red and green)
    for blind in (
        [[0.11, 0.89, 0], [0.11, 0.89, 0], [0, 0, 1]],
        [[0.29, 0.71, 0]] * 2 + [[0, 0, 1]],
    ):
        seen = rgb**2.2 @ np.array(blind).T
        distance = np.linalg.norm(seen[:, None] - seen, axis=-1)
        assert distance[np.triu_indices(len(styles), 1)].min() > 0.05


def test_unknown_algorithm_has_a_style_that_stays():
    assert labels.plot_style("mystery") == labels.plot_style("mystery")
    known = {style.colour for style in labels.ALGORITHMS.values()}
    assert labels.plot_style("mystery").colour not in known
    assert labels.label("mystery") == "mystery"
    assert labels.label("r3dm", "no_contrastive") == "R3DM (no contrastive)"


def test_single_method_has_every_figure_and_says_why_one_is_empty():
    results = statistics.compute(synthetic.study(["3m"], ["qmix"], seeds=1), replications=20)
    drawn = dict(figures.draw(results))
    assert list(drawn) == list(figures.captions(["3m"]))
    assert "one method only" in texts(drawn["improvement_smac"])


def test_study_without_a_common_map_says_so():
    table = pd.concat([synthetic.study(["3m"], ["qmix"]), synthetic.study(["8m"], ["r3dm"])])
    drawn = dict(figures.draw(statistics.compute(table, replications=20)))
    for kind in ("aggregate", "profiles", "improvement", "efficiency"):
        assert "no map has a run of every method" in texts(drawn[f"{kind}_smac"])


def test_left_out_maps_are_named():
    table = pd.concat(
        [synthetic.study(["3m", "8m"], ["qmix"]), synthetic.study(["8m"], ["r3dm"], seeds=2)]
    )
    drawn = dict(figures.draw(statistics.compute(table, replications=20)))
    assert "a method has no score there: 3m" in " ".join(texts(drawn["profiles_smac"]).split())
    assert "2 to 3 runs per method, 1 map" in texts(drawn["profiles_smac"])


def test_variants_do_not_show_in_main_figures():
    table = pd.concat(
        [synthetic.study(["3m"], ["r3dm"]), synthetic.study(["3m"], ["r3dm"], variant="k")]
    )
    drawn = dict(figures.draw(statistics.compute(table, replications=20)))
    assert len(drawn["learning_smac_win_rate"].axes[0].get_lines()) == 1


def test_commands_make_everything_from_the_table_alone(tmp_path):
    table = synthetic.study(["3m"], ["qmix", "r3dm"], seeds=2)
    write_evaluations(table, tmp_path / "evaluations.parquet")
    command = ["statistics", str(tmp_path), "--replications", "50"]
    assert commands.main(command) == 0
    assert commands.main(["tables", str(tmp_path)]) == 0
    assert commands.main(["figures", str(tmp_path)]) == 0
    picture = image.imread(tmp_path / "figures" / "learning_smac_win_rate.png")
    assert picture.shape[1] == pytest.approx(plots.WIDTH * 300, abs=1)
    assert (tmp_path / "tables" / "win_rate_smac_final.tex").exists()


def test_a_study_says_how_it_is_summarised(tmp_path, monkeypatch):
    """A single command gives what the workflow gives."""
    monkeypatch.chdir(tmp_path)
    values = yaml.safe_load((files.ROOT / "config" / "smoke.yaml").read_text())
    values |= {"maps": ["3m"], "algorithms": ["qmix"], "name": "one", "roles": None}
    values |= {"per_map": {}, "per_algorithm": {}, "ablations": [], "variants": []}
    values |= {"statistics": {"replications": 7, "seed": 3}}
    (tmp_path / "one.yaml").write_text(yaml.safe_dump(values))
    table = synthetic.study(["3m"], ["qmix"], seeds=2)
    write_evaluations(table, tmp_path / "results/one/evaluations.parquet")
    asked = []
    compute = statistics.compute
    monkeypatch.setattr(
        statistics, "compute", lambda table, *how: asked.append(how) or compute(table, *how)
    )
    assert commands.main(["statistics", "one.yaml"]) == 0
    assert commands.main(["statistics", "one.yaml", "--replications", "5"]) == 0
    assert asked == [(3, 7), (3, 5)]


def test_statistics_of_an_older_table_are_refused_by_every_command(tmp_path, capsys):
    path = tmp_path / "evaluations.parquet"
    write_evaluations(synthetic.study(["3m"], ["qmix"], seeds=2), path)
    assert commands.main(["statistics", str(tmp_path), "--replications", "5"]) == 0
    write_evaluations(synthetic.study(["3m"], ["qmix"], seeds=3), path)
    capsys.readouterr()
    for command in ("tables", "figures", "ablations"):
        assert commands.main([command, str(tmp_path)]) == 2
        error = capsys.readouterr().err
        assert f"{tmp_path}/statistics was computed from another table" in error
        assert f"python -m benchmark statistics {tmp_path}" in error
    (tmp_path / "statistics" / made_from.NAME).unlink()  # nobody knows of which table
    assert commands.main(["tables", str(tmp_path)]) == 2
    path.unlink()  # nothing is shown as another table's
    assert commands.main(["tables", str(tmp_path)]) == 0


def test_commands_name_what_they_lack(tmp_path, capsys):
    assert commands.main(["figures", str(tmp_path)]) == 2
    assert "final.csv" in capsys.readouterr().err
    assert commands.main(["statistics", str(tmp_path)]) == 2
    assert f"{tmp_path}/evaluations.parquet" in capsys.readouterr().err
    assert commands.main(["statistics", str(tmp_path), "--replications", "0"]) == 2
