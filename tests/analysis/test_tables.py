"""Tables say where numbers come from and what is missing, in three formats."""

import itertools

import numpy as np
import pandas as pd
import pytest

from benchmark.analysis import figures, statistics, tables
from tests.analysis import synthetic

LACKING = "Without a score at the map's end, of the methods and seeds found"
LEFT_OUT = "Left out, because a method has no score there"


@pytest.fixture(scope="module")
def made() -> dict[str, tables.Table]:
    """Tables of a study in which qmix lacks a seed on 3m and every run on 8m."""
    table = synthetic.study(["3m", "8m", "terran_3_vs_3"], ["r3dm", "qmix"], seeds=3)
    qmix = table["algorithm"] == "qmix"
    lost = (table["map"] == "8m") | ((table["map"] == "3m") & (table["seed"] == 2))
    results = statistics.compute(table[~(qmix & lost)], replications=200)
    return {table.name: table for table in tables.make(results)}


def test_files_are_those_announced(made, tmp_path):
    tables.write(list(made.values()), tmp_path)
    announced = tables.outputs(["3m", "8m", "terran_3_vs_3"])
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(announced)


def test_every_table_names_backend_and_protocol(made):
    for table in made.values():
        source = "battle simulator (not StarCraft II), unified protocol"
        assert source in table.caption
        assert source in table.markdown()
        assert set(table.data["backend"]) <= {"simulator"}
        assert {"backend", "protocol"} <= set(table.data.columns)


def test_cells_hold_mean_interval_and_fewer_runs(made):
    table = made["win_rate_smac_final"]
    assert table.columns == ["R3DM", "QMIX"]
    assert list(table.rows) == ["3m", "8m"]
    row = table.data.query("map == '3m' and algorithm == 'qmix'").iloc[0]
    text = f"{row['mean']:.2f} [{row['low']:.2f}, {row['high']:.2f}] (n = 2)"
    line = table.markdown().splitlines()[4]
    assert line.replace("**", "").endswith(f"| {text} |")


def test_missing_runs_stand_in_the_caption_and_as_dashes(made):
    table = made["win_rate_smac_final"]
    assert f"{LACKING}: QMIX on 3m (seed 2); QMIX on 8m (seed 0, 1, 2)." in table.caption
    assert table.rows["8m"][1].number == tables.DASH
    aggregate = made["aggregate_final"]
    assert f"{LEFT_OUT}: 8m." in aggregate.caption
    assert f"{LACKING}: QMIX 1." in aggregate.caption


def test_methods_are_judged_where_the_shortest_training_ends():
    """As R3DM in config/reference.yaml; a variant of the same name has an end of its own."""
    table = pd.concat(
        [
            synthetic.study(["3m"], ["qmix"], seeds=2),
            synthetic.study(["3m"], ["r3dm"], seeds=2, budget=20_000),
            synthetic.study(["3m"], ["qmix"], seeds=2, variant="long"),
            synthetic.study(["3m"], ["r3dm"], seeds=2, variant="long", budget=30_000),
        ]
    )
    results = statistics.compute(table, replications=50)
    final = results["final"].query("metric == 'win_rate'").set_index(["algorithm", "variant"])
    training = final.query("phase == 'training'")
    assert (training["n"] == 2).all()
    assert training["end"].to_dict() == {
        ("r3dm", "default"): 20_000,
        ("qmix", "default"): 20_000,
        ("r3dm", "long"): 30_000,
        ("qmix", "long"): 40_000,
    }
    earlier = table.query("algorithm == 'qmix' and variant == 'default' and step == 20_000")
    earlier = earlier[earlier["phase"] == "training"]["battle_won"].mean()
    assert training.loc[("qmix", "default"), "mean"] == pytest.approx(earlier)
    best = final.query("phase == 'absolute'")["n"].to_dict()
    assert best[("r3dm", "default")] == 2
    assert best.get(("qmix", "default"), 0) == 0  # may come from beyond the end
    made = {table.name: table for table in tables.make(results)}
    judged = "were evaluated: 3m at 20,000 env steps (QMIX went on to 40,000)."
    for name in ("win_rate_smac_final", "aggregate_final", "improvement_smac_final"):
        assert judged in made[name].caption
    assert LACKING not in made["win_rate_smac_final"].caption
    assert LEFT_OUT not in made["aggregate_final"].caption
    for name in ("aggregate_absolute", "improvement_smac_absolute"):
        assert f"{LEFT_OUT}: 3m. (A run that went on beyond its map's end" in made[name].caption


def test_best_of_the_row_is_bold_and_least_for_the_gap(made):
    for name, cells in made["aggregate_final"].rows.items():
        values = [round(cell.value, 2) for cell in cells]
        best = min(values) if "gap" in name else max(values)
        assert [cell.bold for cell in cells] == [value == best for value in values]


