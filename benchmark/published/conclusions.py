"""What the runs of a study say of the paper's claims, on one page: ``docs/results.md``."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from statsmodels.stats.power import TTestIndPower

from benchmark import files
from benchmark.analysis import labels
from benchmark.analysis.aggregate import missing_and_changed
from benchmark.analysis.report import (
    by_cell,
    commit_of,
    dates,
    devices,
    distance_to_game,
    stale_runs,
)
from benchmark.published import claims, compare, report
from benchmark.published.claims import Claims, Dataset, PerMap, PerSuite, Sides
from benchmark.published.release import Cell
from benchmark.published.scores import WINDOW, Estimate, estimate
from benchmark.training.config import DEFAULT
from benchmark.training.evaluations import read_evaluations
from benchmark.training.study import Study

POWER = 0.8  #: how often a difference should be found
_SEEDS = (3, 5)


@dataclass(frozen=True)
class Power:
    """What the runs on a map could have shown."""

    map: str
    sd: float  #: over runs, of all methods together
    smallest: dict[int, tuple[float, float]]  #: by seeds: alone, and as one of a family


@dataclass
class Cost:
    """What the runs of a method on a map took."""

    runs: int = 0
    hours: float = 0.0  #: of all CPU threads; NaN where a run says nothing, as before 2026-11-27
    devices: set[str] = field(default_factory=set)  #: "cpu", or the GPU's name


def write(folder: Path, study: Study, about: dict, claimed: Claims, output: Path) -> None:
    """Writes the page.

    Args:
        folder: of the study, with ``evaluations.parquet`` and ``runs.json``.
        about: where the published facts come from, see ``facts.about``.

    Raises:
        BenchmarkError: a file is missing or damaged, or the table mixes backends or protocols.
    """
    evaluations = read_evaluations(folder / "evaluations.parquet")
    ours = compare.our_data(evaluations, about["sources"][0]["ends"])
    tests = claims.run(claimed, [Sides("ours", ours, ours)])
    runs = files.read_sealed(folder / "runs.json", ["runs"])["runs"]
    missing, changed = missing_and_changed(runs, study, folder)
    family = max(len(claim.right) for claim in claimed.claims)
    text = report.markdown("results.md.j2").render(
        study=study,
        pictures={
            f"images/{study.name}_{name}.png": labels.FAMILIES[name]
            for name in labels.families(study.maps)
            if (output.parent / "images" / f"{study.name}_{name}.png").exists()
        },
        backend=labels.played_by(ours.backend),
        distance=distance_to_game(study.maps, runs),
        ends=ours.ends,
        shorter=bool(ours.flags),
        longer=longer(ours, study),
        window=WINDOW,
        methods=sorted(study.algorithms, key=labels.order),
        final=final(ours, study),
        tests=_spoken(tests).to_dict("records"),
        silent=dict(_silent(tests, claimed)),
        power=[found for map in study.maps if (found := power(ours, map, claimed.alpha, family))],
        share=POWER,
        family=family,
        cost=_cost(runs),
        missing=by_cell(missing),
        changed=by_cell(changed),
        stale=by_cell(stale_runs(runs, changed)),
        versions=sorted({run["backend_version"] for run in runs}),
        commits=sorted(set(map(commit_of, runs))),
        dates=dates(runs),
    )
    files.write(text, output)


def final(ours: Dataset, study: Study) -> dict[str, dict[str, Estimate]]:
    """By map and method: the mean over runs of the final win rate."""
    return {
        map: {
            name: estimate(
                ours.scores(Cell(map, name, DEFAULT, "win_rate"), ours.ends[map]), "win_rate"
            )
            for name in study.algorithms
        }
        for map in study.maps
        if map in ours.ends
    }


def longer(ours: Dataset, study: Study) -> dict[tuple[str, str, int], Estimate]:
    """By map, method and end, in env steps: the final win rate of runs that went on further than
    those of another method.
    """
    found = {}
    for cell, runs in ours.cells.items():
        end = int(max(run.steps.max() for run in runs))
        asked = cell.metric == "win_rate" and cell.algorithm in study.algorithms
        if asked and cell.variant == DEFAULT and end > ours.ends[cell.map]:
            found[cell.map, cell.algorithm, end] = estimate(ours.scores(cell, end), "win_rate")
    return found


def power(ours: Dataset, map: str, alpha: float, family: int) -> Power | None:
    """The smallest difference of final win rates that runs on a map could have shown.

    Two-sided t-tests of as many runs on both sides, with the standard deviation over runs that all
    methods have together; None where no method has two runs that differ.

    Args:
        alpha: error rate of all comparisons on the map together.
        family: how many comparisons there are; Holm's correction begins with alpha / family.
    """
    groups = [
        ours.scores(cell, ours.ends[map])
        for cell in ours.cells
        if (cell.map, cell.metric) == (map, "win_rate") and map in ours.ends
    ]
    groups = [scores for scores in groups if len(scores) > 1]
    if not groups:
        return None
    squares = sum(float(np.var(scores, ddof=1)) * (len(scores) - 1) for scores in groups)
    sd = float(np.sqrt(squares / sum(len(scores) - 1 for scores in groups)))
    if sd < claims.ROUNDING:
        return None

    def detected(n: int, level: float) -> float:
        return sd * float(TTestIndPower().solve_power(nobs1=n, alpha=level, power=POWER))

    smallest = {n: (detected(n, alpha), detected(n, alpha / family)) for n in _SEEDS}
    return Power(map, sd, smallest)


def _spoken(tests: pd.DataFrame) -> pd.DataFrame:
    """The comparisons that have an outcome."""
    return tests[~tests["outcome"].isin(["partial", "no valid data"])]


def _silent(tests: pd.DataFrame, claimed: Claims) -> Iterator[tuple[str, str]]:
    """The claims that no comparison speaks to, in words, and why."""
    spoken = set(_spoken(tests)["claim"])
    for claim in claimed.claims:
        if claim.id in spoken:
            continue
        left, right = claim.methods
        other = "one of " * (len(right) > 1) + ", ".join(map(str, right))
        count = len(claim.maps)
        if isinstance(claim, PerMap):
            where = "on one map" if count > 1 else f"on {claim.maps[0]}"
            why = f"needs two runs of {left} and of {other} {where}"
        elif isinstance(claim, PerSuite):
            why = f"needs two runs of {left} and of {other} on all of its {count} maps"
        else:
            why = f"needs two runs of every method on one map to be shown, on all {count} to fail"
        yield claim.says, why


def _cost(runs: list[dict]) -> dict[tuple[str, str], Cost]:
    """What the runs took, by map and name of the method."""
    found: dict[tuple[str, str], Cost] = {}
    for run in runs:
        name = labels.label(run["algorithm"], run["variant"])
        cost = found.setdefault((run["map"], name), Cost())
        cost.runs += 1
        cost.devices.update(devices(run))
        for attempt in run["attempts"]:
            cost.hours += attempt.get("cpu_seconds", np.nan) / 3600
    return found
