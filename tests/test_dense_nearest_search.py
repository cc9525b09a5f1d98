"""Exact search in blocks: against every row in float64, ties by the earlier row, blocks of any size."""

import numpy as np
import pytest
import torch

from twinbench.dense.nearest.search import QUERIES, Keys, Nearest


def rows(count, width=8, seed=0):
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def searched(queries, bank, k, distance="cosine", block=7):
    found = Nearest(queries, k, distance)
    for start in range(0, len(bank), block):
        found.add(Keys.of(bank[start : start + block], distance), start)
    return found


def reference(queries, bank, k, distance):
    """Return the k nearest by the formula, in float64; of equal ones the earlier row."""
    q, b = queries.double().numpy(), bank.double().numpy()
    if distance == "cosine":
        q, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (q, b))
        apart = 1 - q @ b.T
    else:
        apart = np.linalg.norm(q[:, None] - b[None], axis=2)
    return np.argsort(apart, axis=1, kind="stable")[:, :k]


@pytest.mark.parametrize("distance", ["cosine", "l2"])
@pytest.mark.parametrize("k", [1, 3, 10])
@pytest.mark.parametrize("block", [1, 7, 64, 500])
def test_it_finds_what_every_row_in_float64_says(distance, k, block):
    queries, bank = rows(40, seed=1), rows(300, seed=2) * torch.linspace(0.5, 2, 300)[:, None]
    np.testing.assert_array_equal(
        searched(queries, bank, k, distance, block).rows.numpy(), reference(queries, bank, k, distance)
    )


def test_similarities_are_cosines():
    queries, bank = rows(5, seed=1), rows(60, seed=2)
    found = searched(queries, bank, 4)
    expected = torch.cosine_similarity(queries[:, None], bank[found.rows], dim=2)
    torch.testing.assert_close(found.similarity, expected)


@pytest.mark.parametrize("block", [1, 2, 5, 40])
@pytest.mark.parametrize("k", [1, 2, 6])
def test_of_equal_rows_the_earlier_ones_are_nearer_however_the_bank_is_cut(block, k):
    kinds = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    bank = kinds[torch.tensor([2, 0, 1, 0, 0, 1, 0, 2, 0, 0, 0, 1] * 3)]
    alike = (bank == kinds[0]).all(1).nonzero()[:, 0]
    assert searched(kinds[:1], bank, k, block=block).rows.tolist() == [alike[:k].tolist()]


def test_more_queries_than_go_at_once_are_all_answered():
    bank = rows(50, 2, seed=2)
    queries = rows(QUERIES + 3, 2, seed=1)
    np.testing.assert_array_equal(searched(queries, bank, 1).rows.numpy(), reference(queries, bank, 1, "cosine"))
