"""Each rule finds the defect that was planted, in what was planted, and nothing in clean data."""

from dataclasses import replace

import numpy as np
import pytest

from benchmark.errors import BenchmarkError
from benchmark.published import pictures
from benchmark.published.audit import COLUMNS, audit, check_keep
from benchmark.published.findings import SEVERITIES
from benchmark.published.release import Cell
from benchmark.published.rules import RULES
from benchmark.published.run_scores import Measurement, scores
from tests.published import releases
from tests.published.releases import END, INTERVAL, POINTS

CORRIDOR = Cell("corridor", "qmix", "default", "win_rate")


def found(curves, rule, **source):
    """The findings of one rule."""
    result = audit(releases.release(curves, **source))
    return [finding for finding in result.findings if finding.rule == rule]


def excluded(curves, **source) -> set[str]:
    """Files of which something is left out."""
    result = audit(releases.release(curves, **source))
    return {part.curve.file for finding in result.findings for part in finding.excludes}


def others(curves, *names):
    """The curves without some files."""
    return [curve for curve in curves if curve.file not in names]


@pytest.fixture
def clean():
    return releases.clean()


def qmix(number: int, **changes):
    """A run of qmix on corridor, with something changed."""
    return replace(releases.run(skill=0.4, seed=number), **changes)


def off_grid(curves):
    """The same run as a training statistic: on no grid."""
    noise = np.random.default_rng(1).uniform(0.2, 0.8, len(curves.value)) / 32
    return replace(curves, value=np.clip(curves.value + noise, 0, 0.99))


def test_nothing_is_found_in_clean_data(clean):
    assert audit(releases.release(clean)).findings == []


def test_nothing_is_found_in_a_clean_group(clean):
    runs = [
        curve for curve in clean if curve.cell == Cell("corridor", "r3dm", "default", "win_rate")
    ]
    rest = [curve for curve in clean if curve.cell.metric == "win_rate" and curve not in runs]
    rules = {
        finding.rule for finding in audit(releases.release([*rest, releases.group(runs)])).findings
    }
    assert rules == {"aggregated_as_runs"}


def test_every_rule_says_what_it_finds_and_why_that_matters():
    assert all(rule.finds and rule.__doc__ for rule in RULES.values())


def test_a_ceiling_is_nothing_invented(clean):
    """Runs that win everything at the end: returns of exactly 20, win rates of 1."""
    runs = [curve for curve in clean if curve.cell[:2] == CORRIDOR[:2]]
    for curve in runs:
        curve.value[30:] = {"win_rate": 1.0, "return": 20.0}[curve.cell.metric]
    assert found(clean, "filled") == []
    assert excluded(clean) == set()


@pytest.mark.parametrize("episodes", [20, 32])
def test_the_number_of_episodes_is_found(clean, episodes):
    curves = [
        replace(curve, value=np.round(curve.value * episodes) / episodes)
        for curve in clean
        if curve.cell.metric == "win_rate"
    ]
    assert releases.release(curves).episodes == episodes


def test_training_statistics_are_no_multiples(clean):
    wrong = off_grid(qmix(0))
    curves = [wrong, *others(clean, wrong.file)]
    (finding,) = found(curves, "not_test")
    assert finding.severity == "error"
    assert finding.cell == CORRIDOR
    assert finding.curves[0] is wrong
    assert excluded(curves) == {wrong.file}
    assert "(n = 4) \u2192" in finding.effect
    assert "(n = 3)" in finding.effect


def test_a_silent_curve_follows_its_companions(clean):
    """It never wins; without a tag nothing tells it from the training statistics beside it."""
    nameless = [off_grid(replace(qmix(seed), tag="")) for seed in (0, 1)]
    silent = qmix(2, tag="", value=np.zeros(POINTS))
    rest = [curve for curve in clean if curve.cell != CORRIDOR]
    assert excluded([*rest, *nameless, silent]) == {s.file for s in (*nameless, silent)}
    (finding,) = found([*rest, *nameless, silent], "not_test_kin")
    assert finding.curves[0] is silent
    named = replace(silent, tag="test_battle_won_mean")
    assert named.file not in excluded([*rest, *nameless, named])


def test_a_silent_curve_alone_stays_and_is_noted(clean):
    rest = [curve for curve in clean if curve.cell != CORRIDOR]
    silent = [qmix(seed, tag="", value=np.zeros(POINTS)) for seed in (0, 1)]
    (finding,) = found([*rest, *silent], "test_or_training")
    assert finding.severity == "note"
    assert excluded([*rest, *silent]) == set()


@pytest.mark.parametrize("tag", ["battle_won_mean", "return_mean", "train/win_rate"])
def test_tags_of_training(clean, tag):
    wrong = qmix(0, tag=tag)
    (finding,) = found([wrong, *others(clean, wrong.file)], "training_tag")
    assert [c.name for c in finding.curves] == [wrong.file]


