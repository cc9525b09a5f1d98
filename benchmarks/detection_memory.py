"""What the annotations of COCO cost a rank and its loader processes: as plain lists, and packed into one file.

A tenth of train2017 is made up, with as many objects and polygons as it has, read in a rank with LOADERS loader
processes as a training reads it, and the proportional set sizes are taken (smaps_rollup: a page that n processes share
counts 1/n in each). What a rank without annotations has is subtracted; ten times that is computed for all of COCO.

Plain lists are what Detectron2's DatasetCatalog gives. A loader process is a fork: it begins with the rank's own pages,
and copies each as it counts a reference to what lies on it.
"""

import copy
import multiprocessing
import sys
import tempfile
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset

from twinbench.data.objects.packed import Record, Records

PART = 10  # of COCO
IMAGES, OBJECTS = 118_287 // PART, 860_001 // PART
CORNERS = 24  # of an object's outline
LOADERS, PASSES = 2, 3
MOST_GIB_A_RANK = 0.5  # of all of COCO, loader processes included
GIB = 1024.0**2  # in kB


def main() -> int:
    """Print the figures; return 1 if the target is missed."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train.records"
        Records.pack(made_up(), path)
        print(f"memory: {IMAGES:,} images, {OBJECTS:,} objects: {path.stat().st_size / 2**20:.0f} MiB packed")
        nothing = _apart("nothing", path)
        told = {how: [one - base for one, base in zip(_apart(how, path), nothing, strict=True)] for how in READ}
    for how, sizes in told.items():
        if how == "nothing":
            continue
        rank, *loaders = sizes
        parts = f"{rank / 1024:.0f} MiB in the rank, {', '.join(f'{one / 1024:.0f}' for one in loaders)} in its loaders"
        print(f"memory: {how}: {parts}; of all of COCO, computed: {PART * sum(sizes) / GIB:.2f} GiB a rank")
    whole = PART * sum(told["packed"]) / GIB
    print(f"memory: packed, of all of COCO: {whole:.2f} GiB a rank (target {MOST_GIB_A_RANK:g})")
    return int(whole > MOST_GIB_A_RANK)


def made_up() -> Iterator[Record]:
    """Yield records as COCO's reader does."""
    rng = np.random.default_rng(0)
    counts = np.bincount(rng.integers(0, IMAGES, OBJECTS), minlength=IMAGES)
    number = 0
    for image, count in enumerate(counts):
        outlines = rng.uniform(0, 480, (count, 2 * CORNERS)).round(2).tolist()
        things: list[dict[str, Any]] = []
        for outline in outlines:
            number += 1
            things.append(
                {
                    "bbox": rng.uniform(1, 300, 4).round(2).tolist(),
                    "bbox_mode": 1,
                    "category_id": int(rng.integers(80)),
                    "iscrowd": 0,
                    "area": round(float(rng.uniform(10, 9e4)), 4),
                    "segmentation": [outline],
                    "id": number,
                }
            )
        name = f"/datasets/coco/train2017/{image:012d}.jpg"
        yield {"file_name": name, "image_id": image, "width": 640, "height": 480, "annotations": things}


READ: dict[str, Any] = {
    "nothing": lambda path: [{}] * IMAGES,
    "lists": lambda path: list(Records.open(path)),
    "packed": Records.open,
}


class _Copied(Dataset[int]):
    """Records of which each is copied, as Detectron2's mapper does before it reads the image."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.records = records

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> int:
        return len(copy.deepcopy(self.records[index]))


def _apart(how: str, path: Path) -> list[int]:
    """Return the sizes in a process of its own, which has read nothing before."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    child = context.Process(target=_rank, args=(how, path, there))
    child.start()
    there.close()
    sizes = here.recv()
    child.join()
    return sizes


def _rank(how: str, path: Path, told: Connection) -> None:
    """Send the sizes in kB of this process and its loader processes, after they have read in some passes."""
    records = READ[how](path)
    loader: Any = DataLoader(
        _Copied(records),
        batch_size=64,
        shuffle=True,
        num_workers=LOADERS,
        persistent_workers=True,
        multiprocessing_context="fork",
    )
    for _ in range(PASSES):
        for _ in loader:
            pass
    loaders: list[Any] = loader._iterator._workers
    told.send([_size("self"), *(_size(str(worker.pid)) for worker in loaders)])


def _size(process: str) -> int:
    """Return the proportional set size in kB."""
    for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    raise RuntimeError(f"/proc/{process}/smaps_rollup has no Pss")


if __name__ == "__main__":
    sys.exit(main())
