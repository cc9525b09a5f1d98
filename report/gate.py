"""Thresholds for CI: which means must be reached, and which were not."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from twinbench.protocols.catalogue import find_protocol
from twinbench.protocols.house import UserError
from twinbench.protocols.metrics import unit_of
from twinbench.report.grid import Column, Table


class GateError(UserError):
    """A threshold that says nothing that could be checked."""


@dataclass(frozen=True)
class Gate:
    """A mean that must be reached: by one method, or by every measured one."""

    method: str  # empty: every method
    protocol: str
    metric: str  # empty: the headline
    bound: float  # the least, or of an error the most that will do

    @property
    def what(self) -> str:
        """The threshold as it was asked for, without its number."""
        method = f"{self.method}/" if self.method else ""
        metric = f":{self.metric}" if self.metric else ""
        return f"{method}{self.protocol}{metric}"


def parse_gates(texts: Iterable[str]) -> list[Gate]:
    """Read thresholds written as [METHOD/]PROTOCOL[:METRIC]=NUMBER, in the unit of the metric."""
    return [_parse(text) for text in texts]


def _parse(text: str) -> Gate:
    """Read one threshold; the protocol must be known and the number finite."""
    what, _, number = text.rpartition("=")
    method, _, rest = what.rpartition("/")
    protocol, _, metric = rest.partition(":")
    try:
        bound = float(number)
    except ValueError:
        bound = math.nan
    if not protocol or not math.isfinite(bound):
        raise GateError(f"--fail-below {text}: expected [METHOD/]PROTOCOL[:METRIC]=NUMBER, like voc07-svm=85.0")
    find_protocol(protocol)
    return Gate(method, protocol, metric, bound)


def failures(table: Table, gates: Iterable[Gate]) -> list[str]:
    """Return one line for each threshold that a method misses.

    A number that is missing misses it too.
    """
    lines: list[str] = []
    for gate in gates:
        lines += _failures(table, gate)
    return lines


def _failures(table: Table, gate: Gate) -> list[str]:
    """Check one threshold, against the named recipe's column only and against complete data only."""
    columns = _columns(table, gate)
    unit = unit_of(_metric(gate))
    lines: list[str] = []
    for method in [gate.method] if gate.method else table.measured:
        cells = [table.cell(method, column) for column in columns]
        means = [cell.mean for cell in cells if cell.values and cell.comparable]
        if not means:
            why = "no number on complete data by the named recipe"
            if cells and not cells[0].values:
                why = cells[0].missing
            lines.append(
                f"{gate.what}: {method}: {why}, expected at {'most' if unit.falls else 'least'} {gate.bound:g}"
            )
            continue
        worst = max(means) if unit.falls else min(means)  # of one protocol on several data sets, each must reach it
        if (worst > gate.bound) if unit.falls else (worst < gate.bound):
            reached = f"{worst:.{unit.decimals + 1}f}"
            lines.append(
                f"{gate.what}: {method} reaches {reached}, expected {'at most ' if unit.falls else ''}{gate.bound:g}"
            )
    return lines


def _metric(gate: Gate) -> str:
    """Return the metric that a threshold speaks of."""
    return gate.metric or find_protocol(gate.protocol).metric


def _columns(table: Table, gate: Gate) -> list[Column]:
    """Return the columns of the named recipe that a threshold speaks of, one for each data set."""
    metric = _metric(gate)
    found: list[Column] = []
    for column in table.columns:
        is_asked_for = column.protocol == gate.protocol and column.metric == metric
        if is_asked_for and column.named:
            found.append(column)
    return found
