"""`hf:ORG/NAME`, `hf:FOLDER`: tables of the datasets library, read where they lie.

    hf:ORG/NAME     the copy that `twinbench data fetch hf:ORG/NAME`, or load_dataset, has put into the library's cache
    hf:FOLDER       a folder of save_to_disk, or of Parquet files (which the library copies to its cache once)

The tables are files of Arrow, mapped into memory: nothing is asked from the network and no code comes with data. The
images stay as they were encoded. A split may be a slice: `?train=train[:80%]&test=train[80%:]`.
"""

import importlib
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from twinbench.data.errors import DataError
from twinbench.data.items import ImageFile, ImageList, Stored
from twinbench.data.labelled import UNLABELLED, LabelledImages
from twinbench.data.libraries.columns import image_column, label_columns, read_labels
from twinbench.data.libraries.hugging_face_copies import Tables, first_line, library, tables_at
from twinbench.data.libraries.places_of_libraries import parts
from twinbench.data.source import Source
from twinbench.protocols.house import unknown

TESTS = ("test", "validation", "val", "valid")  # the first of these that is there is tested on


def read_hugging_face(source: Source, split: str) -> LabelledImages:
    """Return the `train` or `test` split."""
    source = source.absolute()
    for kept in (tables_at, _table, _columns):  # what was opened before may have been written anew since
        kept.cache_clear()
    tables = tables_at(source)
    defaults = _defaults(source, tables)
    if split == "test" and not defaults["test"] and not source.named("test"):
        raise DataError(
            f"{source}: no test split, but {', '.join(tables.splits)}; expected one of {', '.join(TESTS)}; name it, or"
            " a part of another: ?train=train[:80%]&test=train[80%:]"
        )
    names = parts(source, split, defaults)
    for name in names:
        if name.partition("[")[0] not in tables.splits:
            raise DataError(f"{source}: {unknown('split', name, tables.splits)}")
    wanted = Part(str(source), names, image_column(source, tables.features))
    labels = label_columns(source, tables.features)
    images = TableImages(wanted, np.arange(len(_columns(wanted).encoded)))
    if not len(images):
        raise DataError(f"{source}: no images in {'+'.join(names)}; expected some; fetch it again")
    if not labels:
        return LabelledImages(images, np.zeros(len(images), dtype=np.int64), UNLABELLED, sources=tables.files)
    table = _table(str(source), names)
    targets, classes = read_labels(f"{source}, {'+'.join(names)}", table, labels, tables.features)
    return LabelledImages(images, targets, classes, sources=tables.files)


def fetch(place: str, options: Mapping[str, str]) -> Path:
    """Have the library fetch `ORG/NAME` into its cache; return the folder there. DataError where it cannot."""
    source = Source(place, "hf", dict(options))
    datasets = library(source)
    try:
        builder = datasets.load_dataset_builder(place, options.get("config"), revision=options.get("revision"))
        builder.download_and_prepare()
    except Exception as error:  # of the hub, the network, archives and parsers, each its own
        raise DataError(f"{source}: could not be fetched ({first_line(error)}); check its name, or log in") from None
    return Path(builder.cache_dir)


class Part(NamedTuple):
    """The images of one split, by what they can be found with again in another process."""

    source: str
    names: tuple[str, ...]
    column: str


class TableImage(Stored):
    """One row of a table. It is pickled by its place; the process that gets it maps the table for itself."""

    def __init__(self, part: Part, row: int) -> None:
        """Keep the place, rows from 0."""
        self._part, self._row = part, row

    @property
    def name(self) -> str:
        """The row, and the name of the file that it was, if that is kept."""
        path = _columns(self._part).path_of(self._row)
        return f"{self._row:07}-{os.path.basename(path)}" if path else f"{self._row:07}"

    def content(self) -> bytes:
        """Return the encoded image."""
        encoded = _columns(self._part).encoded[self._row].as_py()
        if encoded is None:
            raise DataError(f"{self}: a row without an image; expected one; correct the table")
        return encoded

    def __str__(self) -> str:
        """Return where it lies."""
        return f"{self._part.source}, {'+'.join(self._part.names)}, row {self._row}"


