"""``python -m benchmark record``: battles as evidence for ``validate``."""

import argparse
import logging
from contextlib import closing
from pathlib import Path

from benchmark.commands.arguments import add_output
from benchmark.envs import BACKENDS
from benchmark.errors import BenchmarkError

log = logging.getLogger("benchmark")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    parser.add_argument("--map", required=True, help="e.g. 3m")
    parser.add_argument("--episodes", type=int, default=100, help="battles (default 100)")
    parser.add_argument(
        "--policy",
        default="random",
        metavar="random|FILE",
        help="random (default), a run's folder or policy.pt, or an .npz next to whose folder"
        " policies.csv says what it is",
    )
    parser.add_argument(
        "--backend", choices=BACKENDS, default="starcraft2", help="default starcraft2"
    )
    parser.add_argument("--n-envs", type=int, default=2, help="battles at once (default 2)")
    parser.add_argument("--seed", type=int, default=0, help="of the first battle (default 0)")
    add_output(parser, "its tables are extended", required=True, metavar="FOLDER")


def main(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    from benchmark.envs import make
    from benchmark.envs.playing import Player
    from benchmark.envs.validation import record
    from benchmark.envs.validation.players import NearRandom
    from benchmark.training.player import describe, open_player
    from benchmark.training.seeding import check_seed

    check_seed(arguments.seed)
    if arguments.episodes < 1:
        raise BenchmarkError(f"--episodes {arguments.episodes}: at least one battle")
    folder, described = arguments.output, None
    name = "random"
    player: Player = NearRandom(1.0, arguments.seed)
    if arguments.policy != "random":
        described = path, name, _, network = describe(Path(arguments.policy), arguments.map)
        player = open_player(path, network, arguments.seed)
    with closing(make(arguments.map, arguments.n_envs, arguments.backend)) as env:
        record.check(folder, env.spec.backend, described[:2] if described else None)
        played = record.record(env, player, arguments.episodes, arguments.seed, name, folder)
        if described:
            record.add_policy(env, played, *described, folder)
        else:
            record.add_random(env, played, folder)
        log.info(
            "%d battles on %s, %s: %.2f won, return %.2f, length %.1f",
            len(played["won"]), env.spec.map, record.source_of(env), played["won"].mean(),
            played["return"].mean(), played["length"].mean(),
        )  # fmt: skip
    print(folder)
