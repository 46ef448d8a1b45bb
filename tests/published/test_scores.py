"""Scores per run, and what comes back of runs that were only released as a group."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from benchmark.published.scores import Measurement, estimate, per_evaluation, recovered, scores
from tests.published import releases
from tests.published.releases import END, EPISODES, INTERVAL

HOW = Measurement(INTERVAL, EPISODES)


def runs(n: int = 5, **changes):
    return [releases.run(seed=seed, **changes) for seed in range(n)]


def test_a_score_is_the_mean_of_the_last_window():
    one = releases.run()
    inside = (one.steps > END - 100_000) & (one.steps <= END)
    found = scores([one], END, HOW)
    assert found.value == pytest.approx([one.value[inside].mean()])
    assert found.names == ["seed 0"]
    assert not found.names[0].startswith("rank")


def test_training_shorter_than_the_window_has_no_score():
    """The untrained policy would be a part of it."""
    assert len(scores([releases.run()], 100_000 - 1, HOW).value) == 0
    assert len(scores([releases.run()], 100_000, HOW).value) == 1


def test_a_run_that_stopped_has_no_score():
    whole, short = runs(2)
    short = short.between(-1, END - 60_000)
    assert scores([whole, short], END, HOW).names == ["seed 0"]
    almost = runs(2)[1].between(-1, END - 40_000)
    assert len(scores([whole, almost], END, HOW).value) == 2


def test_values_that_are_no_numbers_are_passed_over():
    one = releases.run()
    one.value[-2] = np.nan
    assert np.isfinite(scores([one], END, HOW).value).all()


@pytest.mark.parametrize(
    "values",
    [[0.5], [0.25, 0.25], [0.25, 0.5], [0.0, 0.25, 1.0], [0.25, 0.25, 0.5], [0.0, 0.0, 0.03125]],
)
def test_up_to_three_runs_come_back(values):
    back = recovered(np.mean(values), min(values), max(values))
    assert sorted(back) == pytest.approx(sorted(values if len(set(values)) > 1 else values[:1]))


def test_of_more_runs_only_the_extremes_are_sure():
    assert recovered(0.9, 0.0, 1.0) == [0.0, 1.0]  # a third run would lie outside
    assert recovered(0.5, np.nan, np.nan) == [0.5]


def test_a_group_gives_back_the_values_of_its_runs():
    """Where steps differ curve row is a run; where they meet, up to three runs come apart."""
    members = runs(4, late=40)
    shown = per_evaluation(releases.group(members), INTERVAL)
    for number in range(1, releases.POINTS):
        true = sorted(float(curve.value[number]) for curve in members)
        hidden = len(true) - len(shown[number])
        assert hidden in (0, 1, 2)
        for value in shown[number]:
            assert np.abs(np.array(true) - value).min() < 1e-9


def test_scores_by_rank_keep_the_mean_and_never_narrow_the_spread():
    """The widest spread: no order of the values within evaluations gives a wider one."""
    members = [replace(curve, steps=curve.steps + 100 * curve.seed) for curve in runs(4, late=1)]
    until = END + 500  # past the last evaluation of curve
    true = scores(members, until, HOW).value
    group = releases.group(members)
    widest = scores([group], until, HOW._replace(widest=True))
    assert widest.names == [f"rank {rank}" for rank in (1, 2, 3, 4)]
    assert widest.value.mean() == pytest.approx(true.mean())
    stream = np.random.default_rng(0)
    table = np.array([curve.value[-10:] for curve in members])
    for _ in range(200):
        mixed = stream.permuted(table, axis=0).mean(axis=1)
        assert np.std(mixed, ddof=1) <= np.std(widest.value, ddof=1) + 1e-12


def test_the_estimated_spread_leaves_out_the_luck_of_evaluations():
    """Runs of one skill differ by luck alone; of different skills they keep their distance."""
    ratios = {"same": [], "different": []}
    for trial in range(40):
        for name, skills in (("same", [0.5] * 5), ("different", [0.1, 0.3, 0.5, 0.7, 0.9])):
            stream = np.random.default_rng([trial, len(name)])
            members = []
            for seed, skill in enumerate(skills):
                one = releases.run(seed=seed, late=1)
                value = stream.binomial(EPISODES, skill, len(one.value)) / EPISODES
                members.append(replace(one, value=value, steps=one.steps + 100 * seed))
            true = np.std(scores(members, END, HOW).value, ddof=1)
            group = releases.group(members)
            spreads = [
                np.std(scores([group], END, how).value, ddof=1)
                for how in (HOW, HOW._replace(widest=True))
            ]
            assert spreads[0] <= spreads[1] + 1e-12
            ratios[name].append([spread / true for spread in spreads])
    same, different = np.median(ratios["same"], axis=0), np.median(ratios["different"], axis=0)
    assert same[0] < 1.5 < 2.5 < same[1]
    assert different == pytest.approx([1, 1], abs=0.05)


def test_returns_have_no_known_luck():
    members = [
        replace(curve, steps=curve.steps + 100 * curve.seed) for curve in runs(3, metric="return")
    ]
    group = releases.group(members)
    found = scores([group], END, HOW).value
    assert found == pytest.approx(scores([group], END, HOW._replace(widest=True)).value)


def test_an_interval_is_students():
    values = np.array([0.4, 0.5, 0.6, 0.9])
    found = estimate(values, "win_rate")
    low, high = stats.t.interval(0.95, 3, values.mean(), stats.sem(values))
    assert found[:3] == pytest.approx((4, values.mean(), values.std(ddof=1)))
    assert (found.low, found.high) == pytest.approx((low, high))
    assert estimate(np.array([0.0, 0.9]), "win_rate")[3:] == (0.0, 1.0)  # cut where it must end
    assert estimate(np.array([0.0, 0.9]), "return").low < 0
    assert np.isnan(estimate(values[:1], "win_rate").low)
    assert estimate(values[:0], "win_rate").n == 0


def test_single_values_hide_nothing():
    for values in itertools.product([0.0, 0.25], repeat=2):
        assert recovered(np.mean(values), min(values), max(values))
