"""What replay buffer and checkpoints take: ``python speed/replay.py [--maps ...]``.

Fills the buffer of a QMIX run with random play, then draws batches and writes checkpoints as
training does. The share of time is that of a checkpoint after five minutes of training, which is
the interval of ``train``, at the speed that ``plan`` measures here. In brackets after the memory:
what plain single-precision arrays padded to the time limit would take.
"""

import argparse
import tempfile
import time
from pathlib import Path

import torch

from benchmark.amounts import size
from benchmark.envs import make
from benchmark.training import plan, provenance
from benchmark.training.checkpoint import Checkpoints
from benchmark.training.config import resolve_run
from benchmark.training.measure import measure as measure_run
from benchmark.training.rollout import explore
from benchmark.training.seeding import RandomStreams
from benchmark.training.train import make_learner, make_replay

_INTERVAL = 300  #: seconds between checkpoints


def measure(map: str, battles: int) -> str:
    """One line about one map."""
    run = resolve_run(map=map, algorithm="qmix", seed=0)
    rules, streams = run.training, RandomStreams(0)
    env = make(map, battles)
    learner = make_learner(run, streams, "cpu", env.spec)
    replay = make_replay(env.spec, rules)
    steps = 0
    while len(replay) < rules.replay_episodes:
        seeds = streams.seeds("battles", battles)
        episodes, stats = explore(env, learner, rules, seeds, lambda _: 1.0, streams["exploration"])
        replay.add(episodes)
        steps += int(stats.length.sum())
    env.close()
    length = steps / replay.added

    begin = time.perf_counter()
    for _ in range(5):
        replay.sample(rules.batch_size, streams["replay"])
    drawing = (time.perf_counter() - begin) / 5

    per_step = plan.project(run, measure_run(run, 2.0)).seconds / rules.budget
    new = round(_INTERVAL / per_step / length)
    with tempfile.TemporaryDirectory() as folder:
        checkpoints, seconds = Checkpoints(Path(folder)), []
        state = {"learner": learner.training_state()}
        # First all that there is, then what five minutes add; both are synced to the disk.
        for added in (0, min(new, replay.capacity)):
            replay.restore(replay.packed(replay.added - added, replay.added))
            begin = time.perf_counter()
            checkpoints.save(state, replay)
            seconds.append(time.perf_counter() - begin)
        disk = sum(path.stat().st_size for path in Path(folder).rglob("*.pt"))
    spec = env.spec
    plain = spec.n_agents * (spec.obs_size + spec.n_actions + 1) + spec.state_size + 1
    plain *= 4 * (spec.episode_limit + 1) * replay.capacity
    return (
        f"{map}: {replay.capacity} episodes of {length:.0f} steps take {size(replay.nbytes)}"
        f" (plain and padded {size(plain)}); a batch of {rules.batch_size} is drawn in"
        f" {drawing * 1e3:.0f} ms; checkpoint of all {seconds[0]:.1f} s, of {new} new episodes"
        f" {seconds[1]:.2f} s = {seconds[1] / _INTERVAL:.2%} of {_INTERVAL} s;"
        f" {size(disk)} on disk"
    )


def main() -> None:
    """Prints one line per map."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--maps", nargs="*", default=["3s5z_vs_3s6z", "corridor", "27m_vs_30m"])
    parser.add_argument("--battles", type=int, default=64, help="played at a time to fill it")
    arguments = parser.parse_args()
    machine = provenance.hardware(torch.device("cpu"))
    print(f"{machine['cpu']}, {machine['threads']} threads, {provenance.now()}")
    for map in arguments.maps:
        print(measure(map, arguments.battles), flush=True)


if __name__ == "__main__":
    main()
