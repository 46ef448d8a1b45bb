"""Ablations: what is shown, and mistakes in how they are declared."""

import pandas as pd
import pytest

from benchmark import commands
from benchmark.analysis import ablations, figures, statistics, tables
from benchmark.analysis.statistics import select
from benchmark.errors import BenchmarkError
from benchmark.training import study_folder
from benchmark.training.study import Ablation, parse_study
from tests.analysis import synthetic
from tests.training import small

STUDY = small.STUDY | {
    "maps": ["3m", "2s3z"],
    "algorithms": ["r3dm", "acorm"],
    "variants": [
        {"algorithm": "r3dm", "name": "horizon_2", "maps": ["3m"], "set": {"horizon": 2}},
        {"algorithm": "r3dm", "name": "horizon_5", "maps": ["3m"], "set": {"horizon": 5}},
    ],
    "ablations": [
        {
            "name": "horizon",
            "title": "Imagined steps",
            "curves": [
                {"algorithm": "r3dm", "label": "1 step"},
                {"algorithm": "r3dm", "variant": "horizon_2", "label": "2 steps"},
                {"algorithm": "r3dm", "variant": "horizon_5", "label": "5 steps"},
            ],
        }
    ],
}


@pytest.fixture(scope="module")
def results():
    """Statistics of a study whose variant of five steps has not run yet."""
    runs = [
        synthetic.run(map, algorithm, seed, variant=variant, skill=skill)
        for map, algorithm, variant, skill in (
            ("3m", "r3dm", "default", 0.9),
            ("2s3z", "r3dm", "default", 0.9),
            ("3m", "acorm", "default", 0.5),
            ("2s3z", "acorm", "default", 0.5),
            ("3m", "r3dm", "horizon_2", 0.3),
        )
        for seed in (0, 1, 2)
    ]
    return statistics.compute(pd.concat(runs, ignore_index=True), replications=50)


def horizon() -> Ablation:
    return parse_study(STUDY, "test").ablations[0]


def test_table_has_a_row_per_method_and_says_what_lacks(results):
    (table,) = ablations.make(results, [horizon()])
    assert list(table.rows) == ["1 step", "2 steps", "5 steps"]
    final = results["final"]
    rows = final[(final["map"] == "3m") & (final["metric"] == "win_rate")]
    rows = rows[(rows["phase"] == "training") & (rows["algorithm"] == "r3dm")]
    means = rows.set_index("variant")["mean"]
    assert table.rows["1 step"][0].value == pytest.approx(means["default"])
    variant = select(final, map="3m", variant="horizon_2")
    columns = [("win_rate", "training"), ("win_rate", "absolute"), ("return", "training")]
    for cell, (metric, phase) in zip(table.rows["2 steps"], columns, strict=True):
        (row,) = select(variant, metric=metric, phase=phase).to_dict("records")
        assert (cell.value, cell.low, cell.high) == (row["mean"], row["low"], row["high"])
    assert table.rows["5 steps"][0].number == tables.DASH
    assert "no runs of 5 steps" in table.caption
    assert "battle simulator (not StarCraft II), unified protocol" in table.caption
    assert set(table.data["map"]) == {"3m"}


def test_figure_shows_curves_and_ends_of_every_method_with_runs(results):
    ((name, figure),) = ablations.draw(results, [horizon()])
    assert name == "ablation_horizon"
    left, right = figure.axes
    assert len(left.lines) == 2
    assert [text.get_text() for text in right.get_yticklabels()] == ["1 step", "2 steps", "5 steps"]
    colours = [line.get_color() for line in left.lines]
    assert len(set(colours)) == 2
    assert colours[0] == "#D55E00"  # the default has its usual colour
    footer = " ".join(text.get_text() for text in figure.texts).replace("\n", " ")
    assert "not StarCraft II" in footer
    assert "3 runs per method; no runs of 5 steps" in footer


def test_ends_of_a_figure_are_the_final_win_rates_of_its_map(results):
    curves = [{"algorithm": name, "label": name} for name in ("r3dm", "acorm")]
    ((_, figure),) = ablations.draw(results, [Ablation(name="both", title="Both", curves=curves)])
    final = select(results["final"], metric="win_rate", phase="training", variant="default")
    for axes, map in zip(figure.axes[1::2], ("3m", "2s3z"), strict=True):
        lines = iter(axes.get_lines())
        for name in ("r3dm", "acorm"):
            (row,) = select(final, map=map, algorithm=name).to_dict("records")
            bar, point = next(lines), next(lines)
            assert list(bar.get_xdata()) == pytest.approx([row["low"], row["high"]])
            assert list(point.get_xdata()) == pytest.approx([row["mean"]])


def footer(figure) -> str:
    return " ".join(text.get_text() for text in figure.texts).replace("\n", " ")


