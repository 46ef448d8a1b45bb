"""Each rule finds the defect that was planted, in what was planted, and nothing in clean data."""

from dataclasses import replace

import numpy as np
import pytest

from benchmark.errors import BenchmarkError
from benchmark.published import pictures, rules
from benchmark.published.audit import COLUMNS, audit, check_keep
from benchmark.published.release import Cell
from benchmark.published.rules import RULES, SEVERITIES
from tests.published import releases
from tests.published.releases import END, INTERVAL, POINTS

CORRIDOR = Cell("corridor", "qmix", "default", "win_rate")
RETURN = CORRIDOR._replace(metric="return")


def found(curves, rule):
    """The findings of one rule."""
    result = audit(releases.release(curves))
    return [finding for finding in result.findings if finding.rule == rule]


def excluded(curves) -> set[str]:
    """Files of which something is left out."""
    result = audit(releases.release(curves))
    return {part.curve.file for finding in result.findings for part in finding.excludes}


@pytest.fixture
def clean():
    return releases.clean()


def qmix(number: int, **changes):
    """A run of qmix on corridor, with something changed."""
    return replace(releases.run(skill=0.4, seed=number), **changes)


def earned(seed: int = 0, scale: float = 1.0, **changes):
    """Its returns."""
    run = releases.run(metric="return", skill=0.4, seed=seed)
    return replace(run, value=run.value * scale, **changes)


def with_values(curve, place, numbers):
    """The same curve with other values at some places."""
    value = curve.value.copy()
    value[place] = numbers
    return replace(curve, value=value)


def off_grid(curve):
    """The same run as a training statistic: on no grid."""
    noise = np.random.default_rng(1).uniform(0.2, 0.8, len(curve.value)) / 32
    return replace(curve, value=np.clip(curve.value + noise, 0, 0.99))


def ahead(curve):
    """The same run with a counter that began earlier."""
    return replace(curve, steps=curve.steps + 300 * (curve.steps > 0))


def planted(clean, *curves):
    """The curves instead of those of the same files."""
    files = {curve.file for curve in curves}
    return [*curves, *(curve for curve in clean if curve.file not in files)]


def elsewhere(clean, *curves):
    """The curves instead of all win rates of qmix on corridor."""
    return [*curves, *(curve for curve in clean if curve.cell != CORRIDOR)]


def test_nothing_is_found_in_clean_data(clean):
    assert audit(releases.release(clean)).findings == []
    runs = [curve for curve in clean if curve.cell == CORRIDOR._replace(algorithm="r3dm")]
    rest = [curve for curve in clean if curve.cell.metric == "win_rate" and curve not in runs]
    findings = audit(releases.release([*rest, releases.group(runs)])).findings
    assert {finding.rule for finding in findings} == {"aggregated_as_runs"}


def test_every_rule_says_what_it_finds_and_why_that_matters():
    assert all(about["finds"] and getattr(rules, name).__doc__ for name, about in RULES.items())


def test_a_ceiling_is_nothing_invented(clean):
    """Runs that win everything at the end: returns of exactly 20, win rates of 1."""
    for curve in clean:
        if curve.cell[:2] == CORRIDOR[:2]:
            curve.value[30:] = {"win_rate": 1.0, "return": 20.0}[curve.cell.metric]
    assert found(clean, "filled") == []
    assert excluded(clean) == set()


def test_honest_runs_are_not_accused(clean):
    """One return above a victory's worth; runs without a seed; a method with fewer episodes."""
    for curve in clean:
        if curve.cell == RETURN:
            curve.value[30:] = 20.0
            curve.value[29] = 20.3
    assert found(clean, "filled") == []
    nameless = [replace(c, seed=None) if c.cell[:2] == CORRIDOR[:2] else c for c in clean]
    assert found(nameless, "metrics_of_other_runs") == []
    fewer = [qmix(s, value=np.round(qmix(s).value * 20) / 20) for s in range(4)]
    assert excluded(elsewhere(clean, *fewer)) == set()


