"""From the labels of a list, as text, to classes and targets: one label an image, several in one text, or codes.

Classes are sorted: whole numbers by their value, names as text; a column a class keeps the order of the columns. The
training list says which classes there are, and whether an image has one label or several.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from twinbench.data.errors import DataError
from twinbench.data.labelled import UNLABELLED
from twinbench.data.rows import CODES, Rows

SEPARATORS = {"pipe": "|", "semicolon": ";", "comma": ",", "space": " ", "none": ""}
SEEN = "|;"  # between labels, where nothing else is said: no name of a class is known to have one


@dataclass(frozen=True)
class Scheme:
    """How texts become targets. Without a separator and without columns an image has one label."""

    classes: tuple[str, ...]
    separator: str = ""
    columns: bool = False

    def targets(self, rows: Rows) -> np.ndarray:
        """Return (N,) int64, or (N, K) int8 of 1, 0 and -1; DataError names an image whose label does not fit."""
        if self.classes == UNLABELLED:
            return np.zeros(len(rows.names), dtype=np.int64)
        if not rows.labels:
            raise DataError(
                f"{rows.file}: images without labels; expected one of the training list's for each; add them"
            )
        if self.columns:
            row_of = self._from_columns(rows)
        elif self.separator:
            row_of = self._from_parts(rows)
        else:
            number = {name: index for index, name in enumerate(self.classes)}
            _require_known(rows, number.keys(), set(rows.labels), self.classes)
            return np.fromiter((number[label] for label in rows.labels), dtype=np.int64, count=len(rows.labels))
        different = {text: place for place, text in enumerate(row_of)}
        places = np.fromiter((different[label] for label in rows.labels), dtype=np.int64, count=len(rows.labels))
        return np.array(list(row_of.values()), dtype=np.int8).reshape(len(row_of), len(self.classes))[places]

    def _from_columns(self, rows: Rows) -> dict[str, list[int]]:
        """Return the row of targets of each text of codes."""
        if set(rows.columns) != set(self.classes):
            odd = sorted(set(rows.columns) ^ set(self.classes))[0]
            raise DataError(
                f"{rows.file}: {len(rows.columns)} columns of classes, {len(self.classes)} in the training list;"
                f" '{odd}' is in one only; expected the same; are these two data sets?"
            )
        order = [rows.columns.index(name) for name in self.classes]
        found: dict[str, list[int]] = {}
        for text in dict.fromkeys(rows.labels):
            codes = [CODES[code] for code in text.split(" ")]
            found[text] = [codes[column] for column in order]
        return found

    def _from_parts(self, rows: Rows) -> dict[str, list[int]]:
        """Return the row of targets of each text of several labels: 1 for those that it names, 0 for the others."""
        number = {name: index for index, name in enumerate(self.classes)}
        found: dict[str, list[int]] = {}
        for text in dict.fromkeys(rows.labels):
            parts = _parts(text, self.separator)
            if unknown := [part for part in parts if part not in number]:
                _require_known(rows, number.keys(), {text}, self.classes, unknown[0])
            row = [0] * len(self.classes)
            for part in parts:
                row[number[part]] = 1
            found[text] = row
        return found


def scheme_of(rows: Rows, separator: str) -> Scheme:
    """Return how the training list `rows` gives labels; `separator` is the user's, or empty."""
    if not rows.labels:
        return Scheme(UNLABELLED)
    if rows.columns:
        return Scheme(rows.columns, columns=True)
    texts = dict.fromkeys(rows.labels)
    between = _separator(rows.file, texts, separator)
    if between:
        parts = {part for text in texts for part in _parts(text, between)}
        return Scheme(_sorted(parts), between)
    if "" in texts:
        name = rows.names[rows.labels.index("")]
        raise DataError(f"{rows.file}: {name} has no label; expected one for each image; correct the list")
    return Scheme(_sorted(texts))


def _separator(file: Path, texts: Iterable[str], given: str) -> str:
    """Return what stands between several labels of an image; empty where each has one."""
    if given in SEPARATORS or given in SEPARATORS.values():
        if given:
            return SEPARATORS.get(given, given)
    elif len(given) > 1:
        raise DataError(
            f"?separator={given}: expected one letter, or one of {', '.join(SEPARATORS)}; none means one label an image"
        )
    elif given:
        return given
    found = {letter for letter in SEEN if any(letter in text for text in texts)}
    if len(found) > 1:
        raise DataError(
            f"{file}: both | and ; in labels; expected one of them between several labels; say which: ?separator=pipe"
            " or ?separator=semicolon, or ?separator=none for one label an image"
        )
    return found.pop() if found else ""


def _parts(text: str, separator: str) -> list[str]:
    """Return the labels in a text of several."""
    return [part for part in map(str.strip, text.split(separator)) if part]


def _sorted(names: Iterable[str]) -> tuple[str, ...]:
    """Return the classes in their order."""
    names = list(names)
    if all(_is_number(name) for name in names):
        return tuple(sorted(names, key=int))
    return tuple(sorted(names))


def _is_number(name: str) -> bool:
    """Say whether a label is a whole number as programs write it: `07` is a name."""
    digits = name.removeprefix("-")
    return digits.isascii() and digits.isdigit() and len(digits) < 19 and str(int(name)) == name


def _require_known(
    rows: Rows, known: Iterable[str], texts: set[str], classes: tuple[str, ...], shown: str | None = None
) -> None:
    """Raise DataError for the first image with a label that no training image has."""
    odd = texts if shown is not None else texts - set(known)
    if odd:
        place = next(place for place, label in enumerate(rows.labels) if label in odd)
        label = rows.labels[place] if shown is None else shown
        raise DataError(
            f"{rows.file}: {rows.names[place]} is labelled '{label[:80]}', as no training image is; expected one of"
            f" {len(classes)} classes such as {classes[0]}; correct the list"
        )
