"""Converting a full Barlow Twins checkpoint of 1.4 GB (model and optimizer state of 174.5 million parameters).

Memory is the peak resident set of the whole process, as its parent sees it in the end; the file is made beforehand by
another. Torch's import is most of it; the first row says how much that takes on this machine.
"""

import importlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WANTED_MB, WANTED_S = 600, 20
PROJECTOR = (2048, 8192, 8192, 8192)  # inputs, then the three layers of the projector
OUTPUTS = {
    "torchvision": "resnet50.pth",
    "timm": "timm.pth",
    "detectron2": "resnet50.pkl",
    "safetensors": "s.safetensors",
}


def make(path: Path) -> None:
    """Write a checkpoint as the official code does: epoch, model under DistributedDataParallel, LARS state."""
    import torch

    from twinbench.convert.architectures.resnet import ResNet50
    from twinbench.convert.files import save

    model = {f"module.backbone.{name}": values for name, values in ResNet50().state_dict().items()}
    for values in model.values():
        if values.is_floating_point() and values.ndim == 1:
            values.uniform_(0.5, 1.5)
    for index, (inputs, outputs) in enumerate(zip(PROJECTOR, PROJECTOR[1:], strict=False)):
        model[f"module.projector.{3 * index}.weight"] = torch.empty(outputs, inputs).uniform_(-1, 1)
    weights = [values for values in model.values() if values.is_floating_point()]
    state = {index: {"mu": torch.zeros_like(values)} for index, values in enumerate(weights)}
    save({"epoch": 1000, "model": model, "optimizer": {"state": state, "param_groups": []}}, path)


def import_torch() -> None:
    """Do nothing but import torch, and leave as `twinbench convert` does."""
    importlib.import_module("torch")
    os._exit(0)


def load_all(path: Path, out: Path) -> None:
    """What a plain script does: torch.load of everything, then save the backbone."""
    from twinbench.convert.files import load, save

    model = load(path)["model"]
    prefix = "module.backbone."
    save({name.removeprefix(prefix): values for name, values in model.items() if name.startswith(prefix)}, out)
    os._exit(0)


def outside(*command: str) -> None:
    """Run `command`; print its seconds and peak MB. A child's peak starts from its parent's, so this one is small."""
    start = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "1"})
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)}: exit status {status}")
    print(time.perf_counter() - start, usage.ru_maxrss / 1024)


def measured(*command: object) -> tuple[float, float]:
    """Run `python -m COMMAND` in a fresh process; return seconds and peak MB."""
    whole = [sys.executable, "-m", "benchmarks.convert", "outside", sys.executable, "-m", *map(str, command)]
    seconds, megabytes = subprocess.run(whole, stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    return float(seconds), float(megabytes)


def main() -> int:
    """Print the table; return 1 if the target is missed."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "checkpoint.pth")
        measured("benchmarks.convert", "make", path)
        size = path.stat().st_size / 1e9
        plain = {
            "import torch": measured("benchmarks.convert", "import_torch"),
            "torch.load of everything": measured("benchmarks.convert", "load_all", path, Path(folder, "plain.pth")),
        }
        ours = {
            f"twinbench convert, {form}": measured("twinbench", "convert", path, Path(folder, name), "--to", form)
            for form, name in OUTPUTS.items()
        }
    print(f"full checkpoint of {size:.2f} GB to its backbone\n{'':30} seconds   peak MB")
    for name, (seconds, megabytes) in (plain | ours).items():
        print(f"{name:30} {seconds:7.1f}   {megabytes:7.0f}")
    missed = any(megabytes > WANTED_MB or seconds > WANTED_S for seconds, megabytes in ours.values())
    print(f"wanted: at most {WANTED_MB} MB and {WANTED_S} s: {'MISSED' if missed else 'met'}")
    return int(missed)


if __name__ == "__main__":
    STEPS = {"make": make, "import_torch": import_torch, "load_all": load_all, "outside": outside}
    arguments = sys.argv[2:]
    STEPS[sys.argv[1]](*(arguments if sys.argv[1] == "outside" else map(Path, arguments)))
