"""LevelDB's sorted table of keys and values, in which TensorFlow keeps the index of a checkpoint.

A file is blocks, the last of which lists the others, and a footer of 48 bytes that says where the list is
(leveldb/doc/table_format.md; tensorflow/core/lib/io/format.cc and block.cc).
"""

from collections.abc import Iterator

from twinbench.convert.reading.crc32c import crc32c, unmasked
from twinbench.convert.reading.protobuf import varint

FOOTER = 48  # bytes: places of two blocks, padding, magic
MAGIC = bytes.fromhex("57fb808b247547db")  # at the very end
TRAILER = 5  # bytes behind a block: how it is compressed, and its checksum
MAX_ENTRIES = 20_000  # the largest ResNet of SimCLR, with its optimizer, has 2,000
MAX_KEY = 4096  # bytes; keys share their beginnings, so that a small file could hold huge ones


def entries(table: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield keys and values of a table in its order. Raises ValueError for a damaged one."""
    if len(table) < FOOTER or not table.endswith(MAGIC):
        raise ValueError("no table ends here")
    footer = table[-FOOTER:]
    _, at = _place(footer, 0)  # of a block about the table, which TensorFlow leaves empty
    index, _ = _place(footer, at)
    behind = seen = 0
    for _, value in _block(table, *index):
        (start, size), _ = _place(value, 0)
        if start < behind:  # else a small file could name its one block a million times
            raise ValueError("blocks that overlap")
        behind = start + size
        for entry in _block(table, start, size):
            seen += 1
            if seen > MAX_ENTRIES:
                raise ValueError(f"more than {MAX_ENTRIES:,} entries")
            yield entry


def _place(data: bytes, at: int) -> tuple[tuple[int, int], int]:
    """Return start and size of a block, and where the next thing stands."""
    start, at = varint(data, at)
    size, at = varint(data, at)
    return (start, size), at


def _block(table: bytes, start: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield the keys and values of a block, whose checksum must fit."""
    end = start + size
    if size < 4 or end + TRAILER > len(table) - FOOTER:
        raise ValueError("a block beyond the end of the file")
    compression = table[end]
    if unmasked(int.from_bytes(table[end + 1 : end + TRAILER], "little")) != crc32c(table[start : end + 1]):
        raise ValueError("the checksum of a block does not fit")
    if compression:
        raise ValueError("a compressed block, which TensorFlow's checkpoints do not have")
    # A block ends with places at which keys are written in full, for searches, and how many there are.
    restarts = int.from_bytes(table[end - 4 : end], "little")
    data = table[start : max(end - 4 - 4 * restarts, start)]
    key, at = b"", 0
    while at < len(data):
        shared, at = varint(data, at)
        own, at = varint(data, at)
        length, at = varint(data, at)
        if shared > len(key) or shared + own > MAX_KEY or at + own + length > len(data):
            raise ValueError("a damaged entry")
        key = key[:shared] + data[at : at + own]
        at += own + length
        yield key, data[at - length : at]
