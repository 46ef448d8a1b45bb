"""The recurrent state-space model of R3DM: DreamerV3's dynamics (Hafner et al. 2023), small.

An agent's life is modelled by a memory h and a discrete latent d (16 one-hot draws of 16 classes):

    memory      h[t] = GRU(h[t-1], d[t-1], a[t-1], z[t-1])             LayerNorm GRU
    posterior   d[t] ~ q(d | h[t], o[t])                               having seen o[t]
    prior       d[t] ~ p(d | h[t])                                     imagined
    decoder     symlog o[t] = f(h[t], d[t], z[t-1]) + error

    loss[t] = |f - symlog o[t]|^2 + 0.5 max(1, KL(sg q, p)) + 0.1 max(1, KL(q, sg p))

(R3DM's B.4; sg stops the gradient.) The role-conditioned model reads the role z as written here,
the role-agnostic one has none. The paper lets the role enter the prior instead of the memory; that
is ``role_enters="prior"``. Draws are straight-through, and 1 % of every class's probability is
uniform.

Sequences come packed (packing.py): M rows of real steps, each an agent at a step. Observations come
in symlog space (``symlog``). S latents, C classes, H memory, O observation, A actions, Z role.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NORM_EPS = 1e-3  #: of every layer normalisation, as in DreamerV3
#: Standard deviation of a unit normal that is cut at two deviations.
_CUT_DEVIATION = 0.87962566103423978


@dataclass
class Belief:
    """What the model holds of each row's agent."""

    memory: Tensor  #: h [M, H]
    latent: Tensor  #: d, one-hot [M, S * C]
    log_probs: Tensor  #: of the distribution that d was drawn from, [M, S, C]

    def select(self, rows: Tensor) -> "Belief":
        """The beliefs of some rows."""
        return Belief(self.memory[rows], self.latent[rows], self.log_probs[rows])


