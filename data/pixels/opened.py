"""Data with a class or a depth a pixel as a trial works on it: records in files that all its processes share."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from twinbench.data.objects.packed import Records
from twinbench.data.pixels.depths import require_depths
from twinbench.data.pixels.masks import require_masks
from twinbench.data.pixels.read import read_pixels, task_of
from twinbench.data.pixels.split import Decode
from twinbench.data.required import require_pixels
from twinbench.data.source import Source
from twinbench.protocols.house import UserError
from twinbench.protocols.schema import Protocol
from twinbench.runtime.distributed import from_main
from twinbench.runtime.process import Process
from twinbench.runtime.shared import is_there

SPLITS = ("train", "test")


@dataclass(frozen=True)
class PixelData:
    """A data set as it is trained and tested on."""

    classes: tuple[str, ...]
    colours: tuple[tuple[int, int, int], ...]
    decode: Decode
    train: Records
    test: Records
    images: dict[str, int]
    notes: tuple[str, ...] = ()

    def split(self, name: str) -> Records:
        """Return the records of `train` or `test`."""
        return {"train": self.train, "test": self.test}[name]


def open_pixels(protocol: Protocol, source: Source, folder: Path, process: Process, identity: str = "") -> PixelData:
    """Return the data of `protocol` at `source`, packed into `folder` by the main process.

    DataError for what is missing or does not fit, and for another number of classes than the protocol's. `identity` is
    the data's: masks that were decoded once to see whether they are sound are not decoded again for that.
    """
    layout = protocol.data_set.layout
    notes = from_main(process, lambda: _packed(protocol, source, folder, identity))
    test = read_pixels(layout, source, "test", task_of(protocol.data_set))
    records: dict[str, Records] = {}
    for name in SPLITS:
        path = folder / f"{name}.records"
        is_there(path, process)
        records[name] = Records.open(path)
    images = {name: len(found) for name, found in records.items()}
    return PixelData(test.classes, test.colours, test.decode, records["train"], records["test"], images, notes)


def _packed(protocol: Protocol, source: Source, folder: Path, identity: str) -> tuple[str, ...]:
    """Pack both splits and return what is to be known of them; of data that are refused nothing is left behind."""
    notes: list[str] = []
    task = task_of(protocol.data_set)
    try:
        for name in SPLITS:
            split = read_pixels(protocol.data_set.layout, source, name, task)
            require_pixels(protocol, source, split)
            require = require_depths if task == "depth" else require_masks
            notes += require(source, identity, name, split)
            Records.pack(split.records(), folder / f"{name}.records")
    except UserError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return tuple(notes)
