"""The files that ``roles`` writes: a figure, the measures, and their summary."""

import logging
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.progress import Progress

from benchmark.analysis import figures, labels, tables
from benchmark.analysis.roles import summary
from benchmark.training.policy import Policy
from benchmark.visualization.roles import battles, figure, measures
from benchmark.visualization.roles.figure import Play

log = logging.getLogger("benchmark")


def write(
    policies: Sequence[Policy], seeds: Sequence[int], steps: Sequence[int], folder: Path
) -> list[Path]:
    """Plays, measures and draws.

    Args:
        policies: see ``battles.load``.
        seeds: of the battles of every policy.
        steps: decisions that shall be shown, from 1, ascending.
        folder: of the files.

    Returns:
        the files, ``roles_MAP`` in the formats of figures and of tables.
    """
    plays, parts = [], []
    with Progress(console=Console(stderr=True), transient=True) as progress:
        for policy in policies:
            name = labels.run_label(policy.config)
            played = progress.track(battles.play(policy, seeds), len(seeds), description=name)
            plays.append(Play(policy, list(played), list(steps)))
            parts += [measures.measure(policy, battle) for battle in plays[-1].battles]
        progress.add_task("drawing", total=None)
        numbers = pd.concat(parts, ignore_index=True)
        table = summary(numbers, steps)
        figures.save(figure.draw(plays, numbers), table.name, folder)
        tables.write([table], folder)
    for play in plays:
        _log(play)
    formats = (*figures.FORMATS, *tables.FORMATS)
    return [Path(folder, f"{table.name}.{suffix}") for suffix in formats]


def _log(play: Play) -> None:
    """How the battles went, and which stills are missing."""
    lengths = [len(battle.alive) for battle in play.battles]
    won = sum(battle.recording.result == "allies win" for battle in play.battles)
    text = (
        f"{play.name}: {labels.count([len(lengths)], 'battle')} of {min(lengths)} to"
        f" {max(lengths)} decisions, {won} won; battle {play.battle.seed} is shown"
    )
    if play.missing:
        text += f", its end in place of t = {', '.join(map(str, play.missing))}"
    log.info(text)
