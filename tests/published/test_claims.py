"""Claims are data; they are tested by the same rules everywhere, and those rules are right."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import stats

from benchmark.errors import BenchmarkError
from benchmark.published import claims, report
from benchmark.published.audit import Audit, audit
from benchmark.published.claims import (
    AS_RELEASED,
    CLEANED,
    WIDEST,
    Difference,
    Sides,
    verdict,
    welch,
)
from benchmark.published.report import claims_by_outcome
from benchmark.published.scores import WINDOW, Estimate, Measurement, estimate
from tests.published import releases
from tests.published.releases import END


def test_welch_is_scipys():
    stream = np.random.default_rng(0)
    left, right = stream.normal(1, 2, 5), stream.normal(0, 0.5, 8)
    (found,) = welch([(estimate(left), estimate(right))])
    expected = stats.ttest_ind(left, right, equal_var=False)
    low, high = expected.confidence_interval()
    assert found == pytest.approx((left.mean() - right.mean(), low, high, expected.pvalue))


def pair(gap: float, n: int = 5):
    """Two samples whose difference is ``gap`` standard deviations."""
    return Estimate(n, gap, 1.0), Estimate(n, 0.0, 1.0)


def test_holms_correction():
    """The textbook's step-down procedure, and intervals that agree with it."""
    pairs = [pair(gap) for gap in (0.5, 4.0, 2.0, 1.7)]
    raw = np.array([welch([curve])[0].p for curve in pairs])
    found = welch(pairs)
    order = np.argsort(raw)
    corrected = np.maximum.accumulate(raw[order] * np.arange(4, 0, -1)).clip(max=1)
    assert [found[index].p for index in order] == pytest.approx(list(corrected))
    assert 0 < sum(curve.p <= 0.05 for curve in found) < 4
    for curve in found:
        assert (curve.p <= 0.05) == (curve.low > 0 or curve.high < 0)
    smallest = order[0]
    narrow, wide = welch([pairs[smallest]])[0], found[smallest]
    assert wide.low < narrow.low


def test_too_few_runs_have_no_interval_and_take_no_part_in_the_correction():
    alone = (Estimate(1, 0.5), Estimate(5, 0.0, 1.0))
    nothing = (estimate(np.array([])), Estimate(5, 0.0, 1.0))
    found = welch([alone, nothing, pair(2)])
    assert found[0].value == 0.5
    assert np.isnan(found[0].low)
    assert np.isnan(found[1].value)
    assert found[2] == pytest.approx(welch([pair(2)])[0])


@pytest.mark.parametrize("left", [[0.0, 0.0], [1.0, 1.0], [0.9] * 3, [0.1 + 0.2, 0.3]])
def test_runs_that_do_not_vary_are_no_certainty(left):
    """Neither for a difference nor for equality; they weigh in the correction like an open one."""
    found = welch([(estimate(np.array(left)), estimate(np.array([0.9, 0.9, 0.9]))), pair(3)])
    assert (found[0].low, found[0].high, found[0].p) == (-np.inf, np.inf, 1.0)
    assert verdict(found[0], margin=0.05) == "no spread seen"
    assert found[1].p == pytest.approx(2 * welch([pair(3)])[0].p)


def test_one_side_that_varies_has_an_interval():
    never = Estimate(6, 0.0, 0.0)
    (found,) = welch([(Estimate(5, 0.8, 0.05), never)])
    low, high = stats.t.interval(0.95, 4, 0.8, 0.05 / np.sqrt(5))
    assert (found.low, found.high) == pytest.approx((low, high))


