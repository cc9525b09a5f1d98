"""Exact search for the most similar rows of a bank that comes in blocks, by the same code on a CPU and a GPU.

Memory: similarities of QUERIES queries to a block at a time, and the best so far. Of rows that are equally similar the
earlier one is nearer, however the bank is cut into blocks: torch's topk alone takes any of them.
Letters: Q queries, N rows of the bank, n rows of a block, F features, k neighbours.
"""

import torch
from torch import Tensor
from torch.nn import functional

QUERIES = 2048  # at once: with a block of 32,768 rows 270 MB of similarities


class Nearest:
    """The k nearest rows of each query among the blocks that were added, best first."""

    def __init__(self, queries: Tensor, k: int, distance: str) -> None:
        """Take queries (Q, F); the distance is `cosine` or `l2`."""
        self.k, self.distance = k, distance
        self.queries = functional.normalize(queries, dim=1) if distance == "cosine" else queries
        self.similarity = queries.new_empty(len(queries), 0)  # (Q, k)
        self.rows = torch.empty(len(queries), 0, dtype=torch.int64, device=queries.device)  # (Q, k)

    def add(self, block: Tensor, start: int) -> None:
        """Look among the rows (n, F), whose first is row `start` of the bank; blocks come in the bank's order."""
        keys, less = block, None
        if self.distance == "cosine":
            keys = functional.normalize(block, dim=1)
        else:  # -|q - b|^2 = 2 q.b - |b|^2 - |q|^2, and |q|^2 is the same for all rows
            less = block.square().sum(1) / 2
        parts = [_best(_similarity(some, keys, less), self.k) for some in self.queries.split(QUERIES)]
        similarity = torch.cat([values for values, _ in parts])
        rows = torch.cat([columns for _, columns in parts]) + start
        # Earlier blocks stand first, and a stable sort leaves equal ones as they stand.
        both, order = torch.cat([self.similarity, similarity], 1).sort(dim=1, descending=True, stable=True)
        self.similarity = both[:, : self.k]
        self.rows = torch.cat([self.rows, rows], 1).gather(1, order[:, : self.k])


def _similarity(queries: Tensor, keys: Tensor, less: Tensor | None) -> Tensor:
    """Return how similar queries (Q, F) are to keys (n, F), as (Q, n)."""
    found = queries @ keys.T
    return found if less is None else found.sub_(less)


def _best(similarity: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the k largest of each row of (Q, n), or all, and their columns, of equal ones the first ones first."""
    k = min(k, similarity.shape[1])
    values, columns = similarity.topk(k, dim=1)
    tied = (similarity >= values[:, -1:]).sum(1) > k  # some that equal the last one are left out, and topk took any
    if tied.any():
        order = similarity[tied].sort(dim=1, descending=True, stable=True)
        values[tied], columns[tied] = order.values[:, :k], order.indices[:, :k]
    columns, order = columns.sort(dim=1)
    values, of_equal = values.gather(1, order).sort(dim=1, descending=True, stable=True)
    return values, columns.gather(1, of_equal)