def compared(*runs: pd.DataFrame, variants: int = 1) -> tuple:
    """Figure and table of R3DM and some variants, from these runs."""
    curves = [{"algorithm": "r3dm", "label": "usual"}]
    curves += [{"algorithm": "r3dm", "variant": f"v{k}", "label": f"v{k}"} for k in range(variants)]
    ablation = Ablation(name="some", title="Some", curves=curves)
    results = statistics.compute(pd.concat(runs), replications=20)
    ((_, figure),), (table,) = (
        ablations.draw(results, [ablation]),
        ablations.make(results, [ablation]),
    )
    return figure, table


def test_a_map_on_which_no_method_of_the_ablation_has_a_run_says_so():
    figure, table = compared(
        synthetic.run("3m", "r3dm", 0),
        synthetic.run("3m", "acorm", 0),
        synthetic.run("2s3z", "acorm", 0),
    )
    assert [axes.get_title() for axes in figure.axes[::2]] == ["3m", "2s3z"]
    assert "no runs" in [text.get_text() for text in figure.axes[2].texts]
    assert table.rows["usual, 2s3z"][0].number == tables.DASH


def test_an_ablation_none_of_whose_methods_has_run_is_empty():
    figure, table = compared(synthetic.run("3m", "acorm", 0))
    assert "no runs yet" in footer(figure)
    assert "no runs of usual, v0" in footer(figure)
    assert table.rows == {}


def test_many_methods_are_told_apart():
    variants = 16
    figure, _ = compared(
        synthetic.run("3m", "r3dm", 0),
        *(synthetic.run("3m", "r3dm", 0, variant=f"v{k}") for k in range(variants)),
        variants=variants,
    )
    lines = figure.axes[0].get_lines()
    assert len({(line.get_color(), line.get_marker()) for line in lines}) == 1 + variants


def test_rows_with_fewer_runs_say_so():
    figure, table = compared(
        *(synthetic.run("3m", "r3dm", seed) for seed in range(3)),
        *(synthetic.run("3m", "r3dm", seed, variant="v0") for seed in range(2)),
    )
    labels = [text.get_text() for text in figure.axes[1].get_yticklabels()]
    assert labels == ["usual", "v0 (n = 2)"]
    assert [table.rows[name][0].note for name in ("usual", "v0")] == ["", "n = 2"]
    for text in (footer(figure), table.caption):
        assert "3 runs per method unless noted" in text


def test_unequal_budgets_and_averaged_points_are_stated():
    long = {"episodes": 1, "absolute": 1}
    figure, table = compared(
        synthetic.run("3m", "r3dm", 0, budget=3_000_000, **long),
        synthetic.run("3m", "r3dm", 0, variant="v0", budget=600_000, **long),
    )
    for text in (footer(figure), table.caption):
        assert "env steps of training differ: usual 3,000,000, v0 600,000 on 3m" in text
    assert "a point averages up to 6 evaluations" in footer(figure)
    caption = ablations.captions([horizon()])["ablation_horizon"]
    assert figures.SMOOTHING in caption


def test_methods_of_different_algorithms_share_all_their_maps(results):
    curves = [{"algorithm": name, "label": name} for name in ("r3dm", "acorm")]
    ablation = Ablation(name="both", title="Both", curves=curves)
    (table,) = ablations.make(results, [ablation])
    assert list(table.rows) == ["r3dm, 3m", "acorm, 3m", "r3dm, 2s3z", "acorm, 2s3z"]


def test_command_writes_every_file(results, tmp_path):
    statistics.write(results, tmp_path / "statistics")
    study = parse_study(STUDY, "test")
    study_folder.save(study, tmp_path)
    assert commands.main(["ablations", str(tmp_path)]) == 0
    declared = study.ablations
    for folder, files in (
        ("figures", ablations.figure_files(declared)),
        ("tables", ablations.table_files(declared)),
    ):
        assert sorted(path.name for path in (tmp_path / folder).iterdir()) == sorted(files)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"algorithm": "qmix"}, "no map has runs of every method of 'horizon'"),
        ({"variant": "horizon_9"}, "no map has runs of every method of 'horizon'"),
        ({"label": ""}, "label"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_mistakes_in_a_declaration(change, message):
    curves = [*STUDY["ablations"][0]["curves"][1:], {"algorithm": "r3dm", "label": "x"} | change]
    wrong = [STUDY["ablations"][0] | {"curves": curves}]
    with pytest.raises(BenchmarkError, match=message):
        parse_study(STUDY | {"ablations": wrong}, "study.yaml")


def test_settings_per_algorithm_reach_its_runs_only():
    study = parse_study(STUDY | {"per_algorithm": {"acorm": {"clusters": 2}}}, "test")
    clusters = {run.algorithm: run.hyperparameters.clusters for run in study.runs()}
    assert clusters == {"acorm": 2, "r3dm": 3}
    with pytest.raises(BenchmarkError, match="per_algorithm: 'qmix' is not among"):
        parse_study(STUDY | {"per_algorithm": {"qmix": {}}}, "test")
