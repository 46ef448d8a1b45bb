"""``python -m benchmark train``: one run from the command line or from the workflow."""

import argparse
import logging
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from algorithms import ALGORITHMS
from benchmark.commands.arguments import add_backend, add_output
from benchmark.commands.streams import output_is_not_needed
from benchmark.envs import BACKENDS
from benchmark.envs.maps import MAPS
from benchmark.errors import BenchmarkError
from benchmark.training.device import DEVICES, device_asked_for

if TYPE_CHECKING:
    from benchmark.training.config import RunConfig
    from benchmark.training.study import Study

log = logging.getLogger("benchmark")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    parser.add_argument("--map", metavar="MAP", help=", ".join(MAPS))
    parser.add_argument("--algorithm", metavar="METHOD", help=", ".join(ALGORITHMS))
    parser.add_argument("--seed", type=int, default=0, help="default 0")
    add_backend(parser, f"default {BACKENDS[0]}")
    parser.add_argument("--protocol", help="unified (default) or released")
    parser.add_argument(
        "--study",
        metavar="STUDY",
        help="a study's file, name or folder: with its backend, protocol and settings",
    )
    parser.add_argument("--variant", default="default", help="of the study")
    parser.add_argument("--config", type=Path, help="YAML file with keys as for --set")
    parser.add_argument(
        "--set",
        action="extend",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="a rule, hyper-parameter or env option, e.g. budget=200000",
    )
    parser.add_argument(
        "--show",
        action="store_true",
        help="print every setting of the run and where it comes from; train nothing",
    )
    add_output(parser, "run folder (default: results/...)")
    parser.add_argument(
        "--replace",
        choices=["nothing", "changed", "stale"],
        default="nothing",
        help="what that folder may lose, finished or not: nothing (default), a run with other"
        " options (changed), also a run by other code (stale)",
    )
    # What never changes the results is no part of a study; a workflow's runs find it in the
    # environment.
    parser.add_argument(
        "--device",
        default=device_asked_for(),
        help=f"{', '.join(DEVICES)} (default auto); also as $BENCHMARK_DEVICE",
    )
    parser.add_argument(
        "--checkpoint-seconds",
        type=_seconds,
        default=os.environ.get("BENCHMARK_CHECKPOINT_SECONDS", "300"),
        metavar="S",
        help="wall-clock time between checkpoints (default 300); never changes the results; also as"
        " $BENCHMARK_CHECKPOINT_SECONDS",
    )
    parser.add_argument(
        "--log",
        nargs="+",
        default=os.environ.get("BENCHMARK_LOG", "").split(),
        metavar="LOGGER",
        help="tensorboard, wandb, or both: curves while the run trains; also as $BENCHMARK_LOG",
    )


def check_environment(here: bool) -> None:
    """Checks what runs find in the environment, before a workflow starts hundreds of them.

    Args:
        here: whether they run with this installation, not in a container or with conda's.

    Raises:
        BenchmarkError: a variable has a value that every run would refuse.
    """
    from benchmark.training import loggers

    if (device := device_asked_for()) not in DEVICES:
        raise BenchmarkError(f"BENCHMARK_DEVICE={device}: choose {', '.join(DEVICES)}")
    for name in os.environ.get("BENCHMARK_LOG", "").split():
        loggers.check(name, f"BENCHMARK_LOG={name}", installed=here)
    try:
        _seconds(os.environ.get("BENCHMARK_CHECKPOINT_SECONDS", "300"))
    except argparse.ArgumentTypeError as error:
        raise BenchmarkError(f"BENCHMARK_CHECKPOINT_SECONDS: {error}") from None


