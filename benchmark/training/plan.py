"""What a run costs on this machine: what its parts take (``measure``), projected to the whole run.

As many processes measure at a time as runs will share the machine or the GPU. Every result is kept
in the user's cache folder as soon as it is there.
"""

import multiprocessing
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from benchmark import files
from benchmark.envs import spec_of
from benchmark.errors import BenchmarkError
from benchmark.training import provenance
from benchmark.training.config import RunConfig, hash_of
from benchmark.training.device import choose_device, device_asked_for, ran_out_of_memory
from benchmark.training.measure import Measured, measure, pretraining
from benchmark.training.protocol import evaluation_grid

_ROW_BYTES = 13  #: of a row of ``evaluations.parquet``, compressed


@dataclass(frozen=True)
class Cost:
    """What one run costs, projected to its whole budget: seconds and bytes."""

    collecting: float
    learning: float
    evaluating: float
    memory: float  #: main memory, at most
    device_memory: float  #: on the GPU, at most; 0 without one
    replay: float  #: of the main memory the full replay buffer, at most
    results: float  #: on disk, stays
    checkpoints: float  #: on disk while it is under way, at most

    @property
    def seconds(self) -> float:
        """From begin to end."""
        return self.collecting + self.learning + self.evaluating


def project(run: RunConfig, measured: Measured) -> Cost:
    """The whole run's cost from what its parts take."""
    rules, left = run.training, updates(run, measured)
    learning = 0.0
    for name, count in pretraining(run).items():
        learning += min(count, left) * measured.pretraining[name]
        left -= min(count, left)
    learning += left * (measured.update + measured.due / _interval(run))
    evaluated = len(evaluation_grid(rules)) * rules.evaluation_episodes + rules.absolute_episodes
    # No more steps than the budget has, however long the battles.
    steps = min(rules.replay_episodes * spec_of(run.map).episode_limit, rules.budget)
    replay = steps * measured.replayed_step
    return Cost(
        collecting=rules.budget * measured.env_step,
        learning=learning,
        evaluating=evaluated * measured.length * measured.evaluation_step,
        memory=measured.memory + replay,
        device_memory=measured.device_memory,
        replay=replay,
        results=measured.policy + evaluated * _ROW_BYTES,
        checkpoints=replay + 2 * (measured.policy + measured.state),
    )


def updates(run: RunConfig, measured: Measured) -> float:
    """How many a run makes, those before the first TD update included."""
    rules = run.training
    waits = max(rules.batch_size, rules.burn_in_episodes) - rules.n_envs
    episodes = rules.budget / measured.length - max(0, waits)
    return max(0.0, episodes * rules.updates_per_episode)


def _interval(run: RunConfig) -> int:
    """The updates between those in which something costly is due."""
    names = ("target_interval", "contrastive_interval")
    return min(filter(None, (getattr(run.hyperparameters, name, 0) for name in names)))


def measure_all(
    runs: list[RunConfig], at_a_time: int, seconds: float
) -> Iterator[tuple[RunConfig, Measured]]:
    """Measures each run in a process of its own, and yields it when that is done and kept.

    Args:
        runs: what to measure.
        at_a_time: processes.
        seconds: about how long to measure each.
    """
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[name] = "1"  # for the processes that are started below
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([measure.__module__])
    with ProcessPoolExecutor(
        at_a_time,
        context,
        initializer=signal.signal,
        initargs=(signal.SIGINT, signal.SIG_IGN),
        max_tasks_per_child=1,
    ) as pool:
        pending = {pool.submit(_measure, run.resolved(), seconds): run for run in runs}
        try:
            for done in as_completed(pending):
                run, measured = pending[done], done.result()
                with suppress(BenchmarkError):  # a home that cannot be written keeps nothing
                    files.write_sealed(asdict(measured), _file(run, at_a_time))
                yield run, measured
        except BaseException as error:  # Ctrl-C above all: do not wait for what is being measured
            for one in pending:
                one.cancel()
            for process in multiprocessing.active_children():
                process.kill()
            pool.shutdown()
            if isinstance(error, BrokenProcessPool) or ran_out_of_memory(error):
                raise BenchmarkError(
                    "memory ran out while runs were measured; give more of it, or measure"
                    " fewer runs --at-a-time"
                ) from error
            raise


def _measure(resolved: dict, seconds: float) -> Measured:
    """In a process that loads a method from outside the repository itself: it cannot be sent."""
    return measure(RunConfig.model_validate(resolved), seconds)


def kept(run: RunConfig, at_a_time: int) -> Measured | None:
    """What an earlier call measured of such a run on such a machine, if the code is the same.

    Args:
        run: its seed and its budget do not matter.
        at_a_time: processes that measured at the same time.
    """
    try:
        return Measured(**files.read_sealed(_file(run, at_a_time)))
    except (BenchmarkError, TypeError):  # there is none, or it is damaged or of another version
        return None


def _file(run: RunConfig, at_a_time: int) -> Path:
    """Where it is kept."""
    rules = run.training.model_copy(update={"budget": 1})
    alike = run.model_copy(update={"study": "", "variant": "", "seed": 0, "training": rules})
    code = provenance.source_hash(run.algorithm, run.backend)
    machine = provenance.hardware(torch.device(choose_device(device_asked_for())))
    key = [alike.hash, code, machine["device"], machine["cpu"], at_a_time]
    return files.cache_folder() / "plan" / f"{hash_of(key)}.json"
