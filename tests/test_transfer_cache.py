from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from convert.convention import IMAGENET_BGR
from convert.load import open_backbone
from protocols.schema import ImageTransform
from slurm.process import Process
from transfer import cache
from transfer.cache import cache_key, cached_features
from transfer.features import extract

CROP = ImageTransform(resize=32, crop=32, shape="center-crop")


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.setattr(cache, "BLOCK", 3)


@pytest.fixture(scope="module")
def backbone():
    return open_backbone("random", 0.125)


@pytest.fixture
def paths(tmp_path):
    draw, found = np.random.default_rng(0), []
    (tmp_path / "images").mkdir()
    for i in range(8):
        found.append(tmp_path / "images" / f"{i}.png")
        Image.fromarray(draw.integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(found[-1])
    return found


def features(folder, backbone, paths, process=None):
    return cached_features(folder, backbone, paths, CROP, "gap", process=process or Process(), workers=0)


def test_what_is_cached_is_what_is_extracted_and_it_is_mapped(backbone, paths, tmp_path):
    found = features(tmp_path / "cache", backbone, paths)
    np.testing.assert_allclose(found, extract(backbone, paths, CROP, "gap"), rtol=1e-4, atol=1e-4)
    assert isinstance(found, np.memmap)
    assert [path.name for path in (tmp_path / "cache").glob("*/*")] == ["features.npy"]


def test_a_second_call_extracts_nothing(backbone, paths, tmp_path, monkeypatch):
    first = np.array(features(tmp_path / "cache", backbone, paths))
    monkeypatch.setattr(cache, "extract", None)  # would fail if called
    np.testing.assert_array_equal(features(tmp_path / "cache", backbone, paths), first)


def test_a_killed_extraction_goes_on_with_the_blocks_that_are_missing(backbone, paths, tmp_path, monkeypatch):
    whole, calls = np.array(features(tmp_path / "whole", backbone, paths)), []

    def killed_at_the_third(*arguments, **keywords):
        calls.append(arguments[1])
        if len(calls) == 3:
            raise KeyboardInterrupt
        return extract(*arguments, **keywords)

    monkeypatch.setattr(cache, "extract", killed_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        features(tmp_path / "cut", backbone, paths)
    np.testing.assert_array_equal(features(tmp_path / "cut", backbone, paths), whole)
    assert [len(part) for part in calls] == [3, 3, 2, 2]  # the third was killed, and alone repeated


def test_the_key_sees_everything_that_changes_a_feature(backbone, paths):
    key = cache_key(backbone, paths, CROP, "gap", "fp32")
    assert key == cache_key(backbone, list(paths), CROP, "gap", "fp32")
    others = [
        cache_key(replace(backbone, sha256="0" * 64), paths, CROP, "gap", "fp32"),
        cache_key(replace(backbone, convention=IMAGENET_BGR), paths, CROP, "gap", "fp32"),
        cache_key(backbone, paths, replace(CROP, shape="squash"), "gap", "fp32"),
        cache_key(backbone, paths, CROP, "res5-avg6", "fp32"),
        cache_key(backbone, paths, CROP, "gap", "bf16"),
        cache_key(backbone, paths[:-1], CROP, "gap", "fp32"),
        cache_key(backbone, paths[::-1], CROP, "gap", "fp32"),
    ]
    paths[0].write_bytes(paths[0].read_bytes() + b"\0")
    assert len({key, cache_key(backbone, paths, CROP, "gap", "fp32"), *others}) == 9


def test_the_key_does_not_see_where_the_data_set_lies(backbone, paths, tmp_path):
    moved = tmp_path / "elsewhere"
    (tmp_path / "images").rename(moved)
    there = cache_key(backbone, sorted(moved.iterdir()), CROP, "gap", "fp32")
    moved.rename(tmp_path / "images")
    assert there == cache_key(backbone, paths, CROP, "gap", "fp32")
