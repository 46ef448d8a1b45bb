"""The compiled recurrence of the world model against plain torch."""

import pytest
import torch

from algorithms.posterior_scan import PosteriorScan
from algorithms.world_model import WorldModel
from tests.algorithms.test_world_model import make_data, make_model


def weighted_gradients(model, data) -> dict[str, torch.Tensor]:
    """Gradients of a loss that weighs every row differently."""
    losses = model.losses(*data)
    rows = torch.arange(len(losses["kl"]), dtype=torch.float32)
    (losses["decoder"] @ rows + losses["kl"] @ rows.flip(0)).backward()
    return losses | {name: p.grad for name, p in model.named_parameters()}


@pytest.mark.parametrize("role_enters", ["memory", "prior"])
def test_equals_plain_torch_forwards_and_backwards(monkeypatch, role_enters):
    data = make_data()
    compiled = weighted_gradients(make_model(role_enters=role_enters), data)
    monkeypatch.setattr(WorldModel, "_compiled", lambda self, obs: False)
    monkeypatch.setattr(PosteriorScan, "apply", None)  # must not be called
    plain = weighted_gradients(make_model(role_enters=role_enters), data)
    assert compiled.keys() == plain.keys()
    for name, expected in plain.items():
        scale = float(expected.detach().abs().max())
        torch.testing.assert_close(compiled[name], expected, atol=2e-5 * scale, rtol=1e-4)


def test_draws_are_the_same_classes(monkeypatch):
    model, data = make_model(), make_data(5)
    with torch.no_grad():
        compiled = model.observe(*data)
        monkeypatch.setattr(WorldModel, "_compiled", lambda self, obs: False)
        plain = model.observe(*data)
    torch.testing.assert_close(compiled.latent, plain.latent)
    assert set(compiled.latent.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(compiled.log_probs, plain.log_probs)
    torch.testing.assert_close(compiled.memory, plain.memory)
