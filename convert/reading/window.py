"""Mapped bytes as a file-like stream."""

import io
from typing import Any

LONG = 4096  # bytes; from here on a copy costs more than a view


class Window:
    """A file-like view of mapped bytes; long reads are views, not copies."""

    def __init__(self, view: memoryview) -> None:
        self.view, self.place = view, 0

    def read(self, size: int) -> Any:
        """Return the next `size` bytes, fewer at the end."""
        part = self.view[self.place : self.place + max(size, 0)]
        self.place += len(part)
        return part if len(part) > LONG else bytes(part)

    def readline(self) -> bytes:
        """Return the bytes up to the next newline; names in pickles are short."""
        line = io.BytesIO(bytes(self.view[self.place : self.place + LONG])).readline()
        self.place += len(line)
        return line
