"""Batches that threads prepare are those that would be drawn without threads."""

import threading
from dataclasses import fields
from functools import partial

import numpy as np
import pytest
import torch

from benchmark.training import train
from benchmark.training.drawing import draw
from benchmark.training.protocol import RULES, Training
from benchmark.training.replay import Packed, ReplayBuffer
from benchmark.training.seeding import RandomStreams
from tests.algorithms.parity import SPEC, random_episodes
from tests.training.small import small_run, train_without_record

CPU = torch.device("cpu")
RULES_OF_FOUR = Training(**RULES["unified"] | {"batch_size": 4})
PURPOSES = ["replay", "further_replay"] * 3


@pytest.fixture
def replay() -> ReplayBuffer:
    buffer = ReplayBuffer(SPEC, 16)
    buffer.add(random_episodes(0, 16))
    return buffer


def drawn(replay, ahead, device=CPU):
    streams = RandomStreams(0)
    batches = list(draw(replay, RULES_OF_FOUR, streams, PURPOSES, device, ahead))
    return batches, streams.state()


def assert_same(one, other) -> None:
    for field in fields(one):
        assert torch.equal(getattr(one, field.name).cpu(), getattr(other, field.name).cpu())


@pytest.mark.parametrize("ahead", [1, 2, 5, 9])
def test_the_same_batches_from_the_same_streams(replay, ahead):
    expected, left = drawn(replay, 0)
    batches, left_by_threads = drawn(replay, ahead)
    assert left_by_threads == left
    assert len(batches) == len(PURPOSES)
    for one, other in zip(batches, expected, strict=True):
        assert_same(one, other)


def test_threads_work_while_a_batch_is_in_use(replay, monkeypatch):
    unpack, begun = replay.unpack, threading.Semaphore(0)

    def noted(chosen, pinned):
        begun.release()
        assert threading.current_thread() is not threading.main_thread()
        return unpack(chosen, pinned)

    monkeypatch.setattr(replay, "unpack", noted)
    batches = draw(replay, RULES_OF_FOUR, RandomStreams(0), PURPOSES, CPU, 2)
    next(batches)
    for _ in range(3):
        assert begun.acquire(timeout=10)
    assert not begun.acquire(timeout=0.1), "memory is taken for more batches than were allowed"
    batches.close()


def test_on_the_cpu_there_are_no_threads(replay):
    before = threading.active_count()
    batches = draw(replay, RULES_OF_FOUR, RandomStreams(0), PURPOSES, CPU)
    next(batches)
    assert threading.active_count() == before


def test_an_error_in_a_thread_ends_the_run(replay):
    replay.restore([Packed(b"damaged", 3, True, 3)] * 16)
    with pytest.raises(Exception, match=r"(?i)corrupt|decompress"):
        drawn(replay, 2)


def test_a_stopped_run_goes_on_to_the_same_bytes(tmp_path, monkeypatch):
    """One that draws ahead and is stopped, as one that does neither."""
    changes = {"budget": 800}
    train.train(small_run(**changes), tmp_path / "whole", device="cpu")
    monkeypatch.setattr(train, "draw", partial(draw, ahead=2))
    train_without_record(tmp_path / "stopped", monkeypatch, **changes | {"budget": 400})
    train.train(small_run(**changes), tmp_path / "stopped", device="cpu")
    whole, stopped = (tmp_path / name / "evaluations.parquet" for name in ("whole", "stopped"))
    assert whole.read_bytes() == stopped.read_bytes()
    weights = [
        torch.load(tmp_path / name / "policy.pt", weights_only=True)["policy"]
        for name in ("whole", "stopped")
    ]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_batches_arrive_on_a_busy_gpu(replay):
    """Also while the GPU is so busy that their copies wait, and memory is used again."""
    expected, _ = drawn(replay, 0)
    device, busy = torch.device("cuda"), torch.randn(4096, 4096, device="cuda")
    for _ in range(5):
        streams = RandomStreams(0)
        batches = draw(replay, RULES_OF_FOUR, streams, PURPOSES, device)
        for batch, other in zip(batches, expected, strict=True):
            assert batch.obs.is_pinned()
            busy @ busy @ busy
            moved = batch.to(device)
            copied = moved.obs.clone()
            assert_same(moved, other)
            assert np.array_equal(copied.cpu(), other.obs)
