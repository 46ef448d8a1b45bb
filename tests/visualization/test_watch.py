"""Watching battles: what is recorded, what is drawn, the files, and one-line errors."""

import shutil

import matplotlib.colors
import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from benchmark.commands import main
from benchmark.envs import make
from benchmark.envs.scripted import POLICIES, play
from benchmark.envs.simulator.units import TYPE_ID
from benchmark.visualization import markers, pages, render, watch
from benchmark.visualization.recorder import Recorder
from tests.visualization.policies import save_policy


def run(*arguments):
    return main(["watch", *map(str, arguments)])


def record(map, policy="attack_nearest", seed=0):
    return watch.play_scripted(map, policy, seed)[0]


def pixels(snapshot, recording, colours=None):
    """A state drawn at 20 pixels per cell over the whole map, [640, 640, 3]."""
    figure = Figure(figsize=(6.4, 6.4), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1))
    render.draw_terrain(axes, recording.walkable, (0.0, 32.0, 0.0, 32.0))
    render.draw_snapshot(axes, snapshot, colours)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].astype(int)


def near(image, x, y, colour, cells=0.6):
    """How many pixels around a place have a colour, or nearly."""
    column, row, reach = round(20 * x), round(20 * (32 - y)), round(20 * cells)
    part = image[max(row - reach, 0) : row + reach, max(column - reach, 0) : column + reach]
    wanted = np.array(matplotlib.colors.to_rgb(colour)) * 255
    return np.count_nonzero(np.abs(part - wanted).max(-1) < 12)


@pytest.fixture(scope="module")
def policy_file(tmp_path_factory):
    """A ``policy.pt`` as a finished run on 3m writes it."""
    return save_policy(tmp_path_factory.mktemp("run") / "policy.pt", "qmix", seed=3)


# Recording ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("map", ["3m", "MMM2", "zerg_5_vs_5"])
def test_recording_agrees_with_the_battle(map):
    recorder = Recorder(make(map))
    result = play(recorder, POLICIES["attack_nearest"], 1, seed=4)
    recording = recorder.recording
    assert recording.length == result["length"][0]
    assert len(recording.snapshots) == recording.length + 1
    n = recording.spec.n_agents
    last = recording.snapshots[-1].units["alive"]
    assert np.count_nonzero(~last[:n]) == result["dead_allies"][0]
    assert np.count_nonzero(~last[n:]) == result["dead_enemies"][0]
    assert (recording.result == "allies win") == result["won"][0]
    fallen = np.sum([snapshot.died for snapshot in recording.snapshots], 0)
    np.testing.assert_array_equal(fallen, ~last)


@pytest.mark.parametrize("map", ["3m", "MMM2", "protoss_5_vs_5"])
def test_everyone_who_attacks_strikes_someone_of_the_right_side(map):
    recording = record(map, seed=2)
    strikes = 0
    for snapshot in recording.snapshots:
        units, struck = snapshot.units, snapshot.struck
        healer = units["type"] == TYPE_ID["medivac"]
        np.testing.assert_array_equal((struck >= 0)[~healer], units["attacked"][~healer])
        by = np.flatnonzero(struck >= 0)
        same = units["team"][by] == units["team"][struck[by]]
        np.testing.assert_array_equal(same, healer[by])
        distance = np.hypot(
            units["x"][by] - units["x"][struck[by]], units["y"][by] - units["y"][struck[by]]
        )
        assert (distance < 11).all()
        strikes += len(by)
    assert strikes > 20


def test_every_death_on_3m_has_somebody_who_struck():
    recording = record("3m", seed=1)
    for snapshot in recording.snapshots:
        assert set(np.flatnonzero(snapshot.died)) <= set(snapshot.struck[snapshot.struck >= 0])


def test_recorder_does_not_change_the_battle():
    watched = play(Recorder(make("3m")), POLICIES["random"], 1, seed=5)
    plain = play(make("3m"), POLICIES["random"], 1, seed=5)
    for name, values in plain.items():
        np.testing.assert_array_equal(watched[name], values)


