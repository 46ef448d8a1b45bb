"""Small networks are fastest on one thread; Triton's kernels run in its interpreter without a card.

Torch and Triton read these when they are first imported.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")
