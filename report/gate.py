"""Thresholds for CI: which means must be reached, and which were not."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from twinbench.protocols.catalogue import find_protocol
from twinbench.protocols.house import UserError
from twinbench.report.grid import Table
from twinbench.report.statistics import DECIMALS


class GateError(UserError):
    """A threshold that says nothing that could be checked."""


@dataclass(frozen=True)
class Gate:
    """A mean that must be reached: by one method, or by every measured one."""

    method: str  # empty: every method
    protocol: str
    metric: str  # empty: the headline
    percent: float

    @property
    def what(self) -> str:
        """The threshold as it was asked for, without its number."""
        return f"{self.method}{'/' if self.method else ''}{self.protocol}{':' if self.metric else ''}{self.metric}"


def parse_gates(texts: Iterable[str]) -> list[Gate]:
    """Read thresholds written as [METHOD/]PROTOCOL[:METRIC]=PERCENT."""
    return [_parse(text) for text in texts]


def _parse(text: str) -> Gate:
    """Read one threshold; the protocol must be known and the number finite."""
    what, _, number = text.rpartition("=")
    method, _, rest = what.rpartition("/")
    protocol, _, metric = rest.partition(":")
    try:
        percent = float(number)
    except ValueError:
        percent = math.nan
    if not protocol or not math.isfinite(percent):
        raise GateError(f"--fail-below {text}: expected [METHOD/]PROTOCOL[:METRIC]=PERCENT, like voc07-svm=85.0")
    find_protocol(protocol)
    return Gate(method, protocol, metric, percent)


def failures(table: Table, gates: Iterable[Gate]) -> list[str]:
    """Return one line for each threshold that a method misses; a number that is missing misses it too."""
    return [line for gate in gates for line in _failures(table, gate)]


def _failures(table: Table, gate: Gate) -> list[str]:
    """Check one threshold, against the named recipe's column only and against complete data only."""
    metric = gate.metric or find_protocol(gate.protocol).metric
    columns = [
        column
        for column in table.columns
        if (column.protocol, column.metric) == (gate.protocol, metric) and column.named
    ]
    methods = [gate.method] if gate.method else [name for name in table.methods if name not in table.published]
    lines: list[str] = []
    for method in methods:
        cells = [table.cell(method, column) for column in columns]
        measured = [cell for cell in cells if cell.values and cell.comparable]
        if not measured:
            why = (
                cells[0].missing if cells and not cells[0].values else "no number on complete data by the named recipe"
            )
            lines.append(f"{gate.what}: {method}: {why}, expected at least {gate.percent:g}")
            continue
        lowest = min(cell.mean for cell in measured)  # of one protocol on several data sets, each must reach it
        if lowest < gate.percent:
            lines.append(f"{gate.what}: {method} reaches {lowest:.{DECIMALS + 1}f}, expected {gate.percent:g}")
    return lines