# Drawing ------------------------------------------------------------------------------------------


def test_units_are_drawn_in_their_teams_colours():
    recording = record("3m")
    image = pixels(recording.snapshots[0], recording)
    for unit in recording.snapshots[0].units:
        own, other = markers.TEAM_COLOURS[unit["team"]], markers.TEAM_COLOURS[1 - unit["team"]]
        assert near(image, unit["x"], unit["y"], own) > 50
        assert near(image, unit["x"], unit["y"], other) == 0


def test_agents_take_given_colours_and_keep_their_teams_ring():
    recording = record("3m")
    roles = ["#CC79A7", "#009E73", "#000000"]
    image = pixels(recording.snapshots[0], recording, roles)
    for role, unit in zip(roles, recording.snapshots[0].units[:3], strict=True):
        assert near(image, unit["x"], unit["y"], role) > 30
        assert near(image, unit["x"], unit["y"], markers.TEAM_COLOURS[0]) > 30


def test_the_dead_are_faded_and_crossed():
    recording = record("3m")
    first, last = recording.snapshots[0], recording.snapshots[-1]
    figure = Figure()
    axes = figure.add_subplot()
    assert not [a for a in render.draw_snapshot(axes, first) if a.get_gid() == "dead"]
    (crosses,) = [a for a in render.draw_snapshot(axes, last) if a.get_gid() == "dead"]
    dead = np.flatnonzero(~last.units["alive"])
    segments = crosses.get_segments()
    assert len(segments) == 2 * len(dead)
    middles = np.array([segment.mean(0) for segment in segments[::2]])
    np.testing.assert_allclose(middles[:, 0], last.units["x"][dead])
    np.testing.assert_allclose(middles[:, 1], last.units["y"][dead])
    winner = int(not last.units["alive"][:3].any())
    assert recording.result == ("allies win", "enemies win")[winner]
    last.struck[:] = -1  # no line across them
    image = pixels(last, recording)
    for unit in last.units[last.units["team"] != winner]:
        colour = markers.TEAM_COLOURS[unit["team"]]
        assert near(image, unit["x"], unit["y"], colour, 0.3) == 0  # faded


def test_the_ring_shrinks_with_health_and_the_shield_shows():
    recording = record("2s3z")
    snapshot = recording.snapshots[0]
    shield = matplotlib.colors.to_hex(markers.SHIELD)
    snapshot.units["x"][0], snapshot.units["y"][0] = where = (16.0, 21.0)  # alone
    before = pixels(snapshot, recording)
    snapshot.units["health"][0] *= 0.25
    snapshot.units["shield"][0] = 0.0
    after = pixels(snapshot, recording)
    own = markers.TEAM_COLOURS[0]
    assert near(after, *where, own, 1.2) < near(before, *where, own, 1.2) - 50
    assert near(before, *where, shield, 1.2) > 50
    assert near(after, *where, shield, 1.2) == 0


def test_cooldown_changes_the_picture():
    recording = record("3m")
    snapshot = recording.snapshots[0]
    before = pixels(snapshot, recording)
    snapshot.units["cooldown"][0] = 10.0
    assert (pixels(snapshot, recording) != before).any()


@pytest.mark.parametrize("map", ["corridor", "3m", "protoss_10_vs_11"])
def test_the_view_holds_all_units(map):
    recording = record(map)
    left, right, bottom, top = render.view_of(recording)
    assert -0.5 <= left < right <= 32.5
    assert -0.5 <= bottom < top <= 32.5
    for snapshot in recording.snapshots:
        alive = snapshot.units[snapshot.units["alive"]]
        assert ((alive["x"] > left) & (alive["x"] < right)).all()
        assert ((alive["y"] > bottom) & (alive["y"] < top)).all()


