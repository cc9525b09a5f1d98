"""An entry of `protocols` that stands for several: a family of one recipe on many data sets."""

from collections.abc import Collection
from pathlib import Path
from typing import Any, cast

from twinbench.protocols.catalogue import find_entry
from twinbench.protocols.house import unknown
from twinbench.protocols.schema import Protocol
from twinbench.suite.entries import SuiteError, shown

SETS = "sets"  # of an entry: the data sets of its family that are measured; without it all of them


def members(
    file: Path, entries: list[tuple[str, object]], data: Collection[str]
) -> tuple[list[tuple[str, object]], dict[str, tuple[str, ...]]]:
    """Return the entries with each family's pairs RECIPE@DATA in its place, and what every name in a suite stands for.

    `data` are the names that the suite has folders for. SuiteError for a data set that is none of the family's, or has
    no folder.
    """
    named = {name for name, _ in entries}
    found: list[tuple[str, object]] = []
    stands_for: dict[str, tuple[str, ...]] = {}
    for name, entry in entries:
        family = find_entry(name)
        if not family.sets:
            found.append((name, entry))
            stands_for[name] = (name,)
            continue
        where = f"{file}: protocols.{name}"
        said = dict(_mapping(entry, where))
        pairs = _chosen(where, family, said.pop(SETS, None), data)
        for pair in pairs:
            if pair in named:
                raise SuiteError(f"{where}: measures {pair}, which has an entry of its own; keep one of the two")
        found += [(pair, said) for pair in pairs]
        stands_for |= {name: tuple(pairs)} | {pair: (pair,) for pair in pairs}
    return found, stands_for


def _mapping(entry: object, where: str) -> dict[str, Any]:
    """Return what an entry says; its keys are looked at where a pair is read."""
    if not isinstance(entry or {}, dict):
        raise SuiteError(f"{where}: is {shown(entry)}, expected a mapping")
    return cast("dict[str, Any]", entry or {})


def _chosen(where: str, family: Protocol, names: object, data: Collection[str]) -> list[str]:
    """Return the family's pairs of the data sets called `names`, in the family's order; all where nothing is said."""
    pairs = dict(family.members)
    if names is not None:
        if not isinstance(names, list) or not names:
            raise SuiteError(f"{where}.{SETS}: is {shown(names)}, expected a list of data sets, such as [cifar10, dtd]")
        for name in cast("list[object]", names):
            if name not in pairs:
                raise SuiteError(f"{where}.{SETS}: {unknown('data set', str(name), pairs)}")
        pairs = {name: pair for name, pair in pairs.items() if name in names}
    missing = [pair.data_set.folder for pair in pairs.values() if pair.data_set.folder not in data]
    if missing:
        there = [data_set.name for data_set in family.sets if data_set.folder in data]
        advice = f"; or name those that are there: {SETS}: [{', '.join(there)}]" if there else ""
        raise SuiteError(
            f"{where}: needs the images of {', '.join(missing)}; add their folders as data: {{{missing[0]}: ...}}"
            f"{advice}"
        )
    return [pair.name for pair in pairs.values()]
