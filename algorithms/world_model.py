"""The recurrent state-space model of R3DM: DreamerV3's dynamics (Hafner et al. 2023), small.

What an agent has seen and done is summed up by a deterministic state h ("deter") and a stochastic
one d ("stoch": 16 categorical variables of 16 classes, one-hot):

    deter       h[t] = GRU(h[t-1], d[t-1], a[t-1], z[t-1])             LayerNorm GRU
    posterior   d[t] ~ q(d | h[t], o[t])                               after observing o[t]
    prior       d[t] ~ p(d | h[t])                                     imagined
    decoder     symlog o[t] = f(h[t], d[t], z[t-1]) + error

    loss[t] = |f - symlog o[t]|^2 + 0.5 max(1, KL(sg q, p)) + 0.1 max(1, KL(q, sg p))

(R3DM's B.4; sg stops the gradient.) The role-conditioned model reads the role z as written here,
the role-agnostic one has none. The paper lets the role enter the prior instead of the GRU; that is
``role_enters="prior"``. Draws are straight-through; 1 % of every class's probability is uniform.

Sequences come packed (packing.py): M rows of real steps, each an agent at a step. Observations come
in symlog space (``symlog``). S variables, C classes, H width, O observation, A actions, Z role.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from algorithms import kernels

NORM_EPS = 1e-3  #: of every layer normalisation, as in DreamerV3
#: Standard deviation of a unit normal that is cut at two deviations.
_CUT_DEVIATION = 0.87962566103423978


@dataclass
class RSSMState:
    """The model's state of each row's agent."""

    deter: Tensor  #: h [M, H]
    stoch: Tensor  #: d, one-hot [M, S * C]
    log_probs: Tensor  #: of the distribution that d was drawn from, [M, S, C]

    def select(self, rows: Tensor) -> "RSSMState":
        """The states of some rows."""
        return RSSMState(self.deter[rows], self.stoch[rows], self.log_probs[rows])


class WorldModel(nn.Module):
    """One model of how observations follow from actions (and roles).

    Args:
        role_size: Z; 0 for the role-agnostic model.
        size: width of every layer, H.
        variables, classes: S and C.
        unimix: uniform share of every class probability.
        role_enters: "gru" as in the authors' code, "prior" as in the paper.
    """

    def __init__(
        self,
        obs_size: int,
        n_actions: int,
        role_size: int,
        *,
        size: int = 128,
        variables: int = 16,
        classes: int = 16,
        unimix: float = 0.01,
        role_enters: Literal["gru", "prior"] = "gru",
    ) -> None:
        super().__init__()
        self.size, self.variables, self.classes, self.unimix = size, variables, classes, unimix
        self.role_size, self.role_enters = role_size, role_enters
        width = variables * classes
        in_gru, in_prior = (role_size, 0) if role_enters == "gru" else (0, role_size)
        self.initial = nn.Parameter(torch.zeros(1, size))
        self.encoder = nn.Sequential(_layer(obs_size, size), _layer(size, size))
        self.input = _layer(width + n_actions + in_gru, size)
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
        self, obs: Tensor, actions: Tensor, roles: Tensor, sizes: list[int], uniforms: Tensor
    ) -> RSSMState:
        """States after each observation, d drawn from the posterior.

        Args:
            obs: symlog o[t], [M, O].
            actions: a[t-1], one-hot [M, A]; zero at the first step.
            roles: z[t-1], [M, Z]; zero at the first step. The role-agnostic model ignores them.
            sizes: rows of every step.
            uniforms: uniform in [0, 1), one per draw, [M, S].
        """
        gru_inputs = self._gru_input(actions, roles)
        from_deter, from_obs = self.posterior[0][0].weight.split(self.size, dim=1)
        from_obs = F.linear(self.encoder(obs), from_obs)
        scan = self._fused_scan if kernels.serve(obs.device) else self._scan
        return scan(gru_inputs, from_obs, uniforms, *self._initial(roles), from_deter, sizes)

    def _scan(
        self,
        gru_inputs: Tensor,
        from_obs: Tensor,
        uniforms: Tensor,
        deter: Tensor,
        stoch: Tensor,
        from_deter: Tensor,
        sizes: list[int],
    ) -> RSSMState:
        """The recurrence, step by step.

        Args:
            gru_inputs, from_obs: what does not depend on the states, [M, H].
            uniforms: one per draw, [M, S].
            deter, stoch: before the first step, [1, ...].
            from_deter: the posterior's weights that read h.
            sizes: rows of every step.
        """
        first, last = self.posterior[0], self.posterior[1]
        deter, stoch = deter.expand(sizes[0], -1), stoch.expand(sizes[0], -1)
        per_row = (gru_inputs, from_obs, uniforms)
        states = []
        for step in zip(*(rows.split(sizes) for rows in per_row), strict=True):
            gru_input, obs_part, step_uniforms = step
            count = len(gru_input)  # rows that are still running
            deter = self._deter_step(deter[:count], stoch[:count], gru_input)
            logs = self._log_probs(last(first[1:](F.linear(deter, from_deter) + obs_part)))
            stoch = draw(logs, step_uniforms)
            states.append((deter, stoch, logs))
        return RSSMState(*map(torch.cat, zip(*states, strict=True)))

    def _fused_scan(
        self,
        gru_inputs: Tensor,
        from_obs: Tensor,
        uniforms: Tensor,
        deter: Tensor,
        stoch: Tensor,
        from_deter: Tensor,
        sizes: list[int],
    ) -> RSSMState:
        """The same as one kernel."""
        from algorithms.kernels.posterior_scan import posterior_scan

        width = self.variables * self.classes
        weights = [
            self.input[0].weight[:, :width],
            *self.input[1].parameters(),
            *self.cell.parameters(),
            from_deter,
            *self.posterior[0][1].parameters(),
            *self.posterior[1].parameters(),
        ]
        deter, stoch, logits = posterior_scan(
            gru_inputs, from_obs, uniforms, deter[0], stoch[0], weights, sizes, self.unimix
        )
        return RSSMState(deter, stoch, self._log_probs(logits))

    def imagine(
        self, state: RSSMState, actions: Tensor, roles: Tensor, uniforms: Tensor
    ) -> RSSMState:
        """States one step later without its observation, d drawn from the prior.

        Args:
            state: after step t.
            actions: a[t], one-hot [M, A].
            roles: z[t], [M, Z].
            uniforms: as in ``observe``.
        """
        gru_input = self._gru_input(actions, roles)
        deter = self._deter_step(state.deter, state.stoch, gru_input)
        logs = self.prior_log_probs(deter, roles)
        return RSSMState(deter, draw(logs, uniforms), logs)

    def prior_log_probs(self, deter: Tensor, roles: Tensor) -> Tensor:
        """log p(d[t] | h[t]), [M, S, C]."""
        if self.role_enters == "prior":
            deter = torch.cat([deter, roles[:, : self.role_size]], dim=-1)
        return self._log_probs(self.prior(deter))

    def decode(self, state: RSSMState, roles: Tensor) -> Tensor:
        """The observation that a state stands for, in symlog space, [M, O]."""
        decoder_input = [state.stoch, state.deter, roles[:, : self.role_size]]
        return self.decoder(torch.cat(decoder_input, dim=-1))

    def losses(
        self,
        obs: Tensor,
        actions: Tensor,
        roles: Tensor,
        sizes: list[int],
        uniforms: Tensor,
        free_nats: float = 1.0,
    ) -> dict[str, Tensor]:
        """The parts of the loss, row by row: "decoder" and "kl", each [M]."""
        state = self.observe(obs, actions, roles, sizes, uniforms)
        posterior, prior = state.log_probs, self.prior_log_probs(state.deter, roles)
        to_prior = divergence(posterior.detach(), prior).clamp(min=free_nats)
        to_posterior = divergence(posterior, prior.detach()).clamp(min=free_nats)
        return {
            "decoder": squared_errors(self.decode(state, roles), obs),
            "kl": 0.5 * to_prior + 0.1 * to_posterior,
        }

    def _initial(self, roles: Tensor) -> tuple[Tensor, Tensor]:
        """h and d before the first step, [1, ...]: h is learned, d the prior's mode."""
        deter = self.initial.tanh()
        logs = self.prior_log_probs(deter, torch.zeros_like(roles[:1]))
        mode = F.one_hot(logs.argmax(-1), self.classes)
        return deter, (mode + logs - logs.detach()).flatten(1)

    def _gru_input(self, actions: Tensor, roles: Tensor) -> Tensor:
        """The part of the GRU's input that does not depend on d, [M, H]."""
        width = self.variables * self.classes
        if self.role_enters == "gru":
            actions = torch.cat([actions, roles[:, : self.role_size]], dim=-1)
        return F.linear(actions, self.input[0].weight[:, width:])

    def _deter_step(self, deter: Tensor, stoch: Tensor, gru_input: Tensor) -> Tensor:
        """h[t]; the reset gate acts on the candidate, and h changes slowly at first."""
        width = self.variables * self.classes
        features = self.input[1:](F.linear(stoch, self.input[0].weight[:, :width]) + gru_input)
        reset, candidate, update = self.cell(torch.cat([features, deter], dim=-1)).chunk(3, dim=-1)
        candidate = torch.tanh(torch.sigmoid(reset) * candidate)
        update = torch.sigmoid(update - 1)
        return update * candidate + (1 - update) * deter

    def _log_probs(self, logits: Tensor) -> Tensor:
        """Log-probabilities of the classes with their uniform share, [M, S, C]."""
        probs = logits.unflatten(-1, (self.variables, self.classes)).softmax(-1)
        return ((1 - self.unimix) * probs + self.unimix / self.classes).log()


