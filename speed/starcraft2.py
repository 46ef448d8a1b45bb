"""Speed of the StarCraft II backend: env steps per second, and where the time goes.

    PYTHONPATH=. python speed/starcraft2.py [--maps ...] [--workers 1 4 8] [--seconds 10]

Measures the game in $SC2PATH; where there is none, the stand-in, which costs other time than the
game and takes part in the race for the same cores. Random available actions, resets included.
``client``, ``protobuf`` and ``waiting`` are shares of the time that workers spend on them: the smac
or smacv2 package's own code, building and parsing messages, and waiting for the game's
answer. ``idle`` is the share of the whole in which a worker has nothing to do: the other workers'
slower steps, and ours.
"""

import argparse
import datetime
import os
import platform
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmark.envs import MAPS, make
from benchmark.envs.starcraft2 import client, worker
from benchmark.envs.starcraft2.installation import Settings, check, plays_standin
from benchmark.envs.starcraft2.standin.install import install
from benchmark.errors import BenchmarkError

_MAPS = ("3m", "3s5z_vs_3s6z", "27m_vs_30m", "protoss_5_vs_5")
_PARTS = ("client", "protobuf", "waiting")


class Client(client.Client):
    """A client that reads pysc2's own stopwatch; what the workers of this bench run."""

    def __init__(self, *arguments, **settings) -> None:
        super().__init__(*arguments, **settings)
        from pysc2.lib.stopwatch import sw

        sw.enable()
        self._watch, self._spent = sw, 0.0

    def reset(self, seed: int) -> tuple:
        """Times the whole of it."""
        return self._timed(super().reset, seed)

    def step(self, actions: list[int]) -> tuple:
        """Times the whole of it."""
        return self._timed(super().step, actions)

    def _timed(self, method, argument):
        start = time.perf_counter()
        done = method(argument)
        self._spent += time.perf_counter() - start
        return done

    def time_spent(self) -> dict[str, float]:
        """Seconds in env steps and resets, by part."""
        seconds = self._seconds()
        return {"client": self._spent - sum(seconds.values()), **seconds}

    def _seconds(self) -> dict[str, float]:
        total = dict.fromkeys(("protobuf", "waiting"), 0.0)
        for name, stat in self._watch.times.items():
            last = name.rsplit(".", 1)[-1]
            if last in ("parse_response", "serialize_request"):
                total["protobuf"] += stat.sum
            elif last in ("read_response", "write_request"):
                total["waiting"] += stat.sum
        return total


def measure(name: str, workers: int, seconds: float) -> tuple[float, dict[str, float]]:
    """Env steps per second of all workers together, and shares of their time."""
    env = make(name, workers, "starcraft2")
    random = np.random.default_rng(0)
    try:
        out = env.reset(np.arange(workers, dtype=np.uint64))
        seed, steps = workers, 0
        before = [env._question(b, "time_spent") for b in range(workers)]
        start = time.perf_counter()
        while time.perf_counter() - start < seconds:
            uniforms = np.where(out.available, random.random(out.available.shape), -1.0)
            out = env.step(uniforms.argmax(2))
            steps += workers
            ended = np.flatnonzero(out.terminated | out.truncated | out.aborted)
            if ended.size:
                out = env.reset(np.arange(seed, seed + ended.size), ended)
                seed += ended.size
        elapsed = time.perf_counter() - start
        after = [env._question(b, "time_spent") for b in range(workers)]
    finally:
        env.close()
    spent = {
        part: sum(later[part] - sooner[part] for later, sooner in zip(after, before, strict=True))
        for part in _PARTS
    }
    busy = sum(spent.values())
    shares = {part: value / busy for part, value in spent.items()}
    return steps / elapsed, {**shares, "idle": 1.0 - busy / (workers * elapsed)}


def main() -> None:
    """Prints one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--maps", nargs="+", default=_MAPS)
    parser.add_argument("--workers", nargs="+", type=int, default=[1, 4, 8])
    parser.add_argument("--seconds", type=float, default=10.0, help="per line")
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        try:
            check(MAPS[args.maps[0]], Settings.from_environment())
        except BenchmarkError:
            os.environ["SC2PATH"] = folder
            try:
                install(Path(folder))
                for name in args.maps:
                    check(MAPS[name], Settings.from_environment())
            except BenchmarkError as error:
                print(f"not measured: {error}")
                return
        who = "the stand-in" if plays_standin(Settings.from_environment()) else "StarCraft II"
        print(f"{datetime.date.today()}  {platform.processor() or platform.machine()}  ", end="")
        print(f"{os.cpu_count()} cores, Python {platform.python_version()}, {who}")
        print(f"load average {os.getloadavg()[0]:.1f}")
        titles = "".join(f"{part:>10s}" for part in (*_PARTS, "idle"))
        print(f"{'map':18s}{'workers':>8s}{'env steps/s':>13s}{titles}")
        worker.CLIENT = "speed.starcraft2"
        for name in args.maps:
            for workers in args.workers:
                rate, shares = measure(name, workers, args.seconds)
                line = "".join(f"{share:10.0%}" for share in shares.values())
                print(f"{name:18s}{workers:8d}{rate:13,.0f}{line}", flush=True)
        print(f"load average at the end {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