@pytest.mark.parametrize("episodes", [20, 32])
def test_the_number_of_episodes_is_found(clean, episodes):
    wins = [curve for curve in clean if curve.cell.metric == "win_rate"]
    curves = [replace(c, value=np.round(c.value * episodes) / episodes) for c in wins]
    assert releases.release(curves).episodes == episodes


COPY = "win/corridor/qmix_seed0 copy.csv"
LINE = slice(20, 27), np.linspace(0.11, 0.29, 7)
GRID = np.arange(POINTS) * INTERVAL
#: rule, severity, what is planted, which of it is excluded, words of the evidence
DEFECTS = [
    ("not_test", "error", [off_grid(qmix(0))], [0], "1 of 4 curves: only"),
    ("training_tag", "error", [qmix(0, tag="battle_won_mean")], [0], "'battle_won_mean'"),
    ("training_tag", "error", [qmix(0, tag="return_mean")], [0], "'return_mean'"),
    ("training_tag", "error", [qmix(0, tag="train/win_rate")], [0], "'train/win_rate'"),
    ("out_of_range", "error", [with_values(qmix(0), 30, -0.1)], [0], "win rates from -0.1"),
    ("out_of_range", "error", [with_values(qmix(0), 30, 1.2)], [0], "to 1.2"),
    ("out_of_range", "error", [with_values(qmix(0), 30, 100)], [0], "to 100"),
    ("out_of_range", "warning", [earned(scale=2)], [], "where a victory is scaled to 20"),
    ("counted_twice", "error", [qmix(0, file=COPY)], [0], "1 of 5 curves are copies: byte-iden"),
    ("counted_twice", "error", [qmix(1, file=COPY, seed=7)], [0], "1 of 5 curves are copies"),
    ("counted_twice", "error", [qmix(0, file=COPY, wall=qmix(1).wall + 5)], [0], "same 61 values"),
    ("counted_twice", "note", [qmix(s, value=0 * GRID, steps=GRID) for s in (0, 1)], [], "stay at"),
    ("under_two_names", "error", [qmix(0, file="x", cell=CORRIDOR._replace(map="MMM2"))], [0], ""),
    ("under_two_names", "error", [qmix(0, file="x", cell=CORRIDOR._replace(variant="slow"))],
     [0], "corridor/qmix/default/win_rate has these steps, so it is the owner"),
    ("reused", "note", [qmix(0, panel="ablation", file="ablation/x")], [0], "again in ablation"),
    ("shared_stretch", "error", [with_values(qmix(1), slice(15, 45), qmix(0).value[15:45])],
     [0], "up to"),
    ("filled", "error", [with_values(qmix(0), *LINE)], [0], "(20 to 26, counted from 0) are no"),
    ("filled", "error", [with_values(qmix(0), slice(30, 44), 0.5)], [0], "are all 0.5"),
    ("filled", "error", [with_values(earned(), slice(20, 30), np.linspace(8, 9, 10))], [0],
     "10 evaluations in a row (20 to 29, counted from 0) are on a straight line"),
    ("disorder", "warning", [with_values(qmix(0), 10, np.nan)], [], "1 of 61 values"),
    ("disorder", "error", [qmix(0, steps=np.where(GRID == 400_000, 300_000, GRID))], [], "back 1"),
    ("truncated", "warning", [qmix(0).between(-1, END / 2)], [], "ends at step 290,039 of 600,000"),
    ("truncated", "error", [qmix(0).between(-1, 2 * INTERVAL)], [0], "after 2 evaluations"),
    ("different_numbers", "note", [qmix(4)], [], "qmix 5, r3dm 4"),
    ("unequal_grid", "warning", [qmix(0, steps=(GRID * 1.1).astype(int))], [], "4 runs with 61"),
    ("name_date", "warning", [qmix(4, file="win/x_2024-05-01_10-00-00.csv")], [], "ged 2023-11-14"),
    ("return_scale", "warning", [earned(scale=1.5)], [], "at a win rate of 0.3"),
    ("metrics_of_other_runs", "warning", [earned(steps=earned().steps + 7)], [],
     "0 in common (not one run)"),
    ("step_offset", "warning", [ahead(qmix(s)) for s in range(4)], [], "qmix 30"),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "severity", "curves", "left_out", "words"), DEFECTS)
