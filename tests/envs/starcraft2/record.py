"""Records what the real clients say, for machines that do not have them.

    python -m tests.envs.starcraft2.record

plays two battles per map with the real smac and smacv2 against the stand-in, one by random actions
and one that is won, and writes ``tests/fixtures/parity/MAP.npz``: the units of every step, the
actions, and everything that the client says. ``about.json`` names the versions, and the clients'
central files by their SHA-256.
"""

import json
import os
import platform
import tempfile
from pathlib import Path

import numpy as np
from rich.progress import track

from benchmark.envs import MAPS, make
from benchmark.envs.starcraft2.installation import package_of
from benchmark.envs.starcraft2.standin.install import install
from tests.envs.starcraft2.battles import follow
from tests.envs.starcraft2.reference import SHOWN

FOLDER = Path(__file__).parents[2] / "fixtures" / "parity"
RECORDED = [name for name in MAPS if "3_vs_3" not in name]
#: (seed, policy, handicap of the enemies)
BATTLES = ((7, "random", 1.0), (8, "attack_nearest", 0.1))

#: One unit in one moment.
UNIT = np.dtype(
    [(name, "f4") for name in SHOWN]
    + [("type", "i1"), ("team", "i1"), ("alive", "?"), ("autonomous", "?")]
)


def main() -> None:
    """Records all maps."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    packages = {}
    for name in track(RECORDED):
        battles = [_record(name, *battle, packages) for battle in BATTLES]
        arrays = {f"{key}{k}": value for k, one in enumerate(battles) for key, value in one.items()}
        np.savez_compressed(FOLDER / f"{name}.npz", **arrays)
    packages["python"] = platform.python_version()
    (FOLDER / "about.json").write_text(json.dumps(packages, indent=2) + "\n")


def _record(name, seed, policy, handicap, packages) -> dict[str, np.ndarray]:
    with tempfile.TemporaryDirectory() as folder:
        game, journal = Path(folder, "game"), Path(folder, "journal")
        install(game, handicap=handicap, journal=journal)
        os.environ["SC2PATH"] = str(game)
        env = make(name, 1, "starcraft2")
        try:
            moments = list(follow(env, MAPS[name], journal, seed, policy))
            about = env.provenance()
            packages |= about["packages"] | {package_of(MAPS[name]): about["client_sha256"]}
        finally:
            env.close()
    units = np.zeros((len(moments), len(moments[0].truth["units"])), UNIT)
    for column in UNIT.names:
        units[column] = [moment.truth["units"][column] for moment in moments]
    seen = [moment.seen for moment in moments]
    return {
        "seed": np.array(seed),
        "units": units,
        "actions": np.array([moment.actions for moment in moments[1:]], np.uint8),
        "known": moments[0].known,
        "reward": np.array([one.reward for one in seen], np.float32),
        "ending": np.array([one[4:] for one in seen], np.int16),
        "obs": np.array([one.obs for one in seen]),
        "state": np.array([one.state for one in seen]),
        "available": np.array([one.available for one in seen]),
    }


if __name__ == "__main__":
    main()
