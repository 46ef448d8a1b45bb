"""Each rule finds the defect that was planted, in what was planted, and nothing in clean data."""

from dataclasses import replace

import numpy as np
import pytest

from benchmark.errors import BenchmarkError
from benchmark.published import evidence
from benchmark.published.audit import COLUMNS, audit, check_keep
from benchmark.published.findings import SEVERITIES
from benchmark.published.rules import RULES
from benchmark.published.runs import Measurement, scores
from benchmark.published.table import Cell
from tests.published import releases
from tests.published.releases import END, INTERVAL, POINTS

CORRIDOR = Cell("corridor", "qmix", "default", "win_rate")


def found(series, rule, **source):
    """The findings of one rule."""
    result = audit(releases.release(series, **source))
    return [finding for finding in result.findings if finding.rule == rule]


def excluded(series, **source) -> set[str]:
    """Files of which something is left out."""
    result = audit(releases.release(series, **source))
    return {each.file for finding in result.findings for each in finding.excludes}


def others(series, *names):
    """The series without some files."""
    return [each for each in series if each.file not in names]


@pytest.fixture
def clean():
    return releases.clean()


def qmix(number: int, **changes):
    """A run of qmix on corridor, with something changed."""
    return replace(releases.run(skill=0.4, seed=number), **changes)


def off_grid(series):
    """The same run as a training statistic: on no grid."""
    noise = np.random.default_rng(1).uniform(0.2, 0.8, len(series.value)) / 32
    return replace(series, value=np.clip(series.value + noise, 0, 0.99))


def test_nothing_is_found_in_clean_data(clean):
    assert audit(releases.release(clean)).findings == []


def test_nothing_is_found_in_a_clean_group(clean):
    runs = [each for each in clean if each.cell == Cell("corridor", "r3dm", "default", "win_rate")]
    rest = [each for each in clean if each.cell.metric == "win_rate" and each not in runs]
    rules = {
        finding.rule for finding in audit(releases.release([*rest, releases.group(runs)])).findings
    }
    assert rules == {"aggregated_as_runs"}


def test_every_rule_says_what_it_finds():
    for name, rule in RULES.items():
        first, _, rest = rule.__doc__.partition("\n")
        assert first.startswith("Finds "), name
        assert rest.strip(), name  # and why it matters


@pytest.mark.parametrize("episodes", [20, 32])
def test_the_number_of_episodes_is_found(clean, episodes):
    series = [
        replace(each, value=np.round(each.value * episodes) / episodes)
        for each in clean
        if each.cell.metric == "win_rate"
    ]
    assert releases.release(series).episodes == episodes


def test_training_statistics_are_no_multiples(clean):
    wrong = off_grid(qmix(0))
    series = [wrong, *others(clean, wrong.file)]
    (finding,) = found(series, "not_test")
    assert finding.severity == "error"
    assert finding.cell == CORRIDOR
    assert finding.series[0] is wrong
    assert excluded(series) == {wrong.file}
    assert "(n = 4) \u2192" in finding.effect
    assert "(n = 3)" in finding.effect


def test_a_silent_curve_follows_its_companions(clean):
    """It never wins; without a tag nothing tells it from the training statistics beside it."""
    nameless = [off_grid(replace(qmix(seed), tag="")) for seed in (0, 1)]
    silent = qmix(2, tag="", value=np.zeros(POINTS))
    rest = [each for each in clean if each.cell != CORRIDOR]
    assert excluded([*rest, *nameless, silent]) == {s.file for s in (*nameless, silent)}
    (finding,) = found([*rest, *nameless, silent], "not_test_kin")
    assert finding.series[0] is silent
    named = replace(silent, tag="test_battle_won_mean")
    assert named.file not in excluded([*rest, *nameless, named])


def test_a_silent_curve_alone_stays_and_is_noted(clean):
    rest = [each for each in clean if each.cell != CORRIDOR]
    silent = [qmix(seed, tag="", value=np.zeros(POINTS)) for seed in (0, 1)]
    (finding,) = found([*rest, *silent], "test_or_training")
    assert finding.severity == "note"
    assert excluded([*rest, *silent]) == set()


@pytest.mark.parametrize("tag", ["battle_won_mean", "return_mean", "train/win_rate"])
def test_tags_of_training(clean, tag):
    wrong = qmix(0, tag=tag)
    (finding,) = found([wrong, *others(clean, wrong.file)], "training_tag")
    assert finding.files == [wrong.file]


@pytest.mark.parametrize("value", [-0.1, 1.2, 100])
def test_win_rates_out_of_range(clean, value):
    wrong = qmix(0)
    wrong.value[30] = value
    series = [wrong, *others(clean, wrong.file)]
    assert [f.cell for f in found(series, "out_of_range")] == [CORRIDOR]
    assert excluded(series) == {wrong.file}


