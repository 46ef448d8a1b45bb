"""Random numbers inside the kernel: one splitmix64 stream per battle.

The state is a field of the battle's own record, so that a battle's episode depends on its seed and
its actions alone and not on the rest of the batch. (Steele, Lea, Flood 2014: "Fast splittable
pseudorandom number generators".)
"""

import numpy as np

from benchmark.envs.simulator.compiled import compiled

_STEP = np.uint64(0x9E3779B97F4A7C15)
_MIX1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX2 = np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)
_CLIENT = np.uint64(0xD1B54A32D192ED03)
_TO_UNIT = 1.0 / (1 << 53)


@compiled
def _mix(z):
    z = (z ^ (z >> _S30)) * _MIX1
    z = (z ^ (z >> _S27)) * _MIX2
    return z ^ (z >> _S31)


@compiled
def seed_streams(battle, seed):
    """Starts both streams of a battle from one 64-bit seed; near seeds give unrelated streams."""
    battle.random = _mix(seed + _STEP)
    battle.client_random = _mix(battle.random ^ _CLIENT)


@compiled
def uniform(battle):
    """A float64 in [0, 1) from the battle's stream."""
    battle.random += _STEP
    return (_mix(battle.random) >> _S11) * _TO_UNIT


@compiled
def below(battle, n):
    """An integer in 0 .. n-1 from the battle's stream."""
    return int(uniform(battle) * n)


@compiled
def client_below(battle, n):
    """An integer in 0 .. n-1 from the stream of the client's shuffles."""
    battle.client_random += _STEP
    return int((_mix(battle.client_random) >> _S11) * _TO_UNIT * n)
