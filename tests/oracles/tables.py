"""Reads what the sources of every recipe say, and tells where a recipe says otherwise.

The tables beside this file are typed from papers and reference code, never from `protocols/`. A
recipe is held against them field by field, by the names that `--set` takes; so they know no recipe
class, and a field that moves to another class keeps its line. transfer.toml tells how to read one.
"""

import math
import tomllib
from collections.abc import Iterable, Mapping
from functools import cache, reduce
from pathlib import Path
from typing import Any, NamedTuple

from twinbench.protocols.catalogue import PROTOCOLS
from twinbench.protocols.house import setting_values
from twinbench.protocols.pretraining import RECIPES

FOLDER = Path(__file__).parent
SHIPPED = tuple(PROTOCOLS)  # before a user's own files add to them
NAMES = ("name", "source")  # of a pretraining recipe: words, not numbers
BESIDE = {  # what stands beside the recipe in a protocol, and where
    "protocol.version": ("version",),
    "protocol.kind": ("recipe", "kind"),
    "protocol.metric": ("metric",),
    "protocol.selected_on": ("selected_on",),
    "protocol.trials": ("trials",),
    "protocol.width": ("width",),
    "data.name": ("data_set", "name"),
    "data.classes": ("data_set", "classes"),
    "data.images": ("data_set", "images"),
    "data.subset": ("data_set", "subset"),
}
TYPE_IT = "type it from the source into a table in tests/oracles/"


class Line(NamedTuple):
    """One line of a table: what a field must be, and who says so."""

    value: Any
    place: str  # in the source
    source: str
    file: str


class Table(NamedTuple):
    """What the sources say of one protocol: its own lines, over those of what it reads."""

    lines: dict[str, Line]
    own: frozenset[str]


def entries() -> dict[str, Any]:
    """Return every protocol of ours and every pretraining recipe as they are now, by name."""
    return {name: PROTOCOLS[name] for name in SHIPPED} | RECIPES


def places(entry: Any) -> dict[str, tuple[str, ...]]:
    """Return every field that needs an oracle, with the attributes that lead to it from `entry`."""
    if not hasattr(entry, "recipe"):
        fields = [field for field in setting_values(entry) if field not in NAMES]
        return {field: tuple(field.split(".")) for field in fields}
    recipe: dict[str, tuple[str, ...]] = {}
    for field in setting_values(entry.recipe):
        recipe[field] = ("recipe", *field.split("."))
    return recipe | BESIDE


def values_of(entry: Any) -> dict[str, Any]:
    """Return the value of every field that needs an oracle."""
    values = {field: reduce(getattr, place, entry) for field, place in places(entry).items()}
    if "protocol.selected_on" in values:
        # The words behind the colon are for people: "nothing: the last epoch is reported".
        values["protocol.selected_on"] = values["protocol.selected_on"].partition(":")[0]
    return values


def problems(name: str, values: Mapping[str, Any]) -> list[str]:
    """Return, one sentence each, where the values of `name` by field are not what its sources say."""
    if name not in tables():
        return [f"{name} has no oracle: {TYPE_IT}"]
    wanted = expected(name)
    gone = sorted(tables()[name].own - values.keys())
    found = [f"{name}: {field} is no field any more, its oracle is left: drop it" for field in gone]
    for field, value in values.items():
        if field not in wanted:
            found.append(f"{name}: {field}={value} has no oracle: {TYPE_IT}")
        elif not same(value, wanted[field][0]):
            right, source = wanted[field]
            found.append(f"{name}: {field} is {value}, but {right} by {source}")
    return found


def expected(name: str) -> dict[str, tuple[Any, str]]:
    """Return what each field of `name` must be and who says so; a demo's, what is not its own, the paper's."""
    found: dict[str, tuple[Any, str]] = {}
    paper = name.removeprefix("demo-")
    if paper != name:
        for field, value in values_of(PROTOCOLS[paper]).items():
            found[field] = (value, f"{paper}, which this is in small")
    for field, line in tables()[name].lines.items():
        found[field] = (line.value, f"{line.source}, {line.place}")
    return found


def unread(everything: Mapping[str, Any]) -> list[str]:
    """Return, one sentence each, the lines of the tables that decide no field of any protocol."""
    deciding: set[Line] = set()
    for name, table in tables().items():
        fields = values_of(everything[name]) if name in everything else ()
        deciding |= {line for field, line in table.lines.items() if field in fields}
    left = [(field, line) for field, line in all_lines() if line not in deciding]
    return [f"{line.file}: {field} of {line.source} decides nothing that reads it: drop it" for field, line in left]


def same(value: Any, wanted: Any) -> bool:
    """Say whether two values are one setting: True is not 1, a product of floats may miss its last bit."""
    if isinstance(value, tuple) and isinstance(wanted, tuple):
        return len(value) == len(wanted) and all(map(same, value, wanted))
    if isinstance(value, bool) or isinstance(wanted, bool):
        return value is wanted
    if isinstance(value, int | float) and isinstance(wanted, int | float):
        return math.isclose(value, wanted, rel_tol=1e-12)
    return type(value) is type(wanted) and value == wanted


@cache
def tables() -> dict[str, Table]:
    """Return the table of each protocol and pretraining recipe that has one."""
    found: dict[str, Table] = {}
    for path in sorted(FOLDER.glob("*.toml")):
        file = read(path)
        sources = {name: lines_of(path, name, source) for name, source in file["source"].items()}
        for name, entry in file["protocol"].items():
            if name in found:
                raise ValueError(f"{path.name}: two tables are called {name}")
            own = lines_of(path, name, entry)
            lines: dict[str, Line] = {}
            for source in entry["reads"]:
                lines |= sources[source]
            found[name] = Table(lines | own, frozenset(own))
    return found


def all_lines() -> Iterable[tuple[str, Line]]:
    """Yield every line of every table with its field, those of sources that nobody reads included."""
    for path in sorted(FOLDER.glob("*.toml")):
        for part in read(path).values():
            for name, entry in part.items():
                yield from lines_of(path, name, entry).items()


@cache
def read(path: Path) -> dict[str, Any]:
    """Return a file of tables."""
    return tomllib.loads(path.read_text(encoding="utf-8"))


def lines_of(path: Path, name: str, entry: Mapping[str, Any]) -> dict[str, Line]:
    """Return the lines of a source or a protocol by field."""
    source = f"{name}: {entry['text']}" if "text" in entry else name
    found: dict[str, Line] = {}
    for field, (value, place) in flat(entry).items():
        found[field] = Line(value, place, source, path.name)
    return found


def flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, tuple[Any, str]]:
    """Return the lines of a table, nested ones as `outer.inner`; lists as tuples, which recipes have."""
    found: dict[str, tuple[Any, str]] = {}
    for name, value in table.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{name}.")
        elif prefix or name not in ("text", "reads"):
            wanted, place = value
            found[prefix + name] = (tuple(wanted) if isinstance(wanted, list) else wanted, place)
    return found
