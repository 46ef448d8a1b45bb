"""The methods of the benchmark. This table is the only registry: one name, one class, one file."""

import os

from algorithms import plugins
from algorithms.acorm import ACORM
from algorithms.cds import CDS
from algorithms.cia import CIA
from algorithms.emc import EMC
from algorithms.gomarl import GoMARL
from algorithms.learner import Learner
from algorithms.qmix import QMIX
from algorithms.r3dm import R3DM

ALGORITHMS: dict[str, type[Learner]] = {
    "r3dm": R3DM,
    "qmix": QMIX,
    "acorm": ACORM,
    "cia": CIA,
    "gomarl": GoMARL,
    "cds": CDS,
    "emc": EMC,
}
ALGORITHMS |= plugins.methods(os.environ.get(plugins.VARIABLE, ""), taken=set(ALGORITHMS))
