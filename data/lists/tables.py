"""Lists with a header that names their columns: CSV, TSV, or any text whose first line does so.

The image's column, that of the label or labels and that of the split are known by their names, see the tables here, or
given: `?path=COLUMN&label=COLUMN&split=COLUMN`. Without a column of labels, a single other column is that, and several
are one class each, of 1, 0 and -1 (present, absent, not known), as in CheXpert's and ISIC's files.
"""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twinbench.data.decode import SUFFIXES
from twinbench.data.errors import DataError
from twinbench.data.lists.lines import lines_of
from twinbench.data.lists.rows import Rows
from twinbench.data.source import Source
from twinbench.protocols.house import unknown

# Names of columns, without regard to case, blanks, _ and -. Of images, those of the second line only where none of the
# first is there: a table with a path often has a number or a name for each image besides.
IMAGES = (
    ("path", "image", "img", "file", "filename", "filepath", "imagepath", "imgpath", "imagefile", "relpath", "fpath"),
    ("imageid", "imagename", "imageindex", "imgid", "imgname", "id", "idcode", "name"),
)
SEVERAL = ("labels", "classes", "categories", "targets", "tags", "findinglabels")
LABELS = ("label", "class", "classname", "classid", "category", "categoryid", "target", "tag", *SEVERAL)
SPLITS = ("split", "subset", "partition", "set", "dataset", "usage", "phase")
INDEX = re.compile(r"unnamed:\s*\d+|", re.IGNORECASE)  # what pandas calls or leaves its row numbers
DELIMITERS = (",", "\t", ";")
CODES = {"1": "1", "1.0": "1", "true": "1", "0": "0", "0.0": "0", "false": "0", "-1": "-1", "-1.0": "-1"}


@dataclass(frozen=True)
class _Columns:
    """Places of the columns that are read."""

    image: int
    labels: tuple[int, ...]
    split: int | None
    is_wide: bool  # a column a class


def delimiter_of(path: Path, source: Source) -> str:
    """Return what divides the columns of a list with a header; empty for a list without one."""
    first = next((line for line in lines_of(path) if line.strip()), "")
    delimiter = "\t" if path.suffix.lower() == ".tsv" else max(DELIMITERS, key=first.count)
    if "path" in source.options:
        return delimiter
    header = next(csv.reader([first], delimiter=delimiter), [])
    if any(cell.strip().lower().endswith(SUFFIXES) for cell in header):
        return ""
    is_table = delimiter in first or path.suffix.lower() in (".csv", ".tsv")
    if is_table and any(_plain(cell) in names for names in IMAGES for cell in header):
        return delimiter
    if is_table and len(header) > 2:
        raise DataError(
            f"{path}: no column of {', '.join(header)[:120]} is called image, path or the like; expected a header that"
            " names the columns; say which it is: ?path=COLUMN&label=COLUMN"
        )
    return ""


def read_table(path: Path, delimiter: str, source: Source) -> Rows:
    """Return the rows of a list with a header."""
    reader = csv.reader(lines_of(path), delimiter=delimiter, skipinitialspace=True)
    try:
        header = [cell.strip() for cell in next(row for row in reader if row)]
        columns = _columns(path, header, source)
        return _read(path, reader, header, columns, source.options.get("blank", ""))
    except csv.Error as error:
        raise DataError(
            f"{path}, line {reader.line_num}: not readable as a table ({error}); expected quotes that end; correct it"
        ) from None


def _read(path: Path, reader: Any, header: list[str], columns: _Columns, blank: str) -> Rows:
    """Return the rows behind the header."""
    names: list[str] = []
    labels: list[str] = []
    splits: list[str] = []
    same: dict[str, str] = {}  # one text for equal labels
    for row in reader:
        if not any(row):
            continue
        if len(row) != len(header) or not row[columns.image].strip():
            raise DataError(
                f"{path}, line {reader.line_num}: {len(row)} columns, or no image; expected the header's {len(header)}"
                " with an image; correct the list (quotes hold commas together)"
            )
        names.append(row[columns.image].strip())
        if columns.is_wide:
            label = " ".join(_code(path, reader.line_num, header[place], row[place], blank) for place in columns.labels)
            labels.append(same.setdefault(label, label))
        elif columns.labels:
            label = row[columns.labels[0]].strip()
            labels.append(same.setdefault(label, label))
        if columns.split is not None:
            split = row[columns.split].strip()
            splits.append(same.setdefault(split, split))
    classes = tuple(header[place] for place in columns.labels) if columns.is_wide else ()
    says_several = bool(columns.labels) and _plain(header[columns.labels[0]]) in SEVERAL
    return Rows(path, names, labels, splits, classes, says_several)


