"""Converting a full Barlow Twins checkpoint of 1.4 GB (model and optimizer state of 174.5 million parameters).

Memory is the peak resident set of a fresh process up to the end of its work; the file is made beforehand by another.
Torch's import alone is most of it, and where torch was built for CUDA its libraries take 130 MB more while the process
ends, whatever it did; the first row says how much the import takes on this machine.
"""

import importlib
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WANTED_MB, WANTED_S = 600, 20
PROJECTOR = (2048, 8192, 8192, 8192)  # inputs, then the three layers of the projector


def make(path: Path) -> None:
    """Write a checkpoint as the official code does: epoch, model under DistributedDataParallel, LARS state."""
    import torch

    from convert.files import save
    from convert.resnet import ResNet50

    model = {f"module.backbone.{name}": values for name, values in ResNet50().state_dict().items()}
    for values in model.values():
        if values.is_floating_point() and values.ndim == 1:
            values.uniform_(0.5, 1.5)
    for index, (inputs, outputs) in enumerate(zip(PROJECTOR, PROJECTOR[1:], strict=False)):
        model[f"module.projector.{3 * index}.weight"] = torch.empty(outputs, inputs).uniform_(-1, 1)
    weights = [values for values in model.values() if values.is_floating_point()]
    state = {index: {"mu": torch.zeros_like(values)} for index, values in enumerate(weights)}
    save({"epoch": 1000, "model": model, "optimizer": {"state": state, "param_groups": []}}, path)


def convert(path: Path, out: Path) -> None:
    """Run `twinbench convert` in this process and print seconds and peak memory."""
    import torch

    import twinbench

    torch.set_num_threads(1)
    start = time.perf_counter()
    assert twinbench.main(["convert", str(path), str(out)]) == 0
    print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def import_torch() -> None:
    """Do nothing but import torch."""
    start = time.perf_counter()
    importlib.import_module("torch")
    print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def load_all(path: Path, out: Path) -> None:
    """What a plain script does: torch.load of everything, then save the backbone."""
    import torch

    from convert.files import load, save

    torch.set_num_threads(1)
    start = time.perf_counter()
    model = load(path)["model"]
    prefix = "module.backbone."
    save({name.removeprefix(prefix): values for name, values in model.items() if name.startswith(prefix)}, out)
    print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def measured(step: str, *paths: Path) -> tuple[float, float]:
    """Run one of the functions above in a fresh process; return seconds and peak MB."""
    command = [sys.executable, "-m", "benchmarks.convert", step, *map(str, paths)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, megabytes = run.stdout.split()[-2:] if step != "make" else ("0", "0")
    return float(seconds), float(megabytes)


def main() -> int:
    """Print the table; return 1 if the target is missed."""
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder, "checkpoint.pth"), Path(folder, "resnet50.pth")
        measured("make", path)
        size = path.stat().st_size / 1e9
        rows = {
            "import torch": measured("import_torch"),
            "torch.load of everything": measured("load_all", path, out),
            "twinbench convert": measured("convert", path, out),
        }
    print(f"full checkpoint of {size:.2f} GB to its backbone\n{'':26} seconds   peak MB")
    for name, (seconds, megabytes) in rows.items():
        print(f"{name:26} {seconds:7.1f}   {megabytes:7.0f}")
    seconds, megabytes = rows["twinbench convert"]
    missed = megabytes > WANTED_MB or seconds > WANTED_S
    print(f"wanted: at most {WANTED_MB} MB and {WANTED_S} s: {'MISSED' if missed else 'met'}")
    return int(missed)


if __name__ == "__main__":
    STEPS = {"make": make, "import_torch": import_torch, "convert": convert, "load_all": load_all}
    STEPS[sys.argv[1]](*map(Path, sys.argv[2:]))
