"""One job of a suite: what it runs, what it needs, and whether what it makes is there and is what the suite says now.

Files are the truth: a job is done when what it makes is there and was made as the suite says now; the report, when its
table was made of what the trials are now.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

from twinbench.protocols.identity import NOT_RECORDED
from twinbench.protocols.pretraining import PretrainRecipe
from twinbench.protocols.schema import Protocol
from twinbench.protocols.text import TextError, read_json
from twinbench.report.files import absent
from twinbench.suite.backbone import PRODUCT, Made, read_made
from twinbench.suite.cluster import Cluster
from twinbench.suite.measured import read_measured
from twinbench.suite.standing import (
    NO_MORE,
    NOT_THERE,
    UNRECORDED,
    UNTOLD,
    Standing,
    as_identity,
    measured_causes,
    measured_from,
    origin,
    pretrained_of,
    recorded_parts,
)

RESULT = "result.json"
REPORT = "report"  # the name of the job that writes the table, and its folder
TABLE = "table.json"  # which says there what the table was made of
PRODUCTS = {"pretrain": PRODUCT, "convert": PRODUCT, "trial": RESULT, "report": TABLE}
BACKBONES = ("pretrain", "convert")  # the kinds of job that make one


def nothing() -> dict[str, str]:
    """Say that a job is made of nothing in particular."""
    return {}


@dataclass(frozen=True)
class Job:
    """One command of the suite. `name` is its folder below the suite's root."""

    name: str
    kind: Literal["pretrain", "convert", "trial", "report"]
    argv: tuple[str, ...]  # after `twinbench`
    out: Path
    parts: Callable[[], Mapping[str, str]] = field(default=nothing, repr=False, compare=False)  # see expected.py
    needs: tuple[str, ...] = ()  # names of jobs that must be done before
    after: tuple[str, ...] = ()  # names of jobs that should have ended before, well or not
    features: tuple[object, ...] = ()  # what its features are of; equal ones are extracted once
    gpus: int = 1  # processes, one on each GPU; 0: needs none
    nodes: int = 1
    minutes: int = 1440
    cluster: Cluster = field(default_factory=Cluster, repr=False, compare=False)
    backbone: "Job | None" = field(default=None, repr=False, compare=False)  # that makes what a trial measures
    trial: tuple[str, str] = ("", "")  # method and protocol
    protocol: Protocol | None = field(default=None, repr=False)
    recipe: PretrainRecipe | None = field(default=None, repr=False)
    length: tuple[str, int] = ("", 0)  # the field of its log that counts, and where it ends

    def made_of(self) -> dict[str, str]:
        """Return the parts of the job's identity, with the backbone that a trial finds when it starts."""
        return self._made_from(self._made())

    def _made(self) -> Made | None:
        """Return what the job that a trial's backbone comes from has made."""
        return read_made(self.backbone.out) if self.backbone else None

    def _made_from(self, made: Made | None) -> dict[str, str]:
        """Return the parts of the job's identity, with the backbone `made`."""
        return {**self.parts(), "backbone": made.identity} if made else dict(self.parts())

    @property
    def identity(self) -> str:
        """What the job is made of as one text, for its record."""
        return json.dumps(self.made_of(), sort_keys=True)

    @cached_property
    def product(self) -> Path:
        """The file whose presence ends the job."""
        return self.out / PRODUCTS[self.kind]

    def is_there(self) -> bool:
        """Say whether the job's product is there, whatever it was made of; asked of thousands, without a Path each."""
        return os.path.exists(f"{self.out}/{PRODUCTS[self.kind]}")

    def done(self) -> bool:
        """True if the job's product is there and is what the suite says now."""
        return self.standing().done

    def standing(self) -> Standing:
        """Return how the job's product stands to what the suite says now."""
        if self.kind == "trial":
            return self._measured()
        if not self.product.exists():
            return NOT_THERE
        if self.kind == "report":
            return table_standing(self, self.parts())
        return Standing(True, self.origin())

    def origin(self) -> dict[str, str]:
        """Return what the backbone that this job once made was made of and should not have been."""
        made = read_made(self.out)
        theirs = pretrained_of(self.out) or (made.made_of if made else recorded_parts(self.out))
        return origin(self.parts(), theirs)

    def _measured(self) -> Standing:
        """Return how the trial's result stands; one that nobody can read is none, with a problem."""
        result = read_measured(f"{self.out}/{RESULT}")
        if not result:
            return NOT_THERE
        if result.problem:
            return Standing(False, problem=result.problem)
        made = self._made()
        parts = self._made_from(made)
        causes = measured_causes(result, as_identity(parts), made)
        if self.backbone and made and (older := self.backbone.origin()):
            causes["backbone"] = f"{self.backbone.name} is {'; '.join(older.values())}"
        if not causes:
            causes = measured_from(self.out, parts.get("checkpoint", ""))
        found = result.method, result.protocol
        if self.trial != ("", "") and found != self.trial:
            causes["trial"] = f"holds {found[0]} on {found[1]}"
        remarks = () if result.data else (UNRECORDED,)
        if result.data and parts.get("data") == NOT_RECORDED:
            remarks = (UNTOLD,)
        return Standing(True, causes, remarks, sha256=result.sha256)


def table_standing(report: Job, parts: Mapping[str, str]) -> Standing:
    """Return how the report's table stands to what a table made now would be made of."""
    if not report.product.exists():
        return NOT_THERE
    return Standing(True) if table_parts(report.out) == parts else NO_MORE


def tabled(trials: Iterable[tuple[Job, Standing]]) -> dict[str, str]:
    """Return what a table of trials is made of: every number, and every reason why there is none."""
    whole = hashlib.sha256()
    for job, standing in trials:
        told = standing.sha256 if standing.done else standing.reason or absent(job.out).reason
        whole.update(f"{job.name} {told}\n".encode())
    return {"trials": whole.hexdigest()}


def table_parts(out: Path) -> object:
    """Return what the table of the report in `out` was made of, as its file says; None where none can be read."""
    try:
        return read_json(out / TABLE)["made_of"]
    except (TextError, KeyError, TypeError):
        return None