@pytest.mark.parametrize("value", [-0.1, 1.2, 100])
def test_win_rates_out_of_range(clean, value):
    wrong = qmix(0)
    wrong.value[30] = value
    curves = [wrong, *others(clean, wrong.file)]
    assert [f.cell for f in found(curves, "out_of_range")] == [CORRIDOR]
    assert excluded(curves) == {wrong.file}


def test_returns_above_a_victory(clean):
    high = releases.run(metric="return")
    high = replace(high, value=high.value * 2)
    curves = [high, *others(clean, high.file)]
    (finding,) = found(curves, "out_of_range")
    assert finding.cell == CORRIDOR._replace(metric="return")
    assert excluded(curves) == set()


def test_copies_count_once(clean):
    copy = qmix(0, file="win/corridor/qmix_seed0 copy.csv")
    under_another_seed = qmix(1, file="win/corridor/qmix_seed7.csv", seed=7)
    original = [qmix(seed) for seed in (0, 1)]
    rest = others(clean, *(curve.file for curve in original))
    curves = [copy, under_another_seed, *original, *rest]
    (finding,) = found(curves, "counted_twice")
    assert "2 of 6 curves are copies" in finding.evidence
    assert excluded(curves) == {copy.file, under_another_seed.file}
    cleaned = audit(releases.release(curves)).cleaned()
    assert len(cleaned.cells[CORRIDOR]) == 4


def test_copies_that_differ_only_in_their_clock(clean):
    copy = qmix(0, file="win/corridor/qmix_seed8.csv", seed=8)
    copy = replace(copy, wall=copy.wall + 5)
    (finding,) = found([copy, *clean], "counted_twice")
    assert "the same 61 values" in finding.evidence


def test_two_runs_that_never_win_are_no_copies(clean):
    """Arrays without steps: all zeros look alike."""
    grid = np.arange(POINTS) * INTERVAL
    zeros = [qmix(seed, value=np.zeros(POINTS), steps=grid) for seed in (0, 1)]
    rest = others(clean, *(curve.file for curve in zeros))
    (finding,) = found([*zeros, *rest], "counted_twice")
    assert finding.severity == "note"
    assert excluded([*zeros, *rest]) == set()


@pytest.mark.parametrize(
    "change", [{"map": "MMM2"}, {"algorithm": "emc"}, {"variant": "slow"}], ids=str
)
def test_one_run_under_two_names_belongs_to_its_twin(clean, change):
    original = next(curve for curve in clean if curve.cell == CORRIDOR and curve.seed == 0)
    cell = CORRIDOR._replace(**change)
    impostor = replace(original, seed=9, cell=cell, file="win/other_seed9.csv")
    (finding,) = found([impostor, *clean], "under_two_names")
    assert finding.cell == impostor.cell
    assert excluded([impostor, *clean]) == {impostor.file}


def test_one_run_under_two_names_without_a_twin_is_believed_nowhere(clean):
    wins = [curve for curve in clean if curve.cell.metric == "win_rate"]
    original = wins[0]
    elsewhere = original.cell._replace(map="MMM2")
    impostor = replace(original, cell=elsewhere, file="win/MMM2/x_seed9.csv")
    assert excluded([impostor, *wins]) == {impostor.file, original.file}


def test_a_curve_of_several_figures_is_one(clean):
    again = qmix(0, panel="ablation", file="ablation/qmix_seed0.csv")
    (finding,) = found([*clean, again], "reused")
    assert finding.severity == "note"
    result = audit(releases.release([*clean, again]))
    assert len(result.as_released().cells[CORRIDOR]) == 4


def test_a_run_made_of_another(clean):
    first, second = qmix(0), qmix(1)
    mended = second.value.copy()
    mended[15:45] = first.value[15:45]
    mended = replace(second, value=mended)
    curves = [mended, *others(clean, second.file)]
    (finding,) = found(curves, "shared_stretch")
    assert set([c.name for c in finding.curves]) == {first.file, second.file}
    assert excluded(curves) == {second.file}  # the later name
    patched = replace(first, value=first.value.copy())
    patched.value[5:9] += 0.4 / 32  # off the grid: this one was touched
    curves = [patched, mended, *others(clean, first.file, second.file)]
    assert first.file in excluded(curves)


def test_filled_stretches_are_cut_out(clean):
    line, frozen = qmix(0), qmix(1)
    line.value[20:27] = np.linspace(0.11, 0.29, 7)
    frozen.value[30:44] = 0.5
    curves = [line, frozen, *others(clean, line.file, frozen.file)]
    straight, still = found(curves, "filled")
    assert "straight line" in straight.evidence
    assert [part.rows for part in straight.excludes] == [(20, 26)]
    assert [part.rows for part in still.excludes] == [(30, 43)]
    cleaned = audit(releases.release(curves)).cleaned()
    assert sorted(len(curve.value) for curve in cleaned.cells[CORRIDOR])[:2] == [
        POINTS - 14,
        POINTS - 7,
    ]


