"""The real smac and smacv2 against the stand-in: they say what the simulator says."""

import time
from types import SimpleNamespace

import numpy as np
import pytest

from benchmark.envs import MAPS, EnvOptions, make
from benchmark.envs.maps import SIZE
from benchmark.envs.simulator.units import TYPE_ID, UNITS
from benchmark.envs.starcraft2.client import seed_everything
from benchmark.errors import BenchmarkError
from tests.envs.starcraft2.battles import follow
from tests.envs.starcraft2.reference import Reference, compare

pytestmark = pytest.mark.clients

SIXTEEN = [name for name in MAPS if "3_vs_3" not in name]


def compare_battle(env, one, journal, seed, policy):
    """Follows a battle to its end; returns its last moment and its length."""
    reference, length = None, 0
    for moment in follow(env, one, journal, seed, policy):
        if reference is None:
            reference = Reference(one, seed)
            expected = reference.begin(
                moment.truth["units"], moment.known if one.generated else None
            )
        else:
            expected = reference.step(moment.truth["units"], moment.actions)
            length += 1
        compare(moment.seen, expected)
        np.testing.assert_array_equal(moment.known, reference.known)
    return moment, length


@pytest.fixture
def start(game, tmp_path):
    """A function that starts an env of one battle against a stand-in with a journal."""
    envs = []

    def begin(name, **peculiarities):
        for env in envs:
            env.close()
        journal = tmp_path / f"journal{len(envs)}"
        game(journal=journal, **peculiarities)
        envs.append(make(name, 1, "starcraft2"))
        return envs[-1], journal

    yield begin
    for env in envs:
        env.close()


@pytest.mark.parametrize("name", SIXTEEN)
def test_client_and_simulator_agree_over_whole_battles(start, name):
    env, journal = start(name)
    one, lengths = MAPS[name], []
    for seed, policy in enumerate(("random", "attack_nearest", "random", "kite", "focus_fire")):
        _, length = compare_battle(env, one, journal, 100 + seed, policy)
        lengths.append(length)
    assert sum(lengths) > 60
    env, journal = start(name, handicap=0.1)
    last, _ = compare_battle(env, one, journal, 3, "attack_nearest")
    assert last.seen.battle_won  # so that victories are compared too


@pytest.mark.parametrize("name", ["3m", "3s5z_vs_3s6z", "6h_vs_8z", "protoss_5_vs_5"])
def test_agreement_at_the_time_limit(start, name):
    env, journal = start(name)
    for seed in range(30):
        last, length = compare_battle(env, MAPS[name], journal, seed, "flee")
        if last.seen.truncated:
            assert length == MAPS[name].limit
            return
    pytest.fail("no battle reached its limit")


@pytest.mark.parametrize(
    "name", ["3m", "3s5z_vs_3s6z", "MMM2", "corridor", "terran_10_vs_11", "zerg_5_vs_5"]
)
def test_orders_through_the_protocol_lead_to_the_simulators_step(start, name):
    """From the same units and random stream; single precision of positions is all that differs."""
    env, journal = start(name)
    one = MAPS[name]
    simulator = make(name)
    simulator.reset(np.zeros(1, np.uint64))
    world, before, compared = simulator._world, None, 0
    for seed, policy in ((7, "random"), (8, "focus_fire")):
        for moment in follow(env, one, journal, seed, policy):
            if moment.actions is not None and not moment.seen.terminated:
                world.units[0], world.battles[0] = before["units"], before["battle"]
                world.battles["running"], world.battles["max_reward"] = True, 1.0
                simulator._out.available[:] = True
                simulator.step(moment.actions[None])
                mine, theirs = world.units[0], moment.truth["units"]
                np.testing.assert_array_equal(mine["alive"], theirs["alive"])
                alive = theirs["alive"]
                for column in ("x", "y", "health", "shield", "energy", "cooldown", "windup",
                               "order", "target", "missile_target"):  # fmt: skip
                    np.testing.assert_allclose(
                        mine[column][alive], theirs[column][alive], rtol=0, atol=1e-4
                    )
                compared += 1
            before = moment.truth
    assert compared > 25


