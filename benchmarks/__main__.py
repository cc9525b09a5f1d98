"""Run benchmarks: `python -m benchmarks [NAME...]`, all of them by default. Each prints a table and its targets.

Those that need a GPU are run by `python -m benchmarks.gpu`.
"""

import importlib
import pkgutil
import sys
from pathlib import Path

from twinbench.protocols.house import UserError, unknown


def main(names: list[str]) -> int:
    """Run the benchmarks called `names`; return 1 if one misses a target, 2 for an unknown name."""
    found = pkgutil.iter_modules([str(Path(__file__).parent)])
    known = sorted(module.name for module in found if not module.ispkg and module.name != "__main__")
    for name in names:
        if name == "gpu":
            raise UserError("benchmark 'gpu': runs by itself, on a CUDA device; run: python -m benchmarks.gpu")
        if name not in known:
            raise UserError(f"{unknown('benchmark', name, known)}; run: python -m benchmarks NAME")
    missed = [name for name in names or known if importlib.import_module(f"benchmarks.{name}").main()]
    if missed:
        print(f"targets missed in: {', '.join(missed)}", file=sys.stderr)
    return int(bool(missed))


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except UserError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        sys.exit(2)
