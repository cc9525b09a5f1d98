"""Reading images and listing data sets on one processor core: rates, and ratios to a plain reference of the same run.

Decoding is measured on photographs of 500 x 375 as ImageNet has them. Other decoders that are installed stand beside
`read_rgb`: with what it takes to get Pillow's image from them, and whether the pixels are the same, bit for bit. The
reference for listing is torchvision's ImageFolder on the same tree: as many empty files as ImageNet has images, in
memory; a tenth where memory is short. Times are CPU time of the whole process; each listing has a process of its own.
"""

import argparse
import importlib.util
import json
import os
import shutil
import stat
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image
from torchvision.datasets import ImageFolder
from torchvision.io import ImageReadMode, decode_jpeg

from benchmarks.loss import status
from benchmarks.views import IMAGES, photographs
from twinbench.data.checking.checks import examine
from twinbench.data.decode import read_rgb, read_size
from twinbench.data.identity import contents
from twinbench.data.layouts import read_labelled
from twinbench.protocols.kinds.base import ImageTransform
from twinbench.transfer.transforms import evaluation_transform

REPEATS = 7
CLASSES, TRAIN, VAL = 1000, 1281, 50  # ImageNet has 1,281,167 training images
ROOM = 4e9  # bytes of free memory that such a tree is made in
DECODING, CHECKING = 0.95, 1.5  # times as fast as Pillow's `convert`, and as reading in full
LISTING, SECONDS, MEGABYTES, AGAIN = 0.6, 60.0, 1000.0, 1.0  # listing: times as fast as ImageFolder; bounds of each


def plain(path: Path) -> Image.Image:
    """Return an image as most code does."""
    with Image.open(path) as image:
        return image.convert("RGB")


def by_torchvision(path: Path) -> Image.Image:
    """Return an image by torchvision's decoder."""
    content = torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8)
    pixels = decode_jpeg(content, mode=ImageReadMode.RGB)
    assert isinstance(pixels, torch.Tensor)  # a list is for several images
    return Image.fromarray(pixels.permute(1, 2, 0).numpy())


def decoders() -> dict[str, Callable[[Path], Image.Image]]:
    """Return the ways to decode, of which two need packages that nothing else does."""
    found = {"Pillow, convert": plain, "read_rgb": read_rgb, "torchvision": by_torchvision}
    if importlib.util.find_spec("simplejpeg"):
        simplejpeg = importlib.import_module("simplejpeg")
        found["simplejpeg"] = lambda path: Image.fromarray(simplejpeg.decode_jpeg(path.read_bytes()))
    if importlib.util.find_spec("cv2"):
        cv2 = importlib.import_module("cv2")
        cv2.setNumThreads(1)
        how = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
        found["OpenCV"] = lambda path: Image.fromarray(cv2.imread(str(path), how))
    return found


def milliseconds(ways: dict[str, Callable[[Path], object]], paths: list[Path]) -> dict[str, list[float]]:
    """Return the CPU time an image of each way in each repeat, all by turns."""
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(REPEATS):
        for name, way in list(ways.items())[:: 1 if turn % 2 else -1]:
            began = time.process_time()
            for path in paths:
                way(path)
            spent[name].append(1000 * (time.process_time() - began) / len(paths))
    return spent


def decoding(paths: list[Path]) -> bool:
    """Print what decoding takes; return whether the targets are met."""
    evaluate = evaluation_transform(ImageTransform(resize=256, crop=224, shape="center-crop"))
    known, size = decoders(), "500 x 375"
    ways: dict[str, Callable[[Path], object]] = {
        **known,
        "read_rgb, resize, crop": lambda path: evaluate(read_rgb(path)),
        "check": examine,
        "check --fast": read_size,
    }
    spent = milliseconds(ways, paths)
    ratio = {name: ratios(spent["Pillow, convert"], each) for name, each in spent.items()}
    print(f"{IMAGES} photographs of {size:20} {'ms each':>8} {'faster':>7}  pixels")
    for name, each in spent.items():
        same = name in known and all(known[name](path).tobytes() == plain(path).tobytes() for path in paths)
        pixels = ("the same" if same else "others") if name in known else ""
        print(f"{name:36} {statistics.median(each):8.2f} {ratio[name]:6.2f}x  {pixels}")
    checked = ratios(spent["read_rgb"], spent["check"])
    print(f"targets: read_rgb {DECODING}x; a check {CHECKING}x of read_rgb: {checked:.2f}x")
    return ratio["read_rgb"] >= DECODING and checked >= CHECKING


