"""How well does a vision backbone transfer, and is that number comparable with the published ones?

>>> import twinbench
>>> twinbench.evaluate("checkpoint.pth", "voc07-svm", "/datasets/VOCdevkit", "results/voc07-svm")
>>> twinbench.table(twinbench.read_results(["results"]))

The public names are loaded when they are first asked for: importing twinbench imports neither torch nor any room.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from twinbench.cli import main
    from twinbench.convert.load import Backbone, CheckpointError, load_backbone
    from twinbench.convert.write import write_backbone
    from twinbench.report.result import Result, read_results

__version__ = "0.2.0"

_HOMES = {
    "main": "cli",
    "Backbone": "convert.load",
    "CheckpointError": "convert.load",
    "load_backbone": "convert.load",
    "write_backbone": "convert.write",
    "Result": "report.result",
    "read_results": "report.result",
}

__all__ = [
    "Backbone",
    "CheckpointError",
    "Result",
    "load_backbone",
    "main",
    "read_results",
    "write_backbone",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'twinbench' has no attribute {name!r}")
    return getattr(importlib.import_module(f"twinbench.{_HOMES[name]}"), name)
