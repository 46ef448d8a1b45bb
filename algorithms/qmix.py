"""QMIX (Rashid et al., ICML 2018; JMLR 2020): monotonic value factorisation.

Every agent has its own recurrent action values Q_i(history_i, a_i). A mixing network, whose weights
are non-negative and come from hypernetworks of the state, combines the values of the chosen actions
into Q_tot, so that what is greedy for each agent alone is greedy for the team:

    Q_tot(s, a) = f_s(Q_1(a_1), ..., Q_N(a_N)),   dQ_tot / dQ_i >= 0                  (eq. 5)
    L = mean over the batch's real steps of (Q_tot(s_t, a_t) - y_t)^2                 (eq. 6)
    y_t = r_t + gamma * Q_tot'(s_{t+1}, greedy a_{t+1})  with double-Q, see learner.py

``unified`` follows PyMARL's published QMIX: RMSprop with rate 5e-4, targets copied every 200
updates. ``released`` is the QMIX of R3DM's authors: rate 6e-4, torch's smaller epsilon, a copy
every 100 updates (their ``--use_hard_update False`` parses to True), and a target agent whose
GRU starts at the second observation. The paper's Table 1 gives hypernetworks of width 32; the
code that made its results has 64, which we use in both.
"""

from typing import Any, ClassVar

from pydantic import Field

from algorithms.learner import Learner, LearnerConfig
from algorithms.mixers import QMixer
from algorithms.networks import RecurrentAgent


class QMIX(Learner):
    """The shared learner with QMIX's mixer."""

    class Config(LearnerConfig):
        """Hyper-parameters of QMIX."""

        mixer_size: int = Field(32, gt=0)
        """Width of the mixing network."""
        hypernet_size: int = Field(64, gt=0)
        """Width of the hypernetworks' hidden layer."""

    RELEASED: ClassVar[dict[str, Any]] = {
        "learning_rate": 6e-4,
        "rmsprop_eps": 1e-8,
        "target_interval": 100,
        "target_first_step": 1,
    }

    def build(self) -> None:
        spec, config = self.spec, self.config
        input_size = spec.obs_size + spec.n_actions + spec.n_agents
        self.agent = RecurrentAgent(input_size, config.hidden_size, spec.n_actions)
        self.mixer = QMixer(spec.n_agents, spec.state_size, config.mixer_size, config.hypernet_size)
