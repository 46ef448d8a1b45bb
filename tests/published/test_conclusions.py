"""The page on what a study's own runs say of the claims."""

import re

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from benchmark import files
from benchmark.published import claims, compare, conclusions, facts
from benchmark.training.config import run_path
from benchmark.training.evaluations import write_evaluations
from benchmark.training.run_record import DIGEST
from benchmark.training.study import load_study
from tests.analysis import synthetic

MAPS = ["5m_vs_6m", "terran_5_vs_5"]
STEPS = 200_000
REFERENCE = files.ROOT / "config" / "reference.yaml"


@pytest.fixture(scope="module")
def ours():
    """R3DM far ahead of QMIX with three runs each, ACORM with a single one."""
    table = synthetic.study(MAPS, ["r3dm", "qmix"], seeds=3, study="reference", budget=STEPS)
    alone = synthetic.run(MAPS[0], "acorm", 0, study="reference", budget=STEPS)
    return table, synthetic.provenance(table) + synthetic.provenance(alone), alone


def written(folder, table: pd.DataFrame, runs: list[dict], study="reference") -> str:
    digest = write_evaluations(table, folder / "evaluations.parquet")
    summary = {"runs": runs, "missing": [], "changed": [], "broken": [], DIGEST: digest}
    files.write_sealed(summary, folder / "runs.json")
    study = load_study(files.ROOT / "config" / f"{study}.yaml")
    claimed = claims.load(claims.PAPER)
    _, about = facts.read()
    conclusions.write(folder, study, about, claimed, folder / "page.md")
    return (folder / "page.md").read_text()


@pytest.fixture(scope="module")
def page(ours, tmp_path_factory) -> str:
    table, runs, alone = ours
    killed = {"started": "2025-12-31T00:00:00", "cpu_seconds": 7200.0}
    runs[0] |= {"attempts": [killed | {"hardware": {"device": "Some GPU"}}], "source_hash": "old"}
    runs[0]["dirty"] = True
    wanted = {run_path(run.identity): run for run in load_study(REFERENCE).runs()}
    runs[0]["config"] = wanted[run_path(runs[0])].resolved()  # else it is of another configuration
    return written(tmp_path_factory.mktemp("reference"), pd.concat([table, alone]), runs)


def test_comparisons_end_where_our_runs_end(page):
    said = [
        line
        for line in page.splitlines()
        if line.startswith("| R3DM ends with a higher test win rate")
    ]
    assert len(said) == 2, page
    assert all("200,000" in line and "QMIX | 3, 3" in line for line in said)


def test_what_is_not_there_is_named(page):
    assert "* ACORM on 5m_vs_6m: seeds 1, 2, 3, 4" in page
    needed = "needs two runs of r3dm and of one of acorm, qmix, cia, gomarl, cds, emc"
    assert f"over the SMAC maps: {needed} on all of its 6 maps" in page
    gain = "on some map: needs two runs of every method on one map to be shown, on all 12 to fail"
    assert gain in page
    assert (
        "still ends higher than ACORM: needs two runs of r3dm/no_contrast and of acorm on" in page
    )
    assert "imagining 10 steps ends lower than imagining 1, 2 or 5: needs" in page
    assert "nothing on this page is a result of another backend" in page
    assert "](images/" not in page


def test_cost_and_dates_of_runs_that_were_killed_or_say_nothing(page):
    assert "2025-12-31 to 2026-01-01" in page
    assert page.count("| 3 | not recorded | CPU |") == 3
    assert "| 3 | not recorded | CPU, Some GPU |" in page


def test_runs_of_other_code_are_named(page):
    assert "commit 0123456789ab, 0123456789ab with local changes." in page
    assert re.search(r"no longer the same .*\n\* (QMIX|R3DM) on 5m_vs_6m: seed 0\n\n", page)
    changed = page.partition("Made with another configuration")[2].partition("Code that")[0]
    assert sorted(re.findall(r"^\* (QMIX|R3DM) on 5m_vs_6m: seeds? (.*)$", changed, re.M)) in (
        [("QMIX", "0, 1, 2"), ("R3DM", "1, 2")],
        [("QMIX", "1, 2"), ("R3DM", "0, 1, 2")],
    )  # each run in one list


