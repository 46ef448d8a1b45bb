"""``python -m benchmark watch``: plays one battle and shows it, as an animation and as stills."""

import argparse
import logging
import re
from pathlib import Path

from benchmark.commands.arguments import add_backend, add_output
from benchmark.envs import BACKENDS
from benchmark.errors import BenchmarkError

log = logging.getLogger("benchmark")

_DEFAULT_POLICY = "attack_nearest"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    parser.add_argument("--map", help="e.g. 3m; with --checkpoint the run's own map")
    parser.add_argument(
        "--checkpoint",
        type=Path,
        metavar="RUN",
        help="a run's folder, or its policy.pt (the best policy) or checkpoint.pt (the newest);"
        " plays greedily",
    )
    parser.add_argument(
        "--policy",
        metavar="NAME",
        help="who plays without a checkpoint: random, attack_nearest (default), focus_fire,"
        " spread_fire or kite",  # envs/scripted.py; its import would take seconds
    )
    add_backend(parser, f"default: the run's own, else {BACKENDS[0]}; any policy plays on both")
    parser.add_argument("--seed", type=int, default=0, help="of the battle (default 0)")
    add_output(
        parser,
        "default results/watch; stills are written next to the animation",
        default=Path("results", "watch"),
        metavar="FOLDER|FILE.gif|FILE.mp4",
    )
    parser.add_argument(
        "--stills",
        metavar="STEPS",
        help="env steps of the stills, e.g. 1,20,35,50; the start, the end and two between"
        " when left out",
    )


def main(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    from benchmark.training.config import known
    from benchmark.training.seeding import check_seed
    from benchmark.visualization import watch

    steps = None if arguments.stills is None else stills(arguments.stills, 0)
    check_seed(arguments.seed)
    output = arguments.output
    folder = output if output.is_dir() or not output.suffix else output.parent
    if folder != output and output.suffix not in (".gif", ".mp4"):
        raise BenchmarkError(f"--output {output}: choose a folder, or a file .gif or .mp4")
    if output.suffix == ".mp4":
        watch.require_ffmpeg()
    if arguments.backend is not None:
        known("backend", arguments.backend, BACKENDS)
    map, seed, backend = arguments.map, arguments.seed, arguments.backend
    if arguments.checkpoint is not None:
        if arguments.policy is not None:
            raise BenchmarkError("a checkpoint has its own policy; leave out --policy")
        played = watch.play_checkpoint(arguments.checkpoint, map, seed, backend)
    elif map is None:
        raise BenchmarkError("watch needs --map or --checkpoint, e.g. --map 3m")
    else:
        policy = arguments.policy or _DEFAULT_POLICY
        played = watch.play_scripted(map, policy, seed, backend or BACKENDS[0])
    recording, player = played
    title = f"{player}, battle {seed}"
    if folder == output:
        name = re.sub(r"[^A-Za-z0-9_]+", "_", f"{recording.spec.map} {player} battle {seed}")
        output = folder / f"{name}.gif"
    watch.write_animation(recording, title, output)
    steps = watch.chosen_steps(steps, recording.length)
    written = watch.write_stills(recording, title, steps, output.with_suffix(""))
    log.info("%s after %d steps", recording.result, recording.length)
    for path in (output, *written):
        print(path)


def stills(text: str, first: int) -> list[int]:
    """The steps of ``--stills``, ascending.

    Args:
        text: e.g. "1,20,35,50".
        first: the least step.

    Raises:
        BenchmarkError: it is no such list.
    """
    try:
        steps = sorted({int(part) for part in text.split(",")})
    except ValueError:
        steps = []
    if not steps or steps[0] < first:
        raise BenchmarkError(
            f"--stills {text}: expected steps from {first} on, e.g. --stills 1,20,35,50"
        )
    return steps