def test_filled_stretches_of_returns(clean):
    line = releases.run(metric="return")
    line.value[20:30] = np.linspace(8, 9, 10)
    (finding,) = found([line, *others(clean, line.file)], "filled")
    assert [part.rows for part in finding.excludes] == [(20, 29)]


def test_values_that_are_no_numbers_and_steps_that_go_back(clean):
    broken = qmix(0)
    broken.value[10] = np.nan
    broken.steps[40] = broken.steps[30]
    curves = [broken, *others(clean, broken.file)]
    findings = found(curves, "disorder")
    assert {finding.severity for finding in findings} == {"warning", "error"}
    assert {finding.curves[0].name for finding in findings} == {broken.file}


def test_truncated_runs(clean):
    short, stub = qmix(0).between(-1, END / 2), qmix(1).between(-1, 2 * INTERVAL)
    curves = [short, stub, *others(clean, short.file, stub.file)]
    severities = {f.curves[0].name: f.severity for f in found(curves, "truncated")}
    assert severities == {short.file: "warning", stub.file: "error"}
    assert excluded(curves) == {stub.file}
    cleaned = audit(releases.release(curves)).cleaned().cells[CORRIDOR]
    assert len(scores(cleaned, END, Measurement(INTERVAL, 32)).value) == 2


def test_curves_that_lose_runs(clean):
    runs = [qmix(seed) for seed in range(4)]
    lost = [runs[0].between(-1, END / 2), *runs[1:]]
    rest = [curve for curve in clean if curve.cell != CORRIDOR]
    (finding,) = found([*rest, releases.group(lost)], "number_of_runs")
    assert finding.evidence.startswith("runs: 4 from step 0, 3 from step")
    assert found([*rest, releases.group(runs)], "number_of_runs") == []


def test_methods_with_different_numbers_of_runs(clean):
    more = qmix(4)
    (finding,) = found([*clean, more], "different_numbers")
    assert finding.evidence == "qmix 5, r3dm 4"


def test_unequal_grids(clean):
    slow = qmix(0)
    slow = replace(slow, steps=(slow.steps * 1.1).astype(np.int64))
    curves = [slow, *others(clean, slow.file)]
    (finding,) = found(curves, "unequal_grid")
    assert finding.cell == CORRIDOR
    assert finding.severity == "warning"


def test_offsets_of_the_step_counter(clean):
    ahead = [replace(s, steps=s.steps + 300 * (s.steps > 0)) for s in clean if s.cell == CORRIDOR]
    rest = others(clean, *(curve.file for curve in ahead))
    (finding,) = found([*ahead, *rest], "step_offset")
    assert "qmix 30" in finding.evidence
    assert finding.cell.map == "corridor"


def test_runs_of_one_method_with_different_offsets(clean):
    two = [replace(s, steps=s.steps + 300 * (s.steps > 0)) for s in clean if s.cell == CORRIDOR][:2]
    curves = [*two, *others(clean, *(curve.file for curve in two))]
    (finding,) = found(curves, "step_offset")
    assert "qmix joins runs of different set-ups" in finding.effect


def test_win_rates_and_returns_of_other_runs(clean):
    stranger = releases.run(metric="return", skill=0.4)
    stranger = replace(stranger, steps=stranger.steps + 7)
    curves = [stranger, *others(clean, stranger.file)]
    (finding,) = found(curves, "metrics_of_other_runs")
    assert finding.cell == CORRIDOR._replace(metric="return")
    assert "1 in common" not in finding.evidence
    assert "0 in common (not one run)" in finding.evidence


def test_groups_of_other_runs(clean):
    wins = [curve for curve in clean if curve.cell == CORRIDOR]
    returns = [releases.run(metric="return", skill=0.4, seed=seed) for seed in range(5)]
    earned = replace(releases.group(returns), cell=CORRIDOR._replace(metric="return"), file="r.csv")
    rest = [curve for curve in clean if curve.cell[:2] != CORRIDOR[:2]]
    (finding,) = found([*rest, releases.group(wins), earned], "metrics_of_other_runs")
    assert "about 1 run with a return only, about 0 runs with a win rate only" in finding.evidence


def test_returns_in_units_of_their_own(clean):
    scaled = releases.run(metric="return", skill=0.4)
    scaled = replace(scaled, value=scaled.value * 1.5)
    curves = [scaled, *others(clean, scaled.file)]
    (finding,) = found(curves, "return_scale")
    assert finding.size == pytest.approx(1.5, abs=0.15)


