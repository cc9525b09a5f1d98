"""OUT/pretrain.json: what a pretraining is of, written when it starts, readable without torch.

    {"identity": {"recipe": ..., "backbone": "fresh", "data": ..., "seed": 0}, "precision": "bf16", "recipe": {...},
     "images": 1281167, "data": "/datasets/imagenet"}

`identity` alone decides whether another start goes on with this run; the rest is for people and for messages. The
checkpoint holds the same, so that neither file can be moved beside the other one of another run.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from twinbench.protocols.house import UserError, replacing, setting_text
from twinbench.protocols.identity import FRESH, NOT_RECORDED, Identity
from twinbench.protocols.pretraining import PretrainRecipe
from twinbench.protocols.text import TextError, read_json

NAME = "pretrain.json"
# Checkpoints of the first release: fields that recipes did not have yet, with what was done then.
BEFORE = {"last_batch": "dropped"}
YOUNGER = {field.name: field.default for field in fields(PretrainRecipe) if field.name in PretrainRecipe.later}
MOST_SETTINGS = 4  # told one by one; recipes that differ in more are told by name
REMEDY = "choose another OUT, or remove it to start again"


class ResumeError(UserError):
    """An OUT that belongs to another run."""


@dataclass(frozen=True)
class Record:
    """What a run is of. `precision` is what the recipe's `auto` became at its first start, and stays."""

    identity: Identity
    precision: str
    recipe: Mapping[str, Any]
    images: int  # in DATA, damaged ones included
    data: str  # where they lay

    def as_dict(self) -> dict[str, Any]:
        """Return what is written to files."""
        return {**asdict(self), "identity": self.identity.as_dict(), "recipe": dict(self.recipe)}

    def going_on_with(self, then: "Record") -> "Record":
        """Return the record to keep for a run that was begun with `then`: data that were not recorded stay so, and
        `auto` stays what it became."""
        precision = then.precision if self.recipe["precision"] == "auto" else self.precision
        return replace(self, precision=precision, identity=replace(self.identity, data=then.identity.data))


def read_record(out: Path) -> Record | None:
    """Return the record in the folder `out`, None where there is none; ResumeError for one that cannot be read."""
    path = out / NAME
    if not path.exists():
        return None
    try:
        return parse_record(read_json(path))
    except (TextError, TypeError, KeyError) as error:
        raise ResumeError(
            f"{path}: not a record of `twinbench pretrain` ({type(error).__name__}: {error}); {REMEDY}"
        ) from None


def parse_record(found: Mapping[str, Any]) -> Record:
    """Return the record that `as_dict` wrote."""
    parts = {field.name: found[field.name] for field in fields(Record)}
    recipe = {**YOUNGER, **found["recipe"]}
    return Record(**{**parts, "identity": Identity(**found["identity"]), "recipe": recipe})


def write_record(record: Record, out: Path) -> None:
    """Write the record into the folder `out`, whole or not at all."""
    with replacing(out / NAME) as beside:
        beside.write_text(json.dumps(record.as_dict(), indent=2) + "\n")


def record_of_checkpoint(found: Mapping[str, Any], recipe: PretrainRecipe) -> Record:
    """Return the record in a checkpoint's `twinbench`; one of the first release knows no data.

    Its recipe is made anew from its settings; the precision was none of them, so that `auto` fits any. TypeError or
    KeyError for what is no such checkpoint.
    """
    if "record" in found:
        return parse_record(found["record"])
    precision = found["precision"]
    settings = {**BEFORE, "precision": "auto" if recipe.precision == "auto" else precision, **found["recipe"]}
    then = PretrainRecipe(**settings)
    identity = Identity(then.fingerprint, FRESH, NOT_RECORDED, found["seed"])
    return Record(identity, precision, asdict(then), found["images"], "")


def require_same(path: Path, now: Record, then: Record) -> None:
    """Raise ResumeError, with what differs, unless `path` is of the run `now`; data that were not recorded may be."""
    differing = set(now.identity.differences(then.identity))
    if then.identity.data == NOT_RECORDED:
        differing.discard("data")
    if not differing:
        return
    before = [_told(part, then, now) for part in ("recipe", "data", "seed") if part in differing]
    after = [_told(part, now, then) for part in ("recipe", "data", "seed") if part in differing]
    raise ResumeError(f"{path}: of another run, with {', '.join(before)} instead of {', '.join(after)}; {REMEDY}")


def _told(part: str, record: Record, other: Record) -> str:
    """Tell one part of a record in which it differs from another one."""
    if part == "data":
        return f"{record.images} images of {record.data} ({record.identity.data[:12]})"
    if part == "seed":
        return f"seed={record.identity.seed}"
    differing = _differing_settings(record.recipe, other.recipe)
    if not differing or len(differing) > MOST_SETTINGS:
        return f"recipe {record.recipe.get('name')} ({record.identity.recipe})"
    return " ".join(f"{name}={_text(record.recipe.get(name))}" for name in differing)


def _differing_settings(recipe: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Return the names of the settings that are not the same in two recipes."""
    names = [name for name in recipe if name not in ("name", "version", "source")]
    return [name for name in names if _text(recipe[name]) != _text(other.get(name))]


def _text(value: object) -> str:
    """Return a setting as --set takes it; JSON has made lists of tuples."""
    return setting_text(tuple(value) if isinstance(value, list) else value)
