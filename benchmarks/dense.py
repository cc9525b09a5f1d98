"""Frozen patches on one processor core: what a trial costs beside the network's passes alone, and exact search.

forward: images read, stretched and passed through the backbone one by one, and nothing else. Whole trials of nearest
patches and of linear segmentation are measured against that, for as many images as they pass through it. plain: the
search as one writes it first, all similarities of a group of images at once and a bank in memory; ours is in blocks
from the disk, and by faiss in the same blocks. Each figure is of a process of its own: CPU seconds, and the peak of
memory beyond what it started with.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from benchmarks.loss import status
from twinbench.convert.inputs import Inputs
from twinbench.convert.opening import open_backbone
from twinbench.dense.images import image_of
from twinbench.dense.nearest.bank import ROWS, Bank, OpenBank
from twinbench.dense.nearest.faiss_search import keys_by
from twinbench.dense.nearest.images import Squares
from twinbench.dense.nearest.search import Nearest
from twinbench.dense.nearest.trial import TOGETHER
from twinbench.dense.options import Search
from twinbench.dense.places import Places
from twinbench.dense.trial import measure
from twinbench.protocols.catalogue import find_protocol
from twinbench.protocols.nearest_patches import VOC12_HUMMINGBIRD
from twinbench.report.asked import Asked

BACKBONE, SIDE, TRAIN, TEST = "timm:vit_tiny_patch16_224=random", 224, 48, 16
PATCHES, WIDTH, WIDE, BANK, NEIGHBORS = 196, 192, 768, 4 * ROWS, 30  # of an image, of a patch (two), in a bank
STEPS, BATCH = 12, 4
NEAREST = {"side": SIDE, "augmentation_epochs": 1, "memory_size": 0}
LINEAR = {"short_side": SIDE, "crop": SIDE, "test_crop": SIDE, "test_stride": SIDE, "batch_size": BATCH}
LINEAR |= {"iterations": STEPS, "warmup_iterations": 2}
# A case to what it is measured against, the least share of its rate and the most of its memory.
TARGETS = {"nearest": ("forward", 0.45, 4.0), "linear": ("forward", 0.45, 4.0), "blocks": ("plain", 0.9, 0.5)}
TARGETS |= {"faiss": ("blocks", 0.3, 1.5), "faiss-wide": ("blocks-wide", 0.8, 1.5)}


def write(folder: Path) -> None:
    """Write images of noise with four classes."""
    draw = np.random.default_rng(0)
    for split, count in (("train", TRAIN), ("val", TEST)):
        for number in range(count):
            for name, shape, most in (("images", (300, 400, 3), 256), ("masks", (300, 400), 4)):
                path = folder / name / split / f"{number:03d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(draw.integers(0, most, shape, dtype=np.uint8)).save(path)
    (folder / "classes.txt").write_text("a\nb\nc\nd\n", encoding="utf-8")


@torch.inference_mode()
def forward(data: Path, _: Path) -> int:
    """Pass all images through the backbone; return how many."""
    backbone = open_backbone(BACKBONE)
    places, inputs = Places(backbone.build()), Inputs(backbone.convention, "cpu")
    squares = Squares(VOC12_HUMMINGBIRD, SIDE)
    paths = sorted(data.glob("images/*/*.png"))
    for path in paths:
        places(inputs(squares.image(image_of({"file_name": str(path)}))[None]))
    return len(paths)


def trial(name: str, settings: dict[str, int], data: Path, out: Path) -> None:
    """Run a trial."""
    protocol = find_protocol(f"{name}@own").with_settings({key: str(value) for key, value in settings.items()})
    measure(Asked(protocol, BACKBONE, data, out, "ours", device="cpu", workers=0))


def nearest(data: Path, out: Path) -> int:
    """Run Hummingbird's recipe with all patches; the network sees each image once."""
    trial("voc12-hummingbird", NEAREST, data, out)
    return TRAIN + TEST


def linear(data: Path, out: Path) -> int:
    """Run DINOv3's linear segmentation; the network sees training images, and two windows of each test image."""
    trial("ade20k-linear-dinov3", LINEAR, data, out)
    return STEPS * BATCH + 2 * TEST


