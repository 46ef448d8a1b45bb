"""Discounted sums over time, all steps at once."""

import torch
from torch import Tensor


def discounted_sums(values: Tensor, discount: float) -> Tensor:
    """S[t] = sum of discount**(k - t) * values[k] over k >= t, as one matrix product.

    Args:
        values: [T, B], zero on padding.
        discount: per step.

    Returns:
        [T, B].
    """
    step = torch.arange(len(values), device=values.device)
    later = step - step.unsqueeze(1)  # [t, k]: k - t
    weights = torch.where(later >= 0, discount ** later.clamp(min=0).to(values.dtype), 0)
    return weights @ values


def lambda_returns(
    reward: Tensor, future: Tensor, mask: Tensor, gamma: float, td_lambda: float
) -> Tensor:
    """TD(lambda) targets.

    G[t] = reward[t] + (1 - lambda) * future[t] + lambda * gamma * G[t + 1], and at an episode's
    last step G[t] = reward[t] + future[t].

    Args:
        reward: [T, B].
        future: discounted value of the next state, zero where it is terminal, [T, B].
        mask: false on padding, [T, B].
        gamma: discount per step.
        td_lambda: 0 gives one-step targets, 1 whole returns.

    Returns:
        [T, B], zero on padding.
    """
    goes_on = torch.cat([mask[1:], torch.zeros_like(mask[:1])])
    here = reward + future * (1 - td_lambda * goes_on)
    return discounted_sums(here.where(mask, 0), gamma * td_lambda)
