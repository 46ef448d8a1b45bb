"""A client without a game, for the tests of those who own workers.

It starts a process as a game would be one. The thousands of a seed say what goes wrong; under 20
only the first time that any worker gets that seed. Of drawn seeds, which are large, every seventh
lets a step crash where ``$FAKE_SEVENTH`` is set. It imports little, so that it starts in time on
busy machines.
"""

import json
import os
import subprocess
import time
from pathlib import Path

import numpy as np

from benchmark.envs.simulator.records import UNIT_DTYPE
from benchmark.envs.starcraft2.worker import Broken

FINE = 0
RESET_CRASHES, RESET_HANGS, RESET_BREAKS, RESET_RAISES = 1, 2, 3, 4
STEP_CRASHES, STEP_HANGS, STEP_BREAKS, STEP_RAISES = 11, 12, 13, 14
UNITS_CRASH = 16
NEVER_BEGINS = 21
FAULTY_STEP, LENGTH = 3, 6  #: env steps


class Client:
    """See ``benchmark.envs.starcraft2.client.Client``."""

    def __init__(self, one, options, version, seed, max_reward, lock, launch_seconds):
        self._sizes = json.loads(os.environ["FAKE_SIZES"])[one.name]
        self._step = self._plan = self.game_loop = 0
        self.max_reward = 100.0 if max_reward is None else max_reward
        subprocess.Popen(["sleep", "600"], start_new_session=True)
        print("the game says something", flush=True)

    def reset(self, seed):
        self._step, self._plan = 0, self._take_plan(seed)
        self.game_loop += int(os.environ.get("FAKE_LOOPS", "100"))
        self._fail(RESET_CRASHES)
        if self._plan == NEVER_BEGINS:
            raise Broken("the units did not appear")
        return self._look()

    def step(self, actions):
        self._step += 1
        if self._step == FAULTY_STEP:
            self._fail(STEP_CRASHES)
        ended = self._step == LENGTH
        return *self._look(), float(self._step), ended, False, ended, 1, 2

    def sizes(self):
        names = ("n_agents", "n_enemies", "n_actions", "obs_size", "state_size")
        return {name: self._sizes[name] for name in names}

    def units(self):
        """Six units whose places count the steps; it may fail where a step does."""
        if self._step == FAULTY_STEP and self._plan == UNITS_CRASH:
            self._fail(UNITS_CRASH)
        units = np.zeros(6, UNIT_DTYPE)
        units["x"] = self._step
        return units

    def pid(self):
        return os.getpid()

    def variable(self, name):
        return os.environ.get(name)

    def _take_plan(self, seed):
        once = Path(os.environ["FAKE_ONCE"], str(seed))
        plan = seed // 1000
        if plan > NEVER_BEGINS:
            plan = STEP_CRASHES if "FAKE_SEVENTH" in os.environ and seed % 7 == 0 else FINE
        if plan < 20 and once.exists():
            return FINE
        once.touch()
        return plan

    def _fail(self, first):
        kind = self._plan - first
        if kind == 0:
            print("the game died", flush=True)
            os._exit(7)
        elif kind == 1:
            time.sleep(600)
        elif kind == 2:
            raise Broken("no information")
        elif kind == 3:
            raise KeyError(0)

    def _look(self):
        n, actions = self._sizes["n_agents"], self._sizes["n_actions"]
        available = np.zeros((n, actions), bool)
        available[:, 1:3] = True
        obs = np.full((n, self._sizes["obs_size"]), 1.0 + self._step, np.float32)
        return obs, np.full(self._sizes["state_size"], 2.0 + self._step, np.float32), available
