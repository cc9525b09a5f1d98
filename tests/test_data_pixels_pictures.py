"""The pictures of a segmentation: which images and which classes they show, in which colours."""

from pathlib import Path

import numpy as np
from PIL import Image

from twinbench.data.pixels.colours import palette
from twinbench.data.pixels.matrix import SHOWN, confused_classes, draw_confusion, shares_of
from twinbench.data.pixels.pairs import UNLABELLED
from twinbench.data.pixels.pictures import LINE, MARGIN, TILE, Shown, best_and_worst, draw_sheet


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


def test_a_cell_is_as_dark_as_its_share(tmp_path: Path) -> None:
    """36 pixels a side: a diagonal of 100 percent is dark, and one of a half is not."""
    whole = dark(drawn(np.eye(4, dtype=int) * 9, tmp_path / "whole.png"))
    half = dark(drawn(np.eye(4, dtype=int) + np.roll(np.eye(4, dtype=int), 1, 1), tmp_path / "half.png"))
    assert whole > 4 * 30 * 30
    assert half < 30 * 30


def test_of_many_classes_the_picture_has_twenty_and_a_column_of_what_is_left_out(tmp_path: Path) -> None:
    twenty, many = (Image.open(drawn(np.eye(count, dtype=int), tmp_path / f"{count}.png")) for count in (20, 171))
    assert many.size == twenty.size
    chain = np.eye(60, dtype=int) + np.roll(
        np.eye(60, dtype=int), 1, 1
    )  # the last class shown is taken for another one
    assert Image.open(drawn(chain, tmp_path / "chain.png")).width > twenty.width


def test_names_are_words_and_no_formulas(tmp_path: Path) -> None:
    draw_confusion(np.eye(2, dtype=int), [r"$\broken{", "a$b$ " + "long " * 9], tmp_path / "named.png")
    assert Image.open(tmp_path / "named.png").width < 600


def sheet(path: Path, classes: list[str]) -> Image.Image:
    """A sheet of one image of 2 x 2 pixels: the first class and no label above the second class twice."""
    truth = np.array([[0, UNLABELLED], [1, 1]])
    shown = Shown("a", Image.new("RGB", (2, 2), "white"), truth, np.full((2, 2), 2), 12.5)
    draw_sheet([shown], classes, palette(3), path)
    return Image.open(path)


def test_a_row_shows_true_and_predicted_classes_in_their_colours(tmp_path: Path) -> None:
    drawn = sheet(tmp_path / "sheet.png", ["ground", "cat", "dog"])
    quarter = TILE // 4
    left, top = 2 * MARGIN + TILE, MARGIN + LINE  # of the true classes
    places = [(quarter, quarter), (3 * quarter, quarter), (quarter, 3 * quarter)]
    colours = [drawn.getpixel((left + x, top + y)) for x, y in places]
    assert colours == [(0, 0, 0), (224, 224, 224), (128, 0, 0)]  # VOC's first colours, and that of no label
    assert drawn.getpixel((left + TILE + MARGIN + quarter, top + quarter)) == (0, 128, 0)


def test_names_in_the_legend_have_room(tmp_path: Path) -> None:
    short = sheet(tmp_path / "short.png", ["ground", "cat", "dog"])
    long = sheet(tmp_path / "long.png", ["ground", "cat " * 60, "dog"])
    assert (short.width, long.height - short.height) == (long.width, 3 * LINE)  # four entries below each other


def test_the_best_and_the_worst_images_are_shown_best_first() -> None:
    scores = [50.0, 90.0, float("nan"), 10.0, 70.0, 30.0, 80.0, 20.0]
    assert best_and_worst(scores) == [1, 6, 4, 5, 7, 3]
    assert best_and_worst(scores[:4]) == [1, 0, 3]
