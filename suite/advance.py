"""How far a running job has come and how long it has to go, from its own log."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twinbench.protocols.text import TextError, parse_json
from twinbench.runtime.duration import duration

TAIL_BYTES = 64_000


@dataclass(frozen=True)
class Advance:
    """A job's progress. `seconds_left` is None while one line alone tells no speed."""

    unit: str
    done: float
    total: int
    seconds_left: float | None

    def __str__(self) -> str:
        left = "" if self.seconds_left is None else f", {duration(self.seconds_left)} left"
        return f"{self.unit} {self.done:.0f}/{self.total}{left}"


def advance(log: Path, unit: str, total: int) -> Advance | None:
    """Read the progress from the JSON lines of `log` whose field `unit` counts up to `total`; None if there is none."""
    lines = _tail(log) if total else []
    numbers = ((line.get("time"), line.get(unit)) for line in lines)
    points = [(at, done) for at, done in numbers if isinstance(at, int | float) and isinstance(done, int | float)]
    # a restarted job's clock begins anew: only the rising end of the log tells its speed
    start = max((at for at in range(1, len(points)) if points[at][1] < points[at - 1][1]), default=0)
    points = points[start:]
    if not points:
        return None
    (first_time, first), (last_time, last) = points[0], points[-1]
    left = (total - last) * (last_time - first_time) / (last - first) if last > first else None
    return Advance(unit, last, total, left)


def _tail(log: Path) -> list[dict[str, Any]]:
    """Return the last whole JSON lines of a log."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return []
    found: list[dict[str, Any]] = []
    for line in lines[1:] if size > TAIL_BYTES else lines:
        try:
            told = parse_json(line, str(log))
        except TextError:
            continue  # the last line may be half-written
        if isinstance(told, dict):
            found.append(told)
    return found
