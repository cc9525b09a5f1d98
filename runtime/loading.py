"""Batches of a torch DataLoader whose processes end with it, and how long they were waited for."""

import time
import traceback
from collections.abc import Iterable, Iterator
from typing import Any, Generic, TypeVar

T = TypeVar("T")


def batches_of(loader: Iterable[T]) -> Iterator[T]:
    """Yield what a DataLoader does; when reading fails, its processes end at once.

    torch re-raises a loader process's error out of a frame that holds it, a circle which keeps the loader alive until
    the interpreter ends. There torch waits 5 seconds for each process, then sends SIGTERM, which ours ignore, and waits
    for ever: one damaged image hung a transfer after its error was told. Cleared frames hold nothing.
    """
    try:
        yield from loader
    except BaseException as error:
        traceback.clear_frames(error.__traceback__)
        raise


class Pace(Generic[T]):
    """The batches of a loader, how many were taken, and which share of the time was spent waiting for them."""

    def __init__(self, loader: Iterable[T]) -> None:
        """Begin to measure with the first batch that is asked for."""
        self.loader, self.batches = loader, 0
        self._began = self._waited = 0.0

    def __iter__(self) -> Iterator[T]:
        """Yield what the loader does."""
        self._began = asked = time.monotonic()
        for batch in batches_of(self.loader):
            self._waited += time.monotonic() - asked
            self.batches += 1
            yield batch
            asked = time.monotonic()

    def told(self, images: int) -> dict[str, Any]:
        """Return what a log says of so many images, which are done by now."""
        elapsed = time.monotonic() - self._began
        return {"images_per_s": round(images / elapsed, 1), "waiting": round(self._waited / elapsed, 3)}
