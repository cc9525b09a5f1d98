"""WebDataset's samples: members of one archive that share a key, of which one is an image and one its label.

The key is everything before the first dot of the last part of the name (WebDataset's documentation, "The WebDataset
Format"). The label is, in this order,

| member     | content                                                                                 |
|------------|-----------------------------------------------------------------------------------------|
| `key.cls`  | a class's number, from 0, or its name                                                   |
| `key.json` | an object with `label`, a number or name, or `labels`, a list of those that are there   |
| `key.txt`  | a class's number or name                                                                |

Names to numbers are those of `classnames.txt` or `classes.txt` beside the archives, one a line, where there is one.
"""

import hashlib
import json
from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from twinbench.data.archives.kept import kept_arrays
from twinbench.data.archives.member_folders import REPLACED, folders_of
from twinbench.data.archives.members import ARCHIVE, SIZE, Index
from twinbench.data.decode import SUFFIXES
from twinbench.data.errors import DataError, read_lines
from twinbench.data.labelled import absent

LABELS = (b"cls", b"json", b"txt")  # by preference
IMAGES = frozenset(suffix[1:].encode() for suffix in SUFFIXES)
FIELDS = ("label", "labels")  # of a .json
NAME_FILES = ("classnames.txt", "classes.txt")
LARGEST = 1 << 20  # bytes of a label
LONGEST = 200  # letters of a class's name
DOTTED = "images with a dot in their name, which ends the key of a sample"
BESIDE = "members that are neither images nor labels"
LOST = "labels without an image"

Label = int | str


@dataclass(frozen=True)
class Samples:
    """Images and labels by their places in an index; -1 where an image has no label."""

    images: np.ndarray  # (N,) int64
    labels: np.ndarray  # (N,) int64
    left_out: Counter[str]


@dataclass(frozen=True)
class Labelled:
    """What labels say: label i is `known[codes[j]]` for each j of its `counts[i]` in turn."""

    codes: np.ndarray  # (M,) int64
    counts: np.ndarray  # (N,) int64; empty where each image has just one
    known: list[Label]

    @property
    def is_several(self) -> bool:
        """Say whether an image may have several labels, or none."""
        return len(self.counts) > 0


@lru_cache(maxsize=3)  # as `indexed`
def samples_in(index: Index, root: str) -> Samples:
    """Return the samples below `root` in the order of archives and members; DataError for two images in one."""
    left_out: Counter[str] = Counter()
    folders = folders_of(index)
    below = [folders.files[folder] for folder in folders.below(root)]
    places = np.sort(np.concatenate([np.array(inner, dtype=np.int64) for inner in below] or [np.array([], np.int64)]))
    found: list[np.ndarray] = [np.empty((0, 2), dtype=np.int64)]
    for number in np.unique(index.rows[places, ARCHIVE]).tolist():
        inside = places[index.rows[places, ARCHIVE] == number]
        found.append(_of_archive(index, inside.tolist(), left_out))
    pairs = np.concatenate(found)
    return Samples(pairs[:, 0], pairs[:, 1], left_out)


def _of_archive(index: Index, places: list[int], left_out: Counter[str]) -> np.ndarray:
    """Return the places of image and label of each sample in one archive, (N, 2)."""
    images: dict[bytes, int] = {}
    labels: dict[bytes, tuple[int, int]] = {}  # key: (rank of its kind, place)
    for place in places:
        folder, slash, last = index.names.raw(place).rpartition(b"/")
        first, _, kind = last.partition(b".")
        key = folder + slash + first
        if kind in IMAGES or kind.lower() in IMAGES:
            if key in images:
                _require_one_image(index, images[key], place)
                left_out[REPLACED] += 1
            images[key] = place
        elif kind in LABELS:
            rank = LABELS.index(kind)
            left_out[BESIDE] += key in labels  # the better of two is meant, of two of a kind the later
            if key not in labels or rank <= labels[key][0]:
                labels[key] = (rank, place)
        else:
            left_out[DOTTED if kind.lower().rpartition(b".")[2] in IMAGES else BESIDE] += 1
    left_out[LOST] += sum(key not in images for key in labels)
    pairs = array("q")
    for key, place in images.items():
        pairs.extend((place, labels[key][1] if key in labels else -1))
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def _require_one_image(index: Index, first: int, second: int) -> None:
    """Raise DataError if a sample has two images; of two with one name the later is meant."""
    one, other = index.member(first), index.member(second)
    if one.name != other.name:
        raise DataError(
            f"{other}: a second image of one sample, beside {one.name}; expected one; make the archive anew"
        )


def read_labels(index: Index, samples: Samples, field: str = "") -> Labelled:
    """Return the labels of samples; `field` is the one to look at in a .json, by default the first of FIELDS.

    DataError for an image without a label, and for one that is none.
    """
    digest = hashlib.sha256(samples.labels.tobytes()).hexdigest()
    question = ["labels 1", field, digest, *(archive.path for archive in index.archives)]
    watched = [Path(archive.path) for archive in index.archives]
    kept = kept_arrays(question, watched, lambda: _read(index, samples, field))
    return Labelled(kept["codes"], kept["counts"], json.loads(kept["known"].tobytes()))


