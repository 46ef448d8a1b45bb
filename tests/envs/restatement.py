"""Observation, state and availability restated slowly and independently, from unit records."""

import math

import numpy as np

from benchmark.envs.simulator.units import UNITS

SHIELDS = {"stalker": 80, "zealot": 50, "colossus": 150}
COOLDOWNS = {
    "marine": 15, "marauder": 25, "stalker": 35, "zealot": 22, "colossus": 24, "hydralisk": 10,
    "zergling": 11, "baneling": 1,
}  # fmt: skip
SIGHT = {
    "stalker": 10, "zealot": 9, "colossus": 10, "zergling": 8, "baneling": 8, "hydralisk": 9,
    "marine": 9, "marauder": 10, "medivac": 11,
}  # fmt: skip
REACH = {
    "stalker": 6, "zealot": 2, "colossus": 7, "zergling": 2, "baneling": 2, "hydralisk": 5,
    "marine": 5, "marauder": 6, "medivac": 4,
}  # fmt: skip
SMACV2_TYPES = {
    "protoss": ["stalker", "zealot", "colossus"],
    "terran": ["marine", "marauder", "medivac"],
    "zerg": ["zergling", "hydralisk", "baneling"],
}
SMAC_TYPES = {"MMM2": (["marauder", "marine", "medivac"],) * 2}
for _name in ("2s3z", "3s5z", "3s5z_vs_3s6z"):
    SMAC_TYPES[_name] = (["stalker", "zealot"], ["zealot", "stalker"])


def restate(units, last_actions, walkable, name, n, n_actions):
    """What the client reports about one battle, without SMACv2's blanking of enemies.

    Returns:
        (obs [N, O], state [S], available [N, A]) as float lists in arrays.
    """
    kinds = [UNITS[u["type"]].name for u in units]
    race = name.split("_")[0]
    v2 = race in SMACV2_TYPES
    if v2:
        ally_types = enemy_types = SMACV2_TYPES[race]
    else:
        ally_types, enemy_types = SMAC_TYPES.get(name, ([], []))
    ally_shield = any(k in SHIELDS for k in kinds[:n]) or race == "protoss"
    enemy_shield = any(k in SHIELDS for k in kinds[n:]) or race == "protoss"
    medivacs = name == "MMM2" or race == "terran"

    def one_hot(kind, types):
        return [float(kind == other) for other in types]

    def life(j, shield):
        u, kind = units[j], kinds[j]
        row = [u["health"] / UNITS[u["type"]].health]
        return row + ([u["shield"] / SHIELDS[kind]] if shield else [])

    def can_move(x, y):
        x, y = int(x), int(y)
        return float(0 <= x < 32 and 0 <= y < 32 and walkable[x, y])

    available = []
    for i in range(n):
        u = units[i]
        if not u["alive"]:
            available.append([1.0] + [0.0] * (n_actions - 1))
            continue
        row = [0.0, 1.0]
        for dx, dy in ((0, 1), (0, -1), (1, 0), (-1, 0)):
            row.append(can_move(u["x"] + dx, u["y"] + dy))
        heals = medivacs and kinds[i] == "medivac"
        candidates = list(range(n)) if heals else list(range(n, len(units)))
        for j in candidates:
            distance = math.hypot(units[j]["x"] - u["x"], units[j]["y"] - u["y"])
            ok = units[j]["alive"] and distance <= (REACH[kinds[i]] if v2 else 6)
            row.append(float(ok and not (heals and kinds[j] == "medivac")))
        available.append(row + [0.0] * (n_actions - len(row)))

    obs = []
    for i in range(n):
        u = units[i]
        sight = SIGHT[kinds[i]] if v2 else 9
        row = available[i][2:6]
        for side, others, types, shield in (
            ("enemy", range(n, len(units)), enemy_types, enemy_shield),
            ("ally", [j for j in range(n) if j != i], ally_types, ally_shield),
        ):
            for j in others:
                dx, dy = units[j]["x"] - u["x"], units[j]["y"] - u["y"]
                distance = math.hypot(dx, dy)
                part = [available[i][6 + j - n] if side == "enemy" else 1.0]
                part += [distance / sight, dx / sight, dy / sight]
                part += life(j, shield) if units[j]["alive"] else [0.0] * (1 + shield)
                part += one_hot(kinds[j], types)
                seen = units[j]["alive"] and distance < sight
                row = row + (part if seen else [0.0] * len(part))
        own = life(i, ally_shield)
        if v2:
            own += [u["x"] / 32, u["y"] / 32]
        row = row + own + one_hot(kinds[i], ally_types)
        obs.append(row if u["alive"] else [0.0] * len(row))

    state = []
    for j, u in enumerate(units):
        ally = j < n
        shield, types = (ally_shield, ally_types) if ally else (enemy_shield, enemy_types)
        part = life(j, shield)
        position = [(u["x"] - 16) / 28, (u["y"] - 16) / 28]  # 28: of the playable area
        clock = []
        if ally:
            medic = kinds[j] == "medivac"
            clock = [u["energy"] / 200 if medic else max(u["cooldown"], 0) / COOLDOWNS[kinds[j]]]
        part = part[:1] + clock + position + part[1:] + one_hot(kinds[j], types)
        state += part if u["alive"] else [0.0] * len(part)
    for action in last_actions:
        state += [float(a == action) for a in range(n_actions)]
    return np.array(obs), np.array(state), np.array(available)