def separated(seeds: int, algorithms: list[str]) -> dict[str, tables.Table]:
    """Tables of methods of which the first wins every battle and the others none."""
    runs = [
        synthetic.run("3m", name, seed).assign(battle_won=name == algorithms[0])
        for name, seed in itertools.product(algorithms, range(seeds))
    ]
    results = statistics.compute(pd.concat(runs, ignore_index=True), replications=50)
    return {table.name: table for table in tables.make(results)}


def test_improvement_is_bold_where_the_test_says_so():
    table = separated(4, ["r3dm", "qmix"])["improvement_smac_final"]
    assert table.rows["R3DM"][0].number == tables.DASH
    assert [cell.bold for cell in table.rows["R3DM"]] == [False, True]  # p = 2 / 70
    assert not any(cell.bold for cell in table.rows["QMIX"])
    assert "exact permutation test" in table.caption
    assert "Too few runs" not in table.caption
    assert "Bootstrap intervals of few runs are too narrow" in table.caption


def test_no_interval_of_few_runs_makes_an_improvement_bold():
    """Three runs that beat three others have p = 0.1; four as one of three comparisons, 0.09."""
    for seeds, algorithms in ((3, ["r3dm", "qmix"]), (4, ["r3dm", "qmix", "acorm"])):
        table = separated(seeds, algorithms)["improvement_smac_final"]
        assert table.rows["R3DM"][1].interval == "[1.00, 1.00]"
        assert not any(cell.bold for cells in table.rows.values() for cell in cells)
        pairs = len(algorithms) * (len(algorithms) - 1) // 2
        assert f"Too few runs for it: {pairs} of {pairs} comparisons." in table.caption


def test_improvement_says_which_runs_it_is_of(made):
    caption = made["improvement_smac_final"].caption
    assert "draws counted as half" in caption
    assert "per method, SMAC 2 to 3 runs on 1 map" in caption
    assert f"{LEFT_OUT}: 8m." in caption
    assert f"{LACKING}: QMIX 1." in caption
    assert LACKING not in made["improvement_smacv2_final"].caption
    assert "draws counted as half" in figures.captions(["3m"])["improvement_smac"]


def test_latex_is_escaped_and_balanced(made):
    for table in made.values():
        text = table.latex()
        assert text.count("{") == text.count("}")
        assert "95 \\%" in text
        body = text.split("\\midrule")[1].split("\\bottomrule")[0].strip().splitlines()
        assert len(body) == len(table.rows)
        for line in body:
            assert line.replace(r"\&", "").count(" & ") == len(table.columns)
        assert text.isascii()
    assert r"terran\_3\_vs\_3" in made["return_smacv2_final"].latex()


def test_csv_is_unrounded_and_typed(made, tmp_path):
    tables.write(list(made.values()), tmp_path)
    table = pd.read_csv(tmp_path / "return_smac_absolute.csv")
    assert set(table["phase"]) == {"absolute"}
    assert set(table["metric"]) == {"return"}
    assert table["n"].tolist() == [3, 3, 2, 0]


def test_study_of_one_method_one_map_one_seed(tmp_path):
    table = synthetic.study(["3m"], ["qmix"], seeds=1, absolute=0)
    made = {t.name: t for t in tables.make(statistics.compute(table, replications=50))}
    tables.write(list(made.values()), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(tables.outputs(["3m"]))
    assert made["win_rate_smac_final"].rows["3m"][0].interval == ""
    assert made["win_rate_smac_absolute"].rows["3m"][0].number == tables.DASH
    assert np.isnan(made["improvement_smac_final"].rows["QMIX"][0].value)


def test_single_maps_and_runs_are_counted_in_the_singular():
    table = synthetic.study(["3m"], ["qmix"], seeds=1)
    made = {t.name: t for t in tables.make(statistics.compute(table, replications=50))}
    assert "SMAC 1 run on 1 map." in made["aggregate_final"].caption


def test_names_are_escaped_for_each_output():
    name = "a$x$ ^~|\n\n*b*_ <c>"
    cell = tables.Cell(-0.001, -0.004, 0.2)
    table = tables.Table("t", name, name, [name], {name: [cell]}, pd.DataFrame())
    tex = table.latex()
    row = r"a\$x\$ \textasciicircum{}\textasciitilde{}\textbar{} *b*\_ \textless{}c\textgreater{}"
    assert tex.count(row) == 4
    assert "\n\n" not in tex
    text = table.markdown()
    assert text.count(r"a\$x\$ ^\~\| \*b\*\_ \<c>") == 4
    assert len(text.splitlines()) == 5
    assert "0.00 [0.00, 0.20]" in text  # no -0.00
    assert "**t**\n" not in text
