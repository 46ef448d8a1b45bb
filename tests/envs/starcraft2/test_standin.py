"""The stand-in: set up, its answers to single requests, and its process."""

import os
import random
import socket
import subprocess
import time

import numpy as np
import pytest

from benchmark.commands import main
from benchmark.envs import MAPS
from benchmark.envs.simulator.units import GAME_ID, TYPE_ID, UNITS
from benchmark.envs.starcraft2.installation import EXECUTABLE, MAP_FOLDER, is_standin
from benchmark.envs.starcraft2.standin.process import Faults
from benchmark.errors import BenchmarkError

# Setting up ---------------------------------------------------------------------------------------


@pytest.mark.protocol
def test_command(tmp_path, capsys):
    folder = tmp_path / "StarCraftII"
    assert main(["standin", str(folder), "--handicap", "0.5", "--faults", "crash=0.01"]) == 0
    executable = folder / EXECUTABLE
    assert capsys.readouterr().out.splitlines() == [
        str(executable), f"export SC2PATH={folder}",
    ]  # fmt: skip
    assert os.access(executable, os.X_OK)
    assert is_standin(executable)
    for one in MAPS.values():
        name = "32x32_flat" if one.generated else one.name
        assert (folder / MAP_FOLDER / f"{name}.SC2Map").is_file()
    assert main(["standin", str(folder)]) == 0  # again


@pytest.mark.protocol
@pytest.mark.parametrize(
    "file", [EXECUTABLE, "Versions/Base69232/SC2_x64", MAP_FOLDER / "3m.SC2Map"]
)
def test_never_over_the_game(tmp_path, capsys, file):
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_bytes(b"\x7fELF" + bytes(1000))
    assert main(["standin", str(tmp_path)]) == 2
    assert "holds StarCraft II or its maps" in capsys.readouterr().err
    assert path.read_bytes()[:4] == b"\x7fELF"
    assert [one for one in tmp_path.rglob("*") if one.is_file()] == [path]


