"""Statistics are rliable's, reproducible, and state what is missing."""

import itertools
import re
import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rliable import library, metrics

from benchmark import commands, files
from benchmark.analysis import labels, statistics
from benchmark.analysis.bootstrap import Bootstrap, Sample, improvement
from benchmark.analysis.scores import Scores, evaluations_to_points, source
from benchmark.errors import BenchmarkError
from benchmark.training.config import DEFAULT, IDENTITY
from benchmark.training.evaluations import write_evaluations
from tests.analysis import synthetic

RLIABLE = {
    "iqm": metrics.aggregate_iqm,
    "mean": metrics.aggregate_mean,
    "median": metrics.aggregate_median,
    "optimality_gap": metrics.aggregate_optimality_gap,
}


def win_rates(runs: int, maps: int, seed: int = 0) -> np.ndarray:
    """Scores [runs, maps] with many ties, as 32 episodes give them."""
    stream = np.random.default_rng(seed)
    return stream.binomial(32, stream.random(maps), size=(runs, maps)) / 32


def sample(sizes: list[int], replications: int = 10) -> Sample:
    """Runs of one method: so many on each map."""
    bootstrap = Bootstrap(0, replications)
    return Sample([bootstrap.counts(n, str(map)) for map, n in enumerate(sizes)])


def per_map(scores: np.ndarray) -> np.ndarray:
    """Scores [runs, maps] in the order of a sample: [N]."""
    return scores.T.ravel()


def drop(table: pd.DataFrame, **values) -> pd.DataFrame:
    """The table without the rows in which all columns have these values."""
    match = np.logical_and.reduce([table[name] == value for name, value in values.items()])
    return table[~match]


@pytest.fixture(scope="module")
def small() -> pd.DataFrame:
    return synthetic.study(["3m", "8m", "terran_3_vs_3"], ["qmix", "r3dm"], seeds=4)


def test_every_map_and_method_has_its_own_draws_of_all_its_runs():
    assert Bootstrap() == Bootstrap(0, 50_000)
    names = [("3m", "qmix"), ("3m", "r3dm"), ("3mq", "mix"), ("8m", "qmix")]
    draws = [Bootstrap(0, 500).counts(5, *name) for name in names]
    draws.append(Bootstrap(1, 500).counts(5, *names[0]))
    for k, counts in enumerate(draws):
        assert counts.shape == (500, 5)
        assert (counts.sum(axis=1) == 5).all()
        assert counts.mean(axis=0) == pytest.approx(np.ones(5), abs=0.2)
        assert not any(np.array_equal(counts, other) for other in draws[:k])
    assert np.array_equal(Bootstrap(0, 500).counts(5, *names[0]), draws[0])


def test_a_single_run_on_any_map_leaves_no_interval():
    one, two = (Bootstrap(0, 50).counts(n, "3m") for n in (1, 2))
    low, high = np.array([0.5]), np.array([0.25, 0.75])
    assert np.isnan(Sample([two, one]).estimate("mean", np.array([0.0, 1.0, 0.5]))[1:]).all()
    assert Sample([two]).estimate("mean", high)[1:] == (0.25, 0.75)
    for x, y, counts in ((low, high, (one, two)), (high, low, (two, one))):
        assert np.isnan(improvement([x], [y], [counts[0]], [counts[1]])[1:]).all()
    other = Bootstrap(0, 50).counts(2, "8m")
    value, lower, upper = improvement([high], [high], [two], [other])
    assert lower < value == 0.5 < upper


def test_unequal_runs_weigh_maps_equally():
    """Ten runs that win on one map, two that lose on the other."""
    unequal, scores = sample([10, 2], 100), np.repeat([1.0, 0.0], [10, 2])
    for metric in RLIABLE:
        assert unequal.estimate(metric, scores).value == pytest.approx(0.5)
    assert unequal.mass.sum(axis=1) == pytest.approx(1)


