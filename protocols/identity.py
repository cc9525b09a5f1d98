"""What makes two numbers comparable: recipe x backbone x data x seed, as one frozen type.

Everything that says finished, resume, same, cached or one column asks these four and nothing else: no path, no time, no
file name. Paths, sizes and times are hints that save hashing, never answers.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

_LINE = json.JSONEncoder(sort_keys=True, separators=(",", ":"))  # `json.dumps` makes one for each of a million lines
NOT_RECORDED = ""  # an identity that a file of an older twinbench does not have: equal to nothing, not to itself
SAMPLES = "samples"  # beside the splits: low-shot samples that come from files
TRAINED_ON = "trained on"  # beside the split that is tested: the data identity of the trial that trained the head
FRESH = "fresh"  # what a pretraining starts from


@dataclass(frozen=True)
class Identity:
    """The three identities and the seed of a trial, or of a pretraining, whose `backbone` is FRESH.

    `recipe` is a fingerprint, 12 hex digits; `backbone` and `data` are sha256 in hex, as `backbone_identity` and
    `data_identity` make them.
    """

    recipe: str
    backbone: str
    data: str
    seed: int

    def differences(self, other: "Identity") -> tuple[str, ...]:
        """Return the names of the parts in which `other` is not known to be the same: none, the same number."""
        found: list[str] = []
        for part in fields(self):
            ours, theirs = getattr(self, part.name), getattr(other, part.name)
            if ours != theirs or ours == NOT_RECORDED:
                found.append(part.name)
        return tuple(found)

    def is_same(self, other: "Identity") -> bool:
        """Say whether a number of one is a number of the other."""
        return not self.differences(other)

    def as_dict(self) -> dict[str, Any]:
        """Return the parts as they are written to files."""
        return {part.name: getattr(self, part.name) for part in fields(self)}


def backbone_identity(tensors_sha256: str, architecture: str, convention: Mapping[str, Any] | None) -> str:
    """Return the sha256 of a backbone: its tensors, its architecture, and what it expects of an image.

    `convention` is mean, std, order and scale, see `convert/convention.py`. The same tensors under two conventions are
    two backbones: they give other features. NOT_RECORDED if the convention is not known.
    """
    if not convention:
        return NOT_RECORDED
    return _sha256({"tensors": tensors_sha256, "architecture": architecture, "convention": dict(convention)})


def data_identity(splits: Mapping[str, str]) -> str:
    """Return the sha256 of the splits that a trial used: name -> `split_identity` of its items."""
    return _sha256(dict(splits))


def split_identity(items: Iterable[tuple[str, int, object]]) -> str:
    """Return the sha256 of a split: for each item in order its relative path, size in bytes, and labels.

    Labels are whatever JSON holds: a class name, a list of them, a list of boxes.
    """
    found = hashlib.sha256()
    for path, size, labels in items:
        line = _LINE.encode([path, size, labels])
        found.update(line.encode(errors="surrogateescape"))
        found.update(b"\n")
    return found.hexdigest()


def _sha256(content: object) -> str:
    """Hash plain data; the order of keys does not matter."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()