@pytest.mark.protocol
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--faults", "explode=1"), "names are crash, hang"),
        (("--faults", "crash=often"), "expected NAME=NUMBER"),
        (("--faults", "crash=-1"), "expected NAME=NUMBER"),
        (("--handicap", "0"), "at most 1"),
        (("--handicap", "2"), "at most 1"),
    ],
)
def test_wrong_options_are_one_line(tmp_path, capsys, arguments, message):
    assert main(["standin", str(tmp_path / "here"), *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "here").exists()


def test_faults_are_read():
    assert Faults.parse("") == Faults()
    assert Faults.parse("crash=12,slow=0.5") == Faults(crash=12, slow=0.5)
    for text, message in (("hang", "fault 'hang'"), ("crash=1.5", "a whole number of requests")):
        with pytest.raises(BenchmarkError, match=message):
            Faults.parse(text)


# Answers ------------------------------------------------------------------------------------------


class Talk:
    """Requests to a game without a network."""

    def __init__(self, map="3m", **peculiarities):
        from benchmark.envs.starcraft2.messages import sc2api_pb2
        from benchmark.envs.starcraft2.standin.server import Server

        self.api, self.server, self.id = sc2api_pb2, Server(**peculiarities), 0
        if map:
            assert not self.create(map).create_game.HasField("error")
            self("join_game", race=1)

    def __call__(self, kind, **values):
        request = self.api.Request()
        getattr(request, kind).SetInParent()
        for name, value in values.items():
            setattr(getattr(request, kind), name, value)
        return self.send(request)

    def send(self, request):
        self.id += 1
        request.id = self.id
        response = self.server.answer(request)
        if response is not None:
            assert response.id == self.id
            assert response.HasField("status")
        return response

    def create(self, map, data=b"map", seed=5):
        request = self.api.Request()
        request.create_game.local_map.map_path = f"SMAC_Maps/{map}.SC2Map"
        request.create_game.local_map.map_data = data
        request.create_game.random_seed = seed
        return self.send(request)

    def step(self, count=1):
        return self("step", count=count)

    def units(self):
        return list(self("observation").observation.observation.raw_data.units)

    def order(self, tag, ability, point=None, target=None, queue=False):
        request = self.api.Request()
        command = request.action.actions.add().action_raw.unit_command
        command.ability_id, command.queue_command = ability, queue
        command.unit_tags.append(tag)
        if point:
            command.target_world_space_pos.x, command.target_world_space_pos.y = point
        if target:
            command.target_unit_tag = target
        return self.send(request).action.result[0]

    def debug_kill(self, tags):
        request = self.api.Request()
        request.debug.debug.add().kill_unit.tag.extend(tags)
        return self.send(request)

    def debug_create(self, *recruits):
        request = self.api.Request()
        for unit_type, owner, x, y in recruits:
            wanted = request.debug.debug.add().create_unit
            wanted.unit_type, wanted.owner, wanted.quantity = unit_type, owner, 1
            wanted.pos.x, wanted.pos.y = x, y
        return self.send(request)


@pytest.mark.protocol
def test_a_game_is_created_joined_and_left():
    talk = Talk(map=None)
    api = talk.api
    assert "stand-in" in talk("ping").ping.game_version
    assert talk("observation").error  # not in a game yet
    assert talk("join_game").error
    assert talk.create("3m").status == api.init_game
    assert talk("join_game").status == api.in_game
    assert len(talk.units()) == 6
    assert b"stand-in" in talk("save_replay").save_replay.data
    assert talk("quit") is None
    assert talk("leave_game").error == ["leave_game: the stand-in does not know this request"]


@pytest.mark.protocol
def test_maps_that_cannot_be_played():
    talk = Talk(map=None)
    error = talk.api.ResponseCreateGame
    assert talk.create("3m", data=b"").create_game.error == error.MissingMap
    wrong = talk.create("2c_vs_64zg").create_game
    assert wrong.error == error.InvalidMapPath
    assert "2c_vs_64zg" in wrong.error_details
    assert talk.create("3m").status == talk.api.init_game


@pytest.mark.protocol
@pytest.mark.parametrize("name", ["3m", "corridor", "6h_vs_8z", "32x32_flat"])
def test_the_passable_cells_are_the_simulators(name):
    from benchmark.envs.simulator.terrain import find_terrain

    start = Talk(name)("game_info").game_info.start_raw
    assert (start.map_size.x, start.map_size.y) == (32, 32)
    assert (start.playable_area.p0.x, start.playable_area.p1.y) == (2, 30)
    bits = np.unpackbits(np.frombuffer(start.pathing_grid.data, np.uint8)).reshape(32, 32)
    terrain = "flat" if name == "32x32_flat" else MAPS[name].terrain
    np.testing.assert_array_equal(bits.T.astype(bool), find_terrain(terrain).walkable)
    assert len(start.terrain_height.data) == 32 * 32


@pytest.mark.protocol
def test_units_show_what_the_game_shows():
    units = Talk("MMM2").units()
    allies, enemies = [[u for u in units if u.owner == owner] for owner in (1, 2)]
    assert (len(allies), len(enemies)) == (10, 12)
    kinds = [UNITS[u.unit_type - 1935].name for u in allies]
    assert kinds == ["marauder"] * 2 + ["marine"] * 7 + ["medivac"]
    assert [u.unit_type for u in enemies] == [48] * 8 + [51] * 3 + [54]
    assert all(u.health == u.health_max > 0 for u in units)
    assert allies[-1].energy == 50
    assert len({u.tag for u in units}) == 22
    assert not any(u.HasField("weapon_cooldown") or u.orders for u in enemies)
    assert all(u.HasField("weapon_cooldown") for u in allies)


@pytest.mark.protocol
def test_orders_are_obeyed_and_nonsense_refused():
    talk = Talk()
    success, unsupported = 1, 2
    ally, enemy = [next(u for u in talk.units() if u.owner == owner) for owner in (1, 2)]
    assert talk.order(ally.tag, 16, point=(ally.pos.x - 2, ally.pos.y)) == success
    talk.step(8)
    (moved,) = [u for u in talk.units() if u.tag == ally.tag]
    assert moved.pos.x == pytest.approx(ally.pos.x - 8 * 2.25 / 16)
    assert moved.orders[0].ability_id == 16
    assert talk.order(ally.tag, 23, target=enemy.tag) == success
    assert talk.order(ally.tag, 4) == success
    assert talk.order(ally.tag, 16) == unsupported  # to nowhere
    assert talk.order(ally.tag, 23, point=(1, 1)) == unsupported
    assert talk.order(ally.tag, 23, target=12345) == unsupported
    assert talk.order(ally.tag, 4, queue=True) == unsupported
    assert talk.order(enemy.tag, 4) == unsupported
    assert talk.order(12345, 4) == unsupported


@pytest.mark.protocol
def test_a_smac_maps_armies_return_when_all_are_dead():
    talk = Talk()
    first = talk.units()
    talk.step(30)
    talk.debug_kill([u.tag for u in first])
    assert len(talk.units()) == 6  # debug commands wait for the next step
    talk.step(2)
    second = talk.units()
    assert [(u.pos.x, u.pos.y) for u in second] == [(u.pos.x, u.pos.y) for u in first]
    assert not {u.tag for u in first} & {u.tag for u in second}
    talk.debug_kill([u.tag for u in second if u.owner == 1])
    talk.step(2)
    assert {u.owner for u in talk.units()} == {2}
    talk.step(8)
    assert len(talk.units()) == 3


@pytest.mark.protocol
def test_smacv2s_units_are_created_on_an_empty_map():
    talk = Talk("32x32_flat")
    assert not talk.units()
    stalker, zealot = TYPE_ID["stalker"], TYPE_ID["zealot"]
    recruits = [
        (1935 + zealot, 1, 16.0, 16.0), (1935 + stalker, 1, 16.0, 16.0),
        (GAME_ID[zealot], 2, 4.0, 4.0),
    ]  # fmt: skip
    talk.debug_create(*recruits)
    talk.step(1)
    units = talk.units()
    assert [u.unit_type for u in units] == [1935 + stalker, 1935 + zealot, GAME_ID[zealot]]
    assert np.hypot(units[0].pos.x - units[1].pos.x, units[0].pos.y - units[1].pos.y) > 0.9
    talk.debug_create(*recruits)
    assert "empty map" in talk.step(1).error[0]
    talk.debug_kill([u.tag for u in units])
    talk.step(2)
    assert not talk.units()
    assert talk.debug_create((7, 1, 1.0, 1.0)).error


@pytest.mark.protocol
def test_smacv2s_script_sends_idle_enemies_at_the_nearest():
    talk = Talk("32x32_flat")
    marine = TYPE_ID["marine"]
    talk.debug_create((1935 + marine, 1, 2.0, 2.0), (GAME_ID[marine], 2, 30.0, 30.0))
    talk.step(1)
    talk.step(8)
    enemy = talk.units()[1]
    assert enemy.pos.x == pytest.approx(30 - 8 * 2.25 / 16 / 2**0.5)


@pytest.mark.protocol
def test_peculiarities():
    assert not Talk("3m", no_units=1.0).units()
    weak = Talk("2s3z", handicap=0.25).units()
    for unit in weak:
        share = 1.0 if unit.owner == 1 else 0.25
        assert unit.health == share * unit.health_max
        assert unit.shield == share * unit.shield_max


@pytest.mark.protocol
def test_a_game_ends_at_its_last_loop():
    talk = Talk("3m")
    talk.server.loop = 2**19 - 2
    talk.step(1)
    assert talk.units()
    talk.step(1)
    assert talk("observation").error


@pytest.mark.protocol
def test_the_catalogue_ends_with_the_rl_units():
    data = Talk()("data", unit_type_id=True, ability_id=True).data
    assert [u.unit_id for u in data.units] == list(range(1935 + 9))
    names = [u.name for u in data.units[1935:]]
    assert names == [f"RL {unit.name.title()}" for unit in UNITS]
    stalker = data.units[74]
    (weapon,) = stalker.weapons
    assert (weapon.damage, weapon.damage_bonus[0].bonus) == (10, 4)
    assert weapon.speed == pytest.approx(1.44)
    assert {a.ability_id for a in data.abilities} == {4, 16, 23, 386}


@pytest.mark.protocol
def test_what_it_does_not_know_it_refuses():
    talk = Talk()
    assert talk("query").error
    request = talk.api.Request()
    request.debug.debug.add().end_game.SetInParent()
    assert talk.send(request).error == ["debug end_game: the stand-in does not know this command"]


@pytest.mark.protocol
def test_values_that_no_game_takes():
    talk = Talk()
    ally, friend, enemy = [talk.units()[index].tag for index in (0, 1, 3)]
    unsupported = 2
    for point in ((float("nan"), 1), (1, 1e30), (-1e4, 1)):
        assert talk.order(ally, 16, point=point) == unsupported
    assert talk.order(ally, 386, target=friend) == unsupported  # a marine
    assert talk.order(ally, 23, target=friend) == unsupported
    request = talk.api.Request()
    request.create_game.local_map.map_path, request.create_game.local_map.map_data = "3m", b"map"
    request = request.FromString(request.SerializeToString().replace(b"3m", b"\xff\xfe"))
    assert talk.send(request).create_game.error == talk.api.ResponseCreateGame.InvalidMapPath
    loops = talk("observation").observation.observation.game_loop
    assert "at most" in talk.step(2**32 - 1).error[0]
    assert talk("observation").observation.observation.game_loop == loops
    assert talk.order(ally, 23, target=enemy) == 1

    talk = Talk("32x32_flat")
    marine = 1935 + TYPE_ID["marine"]
    for owner, x in ((0, 1.0), (300, 1.0), (-1, 1.0), (1, float("nan")), (2, 1e30)):
        assert talk.debug_create((marine, owner, x, 1.0)).error
    request = talk.api.Request()
    wanted = request.debug.debug.add().create_unit
    wanted.unit_type, wanted.owner, wanted.quantity = marine, 1, 2**32 - 1
    assert "at most" in talk.send(request).error[0]
    talk.debug_create((marine, 1, 9.0, 9.0), (GAME_ID[TYPE_ID["marine"]], 2, 4.0, 4.0))
    talk.step()
    tag = talk.units()[0].tag
    talk.create("32x32_flat")
    talk("join_game")
    assert talk.order(tag, 4) == unsupported  # of the game before


@pytest.mark.protocol
def test_damaged_requests_are_answered():
    """Every answer is a response or a refusal: random kinds, random values, flipped bits."""
    from google.protobuf.message import DecodeError

    talk, stream = Talk(), random.Random(0)
    kinds = [field.name for field in talk.api.Request.DESCRIPTOR.oneofs[0].fields]
    for _ in range(2000):
        request = talk.api.Request()
        kind = stream.choice([kind for kind in kinds if kind != "quit"])
        getattr(request, kind).SetInParent()
        data = bytearray(request.SerializeToString() + stream.randbytes(stream.randrange(12)))
        data[stream.randrange(len(data))] ^= 1 << stream.randrange(8)
        try:
            request = talk.api.Request.FromString(bytes(data))
        except DecodeError:
            assert talk.server.undecodable().error
            continue
        response = talk.server.answer(request)
        assert response is None or response.HasField("status")


# The process --------------------------------------------------------------------------------------


def launch(folder, *more):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [folder / EXECUTABLE, "-listen", "127.0.0.1", "-port", str(port), "-dataDir", "x/",
         "-tempDir", "y/", "-dataVersion", "B89B5D6F", *more],
        stderr=subprocess.PIPE,
    )  # fmt: skip
    return process, port