def ratios(slow: list[float], fast: list[float]) -> float:
    """Return how many times as fast something is, the median over the turns."""
    return statistics.median(one / other for one, other in zip(slow, fast, strict=True))


def make_tree(root: Path, part: int) -> int:
    """Make a tree like ImageNet's of empty files, 1/`part` of the classes; return how many."""
    for split, count in (("train", TRAIN), ("val", VAL)):
        for label in range(CLASSES // part):
            folder = root / split / f"n{label:08d}"
            folder.mkdir(parents=True)
            place = os.open(folder, os.O_RDONLY)
            for index in range(count):
                os.mknod(f"n{label:08d}_{index}.JPEG", 0o644 | stat.S_IFREG, dir_fd=place)
            os.close(place)
    return (TRAIN + VAL) * (CLASSES // part)


def measure(what: str, root: Path) -> dict[str, float]:
    """Do one thing in this process; return its CPU seconds and its peak of memory in MB."""
    ways: dict[str, Callable[[], object]] = {
        "ImageFolder": lambda: [ImageFolder(str(root / split), allow_empty=True) for split in ("train", "val")],
        "listing": lambda: [read_labelled("imagenet", root, split) for split in ("train", "test")],
        "identity": lambda: contents("imagenet", root),
        "identity by its hint": lambda: contents("imagenet", root),
    }
    before, began = status("VmRSS"), time.process_time()
    ways[what]()
    return {"seconds": time.process_time() - began, "megabytes": (status("VmHWM") - before) / 1024}


def listing() -> bool:
    """Print what listing takes; return whether the targets are met."""
    memory = Path("/dev/shm")
    free = shutil.disk_usage(memory).free if memory.is_dir() else 0
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(dir=memory if free > ROOM else None) as folder:
        root, cache = Path(folder) / "tree", Path(folder) / "cache"
        files = make_tree(root, 1 if free > ROOM else 10)
        time.sleep(3)  # hints are kept of what has settled
        print(f"\n{files:,} files {'CPU s':>25} {'us each':>8} {'MB':>6}")
        for what in ("ImageFolder", "listing", "identity", "identity by its hint"):
            command = [sys.executable, "-m", "benchmarks.data", "--measure", what, str(root)]
            environment = {**os.environ, "TWINBENCH_CACHE": str(cache)}
            done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
            found[what] = each = json.loads(done.stdout)
            microseconds = 1e6 * each["seconds"] / files
            print(f"{what:36} {each['seconds']:6.2f} {microseconds:8.2f} {each['megabytes']:6.0f}", flush=True)
    ratio = found["ImageFolder"]["seconds"] / found["listing"]["seconds"]
    print(
        f"targets: listing {LISTING}x of ImageFolder: {ratio:.2f}x; each {SECONDS:.0f} s and {MEGABYTES:.0f} MB; by its"
        f" hint {AGAIN:.0f} s"
    )
    within = all(each["seconds"] <= SECONDS and each["megabytes"] <= MEGABYTES for each in found.values())
    return within and ratio >= LISTING and found["identity by its hint"]["seconds"] <= AGAIN


def main() -> int:
    """Print both tables; return 1 if a target is missed."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        decoded = decoding(photographs(Path(folder)))
    listed = listing()
    return int(not (decoded and listed))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measure", nargs=2, metavar=("WHAT", "ROOT"), help="measure one thing, print JSON")
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure[0], Path(arguments.measure[1]))))
    else:
        sys.exit(main())