def test_returns_above_a_victory(clean):
    high = releases.run(metric="return")
    high = replace(high, value=high.value * 2)
    series = [high, *others(clean, high.file)]
    (finding,) = found(series, "out_of_range")
    assert finding.cell == CORRIDOR._replace(metric="return")
    assert excluded(series) == set()


def test_copies_count_once(clean):
    copy = qmix(0, file="win/corridor/qmix_seed0 copy.csv")
    under_another_seed = qmix(1, file="win/corridor/qmix_seed7.csv", seed=7)
    original = [qmix(seed) for seed in (0, 1)]
    rest = others(clean, *(each.file for each in original))
    series = [copy, under_another_seed, *original, *rest]
    (finding,) = found(series, "counted_twice")
    assert "2 of 6 curves are copies" in finding.evidence
    assert excluded(series) == {copy.file, under_another_seed.file}
    cleaned = audit(releases.release(series)).cleaned()
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
    rest = others(clean, *(each.file for each in zeros))
    (finding,) = found([*zeros, *rest], "counted_twice")
    assert finding.severity == "note"
    assert excluded([*zeros, *rest]) == set()


@pytest.mark.parametrize(
    "change", [{"map": "MMM2"}, {"algorithm": "emc"}, {"variant": "slow"}], ids=str
)
def test_one_run_under_two_names_belongs_to_its_twin(clean, change):
    original = next(each for each in clean if each.cell == CORRIDOR and each.seed == 0)
    cell = CORRIDOR._replace(**change)
    impostor = replace(original, seed=9, cell=cell, file="win/other_seed9.csv")
    (finding,) = found([impostor, *clean], "under_two_names")
    assert finding.cell == impostor.cell
    assert excluded([impostor, *clean]) == {impostor.file}


def test_one_run_under_two_names_without_a_twin_is_believed_nowhere(clean):
    wins = [each for each in clean if each.cell.metric == "win_rate"]
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
    series = [mended, *others(clean, second.file)]
    (finding,) = found(series, "shared_stretch")
    assert set(finding.files) == {first.file, second.file}
    assert excluded(series) == {second.file}  # the later name
    patched = replace(first, value=first.value.copy())
    patched.value[5:9] += 0.4 / 32  # off the grid: this one was touched
    series = [patched, mended, *others(clean, first.file, second.file)]
    assert first.file in excluded(series)


def test_filled_stretches_are_cut_out(clean):
    line, frozen = qmix(0), qmix(1)
    line.value[20:27] = np.linspace(0.11, 0.29, 7)
    frozen.value[30:44] = 0.5
    series = [line, frozen, *others(clean, line.file, frozen.file)]
    straight, still = found(series, "filled")
    assert "straight line" in straight.evidence
    assert [each.rows for each in straight.excludes] == [(20, 26)]
    assert [each.rows for each in still.excludes] == [(30, 43)]
    cleaned = audit(releases.release(series)).cleaned()
    assert sorted(len(each.value) for each in cleaned.cells[CORRIDOR])[:2] == [
        POINTS - 14,
        POINTS - 7,
    ]


def test_filled_stretches_of_returns(clean):
    line = releases.run(metric="return")
    line.value[20:30] = np.linspace(8, 9, 10)
    (finding,) = found([line, *others(clean, line.file)], "filled")
    assert [each.rows for each in finding.excludes] == [(20, 29)]


def test_values_that_are_no_numbers_and_steps_that_go_back(clean):
    broken = qmix(0)
    broken.value[10] = np.nan
    broken.steps[40] = broken.steps[30]
    series = [broken, *others(clean, broken.file)]
    findings = found(series, "disorder")
    assert {finding.severity for finding in findings} == {"warning", "error"}
    assert {finding.files[0] for finding in findings} == {broken.file}


def test_truncated_runs(clean):
    short, stub = qmix(0).between(-1, END / 2), qmix(1).between(-1, 2 * INTERVAL)
    series = [short, stub, *others(clean, short.file, stub.file)]
    severities = {f.files[0]: f.severity for f in found(series, "truncated")}
    assert severities == {short.file: "warning", stub.file: "error"}
    assert excluded(series) == {stub.file}
    cleaned = audit(releases.release(series)).cleaned().cells[CORRIDOR]
    assert len(scores(cleaned, END, Measurement(INTERVAL, 32)).value) == 2


def test_curves_that_lose_runs(clean):
    runs = [qmix(seed) for seed in range(4)]
    lost = [runs[0].between(-1, END / 2), *runs[1:]]
    rest = [each for each in clean if each.cell != CORRIDOR]
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
    series = [slow, *others(clean, slow.file)]
    (finding,) = found(series, "unequal_grid")
    assert finding.cell == CORRIDOR
    assert finding.severity == "warning"