def _read(index: Index, samples: Samples, field: str) -> dict[str, np.ndarray]:
    """Return the arrays of the labels."""
    codes, counts = array("q"), array("q")
    known: dict[Label, int] = {}
    several: set[bool] = set()
    for image, place in zip(samples.images.tolist(), samples.labels.tolist(), strict=True):
        if place < 0:
            missing = int((samples.labels < 0).sum())
            raise DataError(
                f"{index.member(image)}: no label, as {missing} of {len(samples.labels)} images; expected a member of"
                f" the same key: .cls, .json or .txt; make the archives anew"
            )
        found = _label(index, place, field)
        several.add(isinstance(found, list))
        values = found if isinstance(found, list) else [found]
        codes.extend(known.setdefault(value, len(known)) for value in values)
        counts.append(len(values))
        if len(several) > 1 or len(set(values)) != len(values):
            raise _unfit(index, place, found)
    return {
        "codes": np.array(codes, dtype=np.int64),
        "counts": np.array(counts if True in several else [], dtype=np.int64),
        "known": np.frombuffer(json.dumps([*known]).encode(), dtype=np.uint8),
    }


def _label(index: Index, place: int, field: str) -> Label | list[Label]:
    """Return one label, or a list of them; DataError for what is none."""
    member = index.member(place)
    if index.rows[place, SIZE] > LARGEST:
        raise DataError(f"{member}: {index.rows[place, SIZE]} bytes; expected a label; make the archive anew")
    content = member.content()
    found: Any
    try:
        text = content.decode("utf-8-sig").strip()
        found = _of_json(text, field) if member.name.endswith(".json") else text
    except (ValueError, RecursionError):
        found = None
    values = found if isinstance(found, list) else [found]
    if not all(_is_label(value) for value in values):
        raise _unfit(index, place, found)
    numbers = [int(value) if str(value).isdecimal() else value for value in values]
    return numbers if isinstance(found, list) else numbers[0]


def _of_json(text: str, field: str) -> Any:
    """Return what a .json says in a field, or in the first of FIELDS that it has."""
    content = json.loads(text)
    if not isinstance(content, dict):
        return None
    return next((content[name] for name in ([field] if field else FIELDS) if name in content), None)


def _is_label(value: Any) -> bool:
    """Say whether a value is a number from 0 or a name."""
    if isinstance(value, str):
        return 0 < len(value) <= LONGEST and value.isprintable()
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 31


def _unfit(index: Index, place: int, found: object) -> DataError:
    return DataError(
        f"{index.member(place)}: label {str(found)[:60]!r}; expected a class's number, from 0, or its name, in a"
        " .json as `label`, or as `labels` several, each once (DATA?label=FIELD names another); alike in all samples"
    )


def class_names(labelled: Labelled, bases: Iterable[Path]) -> tuple[list[Label], tuple[str, ...], tuple[Path, ...]]:
    """Return the labels of the training images in order, the classes that they mean, and the files that say so."""
    kinds = {type(label) for label in labelled.known}
    if len(kinds) > 1:
        shown = [next(label for label in labelled.known if type(label) is kind) for kind in (int, str)]
        raise DataError(f"labels are both numbers and names, {shown[0]} and {shown[1]}; expected one or the other")
    order = sorted(labelled.known, key=lambda label: (label, "") if isinstance(label, int) else (0, label))
    file = next((base / name for base in bases for name in NAME_FILES if (base / name).is_file()), None)
    if file is None or str in kinds:
        return order, tuple(map(str, order)), ()
    names = read_lines(file, "expected the names of the classes, one a line")
    top = max((label for label in order if isinstance(label, int)), default=0)
    if top >= len(names):
        raise DataError(
            f"{file}: {len(names)} names, but there is a label {top}; expected numbers from 0, and a name for each;"
            " correct the list"
        )
    return order, tuple(names[label] for label in order if isinstance(label, int)), (file,)


def targets_of(index: Index, samples: Samples, labelled: Labelled, order: list[Label]) -> np.ndarray:
    """Return targets, (N,) int64 or (N, K) int8, by the order of the training labels; DataError for another label."""
    number = {label: place for place, label in enumerate(order)}
    table = np.array([number.get(label, -1) for label in labelled.known], dtype=np.int64)
    columns = table[labelled.codes]
    counts = labelled.counts if labelled.is_several else np.ones(len(columns), dtype=np.int64)
    rows = np.repeat(np.arange(len(counts)), counts)
    if (columns < 0).any():
        first = int(np.argmax(columns < 0))
        raise DataError(
            f"{index.member(int(samples.images[rows[first]]))}: label {labelled.known[labelled.codes[first]]!r} is none"
            f" of the {len(order)} training images'; expected one such as {order[0]!r}; are these two data sets?"
        )
    if not labelled.is_several:
        return columns
    targets = absent(Path(index.archives[0].path), len(counts), len(order))
    targets[rows, columns] = 1
    return targets
