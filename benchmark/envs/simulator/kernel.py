"""The compiled entry points: reset and step battles.

A step is one env step: eight game loops, then what the agents see. The parts are in ``spawn``,
``orders``, ``targeting``, ``combat``, ``movement``, ``outcome`` and ``observation``. Nothing here
or there touches more than one battle, so threads and batch size cannot change an episode.
"""

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmark.envs.simulator.combat import fly_missiles, regenerate, settle_explosions
from benchmark.envs.simulator.compiled import compiled, entry_point
from benchmark.envs.simulator.movement import move_all
from benchmark.envs.simulator.observation import (
    forget_enemies,
    shuffle_agents,
    write_available,
    write_observations,
    write_state,
)
from benchmark.envs.simulator.orders import NO_OP, act, obey_action, order_from_script
from benchmark.envs.simulator.outcome import UNDECIDED, WON, final_reward, reward_of, winner_of
from benchmark.envs.simulator.random import below, seed_streams
from benchmark.envs.simulator.spawn import pack, sort_agents, start_battle
from benchmark.envs.simulator.units import LOOPS_PER_STEP


class World(NamedTuple):
    """All that the kernel reads and changes."""

    units: np.ndarray  #: [B, U] records.UNIT_DTYPE
    battles: np.ndarray  #: [B] records.BATTLE_DTYPE
    known: np.ndarray  #: [B, E] int32, SMACv2: the agent that first saw each enemy, or -1
    last_actions: np.ndarray  #: [B, N] int32, -1 after a reset
    order: np.ndarray  #: [B, U] int32, scratch: who acts first in a loop
    types: np.ndarray  #: [9] units.TYPE_DTYPE
    rules: np.ndarray  #: [1] records.RULES_DTYPE
    layout: np.ndarray  #: [U] records.UNIT_DTYPE, the fixed start of a SMAC map
    walkable: np.ndarray  #: [32, 32] bool
    near_wall: np.ndarray  #: [32, 32] bool
    via: np.ndarray  #: [cells, cells] int16, see terrain.Terrain


class Output(NamedTuple):
    """The clients' view of the battles. A call writes the rows of the battles that it touches."""

    obs: np.ndarray  #: [B, N, O] float32
    state: np.ndarray  #: [B, S] float32
    available: np.ndarray  #: [B, N, A] bool
    reward: np.ndarray  #: [B] float32
    terminated: np.ndarray  #: [B] bool
    truncated: np.ndarray  #: [B] bool
    battle_won: np.ndarray  #: [B] bool
    dead: np.ndarray  #: [2, B] int32: allies, enemies


@compiled
def _reset_battle(b, seed, world):
    rules, battle, units = world.rules[0], world.battles[b], world.units[b]
    seed_streams(battle, seed)
    start_battle(units, battle, world.layout, world.types, rules, world.walkable)
    if not rules.generated:
        # In the recording of 3m enemies have walked one loop when the client first sees them, in
        # every battle of a process but its first.
        play_loop(units, battle, world.order[b], world)
        _remember_positions(units)
    battle.steps = 0
    battle.running = True
    if not rules.first_draw:
        battle.max_reward = rules.max_reward
    elif battle.max_reward == 0.0:
        life = 0.0
        for i in range(rules.n_agents, units.shape[0]):
            life += units[i].seen_life
        battle.max_reward = life + rules.death_value * rules.n_enemies + rules.win
    for k in range(rules.n_agents):
        world.last_actions[b, k] = -1
    for e in range(rules.n_enemies):
        world.known[b, e] = -1


@compiled
def play_loop(units, battle, order, world):
    """One game loop: everybody acts in random order, then all move, missiles fly, time passes."""
    types, rules = world.types, world.rules[0]
    n = units.shape[0]
    for k in range(n):  # a fresh shuffle (Fisher-Yates, inside out)
        j = below(battle, k + 1)
        order[k] = order[j]
        order[j] = k
    for k in range(n):
        if units[order[k]].alive:
            act(order[k], units, battle, types, rules, world.via)
    fly_missiles(units, types, rules)
    settle_explosions(units, types, rules)
    move_all(units, order, types, world.walkable, world.near_wall)
    for i in range(n):
        if units[i].alive:
            regenerate(units[i], types)


@compiled
def _step_battle(b, actions, world, out):
    types, rules = world.types, world.rules[0]
    battle, units, order = world.battles[b], world.units[b], world.order[b]
    n = rules.n_agents
    for i in range(units.shape[0]):
        units[i].attacked = False
        if i < n:
            world.last_actions[b, i] = actions[b, i]
        if not units[i].alive:
            continue
        if units[i].autonomous:
            if rules.generated:
                order_from_script(i, units, types, rules)
        elif i < n:
            obey_action(i, actions[b, i], units, types, rules)
    for _ in range(LOOPS_PER_STEP):
        play_loop(units, battle, order, world)
    write_outcome(b, world, out)


