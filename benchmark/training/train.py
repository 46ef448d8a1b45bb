"""One run: collect, learn, evaluate, until the budget; killed at any moment, it can go on."""

import logging
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from types import FrameType

import numpy as np
import pandas as pd
import torch

from algorithms import ALGORITHMS
from algorithms.learner import Learner
from benchmark import files
from benchmark.envs import make, make_evaluation
from benchmark.envs.spec import EnvSpec
from benchmark.errors import BenchmarkError, OtherRunError, first_line
from benchmark.training import checkpoint, provenance, run_state
from benchmark.training.checkpoint import Checkpoints
from benchmark.training.config import (
    RunConfig,
    differences,
    same_but_for_the_budget,
    same_configuration,
)
from benchmark.training.device import (
    check_device,
    choose_device,
    keep_freed_memory,
    ran_out_of_memory,
)
from benchmark.training.drawing import draw
from benchmark.training.evaluations import evaluation_rows, write_evaluations
from benchmark.training.lock import exclusive
from benchmark.training.progress import Progress
from benchmark.training.protocol import Training, epsilon, evaluation_grid
from benchmark.training.replay import ReplayBuffer
from benchmark.training.rollout import evaluate, explore
from benchmark.training.run_record import DIGEST
from benchmark.training.seeding import RandomStreams

log = logging.getLogger("benchmark")

#: The files of a run folder that are written whole or not at all.
_FILES = (
    *run_state.RECORDS,
    *(f".{name}" for name in run_state.RECORDS),
    *("policy.pt", "progress.json", "checkpoint.pt", "replay/[0-9]*-[0-9]*.pt"),
)


def train(
    config: RunConfig,
    folder: Path,
    *,
    device: str = "auto",
    checkpoint_seconds: float = 300,
    replace: run_state.Replace = "nothing",
    loggers: Sequence[str] = (),
) -> None:
    """Trains one run to its budget and records it; continues it if it was begun before.

    Args:
        config: the resolved run.
        folder: where ``evaluations.parquet``, ``run.json`` and the checkpoints go.
        device: one of ``device.DEVICES``; "auto" is CUDA where there is one. A run that was begun
            on the other one goes on here only if this one is named.
        checkpoint_seconds: wall-clock time between checkpoints; never changes the results.
        replace: what of another run in the folder may be replaced.
        loggers: names of ``loggers.LOGGERS``; never change the results.

    Raises:
        BenchmarkError: the folder holds another run, is in use, or cannot be written; or memory
            runs out.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, once a checkpoint is written.
    """
    folder = Path(folder)
    check_device(device)
    progress = Progress(config, folder, loggers)
    keep_freed_memory()
    # A job of Slurm may meet one of a workflow that was killed, which still trains the same run.
    wait = "SLURM_JOB_ID" in os.environ
    with files.disk_errors(folder), exclusive(folder, wait), _deferred_signals() as interrupted:
        files.remove_unfinished(folder, [*_FILES, f"{config.algorithm}.py"])
        if run_state.is_done(config, folder, replace):
            Checkpoints(folder).delete()  # a kill may have come between the record and this
            return
        try:
            choose_device(device)  # an error before a battle, or the game, begins
            with closing(Run(config, folder, device, progress, replace)) as run:
                run.play(checkpoint_seconds, interrupted)
        except KeyboardInterrupt:
            progress.stop("interrupted")
            raise
        except OtherRunError:
            progress.close()
            raise
        except BaseException as error:
            progress.stop("failed", str(error) or type(error).__name__)
            if ran_out_of_memory(error):
                raise BenchmarkError(
                    f"memory ran out ({first_line(error)}); let fewer runs share the machine or its"
                    " GPU, `python -m benchmark plan` measures what one takes"
                ) from error
            raise


