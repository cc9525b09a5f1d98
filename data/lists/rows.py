"""What the lines of a list say: the name of an image, and its label or labels, as text. See `tables.py` for columns.

| line                      | image        | label      | rule                                                        |
|---------------------------|--------------|------------|-------------------------------------------------------------|
| `a/1.jpg 3`               | `a/1.jpg`    | `3`        |                                                             |
| `my cat.jpg 3`            | `my cat.jpg` | `3`        | a name ends with the last suffix of an image before a label |
| `my cat.jpg`              | `my cat.jpg` | none       | so it has no label where the line ends with one             |
| `a/1.jpg,tabby cat`       | `a/1.jpg`    | `tabby cat`| behind a comma or a tab, a label may have blanks            |
| `"a,b.jpg",cat`           | `a,b.jpg`    | `cat`      | quotes hold a name together                                 |
| `img_1 cat`               | `img_1`      | `cat`      | without a suffix the last word is the label                 |
| `a/1.jpg 1 0 -1`          | `a/1.jpg`    | `1 0 -1`   | a column for each of the classes 0, 1 and 2                 |
"""

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from twinbench.data.decode import SUFFIXES
from twinbench.data.errors import DataError
from twinbench.data.lists.lines import lines_of

_SUFFIX = "|".join(re.escape(suffix) for suffix in SUFFIXES)
_LABELLED = re.compile(rf"(.*(?:{_SUFFIX}))([\s,;]+)(.*)", re.IGNORECASE | re.DOTALL)
CODES = {"1", "0", "-1"}
EXPECTED = "expected `image` or `image label` a line, or a header that names the columns"


@dataclass(frozen=True)
class Rows:
    """The lines of a list in their order; columns that it does not have are empty."""

    file: Path
    names: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)  # of a list with a column for each class, its codes: "1 0 -1"
    splits: list[str] = field(default_factory=list)
    columns: tuple[str, ...] = ()  # the classes that have a column each
    says_several: bool = False  # by the name of its column, such as `tags`

    def select(self, places: list[int]) -> "Rows":
        """Return the lines at these places."""
        labels = [self.labels[place] for place in places] if self.labels else []
        names = [self.names[place] for place in places]
        return replace(self, names=names, labels=labels, splits=[])


def read_plain(path: Path) -> Rows:
    """Return the lines of a list without a header; DataError for one that is not like the others."""
    names: list[str] = []
    labels: list[str] = []
    same: dict[str, str] = {}  # one text for equal labels
    for number, line in enumerate(lines_of(path), 1):
        text = line.strip()
        if not text:
            continue
        try:
            name, label = _parsed(text)
        except ValueError as error:
            raise DataError(f"{path}, line {number}: '{text[:80]}': {error}; {EXPECTED}") from None
        if names and bool(label) != bool(labels):
            state = "a label, but lines before it have none" if label else "no label, but lines before it have one"
            raise DataError(f"{path}, line {number}: '{text[:80]}' has {state}; {EXPECTED}; correct the list")
        names.append(name)
        if label:
            labels.append(same.setdefault(label, label))
    return Rows(path, names, labels, columns=_numbered(path, same))


def _parsed(text: str) -> tuple[str, str]:
    """Return the image and the label of a line, empty if there is none; ValueError says why it can not be told."""
    if text[0] == '"':
        name, quote, rest = text[1:].partition('"')
        if not quote or not name:
            raise ValueError("a quote that does not end")
        return name, _one_label(rest[: len(rest) - len(rest.lstrip(" \t,;"))], rest.lstrip(" \t,;"))
    if text.lower().endswith(SUFFIXES):
        return text, ""
    if match := _LABELLED.fullmatch(text):
        name, gap, label = match.groups()
        return name, _one_label(gap, label)
    for gap in ("\t", ","):
        if gap in text:
            name, _, label = text.partition(gap)
            return name.strip(), _one_label(gap, label.strip())
    words = text.rsplit(None, 1)
    return words[0], words[1] if len(words) > 1 else ""


def _one_label(gap: str, label: str) -> str:
    """Return the label behind a `gap`; ValueError if it could be several."""
    if len(label) > 1 and label[0] == label[-1] == '"':
        return label[1:-1]
    if "\t" in label or ("," in gap and "," in label):
        raise ValueError("more than two columns without a header")
    if not gap.strip(" ") and " " in label:
        codes = " ".join(label.split())
        if not _are_codes(codes):
            raise ValueError("several words behind the image; put a tab or a comma before a label of several words")
        return codes
    return label


def _numbered(path: Path, labels: dict[str, str]) -> tuple[str, ...]:
    """Return the numbers of the classes of a list whose labels are codes, a column for each class; none for others."""
    first = next((label for label in labels if " " in label and _are_codes(label)), None)
    if first is None:
        return ()
    count = first.count(" ")
    for label in labels:
        if label.count(" ") != count or not _are_codes(label):
            raise DataError(
                f"{path}: {count + 1} columns of 1, 0 or -1 behind some images, '{label[:40]}' behind another; expected"
                " the same columns in each line; correct the list"
            )
    return tuple(str(column) for column in range(count + 1))


def _are_codes(label: str) -> bool:
    """Say whether a label is nothing but codes."""
    return set(label.split(" ")) <= CODES
