"""The methods of the benchmark. This table is the only registry: one name, one class, one file."""

from algorithms.acorm import ACORM
from algorithms.learner import Learner
from algorithms.qmix import QMIX
from algorithms.r3dm import R3DM

ALGORITHMS: dict[str, type[Learner]] = {
    "qmix": QMIX,
    "acorm": ACORM,
    "r3dm": R3DM,
}