@pytest.mark.parametrize(
    ("interval", "around", "expected"),
    [
        ((0.1, 0.3), 0, "higher"),
        ((-0.3, -0.1), 0, "lower"),
        ((-0.04, 0.05), 0, "equal"),
        ((0.01, 0.05), 0, "equal"),  # sure to differ, but by less than counts
        ((-0.01, 0.3), 0, "inconclusive"),
        ((-0.3, 0.3), 0, "inconclusive"),
        ((np.nan, np.nan), 0, "no valid data"),
        ((-np.inf, np.inf), 0, "no spread seen"),
        ((0.16, 0.24), 0.2, "equal"),
        ((0.26, 0.5), 0.2, "higher"),
        ((0.0, 0.14), 0.2, "lower"),
        ((0.0, 0.5), 0.2, "inconclusive"),
    ],
)
def test_verdicts(interval, around, expected):
    assert verdict(Difference(0.0, *interval), margin=0.05, around=around) == expected


CLAIM = {
    "id": "better",
    "kind": "per_map",
    "says": "r3dm beats the others",
    "stated": "nowhere",
    "maps": ["corridor", "MMM2"],
    "left": "r3dm",
    "right": ["qmix", "emc"],
    "expect": "higher",
}
FILE = {
    "version": 1,
    "paper": "made up",
    "alpha": 0.05,
    "margins": {"win_rate": 0.05, "return": 1.0},
    "reproduction": {"win_rate": 0.1, "return": 2.0},
    "claims": [
        CLAIM,
        CLAIM | {"id": "suite", "kind": "per_suite", "suite": "both"},
        CLAIM
        | {"id": "gain", "kind": "largest_gain", "suite": "both", "gain": 0.2}
        | {"right": ["qmix", "cia"]},
        CLAIM | {"id": "wrong", "left": "qmix", "right": ["r3dm"]},
        CLAIM | {"id": "half", "at": 0.5, "right": ["qmix"]},
    ],
}


def write(folder, **changes):
    path = folder / "claims.yaml"
    path.write_text(yaml.safe_dump(FILE | changes))
    return path


@pytest.fixture(scope="module")
def found() -> Audit:
    """The audit of a made-up release: one curve of qmix is a copy, cia is good on MMM2."""
    copy = replace(releases.run(skill=0.4), file="win/corridor/qmix_seed0 copy.csv")
    cia = [releases.run("MMM2", "cia", seed, skill=0.7) for seed in range(5)]
    return audit(releases.release([*releases.clean(seeds=5), *cia, copy]))


@pytest.fixture(scope="module")
def tested(found, tmp_path_factory) -> pd.DataFrame:
    """Verdicts on it."""
    claimed = claims.load(write(tmp_path_factory.mktemp("claims")))
    sides = [
        Sides(name, side, side)
        for name in (AS_RELEASED, CLEANED, WIDEST)
        for side in [claims.of_release(found, name)]
    ]
    return claims.run(claimed, sides)


def test_claims_are_tested_on_every_set_of_numbers(tested):
    assert list(tested.columns) == claims.COLUMNS
    assert set(tested["data"]) == {AS_RELEASED, CLEANED, WIDEST}
    row = tested.query("claim == 'better' and data == 'cleaned' and place == 'corridor'").iloc[0]
    assert (row["right"], row["n_left"], row["n_right"]) == ("qmix", 5, 5)
    assert (row["verdict"], row["outcome"], row["at"]) == ("higher", "holds", END)
    assert row["low"] < row["difference"] < row["high"]
    assert row["difference"] == pytest.approx(row["mean_left"] - row["mean_right"])


def test_as_released_counts_copies_and_says_so(tested):
    rows = tested.query("claim == 'better' and place == 'corridor' and right == 'qmix'")
    counts = rows.set_index("data")["n_right"]
    assert counts.to_dict() == {AS_RELEASED: 6, CLEANED: 5, WIDEST: 5}
    flags = rows.set_index("data")["flags"]
    assert "qmix: counted_twice" in flags[AS_RELEASED]
    assert "counted_twice" not in flags[CLEANED]


def test_methods_without_runs_have_no_verdict(tested):
    rows = tested.query("right == 'emc'")
    assert set(rows["verdict"]) == {"no valid data"}
    assert set(rows["outcome"]) == {"no valid data"}


