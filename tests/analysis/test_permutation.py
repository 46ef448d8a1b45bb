"""Methods are called different by a test that holds its level with few runs."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy.stats import mannwhitneyu

from benchmark.analysis import bootstrap, permutation


def scores(stream: np.random.Generator, sizes: list[int]) -> list[np.ndarray]:
    """Win rates of runs that differ by chance alone, of 32 episodes: one array per map."""
    return [stream.binomial(32, stream.normal(0.6, 0.15, n).clip(0, 1)) / 32 for n in sizes]


def improvement(x: list[np.ndarray], y: list[np.ndarray]) -> float:
    return float(
        np.mean([(np.sign(a[:, None] - b) / 2 + 0.5).mean() for a, b in zip(x, y, strict=True)])
    )


def counted(x: list[np.ndarray], y: list[np.ndarray]) -> float:
    """The p-value by its definition: every labelling of the runs of every map."""
    maps = []
    for ours, theirs in zip(x, y, strict=True):
        runs = np.concatenate([ours, theirs])
        chosen = itertools.combinations(range(len(runs)), len(ours))
        maps.append([(runs[list(c)], np.delete(runs, c)) for c in chosen])
    found = abs(improvement(x, y) - 0.5)
    others = [abs(improvement(*zip(*pick, strict=True)) - 0.5) for pick in itertools.product(*maps)]
    return float(np.mean([other >= found - 1e-9 for other in others]))


@pytest.mark.parametrize(
    ("n_x", "n_y"), [([3], [2]), ([4], [4]), ([1, 3], [2, 2]), ([2, 3, 1], [2, 1, 2])]
)
def test_p_value_counts_every_labelling(n_x, n_y):
    """Also with ties and with unequal numbers of runs."""
    for seed in range(5):
        stream = np.random.default_rng(seed)
        x, y = ([stream.integers(0, 4, n) / 32 for n in sizes] for sizes in (n_x, n_y))
        assert permutation.p_value(x, y) == pytest.approx(counted(x, y))
        assert permutation.p_value(x, y) == pytest.approx(permutation.p_value(y, x))


def test_one_map_is_mann_and_whitneys_exact_test():
    stream = np.random.default_rng(0)
    x, y = stream.random(6), stream.random(8) + 0.3
    exact = mannwhitneyu(x, y, method="exact").pvalue
    assert permutation.p_value([x], [y]) == pytest.approx(exact)


@pytest.mark.parametrize(
    ("sizes", "least"), [([(3, 2)], 0.2), ([(3, 2), (3, 3)], 0.01), ([(1, 1)], 1)]
)
def test_smallest_p_value_is_that_of_separated_runs(sizes, least):
    x, y = [np.arange(n) + 9.0 for n, _ in sizes], [np.arange(n) / 9 for _, n in sizes]
    assert permutation.smallest(x, y) == pytest.approx(permutation.p_value(x, y)) == least


def in_family(*pairs: tuple[float, float]) -> pd.DataFrame:
    return permutation.together(pd.DataFrame(pairs, columns=["p", "p_smallest"]))


def test_comparisons_share_the_level_by_holms_correction():
    found = in_family((0.01, 0.001), (0.02, 0.001), (0.03, 0.001))
    assert found["p"].tolist() == pytest.approx([0.03, 0.04, 0.04])
    assert found["differs"].all()
    assert in_family((0.02, 0.001), (0.03, 0.001), (0.9, 0.001))["differs"].sum() == 0
    assert in_family()["differs"].tolist() == []


def test_too_few_runs_for_any_outcome_are_told_apart_from_no_difference():
    assert in_family((0.2, 0.2))["testable"].tolist() == [False]
    assert in_family((0.9, 0.04))["testable"].tolist() == [True]
    assert in_family((0.9, 0.04), (0.9, 0.04))["testable"].tolist() == [False, False]
    assert in_family((0.9, 0.04), (0.9, 0.02))["testable"].tolist() == [
        True,
        True,
    ]  # if both differ
    x, y = [np.array([3.0, 3, 5, 5])], [np.array([0.0, 1, 2])]  # ties among X: p is 1 / 35
    found = in_family((permutation.p_value(x, y), permutation.smallest(x, y)))
    assert found[["differs", "testable"]].to_numpy().all()


def test_of_seven_equal_methods_few_studies_call_any_different():
    """Six comparisons with the first; intervals found a difference in every third study."""
    stream, studies, wrong = np.random.default_rng(0), 150, 0
    for _ in range(studies):
        first, *others = (scores(stream, [5]) for _ in range(7))
        found = [permutation.p_value(first, other) for other in others]
        wrong += in_family(*((p, 2 / 252) for p in found))["differs"].any()
    assert wrong / studies < 0.09  # 5 % and two standard errors


def test_coverage_of_intervals_is_as_the_captions_say():
    stream, studies, replications = np.random.default_rng(0), 3000, 500
    true = stream.normal(0.6, 0.15, 10**6).clip(0, 1).mean()
    for (n, maps), said in bootstrap.COVERAGE.items():
        rates = stream.normal(0.6, 0.15, (studies, maps * n)).clip(0, 1)
        counts = [bootstrap.Bootstrap(0, replications).counts(n, str(map)) for map in range(maps)]
        means = bootstrap.Sample(counts).mass @ (stream.binomial(32, rates) / 32).T
        low, high = bootstrap.interval(means)
        assert 100 * ((low <= true) & (true <= high)).mean() == pytest.approx(said, abs=2.5)