def test_a_page_of_the_stand_in_does_not_call_it_the_game(tmp_path):
    table = synthetic.study(MAPS, ["r3dm"], backend="standin", study="reference", budget=STEPS)
    text = written(tmp_path, table, synthetic.provenance(table))
    assert "Played by StarCraft II" not in text
    assert "stand-in" in text


def test_maps_without_published_curves_are_shown_too(tmp_path):
    """And a picture where there is one."""
    table = synthetic.study(["3m"], ["r3dm", "qmix"], study="learning", budget=STEPS)
    files.write(b"", tmp_path / "images" / "learning_smac.png")
    text = written(tmp_path, table, synthetic.provenance(table), "learning")
    assert "| 3m, 200,000 |" in text
    assert "](images/learning_smac.png)" in text
    assert re.search(r"\| 3m \| 0\.\d\d \| 0\.\d\d ", text)  # the power table


def test_methods_are_compared_where_the_shortest_trained_one_ends(tmp_path):
    table = pd.concat(
        [
            synthetic.study(MAPS[:1], ["r3dm"], seeds=3, study="reference", budget=STEPS),
            synthetic.study(MAPS[:1], ["qmix"], seeds=3, study="reference", budget=2 * STEPS),
        ]
    )
    text = written(tmp_path, table, synthetic.provenance(table))
    (row,) = (line for line in text.splitlines() if line.startswith("| 5m_vs_6m, 200,000 |"))
    assert row.count("(3)") == 2
    assert re.search(r"^\* QMIX on 5m_vs_6m, 400,000: 0\.\d\d .*\(3\)$", text, re.MULTILINE)
    assert "R3DM on 5m_vs_6m, " not in text
    assert "5m_vs_6m, 200,000 | QMIX | 3, 3 |" in text


def test_claims_on_all_maps_are_shown_once_all_maps_are_there(tmp_path):
    table = synthetic.study(synthetic.SMAC, ["r3dm", "qmix"], seeds=2, study="paper", budget=STEPS)
    text = written(tmp_path, table, synthetic.provenance(table), "paper")
    assert re.search(
        r"over the SMAC maps \| SMAC, 200,000 \| QMIX \| .* \| higher \| holds \|", text
    )
    assert "over the SMACv2 maps: needs two runs of r3dm and of one of" in text


def test_a_suite_whose_maps_end_at_different_steps_says_so(tmp_path):
    table = pd.concat(
        [
            synthetic.study(maps, ["r3dm", "qmix"], seeds=2, study="paper", budget=budget)
            for maps, budget in ((synthetic.SMAC[:3], STEPS), (synthetic.SMAC[3:], 2 * STEPS))
        ]
    )
    text = written(tmp_path, table, synthetic.provenance(table), "paper")
    assert re.search(r"over the SMAC maps \| SMAC, each map's end \| QMIX \|", text)
    assert "nan" not in text


def test_power_is_how_often_a_difference_is_found(ours):
    """Two-sided t-tests of runs that differ by the smallest difference find it in 80 %."""
    table, *_ = ours
    data = compare.our_data(table, {map: 10 * STEPS for map in MAPS})
    found = conclusions.power(data, MAPS[0], alpha=0.05, family=6)
    draws = np.random.default_rng(0).normal(0, found.sd, (2, 20_000, 3))
    for difference, level in zip(found.smallest[3], (0.05, 0.05 / 6), strict=True):
        tests = stats.ttest_ind(draws[0], draws[1] + difference, axis=1)
        assert np.mean(tests.pvalue < level) == pytest.approx(0.8, abs=0.01)


def test_spread_is_of_all_methods_together(ours):
    table, *_ = ours
    data = compare.our_data(table, {map: 10 * STEPS for map in MAPS})
    final = table[(table["phase"] == "training") & (table["step"] > STEPS - 100_000)]
    final = final[final["map"] == MAPS[0]]
    by_run = final.groupby(["algorithm", "seed"])["battle_won"].mean()
    variances = by_run.groupby("algorithm").var(ddof=1)
    found = conclusions.power(data, MAPS[0], alpha=0.05, family=6)
    assert found.sd == pytest.approx(np.sqrt(variances.mean()))


def test_short_runs_carry_a_flag(ours):
    table, *_ = ours
    data = compare.our_data(table, {MAPS[0]: 2_000_000, MAPS[1]: STEPS})
    flags = {cell.map: found for cell, found in data.flags.items()}
    assert flags == {MAPS[0]: ["judged at 200,000 of the published 2,000,000 steps"]}
