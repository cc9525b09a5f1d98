"""Whether what a JSON file holds has the types that a dataclass declares: files come from others, and get damaged.

This module needs nothing but the standard library.
"""

import collections.abc
import dataclasses
import itertools
import math
import typing
from collections.abc import Callable, Collection
from functools import cache
from typing import Any, TypeVar, cast

from twinbench.protocols.text import TextError

MadeT = TypeVar("MadeT")


def as_typed(kind: type[MadeT], content: object, where: str) -> MadeT:
    """Return the dataclass `kind` of a JSON object's fields; TextError if they are not its own or of other types."""
    if not isinstance(content, dict):
        raise TextError(f"{where}: holds no JSON object")
    given = cast("dict[str, Any]", content)
    known = checks(kind)
    for name, value in given.items():
        if name not in known or not known[name][1](value):
            raise TextError(f"{where}: {name} is {repr(value)[:80]}, not a {kind.__name__}'s")
    try:
        return kind(**given)
    except TypeError as error:
        raise TextError(f"{where}: {error}") from None


@cache
def checks(kind: type) -> dict[str, tuple[Any, Callable[[Any], bool]]]:
    """Return the declared type and the check of each field, worked out once: there may be thousands of objects."""
    hints = typing.get_type_hints(kind)
    fields = dataclasses.fields(kind)
    return {field.name: (hints[field.name], check_of(hints[field.name])) for field in fields}


def check_of(hint: Any) -> Callable[[Any], bool]:
    """Return a function that says whether a JSON value is of a type.

    A float must be finite, an int will do; a tuple is a list.
    """
    parts = typing.get_args(hint)
    if typing.get_origin(hint) in (dict, collections.abc.Mapping):
        all_fit = _check_of_each(parts[1])
        return lambda value: isinstance(value, dict) and all_fit(cast("dict[str, Any]", value).values())
    if typing.get_origin(hint) in (list, tuple):
        all_fit = _check_of_each(parts[0])
        return lambda value: isinstance(value, list | tuple) and all_fit(cast("list[Any]", value))
    if typing.get_origin(hint) is typing.Literal:
        return lambda value: value in parts
    if hint is float:
        return lambda value: _are_numbers((value,))
    if hint is int:
        return lambda value: type(value) is int  # True and False are no numbers here
    if hint is Any:
        return lambda value: True
    return lambda value: isinstance(value, hint)


def _check_of_each(hint: Any) -> Callable[[Collection[Any]], bool]:
    """Return a function that says whether all of some JSON values are of a type."""
    if hint is float:
        return _are_numbers
    if hint == list[float]:
        return _are_lists_of_numbers
    if hint in (str, int, bool):
        kinds = {hint}
        return lambda values: set(map(type, values)) <= kinds
    fits = check_of(hint)
    return lambda values: all(map(fits, values))


def _are_numbers(values: Collection[Any]) -> bool:
    """Say whether all values are finite numbers that a float can hold; True and False are none."""
    if not set(map(type, values)) <= {float, int}:
        return False
    try:
        # one sum is quicker than many questions; finite numbers may have an infinite one
        return math.isfinite(sum(values, 0.0)) or all(map(math.isfinite, values))
    except OverflowError:  # an int beyond every float
        return False


def _are_lists_of_numbers(values: Collection[Any]) -> bool:
    """Say whether all values are lists of numbers.

    Curves have thousands of points, so all are asked at once.
    """
    return set(map(type, values)) <= {list} and _are_numbers(list(itertools.chain.from_iterable(values)))