@compiled
def write_outcome(b, world, out):
    """Writes losses, reward and end of a step, as the client computes them from the units."""
    types, rules = world.types, world.rules[0]
    battle, units, n = world.battles[b], world.units[b], world.rules[0].n_agents
    battle.steps += 1
    _remember_positions(units)
    forget_enemies(units, world.known[b], rules)
    _clear_outcome(b, out)
    for i in range(units.shape[0]):
        out.dead[int(i >= n), b] += not units[i].alive
    winner = winner_of(units, types, rules)
    out.reward[b] = final_reward(reward_of(units, rules), winner, battle, rules)
    out.terminated[b] = winner != UNDECIDED
    out.truncated[b] = winner == UNDECIDED and battle.steps >= rules.limit
    out.battle_won[b] = winner == WON
    battle.running = not (out.terminated[b] or out.truncated[b])


@compiled
def _remember_positions(units):
    """The client keeps a dead unit where it saw it alive last."""
    for i in range(units.shape[0]):
        u = units[i]
        if u.alive:
            u.seen_x, u.seen_y = u.x, u.y
        else:
            u.x, u.y = u.seen_x, u.seen_y


@compiled
def _observe_battle(b, world, out):
    """Writes observation, state and availability."""
    rules, battle, order = world.rules[0], world.battles[b], world.order[b]
    if battle.steps == 0 and rules.generated and rules.wiped_observations:
        # SMACv2's reset builds all observations once before the learner asks for them, so that
        # every enemy in anybody's sight is known by then.
        shuffle_agents(battle, rules, order)
        observe(b, world, out)
    shuffle_agents(battle, rules, order)
    observe(b, world, out)


@compiled
def observe(b, world, out):
    """Writes observation, state and availability; the agents come in the order in ``world``."""
    types, rules, units = world.types, world.rules[0], world.units[b]
    obs, state, available = out.obs[b], out.state[b], out.available[b]
    obs[:] = 0.0
    state[:] = 0.0
    available[:] = False
    write_available(units, types, rules, world.walkable, available)
    write_observations(units, world.known[b], world.order[b], types, rules, available, obs)
    write_state(units, world.last_actions[b], types, rules, state)


@compiled
def _advance_battle(b, actions, world, out):
    """One env step of one battle, if it is still running.

    The step that ends a battle shows how it ended; from then on it shows zeros and allows no-op.
    """
    if world.battles[b].running:
        _step_battle(b, actions, world, out)
        _observe_battle(b, world, out)
    else:
        _clear_outcome(b, out)
        out.obs[b] = 0.0
        out.state[b] = 0.0
        out.available[b] = False
        out.available[b, :, NO_OP] = True


@compiled
def _clear_outcome(b, out):
    out.reward[b] = 0.0
    out.terminated[b] = out.truncated[b] = out.battle_won[b] = False
    out.dead[:, b] = 0


def source_digest() -> str:
    """Hash of all that is compiled into the entry points: this package, and sizes of the maps."""
    here = Path(__file__).parent
    digest = hashlib.sha256()
    for path in (here.parent / "maps.py", *sorted(here.glob("*.py"))):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _entry_points(digest: str):
    """The functions that Python calls.

    Numba's on-disk cache notices a changed entry function but not a changed callee; the digest is
    captured here because what a function captures is part of its key in the cache.
    """

    @entry_point()
    def arrange(layout, n_agents, types, walkable):
        """Spreads the units of a SMAC map around their spawn points and numbers the agents."""
        _ = digest
        pack(layout, types, walkable)
        sort_agents(layout, n_agents)

    @entry_point()
    def reset(seeds, chosen, world, out):
        """Restarts battles ``chosen[k]`` with ``seeds[k]``."""
        _ = digest
        for k in range(chosen.shape[0]):
            _reset_battle(chosen[k], seeds[k], world)
            _observe_battle(chosen[k], world, out)

    @entry_point()
    def step(actions, world, out, first, last):
        """Plays one env step in the battles ``first .. last - 1``."""
        _ = digest
        for b in range(first, last):
            _advance_battle(b, actions, world, out)

    return arrange, reset, step


arrange, reset_battles, step_battles = _entry_points(source_digest())


@entry_point()
def find_unavailable(actions, available, battles):
    """The first (battle, agent) of a running battle whose action is not available, or (-1, -1)."""
    n_battles, n_agents, n_actions = available.shape
    for b in range(n_battles):
        if not battles[b].running:
            continue
        for i in range(n_agents):
            action = actions[b, i]
            if not (0 <= action < n_actions and available[b, i, action]):
                return b, i
    return -1, -1