def test_scores_above_one_close_no_gap():
    scores = np.array([0.5, 3.0])
    gap = sample([1, 1]).optimality_gap(scores, np.array([0.5, 0.5]))
    assert gap == RLIABLE["optimality_gap"](scores[:, None]) == 0.25


def test_iqm_of_repeated_runs_is_unchanged():
    """Each run of one map twice: the map's weight, hence the IQM, must stay what it was."""
    scores = win_rates(4, 2, seed=3)
    doubled = np.concatenate([scores[:, 0], np.repeat(scores[:, 1], 2)])
    once = sample([4, 4]).estimate("iqm", per_map(scores)).value
    assert sample([4, 8]).estimate("iqm", doubled).value == pytest.approx(once)


def test_same_seed_and_any_order_of_rows_give_the_same_bytes(small, tmp_path):
    shuffled = small.sample(frac=1, random_state=1)
    for name, table in (("a", small), ("b", shuffled)):
        statistics.write(statistics.compute(table, replications=500), tmp_path / name)
    for file in (f"{name}.csv" for name in statistics.COLUMNS):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_another_seed_moves_intervals_only(small):
    first = statistics.compute(small, seed=0, replications=200)["aggregate"]
    other = statistics.compute(small, seed=1, replications=200)["aggregate"]
    assert (first["value"] == other["value"]).all()
    assert (first["low"] != other["low"]).any()


def test_an_added_method_does_not_move_the_others(small):
    added = pd.concat([small, synthetic.study(["3m", "8m", "terran_3_vs_3"], ["emc"], seeds=4)])
    before = statistics.compute(small, replications=200)["final"]
    after = statistics.compute(added, replications=200)["final"]
    after = after[after["algorithm"] != "emc"].reset_index(drop=True)
    pd.testing.assert_frame_equal(before, after)


def test_final_is_the_last_evaluation(small):
    final = statistics.compute(small, replications=100)["final"]
    row = final.query("map == '3m' and algorithm == 'qmix' and metric == 'win_rate'").iloc[0]
    rows = small.query("map == '3m' and algorithm == 'qmix' and phase == 'training'")
    by_seed = rows[rows["step"] == 40_000].groupby("seed")["battle_won"].mean()
    assert (row["n"], row["end"]) == (4, 40_000)
    assert row["mean"] == pytest.approx(by_seed.mean())
    assert row["sd"] == pytest.approx(by_seed.std(ddof=1))
    assert by_seed.min() <= row["low"] <= row["mean"] <= row["high"] <= by_seed.max()


