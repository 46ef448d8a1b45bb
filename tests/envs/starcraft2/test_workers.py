"""A batch of workers: lockstep, faults of every kind, and what is left behind: nothing."""

import dataclasses
import json
import logging
import os
import platform
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest

from benchmark.envs import EnvOptions
from benchmark.envs.maps import MAPS
from benchmark.envs.playing import play
from benchmark.envs.simulator.observation import layout_of
from benchmark.envs.spec import EnvSpec
from benchmark.envs.starcraft2 import env as starcraft2_env
from benchmark.envs.starcraft2 import worker
from benchmark.envs.starcraft2.env import StarCraft2
from benchmark.envs.starcraft2.installation import Settings
from benchmark.errors import BenchmarkError
from tests.envs.starcraft2 import fake_client as fake
from tests.envs.starcraft2.test_supervisor import gone, wait_for

SHARED = worker.FOLDERS  #: before a test changes it


def fake_spec(one):
    return EnvSpec(
        map=one.name, backend="starcraft2", backend_version="fake", episode_limit=one.limit,
        **layout_of(one),
    )  # fmt: skip


@pytest.fixture
def make(tmp_path, monkeypatch):
    """A function that makes an env of fake clients; closes it in the end."""
    install_fakes(tmp_path, monkeypatch.setattr, monkeypatch.setenv)
    envs = []

    def build(n_envs=2, map="3m", options=None, **settings):
        for name, value in settings.items():
            monkeypatch.setenv(f"STARCRAFT2_{name.upper()}", str(value))
        envs.append(StarCraft2(MAPS[map], n_envs, options))
        return envs[-1]

    yield build
    for env in envs:
        env.close()
    assert not list(worker.FOLDERS.glob("worker-*"))


def install_fakes(tmp_path, set_attribute, set_variable):
    """Puts fake clients where the real ones are started, and their folders below ``tmp_path``."""
    set_attribute(worker, "CLIENT", "tests.envs.starcraft2.fake_client")
    set_attribute(worker, "FOLDERS", tmp_path / "folders")
    set_attribute(starcraft2_env, "starcraft2_spec", fake_spec)
    set_attribute(starcraft2_env, "_BACKOFF_SECONDS", 0.01)
    (tmp_path / "once").mkdir(exist_ok=True)
    set_variable("FAKE_ONCE", str(tmp_path / "once"))
    sizes = {name: layout_of(MAPS[name]) for name in ("3m", "zerg_5_vs_5")}
    set_variable("FAKE_SIZES", json.dumps(sizes))


def act(env):
    return env.step(np.ones((env.n_envs, env.spec.n_agents), int))


def processes(env):
    """The pids of everything that an env's workers run, supervisors included."""
    pids = []
    for handle in env._workers:
        if handle is not None:
            supervisor = psutil.Process(handle._supervisor.pid)
            pids += [supervisor.pid, *(child.pid for child in supervisor.children(recursive=True))]
    return pids


def test_battles_advance_in_lockstep(make):
    env = make(3)
    seen = env.reset(np.array([1, 2, 3], np.uint64))
    assert seen.obs.shape == (3, 3, 30)
    assert (seen.obs == 1).all()
    assert (seen.state == 2).all()
    for step in range(1, fake.LENGTH + 1):
        out = act(env)
        last = step == fake.LENGTH
        assert (out.obs == 1 + step).all()
        assert (out.reward == step).all()
        assert out.terminated.tolist() == out.battle_won.tolist() == [last] * 3
        assert not out.truncated.any()
        assert not out.aborted.any()
        assert out.dead_allies.tolist() == [1] * 3
        assert out.dead_enemies.tolist() == [2] * 3
    out = act(env)  # all are over
    assert not out.obs.any()
    assert not out.state.any()
    assert not out.reward.any()
    assert out.available[:, :, 0].all()
    assert not out.available[:, :, 1:].any()


def test_battles_are_reset_one_by_one(make):
    env = make(2)
    env.reset(np.array([1, 2], np.uint64))
    act(env)
    seen = env.reset(np.array([9], np.uint64), np.array([1]))
    assert (seen.obs[0] == 2).all()
    assert (seen.obs[1] == 1).all()


