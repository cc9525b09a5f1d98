"""Whether what lies in a job's folder is what the suite says now; `causes` say what of it is not."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from twinbench.protocols.identity import NOT_RECORDED, Identity
from twinbench.protocols.text import TextError, parse_json, read_json
from twinbench.suite.backbone import Made
from twinbench.suite.measured import Measured
from twinbench.suite.record import read_record

NOT_RECORDED_SEED = -1
PARTS = ("recipe", "backbone", "data", "seed")  # of an identity
PRETRAINING = "pretrain.json"  # which a pretraining writes as it starts, see pretrain/record.py
DIGITS = 12  # of a sha256, in messages
WORDS = {
    "recipe": "made by another recipe",
    "backbone": "made from another checkpoint",
    "data": "made from other data",
    "seed": "made with another seed",
}


@dataclass(frozen=True)
class Standing:
    """What is known of a job's product. Without causes, one that is there is done; with any, it is stale."""

    there: bool
    causes: Mapping[str, str] = field(default_factory=dict)  # in one word, and in some
    remarks: tuple[str, ...] = ()
    problem: str = ""  # why what lies there is nothing; it counts as not there
    sha256: str = ""  # of a result's text

    @property
    def done(self) -> bool:
        """True if the product is there and is what the suite says now, as far as anything is recorded of it."""
        return self.there and not self.causes

    @property
    def stale(self) -> bool:
        """True if the product is there, but was made of something else."""
        return self.there and bool(self.causes)

    @property
    def reason(self) -> str:
        """What to tell of it, in one line."""
        return self.problem or "; ".join([*self.causes.values(), *self.remarks])


NOT_THERE = Standing(False)
NO_MORE = Standing(False, remarks=("the trials are not what they were when the table was written",))
UNRECORDED = "its data is not recorded: made by an older twinbench"
UNTOLD = "its data cannot be read now: nobody can tell whether it is what was measured on"


def recorded_parts(out: Path) -> dict[str, str]:
    """Return what the last run in the folder `out` was begun with; nothing for one of an older twinbench."""
    record = read_record(out)
    try:
        found = parse_json(record.identity, str(out)) if record else {}
    except TextError:
        return {}
    return found if isinstance(found, dict) else {}


def pretrained_of(out: Path) -> dict[str, str]:
    """Return what the pretraining in `out` says itself that it is of; nothing for one of an older twinbench."""
    try:
        identity = read_json(out / PRETRAINING)["identity"]
        return {name: str(identity[name]) for name in ("recipe", "data", "seed")}
    except (TextError, KeyError, TypeError):
        return {}


def measured_causes(result: Measured, expected: Identity, made: Made | None) -> dict[str, str]:
    """Return in which parts a result is not of the `expected` identity; `made` is the backbone that a job made."""
    theirs = result.identity
    different = differing(expected, theirs) if expected != theirs else ()
    causes = {part: _words(part, expected, theirs) for part in different}
    if "data" in causes and result.sampled:
        causes["data"] = causes["data"].replace("other data", "other data or low-shot samples")
    if "backbone" not in causes and made and made.sha256 and made.sha256 != result.backbone_sha256:
        causes["backbone"] = WORDS["backbone"]  # the tensors are all that an old result tells
    return causes


def measured_from(out: Path, checkpoint: str) -> dict[str, str]:
    """Return what the trial in `out` was begun with, if that was another checkpoint."""
    record = read_record(out)
    if not record or f'"checkpoint": {json.dumps(checkpoint)}' in record.identity:  # as a job writes it
        return {}
    return origin({"checkpoint": checkpoint}, recorded_parts(out))


def origin(ours: Mapping[str, str], theirs: Mapping[str, str]) -> dict[str, str]:
    """Return in which parts what was made of `theirs` is not of `ours`."""
    expected, found = as_identity(ours), as_identity(theirs)
    causes = {part: _words(part, expected, found) for part in differing(expected, found)}
    checkpoint = ours.get("checkpoint"), theirs.get("checkpoint")
    if all(checkpoint) and checkpoint[0] != checkpoint[1]:
        causes["backbone"] = WORDS["backbone"]
    return causes


def as_identity(parts: Mapping[str, str]) -> Identity:
    """Return recorded parts as an identity; what is not among them is not recorded."""
    told = parts.get  # a generator over the names takes three times as long, and there may be thousands of trials
    seed = told("seed", NOT_RECORDED)
    return Identity(
        told("recipe", NOT_RECORDED),
        told("backbone", NOT_RECORDED),
        told("data", NOT_RECORDED),
        int(seed) if seed.isdecimal() else NOT_RECORDED_SEED,
    )


def differing(ours: Identity, theirs: Identity) -> list[str]:
    """Return the parts that are known on both sides and are not the same."""
    unknown = (NOT_RECORDED, NOT_RECORDED_SEED)
    found: list[str] = []
    for part in PARTS:
        mine, other = getattr(ours, part), getattr(theirs, part)
        if mine != other and mine not in unknown and other not in unknown:
            found.append(part)
    return found


def count_causes(stale: Iterable[Mapping[str, str]]) -> str:
    """Return how many are stale for which cause, as `data 3, backbone 1`."""
    counted = Counter(next(iter(causes)) for causes in stale)
    return ", ".join(f"{cause} {count}" for cause, count in counted.items())


def _words(part: str, ours: Identity, theirs: Identity) -> str:
    """Tell a difference."""
    found, wanted = (str(getattr(identity, part))[:DIGITS] for identity in (theirs, ours))
    return f"{WORDS[part]} ({found} instead of {wanted})"
