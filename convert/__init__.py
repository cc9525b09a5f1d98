"""Weights on disk: reading any layout safely, proving a backbone complete, writing the other layouts.

Public: `load_backbone`, `write_backbone`, `Backbone`, `CheckpointError`, loaded when first asked for.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from twinbench.convert.load import Backbone, CheckpointError, load_backbone
    from twinbench.convert.write import write_backbone

__all__ = ["Backbone", "CheckpointError", "load_backbone", "write_backbone"]


def __getattr__(name: str) -> Any:
    if name == "write_backbone":
        from twinbench.convert import write

        return write.write_backbone
    if name in __all__:
        from twinbench.convert import load

        return getattr(load, name)
    raise AttributeError(f"module 'convert' has no attribute {name!r}")
