"""Learning on a GPU: what can be known without one, and the comparison that needs one."""

import math
import os
import sysconfig

import pytest
import torch

from algorithms import ALGORITHMS, kernels
from tests.algorithms.official import EPISODES, NO_PRETRAINING, in_order, make
from tests.algorithms.parity import random_episodes

#: Switches on what a method leaves out on the small map.
CHANGES = {
    "emc": {"memory_weight": 0.1},
    "acorm": NO_PRETRAINING,
    "r3dm": NO_PRETRAINING | {"horizon": 2, "policy_steps": "all"},
}
CASES = [(name, protocol) for name in ALGORITHMS for protocol in ("unified", "released")]


def prepared(name: str, protocol: str, device: str):
    """A learner that has seen the episodes and is about to make its first TD step."""
    learner = make(ALGORITHMS[name], protocol, device=device, **CHANGES.get(name, {}))
    learner.on_collect(random_episodes(7, EPISODES), 50)
    return learner


class _Stream(torch.Generator):
    """A random stream of the CPU, whatever device is asked for."""

    def __new__(cls, device="cpu"):
        return super().__new__(cls)


@pytest.fixture
def meta(monkeypatch):
    """Fills in what torch's meta device lacks: random streams, and Adam in one kernel.

    It takes lists as indices, which a GPU waits for: they are copied there.
    """
    adam, take = torch.optim.Adam, torch.Tensor.__getitem__

    def taken(values: torch.Tensor, index):
        parts = index if isinstance(index, tuple) else (index,)
        assert not any(isinstance(part, list) for part in parts), f"a list as an index: {index}"
        return take(values, index)

    monkeypatch.setattr(torch.Tensor, "__getitem__", taken)
    monkeypatch.setattr(torch, "Generator", _Stream)
    monkeypatch.setattr(
        torch.optim, "Adam", lambda *given, fused=None, **more: adam(*given, **more)
    )


@pytest.mark.parametrize(("name", "protocol"), CASES)
def test_an_update_never_waits_for_the_gpu(meta, name, protocol):
    """On the meta device there is nothing to wait for: it has shapes, but no numbers.

    Whatever would read one back, or let a shape depend on one, or mix devices, raises an error.
    """
    learner, batches = prepared(name, protocol, "meta"), [in_order()] * ALGORITHMS[name].BATCHES
    for _ in range(2):
        learner.update(*batches)
    assert learner.updates == 2


@pytest.mark.parametrize("name", ALGORITHMS)
def test_only_the_hundredth_update_of_acorm_and_r3dm_waits(meta, monkeypatch, name):
    """For its clusters: as often as they are compared with those before."""
    asked = []

    def equal(*_):
        asked.append(name)
        return len(asked) == 3

    monkeypatch.setattr(torch, "equal", equal)
    learner, batches = prepared(name, "unified", "meta"), [in_order()] * ALGORITHMS[name].BATCHES
    if hasattr(learner, "contrast"):
        changes = {"contrastive_interval": 100, "clusters": 2}  # fewer than there are agents
        learner.config = learner.config.model_copy(update=changes)
    learner.updates = 99
    learner.update(*batches)
    assert len(asked) == (3 if name in ("acorm", "r3dm") else 0)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_acting_hands_cudnn_what_it_takes(meta, monkeypatch, name):
    """Of a state that is two networks' states too: cuDNN refuses one with gaps between its rows."""
    given = []
    run = torch.nn.GRU.forward
    monkeypatch.setattr(
        torch.nn.GRU, "forward", lambda gru, *tensors: given.extend(tensors) or run(gru, *tensors)
    )
    learner = prepared(name, "unified", "meta")
    spec, hidden = learner.spec, learner.initial_hidden(4)
    obs = torch.zeros(4, spec.n_agents, spec.obs_size, device="meta")
    last = torch.zeros(4, spec.n_agents, dtype=torch.int64, device="meta")
    for _ in range(2):
        _, hidden = learner.act(obs, last, hidden)
    assert given
    assert all(tensor.is_contiguous() for tensor in given)


def test_kernels_need_what_they_are_compiled_with(monkeypatch):
    card, serve = torch.device("cuda"), kernels.serve.__wrapped__
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(kernels, "version", lambda package: "3.6.0")
    monkeypatch.setenv("CC", "cc")
    assert serve(card)
    lacking = {
        "compute capability 8.0": (torch.cuda, "get_device_capability", lambda device: (7, 5)),
        "triton 3.6 or newer": (kernels, "version", lambda package: "3.5.1"),
        "a C compiler": (os, "environ", {"PATH": ""}),
        "Python's C headers in /nowhere": (sysconfig, "get_path", lambda *names: "/nowhere"),
    }
    for what, change in lacking.items():
        with monkeypatch.context() as patch:
            patch.setattr(*change)
            with pytest.warns(UserWarning, match=f"without {what}$"):
                assert not serve(card)


@pytest.mark.parametrize("reading", ["item", "nonzero", "mask", "cpu", "mix"])
def test_the_meta_device_tells(reading):
    values = torch.ones(3, device="meta")
    readings = {
        "item": lambda: values.sum().item(),
        "nonzero": lambda: values.nonzero(),
        "mask": lambda: values[values > 0],
        "cpu": lambda: values.cpu(),
        "mix": lambda: values + torch.ones(3),
    }
    with pytest.raises(RuntimeError):
        readings[reading]()


def draw_on_the_cpu(monkeypatch) -> None:
    """Gives every device the same random numbers."""
    monkeypatch.setattr(torch, "Generator", _Stream)
    for name in ("rand", "randperm", "randint"):
        original = getattr(torch, name)
        monkeypatch.setattr(
            torch,
            name,
            lambda *given, device="cpu", original=original, **more: original(*given, **more).to(
                device
            ),
        )


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize(("name", "protocol"), CASES)
def test_an_update_on_the_gpu_equals_the_cpus(monkeypatch, name, protocol):
    draw_on_the_cpu(monkeypatch)
    measured = {}
    for device in ("cpu", "cuda"):
        learner = prepared(name, protocol, device)
        for _ in range(3):
            learner.update(*[in_order()] * learner.BATCHES)
        measured[device] = learner.read_metrics()
    assert all(map(math.isfinite, measured["cpu"].values()))
    assert measured["cuda"] == pytest.approx(measured["cpu"], rel=2e-3, abs=1e-5)
