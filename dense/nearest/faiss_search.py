"""The same search by faiss (`twinbench dense --search faiss`), whose exact search keeps no block of similarities.

What faiss computes of two equal rows differs in the last bit by where they lie (1.15.1: of 768 numbers, 44 % of queries
among rows that were there many times), so it is asked for rows alone: their similarities are computed again, each by
itself, and where the first row that is left out is as similar as the last one up to rounding, the query is ours.
"""

from typing import Any, get_args

import torch
from torch import Tensor

from twinbench.dense.nearest.search import Keys, best, first_of_equals
from twinbench.dense.options import Search
from twinbench.dense.places import DenseError
from twinbench.protocols.house import optional, unknown

ROUNDING = 4 * 2**-24  # of a product of F numbers, times the root of F and both lengths: four times a random walk's


def keys_by(search: Search, device: str) -> type[Keys]:
    """Return the keys that are looked up so; DenseError where faiss is not installed, or would leave a GPU idle."""
    if search not in get_args(Search):
        raise DenseError(unknown("search", search, get_args(Search)))
    if search == "exact":
        return Keys
    if device != "cpu":
        raise DenseError(
            f"--search faiss: it runs on processors here, and this trial on {device}; expected --search exact, "
            "which searches there, or --device cpu"
        )
    _faiss()
    return FaissKeys


def _faiss() -> Any:
    """Return faiss, with as many threads as torch has."""
    faiss = optional("faiss", "faiss", "--search faiss", DenseError)
    faiss.omp_set_num_threads(torch.get_num_threads())
    return faiss


class FaissKeys(Keys):
    """Rows of the bank as faiss multiplies them with queries."""

    def best(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Return similarities and numbers of the k nearest rows of queries (Q, F), of equal ones the first ones."""
        if not len(self.rows):  # a piece whose images show no class: faiss, asked for none, fails
            return super().best(queries, k)
        rows = self.rows
        if self.less is not None:  # q.b - less = (q, 1).(b, -less)
            rows = torch.cat([rows, -self.less[:, None]], 1)
            queries = torch.cat([queries, queries.new_ones(len(queries), 1)], 1)
        asked = min(k + 1, len(rows))
        faiss = _faiss()
        products, numbers = faiss.knn(queries.numpy(), rows.numpy(), asked, faiss.METRIC_INNER_PRODUCT)
        values, columns = torch.from_numpy(products), torch.from_numpy(numbers)
        if asked > k:
            reach = queries.norm(dim=1) * rows.norm(dim=1).max()
            close = values[:, k - 1] - values[:, k] <= ROUNDING * rows.shape[1] ** 0.5 * reach
            columns = columns[:, :k].contiguous()
            if close.any():
                columns[close] = best(queries[close] @ rows.T, k)[1]
        again = [(queries * rows[column]).sum(1) for column in columns.T]
        return first_of_equals(torch.stack(again, 1), columns)
