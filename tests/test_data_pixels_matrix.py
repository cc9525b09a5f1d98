"""The confusion matrix as a picture: which classes it shows, and what its cells say."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from twinbench.data.pixels.matrix import SHOWN, confused_classes, draw_confusion, shares_of


def dark(path: Path) -> int:
    """Return how many pixels have about the colour of 100 percent, matplotlib's last of Blues."""
    pixels = np.asarray(Image.open(path).convert("RGB"), int)
    return int((abs(pixels - (8, 48, 107)) < 12).all(axis=-1).sum())


def drawn(table: np.ndarray, path: Path) -> Path:
    draw_confusion(table, [f"class {number}" for number in range(len(table))], path)
    return path


def test_a_row_is_divided_by_the_pixels_of_its_class() -> None:
    shares = shares_of(np.array([[3, 1, 0], [0, 0, 0], [5, 0, 15]]))
    assert shares.tolist() == [[75, 25, 0], [0, 0, 0], [25, 0, 75]]


def test_few_classes_are_all_shown_but_for_those_that_no_pixel_is_or_was_taken_for() -> None:
    table = np.zeros((5, 5), int)
    table[0, 0], table[1, 4] = 7, 2
    assert confused_classes(table) == [0, 1, 4]


def test_of_many_classes_those_of_the_largest_confusions_are_shown() -> None:
    """Large in shares, not in pixels: class 0 is everywhere, and loses a hundredth of its pixels to class 1."""
    table = np.diag(np.full(150, 100))
    table[0, 0], table[0, 1] = 990_000, 10_000
    planted = [(140 - 2 * place, 3 + 2 * place) for place in range(SHOWN // 2)]
    for place, (true, taken_for) in enumerate(planted):
        table[true, taken_for] = 400 - 10 * place
    assert confused_classes(table) == sorted(number for pair in planted for number in pair)


@pytest.mark.parametrize("classes", [2, 150])
def test_a_cell_is_as_dark_as_its_share(tmp_path: Path, classes: int) -> None:
    """36 pixels a side: a diagonal of 100 percent is dark, and one of a half is not."""
    whole = dark(drawn(np.eye(classes, dtype=int) * 9, tmp_path / "whole.png"))
    half = dark(drawn(np.eye(classes, dtype=int) + np.roll(np.eye(classes, dtype=int), 1, 1), tmp_path / "half.png"))
    cells = min(classes, SHOWN)
    assert whole > cells * 30 * 30
    assert half < 30 * 30


def test_a_picture_of_many_classes_is_no_larger_than_one_of_twenty(tmp_path: Path) -> None:
    twenty, many = (Image.open(drawn(np.eye(count, dtype=int), tmp_path / f"{count}.png")) for count in (20, 171))
    assert many.size == twenty.size


def test_the_classes_that_are_left_out_have_a_column(tmp_path: Path) -> None:
    table = np.eye(60, dtype=int)
    table[:, 59] += 1  # every class is taken for the last one, too
    wide = Image.open(drawn(table, tmp_path / "wide.png"))
    table[:, 59] -= 1
    plain = Image.open(drawn(table, tmp_path / "plain.png"))
    assert wide.width == plain.width  # the last class is among those shown
    table[:59, 1:] += np.eye(59, dtype=int)  # a chain: those at the edge lose pixels to one that is not shown
    assert Image.open(drawn(table, tmp_path / "chain.png")).width > plain.width


def test_names_are_words_and_no_formulas(tmp_path: Path) -> None:
    draw_confusion(np.eye(2, dtype=int), [r"$\broken{", "a$b$ " + "long " * 9], tmp_path / "named.png")
    assert Image.open(tmp_path / "named.png").width < 600