def _seconds(text: str) -> float:
    """A finite number of seconds; 0 saves after every round."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no finite, positive number of seconds")
    return value


def main(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    config, overrides = _from_options(arguments)
    if arguments.show:
        _show(config, overrides)
        return
    output_is_not_needed()
    percent = int(os.environ.get("BENCHMARK_GPU_PERCENT") or 0)  # set by the workflow
    if percent and arguments.device != "cpu":
        from benchmark.training.card import take_share

        take_share(percent)
    from benchmark.training.train import train

    folder = arguments.output or Path("results") / config.path
    train(
        config,
        folder,
        device=arguments.device,
        checkpoint_seconds=arguments.checkpoint_seconds,
        loggers=arguments.log,
        replace=arguments.replace,
    )
    print(folder)


def _from_options(arguments: argparse.Namespace) -> tuple["RunConfig", dict[str, dict]]:
    """The run, and what it was resolved with by where that stands."""
    from benchmark.training.config import resolve_run
    from benchmark.training.study_folder import find

    for name in ("map", "algorithm"):
        if getattr(arguments, name) is None:
            raise BenchmarkError(f"train needs --{name}, see python -m benchmark train --help")
    run = {name: getattr(arguments, name) for name in ("map", "algorithm", "variant")}
    own = _own_settings(arguments)
    if arguments.study:
        found = find(arguments.study)
        study = found.require()
        for name in ("backend", "protocol"):
            if getattr(arguments, name) not in (None, getattr(study, name)):
                raise BenchmarkError(f"--{name}: study {study.name} has {getattr(study, name)}")
        overrides = study.overrides(**run) | own
        run |= {"backend": study.backend, "protocol": study.protocol}
        if not any(own.values()):  # else it is none of the study's runs
            run["study"] = study.name
    else:
        if arguments.variant != "default":
            raise BenchmarkError("--variant names a variant of a study; give --study too")
        overrides = own
        run["backend"] = arguments.backend or BACKENDS[0]
        run["protocol"] = arguments.protocol or "unified"
    resolved = resolve_run(**run, seed=arguments.seed, overrides=overrides.values())
    if arguments.study and not arguments.output:
        if resolved.study == study.name:
            _check_member(resolved, study)
            if not found.with_runs:  # one run next to it would make it a study of missing ones
                raise BenchmarkError(
                    f"{found.folder} came as its table, without runs: say with --output where the"
                    " run should go, or move evaluations.parquet away to train the study"
                )
        else:
            where = Path("results") / resolved.path
            log.info("with settings of its own it is no run of the study; it goes to %s", where)
    return resolved, overrides


def _check_member(run: "RunConfig", study: "Study") -> None:
    """A run that the study's file does not name would lie unseen in the study's folder."""
    from benchmark.training.config import run_path

    if run.path not in {one.path for one in study.runs()}:
        raise BenchmarkError(
            f"study {study.name} has no run {run_path(run.identity)}: add it to the study's file,"
            " leave --study out, or say with --output where it should go"
        )


def _own_settings(arguments: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """What the command line sets, by option."""
    from benchmark import strict_yaml

    values = strict_yaml.load(arguments.config) if arguments.config else {}
    if not isinstance(values, dict):
        raise BenchmarkError(f"{arguments.config}: expected keys and values, e.g. budget: 200000")
    return {
        f"--config {arguments.config}": values,
        "--set": dict(assignment(text) for text in arguments.set),
    }


def assignment(text: str) -> tuple[str, object]:
    """Key and value of ``KEY=VALUE``.

    Raises:
        BenchmarkError: it is none.
    """
    from benchmark import strict_yaml

    key, separator, value = text.partition("=")
    if not separator or not key:
        raise BenchmarkError(f"--set {text[:80]}: expected KEY=VALUE, e.g. --set budget=200000")
    return key, strict_yaml.parse(value, f"--set {text[:80]}")


def _show(config: "RunConfig", overrides: dict[str, dict]) -> None:
    """Prints every setting with its source, by part: rules, env options, hyper-parameters."""
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    from benchmark.training.config import settings

    titles = {"training": "rules", "env": "env options", "hyperparameters": "hyper-parameters"}
    table = Table(title=config.path.as_posix(), title_justify="left", box=SIMPLE)
    for heading in ("key", "value", "from"):
        table.add_column(heading, overflow="fold")
    part = None
    for setting in settings(config, overrides):
        if setting.part != part:
            part = setting.part
            table.add_section()
            table.add_row(f"[bold]{titles[part]}[/]")
        table.add_row(setting.key, str(setting.value), setting.source)
    console = Console(width=None if Console().is_terminal else 120)
    console.print(table)
    console.print(f"configuration {config.hash}", highlight=False)
