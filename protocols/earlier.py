"""The fingerprints that twinbench 0.1 gave to recipes which are the same today.

0.1 hashed the data set and one class for four SVM procedures along; since then a fingerprint is the recipe's alone. The
numbers did not change with it: results of schema 1 are read under today's fingerprint. earlier.csv holds only recipes
whose every number is what it was; what changed (CHANGELOG.md) stands apart, as another edition.
"""

import csv
from functools import cache
from pathlib import Path

from twinbench.protocols.catalogue import PROTOCOLS


def today(protocol: str, version: int, fingerprint: str) -> str:
    """Return today's fingerprint of a recipe of twinbench 0.1.

    The given one where it is none of those.
    """
    if (protocol, version, fingerprint) in _earlier() and protocol in PROTOCOLS:
        return PROTOCOLS[protocol].fingerprint
    return fingerprint


@cache
def _earlier() -> frozenset[tuple[str, int, str]]:
    """Return protocol, version and fingerprint as 0.1 wrote them."""
    with open(Path(__file__).with_name("earlier.csv"), encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return frozenset((row["protocol"], int(row["version"]), row["fingerprint"]) for row in rows)
