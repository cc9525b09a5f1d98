"""What a table is made of: columns, cells, and the grid that a writer turns into text, Markdown, LaTeX or a page."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from twinbench.protocols.catalogue import PROTOCOLS
from twinbench.protocols.metrics import Unit, unit_of
from twinbench.protocols.schema import Protocol
from twinbench.report.files import Located
from twinbench.report.statistics import DECIMALS, Difference, independent, mean, sample_std

NOT_RUN = "not run"
DEMO = "demo-"
DATA_NOT_RECORDED = "data not recorded"
DIGITS = 6  # of a fingerprint or a sha256 in a header


def catalogued(name: str) -> Protocol | None:
    """Return this twinbench's protocol of that name, of a pair RECIPE@DATA the recipe's, or the family's own pair.

    None for one of one's own.
    """
    recipe, _, data = name.partition("@")
    found = PROTOCOLS.get(recipe)
    return found.members.get(data, found) if found else None


@dataclass(frozen=True, order=True)
class Column:
    """What a column's numbers are numbers of.

    Two that differ in anything but the data's name never share one.
    """

    protocol: str
    version: int
    fingerprint: str
    metric: str
    data_sha256: str = ""  # identity of the data; empty: not recorded
    data: str = field(default="", compare=False)  # the name of that data

    @property
    def named(self) -> Protocol | None:
        """The protocol of this twinbench, alone or in a pair RECIPE@DATA, whose very recipe this is.

        None if it was changed or is unknown.
        """
        found = catalogued(self.protocol)
        if found and (found.version, found.fingerprint) == (self.version, self.fingerprint):
            return found
        return None

    @property
    def is_named_recipe(self) -> bool:
        """Say whether the recipe is the one this twinbench has under the protocol's name.

        Of a pair only on a data set of its family.
        """
        return self.named is not None and self.protocol == self.named.name

    @property
    def unit(self) -> Unit:
        """What its numbers are, and which way is better."""
        return unit_of(self.metric)

    @property
    def data_shown(self) -> str:
        """The data in a few letters: its name and the start of its sha256."""
        if not self.data_sha256:
            return DATA_NOT_RECORDED
        return f"{self.data} {self.data_sha256[:DIGITS]}".strip()


@dataclass(frozen=True)
class Cell:
    """The trials of one method in one column, or one published number.

    `missing` says why there is neither.
    """

    trials: tuple[Located, ...] = ()
    values: tuple[float, ...] = ()  # in the unit of the column's metric, one a trial
    notes: tuple[str, ...] = ()
    comparable: bool = True  # False: other data than the protocol's, takes no part in the ranking
    place: int = 0  # 1 best of the column, 2 second; 0: not ranked, or alone
    missing: str = NOT_RUN
    published: bool = False
    decimals: int = DECIMALS  # that are printed

    @property
    def mean(self) -> float:
        """The mean over trials; only for a cell that has values."""
        return mean(self.values)

    @property
    def std(self) -> float | None:
        """The sample standard deviation over trials; None for one trial."""
        return sample_std(self.values)

    @property
    def count(self) -> int:
        """How many trials the cell counts for: seeds that change nothing are one."""
        return independent(self.values)

    @property
    def number(self) -> str:
        """The mean as it is printed."""
        return f"{self.mean:.{self.decimals}f}"

    @property
    def spread(self) -> str:
        """The spread and the number of trials as they are printed beside the mean.

        Published numbers have none.
        """
        if self.published:
            return ""
        return "(n=1)" if self.std is None else f"±{self.std:.{self.decimals}f} ({self.count})"

    @property
    def shown(self) -> str:
        """The cell as plain text."""
        return f"{self.number} {self.spread}".rstrip() if self.values else self.missing


@dataclass(frozen=True)
class Contrast:
    """A second table under the first: differences, over the same columns."""

    title: str
    how: str  # to read it
    cells: Mapping[tuple[str, Column], Difference]

    def rows(self, table: "Table") -> list[str]:
        """Return the methods it speaks of, in the table's order."""
        spoken = {method for method, _ in self.cells}
        return [method for method in table.methods if method in spoken]

    def columns(self, table: "Table") -> list[Column]:
        """Return the columns in which it says anything."""
        spoken = {column for _, column in self.cells}
        return [column for column in table.columns if column in spoken]

    def shown(self, method: str, column: Column) -> str:
        """Return a difference as plain text, empty where there is none."""
        found = self.cells.get((method, column))
        return found.told(column.unit) if found else ""


