"""Networks that were saved whole instead of their state dict: what their `state_dict()` would have returned.

`torch.save(model)` pickles each module as a call of its class and a dict of attributes, among them `_parameters`,
`_buffers` and `_modules`. `torch.jit.save` pickles the attributes alone, of classes under `__torch__` whose code lies
beside. Neither the classes nor the code are needed to read the tensors.
"""

from collections.abc import Iterator
from typing import Any

from twinbench.convert.reading.nodes import Object
from twinbench.convert.reading.tensors import TENSORS

SCRIPTED = "__torch__."


def is_module(node: Any) -> bool:
    """Return whether a node is a module of torch or TorchScript."""
    if not isinstance(node, Object) or not isinstance(node.state, dict):
        return False
    return node.path.startswith(SCRIPTED) or {"_parameters", "_buffers", "_modules"} <= node.state.keys()


def state_dict(module: Object, limit: int) -> dict[str, Any]:
    """Return the tensors' nodes of a module and those in it by dotted names, in the order of `state_dict()`.

    Modules may be shared, and a hostile file's may hold themselves: one with more than `limit` modules or names counts
    as empty. TorchScript does not tell buffers from other attributes that are tensors, so that these are returned too.
    """
    found: dict[str, Any] = {}
    waiting = [("", module)]
    for _ in range(limit):
        if not waiting or len(found) > limit:
            break
        prefix, node = waiting.pop()
        found |= {f"{prefix}{key}": value for key, value in _tensors(node)}
        inner = [(f"{prefix}{key}.", value) for key, value in _modules(node)]
        waiting.extend(reversed(inner))
    return found if not waiting and len(found) <= limit else {}


def _tensors(module: Object) -> Iterator[tuple[str, Any]]:
    """Yield a module's own parameters and buffers; those that are None are in no state dict."""
    if module.path.startswith(SCRIPTED):
        owned = module.state.items()
    else:
        passing = module.state.get("_non_persistent_buffers_set")
        passing = passing.items or passing.arguments if isinstance(passing, Object) else ()
        left_out = set().union(*(part if isinstance(part, list) else [part] for part in passing))
        buffers = _mapped(module.state["_buffers"]).items()
        owned = [*_mapped(module.state["_parameters"]).items(), *((k, v) for k, v in buffers if k not in left_out)]
    for key, value in owned:
        if isinstance(value, Object) and value.path in TENSORS:
            yield key, value


def _modules(module: Object) -> Iterator[tuple[str, Object]]:
    """Yield the modules directly in a module."""
    inner = module.state if module.path.startswith(SCRIPTED) else _mapped(module.state["_modules"])
    for key, value in inner.items():
        if is_module(value):
            yield key, value


def _mapped(node: Any) -> dict[Any, Any]:
    """Return a dict or `OrderedDict` of a module as a dict."""
    if isinstance(node, Object):
        return dict(zip(node.items[::2], node.items[1::2], strict=False))
    return node if isinstance(node, dict) else {}
