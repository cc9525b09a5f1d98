"""The JSON annotation format that COCO introduced and iNaturalist shares: images, annotations, categories."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeGuard

from twinbench.data.errors import DataError, read_text

MAX_BYTES = 2_000_000_000  # COCO's largest has 470 million; ten times as much memory is needed to hold it
KEYS = ("images", "annotations", "categories")
IDS = ("id", "image_id", "category_id")
Part = Literal["whole", "ids", "none"]  # of annotations with a shape
Hook = Callable[[dict[str, Any]], dict[str, Any]]
_EMPTY: dict[str, Any] = {}  # one for all that are emptied


def read_json_lists(path: Path, annotations: Part | Hook = "whole") -> dict[str, list[dict[str, Any]]]:
    """Return the three lists; DataError unless the file is JSON with `images`, `annotations` and `categories`.

    Annotations with a shape are nearly all of the memory that COCO takes: they may come with their ids alone,
    empty, or as a function makes them of every entry.
    """
    hooks: dict[Part, Hook | None] = {"whole": None, "ids": _ids_alone, "none": _without_shape}
    hook = annotations if callable(annotations) else hooks[annotations]
    text = read_text(path, "expected the annotations; unpack them there", MAX_BYTES)
    try:
        content = json.loads(text, object_hook=hook)
    except (ValueError, RecursionError, MemoryError) as error:
        raise DataError(f"{path}: not readable as JSON ({error}); fetch the file again") from None
    for key in KEYS:
        entries = content.get(key) if isinstance(content, dict) else None
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise DataError(
                f"{path}: no list '{key}' in it; expected the lists {', '.join(KEYS)}; fetch the file again"
            )
        if not entries:
            raise DataError(
                f"{path}: the list '{key}' is empty; expected at least one entry; is it the file of"
                " a part that has labels?"
            )
    return content


def _ids_alone(entry: dict[str, Any]) -> dict[str, Any]:
    """Return an entry as it is, or if it has a shape its ids: its own, that of its image and that of its category."""
    if "segmentation" not in entry and "bbox" not in entry:
        return entry
    return {key: entry[key] for key in IDS if key in entry}


def _without_shape(entry: dict[str, Any]) -> dict[str, Any]:
    """Return an entry as it is, or empty if it has a segmentation."""
    return _EMPTY if "segmentation" in entry else entry


def by_id(path: Path, entries: list[dict[str, Any]], key: str) -> dict[int, dict[str, Any]]:
    """Return `entries` by their `id`; DataError if one has none, or two share it."""
    found = {entry["id"]: entry for entry in entries if isinstance(entry.get("id"), int)}
    if len(found) != len(entries):
        raise DataError(
            f"{path}: {len(entries)} {key}, {len(found)} different ids; expected a whole number as `id`, each its own"
        )
    return found


def is_known(key: Any, entries: Mapping[int, Any]) -> TypeGuard[int]:
    """True if `key`, which may be anything that JSON can hold, is the id of an entry."""
    return isinstance(key, int) and key in entries
