"""The architecture of an `nn.Module` of anybody's, as far as it can be told: what it is built of, and its code.

The same tensors in another forward pass give other features. So an architecture takes in, module by module, its class
and its settings, and for each class that is not of a known library the source of its functions. What is not seen:
functions elsewhere that these call, and forward hooks.
"""

import dataclasses
import enum
import functools
import hashlib
import inspect
import sys
import textwrap
import types
from argparse import Namespace
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from twinbench.convert.named import ModelError

DIGITS = 12  # hex, of the sha256 over all that is told
# Told by name: a new release of one of them makes no new architecture.
LIBRARIES = frozenset({"torch", "torchvision", "timm", "lightning", "pytorch_lightning", "transformers"})
UNTOLD = frozenset(vars(nn.Module())) | {"device"}  # attributes that every module has, or that change no feature
PLAIN = (type(None), bool, int, float, complex, str, bytes, range, enum.Enum, torch.dtype)
CONTAINERS = (list, tuple, set, frozenset, dict)
RECORDS = (Namespace, types.SimpleNamespace)


def module_architecture(module: nn.Module) -> str:
    """Return `module:CLASS-` and 12 hex digits, which tell it from others. ModelError if its source cannot be read."""
    told = hashlib.sha256()
    for text in _told(module):
        told.update(text.encode(errors="surrogateescape"))
        told.update(b"\0")
    return f"module:{type(module).__qualname__}-{told.hexdigest()[:DIGITS]}"


def _told(module: nn.Module) -> Iterator[str]:
    """Yield a text for each module in it, and for each class when it is first met."""
    seen: set[type] = {object, nn.Module}
    saved = set(map(id, module.state_dict(keep_vars=True).values()))
    for name, part in module.named_modules():
        yield f"{name} {type(part).__qualname__} {_settings(part, saved)}"
        for kind in type(part).__mro__:
            if kind not in seen:
                seen.add(kind)
                yield _code(kind)


def _settings(part: nn.Module, saved: set[int]) -> str:
    """Return what sets a module apart from others of its class, but for the tensors in `saved`, by id.

    PyTorch's own say it in `extra_repr`; their attributes come and go with its releases.
    """
    if _library(type(part)) == "torch" and type(part).extra_repr is not nn.Module.extra_repr:
        return part.extra_repr()
    attributes = {name: value for name, value in vars(part).items() if name not in UNTOLD}
    attributes |= {name: value for name, value in part.named_buffers(recurse=False) if id(value) not in saved}
    return _text(attributes)


def _text(value: Any) -> str:
    """Return a value as a text that is the same in every process; of an object that nothing is known of, its class."""
    if isinstance(value, PLAIN):
        return repr(value)
    if isinstance(value, dict):
        return f"{{{', '.join(sorted(f'{_text(key)}: {_text(inner)}' for key, inner in value.items()))}}}"
    if isinstance(value, set | frozenset):
        return f"{{{', '.join(sorted(map(_text, value)))}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_text, value))}]"
    if isinstance(value, Tensor):
        content = value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy()
        return f"{value.dtype} {tuple(value.shape)} {hashlib.sha256(content.data).hexdigest()}"
    if isinstance(value, RECORDS) or (dataclasses.is_dataclass(value) and not isinstance(value, type)):
        return f"{type(value).__qualname__} {_text(vars(value))}"
    if isinstance(value, functools.partial):
        return _text([value.func, value.args, value.keywords])
    if isinstance(value, types.MethodType):
        return _text(value.__func__)
    if isinstance(value, type | types.FunctionType | types.BuiltinFunctionType):
        return _code(value)
    return type(value).__qualname__


def _library(thing: Any) -> str:
    """Return the known library, or the part of Python, that a class or function is of; nothing for anybody else's."""
    package = str(getattr(thing, "__module__", "")).partition(".")[0]
    known = package in LIBRARIES or (package in sys.stdlib_module_names and package != "__main__")
    return package if known else ""


def _code(thing: Any) -> str:
    """Return what is known of the code of a class or function: its source, or if it is a library's its name."""
    library = _library(thing)
    if library or isinstance(thing, types.BuiltinFunctionType):
        return f"{library}.{thing.__qualname__}"
    if not isinstance(thing, type):
        return textwrap.dedent(_source(thing))
    functions = list(_functions(thing))
    sources = [_source(function) for function in functions]
    constants = {
        name: value
        for name, value in vars(thing).items()
        if isinstance(value, PLAIN + CONTAINERS) and not name.startswith("__")
    }
    return "\n".join(
        [*map(textwrap.dedent, sources), _text(constants), *_changed_since_read(thing, functions, sources)]
    )


def _functions(kind: type) -> Iterator[types.FunctionType]:
    """Yield the functions that a class itself defines."""
    for value in vars(kind).values():
        bare = getattr(value, "__func__", getattr(value, "fget", value))
        bare = inspect.unwrap(bare) if callable(bare) else bare
        if isinstance(bare, types.FunctionType):
            yield bare


def _source(function: Callable[..., Any]) -> str:
    """Return the source of a function. That of a class as a whole is not to be had in notebooks."""
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):
        raise ModelError(
            f"{function.__qualname__}: its source cannot be read, and is part of the backbone's identity; put the "
            "model's classes into a file, or into a notebook's cell, and import or run that"
        ) from None


def _changed_since_read(kind: type, functions: list[types.FunctionType], sources: list[str]) -> Iterator[str]:
    """Yield the functions of a class that are not what their source says, as bytecode; usually none.

    A file that was edited after it was imported is not what computes, and would pass for it.
    """
    for function, source in zip(functions, sources, strict=True):
        loaded = _bytecode(function.__code__)
        try:
            outer = compile(f"class {kind.__name__}:\n{source}", "source", "exec")
        except SyntaxError:  # not indented: a function from elsewhere; or the lines are others now
            yield loaded
            continue
        [body] = _inner(outer)
        if loaded not in map(_bytecode, _inner(body)):
            yield loaded


def _inner(code: types.CodeType) -> list[types.CodeType]:
    """Return the functions and classes defined directly in some code."""
    return [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]


def _bytecode(code: types.CodeType) -> str:
    """Return what a function does, without the lines where it stands."""
    constants = [_bytecode(value) if isinstance(value, types.CodeType) else _text(value) for value in code.co_consts]
    return f"{code.co_name} {code.co_code.hex()} {code.co_names} {constants}"
