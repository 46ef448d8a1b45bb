"""Small networks are fastest on one thread; Triton's kernels run in its interpreter without a card.

Torch and Triton read these when they are first imported. The user's cache folder stays untouched.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

import pytest

from benchmark import files


@pytest.fixture(autouse=True)
def cache_folder(tmp_path_factory, monkeypatch):
    """An empty one for every test."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr(files, "cache_folder", lambda: folder)
    return folder


def pytest_collection_modifyitems(items: list) -> None:
    """Tests that start whole workflows come first: several processes then end at the same time."""
    items.sort(key=lambda item: "workflow" not in item.path.parts)
