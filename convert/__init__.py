"""Weights on disk: reading any layout safely, proving a backbone complete, writing the other layouts.

Public: `load_backbone`, `write_backbone`, `Backbone`, `CheckpointError`, loaded when first asked for.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from twinbench.convert.backbone import Backbone
    from twinbench.convert.files import CheckpointError
    from twinbench.convert.load import load_backbone
    from twinbench.convert.write import write_backbone

__all__ = ["Backbone", "CheckpointError", "load_backbone", "write_backbone"]


_HOMES = {
    "Backbone": "backbone",
    "CheckpointError": "files",
    "load_backbone": "load",
    "write_backbone": "write",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'convert' has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
