"""Sizes of every map, against the numbers that the real SMAC and SMACv2 packages print."""

import numpy as np
import pytest

from benchmark.envs import MAPS, make, spec_of
from benchmark.errors import BenchmarkError

# map: agents, enemies, actions, obs, state, limit,
#      obs enemy width, obs ally width, own width, state ally width, state enemy width
SIZES = {
    "5m_vs_6m": (5, 6, 12, 55, 98, 70, 5, 5, 1, 4, 3),
    "MMM2": (10, 12, 18, 176, 322, 180, 8, 8, 4, 7, 6),
    "3s5z_vs_3s6z": (8, 9, 15, 136, 230, 170, 8, 8, 4, 7, 6),
    "27m_vs_30m": (27, 30, 36, 285, 1170, 180, 5, 5, 1, 4, 3),
    "corridor": (6, 24, 30, 156, 282, 400, 5, 6, 2, 5, 3),
    "6h_vs_8z": (6, 8, 14, 78, 140, 150, 6, 5, 1, 4, 4),
    "protoss_5_vs_5": (5, 5, 11, 92, 130, 200, 9, 9, 7, 8, 7),
    "protoss_10_vs_11": (10, 11, 17, 191, 327, 200, 9, 9, 7, 8, 7),
    "terran_5_vs_5": (5, 5, 11, 82, 120, 200, 8, 8, 6, 7, 6),
    "terran_10_vs_11": (10, 11, 17, 170, 306, 200, 8, 8, 6, 7, 6),
    "zerg_5_vs_5": (5, 5, 11, 82, 120, 200, 8, 8, 6, 7, 6),
    "zerg_10_vs_11": (10, 11, 17, 170, 306, 200, 8, 8, 6, 7, 6),
    "3m": (3, 3, 9, 30, 48, 60, 5, 5, 1, 4, 3),
    "8m": (8, 8, 14, 80, 168, 120, 5, 5, 1, 4, 3),
    "2s3z": (5, 5, 11, 80, 120, 120, 8, 8, 4, 7, 6),
    "3s5z": (8, 8, 14, 128, 216, 150, 8, 8, 4, 7, 6),
}
MAX_REWARD = {
    "5m_vs_6m": 530, "MMM2": 1205, "3s5z_vs_3s6z": 1670, "27m_vs_30m": 1850, "corridor": 1280,
    "6h_vs_8z": 1480, "3m": 365, "8m": 640, "2s3z": 1020, "3s5z": 1510,
}  # fmt: skip


@pytest.mark.parametrize("name", SIZES)
def test_sizes_equal_the_real_packages(name):
    spec = spec_of(name)
    assert (
        spec.n_agents, spec.n_enemies, spec.n_actions, spec.obs_size, spec.state_size,
        spec.episode_limit, spec.obs_enemy_width, spec.obs_ally_width, spec.obs_own_width,
        spec.ally_width, spec.enemy_width,
    ) == SIZES[name]  # fmt: skip
    # The blocks add up to the whole.
    n, e = spec.n_agents, spec.n_enemies
    assert spec.obs_size == (
        4 + e * spec.obs_enemy_width + (n - 1) * spec.obs_ally_width + spec.obs_own_width
    )
    assert spec.state_size == n * (spec.ally_width + spec.n_actions) + e * spec.enemy_width


@pytest.mark.parametrize("name", MAPS)
def test_arrays_have_the_sizes_of_the_spec(name):
    env = make(name, 2)
    spec = env.spec
    assert spec == spec_of(name)
    for out in (env.reset(np.array([1, 2], np.uint64)), None):
        out = out or env.step(np.ones((2, spec.n_agents), int))
        assert out.obs.shape == (2, spec.n_agents, spec.obs_size)
        assert out.state.shape == (2, spec.state_size)
        assert out.available.shape == (2, spec.n_agents, spec.n_actions)
        assert (out.obs.dtype, out.state.dtype, out.available.dtype) == ("f4", "f4", "?")
    for array, kind in zip(out[3:], ("f4", "?", "?", "?", "i4", "i4", "?"), strict=True):
        assert array.shape == (2,)
        assert array.dtype == kind


@pytest.mark.parametrize(("name", "reward"), MAX_REWARD.items())
def test_max_reward(name, reward):
    assert make(name)._world.rules["max_reward"][0] == reward


@pytest.mark.parametrize("name", ["protoss_5_vs_5", "terran_10_vs_11", "zerg_10_vs_11"])
def test_expected_max_reward_is_the_mean_over_drawn_teams(name):
    env = make(name, 4000)
    env.reset(np.arange(4000, dtype=np.uint64))
    enemies = env.units()[:, env.spec.n_agents :]
    drawn = (enemies["health"] + enemies["shield"]).sum(1) + 10 * env.spec.n_enemies + 200
    error = drawn.std() / np.sqrt(len(drawn))
    assert abs(drawn.mean() - env._world.rules["max_reward"][0]) < 4 * error


def test_unknown_names_are_explained():
    with pytest.raises(BenchmarkError, match="3s5z_vs_3s6z"):
        make("3s5z_vs_3s6")
    with pytest.raises(BenchmarkError, match="simulator"):
        make("3m", backend="starcraft3")
