"""The JSON for marl-eval."""

import json

import pandas as pd
import pytest

from benchmark.commands import main
from benchmark.training.evaluations import write_evaluations
from tests.analysis import synthetic


@pytest.fixture
def export(tmp_path, capsys):
    """Exports a table by the command line; returns the JSON, or the error."""

    def call(table: pd.DataFrame, *options: str):
        write_evaluations(table, tmp_path / "evaluations.parquet")
        if main(["export", str(tmp_path), *options]):
            return capsys.readouterr().err
        return json.loads((tmp_path / "marl_eval.json").read_text())

    return call


def test_every_episode_is_there(export):
    table = synthetic.study(seeds=2)
    data = export(table)
    assert list(data) == ["simulator_unified"]
    maps = data["simulator_unified"]
    assert {map: set(methods) for map, methods in maps.items()} == {
        "3m": {"qmix", "r3dm"},
        "terran_3_vs_3": {"qmix", "r3dm"},
    }
    rows = table.query("map == '3m' and algorithm == 'r3dm' and seed == 1")
    run = maps["3m"]["r3dm"]["seed_1"]
    assert list(run) == [*(f"step_{index}" for index in range(5)), "absolute_metrics"]
    for index, step in enumerate(range(0, 40_001, 10_000)):
        played = rows.query(f"phase == 'training' and step == {step}").sort_values("episode")
        assert run[f"step_{index}"] == {
            "step_count": step,
            "win_rate": played["battle_won"].astype(float).tolist(),
            "return": played["return"].tolist(),
        }
    best = rows.query("phase == 'absolute'")
    assert run["absolute_metrics"]["win_rate"] == best["battle_won"].astype(float).tolist()
    assert len(run["absolute_metrics"]["return"]) == 320


def test_variants_are_left_out(export):
    extra = synthetic.run("3m", "r3dm", 0, variant="horizon_2")
    assert export(pd.concat([synthetic.study(), extra])) == export(synthetic.study())


def test_a_missing_run_is_named(export):
    table = synthetic.study().query("not (map == '3m' and algorithm == 'qmix' and seed == 2)")
    error = export(table)
    assert error.startswith("error: the run 3m/qmix/default/2 is missing")
    assert len(error.splitlines()) == 1
    runs = export(table, "--seeds", "0", "1")["simulator_unified"]["3m"]["r3dm"]
    assert list(runs) == ["seed_0", "seed_1"]
    maps = export(table, "--algorithms", "r3dm")["simulator_unified"]
    assert {map: list(methods) for map, methods in maps.items()} == {
        "3m": ["r3dm"],
        "terran_3_vs_3": ["r3dm"],
    }
    assert list(export(table, "--maps", "terran_3_vs_3")["simulator_unified"]) == ["terran_3_vs_3"]


def test_unequal_budgets_are_thinned_out(export):
    longer = synthetic.study(maps=["8m"], budget=80_000)
    table = pd.concat([synthetic.study(maps=["3m"]), longer])
    assert "thin them out with --evaluations 5" in export(table)
    maps = export(table, "--evaluations", "3")["simulator_unified"]
    for map, steps in (("3m", [0, 20_000, 40_000]), ("8m", [0, 40_000, 80_000])):
        run = maps[map]["qmix"]["seed_0"]
        counts = [point["step_count"] for name, point in run.items() if name.startswith("step_")]
        assert counts == steps
    assert "choose 2 to 5" in export(table, "--evaluations", "6")


def test_runs_of_unequal_length_on_one_map_are_refused(export):
    longer = synthetic.run("3m", "acorm", 0, budget=80_000)
    table = pd.concat([synthetic.run("3m", "r3dm", 0), longer])
    error = export(table, "--evaluations", "3")
    assert "3m/acorm/default/0 ends at 80,000 env steps but 3m/r3dm/default/0 at 40,000" in error
    assert list(export(table, "--algorithms", "acorm")["simulator_unified"]["3m"]) == ["acorm"]


def test_two_backends_are_refused(export):
    table = pd.concat([synthetic.study(), synthetic.study(backend="starcraft2")])
    assert "mixes the backends" in export(table)


def test_nothing_left(export):
    table = synthetic.study()
    assert "no seed 7; it has 0, 1, 2" in export(table, "--seeds", "7")
    assert "no map '8m'" in export(table, "--maps", "3m", "8m")
    assert "nothing but variants" in export(synthetic.run("3m", "r3dm", 0, variant="horizon_2"))
