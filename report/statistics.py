"""The arithmetic of a table: what a few seeds say about a number, and about the difference of two."""

import importlib
import math
from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from twinbench.protocols.metrics import PERCENT, Unit

DECIMALS = PERCENT.decimals
LEVEL = 0.05  # two-sided
POWER = 0.8
MOST_SEEDS = 100  # a difference that needs more is not worth naming a number for


def mean(values: Sequence[float]) -> float:
    """Return the arithmetic mean of one value or more."""
    return math.fsum(values) / len(values)


def sample_std(values: Sequence[float]) -> float | None:
    """Return the standard deviation with n - 1 in the denominator; None where there is no spread to speak of.

    That is for a single value, however often it is given: a deterministic trial repeats itself.
    """
    if independent(values) < 2:
        return None
    center = mean(values)
    squares = [(value - center) ** 2 for value in values]
    return math.sqrt(math.fsum(squares) / (len(values) - 1))


def _variance(values: Sequence[float]) -> float:
    """Return the square of the sample's standard deviation.

    0 where there is no spread to speak of.
    """
    return (sample_std(values) or 0.0) ** 2


def independent(values: Collection[float]) -> int:
    """Return how many trials some values count for: all, or one if they repeat to the last digit."""
    return len(values) if len(set(values)) > 1 else min(len(values), 1)


def places(values: Sequence[float], unit: Unit = PERCENT) -> list[int]:
    """Rank values, 1 = best.

    Values equal in print share a place and leave the next one empty.
    """
    merits = [unit.merit(value) for value in values]
    descending = sorted(merits, reverse=True)
    return [1 + descending.index(merit) for merit in merits]


def shared_ranks(values: Sequence[float], unit: Unit = PERCENT) -> list[float]:
    """Rank values, 1 = best.

    Values equal in print get the mean of the ranks they fill.
    """
    merits = [unit.merit(value) for value in values]
    ranks: list[float] = []
    for place, merit in zip(places(values, unit), merits, strict=True):
        sharing = merits.count(merit)  # they fill the ranks place, ..., place + sharing - 1
        ranks.append(place + (sharing - 1) / 2)
    return ranks


@dataclass(frozen=True)
class Difference:
    """A difference of two means in the unit of their metric, and how far a few trials carry it."""

    value: float
    low: float | None = None  # 95 % interval; None where there is no spread to judge by
    high: float | None = None
    p: float | None = None  # two-sided
    # Trials a method that would show a difference of this size; None: unknown, or too many
    seeds: int | None = None
    test: str = ""  # paired t-test, Welch's t-test

    @property
    def decided(self) -> bool:
        """Say whether the interval excludes zero."""
        return self.p is not None and self.p < LEVEL

    def told(self, unit: Unit) -> str:
        """Return the difference as plain text: `+1.2 [+0.8, +1.6]`.

        If it is undecided, the seeds that would decide it follow: ` ?12`.
        """
        text = f"{self.value:+.{unit.decimals}f}"
        if self.low is None or self.high is None:
            return text
        text += f" [{self.low:+.{unit.decimals}f}, {self.high:+.{unit.decimals}f}]"
        if self.decided:
            return text
        needed = self.seeds or f">{MOST_SEEDS}"
        return f"{text} ?{needed}"


def difference(ours: Mapping[int, float], theirs: Mapping[int, float]) -> Difference:
    """Return mean(ours) - mean(theirs) from values by seed.

    Trials of the same seeds are compared in pairs (paired t-test), others by Welch's t-test; the interval is that of
    the test. One trial on either side, or trials that repeat to the last digit (which count as one), leave the
    difference without one.
    """
    our_values, their_values = list(ours.values()), list(theirs.values())
    value = mean(our_values) - mean(their_values)
    if independent(our_values) < 2 or independent(their_values) < 2:
        return Difference(value)
    if ours.keys() == theirs.keys():
        test, groups = "paired t-test", 1
        gaps = [ours[seed] - theirs[seed] for seed in ours]
        unit = sample_std(gaps) or 0.0
        error = unit / math.sqrt(len(gaps))
        freedom = len(gaps) - 1.0
    else:
        test, groups = "Welch's t-test", 2
        unit = math.sqrt(mean([_variance(our_values), _variance(their_values)]))
        error, freedom = _welch(our_values, their_values)
    if error == 0:  # every pair has the same gap: no spread to judge by
        return Difference(value)
    reach = float(_special().stdtrit(freedom, 1 - LEVEL / 2)) * error
    p = 2 * float(_special().stdtr(freedom, -abs(value) / error))
    seeds = seeds_to_separate(abs(value) / unit, groups)
    return Difference(value, value - reach, value + reach, p, seeds, test)


def _welch(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float]:
    """Return the standard error and the degrees of freedom of a difference of means (Welch, Satterthwaite)."""
    a = _variance(ours) / len(ours)  # the squared standard error of either mean
    b = _variance(theirs) / len(theirs)
    if a + b == 0:
        return 0.0, 1.0
    freedom = (a + b) ** 2 / (a**2 / (len(ours) - 1) + b**2 / (len(theirs) - 1))
    return math.sqrt(a + b), freedom


def seeds_to_separate(effect: float, groups: int) -> int | None:
    """Return the fewest trials a method at which a t-test at 5 % finds a difference with probability 0.8.

    `effect` is the difference over the standard deviation: of paired gaps (`groups` 1) or of each of two groups (2).
    None: more than MOST_SEEDS.
    """
    if effect == 0:
        return None
    special = _special()

    def power(count: int) -> float:
        freedom = groups * (count - 1)
        center = effect * math.sqrt(count / groups)
        bound = float(special.stdtrit(freedom, 1 - LEVEL / 2))
        above = 1 - special.nctdtr(freedom, center, bound)
        below = special.nctdtr(freedom, center, -bound)
        return float(above + below)

    counts = range(2, MOST_SEEDS + 1)
    found = bisect_left(counts, POWER, key=power)
    return counts[found] if found < len(counts) else None


def _special() -> Any:
    """Return the distribution functions of Student's t, central and not: scipy.stats takes a second to import."""
    return importlib.import_module("scipy.special")


def holm(ps: Sequence[float]) -> list[float]:
    """Return p-values adjusted for how many questions were asked at once (Holm's step-down rule)."""
    order = sorted(range(len(ps)), key=lambda index: ps[index])
    adjusted, highest = [0.0] * len(ps), 0.0
    for step, index in enumerate(order):
        highest = max(highest, min(1.0, (len(ps) - step) * ps[index]))
        adjusted[index] = highest
    return adjusted
