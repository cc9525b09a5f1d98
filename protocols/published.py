"""Published numbers, each with where it stands and what its source leaves unsaid.

published.csv beside this module holds one number a line: the task (a protocol's `published_as`), the metric under
twinbench's name, the method as its source calls it, the value in its metric's unit, the paper or repository, the place
in it, what a reader would need and the source does not say, and what it adds. Only numbers that were read at their
source are in it.
"""

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from twinbench.protocols.catalogue import PROTOCOLS
from twinbench.protocols.schema import Protocol

BARLOW_TWINS = "arXiv:2103.03230"  # Zbontar, Jing, Misra, LeCun, Deny
# Tasks whose numbers no metric of a protocol here is known to be: kept, so that they stand in nobody else's column.
UNMEASURED = frozenset(
    {
        "voc12_dense_retrieval_neco",  # by one of voc12-hummingbird's sizes: the source does not say which
        "imagenet_linear_vissl",  # by imagenet-layers-vissl, but of which of its seven heads the source does not say
    }
)
# By imagenet-linear, but after 300 epochs, one thing changed at a time: in no column beside the 1000 epochs of Table 1.
ABLATIONS = "imagenet_linear_300ep"


@dataclass(frozen=True)
class Published:
    """One number as somebody published it."""

    task: str
    metric: str
    method: str
    value: float  # in the unit of the metric
    paper: str  # arXiv:... or owner/repository
    where: str  # table, file or thread
    unsaid: str
    note: str

    @property
    def citation(self) -> str:
        """One line: where the number stands, what is not said there, what is."""
        unsaid = f"; not stated: {self.unsaid}" if self.unsaid else ""
        note = f"; {self.note}" if self.note else ""
        return f"published in {self.paper}, {self.where}{unsaid}{note}"


@cache
def published() -> tuple[Published, ...]:
    """Return every published number that is shipped."""
    with open(Path(__file__).with_name("published.csv"), encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    found: list[Published] = []
    for row in rows:
        value = float(row.pop("value"))
        found.append(Published(**row, value=value))
    return tuple(found)


def published_for(protocol: Protocol, source: str = "", task: str = "") -> list[Published]:
    """Return the published numbers of a protocol whose paper, place or method holds the text `source`.

    They are of its own task, or of another `task` that is measured by it. A protocol with overrides has none: its
    numbers answer another question.
    """
    if protocol.sets:
        return [entry for pair in protocol.members.values() for entry in published_for(pair, source, task)]
    if not protocol.published_as or protocol.overrides:
        return []
    wanted = source.casefold()
    found: list[Published] = []
    for entry in published():
        if entry.task == (task or protocol.published_as):
            texts = f"{entry.paper}, {entry.where}".casefold(), entry.method.casefold()
            if any(wanted in text for text in texts):
                found.append(entry)
    return found


def orphans() -> set[str]:
    """Return the tasks of published numbers that no protocol names and that are not known to have none."""
    measured = {pair.published_as for entry in PROTOCOLS.values() for pair in (entry, *entry.members.values())}
    return {entry.task for entry in published()} - measured - UNMEASURED - {ABLATIONS}
