"""Plants one wrong value after the other in every field of every recipe: its oracle must tell.

Usage: python -m tests.plant_errors [NAME...]

Seconds for all; exit code 1 and a list where an error survives. The recipes are planted as the
registries hold them, past their own checks: a value that a recipe refuses today may be allowed
tomorrow, and then its oracle is all there is.
"""

import copy
import sys
import typing
from collections.abc import Iterator
from functools import reduce
from typing import Any

from tests.oracles.tables import entries, places, problems, values_of


def main(names: list[str]) -> int:
    """Plant errors in the recipes called `names`, or in all; return 0 if every one was caught."""
    chosen = {name: entry for name, entry in entries().items() if not names or name in names}
    if missing := sorted(set(names) - chosen.keys()):
        print(f"unknown: {', '.join(missing)}")
        return 2
    wrong_before: list[str] = []
    for name, entry in chosen.items():
        wrong_before += problems(name, values_of(entry))
    if wrong_before:
        print("the recipes are not what their sources say; correct that first:", *wrong_before, sep="\n  ")
        return 1
    survivors: list[str] = []
    for name, entry in chosen.items():
        survivors += plant(name, entry)
    if survivors:
        print("survived:", *survivors, sep="\n  ")
    return 1 if survivors else 0


def plant(name: str, entry: Any) -> list[str]:
    """Plant every error in one recipe, print a line of counts and return the errors that survive."""
    errors = list(plantings(entry))
    survivors = [f"{name}: {field}={wrong}" for field, wrong in errors if not is_caught(name, entry, field, wrong)]
    fields = len({field for field, _ in errors})
    caught = len(errors) - len(survivors)
    print(f"{name:36} {fields:3} fields {len(errors):4} errors {caught:4} caught")
    return survivors


def is_caught(name: str, entry: Any, field: str, wrong: Any) -> bool:
    """Say whether the oracle of `entry` tells that `field` is `wrong`, and nothing of any other field."""
    found = problems(name, values_of(planted(entry, places(entry)[field], wrong)))
    return len(found) == 1 and f"{name}: {field} is " in found[0]


def plantings(entry: Any) -> Iterator[tuple[str, Any]]:
    """Yield every field of a protocol or pretraining recipe with each error that is planted in it."""
    for field, place in places(entry).items():
        holder = reduce(getattr, place[:-1], entry)
        hint = typing.get_type_hints(type(holder))[place[-1]]
        for wrong in wrong_values(getattr(holder, place[-1]), hint):
            yield field, wrong


def wrong_values(value: Any, hint: Any) -> Iterator[Any]:
    """Yield values that a slip of the hand may leave in place of `value`."""
    if typing.get_origin(hint) is typing.Literal:
        yield from (member for member in typing.get_args(hint) if member != value)
    elif isinstance(value, bool):
        yield not value
    elif isinstance(value, int | float):
        yield value + 1
        if value:
            yield value * 10
            yield value * 1.01
    elif isinstance(value, tuple):
        yield from wrong_tuples(value, hint)
    else:
        yield f"other than {value}"


def wrong_tuples(value: tuple[Any, ...], hint: Any) -> Iterator[tuple[Any, ...]]:
    """Yield tuples with one part too many, one too few, and one wrong."""
    part_hint = (typing.get_args(hint) or (None,))[0]
    last = value[-1] if value else 6
    yield (*value, f"other than {last}" if isinstance(last, str) else last + 1)
    for index, part in enumerate(value):
        before, after = value[:index], value[index + 1 :]
        yield (*before, *after)
        for wrong in wrong_values(part, part_hint):
            yield (*before, wrong, *after)


def planted(entry: Any, place: tuple[str, ...], wrong: Any) -> Any:
    """Return a copy of `entry` with what stands at `place` set to `wrong`, whatever it checks itself."""
    first, *rest = place
    value = planted(getattr(entry, first), tuple(rest), wrong) if rest else wrong
    other = copy.copy(entry)
    object.__setattr__(other, first, value)
    return other


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