def test_an_unavailable_action_is_refused_before_any_battle_moves(make):
    env = make(2)
    env.reset(np.array([1, 2], np.uint64))
    actions = np.ones((2, 3), int)
    actions[1, 2] = 5
    with pytest.raises(ValueError, match="battle 1, agent 2: action 5 is not available"):
        env.step(actions)
    with pytest.raises(ValueError, match="shape"):
        env.step(np.ones((2, 4), int))
    assert (act(env).obs == 2).all()


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (fake.STEP_CRASHES, "crashed in step"),
        (fake.STEP_HANGS, "hung in step"),
        # With the game's last words, not those of the client's traceback.
        (fake.STEP_BREAKS, "broken in step: Broken: no information (the game says something)"),
        (fake.STEP_RAISES, "crashed in step: KeyError: 0 (the game says something)"),
    ],
)
def test_a_fault_in_a_step_costs_one_episode(make, caplog, kind, text):
    env = make(2, step_seconds=4)
    env.reset(np.array([kind * 1000, 5], np.uint64))
    before = processes(env)
    with caplog.at_level(logging.WARNING):
        for step in range(1, fake.LENGTH + 1):
            out = act(env)
            assert out.aborted.tolist() == [step == fake.FAULTY_STEP, False]
            if step >= fake.FAULTY_STEP:  # shows nothing from then on
                assert not out.obs[0].any()
                assert out.reward[0] == 0
                assert not out.terminated[0]
    assert out.terminated[1]
    assert (out.obs[1] == 1 + fake.LENGTH).all()
    assert f"battle 0: {text}" in caplog.text
    assert dict(env.faults) == {text.partition(":")[0]: 1}
    seen = env.reset(np.array([kind * 1000, 6], np.uint64))  # a fresh process, a good battle
    assert (seen.obs == 1).all()
    for _ in range(fake.LENGTH):
        out = act(env)
    assert out.battle_won.all()
    now = processes(env)
    assert len(now) == len(before)
    assert gone(set(before) - set(now))


def test_the_log_names_what_the_game_said_last(make, monkeypatch, caplog):
    """Also where the supervisor has removed the worker's folder before the owner looks."""
    env = make(1)
    env.reset(np.array([fake.STEP_CRASHES * 1000], np.uint64))
    for _ in range(fake.FAULTY_STEP - 1):
        act(env)
    answer = worker.Worker.answer

    def late(self):
        wait_for(lambda: not self.folder.exists())
        return answer(self)

    monkeypatch.setattr(worker.Worker, "answer", late)
    with caplog.at_level(logging.WARNING):
        act(env)
    assert "its process ended (the game died)" in caplog.text


@pytest.mark.parametrize(
    "kind", [fake.RESET_CRASHES, fake.RESET_HANGS, fake.RESET_BREAKS, fake.RESET_RAISES]
)
def test_a_battle_that_does_not_begin_is_begun_again(make, kind):
    limits = {"start_seconds": 6, "reset_seconds": 6} if kind == fake.RESET_HANGS else {}
    env = make(1, **limits)
    for faults in range(2):  # the first start of a process, and a later battle of it
        seen = env.reset(np.array([kind * 1000 + faults], np.uint64))
        assert (seen.obs == 1).all()
        assert act(env).reward == [1]
        assert sum(env.faults.values()) == faults + 1


def test_a_battle_that_never_begins_is_one_clear_line(make):
    env = make(2, attempts=3)
    with pytest.raises(BenchmarkError) as error:
        env.reset(np.array([fake.NEVER_BEGINS * 1000, 5], np.uint64))
    assert "3 times in a row" in str(error.value)
    assert "the units did not appear" in str(error.value)
    assert "doctor" in str(error.value)
    assert env.faults["broken in reset"] == 3


def test_too_many_faults_end_the_run(make):
    env = make(1, faults_per_hour=2)
    for fault in range(3):
        env.reset(np.array([fake.STEP_CRASHES * 1000 + fault], np.uint64))
        act(env)
        act(env)
        if fault < 2:
            assert act(env).aborted[0]
    with pytest.raises(BenchmarkError, match="failed 3 times within an hour"):
        act(env)


