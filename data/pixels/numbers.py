"""What the numbers in masks mean: a class, no label, or nothing that is known; in a table, or in a user's list of them.

    classes.txt   a name a line, from number 0 on
    classes.csv   number,name            a number without a name has no label
    labels.csv    number,name,train id   or `ignore`; numbers of one train id are one class, called as the lowest

Any of the .csv may have either form, and a line of headings. 255 has no label unless the list names it.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from twinbench.data.decode import SIXTEEN_BITS, read_numbers
from twinbench.data.errors import DataError, read_lines, read_text
from twinbench.data.pixels.split import IGNORED, Decode

MOST_CLASSES = IGNORED  # numbers 0 to 254 are classes, once they are decoded
NUMBERS = 1 << 16
UNKNOWN = 256  # in a table of numbers: not on the list
IGNORE = "ignore"  # in a list, in place of a train id
EXPECTED_LIST = "expected the classes, a name a line"
EXPECTED_LINE = f"a number from 0 to {NUMBERS - 1} and a name: 0,background"


def decode_with(meaning: Mapping[int, int], expected: str) -> Decode:
    """Return a decoder of masks whose numbers mean these classes, or IGNORED; `expected` says so in an error."""
    table = np.full(NUMBERS, UNKNOWN, np.int16)
    table[list(meaning)] = list(meaning.values())
    return partial(_decode, table, expected)


def decode_from_1(classes: int) -> Decode:
    """Return a decoder of masks whose numbers count `classes` from 1; 0 is no class."""
    meaning = {0: IGNORED} | {number: number - 1 for number in range(1, classes + 1)}
    return decode_with(meaning, f"0 for no class, or 1 to {classes}")


def _decode(table: np.ndarray, expected: str, path: Path) -> np.ndarray:
    """Return the classes of a mask, (H, W) uint8; DataError names a number that is not in the table."""
    numbers = read_numbers(path, ("L", "P", "1", *SIXTEEN_BITS))
    found = table[numbers.astype(np.uint16)]
    strange = found == UNKNOWN
    if strange.any():
        raise DataError(f"{path}: number {numbers[strange].min()} in a mask; expected {expected}")
    return found.astype(np.uint8)


@dataclass(frozen=True)
class _Entry:
    """A line of a list."""

    number: int
    name: str  # empty: no label
    train_id: str  # empty in a list without them


def read_classes(path: Path) -> tuple[dict[int, int], tuple[str, ...]]:
    """Return what each number on a list means, a class or IGNORED, and the classes' names."""
    entries = _numbered(path) if path.suffix == ".csv" else _named(path)
    meaning: dict[int, int] = {IGNORED: IGNORED}
    names: dict[int, str] = {}
    for entry, place in zip(entries, _places(path, entries), strict=True):
        meaning[entry.number] = IGNORED if place is None else place
        if place is not None:
            names.setdefault(place, entry.name)
    classes = tuple(names[place] for place in sorted(names))
    _require_classes(path, [entry.number for entry in entries], classes)
    return meaning, classes


def _require_classes(path: Path, numbers: list[int], classes: tuple[str, ...]) -> None:
    """Raise DataError for a list that cannot be meant."""
    if len(set(numbers)) < len(numbers):
        twice = next(number for place, number in enumerate(numbers) if number in numbers[:place])
        raise DataError(f"{path}: number {twice} twice; expected each once; correct the list")
    if not 1 < len(classes) <= MOST_CLASSES:
        raise DataError(
            f"{path}: {len(classes)} classes; expected 2 to {MOST_CLASSES}, the background among them if it is one; "
            "correct the list"
        )
    if len(set(classes)) < len(classes):
        twice = next(name for place, name in enumerate(classes) if name in classes[:place])
        raise DataError(
            f"{path}: class '{twice}' twice; expected each once; correct the list, or give its numbers one train id"
        )


def _places(path: Path, entries: list[_Entry]) -> list[int | None]:
    """Return the class of each entry, None for no label: its train id, or the next one where the list has none."""
    if not entries[0].train_id:
        free = iter(range(len(entries)))
        return [next(free) if entry.name else None for entry in entries]
    places = [None if entry.train_id == IGNORE else int(entry.train_id) for entry in entries]
    used = sorted({place for place in places if place is not None})
    if used != list(range(len(used))):
        odd = next(place for number, place in enumerate(used) if number != place)
        raise DataError(
            f"{path}: train id {odd}, and {len(used)} of them; expected 0 to {len(used) - 1}, each at least once; "
            f"what has no label is `{IGNORE}`"
        )
    return places


def _named(path: Path) -> list[_Entry]:
    """Return the names of a list with their numbers; DataError for an empty line, which would shift the rest."""
    names = [line.strip() for line in read_text(path, EXPECTED_LIST).rstrip().split("\n")]
    if "" in names:
        raise DataError(
            f"{path}, line {names.index('') + 1}: empty; expected a name a line, from number 0 on; numbers without a "
            "name stand in a classes.csv, as `3,`"
        )
    return [_Entry(number, name, "") for number, name in enumerate(names)]


def _numbered(path: Path) -> list[_Entry]:
    """Return the lines of a list with numbers, in their order; headings are left out."""
    entries: list[_Entry] = []
    width = 0  # of the first line: all have a train id, or none has
    for place, row in enumerate(csv.reader(read_lines(path, EXPECTED_LIST))):
        cells = [cell.strip() for cell in row]
        if not place and not (cells and cells[0].isdecimal()):
            continue
        width = width or len(cells)
        if len(cells) != width or not _is_entry(cells):
            more = f", and a train id or `{IGNORE}`: 0,background,0" if width == 3 else ""
            raise DataError(f"{path}, line {place + 1}: '{','.join(row)[:80]}'; expected {EXPECTED_LINE}{more}")
        entries.append(_Entry(int(cells[0]), cells[1], "".join(cells[2:])))
    if not entries:
        raise DataError(f"{path}: an empty list; expected a number and a name a line: 0,background")
    return sorted(entries, key=lambda entry: entry.number)


def _is_entry(cells: list[str]) -> bool:
    """Say whether cells are a number and a name, or a number, a name and a train id or IGNORE."""
    if not _is_number(cells[0]):
        return False
    if len(cells) == 3:
        return cells[2] == IGNORE or bool(cells[1] and _is_number(cells[2]))
    return len(cells) == 2


def _is_number(text: str) -> bool:
    """Say whether a text is a number that a mask may have."""
    return text.isascii() and text.isdecimal() and int(text) < NUMBERS
