"""Fixtures that tests of several rooms share."""

import os
from pathlib import Path

# Before torch is imported, and for the processes that tests start: on small work, threads wait for each other more
# than they compute.
os.environ["OMP_NUM_THREADS"] = "1"

import pytest

from data.scenes import make_scenes


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo scenes at their smallest, 20 images or so a split: imagenet, VOCdevkit, coco, inat, places."""
    root = tmp_path_factory.mktemp("data") / "scenes"
    make_scenes(root, seed=0, scale=0.02)
    return root