class Run:
    """A run in progress: its battles, learner, replay buffer, random streams and counters."""

    def __init__(
        self,
        config: RunConfig,
        folder: Path,
        device: str,
        progress: Progress,
        replace: run_state.Replace = "nothing",
    ) -> None:
        rules = config.training
        self.config, self.rules, self.folder, self.progress = config, rules, folder, progress
        self.streams = RandomStreams(config.seed)
        self.env = make(config.map, rules.n_envs, config.backend, config.env)
        self.evaluation_env = make_evaluation(
            self.env, config.map, rules.evaluation_episodes, config.backend, config.env
        )
        # SMACv2's client may scale rewards by the first teams that it meets: let every attempt
        # of this run begin with the same ones.
        self.env.reset(self.streams.seeds("battles", rules.n_envs))
        evaluation_seeds = self.streams.seeds("evaluation", rules.evaluation_episodes)
        if self.evaluation_env is not self.env:
            self.evaluation_env.reset(evaluation_seeds)
        self.learner = make_learner(config, self.streams, device, self.env.spec)
        self.replay = make_replay(self.env.spec, rules)
        self.grid = evaluation_grid(rules)
        self.evaluations: list[dict] = []
        self.best: dict | None = None
        self.steps = 0  # env steps of all training battles
        self.episodes = 0
        self.pending_updates = 0.0  # due by the episodes so far; below one after a round
        self.attempts: list[dict] = []
        self.wall_seconds = 0.0
        self.checkpoints = Checkpoints(folder)
        # Now, before anyone changes the files of the program.
        made_by = provenance.made_by(config.algorithm, config.backend, self.learner.device)
        if plugin := provenance.plugin_source(config.algorithm):
            files.write(plugin, folder / f"{config.algorithm}.py")
        self._restore(replace, change_device=device != "auto")
        self._started, self._started_cpu = time.monotonic(), time.process_time()
        progress.begin(self.steps, self.attempts)
        self.attempts.append({"started": provenance.now(), "from_step": self.steps, **made_by})

    def play(self, checkpoint_seconds: float, interrupted: "list[int]") -> None:
        """Runs to the end; checkpoints now and then and when interrupted."""
        saved = time.monotonic()
        self._evaluate_when_due()
        while self.steps < self.rules.budget:
            self._learn(self._collect())
            self._evaluate_when_due()
            self.progress.show(self.steps)
            if interrupted:
                self._save()
                raise KeyboardInterrupt
            if time.monotonic() - saved >= checkpoint_seconds:
                self._save()
                saved = time.monotonic()
        self._finish()

    def close(self) -> None:
        """Ends the battles."""
        self.env.close()
        self.evaluation_env.close()

    def _collect(self) -> int:
        """Plays one battle per env of the batch.

        Returns:
            how many were played to their end.
        """
        begin = self.steps
        episodes, stats = explore(
            self.env,
            self.learner,
            self.rules,
            self.streams.seeds("battles", self.rules.n_envs),
            lambda played: epsilon(self.rules, begin, played),
            self.streams["exploration"],
        )
        self.replay.add(episodes)
        self.episodes += len(episodes.length)
        self.steps += int(stats.length.sum())
        self.learner.on_collect(episodes, self.steps)
        return len(stats.length)

    def _learn(self, collected: int) -> None:
        """The updates that are due after so many further episodes."""
        if len(self.replay) < max(self.rules.batch_size, self.rules.burn_in_episodes):
            return
        self.pending_updates += collected * self.rules.updates_per_episode
        # A fraction remains where the game aborted a battle.
        due, self.pending_updates = divmod(self.pending_updates, 1)
        learn(self.learner, self.replay, self.rules, self.streams, int(due))
        self.learner.after_round(self.replay)

    def _evaluate_when_due(self) -> None:
        """Evaluates once for every point of the grid that has been reached."""
        while len(self.evaluations) < len(self.grid):
            step = self.grid[len(self.evaluations)]
            if step > self.steps:
                return
            seeds = self.streams.seeds("evaluation", self.rules.evaluation_episodes)
            stats = evaluate(self.evaluation_env, self.learner, self.rules, seeds)
            self.evaluations.append({"step": step, "phase": "training", **stats.columns()})
            score = [float(stats.battle_won.mean()), float(stats.returns.mean())]
            if self.best is None or score >= self.best["score"]:
                self.best = {"step": step, "score": score, "policy": self.learner.policy_state()}
            self.progress.evaluated(step, stats, self.learner.read_metrics())
            if self._diverged():
                log.warning("%s: the policy's weights are not finite at step %d", self.folder, step)

    def _finish(self) -> None:
        """Measures the best policy once more, then writes the record and drops the checkpoints."""
        end_reason = run_state.DIVERGED if self._diverged() else run_state.END
        if self.learner.updates == 0:  # less than a batch was played, or pre-training took it all
            end_reason = run_state.UNTRAINED
            log.warning("%s: the budget ended before the first update", self.folder)
        assert self.best is not None  # of the first evaluation, before any training
        evaluations = list(self.evaluations)
        if self.rules.absolute_episodes:
            self.learner.load_policy_state(self.best["policy"])
            seeds = self.streams.seeds("evaluation", self.rules.absolute_episodes)
            stats = evaluate(self.evaluation_env, self.learner, self.rules, seeds)
            step = self.best["step"]
            evaluations.append({"step": step, "phase": "absolute", **stats.columns()})
        # With the backend that really played.
        identity = {**self.config.identity, "backend": self.env.spec.backend}
        table = pd.concat(
            [evaluation_rows(identity, evaluation) for evaluation in evaluations],
            ignore_index=True,
        )
        self._note_attempt()
        self.attempts[-1]["ended"] = provenance.now()
        policy = {"config": self.config.resolved(), "policy": self.best["policy"]}
        checkpoint.write(policy, self.folder / "policy.pt")
        digest = write_evaluations(table, self.folder / ".evaluations.parquet")
        files.write_sealed(self._record(end_reason, digest), self.folder / ".run.json")
        run_state.write_records(self.folder)
        self.checkpoints.delete()
        self.progress.stop("done")

    def _diverged(self) -> bool:
        weights = self.learner.state_dict().values()
        return not torch.stack([torch.isfinite(weight).all() for weight in weights]).all()

    def _note_attempt(self) -> None:
        """Adds to the attempt's record what it cost, and what the backend says about it."""
        used = time.process_time() - self._started_cpu  # of all threads
        self.attempts[-1]["cpu_seconds"] = round(used, 1)
        if about := self.env.provenance():
            self.attempts[-1]["backend"] = about

    def _record(self, end_reason: str, digest: str) -> dict:
        """The content of ``run.json``."""
        wall = self._wall_seconds()
        last = self.attempts[-1]
        return {
            **self.config.identity,
            "backend_version": self.env.spec.backend_version,
            "budget": self.rules.budget,
            "config": self.config.resolved(),
            "config_hash": self.config.hash,
            **{name: last[name] for name in ("commit", "dirty", "source_hash", "hardware")},
            "versions": provenance.versions(),
            "env_steps": self.steps,
            "episodes": self.episodes,
            "updates": self.learner.updates,
            "attempts": self.attempts,
            "wall_seconds": round(wall, 3),
            "steps_per_second": round(self.steps / wall, 1),
            "end_reason": end_reason,
            DIGEST: digest,
        }

    def _wall_seconds(self) -> float:
        """Of all attempts together."""
        return self.wall_seconds + time.monotonic() - self._started

    # Resume ---------------------------------------------------------------------------------------

    def _save(self) -> None:
        """Everything that the rest of the run depends on."""
        self.attempts[-1]["until_step"] = self.steps
        self._note_attempt()
        state = {
            "config": self.config.resolved(),
            "backend_version": self.env.spec.backend_version,
            "device": self.learner.device.type,
            "learner": self.learner.training_state(),
            "streams": self.streams.state(),
            "evaluations": self.evaluations,
            "best": self.best,
            "steps": self.steps,
            "episodes": self.episodes,
            "pending_updates": self.pending_updates,
            "attempts": self.attempts,
            "wall_seconds": self._wall_seconds(),
        }
        self.checkpoints.save(state, self.replay)
        self.progress.saved(self.steps, self.attempts)

    def _restore(self, replace: run_state.Replace, change_device: bool) -> None:
        """Continues from the run's checkpoint, if there is one.

        On another device, which has another kind of generator, the method's own random streams
        begin again from a new seed: the next number of the stream "learner".

        Raises:
            OtherRunError: it is of another configuration or device.
        """
        state = self.checkpoints.load(self.replay)
        if state is None:
            return
        other = not self._continues(state)
        if other and replace == "nothing":
            raise OtherRunError(
                f"{self.folder} holds an unfinished run with other options:"
                f" {differences(state['config'], self.config.resolved())}; give it the same options"
                " to continue it, choose another --output, or give --replace changed to lose it"
            )
        stale = run_state.is_stale(self.config.identity | {"attempts": state["attempts"]})
        backend = state["backend_version"] != self.env.spec.backend_version
        if other or backend or (stale and replace == "stale"):
            what = "configuration" if other else "backend" if backend else "code"
            log.warning("%s: the %s has changed; starting over", self.folder, what)
            self.checkpoints.delete()
            self.checkpoints = Checkpoints(self.folder)
            self.replay = make_replay(self.env.spec, self.rules)
            return
        begun_on, here = state["device"], self.learner.device.type
        if begun_on != here and not change_device:
            raise OtherRunError(
                f"{self.folder} was begun on {begun_on}, here is {here}: name the device, --device"
                f" {begun_on} where there is one, or --device {here} to continue with other random"
                " numbers (in a workflow $BENCHMARK_DEVICE)"
            )
        if stale:
            log.warning("%s: code that decides its numbers has changed on the way", self.folder)
        self.streams.restore(state["streams"])
        moved = begun_on != here
        try:
            self.learner.load_training_state(state["learner"] | ({"streams": {}} if moved else {}))
        except (RuntimeError, KeyError, ValueError, TypeError) as error:
            raise OtherRunError(
                f"{self.folder}: its checkpoint does not fit the networks of"
                f" {self.config.algorithm} as they are now; undo the change to continue, or give"
                " --replace stale to begin again (in a workflow --config rerun=stale)"
            ) from error
        if moved:
            log.warning("%s: begun on %s, continues on %s", self.folder, begun_on, here)
            self.learner.seed_streams(learner_seed(self.streams))
        for name in ("evaluations", "best", "steps", "episodes", "pending_updates", "attempts"):
            setattr(self, name, state[name])
        self.wall_seconds = state["wall_seconds"]
        log.info("continuing %s at step %d", self.folder, self.steps)

    def _continues(self, state: dict) -> bool:
        """Whether this run would have come to the same checkpoint, to another budget or not."""
        ours, theirs = self.config.resolved(), state["config"]
        if same_configuration(theirs, ours):
            return True
        evaluated = [evaluation["step"] for evaluation in state["evaluations"]]
        same_points = evaluated == self.grid[: len(evaluated)]
        ahead = state["steps"] < self.rules.budget
        return same_but_for_the_budget(theirs, ours) and same_points and ahead


