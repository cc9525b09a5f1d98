"""Records of images packed into one file of JSON, of which every process of a node shares the pages.

A record is one image in Detectron2's form, of plain JSON values. As Python objects those of COCO's train2017 take 3 GB
in each rank, and again in each of its loader processes as they count references; packed they are some 0.5 GB of page
cache for all of them, and a record is made when it is asked for.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np

from twinbench.data.errors import DataError
from twinbench.protocols.house import replacing

Record = dict[str, Any]
MAGIC = b"twinrec1"  # the file's last eight bytes
COLUMNS = ("width", "height", "objects")  # of the table behind the records


class Records(Sequence[Record]):
    """The records of a split, each made anew when it is asked for: who changes one changes nobody else's.

    The file holds a line of JSON for each record, then int64 offsets (N + 1), an int32 table (N, 3), N and MAGIC.
    """

    def __init__(self, content: np.ndarray, path: Path | None = None, rows: np.ndarray | None = None) -> None:
        """Take the bytes of a packed file (uint8); `rows` are the records that this view shows."""
        count = int(np.frombuffer(content[-16:-8].tobytes(), np.int64)[0])
        table = len(content) - 16 - count * 4 * len(COLUMNS)
        offsets = table - (count + 1) * 8
        self._content, self._path = content, path
        self._offsets = np.frombuffer(content[offsets:table], np.int64)
        self._table = np.frombuffer(content[table:-16], np.int32).reshape(count, len(COLUMNS))
        self._rows = np.arange(count) if rows is None else rows

    @classmethod
    def pack(cls, records: Iterable[Record], path: Path) -> "Records":
        """Write records as they come to the file `path`, which appears whole or not at all, and open it."""
        with replacing(path) as beside, beside.open("wb") as file:
            for part in _packed(records):
                file.write(part)
        return cls.open(path)

    @classmethod
    def open(cls, path: Path) -> "Records":
        """Open a packed file; DataError for any other."""
        try:
            content = np.memmap(path, np.uint8, mode="r")
        except (OSError, ValueError) as error:  # ValueError: an empty file
            raise DataError(f"{path}: no packed records ({error}); remove it, and it is made anew") from None
        if content[-8:].tobytes() != MAGIC:
            raise DataError(f"{path}: no packed records, or half of them; remove it, and they are made anew")
        return cls(content, path)

    @classmethod
    def of(cls, records: Iterable[Record]) -> "Records":
        """Return records packed in memory."""
        return cls(np.frombuffer(b"".join(_packed(records)), np.uint8))

    def __len__(self) -> int:
        """Return the number of records."""
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> "Records": ...
    def __getitem__(self, index: int | slice) -> "Record | Records":
        """Return one record, or a view of several."""
        if isinstance(index, slice):
            return self.where(np.arange(len(self))[index])
        row = self._rows[index]
        start, stop = self._offsets[row], self._offsets[row + 1]
        return json.loads(self._content[start:stop].tobytes())

    def __iter__(self) -> Iterator[Record]:
        """Yield each record."""
        for index in range(len(self)):
            yield self[index]

    @property
    def shapes(self) -> np.ndarray:
        """The images' (width, height) in pixels: (N, 2) int32."""
        return self._table[self._rows, :2]

    @property
    def objects(self) -> np.ndarray:
        """How many objects that are no crowd each image shows: (N,) int32."""
        return self._table[self._rows, 2]

    def where(self, chosen: np.ndarray) -> "Records":
        """Return a view of the records that a mask (N,) or their numbers choose."""
        return Records(self._content, self._path, self._rows[chosen])

    def __reduce__(self) -> tuple[Any, ...]:
        """Give another process the file's path and not its bytes."""
        if self._path is None:
            return Records, (np.asarray(self._content), None, self._rows)
        return _opened, (self._path, self._rows)


def _opened(path: Path, rows: np.ndarray) -> Records:
    return Records.open(path).where(rows)


def _packed(records: Iterable[Record]) -> Iterator[bytes]:
    """Yield the bytes of a packed file."""
    offsets, table = [0], list[tuple[int, int, int]]()
    for record in records:
        line = json.dumps(record, separators=(",", ":")).encode() + b"\n"
        offsets.append(offsets[-1] + len(line))
        objects = sum(not thing.get("iscrowd", 0) for thing in record.get("annotations", ()))
        table.append((record["width"], record["height"], objects))
        yield line
    yield b" " * (-offsets[-1] % 8)  # the arrays begin where numpy likes them to
    yield np.array(offsets, np.int64).tobytes()
    yield np.array(table, np.int32).reshape(-1, len(COLUMNS)).tobytes()
    yield np.array([len(table)], np.int64).tobytes()
    yield MAGIC
