"""Which columns of a table hold the images and the labels, and what the labels say.

| column of labels                          | task         | classes                                      |
|-------------------------------------------|--------------|----------------------------------------------|
| ClassLabel                                | single-label | its names                                    |
| text; whole numbers; true and false       | single-label | those that occur, sorted                     |
| List(ClassLabel); lists of text           | multi-label  | its names; those that occur, sorted          |
| lists of 1, 0 and -1, equally long        | multi-label  | 0, 1, ... ; -1 is ignored                    |
| lists of other numbers                    | multi-label  | those that occur, sorted                     |
| several, `?label=A,B`, of 1, 0 and -1     | multi-label  | the names of the columns                     |
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from twinbench.data.errors import DataError
from twinbench.data.source import Source
from twinbench.protocols.house import unknown

USUAL = ("label", "labels", "class", "category", "target")  # of columns that are text or numbers
NO_LABELS = "none"  # ?label=none
WHOLE = ("int", "uint", "bool")  # how the names of types of whole numbers begin
TEXT = ("string", "large_string")


def image_column(source: Source, features: Any) -> str:
    """Return the column of images, the user's or the only one; DataError names the candidates."""
    given = source.options.get("image")
    if given:
        if given not in features or not (
            _is_image(features[given]) or _type(features[given]) in ("binary", "large_binary")
        ):
            raise DataError(f"{source}: '{given}' is no column of images; expected one of {_told(features)}")
        return given
    found = [name for name, feature in features.items() if _is_image(feature)]
    if len(found) == 1:
        return found[0]
    state = f"{len(found)} columns of images: {', '.join(found)}" if found else "no column of images"
    raise DataError(f"{source}: {state}, of {_told(features)}; expected one; name it: ?image=COLUMN")


def label_columns(source: Source, features: Any) -> tuple[str, ...]:
    """Return the columns of labels: none where images have none, several where each is a class; DataError as above."""
    given = source.options.get("label")
    if given:
        names = (given,) if given in features else tuple(given.split(","))
        if names == (NO_LABELS,):
            return ()
        for name in names:
            if name not in features:
                raise DataError(f"{source}: {unknown('column', name, features)}")
        return names
    others = [name for name, feature in features.items() if not _is_image(feature)]
    found = [name for name in others if _names(features[name]) is not None]
    found = found or [name for name in others if name.lower() in USUAL]
    if len(found) == 1 or not others:
        return tuple(found)
    state = f"{len(found)} columns may be the labels: {', '.join(found)}" if found else "no column of labels"
    raise DataError(
        f"{source}: {state}, of {_told(features)}; expected one; name it: ?label=COLUMN, or ?label={NO_LABELS} for"
        " images without labels"
    )


def read_labels(where: str, table: Any, columns: Sequence[str], features: Any) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return targets, (N,) int64 or (N, K) int8, and classes; `where` is what messages begin with."""
    if len(columns) > 1:
        codes = [_codes(where, name, _values(where, table, name)) for name in columns]
        return np.stack(codes, axis=1).astype(np.int8), tuple(columns)
    (column,) = columns
    feature, values = features[column], _values(where, table, column)
    inner = _inner(feature)
    if inner is not None:
        return _several(f"{where}, column {column}", values, inner)
    return _single(f"{where}, column {column}", values, feature)


def _single(where: str, values: list[Any], feature: Any) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return one label an image."""
    names = _names(feature)
    if names is not None:
        _require_range(where, values, len(names))
        return np.asarray(values, dtype=np.int64), tuple(names)
    found = _occurring(where, values, feature)
    places = {value: place for place, value in enumerate(found)}
    return np.asarray([places[value] for value in values], dtype=np.int64), tuple(map(str, found))


def _several(where: str, rows: list[list[Any]], inner: Any) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return several labels an image."""
    names = _names(inner)
    flat = [value for row in rows for value in row]
    if names is None and _are_codes(rows, inner):
        return np.asarray(rows, dtype=np.int8), tuple(map(str, range(len(rows[0]))))
    if names is None:
        found = _occurring(where, flat, inner)
        places = {value: place for place, value in enumerate(found)}
        classes = tuple(map(str, found))
    else:
        _require_range(where, flat, len(names))
        places, classes = {place: place for place in range(len(names))}, tuple(names)
    targets = np.zeros((len(rows), len(classes)), dtype=np.int8)
    for number, row in enumerate(rows):
        targets[number, [places[value] for value in row]] = 1
    return targets, classes


def _are_codes(rows: list[list[Any]], inner: Any) -> bool:
    """Say whether rows are 1, 0 or -1 for each class: equally long, and no list of different classes.

    [0, 1] might be either; such rows are codes where any of them names a code twice.
    """
    if len({len(row) for row in rows}) != 1 or not rows[0] or _type(inner) in TEXT:
        return False
    only_codes = all(value in (1, 0, -1) for row in rows for value in row)
    return only_codes and (_type(inner) == "bool" or any(len(set(row)) < len(row) for row in rows))


def _codes(where: str, column: str, values: list[Any]) -> np.ndarray:
    """Return a column of 1, 0 and -1."""
    odd = next((value for value in values if isinstance(value, str | list | float) or value not in (1, 0, -1)), None)
    if odd is not None:
        raise DataError(f"{where}: '{str(odd)[:40]}' in column {column}; expected 1, 0 or -1 where several are named")
    return np.asarray(values, dtype=np.int8)


def _values(where: str, table: Any, column: str) -> list[Any]:
    """Return a column; DataError where a row has no label."""
    found = table.column(column)
    if found.null_count:
        raise DataError(
            f"{where}: {found.null_count} of {len(found)} rows have no {column}; expected a label each; name another"
            " split or column"
        )
    return found.to_pylist()


def _occurring(where: str, values: list[Any], feature: Any) -> list[Any]:
    """Return the different values in their order; DataError for what is neither text nor whole numbers."""
    kind = _type(feature)
    if kind not in TEXT and not kind.startswith(WHOLE):
        raise DataError(f"{where}: holds {kind or 'tables'}; expected text or whole numbers; name another column")
    return sorted(set(values))


def _require_range(where: str, values: list[Any], count: int) -> None:
    """Raise DataError for a label that is no class; -1 is how hidden labels of tests are written."""
    odd = [value for value in values if not 0 <= value < count]
    if odd:
        what = "without a label (-1)" if odd[0] == -1 else f"of class {odd[0]}"
        raise DataError(
            f"{where}: {len(odd)} rows {what}; expected classes 0 to {count - 1}; name another split: ?test=NAME"
        )


def _is_image(feature: Any) -> bool:
    """Say whether a column holds images: the library's type, or what it becomes in a file: bytes and path."""
    return type(feature).__name__ == "Image" or (isinstance(feature, dict) and {"bytes", "path"} == set(feature))


def _inner(feature: Any) -> Any:
    """Return what a column of lists holds; None for others."""
    if isinstance(feature, list):
        return feature[0]
    return getattr(feature, "feature", None)


def _names(feature: Any) -> list[str] | None:
    """Return the names of a ClassLabel, or of a list of them; None for others."""
    inner = _inner(feature)
    return getattr(feature if inner is None else inner, "names", None)


def _type(feature: Any) -> str:
    """Return the name of a value's type; empty for what is no value."""
    return getattr(feature, "dtype", "") if type(feature).__name__ == "Value" else ""


def _told(features: Any) -> str:
    """Return the columns in words."""
    return ", ".join(features)
