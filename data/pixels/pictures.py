"""A sheet of images, a row each: the image, its true classes and its predicted ones in their colours; a legend."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from twinbench.data.pixels.pairs import UNLABELLED
from twinbench.protocols.house import replacing

SHOWN = 3  # best and as many worst images
TILE, MARGIN, LINE, LEGEND_COLUMN = 240, 6, 16, 150  # pixels; a column is wider where a name is
NOT_LABELLED = (224, 224, 224)
WIDTH = 3 * (TILE + MARGIN) + MARGIN

Colours = Sequence[tuple[int, int, int]]  # of each class, RGB


@dataclass(frozen=True)
class Shown:
    """One row: an image with its true and its predicted classes (H, W), UNLABELLED where there are none; or depths."""

    name: str
    image: Image.Image
    truth: np.ndarray
    predicted: np.ndarray
    score: float  # its own, the higher the better: mIoU in percent


def best_and_worst(scores: Sequence[float]) -> list[int]:
    """Return the SHOWN best images and the SHOWN worst ones, best first; all of them where there are few."""
    known = [index for index, score in enumerate(scores) if not np.isnan(score)]
    ranked = sorted(known, key=lambda index: -scores[index])
    if len(ranked) <= 2 * SHOWN:
        return ranked
    return ranked[:SHOWN] + ranked[-SHOWN:]


def draw_sheet(shown: Iterable[Shown], classes: Sequence[str], colours: Colours, path: Path) -> None:
    """Write a PNG with a row for each of `shown`, and a legend of the classes in them."""
    rows: list[Image.Image] = []
    seen: set[int] = set()
    for one in shown:
        tiles = (_painted(one.truth, colours), _painted(one.predicted, colours))
        rows.append(row_of(one, tiles, ("true classes", f"predicted, mIoU {one.score:.1f} %")))
        seen |= set(np.unique(one.truth).tolist()) | set(np.unique(one.predicted).tolist())
    legend = _legend(classes, colours, sorted(seen - {UNLABELLED}))
    paste_rows((*rows, legend), path)


def paste_rows(rows: Sequence[Image.Image], path: Path) -> None:
    """Write a PNG of rows below each other."""
    sheet = Image.new("RGB", (WIDTH, sum(row.height for row in rows) + MARGIN), "white")
    top = MARGIN
    for part in rows:
        sheet.paste(part, (0, top))
        top += part.height
    with replacing(path) as beside:
        sheet.save(beside, format="PNG", optimize=True)


def row_of(one: Shown, pair: tuple[Image.Image, Image.Image], words: tuple[str, str]) -> Image.Image:
    """Return one image's row, with its truth and its prediction painted, each under its words."""
    scale = TILE / max(one.image.size)
    size = (max(round(one.image.width * scale), 1), max(round(one.image.height * scale), 1))
    tiles = (
        one.image.resize(size, Image.Resampling.BICUBIC),
        *(tile.resize(size, Image.Resampling.NEAREST) for tile in pair),
    )
    row = Image.new("RGB", (WIDTH, size[1] + LINE + MARGIN), "white")
    pen = ImageDraw.Draw(row)
    for column, (tile, word) in enumerate(zip(tiles, (one.name, *words), strict=True)):
        place = MARGIN + column * (TILE + MARGIN)
        pen.text((place, 0), word, fill="black")
        row.paste(tile, (place, LINE))
    return row


def _painted(labels: np.ndarray, colours: Colours) -> Image.Image:
    """Return classes (H, W) in their colours."""
    table = np.array([*colours, NOT_LABELLED], np.uint8)  # UNLABELLED, -1, is the last
    return Image.fromarray(table[labels])


def _legend(classes: Sequence[str], colours: Colours, numbers: Sequence[int]) -> Image.Image:
    """Return the colours of the classes of these numbers with their names, and that of pixels without a label."""
    entries = [(classes[number], colours[number]) for number in numbers] + [("no label", NOT_LABELLED)]
    longest = max(ImageDraw.Draw(Image.new("RGB", (1, 1))).textlength(name) for name, _ in entries)
    width = min(max(LEGEND_COLUMN, int(longest) + 17 + MARGIN), WIDTH)
    columns = WIDTH // width
    legend = Image.new("RGB", (WIDTH, -(-len(entries) // columns) * LINE + MARGIN), "white")
    pen = ImageDraw.Draw(legend)
    for place, (name, colour) in enumerate(entries):
        row, column = divmod(place, columns)
        left, top = MARGIN + column * width, row * LINE
        pen.rectangle((left, top + 2, left + 11, top + 13), fill=colour, outline="black")
        pen.text((left + 17, top), name, fill="black")
    return legend