def test_a_wrong_claim_fails(tested):
    assert set(tested.query("claim == 'wrong'")["outcome"]) == {"fails"}


def test_runs_that_never_win_leave_every_claim_open(tmp_path):
    claimed = claims.load(write(tmp_path))
    curves = [replace(one, value=np.zeros(len(one.value))) for one in releases.clean(seeds=2)]
    nobody = claims.of_release(audit(releases.release(curves), keep=["*"]), CLEANED)
    table = claims.run(claimed, [Sides("nobody wins", nobody, nobody)])
    table = table[table["right"].isin(["qmix", "r3dm"])]
    assert {"better", "suite", "wrong", "half"} <= set(table["claim"])
    assert set(table["outcome"]) == {"open"}


def test_claims_on_a_part_of_training(tested):
    assert set(tested.query("claim == 'half'")["at"]) == {END // 2}


def of_runs(found: Audit, *algorithms: str) -> dict[tuple[str, str], np.ndarray]:
    """Final win rates by map and method."""
    cleaned = claims.of_release(found, CLEANED)
    return {
        cell[:2]: cleaned.scores(cell, END)
        for cell in cleaned.cells
        if cell.metric == "win_rate" and cell.algorithm in algorithms
    }


def test_suites_are_averaged_over_maps(tested, found):
    suite = tested.query("claim == 'suite' and data == 'cleaned' and right == 'qmix'").iloc[0]
    assert (suite["place"], suite["n_left"], suite["verdict"]) == ("both", 10, "higher")
    on_maps = tested.query("claim == 'better' and data == 'cleaned' and right == 'qmix'")
    assert suite["difference"] == pytest.approx(on_maps["difference"].mean())
    scores = of_runs(found, "r3dm", "qmix").values()
    n = np.array(list(map(len, scores)))
    parts = np.array([np.var(values, ddof=1) for values in scores]) / n / 2**2
    freedom = parts.sum() ** 2 / (parts**2 / (n - 1)).sum()
    reach = stats.t.ppf(0.975, freedom) * np.sqrt(parts.sum())
    assert suite["high"] - suite["difference"] == pytest.approx(reach)
    assert suite["difference"] - suite["low"] == pytest.approx(reach)
    assert (suite["p"] < 0.05) == (suite["low"] > 0)


@pytest.mark.parametrize("n", [2, 3, 5])
def test_methods_that_are_the_same_rarely_differ_over_a_suite(n):
    """Also with two runs a map; a bootstrap of so few took a fifth of them for different."""
    claim = claims.load(claims.PAPER).claims[0].model_copy(update={"right": ["acorm"]})
    claimed = claims.Claims(**FILE | {"claims": [claim.model_dump()]})
    stream, verdicts = np.random.default_rng(0), []
    for _ in range(400):
        runs = {map: stream.normal(0.5, 0.1, (2, n)) for map in claim.maps}
        data = dataset(runs, claim)
        verdicts += list(claims.run(claimed, [Sides("ours", data, data)])["verdict"])
    assert verdicts.count("higher") + verdicts.count("lower") <= 0.08 * 400


def test_a_suite_without_one_of_its_maps_decides_nothing(tmp_path):
    claimed = claims.load(write(tmp_path))
    cells = {"MMM2": ("r3dm", "qmix", "emc"), "corridor": ("r3dm", "qmix")}
    curves = [
        releases.run(map, name, seed, skill=0.8 if name == "r3dm" else 0.4)
        for map, names in cells.items()
        for name in names
        for seed in range(4)
    ]
    data = claims.of_release(audit(releases.release(curves)), CLEANED)
    table = claims.run(claimed, [Sides("ours", data, data)]).query("claim == 'suite'")
    whole, partial = table.set_index("right").loc[["qmix", "emc"]].to_dict("records")
    assert (whole["place"], whole["outcome"]) == ("both", "holds")
    assert (partial["place"], partial["verdict"]) == ("both (lacks corridor)", "partial")
    assert partial["outcome"] == "partial"
    assert 0 < partial["low"] < partial["difference"]  # shown all the same


def test_the_largest_gain_is_over_the_best_other(tested, found):
    scores = of_runs(found, "r3dm", "qmix", "cia")
    means = {cell: values.mean() for cell, values in scores.items()}
    leads = {
        "corridor": means["corridor", "r3dm"] - means["corridor", "qmix"],
        "MMM2": means["MMM2", "r3dm"] - means["MMM2", "cia"],
    }
    assert leads["MMM2"] < leads["corridor"] < means["MMM2", "r3dm"] - means["MMM2", "qmix"]
    gain = tested.query("claim == 'gain' and data == 'cleaned'").iloc[0]
    assert gain["place"] == "corridor of both (lacks a method on corridor)"  # cia is on MMM2 alone
    assert gain["right"] == "qmix, best of qmix"
    assert gain["difference"] == pytest.approx(leads["corridor"])
    assert gain["low"] < gain["difference"] < gain["high"]


GAIN = claims.LargestGain(
    **CLAIM | {"kind": "largest_gain", "suite": "all", "gain": 0.2, "right": ["qmix", "cia"]}
)


def gain_of(won: dict[str, list[float]]) -> pd.Series:
    """Tests the gain where the methods' five runs have these means: r3dm, qmix, and so on."""
    spread = 0.01 * np.array([-1, -0.5, 0, 0.5, 1])
    return gain_of_runs({map: [mean + spread for mean in means] for map, means in won.items()})


def gain_of_runs(runs: dict[str, list[np.ndarray]], claim=GAIN) -> pd.Series:
    """Tests the gain on scores of runs."""
    claimed = claims.Claims(**FILE | {"claims": [claim.model_dump()]})
    data = dataset(runs, claim)
    return claims.run(claimed, [Sides("ours", data, data)]).iloc[0]


def dataset(runs: dict[str, list[np.ndarray]], claim) -> claims.Dataset:
    """Scores of runs by map and method of a claim, each in a curve of a single evaluation."""
    cells = {}
    for map, of_methods in runs.items():
        for method, values in zip([claim.left, *claim.right], of_methods, strict=False):
            one = releases.run(map, method, points=1)
            curves = [replace(one, steps=one.steps + WINDOW, value=np.array([v])) for v in values]
            cells[one.cell] = curves
    how = Measurement(WINDOW, None)
    return claims.Dataset("ours", "simulator", cells, dict.fromkeys(runs, WINDOW), how, {})


@pytest.mark.parametrize(
    ("won", "outcome"),
    [
        ({"corridor": [0.9, 0.4, 0.5], "MMM2": [0.5, 0.5, 0.5]}, "holds"),
        ({"corridor": [0.9, 0.4, 0.5]}, "holds"),  # one map is enough
        ({"corridor": [0.9, 0.4, 0.8], "MMM2": [0.9, 0.8, 0.4]}, "fails"),
        ({"corridor": [0.5, 0.5], "MMM2": [0.5, 0.5]}, "fails"),  # others make the lead no larger
        ({"corridor": [0.9, 0.4]}, "partial"),  # but perhaps smaller
        ({"corridor": [0.5, 0.5, 0.5]}, "partial"),  # and it may be on the other map
    ],
)
def test_what_some_map_can_show(won, outcome):
    assert gain_of(won)["outcome"] == outcome


@pytest.mark.parametrize(
    ("maps", "others", "wrong"), [(12, 1, "higher"), (1, 6, "lower")], ids=["holds", "fails"]
)
def test_the_largest_of_noisy_leads_is_rarely_taken_for_more(maps, others, wrong):
    """All leads are the gain: without a correction one in four, or one in ten, misses it."""
    every = claims.load(claims.PAPER).claims[2]
    claim = every.model_copy(update={"maps": every.maps[:maps], "right": every.right[:others]})
    stream = np.random.default_rng(0)
    found = [
        gain_of_runs(
            {
                map: [stream.normal(mean, 0.1, 5) for mean in (0.7, *[0.5] * others)]
                for map in claim.maps
            },
            claim,
        )["verdict"]
        for _ in range(60)
    ]
    assert found.count(wrong) <= 3


def test_outcomes_are_counted(tested):
    counts = {claim["id"]: claim["data"][CLEANED] for claim in claims_by_outcome(tested)}
    assert counts["better"] == {
        **{"holds": 2, "fails": 0, "open": 0, "partial": 0},
        **{"no valid data": 2, "with_data": 2},
    }
    assert counts["wrong"]["fails"] == 2


def test_another_release_is_asked_only_for_what_it_has(tmp_path):
    claimed = claims.load(write(tmp_path))
    ours = claims.of_release(audit(releases.release(releases.clean())), CLEANED)
    other = [releases.run("corridor", "qmix", seed, skill=0.75) for seed in range(3)]
    theirs = claims.of_release(audit(releases.release(other)), CLEANED)
    table = claims.run(claimed, [Sides("against", ours, theirs)])
    row = table.query("claim == 'better'").iloc[0]
    assert len(table.query("claim == 'better'")) == 1
    assert (row["place"], row["right"], row["n_left"], row["n_right"]) == ("corridor", "qmix", 4, 3)
    assert row["mean_right"] > 0.6


def test_backends_are_never_compared(tmp_path):
    claimed = claims.load(write(tmp_path))
    found = audit(releases.release(releases.clean(seeds=2)))
    real = claims.of_release(found, CLEANED)
    other = replace(real, backend="simulator")
    with pytest.raises(BenchmarkError, match="starcraft2 and simulator are never compared"):
        claims.run(claimed, [Sides("mixed", real, other)])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"claims": [CLAIM, CLAIM]}, "the id 'better' stands twice"),
        ({"claims": [CLAIM | {"kind": "per_mood"}]}, "per_mood"),
        ({"claims": [CLAIM | {"expect": "more"}]}, "more"),
        ({"claims": [CLAIM | {"at": 2}]}, "less than or equal to 1"),
        ({"claims": []}, "claims"),
        ({"margins": {"win_rate": 0.05}}, "needs a margin above 0 for return"),
        ({"windows": 5}, "windows"),
    ],
)
def test_a_mistake_in_the_file_is_one_line(tmp_path, change, words):
    path = write(tmp_path, **change)
    with pytest.raises(BenchmarkError) as caught:
        claims.load(path)
    assert str(path) in str(caught.value)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_papers_claims_are_whole():
    claimed = claims.load(claims.PAPER)
    assert claimed.shown.claim in {claim.id for claim in claimed.claims}
    assert {claim.kind for claim in claimed.claims} == {"per_map", "per_suite", "largest_gain"}
    assert {map for claim in claimed.claims for map in claim.maps} == set(
        next(claim.maps for claim in claimed.claims if claim.id == "final_win_rate")
    )


@pytest.mark.parametrize(
    ("place", "needed"),
    [
        ("corridor", "corridor"),
        ("SMAC (lacks corridor)", "SMAC"),
        ("6h_vs_8z of SMAC and SMACv2", "both"),
    ],
)
def test_a_report_shows_what_is_of_its_maps(place, needed):
    suites = [claim.maps for claim in claims.load(claims.PAPER).claims[:3]]
    maps = {"corridor": ["corridor"], **dict(zip(("SMAC", "SMACv2", "both"), suites, strict=True))}
    assert report._within(place, maps[needed])
    assert not report._within(place, maps[needed][1:])
    assert report._within(place, maps["both"])
