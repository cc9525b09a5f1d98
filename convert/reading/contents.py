"""What a checkpoint holds once it is open: plain data, in which the tensors are still in the file."""

import mmap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from twinbench.convert.files import CheckpointError
from twinbench.convert.reading.modules import is_module, state_dict
from twinbench.convert.reading.nodes import Object, mapping
from twinbench.convert.reading.stored import Storage, Stored
from twinbench.convert.reading.tensors import as_tensor

MAX_NAMES = 20_000  # the largest published backbones have 3,000 tensors; a checkpoint's optimizer has twice as many
NOTE = "twinbench"  # the key under which convert.write keeps what is known of a backbone
BYOL_STATE = ("online_params", "target_params", "online_state", "target_state", "opt_state")  # byol_experiment.py


@dataclass(frozen=True)
class Contents:
    """What a file holds: `tree` is plain data, in which `tensors` finds the tensors."""

    name: str
    container: str  # torch-zip, torchscript, torch-legacy, safetensors, tensorflow, pickle
    tree: Any
    size: int  # of the file, bytes
    storage: Callable[[Any], Storage] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    mapped: mmap.mmap | None = None
    hints: Mapping[str, Any] = field(default_factory=dict)  # what else is known: config, preprocessor, zoo
    seen: dict[int, tuple[Any, dict[str, Stored]]] = field(default_factory=dict)  # what `tensors` found, by node

    def at(self, path: tuple[str, ...]) -> Any:
        """Return the node under a path of keys, or None."""
        node = self.tree
        for key in path:
            node = fields(node).get(key)
        return node

    def tensors(self, node: Any) -> dict[str, Stored]:
        """Return the tensors of a dict-like node or a module, by name; everything else in it is left out."""
        if id(node) not in self.seen:  # rows of the table of layouts ask for the same few nodes again and again
            found: dict[str, Stored] = {}
            for key, value in fields(node).items():
                tensor = value if isinstance(value, Stored) else as_tensor(value, self._bytes_of, self.name)
                if tensor is not None and isinstance(key, str):
                    found[key] = tensor
            self.seen[id(node)] = node, found  # with the node, so that no other gets its id
        return dict(self.seen[id(node)][1])

    def release(self) -> None:
        """Give the file's pages that were read back to the system; who needs them reads them again."""
        if self.mapped is not None:
            self.mapped.madvise(mmap.MADV_DONTNEED)  # private and never written to: nothing is lost

    def note(self) -> str | None:
        """Return what twinbench wrote about the backbone into the file's metadata, as JSON, or None."""
        attributes = self.tree.state if isinstance(self.tree, Object) else None
        kept = fields(attributes["_metadata"]) if isinstance(attributes, dict) and "_metadata" in attributes else {}
        for place in (self.metadata, kept, fields(self.tree)):
            if isinstance(place.get(NOTE), str):
                return place[NOTE]
        return None

    def _bytes_of(self, key: Any) -> Storage:
        if self.storage is None:
            raise CheckpointError(f"{self.name}: a torch tensor without its storage; save it with torch.save")
        return self.storage(key)


def fields(node: Any) -> dict[Any, Any]:
    """Return what a dict-like node maps; attributes of a namespace count; an empty dict for anything else.

    A module that was pickled whole, or is the root of a TorchScript archive, maps what its state dict would. A node of
    more than MAX_NAMES entries is no state dict of a backbone with its heads, and counts as empty.
    """
    if isinstance(node, dict):
        return node if len(node) <= MAX_NAMES else {}
    if not isinstance(node, Object) or len(node.items) > 2 * MAX_NAMES:
        return {}
    if is_module(node):
        node.flat = state_dict(node, MAX_NAMES) if node.flat is None else node.flat
        return node.flat
    found = mapping(node)
    if len(found) > MAX_NAMES:
        return {}
    if node.path.endswith("._ByolExperimentState"):  # a named tuple is pickled without its names
        found |= dict(zip(BYOL_STATE, node.arguments, strict=False))
    for extra in (node.arguments[0] if len(node.arguments) == 1 else None, node.state):
        if isinstance(extra, dict) and len(extra) <= MAX_NAMES:
            inner = extra.get("_mapping", extra.get("_storage", extra))  # Haiku's immutable mappings
            found |= inner if isinstance(inner, dict) and len(inner) <= MAX_NAMES else {}
    return found
