"""The replay buffer: exact storage, exact zeros on padding, a ring that never mixes episodes."""

from dataclasses import fields

import numpy as np
import pytest
import torch

from benchmark.training.checkpoint import Checkpoints
from benchmark.training.replay import ReplayBuffer
from tests.algorithms.official import InOrder
from tests.algorithms.parity import SPEC, random_episodes


def stored(buffer: ReplayBuffer, number: int) -> dict[str, np.ndarray]:
    """The steps that episode ``number`` really has."""
    episodes = buffer.episodes(number, number + 1)
    length = int(episodes.length[0])
    return {
        "obs": episodes.obs[0, : length + 1],
        "state": episodes.state[0, : length + 1],
        "available": episodes.available[0, : length + 1],
        "actions": episodes.actions[0, :length],
        "reward": episodes.reward[0, :length],
        "terminated": episodes.terminated[0],
    }


def assert_holds(buffer: ReplayBuffer, number: int, episodes, index: int) -> None:
    for name, value in stored(buffer, number).items():
        expected = getattr(episodes, name)[index]
        assert np.array_equal(value, expected[: len(value)] if value.ndim else expected), name


def test_ring_keeps_the_latest_episodes_unmixed():
    episodes = random_episodes(3, 11)
    buffer = ReplayBuffer(SPEC, 4)
    buffer.add(episodes)
    assert len(buffer) == 4
    for number in range(7, 11):
        assert_holds(buffer, number, episodes, number)


def test_batches_hold_the_episodes_and_where_they_end():
    episodes = random_episodes(3, 8)
    buffer = ReplayBuffer(SPEC, 8)
    buffer.add(episodes)
    batch = buffer.sample(8, InOrder())
    assert 0 < episodes.terminated.sum() < 8
    assert len(set(episodes.length.tolist())) > 1
    assert len(batch.mask) == len(batch.obs) - 1 == len(batch.state) - 1 == episodes.length.max()
    for index, length in enumerate(episodes.length.tolist()):
        for name in ("obs", "state", "available"):
            expected = getattr(episodes, name)[index, : length + 1]
            assert np.array_equal(getattr(batch, name)[: length + 1, index], expected), name
        for name in ("actions", "reward"):
            expected = getattr(episodes, name)[index, :length]
            assert np.array_equal(getattr(batch, name)[:length, index], expected), name
        assert np.array_equal(
            batch.last_actions[1 : length + 1, index], batch.actions[:length, index]
        )
        assert (batch.last_actions[0, index] == -1).all()
        won_or_lost = episodes.terminated[index]
        end = [length - 1]
        assert batch.terminated[:, index].nonzero().flatten().tolist() == end * int(won_or_lost)
        assert batch.truncated[:, index].nonzero().flatten().tolist() == end * int(not won_or_lost)
        assert batch.mask[:, index].nonzero().flatten().tolist() == list(range(length))
    assert torch.equal(batch.mask_cpu, batch.mask)
    assert torch.equal(batch.mask_index, batch.mask.flatten().nonzero()[:, 0])
    assert batch.to(torch.device("cpu")) is batch
    parts = batch.split(3)
    assert [part.size for part in parts] == [3, 3, 2]
    for name in (field.name for field in fields(batch)):
        value = getattr(batch, name)
        along = min(1, value.dim() - 1)
        assert torch.equal(torch.cat([getattr(part, name) for part in parts], along), value), name


def test_stored_episodes_come_back_several_at_a_time():
    episodes = random_episodes(3, 8)
    buffer = ReplayBuffer(SPEC, 8)
    buffer.add(episodes)
    several = buffer.episodes(2, 6)
    assert several.length.tolist() == episodes.length[2:6].tolist()
    assert several.obs.shape[1] == several.actions.shape[1] == several.length.max() + 1
    for index, length in enumerate(several.length.tolist()):
        for name, more in (("obs", 1), ("state", 1), ("actions", 0), ("reward", 0)):
            held, expected = getattr(several, name)[index], getattr(episodes, name)[index + 2]
            assert np.array_equal(held[: length + more], expected[: length + more]), name
            assert not held[length + more :].any(), name
    assert buffer.episodes(3, 3).obs.shape[:2] == (0, 1)


def test_takes_what_was_played_and_is_not_zero():
    episodes = random_episodes(3, 4)
    whole = ReplayBuffer(SPEC, 8)
    whole.add(episodes)
    numbers = sum(
        (length + 1) * SPEC.n_agents * SPEC.obs_size * 4 for length in episodes.length.tolist()
    )
    assert numbers < whole.nbytes < 3 * numbers  # noise cannot be compressed
    episodes.obs[:, 1:, 1:] = 0
    mostly_zero = ReplayBuffer(SPEC, 8)
    mostly_zero.add(episodes)
    assert mostly_zero.nbytes < whole.nbytes - numbers / 2


def test_padding_is_exactly_zero_even_where_a_longer_episode_was():
    buffer = ReplayBuffer(SPEC, 4)
    for seed in range(6):
        buffer.add(random_episodes(seed, 3))
    batch = buffer.sample(4, np.random.default_rng(0))
    beyond = ~batch.mask
    assert beyond.any()
    assert (batch.actions[beyond] == 0).all()
    assert (batch.reward[beyond] == 0).all()
    assert (batch.last_actions[~batch.obs_mask_cpu] == -1).all()
    ends = batch.mask.sum(0)
    for episode, end in enumerate(ends):
        assert (batch.obs[end + 1 :, episode] == 0).all()
        assert (batch.state[end + 1 :, episode] == 0).all()
        assert not batch.available[end + 1 :, episode].any()
        assert (batch.obs[end, episode] != 0).any()