def test_a_planted_defect_is_found(clean, rule, severity, curves, left_out, words):
    all_curves = planted(clean, *curves)
    (finding,) = found(all_curves, rule)
    assert finding.severity == severity
    assert set(curves) & set(finding.curves)
    assert words in finding.evidence
    assert excluded(all_curves) == {curves[number].file for number in left_out}
    if rule not in ("different_numbers", "step_offset"):  # they are about a whole map
        assert finding.cell in (curves[0].cell, RETURN)


def test_the_effect_says_what_all_exclusions_do(clean):
    (finding,) = found(planted(clean, off_grid(qmix(0))), "not_test")
    assert "(n = 4) \u2192" in finding.effect
    assert "(n = 3)" in finding.effect


def test_a_silent_curve_follows_its_companions(clean):
    """It never wins; without a tag it looks like the training statistics of its cell."""
    nameless = [off_grid(qmix(seed, tag="")) for seed in (0, 1)]
    silent = qmix(2, tag="", value=np.zeros(POINTS))
    curves = elsewhere(clean, *nameless, silent)
    assert excluded(curves) == {curve.file for curve in (*nameless, silent)}
    (finding,) = found(curves, "not_test_kin")
    assert finding.curves[0] is silent
    named = replace(silent, tag="test_battle_won_mean")
    assert named.file not in excluded(elsewhere(clean, *nameless, named))
    alone = elsewhere(clean, silent)
    assert [finding.severity for finding in found(alone, "test_or_training")] == ["note"]
    assert excluded(alone) == set()


def test_one_run_under_two_names_without_a_twin_is_believed_nowhere(clean):
    wins = [curve for curve in clean if curve.cell.metric == "win_rate"]
    other = replace(wins[0], cell=wins[0].cell._replace(map="MMM2"), file="win/MMM2/x_seed9.csv")
    assert excluded([other, *wins]) == {other.file, wins[0].file}


def test_of_two_alike_the_one_off_the_grid_was_made(clean):
    made = with_values(qmix(1), slice(15, 45), qmix(0).value[15:45])
    patched = with_values(qmix(0), slice(5, 9), qmix(0).value[5:9] + 0.4 / 32)
    assert patched.file in excluded(planted(clean, made, patched))


def test_what_is_excluded_is_cut_out(clean):
    frozen = with_values(qmix(1), slice(30, 44), 0.5)
    stub = qmix(2).between(-1, 2 * INTERVAL)
    curves = planted(clean, with_values(qmix(0), *LINE), frozen, stub)
    findings = found(curves, "filled")
    assert [part.rows for finding in findings for part in finding.excludes] == [(20, 26), (30, 43)]
    cleaned = audit(releases.release(curves)).cleaned().cells[CORRIDOR]
    assert sorted(len(curve.value) for curve in cleaned) == [POINTS - 14, POINTS - 7, POINTS]
    again = qmix(0, panel="ablation", file="ablation/qmix_seed0.csv")
    result = audit(releases.release([*clean, again]))
    assert len(result.as_released().cells[CORRIDOR]) == 4


def test_groups(clean):
    """Of runs whose identities are lost: fewer towards the end, joined, or under one name."""
    runs = [qmix(seed) for seed in range(4)]
    lost = releases.group([runs[0].between(-1, END / 2), *runs[1:]])
    (finding,) = found(elsewhere(clean, lost), "number_of_runs")
    assert finding.evidence.startswith("runs: 4 from step 0, 3 from step")
    whole = elsewhere(clean, releases.group(runs))
    assert found(whole, "number_of_runs") == []
    assert [finding.severity for finding in found(whole, "aggregated_as_runs")] == ["warning"]
    parts = [releases.group(runs[:3], "one"), releases.group(runs[3:], "two")]
    assert [f.cell for f in found(elsewhere(clean, *parts), "several_groups")] == [CORRIDOR]
    slow = releases.group([releases.run(variant="slow", seed=seed) for seed in range(3)], "one")
    wins = [curve for curve in clean if curve.cell.metric == "win_rate"]
    named = [replace(parts[0], file="groups/a.csv"), replace(slow, file="groups/b.csv")]
    (finding,) = found([*wins, *named], "unverifiable_label")
    assert len(finding.curves) == 2
    more = releases.group([earned(seed) for seed in range(5)])
    more = replace(more, cell=RETURN, file="r.csv")
    rest = [curve for curve in clean if curve.cell[:2] != CORRIDOR[:2]]
    (finding,) = found([*rest, releases.group(runs), more], "metrics_of_other_runs")
    assert "about 1 run with a return only, about 0 runs with a win rate only" in finding.evidence


