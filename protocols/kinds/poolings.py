"""Attentive poolings by name: how learned queries gather an image's tokens into one row of numbers.

| name | what it is |
|---|---|
| `ep`, `ep-32` | efficient probing (arXiv:2506.10178): 32 queries, or as many as are said, on the tokens themselves |
| `capi` | CAPI's (arXiv:2502.08769): one query of heads of 64, keys and values with a bias |
| `aim`, `aim-12` | AIM's (arXiv:2401.08541): one query, or 12 heads of it, on tokens that a batch norm standardises |
| `jepa`, `jepa-16` | V-JEPA's (arXiv:2404.08471): a block of cross-attention and a perceptron, of one query |

Where no number of heads is said, they are 64 wide, as those of a usual vision transformer of that width.
"""

import re
from dataclasses import dataclass
from functools import cache
from typing import Literal, cast

from twinbench.protocols.ranges import Range

PoolingRule = Literal["ep", "capi", "aim", "jepa"]

EP_QUERIES = 32  # efficient probing's default, main_linprobe.py: --ep_queries
HEAD_WIDTH = 64
_NAMES = re.compile(r"(ep|aim|jepa)(?:-([1-9]\d{0,2}))?|(capi)")
_WORDS = "ep, ep-32 (its queries), capi, aim, jepa, or aim-12 and jepa-12 (their heads)"


@dataclass(frozen=True)
class PoolingForm:
    """What a name says: whose rule, and how many queries (ep) or heads (the others) it has."""

    rule: PoolingRule
    count: int | None  # None: as many heads of 64 as the tokens are wide

    @property
    def products(self) -> int:
        """Return how many square matrices of the tokens' width it learns."""
        return {"ep": 1, "capi": 2, "aim": 2, "jepa": 11}[self.rule]

    def directions(self, width: int) -> int:
        """Return how many weighted means it takes of an image's tokens of that width."""
        return self.count or max(1, width // HEAD_WIDTH)


@cache
def pooling_form(name: str) -> PoolingForm | None:
    """Return what a name of a pooling says; None for any other word."""
    told = _NAMES.fullmatch(name)
    if told is None:
        return None
    rule = cast("PoolingRule", told[1] or told[3])
    count = int(told[2]) if told[2] else None
    return PoolingForm(rule, EP_QUERIES if rule == "ep" and count is None else count)


POOLING = Range(lambda name: pooling_form(name) is not None, _WORDS)