class WorldModel(nn.Module):
    """One model of how observations follow from actions (and roles).

    Args:
        role_size: Z; 0 for the role-agnostic model.
        size: width of every layer, H.
        latents, classes: S and C.
        unimix: uniform share of every class probability.
        role_enters: "memory" as in the authors' code, "prior" as in the paper.
    """

    def __init__(
        self,
        obs_size: int,
        n_actions: int,
        role_size: int,
        *,
        size: int = 128,
        latents: int = 16,
        classes: int = 16,
        unimix: float = 0.01,
        role_enters: Literal["memory", "prior"] = "memory",
    ) -> None:
        super().__init__()
        self.size, self.latents, self.classes, self.unimix = size, latents, classes, unimix
        self.role_size, self.role_enters = role_size, role_enters
        width = latents * classes
        in_memory, in_prior = (role_size, 0) if role_enters == "memory" else (0, role_size)
        self.initial = nn.Parameter(torch.zeros(1, size))
        self.encoder = nn.Sequential(_layer(obs_size, size), _layer(size, size))
        self.input = _layer(width + n_actions + in_memory, size)
        self.cell = nn.Sequential(
            nn.Linear(2 * size, 3 * size, bias=False), nn.LayerNorm(3 * size, eps=NORM_EPS)
        )
        self.prior = nn.Sequential(_layer(size + in_prior, size), nn.Linear(size, width))
        self.posterior = nn.Sequential(_layer(2 * size, size), nn.Linear(size, width))
        self.decoder = nn.Sequential(
            _layer(width + size + role_size, size), _layer(size, size), nn.Linear(size, obs_size)
        )
        self.apply(_initialise)
        for head in (self.prior[-1], self.posterior[-1], self.decoder[-1]):
            nn.init.xavier_uniform_(head.weight)

    def observe(
        self, obs: Tensor, actions: Tensor, roles: Tensor, sizes: list[int], noise: Tensor
    ) -> Belief:
        """Beliefs after each observation, drawn from the posterior.

        Args:
            obs: symlog o[t], [M, O].
            actions: a[t-1], one-hot [M, A]; zero at the first step.
            roles: z[t-1], [M, Z]; zero at the first step. The role-agnostic model ignores them.
            sizes: rows of every step.
            noise: uniform in [0, 1), one per draw, [M, S].
        """
        from_input = self._drive(actions, roles)
        first, last = self.posterior[0], self.posterior[1]
        from_memory, from_obs = first[0].weight.split(self.size, dim=1)
        from_obs = F.linear(self.encoder(obs), from_obs)
        memory, latent = self._start(sizes[0], roles)
        steps = zip(*(each.split(sizes) for each in (from_input, from_obs, noise)), strict=True)
        beliefs = []
        for driven, seen, lots in steps:
            rows = len(driven)
            memory = self._remember(memory[:rows], latent[:rows], driven)
            logs = self._log_probs(last(first[1:](F.linear(memory, from_memory) + seen)))
            latent = draw(logs, lots)
            beliefs.append((memory, latent, logs))
        return Belief(*(torch.cat(each) for each in zip(*beliefs, strict=True)))

    def imagine(self, belief: Belief, actions: Tensor, roles: Tensor, noise: Tensor) -> Belief:
        """Beliefs one step later without seeing it, drawn from the prior.

        Args:
            belief: after step t.
            actions: a[t], one-hot [M, A].
            roles: z[t], [M, Z].
            noise: as in ``observe``.
        """
        drive = self._drive(actions, roles)
        memory = self._remember(belief.memory, belief.latent, drive)
        logs = self.prior_log_probs(memory, roles)
        return Belief(memory, draw(logs, noise), logs)

    def prior_log_probs(self, memory: Tensor, roles: Tensor) -> Tensor:
        """log p(d[t] | h[t]), [M, S, C]."""
        seen = memory
        if self.role_enters == "prior":
            seen = torch.cat([memory, roles[:, : self.role_size]], dim=-1)
        return self._log_probs(self.prior(seen))

    def errors(self, belief: Belief, roles: Tensor, obs: Tensor) -> Tensor:
        """Squared errors of the decoded observation, in symlog space, summed over features, [M]."""
        known = [belief.latent, belief.memory, roles[:, : self.role_size]]
        decoded = self.decoder(torch.cat(known, dim=-1))
        squares = (decoded - obs).square()  # below DreamerV3's tolerance they count as none
        return torch.where(squares < 1e-8, 0, squares).sum(-1)

    def losses(
        self,
        obs: Tensor,
        actions: Tensor,
        roles: Tensor,
        sizes: list[int],
        noise: Tensor,
        free_nats: float = 1.0,
    ) -> dict[str, Tensor]:
        """The parts of the loss, row by row: "decoder" and "kl", each [M]."""
        belief = self.observe(obs, actions, roles, sizes, noise)
        posterior, prior = belief.log_probs, self.prior_log_probs(belief.memory, roles)
        to_prior = divergence(posterior.detach(), prior).clamp(min=free_nats)
        to_posterior = divergence(posterior, prior.detach()).clamp(min=free_nats)
        return {
            "decoder": self.errors(belief, roles, obs),
            "kl": 0.5 * to_prior + 0.1 * to_posterior,
        }

    def _start(self, rows: int, roles: Tensor) -> tuple[Tensor, Tensor]:
        """Memory and latent before the first step: learned, the latent being the prior's mode."""
        memory = self.initial.tanh()
        logs = self.prior_log_probs(memory, torch.zeros_like(roles[:1]))
        mode = F.one_hot(logs.argmax(-1), self.classes)
        latent = (mode + logs - logs.detach()).flatten(1)
        return memory.expand(rows, -1), latent.expand(rows, -1)

    def _drive(self, actions: Tensor, roles: Tensor) -> Tensor:
        """The part of the memory's input that does not depend on the latent, [M, H]."""
        width = self.latents * self.classes
        known = actions
        if self.role_enters == "memory":
            known = torch.cat([actions, roles[:, : self.role_size]], dim=-1)
        return F.linear(known, self.input[0].weight[:, width:])

    def _remember(self, memory: Tensor, latent: Tensor, drive: Tensor) -> Tensor:
        """One step of the memory; the candidate is reset, and forgetting is slow at first."""
        width = self.latents * self.classes
        features = self.input[1:](F.linear(latent, self.input[0].weight[:, :width]) + drive)
        reset, candidate, update = self.cell(torch.cat([features, memory], dim=-1)).chunk(3, dim=-1)
        candidate = torch.tanh(torch.sigmoid(reset) * candidate)
        update = torch.sigmoid(update - 1)
        return update * candidate + (1 - update) * memory

    def _log_probs(self, logits: Tensor) -> Tensor:
        """Log-probabilities of the classes with their uniform share, [M, S, C]."""
        probs = logits.unflatten(-1, (self.latents, self.classes)).softmax(-1)
        return ((1 - self.unimix) * probs + self.unimix / self.classes).log()


def draw(log_probs: Tensor, noise: Tensor) -> Tensor:
    """Draws one class per latent, straight-through.

    Args:
        log_probs: [M, S, C].
        noise: uniform in [0, 1), [M, S].

    Returns:
        one-hot [M, S * C], with the gradient of the probabilities.
    """
    probs = log_probs.exp()
    drawn = (probs.detach().cumsum(-1) <= noise.unsqueeze(-1)).sum(-1)
    drawn = drawn.clamp(max=probs.shape[-1] - 1).unsqueeze(-1)
    codes = torch.zeros_like(probs).scatter(-1, drawn, 1)
    if probs.requires_grad:
        codes = codes + probs - probs.detach()
    return codes.flatten(1)


def divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p, q) summed over latents, [M], of log-probabilities [M, S, C]."""
    return (log_p.exp() * (log_p - log_q)).sum((1, 2))


def symlog(x: Tensor) -> Tensor:
    """sign(x) log(1 + |x|): large values shrink, small ones stay."""
    return x.sign() * x.abs().log1p()


def _layer(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, outputs, bias=False), nn.LayerNorm(outputs, eps=NORM_EPS), nn.SiLU()
    )


def _initialise(module: nn.Module) -> None:
    """DreamerV3's: normal weights of fan-average scale, cut at two deviations; zero biases."""
    if isinstance(module, nn.Linear):
        deviation = (2 / (module.in_features + module.out_features)) ** 0.5 / _CUT_DEVIATION
        nn.init.trunc_normal_(module.weight, 0, deviation, -2 * deviation, 2 * deviation)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