def test_extremes_are_no_runs(clean):
    runs = [curve for curve in clean if curve.cell == CORRIDOR]
    rest = [curve for curve in clean if curve.cell != CORRIDOR]
    (finding,) = found([*rest, releases.group(runs)], "aggregated_as_runs")
    assert finding.severity == "warning"


def test_dates_that_disagree(clean):
    honest = qmix(0, file="win/corridor/qmix_seed0_2023-11-15_10-00-00.csv")
    renamed = qmix(1, file="win/corridor/qmix_seed1_2024-05-01_10-00-00.csv")
    rest = [curve for curve in clean if curve.cell != CORRIDOR]
    (finding,) = found([*rest, honest, renamed], "name_date")
    assert [c.name for c in finding.curves] == [renamed.file]
    assert "2023-11-14" in finding.evidence


def test_variants_that_only_their_file_names_tell(clean):
    wins = [curve for curve in clean if curve.cell.metric == "win_rate"]
    runs = [qmix(seed) for seed in range(3)]
    slow = [releases.run(variant="slow", seed=seed) for seed in range(3)]
    groups = [
        replace(releases.group(runs, "one"), file="groups/a.csv"),
        replace(releases.group(slow, "one"), file="groups/b.csv"),
    ]
    (finding,) = found([*wins, *groups], "unverifiable_label")
    assert len(finding.curves) == 2


def test_groups_that_are_joined(clean):
    runs = [qmix(seed) for seed in range(4)]
    parts = [releases.group(runs[:3], "one"), releases.group(runs[3:], "two")]
    rest = [curve for curve in clean if curve.cell != CORRIDOR]
    (finding,) = found([*rest, *parts], "several_groups")
    assert finding.cell == CORRIDOR


def test_users_put_back_by_rule_and_by_file(clean):
    copies = [qmix(s, file=f"win/corridor/qmix_seed{s} copy.csv") for s in (0, 1)]
    release = releases.release([*copies, *clean])
    assert len(audit(release).cleaned().cells[CORRIDOR]) == 4
    assert len(audit(release, ["counted_twice"]).cleaned().cells[CORRIDOR]) == 6
    assert len(audit(release, ["*seed1 copy*"]).cleaned().cells[CORRIDOR]) == 5
    check_keep(["counted_twice", "*seed1 copy*"], [release])
    with pytest.raises(BenchmarkError, match="no_such: neither a rule"):
        check_keep(["no_such"], [release])


def test_the_table_of_findings(clean):
    wrong = off_grid(qmix(0))
    stub = qmix(1).between(-1, INTERVAL)
    result = audit(releases.release([wrong, stub, *others(clean, wrong.file, stub.file)]))
    table = result.table()
    assert list(table.columns) == COLUMNS
    severities = [SEVERITIES.index(curve) for curve in table["severity"]]
    assert severities == sorted(severities)
    assert set(table["source"]) == {"made_up"}
    assert wrong.file in table.query("rule == 'not_test'")["excluded"].item()
    assert "not_test" in result.rules_of(CORRIDOR)
    assert "not_test" not in result.rules_of(CORRIDOR, left=True)


def test_pictures_of_every_rule_that_has_one(clean):
    """All planted at once: curve picture is drawn."""
    twin = next(curve for curve in clean if curve.cell == CORRIDOR and curve.seed == 2)
    planted = [
        off_grid(qmix(0)),
        qmix(1, file="win/corridor/qmix_seed1 copy.csv"),
        replace(twin, cell=twin.cell._replace(map="MMM2"), file="win/MMM2/qmix_seed9.csv"),
    ]
    mended = releases.run("MMM2", "r3dm", 1, skill=0.8)
    other = releases.run("MMM2", "r3dm", 0, skill=0.8)
    mended.value[10:50] = other.value[10:50]
    line = releases.run("MMM2", "r3dm", 2, skill=0.8)
    line.value[20:27] = np.linspace(0.11, 0.29, 7)
    ahead = releases.run("MMM2", "r3dm", 3, skill=0.8).between(-1, END / 2)
    ahead = replace(ahead, steps=ahead.steps + 300 * (ahead.steps > 0))
    scaled = releases.run(metric="return", skill=0.4)
    scaled = replace(scaled, value=scaled.value * 1.5)
    planted += [mended, line, ahead, scaled]
    files = [curve.file for curve in planted]
    result = audit(releases.release([*planted, *others(clean, *files)]))
    drawn = {finding.rule for finding in result.findings} & set(pictures.PANELS)
    assert drawn == set(pictures.PANELS)
    figure = pictures.of_audit(result)
    assert len(figure.axes) == len(pictures.PANELS)
    assert all(axes.get_title() and axes.get_xlabel() for axes in figure.axes)
    assert pictures.of_audit(audit(releases.release(clean))) is None
