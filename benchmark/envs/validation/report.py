"""All comparisons with the real game, as tables."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmark import files
from benchmark.envs.simulator.env import VERSION
from benchmark.envs.validation import learning, policies, random_play, transitions, untrained
from benchmark.envs.validation.evidence import TESTS
from benchmark.errors import BenchmarkError

#: The measures of ``transitions``, as the table says them.
MEASURES = {
    "agents": "hits on agents: all their health right, share",
    "enemies": "hits on enemies: all their health right, share",
    "alive": "deaths: right of all units, share",
    "agents_off": "distance of agents, cells",
    "enemies_off": "distance of enemies, cells",
    "cooldown_off": "difference of the agents' cooldowns, loops",
}


def measure(evidence, maps: list[str], n_battles: int, open_player: Callable, study: Path) -> dict:
    """Runs every comparison for which there is evidence.

    Args:
        open_player: see ``policies.compare``.
        study: folder with our runs of QMIX.

    Returns:
        ``policies``, ``untrained``, ``random_play``, ``steps``: lists of rows; ``learning``: a
        dict or ``None``; ``skipped``: reasons, one line each; ``tests``: backends of recordings
        that are tests.
    """
    results: dict[str, Any] = {"policies": [], "random_play": [], "steps": [], "learning": None}
    results["untrained"] = untrained.compare(maps, max(n_battles // 4, 2))
    results["skipped"], results["tests"] = [], sorted(evidence.backends & set(TESTS))
    skip = results["skipped"].append
    if evidence.policies is None:
        skip(f"policies: no policies.csv in {evidence.folder}")
    else:
        results["policies"] = policies.compare(evidence, maps, open_player, n_battles)
    if evidence.table("random_play.csv") is None:
        skip(f"near-random play: no random_play.csv in {evidence.folder}")
    else:
        results["random_play"] = random_play.compare(evidence, maps, 2 * n_battles)
    recorded = {name: evidence.table(f"{name}_transitions.csv") for name in maps}
    recorded = {name: table for name, table in recorded.items() if table is not None}
    results["steps"] = [transitions.compare(table, name) for name, table in recorded.items()]
    if not recorded:
        skip(f"recorded steps: no <map>_transitions.csv of these maps in {evidence.folder}")
    real, results["sources"] = learning.real_curves(evidence)
    results["real_curves"] = real
    try:
        results["learning"] = learning.compare(real, study, maps)
    except BenchmarkError as error:
        skip(f"learning curves: {error}; config/validity.yaml makes the runs")
    parts = ("policies", "untrained", "random_play", "steps")
    known = {row["map"] for name in parts for row in results[name]}
    curves = set(real["map"])
    if rest := [name for name in maps if name not in known]:
        listed = ", ".join(
            f"{name}{' (learning curves alone)' * (name in curves)}" for name in rest
        )
        skip(f"no evidence on {listed}")
    return results


def as_markdown(results: dict) -> str:
    """The results as one page."""
    lines = [f"# Simulator {VERSION} compared with the real game", ""]
    if results["tests"]:
        recorded = " and the ".join(results["tests"])
        lines += [f"**Recorded on the {recorded}: a test of this program, not the game.**", ""]
    for name, part in _PARTS.items():
        if results[name]:
            lines += [*part(results[name]), ""]
    lines += [f"Not compared: {reason}." for reason in results["skipped"]]
    return "\n".join(lines) + "\n"


def _policies(rows) -> Iterator[str]:
    by_map = policies.difference(rows)
    mean = np.mean(list(by_map.values())) if by_map else np.nan
    yield "## Policies that were trained in the real game\n"
    yield f"Mean absolute difference of win rates, over {len(by_map)} maps: **{mean:.3f}**.\n"
    yield from _table(
        ("map", "mean absolute difference"), ((name, f"{v:.2f}") for name, v in by_map.items())
    )
    yield ""
    yield from _table(
        ("map", "policy", "wins in the game", "wins here", "return", "length"),
        (
            (
                row["map"], row["algorithm"], _number(row["real_win"]),
                _with_interval(row, "win"), f"{row['return']:.1f}", f"{row['length']:.0f}",
            )
            for row in sorted(rows, key=lambda row: row["map"])
        ),
    )  # fmt: skip


def _untrained(rows) -> Iterator[str]:
    yield "## Untrained policies, rebuilt from their seeds\n"
    yield "By chance: the mean absolute difference of two samples of the same battles.\n"
    columns = {
        "real_{}": "{} there", "{}": "here", "{}_difference": "difference",
        "{}_chance": "by chance", "{}_correlation": "correlation",
    }  # fmt: skip
    shown = [
        (key.format(measure), text.format(measure))
        for measure in untrained.MEASURES
        for key, text in columns.items()
    ]
    yield from _table(
        ("map", "policies", *(text for _, text in shown)),
        (
            (line["map"], str(line["policies"]), *(_number(line[name]) for name, _ in shown))
            for line in untrained.summary(rows)
        ),
    )


def _random_play(rows) -> Iterator[str]:
    yield "## Near-random play\n"
    yield from _table(
        (
            "map", "exploration", "battles in the game", "length there", "here", "return there",
            "here", "dead agents there", "here", "kills there", "here",
        ),
        (
            (
                row["map"], _number(row["epsilon"]), str(row["real_battles"]),
                *(_with_interval(row, side + n) for n in ("length", "return") for side in _SIDES),
                *(_number(row[s + n]) for n in ("dead_allies", "dead_enemies") for s in _SIDES),
            )
            for row in rows
        ),
    )  # fmt: skip


def _steps(found) -> Iterator[str]:
    for steps in found:
        yield f"## Recorded steps of {steps['map']}\n"
        yield f"{steps['steps']} env steps; every fifth also begins five without correction."
        yield "The ceiling is what the simulator would reach if it were the game.\n"
        yield from _table(
            ("", "one step", "ceiling", "five steps", "ceiling"),
            (
                (text, *(_number(v, 3) for p in ("one", "five") for v in steps[p].get(name, ())))
                for name, text in MEASURES.items()
            ),
        )
        yield (
            f"\nWhere an agent is hurt the first share is {steps['hurt']:.3f}; the mean logarithm"
            f" of the first share is {steps['log_agents']:.3f}.\n"
        )
        yield from _table(
            ("target of a lone enemy with a choice", "steps", "predicted", "particles", "ceiling"),
            (
                (name, str(n), *(_number(v, 3) for v in shares))
                for name, (n, *shares) in steps["targets"].items()
            ),
        )


def _learning(found) -> Iterator[str]:
    yield "## Learning curves of QMIX\n"
    yield (
        f"Simulator {', '.join(found['versions'])}; {len(found['finals'])} maps; Spearman's"
        f" correlation of final win rates over maps {_number(found['spearman'])}, mean absolute"
        f" difference {_number(found['difference'])}.\n"
    )
    marks = {200_000: "200 k", 500_000: "500 k", 1_000_000: "1 M"}
    yield from _table(
        (
            "map", "env steps", "runs there", "here",
            *(f"{text} {side}" for text in (*marks.values(), "end") for side in ("there", "here")),
        ),
        (
            (
                row["map"], f"{row['steps']:,}",
                *(_number(row[s + "runs"], 0) for s in _SIDES),
                *(_number(row[f"{key}_{m}"]) for m in marks for key in ("real_win", "win")),
                _number(row["real_win"]), _number(row["win"]),
            )
            for row in found["finals"]
        ),
    )  # fmt: skip
    if found["missing"]:
        yield f"\nNot finished here: {', '.join(found['missing'])}."


_PARTS = {
    "policies": _policies, "untrained": _untrained, "random_play": _random_play, "steps": _steps,
    "learning": _learning,
}  # fmt: skip
_SIDES = ("real_", "")


def _table(head, rows) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _number(value: float, digits: int = 2) -> str:
    return "?" if np.isnan(value) else f"{value:.{digits}f}"


def _with_interval(row, name) -> str:
    return f"{row[name]:.2f} ± {row[f'{name}_interval']:.2f}"


def save(results: dict, folder: Path) -> None:
    """Writes the tables: aggregates alone, with their sources."""
    import pandas as pd

    steps = [
        {"map": one["map"], "steps": one["steps"], "horizon": horizon, "measure": name,
         "here": here, "ceiling": ceiling}
        for one in results["steps"]
        for horizon in ("one", "five")
        for name, (here, ceiling) in one[horizon].items()
    ]  # fmt: skip
    targets = [
        {
            "map": one["map"],
            "group": name,
            "steps": n,
            "predicted": right,
            "particles": share,
            "ceiling": ceiling,
        }
        for one in results["steps"]
        for name, (n, right, share, ceiling) in one["targets"].items()
    ]
    finals = results["learning"]["finals"] if results["learning"] else []
    tables = {
        "policies": results["policies"], "untrained": results["untrained"],
        "random_play": results["random_play"],
        "recorded_steps": steps, "targets": targets, "learning": finals,
        "learning_curves": results["real_curves"], "learning_sources": results["sources"],
    }  # fmt: skip
    for name, rows in tables.items():
        table = pd.DataFrame(rows).round(4)
        if table.empty:
            continue
        if name not in ("learning", "learning_curves", "learning_sources"):
            table["simulator"] = VERSION
        files.write(table.to_csv(index=False), folder / f"{name}.csv")