def test_runs_that_meet_at_a_step_are_counted_apart(clean):
    """A row of a group is the value of up to three runs, which come back from its extremes."""
    win_rates = releases.group([qmix(seed) for seed in range(2)])
    steps = earned(0).steps + 1  # not one in common with the win rates
    met = releases.group([replace(earned(seed), steps=steps) for seed in range(2)])
    met = replace(met, cell=RETURN, file="r.csv")
    rest = [curve for curve in clean if curve.cell[:2] != CORRIDOR[:2]]
    (finding,) = found([*rest, win_rates, met], "metrics_of_other_runs")
    assert "about 2 runs with a return only, about 2 runs with a win rate only" in finding.evidence


def test_offsets_are_data_and_words(clean):
    curves = planted(clean, *(ahead(qmix(seed)) for seed in (0, 1)))
    (finding,) = found(curves, "step_offset")
    assert "qmix joins runs of different set-ups" in finding.effect
    (first, _), (second, share) = finding.numbers["offsets"]["qmix"]
    assert first < 40 < 300 <= second
    assert share == pytest.approx(0.5, abs=0.01)


def test_users_keep_by_rule_and_by_file(clean):
    copies = [qmix(s, file=f"win/corridor/qmix_seed{s} copy.csv") for s in (0, 1)]
    release = releases.release([*copies, *clean])
    assert len(audit(release).cleaned().cells[CORRIDOR]) == 4
    assert len(audit(release, ["counted_twice"]).cleaned().cells[CORRIDOR]) == 6
    assert len(audit(release, ["*seed1 copy*"]).cleaned().cells[CORRIDOR]) == 5
    check_keep(["counted_twice", "*seed1 copy*"], [release])
    with pytest.raises(BenchmarkError, match="no_such: neither a rule"):
        check_keep(["no_such"], [release])


def test_the_table_of_findings(clean):
    wrong, stub = off_grid(qmix(0)), qmix(1).between(-1, INTERVAL)
    result = audit(releases.release(planted(clean, wrong, stub)))
    table = result.table()
    assert list(table.columns) == COLUMNS
    severities = [SEVERITIES.index(severity) for severity in table["severity"]]
    assert severities == sorted(severities)
    assert set(table["source"]) == {"made_up"}
    assert table.query("rule == 'not_test'")["excluded"].item() == wrong.file
    assert "not_test" in result.rules_of(CORRIDOR)
    assert "not_test" not in result.rules_of(CORRIDOR, left=True)


def test_pictures_of_every_rule_that_has_one(clean):
    """All planted at once: each picture is drawn, also with a value that is no number."""
    made, source, line, late = (releases.run("MMM2", "r3dm", s, skill=0.8) for s in (1, 0, 2, 3))
    twin = with_values(qmix(2), 3, np.nan)
    curves = [
        off_grid(qmix(0)),
        qmix(1, file="win/corridor/qmix_seed1 copy.csv"),
        twin,
        replace(twin, cell=twin.cell._replace(map="MMM2"), file="win/MMM2/qmix_seed9.csv"),
        with_values(made, slice(10, 50), source.value[10:50]),
        with_values(line, *LINE),
        ahead(late.between(-1, END / 2)),
        earned(scale=1.5),
    ]
    result = audit(releases.release(planted(clean, *curves)))
    drawn = {finding.rule for finding in result.findings} & set(pictures.PANELS)
    assert drawn == set(pictures.PANELS)
    figure = pictures.of_audit(result)
    assert len(figure.axes) == len(pictures.PANELS)
    assert all(axes.get_title() and axes.get_xlabel() for axes in figure.axes)
    assert pictures.of_audit(audit(releases.release(clean))) is None
