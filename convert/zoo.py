"""The public checkpoints: addresses, networks, layouts, licences, documented hashes, published numbers.

zoo.csv beside this module holds one checkpoint a line, compiled from the authors' READMEs, hub files and model-zoo
pages, named in `source`. Nothing was downloaded when it was written down, so an address can have died and a layout can
differ; `load_backbone` goes by what a file holds.
"""

import csv
import difflib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from twinbench.protocols.house import UserError


class ZooError(UserError):
    """A checkpoint that the zoo does not know, cannot fetch, or whose bytes are not the documented ones."""


@dataclass(frozen=True)
class Entry:
    """One public checkpoint."""

    name: str
    method: str
    epochs: int | None
    top1: float | None  # ImageNet linear evaluation as published with this file, percent
    address: str
    layout: str  # as in convert.finding.layouts
    licence: str
    source: str
    hash: str = ""  # the start of a digest, as its authors give it: md5:59fd9945
    by_hand: bool = False  # no program can fetch it: it lies in a folder of a file service
    note: str = ""
    network: str = ""  # as in architectures.known, without the library
    input: str = ""  # of convention.CONVENTIONS, as its authors evaluate; none where every file of the layout has one


@cache
def zoo() -> dict[str, Entry]:
    """Return every entry by its name, in the order of the table."""
    with open(Path(__file__).with_name("zoo.csv"), encoding="utf-8", newline="") as file:
        return {row["name"]: _entry(row) for row in csv.DictReader(file)}


def _entry(row: dict[str, str]) -> Entry:
    """Read one line of the table."""
    numbers = {
        "epochs": int(row["epochs"]) if row["epochs"] else None,
        "top1": float(row["top1"]) if row["top1"] else None,
        "by_hand": row["by_hand"] == "yes",
    }
    return Entry(**{**row, **numbers})  # type: ignore[arg-type]


def entry_named(name: str) -> Entry:
    """Return the entry `name`, or raise a ZooError with the nearest names."""
    if name in zoo():
        return zoo()[name]
    near = difflib.get_close_matches(name, zoo(), n=3)
    hint = f"; near: {', '.join(near)}" if near else ""
    raise ZooError(f"zoo:{name}: the zoo has no such checkpoint{hint}; see twinbench zoo")