@pytest.mark.parametrize("name", SIXTEEN)
def test_rewards_are_scaled_as_the_client_would(start, name):
    """``first_draw``: by the enemies of the first battle, which SMAC's maps fix."""
    _, _ = start(name)
    env = make(name, 1, "starcraft2", EnvOptions(max_reward="first_draw"))
    try:
        env.reset(np.array([4], np.uint64))
        enemies = env.units()[0, env.spec.n_agents :]
        life = sum(UNITS[kind].health + UNITS[kind].shield for kind in enemies["type"])
        expected = life + 10 * env.spec.n_enemies + 200
        assert env._max_reward == [expected]
        assert env._question(0, "max_reward") == expected
        if not MAPS[name].generated:
            assert make(name)._world.rules["max_reward"][0] == expected
    finally:
        env.close()


@pytest.mark.parametrize("name", ["3m", "zerg_5_vs_5"])
def test_battles_may_be_reset_at_any_time(start, name):
    env, journal = start(name)
    for played in (0, 1, 7, 0):
        out = env.reset(np.array([5], np.uint64))
        for _ in range(played):
            out = env.step(np.where(out.available[:, :, 1], 1, 0))
            assert not out.aborted[0]
    compare_battle(env, MAPS[name], journal, 6, "random")
    assert not env.faults
    assert len(list(journal.iterdir())) == 1  # never a second game


def test_units_that_do_not_appear_are_drawn_again_in_the_same_game(start):
    env, journal = start("zerg_5_vs_5", faults="no_units=0.5")
    for seed in range(8):
        env.reset(np.array([seed], np.uint64))
        assert env.units()[0]["alive"].all()
        assert not env.step(np.array([[1] * 5])).aborted[0]
    assert not env.faults
    assert len(list(journal.iterdir())) == 1  # never a second game


def test_a_game_that_cannot_be_loaded_is_named_in_its_own_words_and_at_once(game, monkeypatch):
    """pysc2 itself would try to connect for a quarter of an hour."""
    (program,) = game().glob("Versions/*/SC2_x64")
    program.write_text("#!/bin/sh\necho SC2_x64: error while loading libraries >&2\nexit 127\n")
    monkeypatch.setenv("STARCRAFT2_ATTEMPTS", "1")
    env = make("3m", 1, "starcraft2")
    begin = time.monotonic()
    said = r"the game ended before it could be played \(SC2_x64: error while loading libraries\)"
    with pytest.raises(BenchmarkError, match=said):
        env.reset(np.zeros(1, np.uint64))
    assert time.monotonic() - begin < 60


def test_a_seed_decides_smacv2s_teams_places_and_looks(start):
    env, _ = start("terran_10_vs_11")

    def begun(seed):
        seen = env.reset(np.array([seed], np.uint64))
        return seen.obs.tolist(), env.units().tolist()

    first = begun(1)
    assert begun(2) != first
    assert begun(1) == first


def test_units_are_read_from_the_clients_observation(start):
    env, journal = start("MMM2")
    for moment in follow(env, MAPS["MMM2"], journal, 3, "attack_nearest"):
        units, truth = env.units()[0], moment.truth["units"]
        alive = truth["alive"]
        np.testing.assert_array_equal(units["alive"], alive)
        for name in ("type", "team", "autonomous"):
            np.testing.assert_array_equal(units[name], truth[name])
        for name in ("x", "y", "health", "shield", "energy"):
            np.testing.assert_allclose(units[name][alive], truth[name][alive], atol=1e-5)
        mine = np.flatnonzero(alive[:10])
        for name in ("order", "target"):
            np.testing.assert_array_equal(units[name][mine], truth[name][mine])
        ready_in = np.maximum(truth["cooldown"][mine], 0)  # the client sees no fraction below it
        np.testing.assert_allclose(units["cooldown"][mine], ready_in, atol=1e-5)
        if moment.actions is not None:
            fighters = mine[mine < 9]
            np.testing.assert_array_equal(units["attacked"][fighters], truth["attacked"][fighters])
            # A medivac that heals less than its energy grows in the meantime goes unnoticed.
            assert truth["attacked"][9] or not units["attacked"][9]
    np.testing.assert_array_equal(env.walkable, make("MMM2").walkable)