def test_offsets_of_the_step_counter(clean):
    ahead = [replace(s, steps=s.steps + 300 * (s.steps > 0)) for s in clean if s.cell == CORRIDOR]
    rest = others(clean, *(each.file for each in ahead))
    (finding,) = found([*ahead, *rest], "step_offset")
    assert "qmix 30" in finding.evidence
    assert finding.cell.map == "corridor"


def test_runs_of_one_method_with_different_offsets(clean):
    two = [replace(s, steps=s.steps + 300 * (s.steps > 0)) for s in clean if s.cell == CORRIDOR][:2]
    series = [*two, *others(clean, *(each.file for each in two))]
    (finding,) = found(series, "step_offset")
    assert "qmix joins runs of different set-ups" in finding.effect


def test_win_rates_and_returns_of_other_runs(clean):
    stranger = releases.run(metric="return", skill=0.4)
    stranger = replace(stranger, steps=stranger.steps + 7)
    series = [stranger, *others(clean, stranger.file)]
    (finding,) = found(series, "metrics_of_other_runs")
    assert finding.cell == CORRIDOR._replace(metric="return")
    assert "1 in common" not in finding.evidence
    assert "0 in common (not one run)" in finding.evidence


def test_groups_of_other_runs(clean):
    wins = [each for each in clean if each.cell == CORRIDOR]
    returns = [releases.run(metric="return", skill=0.4, seed=seed) for seed in range(5)]
    earned = replace(releases.group(returns), cell=CORRIDOR._replace(metric="return"), file="r.csv")
    rest = [each for each in clean if each.cell[:2] != CORRIDOR[:2]]
    (finding,) = found([*rest, releases.group(wins), earned], "metrics_of_other_runs")
    assert "about 1 run with a return only, about 0 runs with a win rate only" in finding.evidence


def test_returns_in_units_of_their_own(clean):
    scaled = releases.run(metric="return", skill=0.4)
    scaled = replace(scaled, value=scaled.value * 1.5)
    series = [scaled, *others(clean, scaled.file)]
    (finding,) = found(series, "return_scale")
    assert finding.size == pytest.approx(1.5, abs=0.15)


def test_extremes_are_no_runs(clean):
    runs = [each for each in clean if each.cell == CORRIDOR]
    rest = [each for each in clean if each.cell != CORRIDOR]
    (finding,) = found([*rest, releases.group(runs)], "aggregated_as_runs")
    assert finding.severity == "warning"


def test_dates_that_disagree(clean):
    honest = qmix(0, file="win/corridor/qmix_seed0_2023-11-15_10-00-00.csv")
    renamed = qmix(1, file="win/corridor/qmix_seed1_2024-05-01_10-00-00.csv")
    rest = [each for each in clean if each.cell != CORRIDOR]
    (finding,) = found([*rest, honest, renamed], "name_date")
    assert finding.files == [renamed.file]
    assert "2023-11-14" in finding.evidence


def test_variants_that_only_their_file_names_tell(clean):
    wins = [each for each in clean if each.cell.metric == "win_rate"]
    runs = [qmix(seed) for seed in range(3)]
    slow = [releases.run(variant="slow", seed=seed) for seed in range(3)]
    groups = [
        replace(releases.group(runs, "one"), file="groups/a.csv"),
        replace(releases.group(slow, "one"), file="groups/b.csv"),
    ]
    (finding,) = found([*wins, *groups], "unverifiable_label")
    assert len(finding.series) == 2


def test_groups_that_are_joined(clean):
    runs = [qmix(seed) for seed in range(4)]
    parts = [releases.group(runs[:3], "one"), releases.group(runs[3:], "two")]
    rest = [each for each in clean if each.cell != CORRIDOR]
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
    severities = [SEVERITIES.index(each) for each in table["severity"]]
    assert severities == sorted(severities)
    assert set(table["source"]) == {"made_up"}
    assert wrong.file in table.query("rule == 'not_test'")["excluded"].item()
    assert "not_test" in result.rules_of(CORRIDOR)
    assert "not_test" not in result.rules_of(CORRIDOR, left=True)


def test_pictures_of_every_rule_that_has_one(clean):
    """All planted at once: each picture is drawn."""
    twin = next(each for each in clean if each.cell == CORRIDOR and each.seed == 2)
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
    files = [each.file for each in planted]
    result = audit(releases.release([*planted, *others(clean, *files)]))
    drawn = {finding.rule for finding in result.findings} & set(evidence.PICTURES)
    assert drawn == set(evidence.PICTURES)
    figure = evidence.draw(result)
    assert len(figure.axes) == len(evidence.PICTURES)
    assert all(axes.get_title() and axes.get_xlabel() for axes in figure.axes)
    assert evidence.draw(audit(releases.release(clean))) is None
