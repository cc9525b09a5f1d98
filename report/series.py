"""Methods that are points of one curve: NAME@NUMBER, a checkpoint of the training NAME after so many epochs or steps.

The names are all there is to it, so that results of any origin can be such points.
"""

import re
from collections.abc import Iterable, Iterator

_POINT = re.compile(r"(?P<name>.+)@(?P<number>[0-9]{1,18})")


def point(method: str) -> tuple[str, int] | None:
    """Return the NAME and the NUMBER of a method that is a point of a curve."""
    found = _POINT.fullmatch(method)
    return (found["name"], int(found["number"])) if found else None


def group(method: str) -> tuple[str, bool]:
    """Return what the points of a curve have in common, and no other method has."""
    found = point(method)
    return (found[0], True) if found else (method, False)


def arranged(methods: Iterable[str]) -> tuple[str, ...]:
    """Return the methods with the points of a curve side by side by their numbers, where the first of them stood."""
    groups: dict[object, list[str]] = {}
    for method in dict.fromkeys(methods):
        groups.setdefault(group(method), []).append(method)
    return tuple(method for points in groups.values() for method in sorted(points, key=_number))


def latest(methods: Iterable[str]) -> Iterator[str]:
    """Yield, of arranged methods, those that are no points, and the last point of each curve."""
    last = {group(method): method for method in methods}
    yield from last.values()


def _number(method: str) -> int:
    """Return a point's number."""
    found = point(method)
    return found[1] if found else 0
