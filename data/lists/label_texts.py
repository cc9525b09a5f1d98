"""From the labels of a list, as text, to classes and targets: one label an image, several in one text, or codes.

Classes are sorted: whole numbers by their value, names as text; a column a class keeps the order of the columns. The
training list says which classes there are, and whether an image has one label or several.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from twinbench.data.errors import DataError
from twinbench.data.labelled import UNLABELLED, absent
from twinbench.data.lists.rows import Rows

SEPARATORS = {"pipe": "|", "semicolon": ";", "comma": ",", "space": " ", "none": ""}
SEEN = "|;"  # between labels, where nothing else is said: no name of a class is known to have one

_Placed = tuple[np.ndarray, np.ndarray | int]  # columns of a row of targets, and what stands in them


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
        if self.columns or self.separator:
            rows_of = self._from_columns(rows) if self.columns else self._from_parts(rows)
            targets = absent(rows.file, len(rows.labels), len(self.classes))
            for place, label in enumerate(rows.labels):
                where, codes = rows_of[label]
                targets[place, where] = codes
            return targets
        number = {name: index for index, name in enumerate(self.classes)}
        if odd := set(rows.labels) - number.keys():
            raise self._unknown(rows, min(odd), min(odd))
        return np.fromiter((number[label] for label in rows.labels), dtype=np.int64, count=len(rows.labels))

    def _from_columns(self, rows: Rows) -> dict[str, _Placed]:
        """Return the columns and codes of each text of codes."""
        if set(rows.columns) != set(self.classes):
            odd = min(set(rows.columns) ^ set(self.classes))
            raise DataError(
                f"{rows.file}: {len(rows.columns)} columns of classes, {len(self.classes)} in the training list;"
                f" '{odd}' is in one only; expected the same; are these two data sets?"
            )
        number = {name: index for index, name in enumerate(self.classes)}
        where = np.array([number[name] for name in rows.columns])
        return {text: (where, np.array(text.split(" "), dtype=np.int8)) for text in dict.fromkeys(rows.labels)}

    def _from_parts(self, rows: Rows) -> dict[str, _Placed]:
        """Return the columns of the labels that each text of several names, and 1 for them."""
        number = {name: index for index, name in enumerate(self.classes)}
        found: dict[str, _Placed] = {}
        for text in dict.fromkeys(rows.labels):
            parts = _parts(text, self.separator)
            if odd := [part for part in parts if part not in number]:
                raise self._unknown(rows, text, odd[0])
            found[text] = np.array([number[part] for part in parts], dtype=np.int64), 1
        return found

    def _unknown(self, rows: Rows, text: str, label: str) -> DataError:
        """Return what is wrong with a label that no training image has, in the first line with this text."""
        name = rows.names[rows.labels.index(text)]
        return DataError(
            f"{rows.file}: {name} is labelled '{label[:80]}', as no training image is; expected one of"
            f" {len(self.classes)} classes such as {self.classes[0]}; correct the list"
        )


def scheme_of(rows: Rows, separator: str) -> Scheme:
    """Return how the training list `rows` gives labels; `separator` is the user's, or empty."""
    if not rows.labels:
        return Scheme(UNLABELLED)
    if rows.columns:
        return Scheme(rows.columns, columns=True)
    texts = dict.fromkeys(rows.labels)
    between = _separator(rows, texts, separator)
    if between:
        parts = {part for text in texts for part in _parts(text, between)}
        return Scheme(_sorted(parts), between)
    if "" in texts:
        name = rows.names[rows.labels.index("")]
        raise DataError(f"{rows.file}: {name} has no label; expected one for each image; correct the list")
    return Scheme(_sorted(texts))


def _separator(rows: Rows, texts: Iterable[str], given: str) -> str:
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
            f"{rows.file}: both | and ; in labels; expected one of them between several labels; say which:"
            " ?separator=pipe or ?separator=semicolon, or ?separator=none for one label an image"
        )
    odd = next((text for text in texts if rows.says_several and not found and re.search("[ ,]", text)), None)
    if odd is not None:  # Kaggle's planet has `haze primary`: 449 classes instead of 17
        raise DataError(
            f"{rows.file}: '{odd[:80]}' in a column of labels, without | or ; between them; expected to know whether it"
            " is one: say ?separator=space or ?separator=comma for several, ?separator=none for one"
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
