"""Numbers by class, where trials recorded them: classes down, methods side by side, the mean over trials in a cell."""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from twinbench.report.files import Located
from twinbench.report.result import Result
from twinbench.report.statistics import mean

ByClass = dict[str, float]
AP = "ap"  # in the details of an SVM: AP of each class, percent
PER_CLASS = "per_class"  # in those of detectors and segmenters: the same of each metric; or of the headline alone


@dataclass(frozen=True)
class Classes:
    """A metric of one recipe by class; best class first."""

    metric: str
    methods: tuple[str, ...]
    rows: tuple[tuple[str, tuple[float | None, ...]], ...]  # (class, a value a method, None: not recorded)


def by_class(trials: Mapping[str, Sequence[Located]]) -> Iterator[Classes]:
    """Yield a table for each metric that a method's trials recorded by class."""
    found: dict[str, dict[str, ByClass]] = defaultdict(dict)  # metric -> method -> class -> mean
    for method, located in trials.items():
        values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        for trial in located:
            for metric, recorded in _recorded(trial.result).items():
                for name, value in recorded.items():
                    values[metric][name].append(value)
        for metric, classes in values.items():
            found[metric][method] = {name: mean(numbers) for name, numbers in classes.items()}
    for metric, methods in found.items():
        names = dict.fromkeys(name for classes in methods.values() for name in classes)
        rows = [(name, tuple(classes.get(name) for classes in methods.values())) for name in names]
        rows.sort(key=lambda row: -mean([value for value in row[1] if value is not None]))
        yield Classes(metric, tuple(methods), tuple(rows))


def _recorded(result: Result) -> dict[str, ByClass]:
    """Return metric -> class -> percent; details are other people's, and what is no such number is no part of it."""
    found: dict[str, ByClass] = {}
    if values := _numbers(result.details.get(AP)):
        found["AP"] = values
    per_class = result.details.get(PER_CLASS)
    if values := _numbers(per_class):
        found[result.headline] = values
    elif isinstance(per_class, dict):
        for metric, classes in cast("dict[str, Any]", per_class).items():
            if values := _numbers(classes):
                found[metric] = values
    return found


def _numbers(details: Any) -> ByClass:
    """Return class -> percent where that is what details are, else nothing."""
    if not isinstance(details, dict):
        return {}
    values = cast("dict[str, Any]", details)
    for value in values.values():
        if type(value) not in (int, float) or not math.isfinite(value) or not 0 <= value <= 100:
            return {}
    return {name: float(value) for name, value in values.items()}
