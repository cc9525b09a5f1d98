"""Which method is better: places in each column, the average rank over tasks, and rows from the best."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace

from twinbench.report.grid import Cell, Column, Table
from twinbench.report.series import group
from twinbench.report.statistics import mean, places, shared_ranks


def ranked(table: Table, *, with_published: bool) -> Table:
    """Return the table with the places in each column and the average rank over tasks."""
    cells = dict(table.cells)
    for column in table.columns:
        found = rivals(table, column, with_published=with_published)
        if len(found) < 2:  # alone, it is not the best
            continue
        placed = places([cell.mean for cell in found.values()], column.unit)
        for method, place in zip(found, placed, strict=True):
            cells[method, column] = replace(found[method], place=place)
    ranks, tasks = _average_ranks(table)
    return replace(table, cells=cells, ranks=ranks, ranked_tasks=tasks)


def rivals(table: Table, column: Column, *, with_published: bool = False) -> dict[str, Cell]:
    """Return the cells of a column that may be ranked against each other."""
    found: dict[str, Cell] = {}
    for method in table.methods:
        cell = table.cell(method, column)
        if cell.values and cell.comparable and (with_published or not cell.published):
            found[method] = cell
    return found


def is_headline(cells: Mapping[str, Cell], column: Column) -> bool:
    """Say whether a column's metric is the one that the recipe is compared by."""
    headlines: set[str] = set()
    for cell in cells.values():
        headlines.update(trial.result.headline for trial in cell.trials)
    return headlines == {column.metric}


def _average_ranks(table: Table) -> tuple[tuple[tuple[str, float], ...], int]:
    """Return each measured method's rank averaged over the tasks that all finished, and their number.

    A task is a recipe, ranked by its headline metric; none are returned for fewer than two methods or tasks.
    """
    gathered: dict[str, list[float]] = defaultdict(list)
    for column in table.columns:
        found = rivals(table, column)
        if list(found) == table.measured and is_headline(found, column):
            ranks = shared_ranks([cell.mean for cell in found.values()], column.unit)
            for method, rank in zip(found, ranks, strict=True):
                gathered[method].append(rank)
    tasks = max(map(len, gathered.values()), default=0)
    if len(table.measured) < 2 or tasks < 2:
        return (), 0
    return tuple((method, mean(ranks)) for method, ranks in gathered.items()), tasks


def best_first(table: Table) -> Table:
    """Return the table with its rows from the best method to the worst, those without a number last.

    By average rank; where no two tasks were finished by all, by the share of rivals that stand above a method, averaged
    over the tasks that it finished. A training's checkpoints stay together and stand where the last of them would; a
    published row follows the measured method of its name, or stands below all measured ones.
    """
    standing: Mapping[str, float] = dict(table.ranks) or _shares_above(table)
    unknown = max(standing.values(), default=0.0) + 1
    of_group = {group(method): standing.get(method, unknown) for method in table.measured}  # the last one's
    arranged = sorted(table.measured, key=lambda method: of_group[group(method)])
    own: dict[str, list[str]] = defaultdict(list)
    for label, method in table.own_published.items():
        own[method].append(label)
    rows: dict[str, None] = {}
    for method in arranged:
        rows |= dict.fromkeys([method, *own[method]])
    return replace(table, methods=(*rows, *(method for method in table.methods if method not in rows)))


def _shares_above(table: Table) -> dict[str, float]:
    """Return, for each method that has rivals, the mean share of them that stand above it."""
    gathered: dict[str, list[float]] = defaultdict(list)
    for column in table.columns:
        found = rivals(table, column)
        if len(found) > 1 and is_headline(found, column):
            ranks = shared_ranks([cell.mean for cell in found.values()], column.unit)
            for method, rank in zip(found, ranks, strict=True):
                gathered[method].append((rank - 1) / (len(found) - 1))
    return {method: mean(shares) for method, shares in gathered.items()}