def queries(width: int) -> list[torch.Tensor]:
    """Return the patches of a group of images."""
    draw = torch.Generator().manual_seed(1)
    return [torch.randn(PATCHES, width, generator=draw) for _ in range(TOGETHER)]


def fill(folder: Path, width: int) -> Path:
    """Write a bank of noise; return its folder."""
    bank, draw = Bank(folder, BANK // ROWS), np.random.default_rng(0)
    for piece in range(bank.pieces):
        rows = draw.standard_normal((ROWS, width), dtype=np.float32)
        bank.write(piece, {"features": rows, "labels": np.zeros((ROWS, 1), np.uint8)})
    return folder


def blocks(width: int, search: Search, _: Path, out: Path) -> int:
    """Search in blocks."""
    keys_of = keys_by(search, "cpu")
    found = [Nearest(rows, NEIGHBORS, "cosine") for rows in queries(width)]
    for start, block in OpenBank(Bank(out, BANK // ROWS), range(BANK // ROWS), "cpu").blocks():
        keys = keys_of.of(block, "cosine")
        for one in found:
            one.add(keys, start)
    return TOGETHER


def plain(_: Path, out: Path) -> int:
    """Search all at once."""
    bank = Bank(out, BANK // ROWS)
    rows = torch.cat([torch.from_numpy(np.load(bank.path("features", piece))) for piece in range(bank.pieces)])
    similarity = functional.normalize(torch.cat(queries(WIDTH)), dim=1) @ functional.normalize(rows, dim=1).T
    similarity.topk(NEIGHBORS, dim=1)
    return TOGETHER


CASES: dict[str, Callable[[Path, Path], int]] = {
    "forward": forward,
    "nearest": nearest,
    "linear": linear,
    "plain": plain,
    "blocks": partial(blocks, WIDTH, "exact"),
    "faiss": partial(blocks, WIDTH, "faiss"),
    "blocks-wide": partial(blocks, WIDE, "exact"),
    "faiss-wide": partial(blocks, WIDE, "faiss"),
}


def measured(case: str, data: Path, out: Path) -> tuple[float, float]:
    """Return images per CPU second, and the peak of memory in MB, of a case in a process of its own."""
    words = [sys.executable, "-m", "benchmarks.dense", case, str(data), str(out)]
    told = subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()
    return float(told[-2]), float(told[-1])


def child(case: str, data: Path, out: Path) -> None:
    """Run a case and print its figures."""
    torch.set_num_threads(1)
    before, began = status("VmRSS"), time.process_time()
    images = CASES[case](data, out)
    seconds = time.process_time() - began
    print(images / seconds, (status("VmHWM") - before) / 1024)


def main() -> int:
    """Print the table; return 1 if a target is missed."""
    found: dict[str, tuple[float, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        write(data)
        narrow, wide = fill(Path(folder) / "narrow", WIDTH), fill(Path(folder) / "wide", WIDE)
        banks = {"plain": narrow, "blocks": narrow, "faiss": narrow, "blocks-wide": wide, "faiss-wide": wide}
        for case in CASES:
            found[case] = measured(case, data, banks.get(case, Path(folder) / case))
    missed = False
    print(f"{'':11} {'images/s':>9} {'peak MB':>8}   of the reference's rate, and of its memory")
    for case, (rate, peak) in found.items():
        line = f"{case:11} {rate:9.1f} {peak:8.0f}"
        if case in TARGETS:
            reference, wanted, most = TARGETS[case]
            faster, larger = rate / found[reference][0], peak / found[reference][1]
            bad = faster < wanted or larger > most
            missed |= bad
            line += f"   {reference}: {faster:.2f} (target {wanted}), {larger:.2f} (target {most})"
            line += " MISSED" if bad else ""
        print(line)
    among = f"{BANK:,} of {WIDTH} numbers (wide: {WIDE})"
    print(f"search: {TOGETHER} images of {PATCHES} patches among {among}, k = {NEIGHBORS}")
    return int(missed)


if __name__ == "__main__":
    if len(sys.argv) == 4:
        child(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        sys.exit(main())