def wait_until_it_listens(process, port):
    deadline = time.monotonic() + 30
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.05)


@pytest.mark.protocol
@pytest.mark.parametrize("farewell", ["quit", "close", "vanish"])
def test_the_process_serves_one_client_and_ends_with_it(game, monkeypatch, farewell):
    from websockets.exceptions import InvalidStatus
    from websockets.sync.client import connect

    from benchmark.envs.starcraft2.messages import sc2api_pb2 as api

    monkeypatch.setenv("PYTHONPATH", "/nowhere")  # of no concern to it
    process, port = launch(game())
    wait_until_it_listens(process, port)
    with pytest.raises(InvalidStatus, match="404"), connect(f"ws://127.0.0.1:{port}/wrong"):
        pass
    with connect(f"ws://127.0.0.1:{port}/sc2api", compression=None) as client:
        request = api.Request(id=3)
        request.create_game.local_map.map_path = "3m.SC2Map"
        request.create_game.local_map.map_data = bytes(range(256)) * 1000
        client.send(request.SerializeToString(), text=True)  # pysc2 sends text that is not UTF-8
        response = client.recv()
        assert isinstance(response, bytes)  # a binary frame
        assert api.Response.FromString(response).status == api.init_game
        if farewell == "quit":
            client.send(api.Request(quit=api.RequestQuit()).SerializeToString(), text=True)
        elif farewell == "close":
            client.close()
        else:
            client.socket.shutdown(socket.SHUT_RDWR)
        assert process.wait(20) == 0


