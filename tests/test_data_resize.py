"""OpenCV's resizing: what OpenCV 4.7.0 and 5.0.0 gave, typed here, and some of it by hand."""

import cv2
import numpy as np
import pytest

from twinbench.data.resize import resized


def slopes(height, width):
    """Return an image (h, w, 1) of slopes that run over at 256."""
    i, j = np.mgrid[:height, :width]
    return ((37 * i + 91 * j) % 256).astype(np.uint8)[..., None]


# cv2.resize(slopes(5, 7)[..., 0], (W, H), interpolation=cv2.INTER_LINEAR)
SMALLER = [[46, 174, 109, 108], [108, 11, 171, 74], [170, 73, 83, 135]]
TALLER = [[60, 17, 144], [82, 38, 165], [108, 64, 143], [135, 91, 47], [161, 117, 74], [187, 144, 100], [209, 165, 121]]
LARGER = [
    [0, 61, 131, 145, 17, 88, 158, 144, 34],
    [16, 77, 147, 162, 33, 104, 175, 160, 50],
    [39, 100, 163, 172, 56, 127, 189, 172, 73],
    [62, 123, 116, 71, 79, 150, 123, 89, 96],
    [85, 146, 103, 32, 103, 173, 102, 59, 120],
    [109, 169, 126, 55, 126, 196, 125, 82, 143],
    [132, 192, 149, 78, 149, 107, 84, 105, 166],
    [148, 209, 166, 94, 165, 37, 50, 121, 182],
]


@pytest.mark.parametrize("expected", [SMALLER, TALLER, LARGER], ids=["smaller", "taller", "larger"])
def test_pixels_are_opencvs(expected):
    found = resized(slopes(5, 7), len(expected), len(expected[0]))
    assert found[..., 0].tolist() == expected
    assert found.dtype == np.uint8


def test_exactly_half_the_size_is_the_mean_of_four():
    """As cv2.resize(slopes(4, 6)[..., 0], (3, 2)): the first is (0 + 91 + 37 + 128) / 4."""
    assert resized(slopes(4, 6), 2, 3)[..., 0].tolist() == [[64, 118, 172], [138, 64, 118]]


def test_two_pixels_become_four_by_hand():
    """Centres at -0.25, 0.25, 0.75 and 1.25: the outer ones have one neighbour."""
    two = np.array([[[0, 200], [100, 0]]], dtype=np.uint8)
    expected = [[0, 200], [25, 150], [75, 50], [100, 0]]
    assert resized(two, 1, 4)[0].tolist() == expected
    assert resized(two.transpose(1, 0, 2), 4, 1)[:, 0].tolist() == expected


def test_an_image_of_the_size_asked_for_stays():
    image = slopes(5, 7)
    assert resized(image, 5, 7).tolist() == image.tolist()


@pytest.mark.parametrize("seed", range(50))
def test_random_sizes_are_opencvs(seed):
    draw = np.random.default_rng(seed)
    h, w, height, width = draw.integers(1, 300, size=4).tolist()
    image = draw.integers(0, 256, size=(h, w, 3), dtype=np.uint8)
    theirs = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(resized(image, height, width), theirs.reshape(height, width, 3))
