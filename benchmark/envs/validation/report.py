"""All comparisons with the real game, as tables."""

from pathlib import Path

from benchmark import files
from benchmark.envs.simulator.env import VERSION
from benchmark.envs.validation import policies, random_play, transitions


def measure(evidence, maps: list[str], n_battles: int) -> dict:
    """Runs every comparison for which there is evidence.

    Returns:
        ``policies`` and ``random_play``: lists of rows; ``transitions``: a dict or ``None``;
        ``skipped``: reasons, one line each.
    """
    results = {"policies": [], "random_play": [], "transitions": None, "skipped": []}
    if evidence.policies is None:
        results["skipped"].append(f"policies: no policies.csv in {evidence.folder}")
    else:
        results["policies"] = policies.compare(evidence, maps, n_battles)
    if evidence.table("random_play.csv") is None:
        results["skipped"].append(f"near-random play: no random_play.csv in {evidence.folder}")
    else:
        results["random_play"] = random_play.compare(evidence, maps, 2 * n_battles)
    steps = evidence.table("3m_transitions.csv") if "3m" in maps else None
    if steps is not None:
        results["transitions"] = transitions.compare(steps)
    elif "3m" in maps:
        results["skipped"].append(f"recorded steps: no 3m_transitions.csv in {evidence.folder}")
    known = {row["map"] for name in ("policies", "random_play") for row in results[name]}
    if rest := [name for name in maps if name not in known]:
        results["skipped"].append(f"no evidence on {', '.join(rest)}")
    return results


def as_markdown(results: dict) -> str:
    """The results as one page."""
    lines = [f"# Simulator {VERSION} compared with the real game", ""]
    if rows := results["policies"]:
        by_map = policies.difference(rows)
        mean = sum(by_map.values()) / max(len(by_map), 1)
        lines += [
            "## Policies that were trained in the real game", "",
            f"Mean absolute difference of win rates, over {len(by_map)} maps: {mean:.3f}.", "",
            "| map | policy | wins in the game | wins here | return | length |",
            "|---|---|---:|---:|---:|---:|",
        ]  # fmt: skip
        for row in sorted(rows, key=lambda row: row["map"]):
            real = f"{row['real_win']:.2f}" if row["real_win"] == row["real_win"] else "?"
            lines.append(
                f"| {row['map']} | {row['algorithm']} | {real} |"
                f" {row['win']:.2f} ± {row['win_interval']:.2f} | {row['return']:.1f} |"
                f" {row['length']:.0f} |"
            )
        lines += ["", "| map | mean absolute difference |", "|---|---:|"]
        lines += [f"| {name} | {value:.2f} |" for name, value in by_map.items()] + [""]
    if rows := results["random_play"]:
        lines += [
            "## Near-random play", "",
            "| map | length in the game | here | return in the game | here | kills | here |",
            "|---|---:|---:|---:|---:|---:|---:|",
        ]  # fmt: skip
        for row in rows:
            cells = [
                f"{row[p + n]:.2f} ± {row[f'{p}{n}_interval']:.2f}"
                for n in ("length", "return")
                for p in ("real_", "")
            ]
            kills = [f"{row[p + 'dead_enemies']:.2f}" for p in ("real_", "")]
            lines.append(f"| {' | '.join([row['map'], *cells, *kills])} |")
        lines.append("")
    if steps := results["transitions"]:
        lines += [
            "## Recorded steps of 3m", "",
            f"{steps['steps']} steps: the agents' health after a step is predicted by"
            f" {steps['losses']:.3f} of the simulated battles ({steps['hurt_losses']:.3f} where an"
            f" agent is hurt; mean logarithm {steps['log_losses']:.3f}), the enemies' health by"
            f" {steps['shots']:.3f}; enemies are {steps['position']:.3f} cells off.", "",
        ]  # fmt: skip
    lines += [f"Not compared: {reason}." for reason in results["skipped"]]
    return "\n".join(lines) + "\n"


def save(results: dict, folder: Path) -> None:
    """Writes ``policies.csv`` and ``random_play.csv``: aggregates alone, with their sources."""
    import pandas as pd

    for name in ("policies", "random_play"):
        table = pd.DataFrame(results[name]).round(4)
        with files.atomic(Path(folder) / f"{name}.csv") as path:
            table.to_csv(path, index=False)
