"""``python -m benchmark roles``: the roles of trained policies, in pictures and numbers.

Every policy plays battles of the same seeds, greedily and with correct last actions, as in the
authors' notebook, also where its run's protocol has others.
"""

import argparse
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.progress import Progress

from algorithms import ALGORITHMS
from algorithms.acorm import ACORM
from benchmark.analysis import figures, labels, tables
from benchmark.errors import BenchmarkError
from benchmark.training.policy import Policy, load_policy
from benchmark.training.seeding import check_seed
from benchmark.visualization import role_figure, role_numbers
from benchmark.visualization.role_figure import Play
from benchmark.visualization.role_numbers import Battle

log = logging.getLogger("benchmark")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    parser.add_argument(
        "--checkpoint",
        type=Path,
        metavar="RUN",
        action="append",
        required=True,
        help="a run's folder, or its policy.pt or checkpoint.pt; once per policy, all of one map",
    )
    parser.add_argument(
        "--battles", type=int, default=32, help="greedy battles of each policy (default 32)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the first battle (default 0)")
    parser.add_argument(
        "--stills",
        metavar="DECISIONS",
        default=",".join(map(str, role_numbers.STEPS)),
        help="decisions that are shown, counted from 1 (default %(default)s, as in the paper)",
    )
    parser.add_argument(
        "--output", type=Path, default=Path("results", "roles"), help="folder (default %(default)s)"
    )


def main(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    steps = _steps(arguments.stills)
    if arguments.battles < 1:
        raise BenchmarkError(f"--battles {arguments.battles}: at least one battle")
    check_seed(arguments.seed)
    policies = load(arguments.checkpoint)
    seeds = range(arguments.seed, arguments.seed + arguments.battles)
    plays, parts = [], []
    with Progress(console=Console(stderr=True), transient=True) as progress:
        for policy in policies:
            battles = role_numbers.play(policy, seeds)
            battles = progress.track(
                battles, len(seeds), description=labels.run_label(policy.config)
            )
            play, numbers = examine(policy, battles, steps)
            plays.append(play)
            parts.append(numbers)
        progress.add_task("drawing", total=None)
        written = write(plays, pd.concat(parts, ignore_index=True), steps, arguments.output)
    for play in plays:
        _tell(play)
    for path in written:
        print(path)


def load(paths: Sequence[Path]) -> list[Policy]:
    """Reads the policies of one figure.

    Raises:
        BenchmarkError: as :func:`load_policy`; one has no roles or was not trained on the
            simulator; or they cannot stand side by side.
    """
    policies = []
    for path in paths:
        policy = load_policy(path, evaluated_last_action="correct")
        if policy.config.backend != "simulator":
            raise BenchmarkError(
                f"{path} was trained on {policy.config.backend}; roles are shown on the simulator"
                " only"
            )
        if not isinstance(policy.learner, ACORM):
            others = sorted(name for name, each in ALGORITHMS.items() if issubclass(each, ACORM))
            raise BenchmarkError(
                f"{path} is a policy of {labels.label(policy.config.algorithm)}, which has no"
                f" roles; give policies of {' or '.join(others)}"
            )
        for other in policies:
            _compare(other, policy)
        policies.append(policy)
    return policies


def _compare(one: Policy, other: Policy) -> None:
    """Two policies of a figure must be of the same source, and be told apart by their names."""
    for name in ("map", "backend", "protocol", "env"):
        values = [getattr(policy.config, name) for policy in (one, other)]
        if values[0] != values[1]:
            what = "env options" if name == "env" else f"{name} ({values[0]}, {values[1]})"
            raise BenchmarkError(
                f"{one.path} and {other.path} differ in their {what}; make a figure of each"
            )
    name = labels.run_label(one.config)
    if name == labels.run_label(other.config):
        raise BenchmarkError(
            f"{one.path} and {other.path} are both {name}; a figure tells policies apart by"
            " method, variant and seed"
        )


def examine(
    policy: Policy, battles: Iterable[Battle], steps: Sequence[int]
) -> tuple[Play, pd.DataFrame]:
    """Clusters and measures a policy's battles.

    Args:
        policy: who plays.
        battles: see ``role_numbers.play``; cluster names go on from one to the next.
        steps: decisions that shall be shown, ascending.

    Returns:
        what the figure shows of the policy, and its numbers.
    """
    clustered, parts, reference = [], [], None
    for battle in battles:
        found = role_numbers.find_clusters(
            battle, policy.learner.config.clusters, reference=reference
        )
        reference = found.roles[0] if reference is None else reference
        clustered.append((battle, found))
        parts.append(role_numbers.measure(policy, battle, found))
    return Play(policy, clustered, list(steps)), pd.concat(parts, ignore_index=True)


def write(
    plays: Sequence[Play], numbers: pd.DataFrame, steps: Sequence[int], folder: Path
) -> list[Path]:
    """Writes the figure, the numbers and their summary.

    Returns:
        the files, ``roles_MAP`` in the formats of figures and of tables.
    """
    summary = role_numbers.summary(numbers, steps)
    figures.save(role_figure.draw(plays, numbers), summary.name, folder)
    tables.write([summary], folder)
    formats = (*figures.FORMATS, *tables.FORMATS)
    return [Path(folder, f"{summary.name}.{suffix}") for suffix in formats]


def _tell(play: Play) -> None:
    """Says how the battles went, and which stills there are none of."""
    lengths = [len(battle.alive) for battle, _ in play.battles]
    won = sum(battle.film.result == "allies win" for battle, _ in play.battles)
    text = (
        f"{play.name}: {labels.count([len(lengths)], 'battle')} of {min(lengths)} to"
        f" {max(lengths)} decisions, {won} won; battle {play.battle.seed} is shown"
    )
    if play.missing:
        text += f", its end in place of t = {', '.join(map(str, play.missing))}"
    log.info(text)


def _steps(text: str) -> list[int]:
    """The numbers of ``--stills``."""
    try:
        steps = sorted({int(part) for part in text.split(",")})
    except ValueError:
        steps = []
    if not steps or steps[0] < 1:
        raise BenchmarkError(
            f"--stills {text}: expected decisions from 1, e.g. --stills 1,20,35,50"
        )
    return steps