def test_walls_are_shaded():
    recording = record("corridor")
    image = pixels(recording.snapshots[0], recording)
    wall = matplotlib.colors.to_hex(image[(20 * (32 - 25)), 40] / 255)  # (2, 25) is blocked
    ground = matplotlib.colors.to_hex(image[(20 * (32 - 6)), 100] / 255)  # (5, 6) is open
    assert wall != ground
    for x, y in ((3.5, 20.5), (20.5, 3.5), (5.5, 13.5)):
        assert not recording.walkable[int(x), int(y)]
        assert near(image, x, y, wall, 0.2) > 50


# Files --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("map", ["3m", "terran_3_vs_3"])
def test_watch_writes_an_animation_and_stills(tmp_path, map, capsys):
    assert run("--map", map, "--output", tmp_path, "--stills", "0,4,9000") == 0
    gif, png, pdf = (tmp_path / line for line in capsys.readouterr().out.split())
    assert {path.suffix for path in tmp_path.iterdir()} == {".gif", ".png", ".pdf"}
    recording = record(map)
    with Image.open(gif) as animation:
        assert animation.n_frames == recording.length + 1
        animation.seek(recording.length)
        animation.load()
    assert gif.stat().st_size < 2e6
    with Image.open(png) as image:
        image.verify()
    assert pdf.read_bytes().startswith(b"%PDF")


def test_stills_have_a_panel_per_step_and_the_last_state_beyond_the_end():
    recording = record("3m")
    steps = watch.chosen_steps([0, 4, 5000, 9000], recording.length)
    assert steps == [0, 4, recording.length]
    figure = pages.stills(recording, steps, "title")
    figure.canvas.draw()
    texts = [text.get_text() for text in figure.findobj(matplotlib.text.Text)]
    assert len(figure.axes) == 2 * len(steps)  # a caption and a battle per step
    assert "step 0/60" in texts
    assert f"step {recording.length}/60: {recording.result}" in texts
    assert any("not StarCraft II" in text for text in texts)
    assert "3m: title" in texts


def test_same_seed_same_bytes(tmp_path, capsys):
    contents = []
    for folder in ("a", "b"):
        assert run("--map", "3m", "--seed", 7, "--output", tmp_path / folder) == 0
        files = sorted((tmp_path / folder).iterdir())
        contents.append([(path.name, path.read_bytes()) for path in files])
    assert contents[0] == contents[1]
    one, other = (record("3m", seed=seed).snapshots[-1].units for seed in (7, 8))
    assert one.tobytes() != other.tobytes()


def test_watch_a_trained_policy(tmp_path, policy_file, capsys):
    assert run("--checkpoint", policy_file, "--output", tmp_path / "battle.gif") == 0
    assert (tmp_path / "battle_stills.png").exists()
    one, other = (watch.play_checkpoint(policy_file, map, 0)[0] for map in (None, "3m"))
    np.testing.assert_array_equal(one.snapshots[-1].units, other.snapshots[-1].units)


def test_watch_reads_a_checkpoint_of_an_unfinished_run(tmp_path, policy_file):
    saved = torch.load(policy_file)
    networks = saved.pop("policy")
    torch.save(saved | {"learner": {"networks": networks}}, tmp_path / "checkpoint.pt")
    recording, player = watch.play_checkpoint(tmp_path / "checkpoint.pt", None, 0)
    other, _ = watch.play_checkpoint(policy_file, None, 0)
    assert player == "QMIX, seed 3"
    np.testing.assert_array_equal(recording.snapshots[-1].units, other.snapshots[-1].units)


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not on PATH")
def test_watch_writes_a_video(tmp_path):
    assert run("--map", "3m", "--output", tmp_path / "battle.mp4") == 0
    assert (tmp_path / "battle.mp4").read_bytes()[4:8] == b"ftyp"


