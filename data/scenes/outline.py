"""A mask in the two forms that COCO annotations know: polygons and run lengths."""

from typing import Any

import numpy as np


def run_lengths(mask: np.ndarray) -> dict[str, Any]:
    """Return a mask (H, W) bool as COCO's uncompressed RLE: lengths of runs down the columns, the first of zeros."""
    pixels = mask.ravel(order="F")
    ends = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    lengths = np.diff(np.concatenate([[0], ends, [pixels.size]]))
    start = [0] if pixels[0] else []
    return {"counts": start + lengths.tolist(), "size": list(mask.shape)}


def polygons(mask: np.ndarray) -> list[list[int]]:
    """Return polygons [x, y, x, y, ...] along pixel edges that together cover just the pixels of a mask (H, W) bool.

    COCO's polygons are filled and joined, so a hole cannot be cut out. The rows' runs of pixels are therefore chained
    downwards for as long as one run meets one run; where the shape forks or joins, new chains begin. A ring becomes
    four polygons: top, left, right and bottom.
    """
    open_chains: list[list[tuple[int, int, int]]] = []  # of (row, left, right)
    closed: list[list[tuple[int, int, int]]] = []
    for row, runs in enumerate(_runs(mask)):
        still_open = []
        for left, right in runs:
            above = [chain for chain in open_chains if _touch(chain[-1][1:], (left, right))]
            alone = len(above) == 1 and sum(_touch(above[0][-1][1:], run) for run in runs) == 1
            chain = above[0] if alone else []
            chain.append((row, left, right))
            still_open.append(chain)
        kept = {id(chain) for chain in still_open}
        closed += [chain for chain in open_chains if id(chain) not in kept]
        open_chains = still_open
    return [_outline(chain) for chain in closed + open_chains]


def _runs(mask: np.ndarray) -> list[list[tuple[int, int]]]:
    """Return the runs of set pixels of each row as (left, right), right exclusive."""
    rows, columns = np.nonzero(np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1))  # both ends of each run
    runs: list[list[tuple[int, int]]] = [[] for _ in mask]
    for row, left, right in zip(rows[::2].tolist(), columns[::2].tolist(), columns[1::2].tolist(), strict=True):
        runs[row].append((left, right))
    return runs


def _touch(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """True if two runs share a column."""
    return one[0] < other[1] and other[0] < one[1]


def _outline(chain: list[tuple[int, int, int]]) -> list[int]:
    """Return the outline of rows stacked without a gap: down the left side, up the right one."""
    outline: list[int] = []
    for row, left, _ in chain:
        outline += [left, row, left, row + 1]
    for row, _, right in reversed(chain):
        outline += [right, row + 1, right, row]
    return outline
