"""The confusion matrix of a segmentation as a picture: what the pixels of each class were taken for, in percent."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from twinbench.protocols.house import replacing

MATRIX = "confusion.png"  # beside a result
SHOWN = 20  # classes
OTHERS = "all others"  # the column of all classes that are not shown
LONGEST = 24  # letters of a class's name
CELL, EDGE, LEAST = 0.36, 2.2, 4.5  # inches: side of a cell, room for the names, least width
LIGHT_FROM = 55  # percent: the colour of a cell is dark


def confused_classes(table: np.ndarray) -> list[int]:
    """Return the classes of the largest confusions, SHOWN of them, in their order; all that are known where few are.

    A confusion is a share of a class's pixels that were taken for another class. Both of its classes are shown.
    """
    shares = shares_of(table)
    np.fill_diagonal(shares, 0)
    known = np.flatnonzero(table.sum(axis=0) + table.sum(axis=1))
    if len(known) <= SHOWN:
        return known.tolist()
    chosen: dict[int, None] = {}
    for place in np.argsort(-shares, axis=None, kind="stable"):
        for each in np.unravel_index(place, shares.shape):
            if len(chosen) < SHOWN:
                chosen[int(each)] = None
    return sorted(chosen)


def shares_of(table: np.ndarray) -> np.ndarray:
    """Return the percent of each row's sum; zeros in a row without any."""
    sums = table.sum(axis=1, keepdims=True)
    return 100.0 * np.divide(table, sums, out=np.zeros(table.shape), where=sums > 0)


def draw_confusion(table: np.ndarray, classes: Sequence[str], path: Path) -> None:
    """Write a PNG of a table of counts (C, C), true class by predicted one; classes not shown are summed up."""
    shown = confused_classes(table)
    counts = table[np.ix_(shown, shown)]
    rest = table[shown].sum(axis=1) - counts.sum(axis=1)
    rows = [_short(classes[number]) for number in shown]
    columns = list(rows)
    if rest.any():
        counts = np.column_stack([counts, rest])
        columns.append(OTHERS)
    height, width = counts.shape
    figure = Figure(figsize=(max(width * CELL + EDGE, LEAST), height * CELL + EDGE), layout="constrained")
    axes = figure.add_subplot(xlabel="predicted class", ylabel="true class")
    axes.set_title(f"percent of each true class, {len(shown)} of {len(classes)} classes", fontsize=9)
    _draw_cells(axes, shares_of(counts))
    axes.set_xticks(range(width), columns, rotation=60, ha="right", rotation_mode="anchor", parse_math=False)
    axes.set_yticks(range(height), rows, parse_math=False)
    axes.tick_params(labelsize=8)
    if rest.any():
        axes.axvline(width - 1.5, color="black", linewidth=0.8)
    with replacing(path) as beside:
        figure.savefig(beside, format="png", dpi=100)


def _draw_cells(axes: Axes, cells: np.ndarray) -> None:
    """Colour each cell by its percentage, and write those that round to 1 or more into them."""
    axes.imshow(cells, cmap="Blues", vmin=0, vmax=100)
    for (row, column), value in np.ndenumerate(cells):
        if value >= 0.5:
            colour = "white" if value >= LIGHT_FROM else "black"
            axes.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=7, color=colour)


def _short(name: str) -> str:
    """Return a name of LONGEST letters at most."""
    return name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"
