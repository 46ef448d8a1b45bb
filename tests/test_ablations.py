"""Ablations: what is shown, and mistakes in how they are declared."""

import json

import pandas as pd
import pytest

from benchmark import ablations, cli, statistics, tables
from benchmark.config import Ablation, parse_study
from benchmark.errors import BenchmarkError
from tests import synthetic

STUDY = {
    "version": 1,
    "name": "made_up",
    "backend": "simulator",
    "protocol": "unified",
    "seeds": [0, 1],
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
    assert table.rows["2 steps"][0].value == pytest.approx(means["horizon_2"])
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
    assert colours[0] == "#D55E00"  # the default looks as everywhere
    footer = " ".join(text.get_text() for text in figure.texts).replace("\n", " ")
    assert "not StarCraft II" in footer
    assert "3 runs per method; no runs of 5 steps" in footer


def test_methods_of_different_algorithms_share_all_their_maps(results):
    curves = [{"algorithm": name, "label": name} for name in ("r3dm", "acorm")]
    ablation = Ablation(name="both", title="Both", curves=curves)
    (table,) = ablations.make(results, [ablation])
    assert list(table.rows) == ["r3dm, 3m", "acorm, 3m", "r3dm, 2s3z", "acorm, 2s3z"]


def test_command_writes_every_file(results, tmp_path):
    statistics.write(results, tmp_path / "statistics")
    study = tmp_path / "study.yaml"
    study.write_text(json.dumps(STUDY))  # JSON is YAML
    assert cli.main(["ablations", str(tmp_path / "statistics"), str(study)]) == 0
    declared = parse_study(STUDY, "test").ablations
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
