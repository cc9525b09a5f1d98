"""Networks that were saved whole instead of their state dict: what their `state_dict()` would have returned.

`torch.save(model)` pickles each module as a call of its class and a dict of attributes, among them `_parameters`,
`_buffers` and `_modules`. `torch.jit.save` pickles the attributes alone, of classes under `__torch__` whose code lies
beside. Neither the classes nor the code are needed to read the tensors.
"""

from typing import Any

from twinbench.convert.reading.nodes import Object, mapping
from twinbench.convert.reading.tensors import TENSORS

SCRIPTED = "__torch__."
MAX_ENTRIES = 300_000
MAX_NAME = 1000  # letters


def is_module(node: Any) -> bool:
    """Return whether a node is a module of torch or TorchScript."""
    if not isinstance(node, Object) or not isinstance(node.state, dict):
        return False
    return node.path.startswith(SCRIPTED) or {"_parameters", "_buffers", "_modules"} <= node.state.keys()


def state_dict(module: Object, limit: int) -> dict[str, Any]:
    """Return the tensors' nodes of a module and those in it by dotted names, in the order of `state_dict()`.

    Modules may be shared, and those of a hostile file may hold themselves: a network with more than `limit` names, or
    in which MAX_ENTRIES attributes were looked at, counts as empty. TorchScript does not tell buffers from other
    attributes that are tensors, so that these are returned too.
    """
    found: dict[str, Any] = {}
    waiting = [("", module)]
    entries = 0
    while waiting:
        prefix, node = waiting.pop()
        tensors, modules = _owned(node)
        entries += 1 + len(tensors) + len(modules)
        if entries > MAX_ENTRIES or len(found) > limit or len(prefix) > MAX_NAME:
            return {}
        found |= {f"{prefix}{key}": value for key, value in tensors if _is_tensor(value)}
        waiting.extend((f"{prefix}{key}.", value) for key, value in reversed(modules) if is_module(value))
    return found


def _owned(module: Object) -> tuple[list[tuple[Any, Any]], list[tuple[Any, Any]]]:
    """Return the attributes of a module that may be tensors, and those that may be modules."""
    state = module.state
    if module.path.startswith(SCRIPTED):
        return list(state.items()), list(state.items())
    left_out = _members(state.get("_non_persistent_buffers_set"))
    buffers = [(key, value) for key, value in _mapped(state["_buffers"]).items() if key not in left_out]
    return [*_mapped(state["_parameters"]).items(), *buffers], list(_mapped(state["_modules"]).items())


def _is_tensor(node: Any) -> bool:
    """Return whether a node is a tensor; a parameter or buffer that is None is in no state dict."""
    return isinstance(node, Object) and node.path in TENSORS


def _members(node: Any) -> set[str]:
    """Return the texts in a set, which is pickled as a call with a list, or as an object with items."""
    if not isinstance(node, Object):
        return set()
    members = [*node.items]
    for argument in node.arguments:
        members += argument if isinstance(argument, list) else []
    return {member for member in members if isinstance(member, str)}


def _mapped(node: Any) -> dict[Any, Any]:
    """Return a dict or `OrderedDict` of a module as a dict."""
    if isinstance(node, Object):
        return mapping(node)
    return node if isinstance(node, dict) else {}
