"""What the real clients said when they were recorded, the simulator says today.

``python -m tests.envs.starcraft2.record`` made the recordings; ``test_live`` asks again.
"""

import json

import numpy as np
import pytest

from benchmark.envs import MAPS
from benchmark.envs.starcraft2.installation import PACKAGES
from tests.envs.starcraft2.record import BATTLES, FOLDER, RECORDED
from tests.envs.starcraft2.reference import Observed, Reference, compare


@pytest.mark.parametrize("name", RECORDED)
@pytest.mark.parametrize("battle", range(len(BATTLES)))
def test_the_simulator_says_what_the_client_said(name, battle):
    with np.load(FOLDER / f"{name}.npz") as file:
        recorded = {
            key.removesuffix(str(battle)): file[key] for key in file if key.endswith(str(battle))
        }
    one = MAPS[name]
    reference = Reference(one, int(recorded["seed"]))
    for step, units in enumerate(recorded["units"]):
        if step == 0:
            expected = reference.begin(units, recorded["known"] if one.generated else None)
        else:
            expected = reference.step(units, recorded["actions"][step - 1])
        arrays = (recorded[key][step] for key in ("obs", "state", "available", "reward"))
        compare(Observed(*arrays, *recorded["ending"][step].tolist()), expected)
    assert expected.terminated
    assert expected.battle_won == (battle == 1)
    assert step > 3


def test_recordings_are_of_the_pinned_clients():
    about = json.loads((FOLDER / "about.json").read_text())
    assert {name: about[name] for name in PACKAGES} == {
        name: package.sha256 for name, package in PACKAGES.items()
    }
    assert {path.stem for path in FOLDER.glob("*.npz")} == set(RECORDED)