def test_the_action_after_the_end_is_the_only_trace_on_padding(tmp_path):
    episodes = random_episodes(3, 8)
    plain, buffer = ReplayBuffer(SPEC, 8), ReplayBuffer(SPEC, 8, final_action="stored")
    for one in (plain, buffer):
        one.add(episodes)
    Checkpoints(tmp_path).save({}, buffer)
    buffer = ReplayBuffer(SPEC, 8, final_action="stored")
    Checkpoints(tmp_path).load(buffer)
    expected, batch = plain.sample(8, InOrder()), buffer.sample(8, InOrder())
    for index, length in enumerate(episodes.length.tolist()):
        final = torch.from_numpy(episodes.actions[index, length]).long()
        assert np.array_equal(buffer.episodes(index, index + 1).actions[0, length], final)
        if length < len(batch.mask):
            expected.actions[length, index] = expected.last_actions[length + 1, index] = final
    assert (episodes.length < len(batch.mask)).sum() > 3
    for name in (field.name for field in fields(batch)):
        assert torch.equal(getattr(batch, name), getattr(expected, name)), name


@pytest.mark.parametrize("rule", ["correct", "shifted"])
def test_stale_tails_are_what_the_authors_arrays_hold(tmp_path, rule):
    """Their buffer writes over a slot as far as the new episode goes, and clears nothing."""
    capacity, limit, agents = 3, SPEC.episode_limit, SPEC.n_agents
    obs = np.zeros((capacity, limit + 1, agents, SPEC.obs_size), np.float32)
    last = np.full((capacity, limit + 1, agents), -1)
    buffer = ReplayBuffer(SPEC, capacity, rule, "stale")
    for number in range(14):
        episodes = random_episodes(number, 2)
        buffer.add(episodes)
        for index, length in enumerate(episodes.length.tolist()):
            slot = (2 * number + index) % capacity
            obs[slot, : length + 1] = episodes.obs[index, : length + 1]
            actions = episodes.actions[index, :length].astype(int)
            late = 1 if rule == "correct" else 2
            last[slot, late:length] = actions[: max(0, length - late)]
            last[slot, length] = actions[length - 1]
            last[slot, 1:late] = -1
        if number == 9:  # as if the run had been stopped here
            Checkpoints(tmp_path).save({}, buffer)
            buffer = ReplayBuffer(SPEC, capacity, rule, "stale")
            Checkpoints(tmp_path).load(buffer)
        batch = buffer.sample(len(buffer), InOrder())
        steps = int(batch.length.max())
        assert np.array_equal(batch.obs.transpose(0, 1), obs[: len(buffer), : steps + 1])
        assert np.array_equal(batch.last_actions.transpose(0, 1), last[: len(buffer), : steps + 1])
    shown = ~batch.obs_mask_cpu & (batch.obs != 0).flatten(2).any(-1)
    assert shown.any()


def test_sampling_is_without_replacement_and_uniform():
    buffer = ReplayBuffer(SPEC, 20)
    episodes = random_episodes(0, 20)
    episodes.reward[:, 0] = np.arange(20)
    buffer.add(episodes)
    rng = np.random.default_rng(0)
    draws = [sorted(buffer.sample(5, rng).reward[0].int().tolist()) for _ in range(2000)]
    assert all(len(set(draw)) == 5 for draw in draws)
    counts = np.bincount(np.concatenate(draws), minlength=20)
    assert abs(counts / 2000 - 0.25).max() < 0.04


def test_checkpoints_restore_a_wrapped_ring_and_delete_what_is_overwritten(tmp_path):
    buffer = ReplayBuffer(SPEC, 10)
    checkpoints = Checkpoints(tmp_path)
    for seed in range(9):
        buffer.add(random_episodes(seed, 3))
        checkpoints.save({"mark": seed}, buffer)
    assert len(list((tmp_path / "replay").iterdir())) <= 6
    restored = ReplayBuffer(SPEC, 10)
    state = Checkpoints(tmp_path).load(restored)
    assert state["mark"] == 8
    assert restored.added == buffer.added == 27
    for number in range(17, 27):
        for name, value in stored(buffer, number).items():
            assert np.array_equal(value, stored(restored, number)[name]), name
    one = buffer.sample(8, np.random.default_rng(2))
    two = restored.sample(8, np.random.default_rng(2))
    assert np.array_equal(one.obs.numpy(), two.obs.numpy())
    assert np.array_equal(one.terminated.numpy(), two.terminated.numpy())


def test_damaged_checkpoint_falls_back_to_the_one_before(tmp_path, caplog):
    buffer = ReplayBuffer(SPEC, 10)
    checkpoints = Checkpoints(tmp_path)
    for seed in range(3):
        buffer.add(random_episodes(seed, 3))
        checkpoints.save({"mark": seed}, buffer)
    damaged = bytearray(checkpoints.current.read_bytes())
    middle = len(damaged) // 2
    damaged[middle : middle + 256] = b"\xff" * 256
    checkpoints.current.write_bytes(damaged)
    restored = ReplayBuffer(SPEC, 10)
    again = Checkpoints(tmp_path)
    assert again.load(restored)["mark"] == 1
    assert restored.added == 6
    assert "damaged" in caplog.text
    assert "checkpoint.pt" in caplog.text
    # The good one stays until a newer good one is written.
    again.save({"mark": 5}, restored)
    assert Checkpoints(tmp_path).load(ReplayBuffer(SPEC, 10))["mark"] == 5