@dataclass(frozen=True)
class Mean:
    """Each method's mean over data sets of a family."""

    protocol: str  # the family's name
    version: int
    fingerprint: str
    sets: tuple[str, ...]  # the names of those that are in it
    values: Mapping[str, float]  # method -> percent
    is_whole: bool  # all sets of the family

    @property
    def header(self) -> tuple[str, str, str]:
        """What stands above the column: the family, how many sets, and which if they are not all."""
        return self.protocol, f"mean of {len(self.sets)}", "" if self.is_whole else ", ".join(self.sets)

    def shown(self, method: str) -> str:
        """Return a method's mean as it is printed; empty where it has none."""
        return f"{self.values[method]:.{DECIMALS}f}" if method in self.values else ""


@dataclass(frozen=True)
class Summary:
    """A column after the cells, with one text a method."""

    header: tuple[str, str, str]
    texts: Mapping[str, str]


@dataclass(frozen=True)
class Table:
    """Rows, columns, cells and footnotes, ready for a writer."""

    methods: tuple[str, ...]
    columns: tuple[Column, ...]
    cells: Mapping[tuple[str, Column], Cell]
    footnotes: tuple[tuple[str, str], ...] = ()  # (mark, text)
    published: frozenset[str] = frozenset()  # rows that hold published numbers
    own_published: Mapping[str, str] = field(
        default_factory=dict[str, str]
    )  # those of a measured method -> that method
    ranks: tuple[tuple[str, float], ...] = ()  # (method, average over the tasks that all finished)
    ranked_tasks: int = 0
    baseline: str = ""  # the method that one of the contrasts subtracts from the others
    contrasts: tuple[Contrast, ...] = ()
    means: tuple[Mean, ...] = ()

    @property
    def summaries(self) -> list[Summary]:
        """The columns after the cells: means of families, and the average rank where methods are ranked."""
        found = [Summary(each.header, {method: each.shown(method) for method in self.methods}) for each in self.means]
        if self.ranks:
            found.append(Summary(self.rank_header, {method: self.rank(method) for method in self.methods}))
        return found

    def cell(self, method: str, column: Column) -> Cell:
        """Return a cell; an empty one that says `not run` where nothing was found."""
        empty = Cell(missing="") if method in self.published else Cell()
        return self.cells.get((method, column), empty)

    def marks(self, cell: Cell) -> tuple[str, ...]:
        """Return the marks of the footnotes that belong to a cell."""
        return tuple(mark for mark, text in self.footnotes if text in cell.notes)

    @property
    def measured(self) -> list[str]:
        """The rows that hold measured numbers, in order."""
        return [method for method in self.methods if method not in self.published]

    @property
    def is_demo(self) -> bool:
        """True if every column is a demo protocol: their common prefix is then left out of the headers."""
        return all(column.protocol.startswith(DEMO) for column in self.columns)

    def header(self, column: Column) -> tuple[str, str, str]:
        """Return a column's protocol, its metric and what the name alone does not say.

        That is version and fingerprint of the recipe, name and identity of the data; else an empty text.
        """
        name = column.protocol.removeprefix(DEMO) if self.is_demo else column.protocol
        more: list[str] = []
        if self.ambiguous(column):
            more.append(f"v{column.version} {column.fingerprint[:DIGITS]}")
        if self.has_several_data(column):
            more.append(column.data_shown)
        return name, column.metric, ", ".join(more)

    def ambiguous(self, column: Column) -> bool:
        """Say whether the name of the column's protocol does not tell which recipe was run."""
        if column.protocol in PROTOCOLS and not column.is_named_recipe:
            return True
        recipes = {(other.version, other.fingerprint) for other in self._namesakes(column)}
        return len(recipes) > 1

    def has_several_data(self, column: Column) -> bool:
        """Say whether the column's protocol stands in the table on other data, too."""
        data = {other.data_sha256 for other in self._namesakes(column)}
        return len(data) > 1

    def _namesakes(self, column: Column) -> list[Column]:
        """Return the columns under the same protocol's name, the given one among them."""
        return [other for other in self.columns if other.protocol == column.protocol]

    @property
    def rank_header(self) -> tuple[str, str, str]:
        """The header of the column of average ranks."""
        return "average rank", f"{self.ranked_tasks} tasks", ""

    def rank(self, method: str) -> str:
        """Return a method's average rank as it is printed; empty if it has none."""
        found = dict(self.ranks).get(method)
        return "" if found is None else f"{found:.1f}"

    @property
    def key(self) -> str:
        """One line on how to read a cell."""
        demo = " Demo protocols are scaled down: compare within this table only." if self.is_demo else ""
        published = " Published rows follow their sources' own recipes." if self.published else ""
        units = {column.metric: column.unit for column in self.columns if column.unit.falls}
        errors = ", ".join(unit.words(metric) for metric, unit in units.items())
        errors = f" (of {errors} lower is better)" if errors else ""
        return f"Percent, higher is better{errors}: mean ± sample standard deviation (trials).{demo}{published}"
