"""What a protocol is: a frozen recipe with a name, a version and a fingerprint.

A recipe holds every number that can move a result, and nothing else: paths, devices and worker counts are no part of
it. Its kinds stand in kinds/, the data sets in datasets.py; the entries themselves, each constant beside its source, in
svm.py, classification.py, detection.py and pretraining.py.
"""

import dataclasses
import hashlib
import json
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from twinbench.protocols.datasets import DataSet
from twinbench.protocols.house import SettingError, UserError, setting_text, setting_values, unknown, with_settings
from twinbench.protocols.kinds.base import Recipe, Room


class ProtocolError(UserError):
    """An unknown protocol, or a recipe that contradicts itself."""


@dataclass(frozen=True)
class Protocol:
    """A benchmark: one recipe on one data set, measured by one headline metric.

    `published_as` and `also` say how its numbers are shown and compared; neither they nor the data set are part of the
    fingerprint, which is the recipe's: a result carries the identity of its data beside it.
    """

    name: str
    version: int
    title: str  # one line for people
    recipe: Recipe
    data_set: DataSet
    metric: str  # headline metric; its unit, and which way is better: metrics.py
    selected_on: str  # what any choice within the recipe was made on
    trials: int  # seeds to run unless a suite says otherwise
    source: str
    published_as: str = ""  # task name in the published numbers
    also: tuple[str, ...] = ()  # further metrics with a column of their own in the table
    width: float = 1.0  # width of the backbone that `random` stands for
    overrides: tuple[tuple[str, str], ...] = ()  # --set, as given
    # Of a family: the data sets that it is about, each measured by its own pair. `data_set` is then the first of them.
    sets: tuple[DataSet, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a pair that cannot be measured: ProtocolError for data of another task."""
        if not set(self.recipe.tasks) & set(self.data_set.tasks):
            raise ProtocolError(
                f"{self.name}: a recipe of kind {self.recipe.kind} runs on {' or '.join(self.recipe.tasks)} data, but "
                f"{self.data_set.name} is {' or '.join(self.data_set.tasks)}; see twinbench protocols"
            )
        if self.data_set.trains_on and not self.recipe.tests_only:
            raise ProtocolError(
                f"{self.name}: {self.data_set.name} only tests heads that were trained on {self.data_set.trains_on};"
                f" expected a recipe that does that, such as robust-linear@{self.data_set.name}, or a data set with"
                " training images; see twinbench data list"
            )

    @property
    def room(self) -> Room:
        """The worker that measures it."""
        return self.recipe.room

    @property
    def classes(self) -> int:
        """How many classes complete data has; 0: as many as there are."""
        return self.data_set.classes

    @property
    def images(self) -> tuple[int, int]:
        """How many training and test images complete data has; 0: as many as there are."""
        return self.data_set.images

    @cached_property
    def fingerprint(self) -> str:
        """Twelve hex digits of the recipe as it runs, overrides included: equal fingerprints, equal procedures."""
        return fingerprint((self.recipe.kind,), self.recipe)

    def with_settings(self, settings: Mapping[str, object]) -> "Protocol":
        """Return this protocol with recipe fields changed and the changes kept in `overrides`.

        SettingError for a name, type or value that no run can have, and where the headline would not be measured.
        """
        if not settings:
            return self
        recipe = with_settings(self.recipe, settings)
        recipe.check()
        try:
            recipe.require_metric(self.metric)
        except SettingError as error:
            given = " ".join(f"{name}={value}" for name, value in settings.items())
            raise SettingError(f"{self.name} with {given} {error}; see twinbench protocols for one that fits") from None
        overrides = tuple(sorted((name, str(value)) for name, value in settings.items()))
        return dataclasses.replace(self, recipe=recipe, overrides=overrides)

    def on(self, data_set: DataSet) -> "Protocol":
        """Return the pair of this recipe and another data set of its task, called RECIPE@DATA."""
        if data_set == self.data_set and not self.sets:
            return self
        return dataclasses.replace(
            self,
            name=f"{self.name.partition('@')[0]}@{data_set.name}",
            title=f"{self.title} [on {data_set.name}]",
            data_set=data_set,
            metric=self.recipe.metric_on(data_set.tasks, data_set.headline) or self.metric,
            published_as=self.published_on(data_set),
            sets=(),
        )

    def published_on(self, data_set: DataSet) -> str:
        """Return the task of the published numbers of a family on one of its sets; empty for any other."""
        return f"{self.published_as}_{data_set.name}" if self.published_as and data_set in self.sets else ""

    @cached_property
    def members(self) -> "Mapping[str, Protocol]":
        """What a family is run as, by data set: a pair for each of its sets; nothing of any other protocol.

        Made once: a table asks for each of its thousands of results.
        """
        return {data_set.name: self.on(data_set) for data_set in self.sets}


def flat(recipe: object) -> list[tuple[str, str]]:
    """Return the fields of a recipe, nested ones as `outer.inner`, with values as --set takes them."""
    return [(name, setting_text(value)) for name, value in setting_values(recipe).items()]


def fingerprint(identity: tuple[object, ...], recipe: object) -> str:
    """Hash a frozen recipe dataclass and what it applies to.

    Field order and number formatting do not matter. A field that its kind did not have from the start is left out at
    its default, which is what the kind did before: results of that time keep their column.
    """
    fields = dataclasses.asdict(recipe)  # type: ignore[call-overload]
    defaults = {field.name: field.default for field in dataclasses.fields(recipe)}  # type: ignore[arg-type]
    for name in getattr(recipe, "later", ()):
        if fields[name] == defaults[name]:
            del fields[name]
    text = json.dumps([type(recipe).__name__, identity, fields], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


class Named(typing.Protocol):
    """What a registry holds: frozen data that knows its name."""

    @property
    def name(self) -> str:
        """The name it is found by."""
        ...


EntryT = TypeVar("EntryT", bound=Named)


def registry(entries: Iterable[EntryT]) -> dict[str, EntryT]:
    """Return the entries by their `name`.

    A repeated name is a mistake of ours and raises at import.
    """
    by_name: dict[str, EntryT] = {}
    for entry in entries:
        if entry.name in by_name:
            raise ValueError(f"two entries are called {entry.name}")
        by_name[entry.name] = entry
    return by_name


def require_new(kind: str, name: str, known: Mapping[str, object]) -> None:
    """Raise ProtocolError if something of this kind has the name already."""
    if name in known:
        raise ProtocolError(f"a {kind} called {name} exists already; give yours another name")


def look_up(entries: Mapping[str, EntryT], name: str, kind: str, listed_by: str = "") -> EntryT:
    """Return the entry called `name`, or raise ProtocolError with the nearest and all known names."""
    if name not in entries:
        raise ProtocolError(unknown(kind, name, entries, listed_by))
    return entries[name]