def draw(log_probs: Tensor, uniforms: Tensor) -> Tensor:
    """Draws one class per variable, straight-through.

    Args:
        log_probs: [M, S, C].
        uniforms: uniform in [0, 1), [M, S].

    Returns:
        one-hot [M, S * C], with the gradient of the probabilities.
    """
    probs = log_probs.exp()
    drawn = (probs.detach().cumsum(-1) <= uniforms.unsqueeze(-1)).sum(-1)
    drawn = drawn.clamp(max=probs.shape[-1] - 1).unsqueeze(-1)
    codes = torch.zeros_like(probs).scatter(-1, drawn, 1)
    if probs.requires_grad:
        codes = codes + probs - probs.detach()
    return codes.flatten(1)


def squared_errors(decoded: Tensor, obs: Tensor) -> Tensor:
    """Squared errors of decoded observations [M, O], in symlog space, summed over features, [M]."""
    squares = (decoded - obs).square()  # below DreamerV3's tolerance they count as none
    return torch.where(squares < 1e-8, 0, squares).sum(-1)


def divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p, q) summed over variables, [M], of log-probabilities [M, S, C]."""
    return (log_p.exp() * (log_p - log_q)).sum((1, 2))


def symlog(x: Tensor) -> Tensor:
    """sign(x) log(1 + |x|): large values shrink, small ones stay."""
    return x.sign() * x.abs().log1p()


def symexp(x: Tensor) -> Tensor:
    """sign(x) (exp|x| - 1), the inverse of ``symlog``."""
    return x.sign() * x.abs().expm1()


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
