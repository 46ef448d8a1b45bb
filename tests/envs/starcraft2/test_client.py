"""What a worker's client makes of the real clients' answers, without them."""

import signal
import subprocess
import time
from types import SimpleNamespace

import pytest

from benchmark.envs.maps import MAPS
from benchmark.envs.starcraft2.client import Client, _no_waiting_for_a_dead_game
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


@pytest.mark.parametrize(
    ("game", "seconds", "why"),
    [
        (["sleep", "0.3"], 20, "the game ended before it could be played"),
        (["sleep", "60"], 0.3, "the game was not ready within 0.3 s"),
    ],
)
def test_a_launch_whose_game_dies_or_hangs_ends_at_once(game, seconds, why):
    handlers = [signal.getsignal(number) for number in (signal.SIGCHLD, signal.SIGALRM)]

    @_no_waiting_for_a_dead_game(seconds)
    def launch():
        started = subprocess.Popen(game)
        try:
            time.sleep(10)  # pysc2 tries to connect
        finally:
            started.kill()  # it may end by this, which is no news any more
            started.wait()

    begin = time.monotonic()
    with pytest.raises(Broken, match=why):
        launch()
    assert time.monotonic() - begin < 5
    assert [signal.getsignal(number) for number in (signal.SIGCHLD, signal.SIGALRM)] == handlers
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_a_game_that_is_paused_while_it_is_launched_goes_on():
    with _no_waiting_for_a_dead_game(20):
        game = subprocess.Popen(["sleep", "60"])
        for number in (signal.SIGSTOP, signal.SIGCONT):
            game.send_signal(number)
            time.sleep(0.1)
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    game.kill()  # the launch is over: this ends nothing else
    game.wait()
