"""The compiled GRU is nn.GRU: outputs, gradients, packed sequences, extreme inputs."""

import copy

import numpy as np
import pytest
import torch
from numba import njit
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from algorithms.kernels import gru
from algorithms.kernels.gru import GRU
from algorithms.networks import RecurrentAgent

LENGTHS = torch.tensor([9, 9, 7, 4, 4, 1])


def pair(input_size: int, hidden_size: int) -> tuple[nn.GRU, GRU]:
    torch.manual_seed(input_size + hidden_size)
    reference = nn.GRU(input_size, hidden_size)
    ours = GRU(input_size, hidden_size)
    ours.load_state_dict(reference.state_dict())
    return reference, ours


def run(module: nn.GRU, inputs, hidden, weights: dict) -> dict[str, torch.Tensor]:
    """Outputs, and the gradients of a random linear function of them."""
    inputs = inputs.clone().requires_grad_()
    hidden = hidden.clone().requires_grad_()
    fed = pack_padded_sequence(inputs, LENGTHS) if weights["packed"] else inputs
    memory, last = module(fed, hidden)
    memory = memory.data if weights["packed"] else memory
    module.zero_grad()
    ((memory * weights["memory"]).sum() + (last * weights["last"]).sum()).backward()
    gradients = {f"d {name}": p.grad.clone() for name, p in module.named_parameters()}
    results = {"memory": memory, "last": last, "d inputs": inputs.grad, "d hidden": hidden.grad}
    return results | gradients


def assert_same(reference: nn.GRU, ours: GRU, steps: int, rows: int, packed: bool = False) -> None:
    inputs = torch.randn(steps, rows, ours.input_size)
    hidden = torch.randn(1, rows, ours.hidden_size)
    shape = (int(LENGTHS.sum()),) if packed else (steps, rows)
    weights = {
        "packed": packed,
        "memory": torch.randn(*shape, ours.hidden_size),
        "last": torch.randn(1, rows, ours.hidden_size),
    }
    expected = run(reference, inputs, hidden, weights)
    for name, value in run(ours, inputs, hidden, weights).items():
        error = (value - expected[name]).abs().max() / expected[name].abs().max()
        assert error < 2e-6, f"{name}: {error}"


@pytest.mark.parametrize(
    ("steps", "rows", "input_size", "hidden_size"),
    [(1, 6, 3, 4), (2, 1, 3, 1), (40, 7, 5, 9), (151, 24, 64, 64), (9, 64, 32, 128)],
)
def test_outputs_and_gradients_are_those_of_torch(steps, rows, input_size, hidden_size):
    assert_same(*pair(input_size, hidden_size), steps, rows)


def test_packed_sequences_are_those_of_torch():
    assert_same(*pair(5, 16), int(LENGTHS.max()), len(LENGTHS), packed=True)


def test_learning_and_acting_agree_without_gradient():
    _, ours = pair(4, 8)
    inputs, hidden = torch.randn(6, 3, 4), torch.randn(1, 3, 8)
    whole, _ = ours(inputs, hidden)
    with torch.inference_mode():
        for step in range(6):
            _, hidden = ours(inputs[step : step + 1], hidden)
            torch.testing.assert_close(hidden[0], whole[step], atol=1e-6, rtol=1e-6)


def test_a_second_backward_gives_the_same():
    _, ours = pair(4, 8)
    memory, _ = ours(torch.randn(6, 3, 4), torch.zeros(1, 3, 8))
    loss = memory.square().sum()
    first = torch.autograd.grad(loss, list(ours.parameters()), retain_graph=True)
    second = torch.autograd.grad(loss, list(ours.parameters()))
    assert all(torch.equal(one, two) for one, two in zip(first, second, strict=True))


def test_huge_inputs_saturate_and_nan_shows():
    reference, ours = pair(2, 4)
    inputs = torch.tensor([[[1e4, -1e4]], [[-1e30, 1e30]], [[0.0, 0.0]]])
    expected, _ = reference(inputs, torch.zeros(1, 1, 4))
    memory, _ = ours(inputs, torch.zeros(1, 1, 4))
    torch.testing.assert_close(memory, expected)
    inputs[1, 0, 0] = torch.nan
    assert ours(inputs, torch.zeros(1, 1, 4))[0][1:].isnan().all()


@pytest.mark.parametrize(("name", "exact"), [("tanh", np.tanh), ("expm1", np.expm1)])
def test_elementary_functions_are_exact_to_float32(name, exact):
    function = getattr(gru, name)

    @njit(error_model="numpy")
    def fill(x, y):
        for i in range(len(x)):
            y[i] = function(x[i])

    x = np.concatenate([np.linspace(-20, 20, 100_001), np.geomspace(1e-30, 80, 10_001)])
    x = np.concatenate([x, -x]).astype(np.float32)
    y = np.empty_like(x)
    fill(x, y)
    expected = exact(x.astype(np.float64))
    assert (abs(y - expected) <= 4e-7 * abs(expected)).all()


def test_agent_skips_padding_and_nothing_else_changes():
    torch.manual_seed(0)
    agent = RecurrentAgent(5, 8, 3)
    other = copy.deepcopy(agent)
    lengths = torch.tensor([4, 9, 1, 9, 2, 7])  # in no order
    real = torch.arange(11)[:, None] < lengths  # the last two steps are padding everywhere
    inputs, hidden = torch.randn(11, 6, 2, 5), torch.randn(6, 2, 8)
    weights = torch.randn(11, 6, 2, 3) * real[..., None, None]
    padded, _, _ = agent(inputs, hidden)
    values, last, _ = other(inputs, hidden, real)
    torch.testing.assert_close(values[real], padded[real], atol=1e-6, rtol=1e-5)
    assert (values[~real] == 0).all()
    for episode, length in enumerate(lengths):
        _, expected, _ = agent(inputs[:length, [episode]], hidden[[episode]])
        torch.testing.assert_close(last[[episode]], expected, atol=1e-6, rtol=1e-5)
    (padded * weights).sum().backward()
    (values * weights).sum().backward()
    for one, two in zip(agent.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(two.grad, one.grad, atol=1e-5, rtol=1e-5)
