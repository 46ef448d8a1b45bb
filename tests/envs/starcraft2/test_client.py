"""What a worker's client makes of the real clients' answers, without them."""

from types import SimpleNamespace

import pytest

from benchmark.envs.maps import MAPS
from benchmark.envs.starcraft2.client import Client
from benchmark.envs.starcraft2.worker import Broken


def client(units: int = 0, ended: bool = False) -> Client:
    """One with so many units per team, whose reset returns nothing and whose step ends."""
    one = Client.__new__(Client)
    one._map, one._tags = MAPS["zerg_5_vs_5"], set()
    one._wrapper = SimpleNamespace(
        reset=lambda: None, step=lambda actions: (0.0, True, {"battle_won": False})
    )
    one._env = SimpleNamespace(
        agents=dict.fromkeys(range(units)),
        enemies=dict.fromkeys(range(units)),
        timeouts=0,
        _controller=SimpleNamespace(status_ended=ended),
    )
    return one


def test_a_battle_without_its_units_has_not_begun():
    with pytest.raises(Broken, match="the units did not appear"):
        client(units=4).reset(1)
    with pytest.raises(AttributeError, match="_episode_count"):  # it goes on, to what is not here
        client(units=5).reset(1)


def test_a_game_that_ended_itself_gives_no_last_step():
    with pytest.raises(Broken, match="the game ended itself"):
        client(ended=True).step([1] * 5)
