"""A process of its own that imports packages and says what came of each, a JSON line each, as soon as it knows.

python -m twinbench.suite.doctor.probe torch torchvision ...

What is built for another Python, another torch or another card may end a process without a word: the line that is not
there tells which it was.
"""

import importlib
import json
import sys
from collections.abc import Sequence
from typing import Any


def main(names: Sequence[str]) -> None:
    """Import modules in their order and print what came of them; after torch, the devices that it sees."""
    for name in names:
        error = _error(name)
        print(json.dumps({"module": name, "error": error}), flush=True)
        if name == "torch" and error:
            return  # all others stand on it
        if name == "torch":
            print(json.dumps({"module": "devices", "error": "", **devices(sys.modules["torch"])}), flush=True)


def _error(name: str) -> str:
    """Import a module; return in one line why it could not be, or nothing."""
    try:
        importlib.import_module(name)
    except Exception as error:  # whatever a package raises is what is asked here
        return " ".join(f"{type(error).__name__}: {error}".split())
    return ""


def devices(torch: Any) -> dict[str, Any]:
    """Return what torch was built for, and the GPUs that it can use."""
    found: dict[str, Any] = {"cuda": torch.version.cuda, "hip": torch.version.hip, "cudnn": None, "gpus": []}
    if not torch.cuda.is_available():
        return found
    found["cudnn"] = torch.backends.cudnn.version()
    for number in range(torch.cuda.device_count()):
        card = torch.cuda.get_device_properties(number)
        capability = f"{card.major}.{card.minor}"
        found["gpus"].append({"name": card.name, "memory_bytes": card.total_memory, "capability": capability})
    return found


if __name__ == "__main__":
    main(sys.argv[1:])
