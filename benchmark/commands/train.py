"""``python -m benchmark train``: one run from the command line or from the workflow."""

import argparse
import os
from pathlib import Path

import yaml

from algorithms import ALGORITHMS
from benchmark.envs import BACKENDS
from benchmark.envs.maps import MAPS
from benchmark.errors import BenchmarkError
from benchmark.training.config import RunConfig, load_yaml, one_line_errors, resolve_run
from benchmark.training.protocol import RULES
from benchmark.training.train import DEVICES, train


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    parser.add_argument("--map", metavar="MAP", help=", ".join(MAPS))
    parser.add_argument("--algorithm", metavar="METHOD", help=", ".join(ALGORITHMS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--backend", default=BACKENDS[0], help=" or ".join(BACKENDS))
    parser.add_argument("--protocol", default="unified", help=" or ".join(RULES))
    parser.add_argument("--config", type=Path, help="YAML file with keys as for --set")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a rule, hyper-parameter or env option, e.g. budget=200000; may be repeated",
    )
    parser.add_argument("--resolved", help=argparse.SUPPRESS)  # the workflow's JSON of a whole run
    parser.add_argument("--output", type=Path, help="run folder; results/... when left out")
    # What never changes the results is no part of a study; a workflow's runs find it in the
    # environment.
    parser.add_argument(
        "--device",
        default=os.environ.get("BENCHMARK_DEVICE", "auto"),
        help=f"{', '.join(DEVICES)} (default auto); also as $BENCHMARK_DEVICE",
    )
    parser.add_argument(
        "--checkpoint-seconds",
        type=float,
        default=os.environ.get("BENCHMARK_CHECKPOINT_SECONDS", "300"),
        metavar="S",
        help="wall-clock time between checkpoints (default 300); never changes the results; also as"
        " $BENCHMARK_CHECKPOINT_SECONDS",
    )


def main(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    config = _resolved(arguments.resolved) if arguments.resolved else _from_options(arguments)
    folder = arguments.output or Path("results") / config.path
    train(
        config,
        folder,
        device=arguments.device,
        checkpoint_seconds=arguments.checkpoint_seconds,
        replace=bool(arguments.resolved),  # Snakemake repeats a run because it has changed
    )
    print(folder)


def _resolved(text: str) -> RunConfig:
    with one_line_errors("--resolved"):
        return RunConfig.model_validate_json(text)


def _from_options(arguments: argparse.Namespace) -> RunConfig:
    for name in ("map", "algorithm"):
        if getattr(arguments, name) is None:
            raise BenchmarkError(f"train needs --{name}, see python -m benchmark train --help")
    overrides = []
    if arguments.config is not None:
        values = load_yaml(arguments.config)
        if not isinstance(values, dict):
            raise BenchmarkError(
                f"{arguments.config}: expected keys and values, e.g. budget: 200000"
            )
        overrides.append(values)
    overrides.append(dict(assignment(text) for text in arguments.set))
    return resolve_run(
        map=arguments.map,
        algorithm=arguments.algorithm,
        seed=arguments.seed,
        backend=arguments.backend,
        protocol=arguments.protocol,
        overrides=overrides,
    )


def assignment(text: str) -> tuple[str, object]:
    """Key and value of ``KEY=VALUE``.

    Raises:
        BenchmarkError: it is none.
    """
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise BenchmarkError(f"--set {text}: expected KEY=VALUE, e.g. --set budget=200000")
    try:
        return key, yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise BenchmarkError(f"--set {text}: {value!r} is not a YAML value") from error