@pytest.mark.parametrize("kind", [fake.STEP_RAISES, fake.UNITS_CRASH])
def test_a_recording_goes_on_after_a_fault_without_its_battle(make, kind):
    env, frames = make(2, step_seconds=20), []
    faulty = kind * 1000 + 999  # the next one is of no kind that fails
    played = play(env, Stopping(), 3, faulty, frames)
    assert len(played["won"]) == 3
    battles = np.concatenate([battle for battle, *_ in frames])
    assert sorted(set(battles)) == [faulty + 1, faulty + 2, faulty + 3]
    assert (np.unique(battles, return_counts=True)[1] == fake.LENGTH).all()
    assert sum(env.faults.values()) == 1


class Stopping:
    def begin(self, now):
        self.shape = now.available.shape[:2]

    def act(self, now):
        return np.ones(self.shape, int)


def test_a_killed_worker_is_noticed_at_once(make):
    env = make(1)
    env.reset(np.array([1], np.uint64))
    os.kill(env._question(0, "pid"), signal.SIGKILL)
    begin = time.monotonic()
    assert act(env).aborted[0]
    assert time.monotonic() - begin < 5
    env.reset(np.array([1], np.uint64))
    wait_for(lambda: len(env._workers) == 1)
    assert not act(env).aborted[0]


def test_processes_are_recycled_between_battles(make):
    env = make(1, episodes=2)
    pids = []
    for seed in range(5):
        env.reset(np.array([seed], np.uint64))
        pids.append(env._question(0, "pid"))
    assert pids[0] == pids[1] != pids[2] == pids[3] != pids[4]
    assert env.faults == {"recycled": 2}
    env.settings = Settings(memory_gb=1e-6)
    env.reset(np.array([9], np.uint64))
    assert env._question(0, "pid") not in pids


def test_a_game_is_recycled_before_its_last_loop(make, monkeypatch):
    monkeypatch.setenv("FAKE_LOOPS", "173500")  # a battle
    env = make(1)
    pids = []
    for seed in range(6):
        env.reset(np.array([seed], np.uint64))
        pids.append(env._question(0, "pid"))
    assert pids[0] == pids[1] == pids[2] != pids[3] == pids[4] == pids[5]
    assert env.faults == {"recycled": 1}


def test_clients_reach_their_games_without_the_proxy(make, monkeypatch):
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "example.org")
    env = make(1)
    env.reset(np.array([1], np.uint64))
    for name in ("no_proxy", "NO_PROXY"):
        assert env._question(0, "variable", name) == "example.org,127.0.0.1,localhost"


def test_max_reward_is_pinned(make):
    """The first team's where the client's own rule is wanted, also in a process that replaces."""
    env = make(2, map="zerg_5_vs_5", options=EnvOptions(max_reward="first_draw"))
    env.reset(np.array([1, 2], np.uint64))
    assert env._max_reward == [100.0, 100.0]
    env._stop(0)
    env.reset(np.array([1, 2], np.uint64))
    assert env._question(0, "max_reward") == 100.0
    expected = make(1, map="zerg_5_vs_5")
    expected.reset(np.array([1], np.uint64))
    assert expected._question(0, "max_reward") == pytest.approx(250 + 5 * 54.75, abs=0.1)


def test_another_client_is_noticed(make):
    env = make(1)
    env.spec = dataclasses.replace(env.spec, obs_size=31)
    with pytest.raises(BenchmarkError, match="client says obs_size=30, this benchmark 31"):
        env.reset(np.array([1], np.uint64))


def test_options_of_the_simulator_are_refused(make):
    with pytest.raises(BenchmarkError, match="env option missile_flight=False: only the simulator"):
        make(options=EnvOptions(missile_flight=False))
    with pytest.raises(BenchmarkError, match="reward_absolute"):
        make(options=EnvOptions(reward_absolute=False))
    make(options=EnvOptions(reward_sparse=True, max_reward="first_draw"))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("step_seconds", "soon", "STARCRAFT2_STEP_SECONDS='soon': expected a number, like 60.0"),
        ("episodes", "0", "STARCRAFT2_EPISODES=0: must be above 0 and at most a million"),
        (
            "reset_seconds",
            "inf",
            "STARCRAFT2_RESET_SECONDS=inf: must be above 0 and at most a million",
        ),
        ("version", "5.0", "STARCRAFT2_VERSION=5.0: known versions are 4.10, 4.6.2"),
    ],
)
def test_settings_are_checked(monkeypatch, name, value, message):
    monkeypatch.setenv(f"STARCRAFT2_{name.upper()}", value)
    with pytest.raises(BenchmarkError) as error:
        Settings.from_environment()
    assert str(error.value) == message


