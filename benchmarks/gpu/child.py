"""One module's measurements, in a process of its own: python -m benchmarks.gpu.child MODULE FILE DEVICE.

Prints each figure and writes it to FILE as a line of JSON, after a first line that tells the machine.
"""

import importlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

from benchmarks.gpu.figures import Place


def main(module: str, path: str, device: str) -> None:
    """Measure `module` on `device`, a rehearsal where that is cpu."""
    place = Place(device, rehearsal=device == "cpu")
    with open(path, "w") as file:
        for line in _lines(module, place):
            file.write(json.dumps(line) + "\n")
            file.flush()


def _lines(module: str, place: Place) -> Iterator[dict[str, object]]:
    """Yield the machine, then the figures, and print these."""
    yield machine(place)
    for figure in importlib.import_module(module).measure(place):
        if place.rehearsal:  # targets are for a card and the real sizes
            figure = replace(figure, least=None, most=None)
        target = f", target {figure.target}" if figure.target else ""
        of = f" of {figure.of}" if figure.of else ""
        print(f"  {figure.name}: {figure.text}{of}{target}", flush=True)
        yield asdict(figure)


def machine(place: Place) -> dict[str, object]:
    """Return what the figures depend on beside the code: card, driver, versions, processor."""
    found: dict[str, object] = {"card": "rehearsal on the processor", "driver": ""}
    if place.device != "cpu":
        import torch

        properties = torch.cuda.get_device_properties(place.device)
        found["card"] = f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
        found["driver"] = _driver()
    for package in ("torch", "torchvision"):
        found[package] = _version(package)
    found["python"] = platform.python_version()
    found["processor"] = _processor()
    found["cores"] = len(os.sched_getaffinity(0))
    return found


def _driver() -> str:
    """Return the driver's version, as nvidia-smi tells it."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):  # a container may come without it
        return "unknown"
    return told.split("\n")[0].strip() or "unknown"


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _processor() -> str:
    """Return the processor's model, as Linux names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


if __name__ == "__main__":
    main(*sys.argv[1:])