def test_frames_reach_ffmpeg_and_its_failure_is_reported(tmp_path, monkeypatch, capsys):
    """With a stand-in that keeps what it is sent."""
    ffmpeg = tmp_path / "bin" / "ffmpeg"
    ffmpeg.parent.mkdir()
    ffmpeg.write_text('#!/bin/sh\nfor last; do :; done\nexec cat > "$last"\n')
    ffmpeg.chmod(0o755)
    monkeypatch.setenv("PATH", str(ffmpeg.parent), prepend=":")
    assert run("--map", "3m", "--output", tmp_path / "battle.mp4") == 0
    recording = record("3m")
    images = []
    for figure in pages.animation(recording, "attack nearest (scripted), battle 0"):
        figure.canvas.draw()
        images.append(np.array(figure.canvas.buffer_rgba()))
    height, width, _ = images[0].shape
    assert height % 2 == width % 2 == 0
    sent = np.frombuffer((tmp_path / "battle.mp4").read_bytes(), np.uint8)
    np.testing.assert_array_equal(sent.reshape(-1, height, width, 4), images)
    ffmpeg.write_text("#!/bin/sh\necho 'unknown encoder' >&2\nexit 1\n")
    assert run("--map", "3m", "--output", tmp_path / "other.mp4") == 2
    assert "unknown encoder" in capsys.readouterr().err
    assert not (tmp_path / "other.mp4").exists()


# Bad input ----------------------------------------------------------------------------------------


def error_of(capsys, *arguments):
    assert run(*arguments) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    return line


def test_bad_input_is_one_line(tmp_path, policy_file, capsys, monkeypatch):
    def error(*arguments):
        return error_of(capsys, "--output", tmp_path / "out", *arguments)

    assert "3s5z_vs_3s6z" in error("--map", "3s5z_vs_3s6")
    assert "needs --map or --checkpoint" in error()
    assert "attack_nearest" in error("--map", "3m", "--policy", "attack_nearst")
    assert "trained on 3m, not on 8m" in error("--checkpoint", policy_file, "--map", "8m")
    assert "leave out --policy" in error("--checkpoint", policy_file, "--policy", "random")
    assert "there is no such file" in error("--checkpoint", tmp_path / "missing.pt")
    assert "--stills" in error("--map", "3m", "--stills", "1,two")
    assert "--stills" in error("--map", "3m", "--stills=-1")
    assert "--seed" in error("--map", "3m", "--seed", "-1")
    assert ".gif or .mp4" in error("--map", "3m", "--output", tmp_path / "battle.avi")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "ffmpeg" in error("--map", "3m", "--output", tmp_path / "battle.mp4")
    assert not list(tmp_path.iterdir())


def test_damaged_and_foreign_checkpoints(tmp_path, policy_file, capsys):
    damaged = tmp_path / "damaged.pt"
    content = bytearray(policy_file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    damaged.write_bytes(content)
    assert "damaged.pt is damaged" in error_of(capsys, "--checkpoint", damaged)
    damaged.write_bytes(policy_file.read_bytes()[:1000])
    assert "damaged.pt is damaged" in error_of(capsys, "--checkpoint", damaged)

    saved = torch.load(policy_file)
    foreign = tmp_path / "foreign.pt"

    def error(state):
        torch.save(state, foreign)
        return error_of(capsys, "--checkpoint", foreign)

    assert "no policy.pt or checkpoint.pt" in error({"weights": {}})
    assert "unknown algorithm" in error(saved | {"config": saved["config"] | {"algorithm": "x"}})
    assert "version" in error(saved | {"config": saved["config"] | {"version": 99}})
    assert "does not fit" in error(saved | {"config": saved["config"] | {"map": "8m"}})
    assert "unknown backend 'x'" in error(saved | {"config": saved["config"] | {"backend": "x"}})


def test_unwritable_output(tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    message = error_of(capsys, "--map", "3m", "--output", tmp_path / "file" / "battle.gif")
    assert "cannot write" in message
