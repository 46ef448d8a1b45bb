"""Small networks are fastest on one thread; torch reads this when it is first imported."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