def _code(path: Path, line: int, column: str, cell: str, blank: str) -> str:
    """Return 1, 0 or -1 as a column of a class has it; DataError for anything else."""
    text = cell.strip().lower()
    if not text and blank:
        text = blank
    if text in CODES:
        return CODES[text]
    if not text:
        raise DataError(
            f"{path}, line {line}: nothing in column '{column}'; expected 1, 0 or -1; say what nothing means: ?blank=0"
            " for absent, ?blank=-1 for not known"
        )
    raise DataError(
        f"{path}, line {line}: '{cell[:40]}' in column '{column}'; expected 1, 0 or -1 in a column for each class; say"
        " which columns are labels: ?label=COLUMN, or ?label=FIRST..LAST for a column a class"
    )


def _columns(path: Path, header: list[str], source: Source) -> _Columns:
    """Return the columns to read; DataError where it cannot be told which they are."""
    if len(set(header)) < len(header):
        twice = next(name for name in header if header.count(name) > 1)
        raise DataError(f"{path}: two columns are called '{twice}'; expected a name for each; correct the header")
    if "path" in source.options:
        image = _place(path, header, source.options["path"])
    else:
        tiers = [_called(header, names) for names in IMAGES]
        image = _only(path, header, tiers[0] or tiers[1], "path", "images")
    split = None
    if "split" in source.options:
        split = _place(path, header, source.options["split"])
    elif found := _called(header, SPLITS):
        split = _only(path, header, found, "split", "splits")
    others = [place for place in range(len(header)) if place not in (image, split)]
    if "label" in source.options:
        return _Columns(image, *_given(path, header, source.options["label"], split))
    if found := [place for place in _called(header, LABELS) if place in others]:
        return _Columns(image, (_only(path, header, found, "label", "labels"),), split, False)
    names_too = _called(header, IMAGES[1])  # a second name of the image
    left = [place for place in others if place not in names_too and not INDEX.fullmatch(header[place])]
    return _Columns(image, tuple(left), split, len(left) > 1)


def _given(path: Path, header: list[str], text: str, split: int | None) -> tuple[tuple[int, ...], int | None, bool]:
    """Return the columns of labels that the user names, that of the split, and whether they are a column a class."""
    if text in header:
        return (header.index(text),), split, False
    first, dots, last = text.partition("..")
    if dots:
        places = range(_place(path, header, first), _place(path, header, last) + 1)
    else:
        places = [_place(path, header, name) for name in text.split(",")]
    if len(places) < 2 and (dots or "," in text):
        raise DataError(f"{path}: ?label={text} names {len(places)} columns; expected two or more; check their order")
    return tuple(places), split, len(places) > 1


def _place(path: Path, header: list[str], name: str) -> int:
    """Return the column of a name; DataError if there is none."""
    plain = [_plain(cell) for cell in header]
    for known, wanted in ((header, name.strip()), (plain, _plain(name))):
        if known.count(wanted) == 1:
            return known.index(wanted)
    raise DataError(f"{path}: {unknown('column', name, header)}")


def _called(header: list[str], names: Sequence[str]) -> list[int]:
    """Return the columns with one of these names."""
    return [place for place, cell in enumerate(header) if _plain(cell) in names]


def _only(path: Path, header: list[str], found: list[int], option: str, what: str) -> int:
    """Return the only column that may hold `what`; DataError if there are several, or none."""
    if len(found) == 1:
        return found[0]
    shown = ", ".join(header[place] for place in found or range(len(header)))[:160]
    state = "may each hold" if found else "are there, and none is called as one of"
    raise DataError(f"{path}: columns {shown} {state} the {what}; expected one; say which it is: ?{option}=COLUMN")


def _plain(name: str) -> str:
    """Return a column's name without what people write differently."""
    return re.sub(r"[\s_-]", "", name).lower()
