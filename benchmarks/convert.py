"""Converting a full Barlow Twins checkpoint, a whole ViT-L, and a file whose tensors are views of one storage.

They have 1.4 GB, of which 94 MB are backbone, 1.2 GB and 0.2 GB. Each is compared with a copy that is checked and safe:
the file's sha256, its bytes written, and the disk asked for them. Beyond the libraries' import a conversion may take
twice that time, and memory may be the file's size and 600 MB. Memory is the peak resident set of the whole process, as
its parent sees it in the end; the files are made beforehand by another.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

WANTED_RATIO, WANTED_MB = 2.0, 600  # seconds beyond the import, of a copy's; beyond the file's size
PROJECTOR = (2048, 8192, 8192, 8192)  # inputs, then the three layers of the projector
SHARED_MB = 200
FILES = {"full": "resnet50.pth", "vit": "vit.safetensors", "shared": "resnet50.pth"}
IMPORTS = {"full": "import torch", "vit": "import torch, torchvision, timm", "shared": "import torch"}


def make(kind: str, path: str) -> None:
    """Write one of the files."""
    import torch

    from twinbench.convert.architectures.library import LibraryNetwork
    from twinbench.convert.architectures.resnet import ResNet50
    from twinbench.convert.files import save

    network = LibraryNetwork("timm", "vit_large_patch16_224") if kind == "vit" else None
    tensors = network.fresh() if network else ResNet50().state_dict()
    for values in tensors.values():
        if values.is_floating_point() and values.ndim == 1:
            values.uniform_(0.5, 1.5)
    if kind == "full":
        save(_full_checkpoint(tensors), Path(path))
    elif kind == "shared":
        save(_views_of_one_storage(tensors, torch.zeros(SHARED_MB << 18)), Path(path))
    else:
        save({"state_dict": tensors}, Path(path))


def _full_checkpoint(tensors: dict) -> dict:
    """Return what the official code saves: epoch, model under DistributedDataParallel, LARS state."""
    import torch

    model = {f"module.backbone.{name}": values for name, values in tensors.items()}
    for index, (inputs, outputs) in enumerate(zip(PROJECTOR, PROJECTOR[1:], strict=False)):
        model[f"module.projector.{3 * index}.weight"] = torch.empty(outputs, inputs).uniform_(-1, 1)
    weights = [values for values in model.values() if values.is_floating_point()]
    state = {index: {"mu": torch.zeros_like(values)} for index, values in enumerate(weights)}
    return {"epoch": 1000, "model": model, "optimizer": {"state": state, "param_groups": []}}


def _views_of_one_storage(tensors: dict, storage) -> dict:
    """Return the same tensors as views, as FSDP's flat parameters leave them."""
    at = 0
    found = {}
    for name, values in tensors.items():
        if values.is_floating_point():
            view = storage[at : at + values.numel()].view(values.shape)
            found[name] = view.copy_(values)
            at += values.numel()
    return found


def outside(*command: str) -> None:
    """Run `command`; print its seconds and peak MB. A child's peak starts from its parent's, so this one is small."""
    start = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "1"})
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)}: exit status {status}")
    print(time.perf_counter() - start, usage.ru_maxrss / 1024)


def measured(*command: object) -> tuple[float, float]:
    """Run `python COMMAND` in a fresh process; return seconds and peak MB."""
    whole = [sys.executable, "-m", "benchmarks.convert", "outside", sys.executable, *map(str, command)]
    seconds, megabytes = subprocess.run(whole, stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    return float(seconds), float(megabytes)


def copied(path: Path, out: Path) -> tuple[float, float]:
    """Return the seconds of a plain copy, and of one that is checked and safe; the quickest of three."""
    plain: list[float] = []
    safe: list[float] = []
    for _ in range(3):
        start = time.perf_counter()
        shutil.copyfile(path, out)
        plain.append(time.perf_counter() - start)
        with out.open("r+b") as file:
            os.fsync(file.fileno())
        with path.open("rb") as file:
            hashlib.file_digest(file, "sha256")
        safe.append(time.perf_counter() - start)
        out.unlink()
    return min(plain), min(safe)


def lines(folder: Path) -> Iterator[bool]:
    """Measure each file, print its line, and yield whether it is within the targets."""
    print(f"{'':8} {'GB':>6} {'copy s':>7} {'safe s':>7} {'import s':>8} {'convert s':>9} {'ratio':>6}  MB beyond")
    for kind, out in FILES.items():
        path = folder / f"{kind}.pth"
        measured("-m", "benchmarks.convert", "make", kind, path)
        size = path.stat().st_size
        plain, safe = copied(path, folder / "copy")
        imported, _ = min(measured("-c", IMPORTS[kind]) for _ in range(3))
        convert = ["-m", "twinbench", "convert", path, folder / out, "--input", "imagenet"]
        seconds, megabytes = min(measured(*convert) for _ in range(2))
        ratio, beyond = (seconds - imported) / safe, megabytes - size / 2**20
        figures = f"{plain:7.2f} {safe:7.2f} {imported:8.2f} {seconds:9.2f} {ratio:6.1f} {beyond:10.0f}"
        print(f"{kind:8} {size / 1e9:6.2f} {figures}", flush=True)
        path.unlink()
        yield ratio <= WANTED_RATIO and beyond <= WANTED_MB


def main() -> int:
    """Print the table; return 1 if a target is missed."""
    with tempfile.TemporaryDirectory() as folder:
        met = all(list(lines(Path(folder))))
    print(f"wanted: ratio {WANTED_RATIO:g}, {WANTED_MB} MB beyond the file's size: {'met' if met else 'MISSED'}")
    return int(not met)


if __name__ == "__main__":
    {"make": make, "outside": outside}[sys.argv[1]](*sys.argv[2:])
