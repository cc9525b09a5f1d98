"""Fixtures that tests of several rooms share."""

from pathlib import Path

import pytest

from data.scenes import make_scenes


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo scenes at their smallest, 20 images or so a split: imagenet, VOCdevkit, coco, inat, places."""
    root = tmp_path_factory.mktemp("data") / "scenes"
    make_scenes(root, seed=0, scale=0.02)
    return root
