"""Speed of the simulator: env steps per second with random available actions.

    python speed/simulator.py [--battles 256] [--seconds 2] [--repeats 3] [--maps ...] [--smax]

Every figure includes observations, states, availability and the reset of ended battles. Choosing
the actions is compiled and not counted. The best of several repeats is shown, because whatever else
runs on the machine only ever slows it down; "per CPU second" counts processor time of all threads
instead of the clock's, and is the figure to compare on a machine that is busy. ``--smax`` measures
JaxMARL's SMAX next to it (needs ``pip install jaxmarl==0.2.0``): random rollouts compiled as one
program, SMAX's fastest use.
"""

import argparse
import datetime
import os
import platform
import time

import numpy as np
from numba import njit

from benchmark.envs import make
from benchmark.envs.simulator.threads import n_threads

#: (map, battles or None for --battles, env steps per second that are asked for)
CASES = (
    ("3m", None, 150_000),
    ("3s5z_vs_3s6z", None, 30_000),
    ("27m_vs_30m", None, 7_000),
    ("protoss_5_vs_5", None, 60_000),
    ("5m_vs_6m", None, None),
    ("MMM2", None, None),
    ("corridor", None, None),
    ("6h_vs_8z", None, None),
    ("terran_10_vs_11", None, None),
    ("zerg_10_vs_11", None, None),
    ("3m", 8, None),
    ("3m", 1, 10_000),
)
SMAX = {"3m": "3m", "5m_vs_6m": "5m_vs_6m", "3s5z_vs_3s6z": "3s5z_vs_3s6z",
        "27m_vs_30m": "27m_vs_30m", "6h_vs_8z": "6h_vs_8z",
        "protoss_5_vs_5": "smacv2_5_units"}  # fmt: skip


@njit(cache=True, nogil=True)
def choose(available, draws, actions):
    """Picks a random available action for every agent."""
    for b in range(available.shape[0]):
        for i in range(available.shape[1]):
            count = 0
            for a in range(available.shape[2]):
                count += available[b, i, a]
            left = int(draws[b, i] * count)
            for a in range(available.shape[2]):
                if available[b, i, a]:
                    if left == 0:
                        actions[b, i] = a
                        break
                    left -= 1


def measure(name: str, battles: int, seconds: float) -> tuple[float, float]:
    """Env steps per second of one run, by the clock and by processor time."""
    env = make(name, battles)
    random = np.random.default_rng(0)
    out = env.reset(np.arange(battles, dtype=np.uint64))
    seed = battles
    actions = np.zeros((battles, env.spec.n_agents), np.int64)
    steps = used = worked = 0
    warm_up = max(2, 4000 // battles)  # past the start, where nobody has met anybody
    while used < seconds:
        choose(out.available, random.random(actions.shape), actions)
        start, start_work = time.perf_counter(), time.process_time()
        out = env.step(actions)
        ended = np.flatnonzero(out.terminated | out.truncated)
        if ended.size:
            out = env.reset(np.arange(seed, seed + ended.size, dtype=np.uint64), ended)
            seed += ended.size
        if warm_up:
            warm_up -= 1
            continue
        used += time.perf_counter() - start
        worked += time.process_time() - start_work
        steps += battles
    return steps / used, steps / worked


def measure_smax(name: str, battles: int, length: int = 100) -> float:
    """Env steps per second of SMAX: whole random rollouts as one compiled program."""
    import jax
    import jax.numpy as jnp
    from jaxmarl.environments.smax import HeuristicEnemySMAX, map_name_to_scenario

    env = HeuristicEnemySMAX(scenario=map_name_to_scenario(SMAX[name]))

    def rollout(key):
        def step(carry, _):
            states, key = carry
            key, act_key, step_key = jax.random.split(key, 3)
            masks = jax.vmap(env.get_avail_actions)(states)
            actions = {
                agent: jax.random.categorical(
                    jax.random.fold_in(act_key, i), jnp.where(masks[agent], 0.0, -1e9)
                )
                for i, agent in enumerate(env.agents)
            }
            obs, states, reward, *_ = jax.vmap(env.step)(
                jax.random.split(step_key, battles), states, actions
            )
            total = sum(x.sum() for x in obs.values()) + sum(x.sum() for x in reward.values())
            return (states, key), total

        key, reset_key = jax.random.split(key)
        _, states = jax.vmap(env.reset)(jax.random.split(reset_key, battles))
        _, totals = jax.lax.scan(step, (states, key), None, length)
        return totals

    run = jax.jit(rollout)
    run(jax.random.PRNGKey(0)).block_until_ready()
    start = time.perf_counter()
    run(jax.random.PRNGKey(1)).block_until_ready()
    return battles * length / (time.perf_counter() - start)


def main() -> None:
    """Prints one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--battles", type=int, default=256)
    parser.add_argument("--seconds", type=float, default=2.0, help="per repeat")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--maps", nargs="*", help="only these maps")
    parser.add_argument("--smax", action="store_true", help="measure JaxMARL's SMAX next to it")
    args = parser.parse_args()

    start = time.perf_counter()
    make("3m").reset(np.zeros(1, np.uint64))
    print(f"{datetime.date.today()}  {platform.processor() or platform.machine()}  ", end="")
    print(f"{os.cpu_count()} cores, {n_threads()} threads, Python {platform.python_version()}")
    print(f"load average {os.getloadavg()[0]:.1f}; first reset {time.perf_counter() - start:.1f} s")
    print(f"{'map':18s}{'battles':>8s}{'env steps/s':>14s}{'asked for':>12s}", end="")
    print(f"{'per CPU second':>16s}", end="")
    print(f"{'SMAX':>12s}{'ratio':>8s}" if args.smax else "")
    for name, battles, target in CASES:
        if args.maps and name not in args.maps:
            continue
        count = battles or args.battles
        figures = [measure(name, count, args.seconds) for _ in range(args.repeats)]
        speed, per_work = np.max(figures, axis=0)
        line = f"{name:18s}{count:8d}{speed:14,.0f}{f'{target:,}' if target else '':>12s}"
        line += f"{per_work:16,.0f}"
        if args.smax and name in SMAX and not battles:
            smax = max(measure_smax(name, count) for _ in range(args.repeats))
            line += f"{smax:12,.0f}{speed / smax:8.1f}"
        print(line, flush=True)
    print(f"load average at the end {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
