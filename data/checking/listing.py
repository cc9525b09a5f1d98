"""The registry of data sets for people and programs: `twinbench data list` and `twinbench data show NAME`."""

import dataclasses
import textwrap
from collections.abc import Iterator
from typing import Any

from twinbench.data.checking.fetching import how_to_get
from twinbench.protocols.catalogue import PROTOCOLS
from twinbench.protocols.datasets import DATA_SETS, SCENES, DataSet
from twinbench.protocols.house import aligned

WIDTH = 118


def listed() -> list[DataSet]:
    """Return every data set but the demo's: the published ones, then those of users' own files."""
    scenes = {entry.name for entry in SCENES.values()}
    return [entry for name, entry in DATA_SETS.items() if name not in scenes]


def as_json(entry: DataSet) -> dict[str, Any]:
    """Return an entry as JSON values, with the protocols that are named for it and those that run on its task."""
    named, others = protocols_on(entry)
    return {**dataclasses.asdict(entry), "named_protocols": named, "other_protocols": others}


def protocols_on(entry: DataSet) -> tuple[list[str], list[str]]:
    """Return the protocols that are named for a data set, and those whose recipe runs on its task."""
    named = [name for name, protocol in PROTOCOLS.items() if protocol.data_set.name == entry.name]
    others: list[str] = []
    for name, protocol in PROTOCOLS.items():
        fits = set(protocol.recipe.tasks) & set(entry.tasks)
        if protocol.recipe.tests_only != bool(entry.trains_on):
            continue
        if fits and name not in named and not name.startswith("demo-"):
            others.append(name)
    return named, others


def as_table() -> str:
    """Return a line a data set."""
    rows = [("name", "task", "classes", "train", "test", "metric", "fetched")]
    for entry in listed():
        train, test = (f"{count:,}" if count else "-" for count in entry.images)
        fetched = "yes" if entry.about.files else "no"
        metric = entry.about.metric.partition(":")[0].partition(";")[0]
        rows.append(
            (entry.name, entry.tasks[0], f"{entry.classes:,}" if entry.classes else "-", train, test, metric, fetched)
        )
    return "\n".join(aligned(rows))


def as_text(entry: DataSet) -> str:
    """Return everything about a data set, for people."""
    lines: list[str] = []
    for name, text in _facts(entry):
        body = textwrap.wrap(text, WIDTH - 14, break_long_words=False, break_on_hyphens=False) or [""]
        lines.append(f"{name:14}{body[0]}")
        lines += [" " * 14 + line for line in body[1:]]
    return "\n".join(lines)


def _facts(entry: DataSet) -> Iterator[tuple[str, str]]:
    """Yield name and text of all that is known."""
    about = entry.about
    yield "name", f"{entry.name}: {about.title}" if about.title else entry.name
    yield "task", ", ".join(entry.tasks)
    if entry.is_counted:
        train, test = (f"{count:,}" if count else "no" for count in entry.images)
        classes = f"{entry.classes:,} classes, " if entry.classes else ""
        yield "complete", f"{classes}{train} training and {test} test images"
    for key, text in _words(entry):
        if text:
            yield key, text
    yield "recipes", _recipes(entry)


def _words(entry: DataSet) -> Iterator[tuple[str, str]]:
    """Yield what the entry says in words; some may be empty."""
    about = entry.about
    yield "splits", ", ".join(f"{name} {count:,}" for name, count in about.splits)
    yield "source", about.source
    yield "metric", about.metric
    yield "suites", ", ".join(about.suites)
    yield "note", about.note
    yield "licence", about.licence
    yield "home", about.home
    yield "to get", how_to_get(entry) if about.get else ""
    yield "DATA", about.form or (f"its folder, {entry.layout} layout" if entry.layout else "")
    for file in about.files:
        yield "fetched", f"{file.address} {file.digest or '(no digest is published)'}"
    for name, digest in about.archives:
        yield "archive", f"{name} {digest}"
    for copy in about.others:
        counts = " / ".join(f"{count:,}" if count else "any" for count in copy.images)
        yield "another copy", f"{counts}: {copy.what}"


def _recipes(entry: DataSet) -> str:
    """Say which protocols measure it."""
    named, others = protocols_on(entry)
    words = [", ".join(named)] if named else []
    if others:
        words.append(f"RECIPE@{entry.name} with RECIPE one of {', '.join(others)}")
    return "; ".join(words)