def learn(
    learner: Learner,
    replay: ReplayBuffer,
    rules: Training,
    streams: RandomStreams,
    updates: int = 1,
) -> None:
    """Updates of a learner, each on as many batches as it asks for.

    The first batch has a stream of its own: a method that draws more than another gets the same
    episodes in its TD steps.
    """
    purposes = ["replay"] + ["further_replay"] * (learner.BATCHES - 1)
    with closing(draw(replay, rules, streams, purposes * updates, learner.device)) as batches:
        for _ in range(updates):
            learner.update(*islice(batches, learner.BATCHES))


def make_learner(config: RunConfig, streams: RandomStreams, device: str, spec: EnvSpec) -> Learner:
    """The run's learner with its initial weights; ``device`` as for ``choose_device``."""
    algorithm = ALGORITHMS[config.algorithm]
    hyperparameters = algorithm.Config.model_validate(config.hyperparameters)
    seed = learner_seed(streams)
    return algorithm(spec, hyperparameters, config.training, seed, choose_device(device))


def learner_seed(streams: RandomStreams) -> int:
    """The next seed of a learner, of its initial weights and own random streams."""
    return int(streams.seeds("learner", 1)[0] >> np.uint64(1))  # torch takes 63 bits


def make_replay(spec: EnvSpec, rules: Training) -> ReplayBuffer:
    """The run's replay buffer, empty."""
    return ReplayBuffer(
        spec,
        rules.replay_episodes,
        rules.replayed_last_action,
        rules.replay_tails,
        rules.final_action,
    )


@contextmanager
def _deferred_signals() -> Iterator[list[int]]:
    """Ctrl-C and SIGTERM are only noted, so that the run stops at a point it can resume from."""
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        # The second Ctrl-C is meant at once. SIGTERM may come twice by itself: Slurm sends it
        # before a time limit, at the limit, and once more.
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(number)
        log.warning("stopping after the running battles; interrupt again to stop at once")

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
