"""A battle's episode depends on its seed and its actions, and on nothing else."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import benchmark
from benchmark.envs import make
from benchmark.envs.simulator import threads

MAPS = ["3s5z_vs_3s6z", "protoss_5_vs_5", "terran_10_vs_11", "corridor"]


def chosen(available, battle_seeds, step):
    """Actions that depend on the battle's seed alone."""
    actions = np.zeros(available.shape[:2], int)
    for b, seed in enumerate(battle_seeds):
        draw = np.random.default_rng([int(seed), step]).random(available.shape[1:])
        actions[b] = np.where(available[b], draw, -1).argmax(1)
    return actions


def episodes(name, seeds, steps=40):
    """Everything that the battles report, [steps, B, ...] by field."""
    env = make(name, len(seeds))
    out = env.reset(np.array(seeds, np.uint64))
    record = [[*out]]
    for step in range(steps):
        out = env.step(chosen(out.available, seeds, step))
        record.append([*out])
    return record


def equal(a, b, rows_a, rows_b):
    """Bit-identical rows of two recordings."""
    for step_a, step_b in zip(a, b, strict=True):
        for x, y in zip(step_a, step_b, strict=True):
            if not np.array_equal(x[rows_a], y[rows_b]):
                return False
    return True


@pytest.mark.parametrize("name", MAPS)
def test_the_batch_does_not_matter(name):
    together = episodes(name, [7, 8, 9, 10, 11, 12])
    assert equal(together, episodes(name, [9]), [2], [0])
    assert equal(together, episodes(name, [12, 3, 8]), [5, 1], [0, 2])
    assert not equal(together, together, [0], [1])  # seeds do


@pytest.mark.parametrize("name", MAPS)
def test_the_number_of_threads_does_not_matter(name, monkeypatch):
    seeds = list(range(48))  # several chunks of work
    recorded = []
    for count in (1, 2, 5):
        monkeypatch.setattr(threads, "n_threads", lambda count=count: count)
        recorded.append(episodes(name, seeds, 20))
    assert equal(recorded[0], recorded[1], ..., ...)
    assert equal(recorded[0], recorded[2], ..., ...)


def test_a_reset_battle_forgets_and_leaves_the_others_alone():
    env = make("zerg_5_vs_5", 3)
    seeds = np.array([1, 2, 3], np.uint64)
    out = env.reset(seeds)
    for step in range(6):
        out = env.step(chosen(out.available, seeds, step))
    again = env.reset(np.array([5], np.uint64), np.array([1]))
    for before, after in zip(out[:3], again, strict=True):
        np.testing.assert_array_equal(before[[0, 2]], after[[0, 2]])
    fresh = make("zerg_5_vs_5", 1).reset(np.array([5], np.uint64))
    for one, other in zip(fresh, again, strict=True):
        np.testing.assert_array_equal(one[0], other[1])


def test_a_used_env_plays_the_battles_of_a_fresh_one():
    """Which enemies are known, too: that shows only when some are met again."""
    seeds, fresh, used = np.arange(64, dtype=np.uint64), *(make("zerg_5_vs_5", 64) for _ in "ab")
    out = used.reset(seeds + 100)
    for step in range(15):
        out = used.step(chosen(out.available, seeds, step))
    one, other = fresh.reset(seeds), used.reset(seeds)
    for step in range(15):
        for expected, found in zip(one, other, strict=True):
            np.testing.assert_array_equal(found, expected)
        actions = chosen(one.available, seeds, step)
        one, other = fresh.step(actions), used.step(actions)


def test_returned_arrays_belong_to_the_caller():
    env = make("3m", 4)
    out = env.reset(np.arange(4, dtype=np.uint64))
    kept = [array.copy() for array in out]
    for array in out:
        array[:] = 1
    step = env.step(np.ones((4, 3), int))
    assert not (step.obs == 1).all()
    again = env.reset(np.arange(4, dtype=np.uint64))
    for one, other in zip(kept, again, strict=True):
        np.testing.assert_array_equal(one, other)


def test_bad_calls_are_explained():
    env = make("3m", 2)
    with pytest.raises(ValueError, match="not been reset"):
        env.step(np.ones((2, 3), int))
    with pytest.raises(ValueError, match="all its battles"):
        env.reset(np.zeros(1, np.uint64), np.array([0]))
    env.reset(np.zeros(2, np.uint64))
    with pytest.raises(ValueError, match="as many seeds"):
        env.reset(np.zeros(3, np.uint64))
    with pytest.raises(ValueError, match=r"0 \.\. 1"):
        env.reset(np.zeros(1, np.uint64), np.array([2]))
    with pytest.raises(ValueError, match=r"\(2, 3\)"):
        env.step(np.ones((2, 4), int))
    actions = np.ones((2, 3), int)
    for bad in (0, 8, 99, -1):
        actions[1, 2] = bad
        with pytest.raises(ValueError, match=f"battle 1, agent 2: action {bad} "):
            env.step(actions)


def test_an_unavailable_action_leaves_the_battles_as_they_were():
    env = make("3m", 1)
    env.reset(np.zeros(1, np.uint64))
    before = env.units()
    with pytest.raises(ValueError, match="not available"):
        env.step(np.zeros((1, 3), int))
    assert (env.units() == before).all()


def test_the_compiled_cache_notices_a_changed_source(tmp_path):
    """Numba itself would go on using the old machine code of a changed callee."""
    source = Path(benchmark.__file__).parent
    for path in (*source.glob("*.py"), *source.glob("envs/**/*.py")):
        copy = tmp_path / "benchmark" / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    script = (
        "from benchmark.envs import MAPS;"
        "from benchmark.envs.simulator import terrain, units, world;"
        "walkable = terrain.find_terrain('strip').walkable;"
        "print(world.start_layout(MAPS['3m'], units.type_table(), walkable)['x'])"
    )

    def run():
        done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    first = run()
    assert run() == first
    spawn = tmp_path / "benchmark/envs/simulator/spawn.py"
    spawn.write_text(spawn.read_text().replace("x + 2.0 * edge", "x + 4.0 * edge"))
    assert run() != first
