"""The mean over the data sets of a family, one a method: what papers print in the last column."""

from collections import defaultdict

from twinbench.protocols.catalogue import PROTOCOLS
from twinbench.report.grid import Column, Mean, Table
from twinbench.report.statistics import mean


def family_means(table: Table) -> tuple[Mean, ...]:
    """Return a mean for each recipe of a family that the table has on two of its data sets or more.

    A method has one if it was measured on all of those in the table, and each of its numbers may be compared.
    """
    families: dict[tuple[str, int, str], list[Column]] = defaultdict(list)
    for column in table.columns:
        name, _, data = column.protocol.partition("@")
        family = PROTOCOLS.get(name)
        if family and data in family.members:
            families[name, column.version, column.fingerprint].append(column)
    found: list[Mean] = []
    for (name, version, fingerprint), columns in families.items():
        sets = tuple(column.protocol.partition("@")[2] for column in columns)
        if len(set(sets)) == len(sets) > 1:  # of one set twice, on other data or by another metric, neither is the one
            values = _values(table, columns)
            found.append(Mean(name, version, fingerprint, sets, values, len(sets) == len(PROTOCOLS[name].members)))
    return tuple(found)


def _values(table: Table, columns: list[Column]) -> dict[str, float]:
    """Return the mean of each method that has a comparable number in every column."""
    values: dict[str, float] = {}
    for method in table.methods:
        cells = [table.cell(method, column) for column in columns]
        if all(cell.values and cell.comparable for cell in cells):
            values[method] = mean([cell.mean for cell in cells])
    return values
