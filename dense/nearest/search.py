"""Exact search for the most similar rows of a bank that comes in blocks, by the same code on a CPU and a GPU.

Memory: similarities of QUERIES queries to a block at a time, and the best so far. Of rows that are equally similar the
earlier one is nearer, however the bank is cut into blocks: torch's topk alone takes any of them.
Letters: Q queries, N rows of the bank, n rows of a block, F features, k neighbours.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

QUERIES = 2048  # at once: with a block of 32,768 rows 270 MB of similarities


@dataclass(frozen=True)
class Keys:
    """Rows of the bank as they are multiplied with queries: made once, for all queries that look among them."""

    rows: Tensor  # (n, F)
    less: Tensor | None  # (n,), what is taken from the products

    @classmethod
    def of(cls, block: Tensor, distance: str) -> "Keys":
        """Take rows (n, F); the distance is `cosine` or `l2`."""
        if distance == "cosine":
            return cls(functional.normalize(block, dim=1), None)
        return cls(block, block.square().sum(1) / 2)  # -|q - b|^2 = 2 q.b - |b|^2 - |q|^2, the last of which is alike

    def similarity(self, queries: Tensor) -> Tensor:
        """Return how similar queries (Q, F) are, as (Q, n)."""
        found = queries @ self.rows.T
        return found if self.less is None else found.sub_(self.less)

    def best(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Return similarities and numbers of the k nearest rows of queries (Q, F), of equal ones the first ones."""
        return best(self.similarity(queries), k)


class Nearest:
    """The k nearest rows of each query among the blocks that were added, best first."""

    def __init__(self, queries: Tensor, k: int, distance: str) -> None:
        """Take queries (Q, F); the distance is `cosine` or `l2`, as that of the keys."""
        self.k = k
        self.queries = functional.normalize(queries, dim=1) if distance == "cosine" else queries
        self.similarity = queries.new_empty(len(queries), 0)  # (Q, k)
        self.rows = torch.empty(len(queries), 0, dtype=torch.int64, device=queries.device)  # (Q, k)

    def add(self, keys: Keys, start: int) -> None:
        """Look among a block, whose first row is row `start` of the bank; blocks come in the bank's order."""
        parts = [keys.best(some, self.k) for some in self.queries.split(QUERIES)]
        similarity = torch.cat([values for values, _ in parts])
        rows = torch.cat([columns for _, columns in parts]) + start
        # Earlier blocks stand first, and a stable sort leaves equal ones as they stand.
        both, order = torch.cat([self.similarity, similarity], 1).sort(dim=1, descending=True, stable=True)
        self.similarity = both[:, : self.k]
        self.rows = torch.cat([self.rows, rows], 1).gather(1, order[:, : self.k])


def best(similarity: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the k largest of each row of (Q, n), or all, and their columns, of equal ones the first ones first."""
    values, columns = similarity.topk(min(k + 1, similarity.shape[1]), dim=1)
    if values.shape[1] > k:  # where the first that is left out equals the last one, topk took any of them
        tied = values[:, k] == values[:, k - 1]
        values, columns = values[:, :k], columns[:, :k]
        if tied.any():
            order = similarity[tied].sort(dim=1, descending=True, stable=True)
            values[tied], columns[tied] = order.values[:, :k], order.indices[:, :k]
    return first_of_equals(values, columns)


def first_of_equals(values: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """Return values (Q, k) from the largest on, with their columns, of equal ones the first column first."""
    columns, order = columns.sort(dim=1)
    values, of_equal = values.gather(1, order).sort(dim=1, descending=True, stable=True)
    return values, columns.gather(1, of_equal)
