"""Battles of the game recorded as evidence for the comparison with the simulator."""

import pandas as pd
import pytest

from benchmark.commands import main
from benchmark.envs.validation import transitions


@pytest.mark.clients
@pytest.mark.parametrize("name", ["3m", "MMM2", "protoss_5_vs_5"])
def test_the_game_is_recorded(game, tmp_path, name):
    game()
    assert main(["record", "--map", name, "--episodes", "3", "--output", str(tmp_path)]) == 0
    row = pd.read_csv(tmp_path / "random_play.csv").iloc[0]
    assert row["condition"].startswith("standin 4.10")
    steps = pd.read_csv(tmp_path / f"{name}_transitions.csv")
    assert len(steps) == round(row["ep_length"] * 3)
    found = transitions.compare(steps, name, 32)
    here, ceiling = found["one"]["enemies"]
    assert here > ceiling - 0.15
    assert found["one"]["agents_off"][0] < 0.1