@pytest.mark.protocol
def test_garbage_is_answered_with_an_error_or_turned_away(game):
    from websockets.sync.client import connect

    from benchmark.envs.starcraft2.messages import sc2api_pb2 as api

    process, port = launch(game())
    wait_until_it_listens(process, port)
    for garbage in (b"GET / HTTP/9\r\n\r\n", random.Random(0).randbytes(4096), b"\n" * 99):
        with socket.create_connection(("127.0.0.1", port)) as other:
            other.sendall(garbage)
    ping = api.Request(id=7)
    ping.ping.SetInParent()
    whole = ping.SerializeToString()
    with connect(f"ws://127.0.0.1:{port}/sc2api", compression=None) as client:
        for frame in ("hello", "", b"", whole[:-1], b"\xff" * 1000, random.Random(1).randbytes(99)):
            client.send(frame)
            assert api.Response.FromString(client.recv(5)).error, frame
        client.send(whole)
        assert api.Response.FromString(client.recv(5)).id == 7
        client.socket.sendall(b"\xff" * 64)  # no frame of WebSocket
        assert process.wait(20) == 0
    assert b"Traceback" not in process.stderr.read()


@pytest.mark.protocol
def test_a_process_that_does_not_start(game):
    process, _ = launch(game(faults="no_start=1"))
    assert process.wait(20) == 1
    assert b"no_start" in process.stderr.read()
