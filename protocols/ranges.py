"""What a recipe's numbers may be: a range stands beside its field, as `Annotated[int, COUNT]`.

The type of a setting is checked where it is read (house.py); here it is whether a run with it can mean anything.
Upper limits stand only where more cannot be meant and would exhaust the memory.
"""

import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from math import inf
from typing import Any

from twinbench.protocols.house import SettingError, setting_text

PIXELS = 4096  # side of an image


@dataclass(frozen=True)
class Range:
    """The values that a field may have; `words` go on after "expected"."""

    holds: Callable[[Any], bool]
    words: str

    def of_each(self, words: str, *, different: bool = False, empty: bool = False) -> "Range":
        """Return the range of a tuple of such values, which is told by words of its own."""

        def holds(values: tuple[Any, ...]) -> bool:
            if not values:
                return empty
            if different and len(set(values)) < len(values):
                return False
            return all(map(self.holds, values))

        return Range(holds, words)


# A NaN is in none of these: it compares as false.
COUNT = Range(lambda value: value >= 1, "a whole number of at least 1")
WAYS = Range(lambda value: value >= 2, "a whole number of at least 2")
COUNT_OR_NONE = Range(lambda value: value >= 0, "a whole number of at least 0")
FOLDS = Range(lambda value: value == 0 or value >= 2, "0 or a whole number of at least 2")
ABOVE_0 = Range(lambda value: 0 < value < inf, "a number above 0")
FROM_0 = Range(lambda value: 0 <= value < inf, "a number of at least 0")
MOMENTUM = Range(lambda value: 0 <= value < 1, "a number of at least 0 and below 1")
CHANCE = Range(lambda value: 0 <= value <= 1, "a number from 0 to 1")
HUE = Range(lambda value: 0 <= value <= 0.5, "a number from 0 to 0.5")
STAGE = Range(lambda value: 0 <= value <= 5, "a whole number from 0 to 5: the stem is 1, res5 is 5")
SIDE = Range(lambda value: 1 <= value <= PIXELS, f"1 to {PIXELS} pixels")
SIDE_OR_NONE = Range(lambda value: 0 <= value <= PIXELS, f"0 (none) to {PIXELS} pixels")


def _rise(values: tuple[int, ...]) -> bool:
    """Say whether values are above 0 and each above the one before."""
    return all(before < after for before, after in zip((0, *values), values, strict=False))


RISING = Range(_rise, "rising whole numbers above 0")
COSTS = ABOVE_0.of_each("different numbers above 0, for example 0.1,1,10", different=True)
SHOTS = COUNT.of_each("different whole numbers of images per class, at least 1", different=True)
NEIGHBORS = COUNT.of_each("different whole numbers of at least 1, for example 10,20", different=True)
TRAIN_SIDES = SIDE.of_each(f"sizes of 1 to {PIXELS} pixels, for example 640,800")
ANCHORS = COUNT.of_each("sizes of at least 1 pixel, for example 32,64,128,256,512")
CHANCES = CHANCE.of_each("two numbers from 0 to 1")
TERMS = Range(lambda values: len(values) == 3 and all(0 <= value < inf for value in values), "three numbers from 0")
WIDTHS = Range(
    lambda values: all(value >= 1 for value in values), "sizes of at least 1, for example 8192,8192, or none"
)
JITTER = Range(
    lambda values: not values or (len(values) == 2 and 0 < values[0] <= values[1] < inf),
    "the least and the largest scale, for example 0.1,2, or none",
)


def ranges_of(recipe: object, prefix: str = "") -> Iterator[tuple[str, Any, Range]]:
    """Yield name, value and range of each field that has one; nested fields as `outer.inner`."""
    hints = _hints(type(recipe))
    for field in fields(recipe):  # type: ignore[arg-type]
        value: object = getattr(recipe, field.name)
        if is_dataclass(value):
            yield from ranges_of(value, f"{prefix}{field.name}.")
        for note in getattr(hints[field.name], "__metadata__", ()):
            if isinstance(note, Range):
                yield prefix + field.name, value, note


@cache
def _hints(recipe_type: type) -> dict[str, Any]:
    """Return the annotations of a recipe's fields with what stands beside the types."""
    return typing.get_type_hints(recipe_type, include_extras=True)


def require_in_range(recipe: object) -> None:
    """Raise SettingError for the first field of `recipe` that no run can mean."""
    for name, value, allowed in ranges_of(recipe):
        if not allowed.holds(value):
            raise SettingError(f"setting {name}={setting_text(value)}: expected {allowed.words}")
