"""Recordings of battles of the game, from what its clients observe."""

import numpy as np
import pytest
import torch
from PIL import Image

from benchmark.commands import main
from benchmark.envs import make
from benchmark.training.config import resolve_run
from benchmark.training.seeding import RandomStreams
from benchmark.training.train import make_learner
from benchmark.visualization import pages, watch


@pytest.mark.clients
@pytest.mark.parametrize("name", ["MMM2", "zerg_5_vs_5"])
def test_a_battle_of_the_game_is_recorded(game, name):
    game()
    recording, player = watch.play_scripted(name, "focus_fire", 3, "starcraft2")
    assert player == "focus fire (scripted)"
    assert len(recording.snapshots) == recording.length + 1
    assert recording.result in ("allies win", "enemies win")
    np.testing.assert_array_equal(recording.walkable, make(name).walkable)
    fallen = np.sum([snapshot.died for snapshot in recording.snapshots], 0)
    np.testing.assert_array_equal(fallen, ~recording.snapshots[-1].units["alive"])
    struck = np.concatenate([shot.struck[shot.struck >= 0] for shot in recording.snapshots])
    assert (struck >= recording.spec.n_agents).any()  # our shots at enemies
    figure = pages.stills(recording, [1, recording.length], "a title")
    texts = [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))]
    assert any("stand-in for StarCraft II" in text for text in texts)


@pytest.mark.clients
def test_a_policy_of_the_simulator_fights_in_the_game(game, tmp_path, capsys):
    game()
    config = resolve_run(map="3m", algorithm="qmix", seed=3)
    learner = make_learner(config, RandomStreams(3), "cpu", make("3m").spec)
    path = tmp_path / "policy.pt"
    torch.save({"config": config.resolved(), "policy": learner.policy_state()}, path)
    arguments = ["watch", "--checkpoint", path, "--backend", "starcraft2"]
    assert main([*map(str, arguments), "--output", str(tmp_path / "out" / "battle.gif")]) == 0
    with Image.open(tmp_path / "out" / "battle.gif") as animation:
        assert animation.n_frames > 3


@pytest.mark.clients
def test_a_game_that_breaks_down_is_one_clear_line(game, capsys, tmp_path):
    game(faults="crash=40")
    arguments = ["watch", "--backend", "starcraft2", "--map", "3m", "--output", str(tmp_path)]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert "the game broke down in step" in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--backend", "starcraft3"), "unknown backend 'starcraft3'; did you mean starcraft2"),
        (("--backend", "starcraft2"), "StarCraft II 4.10 is not at"),
    ],
)
def test_mistakes_are_one_line(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.setenv("SC2PATH", str(tmp_path))
    assert main(["watch", "--map", "3m", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