def test_the_documented_snippet_gives_the_final_means(small, tmp_path, monkeypatch, capsys):
    readme = (files.ROOT / "results" / "README.md").read_text()
    (snippet,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    worse = synthetic.study(["3m"], ["qmix"], variant="worse").assign(battle_won=False)
    table = pd.concat([small, worse])
    write_evaluations(table, tmp_path / "results" / "paper" / "evaluations.parquet")
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(snippet, names)
    assert "qmix" in capsys.readouterr().out
    shown = names["final"].groupby(["map", "algorithm"]).battle_won.mean()
    final = statistics.compute(table, replications=20)["final"].query(
        "metric == 'win_rate' and phase == 'training' and variant == 'default'"
    )
    assert shown.to_dict() == pytest.approx(final.set_index(["map", "algorithm"])["mean"].to_dict())


def test_absolute_uses_its_own_episodes(small):
    final = statistics.compute(small, replications=100)["final"]
    row = final.query("phase == 'absolute' and map == '8m' and algorithm == 'r3dm'").iloc[1]
    rows = small.query("map == '8m' and algorithm == 'r3dm' and phase == 'absolute'")
    assert row["metric"] == "return"
    assert row["mean"] == pytest.approx(rows.groupby("seed")["return"].mean().mean())


def test_aggregates_are_rliables_of_the_phases_own_win_rates(small):
    aggregate = statistics.compute(small, replications=20)["aggregate"]
    for phase, metric in itertools.product(("training", "absolute"), RLIABLE):
        rows = small[(small["phase"] == phase) & (small["step"] == 40_000)]
        runs = rows.groupby(["algorithm", "map", "seed"])["battle_won"].mean()
        found = aggregate.query("suite == 'all' and phase == @phase and metric == @metric")
        for name, value in found.set_index("algorithm")["value"].items():
            scores = runs[name].to_numpy().reshape(3, 4).T  # [runs, maps]
            assert value == pytest.approx(RLIABLE[metric](scores))


def test_efficiency_is_the_iqm_of_the_runs_at_every_step(small):
    efficiency = statistics.compute(small, replications=20)["efficiency"]
    rows = small[small["phase"] == "training"]
    runs = rows.groupby(["algorithm", "step", "map", "seed"])["battle_won"].mean()
    found = efficiency.query("suite == 'all'").set_index(["algorithm", "step"])["value"]
    assert len(found) == 2 * 5
    for (name, step), value in found.items():
        scores = runs[name, step].to_numpy().reshape(3, 4).T  # [runs, maps]
        assert value == pytest.approx(metrics.aggregate_iqm(scores), abs=1e-12)


def test_missing_seed_is_stated(small):
    table = drop(small, map="3m", algorithm="qmix", seed=2)
    results = statistics.compute(table, replications=100)
    row = results["final"].query("map == '3m' and algorithm == 'qmix'").iloc[0]
    assert (row["n"], row["n_missing"], row["missing_seeds"]) == (3, 1, "2")
    smac = results["aggregate"].query("suite == 'smac' and algorithm == 'qmix'").iloc[0]
    assert (smac["n"], smac["n_missing"], smac["n_maps"]) == (7, 1, 2)


def test_missing_map_is_left_out_for_every_method(small):
    table = drop(small, map="8m", algorithm="qmix")
    results = statistics.compute(table, replications=100)
    smac = results["aggregate"].query(
        "suite == 'smac' and metric == 'mean' and phase == 'training'"
    )
    assert set(smac["n_maps"]) == {1}
    assert set(smac["maps_left_out"]) == {"8m"}
    r3dm = smac[smac["algorithm"] == "r3dm"]["value"].item()
    final = results["final"].query("map == '3m' and algorithm == 'r3dm'").iloc[0]
    assert r3dm == pytest.approx(final["mean"])
    gap = results["final"].query("map == '8m' and algorithm == 'qmix'").iloc[0]
    assert gap["n"] == 0
    assert np.isnan(gap["mean"])


def test_no_common_map_has_no_aggregate(small):
    table = drop(drop(small, map="8m", algorithm="qmix"), map="3m", algorithm="r3dm")
    results = statistics.compute(table, replications=100)
    smac = results["aggregate"].query("suite == 'smac'")
    assert smac["value"].isna().all()
    assert set(smac["maps_left_out"]) == {"3m 8m"}
    assert results["improvement"].query("suite == 'smac'").empty


def test_run_that_stopped_early_has_no_final_score_but_its_curve(small):
    stopped = (small["map"] == "3m") & (small["algorithm"] == "qmix") & (small["seed"] == 0)
    late = (small["step"] > 20_000) | (small["phase"] == "absolute")
    results = statistics.compute(small[~(stopped & late)], replications=100)
    rows = results["final"].query("map == '3m' and algorithm == 'qmix'")
    assert set(rows["missing_seeds"]) == {"0"}
    curve = results["curves"].query("map == '3m' and algorithm == 'qmix' and metric == 'win_rate'")
    assert curve["n"].tolist() == [4, 4, 4, 3, 3]
    late_runs = small.query("map == '3m' and algorithm == 'qmix' and seed > 0 and step == 30000")
    value = curve[curve["step"] == 30_000]["value"].item()
    assert value == pytest.approx(late_runs["battle_won"].mean())


def test_absolute_score_of_a_run_that_stopped_early_does_not_count(small):
    stopped = (small["map"] == "3m") & (small["algorithm"] == "qmix") & (small["seed"] == 0)
    late = (small["step"] > 20_000) & (small["phase"] == "training")
    final = statistics.compute(small[~(stopped & late)], replications=100)["final"]
    rows = final.query("map == '3m' and algorithm == 'qmix' and phase == 'absolute'")
    assert set(rows["missing_seeds"]) == {"0"}


def test_curve_of_unequal_budgets_ends_where_a_map_ends():
    table = pd.concat(
        [synthetic.study(["3m"], seeds=2), synthetic.study(["8m"], seeds=2, budget=60_000)]
    )
    efficiency = statistics.compute(table, replications=100)["efficiency"]
    assert efficiency["step"].max() == 40_000
    assert set(efficiency["n"]) == {4}


def test_single_seed_has_values_without_intervals():
    results = statistics.compute(synthetic.study(["3m"], seeds=1), replications=100)
    for name, table in results.items():
        assert table[["low", "high"]].isna().all(axis=None), name
    assert results["aggregate"]["value"].notna().all()
    assert results["final"]["sd"].isna().all()


def test_single_method_has_no_pairs(tmp_path):
    results = statistics.compute(synthetic.study(["3m"], ["qmix"]), replications=100)
    assert results["improvement"].empty
    statistics.write(results, tmp_path)
    assert statistics.read(tmp_path)["improvement"].empty
    assert set(results["aggregate"]["suite"]) == {"smac"}


def test_variants_stay_out_of_aggregates():
    table = pd.concat(
        [
            synthetic.study(["3m", "8m"], ["r3dm", "qmix"], seeds=3),
            synthetic.study(["3m"], ["r3dm"], seeds=2, variant="no_contrastive"),
        ]
    )
    results = statistics.compute(table, replications=100)
    assert set(results["aggregate"]["variant"]) == {DEFAULT}
    variant = results["final"].query("variant == 'no_contrastive' and metric == 'win_rate'")
    assert variant["map"].unique().tolist() == ["3m"]
    assert set(variant["n_missing"]) == {0}  # its own seeds, not those of the default variant
    assert variant["sd"].notna().all()  # two runs have one


def test_a_study_of_variants_alone_is_one_line(tmp_path, capsys):
    table = synthetic.study(["3m"], ["r3dm"], seeds=2, variant="no_contrastive")
    statistics.write(statistics.compute(table, replications=20), tmp_path / "statistics")
    for command in ("tables", "figures"):
        assert commands.main([command, str(tmp_path)]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: no run of the default variant has a final score")
        assert error.count("\n") == 1


def test_profiles_fall_from_all_to_none_and_equal_rliable(small):
    profiles = statistics.compute(small, replications=100)["profiles"]
    for _, curve in profiles.groupby(["suite", "algorithm"]):
        assert curve["value"].is_monotonic_decreasing
        assert curve["value"].iloc[-1] == 0
    rows = small.query("phase == 'training' and step == 40000 and algorithm == 'qmix'")
    final = rows.groupby(["seed", "map"])["battle_won"].mean().to_numpy().reshape(4, -1)
    curve = profiles.query("suite == 'all' and algorithm == 'qmix'")
    theirs = library.score_distributions(final, statistics.THRESHOLDS)
    assert curve["value"].to_numpy() == pytest.approx(theirs, abs=1e-12)


def test_improvement_has_both_orders_of_every_pair_and_equals_rliable(small):
    table = statistics.compute(small, replications=50)["improvement"]
    assert table.groupby(["suite", "phase"]).size().to_dict() == {
        (suite, phase): 2 for suite in ("smac", "smacv2", "all") for phase in labels.PHASES
    }
    for phase in labels.PHASES:
        rows = small[(small["phase"] == phase) & (small["step"] == 40_000)]
        means = rows.groupby(["algorithm", "seed", "map"])["battle_won"].mean()
        final = {name: means[name].to_numpy().reshape(4, 3) for name in ("qmix", "r3dm")}
        for row in table[(table["suite"] == "all") & (table["phase"] == phase)].itertuples():
            expected = metrics.probability_of_improvement(
                final[row.algorithm_x], final[row.algorithm_y]
            )
            assert row.value == pytest.approx(expected)
            assert row.low <= row.value <= row.high


@pytest.mark.parametrize("column", ["backend", "protocol"])
def test_mixed_sources_are_an_error(small, column):
    other = synthetic.run("3m", "qmix", 9, **{column: "other"})
    for step in (evaluations_to_points, statistics.compute):
        with pytest.raises(BenchmarkError, match=f"mixes the {column}s") as caught:
            step(pd.concat([small, other]))
        assert "\n" not in str(caught.value)


def test_empty_table_is_an_error(small):
    with pytest.raises(BenchmarkError, match="empty"):
        statistics.compute(small.iloc[:0])


def test_repeated_episodes_are_an_error(small):
    repeated = pd.concat([small, small.query("map == '3m' and seed == 1 and step == 10000")])
    with pytest.raises(BenchmarkError, match=r"3m/qmix/default/1 has repeated .* step 10000"):
        statistics.compute(repeated)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_return_that_is_no_number_is_an_error(small, value):
    odd = (small["map"] == "3m") & (small["seed"] == 1) & (small["step"] == 10_000)
    with pytest.raises(BenchmarkError, match=r"3m/qmix/default/1 has a return that is no number"):
        statistics.compute(small.assign(**{"return": small["return"].mask(odd, value)}))


def test_methods_that_were_never_evaluated_at_the_same_step_are_not_compared():
    """Their untrained policies would be."""
    slow = synthetic.study(["3m"], ["r3dm"], interval=7_000, budget=28_000)
    table = pd.concat([slow, synthetic.study(["3m"], ["qmix"])])
    with pytest.raises(BenchmarkError, match="3m: its methods share no evaluation but that before"):
        statistics.compute(table)


def test_an_episode_in_place_of_another_is_an_error(small):
    """As many episodes as there should be, and yet one is lost."""
    evaluation = (small["map"] == "3m") & (small["seed"] == 1) & (small["step"] == 10_000)
    replaced = small.assign(episode=small["episode"].mask(evaluation & (small["episode"] == 2), 1))
    with pytest.raises(BenchmarkError, match=r"3m/.*/default/1 has repeated or lost .* step 10000"):
        statistics.compute(replaced)


@pytest.mark.parametrize("variant", ["null", "nan", "10"])
def test_names_of_variants_survive_the_files(variant, tmp_path):
    table = synthetic.study(["3m"], ["r3dm"], seeds=1, variant=variant)
    statistics.write(statistics.compute(table, replications=20), tmp_path)
    final = statistics.read(tmp_path)["final"]
    assert set(final["variant"]) == {variant}
    assert final["low"].isna().all()
    assert set(final["missing_seeds"]) == {""}


def test_unknown_map_is_an_error():
    table = synthetic.run("3m", "qmix", 0).assign(map="3n")
    for step in (evaluations_to_points, statistics.compute):
        with pytest.raises(BenchmarkError, match="unknown map '3n'"):
            step(table)


def test_points_are_sorted_and_columns_may_be_categories(small):
    """As pandas keeps text that repeats; combinations without a row are no runs."""
    one_map_less = drop(small, map="8m", algorithm="qmix")
    points = evaluations_to_points(one_map_less)
    shuffled = one_map_less.sample(frac=1, random_state=1)
    coded = evaluations_to_points(shuffled.astype(dict.fromkeys(IDENTITY, "category")))
    pd.testing.assert_frame_equal(coded.astype(points.dtypes), points)


def test_the_default_variant_comes_first_and_needs_no_name():
    others = [synthetic.run("3m", "qmix", 0, variant=name) for name in ("zero", "a")]
    table = pd.concat([*others, synthetic.run("3m", "qmix", 0)])
    methods = Scores(evaluations_to_points(table)).methods
    assert [str(method) for method in methods] == ["qmix", "qmix/a", "qmix/zero"]
    assert source(table.iloc[:1]) == ("simulator", "unified")


def test_damaged_statistics_are_an_error(small, tmp_path):
    statistics.write(statistics.compute(small, replications=50), tmp_path)
    (tmp_path / "final.csv").write_text("backend,map\n")
    with pytest.raises(BenchmarkError, match=r"final\.csv does not have the columns"):
        statistics.read(tmp_path)
    (tmp_path / "final.csv").unlink()
    with pytest.raises(BenchmarkError, match=r"there is no .*final\.csv; python -m"):
        statistics.read(tmp_path)


# The slow ones come last, which `make mutants` reaches where no other test fails.


@pytest.mark.parametrize("metric", RLIABLE)
@given(runs=st.integers(1, 12), maps=st.integers(1, 13), seed=st.integers(0, 1000))
def test_our_formulas_equal_rliable(metric, runs, maps, seed):
    """They give the replications, and the values where maps have unequal numbers of runs."""
    scores = win_rates(runs, maps, seed)
    ours = sample([runs] * maps)
    value = getattr(ours, metric)(per_map(scores), ours.weights)
    assert value == pytest.approx(RLIABLE[metric](scores), abs=1e-12)
    assert ours.estimate(metric, per_map(scores)).value == RLIABLE[metric](scores)


@pytest.mark.parametrize("metric", RLIABLE)
def test_intervals_equal_rliable_within_monte_carlo_error(metric):
    scores = win_rates(5, 12)
    np.random.seed(0)  # noqa: NPY002, rliable draws from the global state
    _, theirs = library.get_interval_estimates(
        {"x": scores}, lambda x: np.array([RLIABLE[metric](x)]), reps=4000
    )
    _, *ours = sample([5] * 12, 20_000).estimate(metric, per_map(scores))
    width = np.ptp(theirs["x"])
    assert width > 0
    assert ours == pytest.approx(theirs["x"].ravel(), abs=0.06 * width)


@given(
    st.lists(st.integers(0, 8), min_size=3, max_size=3),
    st.lists(st.integers(0, 8), min_size=5, max_size=5),
)
def test_probability_of_improvement_equals_rliable(x, y):
    """Also where another map has unequal numbers of runs, and the value is ours."""
    ours, theirs = np.array(x) / 8, np.array(y) / 8
    drawn = [Bootstrap(0, 10).counts(n, "m") for n in (3, 5)]
    expected = metrics.probability_of_improvement(ours[:, None], theirs[:, None])
    assert improvement([ours], [theirs], [drawn[0]], [drawn[1]]).value == expected
    both = improvement([ours, theirs], [theirs, theirs], drawn, [drawn[1]] * 2)
    assert both.value == pytest.approx((expected + 0.5) / 2, abs=1e-12)
    turned = improvement([ours, theirs], [theirs, ours], drawn, drawn[::-1])
    assert turned.value == pytest.approx(0.5, abs=1e-12)


def test_interval_of_improvement_equals_rliable_within_monte_carlo_error():
    x, y = win_rates(5, 3, seed=1), win_rates(5, 3, seed=1) * 0.9 + win_rates(5, 3, seed=2) * 0.1
    np.random.seed(0)  # noqa: NPY002
    _, theirs = library.get_interval_estimates(
        {"x,y": (x, y)},
        lambda a, b: np.array([metrics.probability_of_improvement(a, b)]),
        reps=2000,
    )
    counts = [
        [Bootstrap(0, 20_000).counts(5, name, str(m)) for m in range(3)] for name in ("x", "y")
    ]
    _, *ours = improvement(list(x.T), list(y.T), *counts)
    assert ours == pytest.approx(theirs["x,y"].ravel(), abs=0.05)


def test_fifty_thousand_replications_of_a_full_study_are_drawn():
    """A slow path (a loop over replications) would take minutes; the limit is generous."""
    scores = win_rates(5, 12)
    begin = time.process_time()
    _, low, high = sample([5] * 12, 50_000).estimate("iqm", per_map(scores))
    assert time.process_time() - begin < 10
    assert low < metrics.aggregate_iqm(scores) < high
