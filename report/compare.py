"""Two methods against each other, task by task: who is ahead, and do the trials carry it?

Examples:
  twinbench compare demo/barlow-twins demo/random
  twinbench compare runs/epoch100 runs/epoch200 --json

A and B are folders (or result files) with the results of one method each. A difference counts as shown if its p-value,
adjusted for the number of tasks (Holm), is below 0.05.
"""

import argparse
import dataclasses
import json
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from twinbench.protocols.catalogue import load_own
from twinbench.protocols.house import UserError, aligned
from twinbench.report.beside import both, by_seed
from twinbench.report.files import Found, Located, find
from twinbench.report.grid import Column, Table
from twinbench.report.statistics import LEVEL, MOST_SEEDS, Difference, difference, holm
from twinbench.report.table import build
from twinbench.report.text import footnotes, marks, printable


class CompareError(UserError):
    """Two folders that cannot be compared."""


@dataclass(frozen=True)
class Verdict:
    """What the trials say about two methods in one column."""

    column: Column
    found: Difference
    p: float | None  # adjusted for the number of columns

    @property
    def winner(self) -> str:
        """`A`, `B`, or nothing where the trials do not show a difference."""
        if self.p is None or self.p >= LEVEL:
            return ""
        return "A" if (self.found.value > 0) != self.column.unit.falls else "B"

    @property
    def words(self) -> str:
        """The verdict in words."""
        if self.winner:
            return f"{self.winner} is better (p {self.p:.2g})"
        if self.p is None:
            return "no verdict: one trial on a side, or seeds that change nothing"
        if self.found.seeds:
            return f"not shown (p {self.p:.2g}); about {max(self.found.seeds, 2)} trials each would settle it"
        return f"not shown (p {self.p:.2g}); more than {MOST_SEEDS} trials each would be needed"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `twinbench compare` takes."""
    parser.add_argument("a", metavar="A", type=Path, help="folder of the first method's results")
    parser.add_argument("b", metavar="B", type=Path, help="folder of the second method's results")
    parser.add_argument(
        "--protocols", action="append", default=[], metavar="FILE", help="own protocols, as YAML or Python"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Print the verdict."""
    load_own(arguments.protocols)
    table = pair(arguments.a, arguments.b)
    found = verdicts(table)
    if not found:
        raise CompareError(
            f"{arguments.a} and {arguments.b} have no protocol in common that both finished on the same, whole data"
        )
    print(_as_json(table, found) if arguments.json else _screen(table, found))
    return 0


def pair(a: Path, b: Path) -> Table:
    """Return a table of two rows, A and B; CompareError if a folder holds more than one method."""
    results = (*_one_method(a), *_one_method(b))
    return build(Found(results))


def _one_method(path: Path) -> list[Located]:
    """Return the results below a folder, all of one method, under the folder's path as their label."""
    found = find([path])
    methods = sorted({entry.result.method for entry in found.results})
    if len(methods) != 1:
        raise CompareError(
            f"{path}: holds {len(methods)} methods ({', '.join(methods)}), expected one; name its folder"
        )
    return [replace(entry, result=replace(entry.result, method=str(path))) for entry in found.results]


def verdicts(table: Table) -> list[Verdict]:
    """Compare the two rows in every column in which both have comparable numbers."""
    a, b = table.methods
    found: dict[Column, Difference] = {}
    for column, ours, theirs in both(table, a, b):
        found[column] = difference(by_seed(ours), by_seed(theirs))
    adjusted = iter(holm([entry.p for entry in found.values() if entry.p is not None]))
    answers: list[Verdict] = []
    for column, entry in found.items():
        p = None if entry.p is None else next(adjusted)
        answers.append(Verdict(column, entry, p))
    return answers


def summary(found: list[Verdict]) -> str:
    """Return the verdict over all columns in one line."""
    wins = Counter(entry.winner for entry in found)
    return f"A is better on {wins['A']}, B on {wins['B']}; not shown on {wins['']} of {len(found)} columns."


def _screen(table: Table, found: list[Verdict]) -> str:
    """Return the verdict for people."""
    a, b = table.methods
    rows = [("protocol", "metric", "A", "B", "A - B [95 % interval]", "verdict")]
    for entry in found:
        name, metric, recipe = map(printable, table.header(entry.column))
        ours, theirs = table.cell(a, entry.column), table.cell(b, entry.column)
        gap, _, _ = entry.found.told(entry.column.unit).partition(" ?")
        numbers = ours.shown + marks(table, ours), theirs.shown + marks(table, theirs), gap
        rows.append((f"{name} {recipe}".rstrip(), metric, *numbers, entry.words))
    head = [f"A: {printable(a)}", f"B: {printable(b)}", ""]
    foot = ["", summary(found), *footnotes(table)]
    return "\n".join([*head, *aligned(rows), *foot])


def _as_json(table: Table, found: list[Verdict]) -> str:
    """Return the verdict for programs."""
    a, b = table.methods
    columns: list[dict[str, object]] = []
    for entry in found:
        columns.append(
            {
                **dataclasses.asdict(entry.column),
                **dataclasses.asdict(entry.found),
                "a": table.cell(a, entry.column).values,
                "b": table.cell(b, entry.column).values,
                "adjusted_p": entry.p,
                "winner": entry.winner,
            }
        )
    return json.dumps({"a": a, "b": b, "columns": columns}, indent=1)
