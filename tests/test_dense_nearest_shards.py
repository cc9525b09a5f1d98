"""Shards of kept patches that somebody damaged or removed: one line that says which."""

import numpy as np
import pytest

from twinbench.dense.nearest import shards
from twinbench.dense.places import DenseError

DAMAGE = {
    "empty": lambda whole: b"",
    "cut in the header": lambda whole: whole[:50],
    "cut": lambda whole: whole[:-4],
    "foreign": lambda whole: b"PK\x03\x04" + whole[4:],
    "images": lambda whole: whole.replace(b"(3,", b"(4,", 1),
    "type": lambda whole: whole.replace(b"<f4", b"<i4").replace(b"<i8", b"<f8"),
    "open end": lambda whole: whole.replace(b"}", b"{", 1),  # of the header, on which numpy's tokenizer fails
    "cut after an image's length": lambda whole: whole[:136],
}
LENGTHS = {"below 0": -1, "of more than there is": 1 << 40, "of more than a number holds": (1 << 63) - 1}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("compress", [False, True])
def test_a_damaged_shard_is_told_in_one_line(tmp_path, damage, compress):
    images = list(np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32))
    shards.write_shard(tmp_path / "00000", images, compress=compress)
    (path,) = tmp_path.iterdir()
    np.testing.assert_array_equal(shards.read_image(tmp_path / "00000", 2, 3, (4, 5)), images[2])
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DenseError) as caught:
        shards.read_image(tmp_path / "00000", 2, 3, (4, 5))
    assert str(caught.value).startswith(f"{path}: damaged (")
    assert str(caught.value).endswith("; expected the patches of 3 images; remove it and run again")


@pytest.mark.parametrize("length", LENGTHS.values(), ids=LENGTHS)
def test_a_length_that_an_image_cannot_have_is_damage(tmp_path, length):
    shards.write_shard(tmp_path / "00000", [np.ones((4, 5), np.float32)] * 3, compress=True)
    (path,) = tmp_path.iterdir()
    content = path.read_bytes()
    path.write_bytes(content[:128] + length.to_bytes(8, "little", signed=True) + content[136:])
    with pytest.raises(DenseError, match=r"damaged \(its images do not fill it\)"):
        shards.read_image(tmp_path / "00000", 2, 3, (4, 5))


def test_a_shard_that_was_removed_meanwhile_is_told(tmp_path):
    with pytest.raises(DenseError, match="00000.npy: gone, and no 00000.zlib either; .* run again, and they are made"):
        shards.read_image(tmp_path / "00000", 2, 3, (4, 5))


def test_what_unpacks_to_more_than_an_image_is_damage(tmp_path):
    """And no more of it is unpacked: a few kilobytes may hold gigabytes."""
    shards.write_shard(tmp_path / "00000", [np.ones((4000, 5), np.float32)] * 3, compress=True)
    with pytest.raises(DenseError, match=r"damaged \(an image of another size\)"):
        shards.read_image(tmp_path / "00000", 2, 3, (4, 5))