def test_settings_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("STARCRAFT2_EPISODES", "7")
    monkeypatch.setenv("STARCRAFT2_VERSION", "4.6.2")
    assert Settings.from_environment() == Settings(episodes=7, version="4.6.2")


# Nothing is left behind ---------------------------------------------------------------------------

OWNER = """
import json, os, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored by what runs in the background
sys.path[:0] = {path!r}
from pathlib import Path
import numpy as np
from tests.envs.starcraft2.test_workers import MAPS, StarCraft2, install_fakes, processes
install_fakes(Path({tmp!r}), setattr, os.environ.__setitem__)
env = StarCraft2(MAPS["3m"], 2)
env.reset(np.array([1, {seed}], np.uint64))
print(json.dumps(processes(env)), flush=True)
{then}
"""
STAY = "time.sleep(600)"
STEP = "[env.step(np.ones((2, 3), int)) for _ in range(3)]"


def own(tmp_path, then=STAY, seed=2):
    """A process that owns an env, and the pids of its workers."""
    path = [p for p in sys.path if p] + [os.getcwd()]
    script = OWNER.format(path=path, tmp=str(tmp_path), then=then, seed=seed)
    owner = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    pids = json.loads(owner.stdout.readline())
    assert len(pids) == 6  # per battle: supervisor, worker, game
    assert not gone(pids)
    return owner, pids


@pytest.mark.parametrize(
    ("then", "number"),
    [
        (STAY, signal.SIGKILL),
        (STAY, signal.SIGINT),
        (STAY, signal.SIGTERM),
        ("", None),
        ("env.close()", None),
        ("raise KeyError(1)", None),
        ("os._exit(3)", None),
    ],
)
def test_nothing_is_left(tmp_path, then, number):
    owner, pids = own(tmp_path, then)
    if number is not None:
        owner.send_signal(number)
    owner.wait(20)
    wait_for(lambda: gone(pids))
    wait_for(lambda: not list((tmp_path / "folders").iterdir()))


def test_nothing_is_left_when_the_owner_dies_waiting_for_a_hung_game(tmp_path):
    owner, pids = own(tmp_path, STEP, seed=fake.STEP_HANGS * 1000)
    time.sleep(0.5)
    assert owner.poll() is None
    owner.kill()
    owner.wait(20)
    wait_for(lambda: gone(pids))
    wait_for(lambda: not list((tmp_path / "folders").iterdir()))


def test_what_a_killed_supervisor_leaves_is_swept_up(tmp_path, make):
    owner, pids = own(tmp_path)
    strangers = worker.FOLDERS / "other"
    strangers.mkdir()
    supervisors = [
        pid for pid in pids if "supervisor.py" in " ".join(psutil.Process(pid).cmdline())
    ]
    assert len(supervisors) == 2
    for pid in [*supervisors, owner.pid]:
        os.kill(pid, signal.SIGKILL)
    owner.wait(20)
    wait_for(lambda: gone(supervisors))
    games = [pid for pid in pids if not gone([pid]) and psutil.Process(pid).name() == "sleep"]
    assert len(games) == 2  # they live on in sessions of their own
    make(1)
    wait_for(lambda: gone(pids))
    assert [path.name for path in worker.FOLDERS.iterdir()] == ["other"]


def test_a_folder_may_vanish_during_the_sweep(tmp_path, monkeypatch):
    monkeypatch.setattr(worker, "FOLDERS", tmp_path)
    (worker.FOLDERS / "worker-gone").symlink_to("nowhere")  # listed, but not to be found
    assert worker.sweep() == 0


def test_nodes_that_share_a_temporary_folder_keep_apart():
    code = (
        "import platform; platform.node = lambda: 'another'\n"
        "from benchmark.envs.starcraft2.worker import FOLDERS; print(FOLDERS)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    other, here = told.stdout.strip(), str(SHARED)
    assert other == here.replace(platform.node(), "another") != here


def test_sweeping_spares_the_living(tmp_path, make):
    owner, pids = own(tmp_path)
    assert worker.sweep() == 0
    assert not gone(pids)
    owner.kill()
    owner.wait(20)
    wait_for(lambda: gone(pids))
    wait_for(lambda: not list(worker.FOLDERS.iterdir()))