def test_smacv2s_own_distributions_are_the_simulators():
    """Frequencies of unit types and places of 4000 starts each, within chance."""
    from smacv2.env.starcraft2.distributions import get_distribution

    one = MAPS["terran_10_vs_11"]
    config = {"n_units": 10, "n_enemies": 11, "map_x": SIZE, "map_y": SIZE, "p": 0.5}
    teams = get_distribution("weighted_teams")(
        config | {
            "env_key": "team_gen", "unit_types": ["marine", "marauder", "medivac"],
            "weights": [0.45, 0.45, 0.1], "exception_unit_types": ["medivac"],
        }
    )  # fmt: skip
    places = get_distribution("surrounded_and_reflect")(config | {"env_key": "start_positions"})
    both = SimpleNamespace(env_key_to_distribution_map={"team_gen": teams, "places": places})
    seed_everything(both, 1)
    count = 4000
    theirs = {"type": np.zeros((count, 21), int), "x": np.zeros((count, 21))}
    for k in range(count):
        team, place = teams.generate()["team_gen"], places.generate()
        theirs["type"][k] = [TYPE_ID[name] for name in [*team["ally_team"], *team["enemy_team"]]]
        theirs["x"][k, :10] = place["ally_start_positions"]["item"][:, 0]
        theirs["x"][k, 10:] = place["enemy_start_positions"]["item"][:, 0]
    env = make(one, count)
    env.reset(np.arange(count, dtype=np.uint64))
    mine = env.units()
    for part in (slice(0, 10), slice(10, 20), slice(20, 21)):
        for kind in (3, 4, 5):
            shares = [(units["type"][:, part] == kind).mean() for units in (theirs, mine)]
            error = np.sqrt(2 * 0.25 / (count * 0.1 * (part.stop - part.start)))
            assert abs(shares[0] - shares[1]) < 4 * error, (part, kind, shares)
    assert (mine["type"][:, 20] != TYPE_ID["medivac"]).all()
    # Shares of units west of some lines. The engine moves units apart, but to all sides.
    for part in (slice(0, 10), slice(10, 20), slice(20, 21)):
        for line in (4, 8, 12, 20, 24, 28):
            shares = [(units["x"][:, part] < line).mean() for units in (theirs, mine)]
            assert shares[0] == pytest.approx(shares[1], abs=0.03), (part, line)


def test_the_reference_can_disagree(start):
    """These comparisons would notice: other agents' order, other types, other rewards."""
    env, journal = start("zerg_5_vs_5")
    moments = list(follow(env, MAPS["zerg_5_vs_5"], journal, 12, "random"))

    def disagreements(seed, options=None, change=lambda units: units):
        reference = Reference(MAPS["zerg_5_vs_5"], seed, options)
        found = 0
        for moment in moments:
            units = change(moment.truth["units"].copy())
            try:
                if moment.actions is None:
                    expected = reference.begin(units, moment.known)
                else:
                    expected = reference.step(units, moment.actions)
                compare(moment.seen, expected)
            except AssertionError:
                found += 1
        return found

    def shifted(units):
        units["x"][0] += 1e-3
        return units

    assert disagreements(12) == 0
    assert disagreements(13) > 0
    assert disagreements(12, EnvOptions(wiped_observations=False)) > 0
    assert disagreements(12, EnvOptions(reward_death_value=11)) > 0
    assert disagreements(12, change=shifted) > 10
