"""How well does a vision backbone transfer, and is that number comparable with the published ones?

>>> import twinbench
>>> twinbench.evaluate("checkpoint.pth", "voc07-svm", "/datasets/VOCdevkit", "results/voc07-svm")
>>> twinbench.table(twinbench.read_results(["results"]))

The public names are loaded when they are first asked for: importing twinbench imports neither torch nor any room.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from twinbench.api import evaluate
    from twinbench.cli import main
    from twinbench.convert.backbone import Backbone
    from twinbench.convert.files import CheckpointError
    from twinbench.convert.load import load_backbone
    from twinbench.convert.write import write_backbone
    from twinbench.protocols.catalogue import load_own as load_protocols
    from twinbench.protocols.house import UserError
    from twinbench.report.frame import frame
    from twinbench.report.result import Result, read_results
    from twinbench.report.rows import table

__version__ = "0.2.0"

_HOMES = {  # public name -> where it is: MODULE:NAME below twinbench
    "evaluate": "api:evaluate",
    "read_results": "report.result:read_results",
    "table": "report.rows:table",
    "frame": "report.frame:frame",
    "load_backbone": "convert.load:load_backbone",
    "write_backbone": "convert.write:write_backbone",
    "load_protocols": "protocols.catalogue:load_own",
    "main": "cli:main",
    "Backbone": "convert.backbone:Backbone",
    "CheckpointError": "convert.files:CheckpointError",
    "Result": "report.result:Result",
    "UserError": "protocols.house:UserError",
}

__all__ = [
    "Backbone",
    "CheckpointError",
    "Result",
    "UserError",
    "evaluate",
    "frame",
    "load_backbone",
    "load_protocols",
    "main",
    "read_results",
    "table",
    "write_backbone",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'twinbench' has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    return getattr(importlib.import_module(f"twinbench.{module}"), attribute)
