"""Probing: the experiments, and what counts as a difference."""

import copy
import json

import pytest

from benchmark.commands import main
from benchmark.envs.maps import MAPS
from benchmark.envs.simulator.terrain import find_terrain
from benchmark.envs.simulator.units import UNITS
from benchmark.envs.starcraft2 import probe
from benchmark.envs.starcraft2.experiments import EXPERIMENTS, experiments_for


def simulated(name, seed=3):
    """What would be measured if the game were the simulator."""
    one = MAPS[name]
    walkable = find_terrain(one.terrain).walkable
    versions = ("", "rl_") if one.generated else ("",)
    return {
        "terrain": {
            "size": [32, 32],
            "playable": [0, 0, 32, 32],
            "passable": ["".join(".#"[int(cell)] for cell in row) for row in walkable.T],
        },
        "catalogue": {
            version + unit.name: probe._our_facts(unit.name) | {"sight": 9.0}
            for unit in UNITS
            for version in versions
        },
        "experiments": {
            each: EXPERIMENTS[each](probe._Simulated(one, seed))
            for each in experiments_for(one.generated, one.healers)
        },
    }


@pytest.fixture(scope="module")
def measured():
    return {name: simulated(name) for name in ("3m", "MMM2", "protoss_5_vs_5")}


def differences(name, measured, *path, value):
    """The differences once one measurement is another."""
    changed = copy.deepcopy(measured[name])
    place = changed
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value(place[path[-1]]) if callable(value) else value
    return probe.compare(MAPS[name], changed)


def test_the_simulator_does_not_differ_from_itself(measured):
    for name, values in measured.items():
        assert probe.compare(MAPS[name], values) == []


@pytest.mark.parametrize(
    ("name", "path", "value", "what", "game"),
    [
        ("3m", ("terrain", "playable"), [0, 0, 31, 32], "playable area", "[0, 0, 31, 32]"),
        ("3m", ("terrain", "passable", 9), "." + "#" * 31, "blocked cells that the simulator"
         " passes", "1: (0, 9)"),
        ("3m", ("terrain", "passable", 3), "#" * 8 + "." * 24, "passable cells that the simulator"
         " blocks", "8: (0, 3), (1, 3), (2, 3), (3, 3), (4, 3), (5, 3) ..."),
        ("3m", ("catalogue", "stalker", "speed"), 4.13, "stalker speed", "4.13"),
        ("3m", ("catalogue", "marine", "weapons"), [], "marine weapons", "[]"),
        ("protoss_5_vs_5", ("catalogue", "rl_zealot", "attributes"), ["Light"],
         "rl_zealot attributes", "['Light']"),
        ("3m", ("experiments", "formation", "ally_0_x"), lambda x: x + 0.5,
         "formation: ally_0_x", None),
        ("3m", ("experiments", "respawn", "marches_again"), 0.0, "respawn: marches_again", "0"),
        ("3m", ("experiments", "slaughter", "loops_until_all_are_dead"), 900,
         "slaughter: loops_until_all_are_dead", "900"),
        ("MMM2", ("experiments", "medivac", "went"), 0.0, "medivac: went", "0"),
        ("protoss_5_vs_5", ("experiments", "speeds", "medivac"), 3.5, "speeds: medivac", "3.5"),
        ("protoss_5_vs_5", ("experiments", "duels", "marine_loops_between_hits"), 30.0,
         "duels: marine_loops_between_hits", None),
        ("protoss_5_vs_5", ("experiments", "script", "degrees_off"), 20.0, "script: degrees_off",
         "20"),
    ],
)  # fmt: skip
def test_each_disagreement_is_named(measured, name, path, value, what, game):
    (difference,) = differences(name, measured, *path, value=value)
    assert difference.map == name
    assert difference.what == what
    assert game is None or difference.game == game


def test_single_precision_is_no_difference(measured):
    assert not differences(
        "3m", measured, "catalogue", "stalker", "speed", value=lambda speed: speed * (1 + 1e-7)
    )


def test_attributes_that_count_for_nothing_are_no_difference(measured):
    known = measured["protoss_5_vs_5"]["catalogue"]["rl_colossus"]["attributes"]
    place = ("catalogue", "rl_colossus", "attributes")
    assert not differences("protoss_5_vs_5", measured, *place, value=[*known, "Massive"])


def test_what_did_not_happen_is_a_difference(measured):
    changed = copy.deepcopy(measured["protoss_5_vs_5"])
    del changed["experiments"]["duels"]["zealot_gap"]
    (difference,) = probe.compare(MAPS["protoss_5_vs_5"], changed)
    assert (difference.what, difference.game) == ("duels: zealot_gap", "nothing")


def test_the_experiments_measure_the_tables(measured):
    """Speeds and ranges come out of battles as they went in."""
    speeds = measured["protoss_5_vs_5"]["experiments"]["speeds"]
    duels = measured["protoss_5_vs_5"]["experiments"]["duels"]
    for unit in UNITS:
        assert speeds[unit.name] == pytest.approx(unit.speed, rel=1e-6)
        if unit.damage and not unit.burst_splash:
            assert 0 < unit.range - duels[f"{unit.name}_gap"] + 1e-6 < 0.3
    assert duels["marine_first_damage"] == 6
    assert duels["zealot_first_damage"] == 8  # on shields, which have no armour
    assert duels["marauder_first_damage"] == 19  # 10 + 10 against armoured, less 1


@pytest.mark.clients
def test_probing_the_standin_finds_the_simulator(game, tmp_path, capsys):
    game()
    output = tmp_path / "probe.json"
    assert main(["probe", "--maps", "MMM2", "terran_5_vs_5", "--output", str(output)]) == 0
    assert "the simulator agrees with the game in everything" in capsys.readouterr().out
    found = json.loads(output.read_text())
    assert found["differences"] == []
    assert found["maps"]["MMM2"]["standin"]
    assert found["maps"]["MMM2"]["game_version"] == "4.10.0 (stand-in)"
    expected = simulated("MMM2")
    assert found["maps"]["MMM2"]["terrain"] == expected["terrain"]
    assert found["maps"]["MMM2"]["experiments"].keys() == expected["experiments"].keys()
    assert (
        found["maps"]["terran_5_vs_5"]["catalogue"].keys()
        == simulated("terran_5_vs_5")["catalogue"].keys()
    )


@pytest.mark.clients
def test_probing_notices_another_game(game, tmp_path, capsys):
    """Enemies that begin with half of their health are not what the simulator has."""
    game(handicap=0.5)
    assert main(["probe", "--maps", "3m", "--output", str(tmp_path / "probe.json")]) == 0
    out = capsys.readouterr().out
    assert "life: enemy_marine_health" in out
    assert "22.5" in out


def test_without_the_game_it_is_one_clear_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SC2PATH", str(tmp_path))
    assert main(["probe", "--output", str(tmp_path / "probe.json")]) == 2
    error = capsys.readouterr().err
    assert "StarCraft II 4.10 is not at" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "probe.json").exists()