class TableImages(ImageList):
    """Rows of a table."""

    def __init__(self, part: Part, rows: np.ndarray) -> None:
        """Keep the places of the rows, from 0."""
        self._part, self._rows = part, rows

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._rows)

    def name(self, index: int) -> str:
        """Return the split and the name of a row."""
        return f"{'+'.join(self._part.names)}/{TableImage(self._part, int(self._rows[index])).name}"

    def sizes(self) -> Iterator[int]:
        """Yield the size of each encoded image; DataError for a row without an image."""
        compute: Any = importlib.import_module("pyarrow.compute")  # its functions are made when it is imported
        sizes = compute.fill_null(compute.binary_length(_columns(self._part).encoded), -1).to_numpy()
        for row in self._rows:
            yield int(sizes[row]) if sizes[row] >= 0 else _outside(self._part, int(row))

    def watched(self) -> tuple[Path, ...]:
        """Return the files of the tables."""
        return tables_at(Source.of(self._part.source)).files

    def select(self, indices: Sequence[int]) -> "TableImages":
        """Return the images at these places."""
        return TableImages(self._part, self._rows[np.asarray(indices, dtype=np.int64)])

    def one(self, index: int) -> ImageFile:
        """Return one image: a row, or the file that it names where the table does not hold its bytes."""
        row, columns = int(self._rows[index]), _columns(self._part)
        path = columns.path_of(row)
        return Path(path) if path and not columns.encoded[row].is_valid else TableImage(self._part, row)


class _Columns(NamedTuple):
    """The images of a table, apart from their paths: asking for names must not read the 140 GB of ImageNet's images."""

    encoded: Any  # pyarrow.ChunkedArray, null where an image is a file of its own
    paths: Any  # the same, or None

    def path_of(self, row: int) -> str | None:
        """Return the path that a row names: of the file that the image was, or is."""
        return None if self.paths is None else self.paths[row].as_py()


def _outside(part: Part, row: int) -> int:
    """Return the size of an image that is a file of its own; DataError where there is none."""
    path = _columns(part).path_of(row)
    try:
        return os.stat(path).st_size if path else len(TableImage(part, row).content())
    except OSError as error:
        raise DataError(
            f"{TableImage(part, row)}: its image is elsewhere, in {path} ({error.strerror}); expected it in the table;"
            " fetch the data again"
        ) from None


@lru_cache(maxsize=8)
def _table(source: str, names: tuple[str, ...]) -> Any:
    """Return the table of these splits one after the other. Forked processes share the mapping."""
    import pyarrow

    tables = tables_at(Source.of(source))
    try:
        return pyarrow.concat_tables([tables.read(name) for name in names])
    except (ValueError, AssertionError, KeyError, OSError) as error:  # of slices that are none, and of damaged files
        raise DataError(f"{source}: {'+'.join(names)} cannot be read ({first_line(error)}); fetch it again") from None


@lru_cache(maxsize=8)
def _columns(part: Part) -> _Columns:
    """Return the images of a split."""
    compute: Any = importlib.import_module("pyarrow.compute")
    column = _table(part.source, part.names).column(part.column)
    if not column.type.num_fields:  # bytes alone
        return _Columns(column, None)
    return _Columns(compute.struct_field(column, "bytes"), compute.struct_field(column, "path"))


def _defaults(source: Source, tables: Tables) -> dict[str, str]:
    """Return the splits that are meant where none are named; DataError where none is there."""
    test = next((name for name in TESTS if name in tables.splits), "")
    if "train" not in tables.splits and not source.named("train"):
        raise DataError(f"{source}: no split train, but {', '.join(tables.splits)}; name it: ?train=NAME&test=NAME")
    return {"train": "train", "test": test}
