"""Records battles as evidence: the tables that the comparison reads.

A recording holds what SMAC's clients show: positions, health and shields of all units, cooldowns
and energy of the agents. On StarCraft II these are the client's units; the other backends give the
same for tests, and every row says where it comes from.
"""

from pathlib import Path
from typing import Any

import numpy as np

from benchmark import files
from benchmark.envs.playing import Player, play
from benchmark.envs.simulator.units import UNITS
from benchmark.envs.validation.evidence import Evidence, read_table
from benchmark.envs.validation.transitions import FIELDS
from benchmark.errors import BenchmarkError

#: Battles of each game between two writings of the table.
_ROUNDS = 10
_NAMES = np.array([unit.name for unit in UNITS])


def record(env, player: Player, episodes: int, seed: int, name: str, folder: Path) -> dict:
    """Plays battles and adds their steps to ``<map>_transitions.csv``, some battles at a time, so
    that what ends it loses little.

    Args:
        seed: of the first battle, its ``sequence`` in the table; later ones count up.
        name: of the player; the same battles of it that are in the table are replaced.

    Returns:
        what ``play`` returns.
    """
    path, parts, played = folder / f"{env.map.name}_transitions.csv", [], 0
    while played < episodes:
        frames: list[tuple] = []
        wanted = min(episodes - played, _ROUNDS * env.n_envs)
        parts.append(play(env, player, wanted, seed, frames))
        steps = steps_table(frames, env.map, name)
        merge(path, steps.assign(backend=source_of(env)), ["file", "sequence"])
        played, seed = played + wanted, int(steps["sequence"].max()) + 1
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def check(folder: Path, backend: str, policy: tuple[Path, str] | None = None) -> None:
    """Checks, before anything is played, that a recording can be added to a folder.

    Args:
        policy: a policy's file and its name there.

    Raises:
        BenchmarkError: the folder cannot be written or holds a damaged table, recordings of
            another backend, or another policy of the same name.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = files.reason(error)
        raise BenchmarkError(f"cannot write to {folder}: {reason}; choose another") from error
    for other in Evidence(folder).backends - {backend}:
        raise BenchmarkError(
            f"{folder} holds recordings of {other}; give recordings of {backend} a folder of their"
            " own, so that tests never pass for the game"
        )
    there = folder / "policies" / policy[1] if policy else None
    if policy and there and there.exists() and files.read(there) != files.read(policy[0]):
        raise BenchmarkError(f"{there} is another policy; rename {policy[0]}")


def steps_table(frames: list[tuple], one, name: str):
    """One row per env step, see ``FIELDS`` for the columns; ``sequence`` is a battle."""
    import pandas as pd

    battle, t, *of_steps, reward, last = zip(*frames, strict=True)
    before, actions, after = (np.concatenate(arrays) for arrays in (*of_steps, last))
    columns: dict[str, Any] = {
        "file": name, "sequence": np.concatenate(battle),
        "t": np.repeat(t, [len(one) for one in battle]), "reward": np.concatenate(reward),
    }  # fmt: skip
    for k in range(before.shape[1]):
        ally = k < one.n_agents
        unit = f"a{k}" if ally else f"e{k - one.n_agents}"
        if ally:
            columns[f"act{k}"] = actions[:, k]
        shown = {
            "hp": True, "cd": ally, "x": True, "y": True, "en": ally and one.healers,
            "sh": one.ally_shields if ally else one.enemy_shields, "type": one.type_bits > 0,
        }  # fmt: skip
        for column, field in FIELDS.items():
            for suffix, units in (("", before), ("_next", after)) if shown[column] else ():
                values = units[field][:, k]
                named = column == "type"
                columns[f"{unit}_{column}{suffix}"] = _NAMES[values] if named else values.round(4)
    return pd.DataFrame(columns).sort_values(["sequence", "t"])


def add_random(env, played: dict, folder: Path) -> None:
    """Puts a map's random play into ``random_play.csv``, in place of an earlier recording's."""
    n = len(played["won"])
    row = {
        "map": env.map.name, "condition": source_of(env), "episodes": n,
        "battle_won": played["won"].mean(), "dead_allies": played["dead_allies"].mean(),
        "dead_enemies": played["dead_enemies"].mean(), "ep_length": played["length"].mean(),
        "return": played["return"].mean(), "mean_eps": 1.0,
        "sem_length_over_points": played["length"].std() / n**0.5,
        "sem_return_over_points": played["return"].std() / n**0.5,
    }  # fmt: skip
    _add(folder / "random_play.csv", row, ["map", "condition"])


def add_policy(
    env, played: dict, path: Path, name: str, algorithm: str, network: str, folder: Path
) -> None:
    """Adds a policy's battles to ``policies.csv``, and its file as ``policies/<name>``."""
    files.write(files.read(path), folder / "policies" / name)
    row = {
        "file": name, "map": env.map.name, "algorithm": algorithm, "network": network,
        "real_win": played["won"].mean(), "real_source": f"{len(played['won'])} battles",
        "repository": env.spec.backend, "commit": env.spec.backend_version, "path": str(path),
    }  # fmt: skip
    _add(folder / "policies.csv", row, ["file", "map"])


def source_of(env) -> str:
    """Backend and version."""
    return f"{env.spec.backend} {env.spec.backend_version}"


def _add(path, row, keys):
    import pandas as pd

    merge(path, pd.DataFrame([row]), keys)


def merge(path: Path, rows, keys: list[str]) -> None:
    """Adds rows to a CSV in place of those with the same keys."""
    import pandas as pd

    if path.exists():
        old = read_table(path)
        new = set(rows[keys].itertuples(index=False, name=None))
        kept = [key not in new for key in old[keys].itertuples(index=False, name=None)]
        rows = pd.concat([old[kept], rows], ignore_index=True) if any(kept) else rows
    files.write(rows.to_csv(index=False), path)
