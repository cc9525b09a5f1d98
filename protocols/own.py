"""Protocols, data sets and kinds from a user's own files: the same ranges, fingerprints, checks and pages as ours.

A YAML file names data sets, and recipes of known kinds:

    data_sets:
      pets: {tasks: single-label, classes: 37, images: [3680, 3669]}      # all but tasks may be left out
    protocols:
      pets-knn: {recipe: imagenet-knn, set: {neighbors: [5, 10]}, data: pets, metric: top1-k10, source: ours}
      pets-probe: {kind: probe, data: pets, source: ours, set: {epochs: 10, batch_size: 64, ...}}

`recipe` begins with a known protocol's recipe and changes it by `set`; `kind` is a recipe written out whole. A Python
file holds DATA_SETS, PROTOCOLS and KINDS, tuples of DataSet, Protocol and Recipe classes: a new kind is code, and is
run like any program that you start. Files come from --protocols, a suite's `protocol_files`, or $TWINBENCH_PROTOCOLS.
"""

import dataclasses
import os
import sys
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from twinbench.protocols.datasets import DataSet
from twinbench.protocols.house import SettingError, UserError, unknown, with_settings
from twinbench.protocols.kinds.base import Recipe
from twinbench.protocols.schema import Protocol, ProtocolError, require_new
from twinbench.protocols.yaml_text import read_yaml

VARIABLE = "TWINBENCH_PROTOCOLS"  # paths, with a colon between


@dataclass
class Registries:
    """What files add to: every known protocol, data set and kind by name, and the files read already."""

    protocols: dict[str, Protocol]
    data_sets: dict[str, DataSet]
    kinds: dict[str, type[Recipe]]
    files: set[Path] = dataclasses.field(default_factory=set[Path])

    def load(self, files: Iterable[Path | str] = ()) -> None:
        """Add what `files` and those of the environment hold, each once.

        ProtocolError names the place of a mistake.
        """
        named = [name for name in os.environ.get(VARIABLE, "").split(os.pathsep) if name]
        for path in map(Path, (*named, *files)):
            if path.resolve() in self.files:
                continue
            try:
                self._read(path)
            except UserError as error:
                message = str(error)
                if not message.startswith(str(path)):
                    message = f"{path}: {message}"
                raise ProtocolError(message) from None
            self.files.add(path.resolve())

    def _read(self, path: Path) -> None:
        if not path.is_file():
            raise ProtocolError("no such file; expected protocols, as YAML or Python; see docs/your-own.md")
        found = _from_python(path) if path.suffix == ".py" else _from_yaml(path)
        for name, kind in ((kind.kind, kind) for kind in found.get("KINDS", ())):
            require_new("kind", name, self.kinds)
            self.kinds[name] = kind
        for data_set in found.get("DATA_SETS", ()):
            require_new("data set", data_set.name, self.data_sets)
            self.data_sets[data_set.name] = data_set
        for name, entry in found.get("data_sets", {}).items():
            require_new("data set", name, self.data_sets)
            self.data_sets[name] = _data_set(name, entry)
        for protocol in found.get("PROTOCOLS", ()):
            self._add(protocol)
        for name, entry in found.get("protocols", {}).items():
            self._add(self._protocol(name, entry))

    def _add(self, protocol: Protocol) -> None:
        require_new("protocol", protocol.name, self.protocols)
        try:
            protocol.recipe.check()
            protocol.recipe.require_metric(protocol.metric)
        except SettingError as error:
            raise ProtocolError(f"protocols.{protocol.name}: {error}") from None
        self.protocols[protocol.name] = protocol

    def _protocol(self, name: str, entry: object) -> Protocol:
        """Return the protocol that an entry of a YAML file describes."""
        where = f"protocols.{name}"
        fields = dict(_mapping(entry, where))
        settings = _mapping(fields.pop("set", None) or {}, f"{where}.set")
        try:
            given = with_settings(_Entry(), fields)
            recipe, base = self._recipe(given, settings)
        except SettingError as error:
            raise ProtocolError(f"{where}: {error}") from None
        if given.data not in self.data_sets:
            raise ProtocolError(f"{where}: {unknown('data set', given.data, self.data_sets)}")
        return Protocol(
            name=name,
            version=given.version,
            title=given.title or f"{name}, from {given.recipe or given.kind}",
            recipe=recipe,
            data_set=self.data_sets[given.data],
            metric=given.metric or recipe.metrics()[-1],
            selected_on=given.selected_on or (base.selected_on if base and not settings else ""),
            trials=given.trials,
            source=given.source,
            width=given.width,
        )

    def _recipe(self, given: "_Entry", settings: Mapping[str, Any]) -> tuple[Recipe, Protocol | None]:
        """Return the recipe of an entry, and the protocol that it began with, if it did."""
        if bool(given.recipe) == bool(given.kind):
            raise SettingError("expected either `recipe`, a known protocol to begin with, or `kind` and all settings")
        if given.kind:
            if given.kind not in self.kinds:
                raise SettingError(unknown("kind", given.kind, self.kinds))
            return _written_out(self.kinds[given.kind], settings), None
        if given.recipe not in self.protocols:
            raise SettingError(unknown("protocol", given.recipe, self.protocols))
        base = self.protocols[given.recipe]
        return with_settings(base.recipe, settings), base


@dataclass(frozen=True)
class _Entry:
    """What an entry of `protocols` may say, beside `set`."""

    recipe: str = ""
    kind: str = ""
    data: str = ""
    title: str = ""
    version: int = 1
    metric: str = ""
    selected_on: str = ""
    trials: int = 1
    source: str = ""
    width: float = 1.0


def _written_out(kind: type[Recipe], settings: Mapping[str, Any]) -> Recipe:
    """Return a recipe of a kind from all of its settings; what has a default may be left out."""
    needed: list[str] = []
    blank: dict[str, Any] = {}
    for field in dataclasses.fields(kind):
        hint = typing.get_type_hints(kind)[field.name]
        if dataclasses.is_dataclass(hint):
            parts = _without_default(hint)
            needed += [f"{field.name}.{part}" for part in parts]
            blank[field.name] = cast("Any", hint)(**dict.fromkeys(parts))
        elif field.default is dataclasses.MISSING:
            needed.append(field.name)
            blank[field.name] = None
    missing = [name for name in needed if name not in settings]
    if missing:
        raise SettingError(f"set: lacks {', '.join(missing)}, which a recipe of kind {kind.kind} needs")
    return with_settings(kind(**blank), settings)


def _without_default(kind: Any) -> list[str]:
    """Return the names of a dataclass's fields that must be given."""
    return [field.name for field in dataclasses.fields(kind) if field.default is dataclasses.MISSING]


def _data_set(name: str, entry: object) -> DataSet:
    """Return the data set that an entry of a YAML file describes."""
    fields = dict(_mapping(entry, f"data_sets.{name}"))
    try:
        found = with_settings(DataSet(name, ()), fields)
    except SettingError as error:
        raise ProtocolError(f"data_sets.{name}: {error}") from None
    if not found.tasks or len(found.images) != 2:
        raise ProtocolError(f"data_sets.{name}: expected tasks, and images as [training, test] where they are known")
    return found


def _mapping(value: object, where: str) -> Mapping[str, Any]:
    """Return a mapping with texts as keys."""
    found = cast("dict[Any, Any]", value) if isinstance(value, dict) else {None: value}
    if not all(isinstance(key, str) for key in found):
        raise ProtocolError(f"{where}: is {repr(cast('object', value))[:60]}, expected `name: value` entries")
    return cast("dict[str, Any]", value)


def _from_yaml(path: Path) -> dict[str, Any]:
    """Return the sections of a YAML file."""
    found = _mapping(read_yaml(path, "expected protocols in YAML; see docs/your-own.md"), "the file")
    for key in found:
        if key not in ("data_sets", "protocols"):
            raise ProtocolError(unknown("section", key, ("data_sets", "protocols")))
    return {key: _mapping(section, key) for key, section in found.items()}


def _from_python(path: Path) -> dict[str, Any]:
    """Run a Python file and return its names. As a module it is known, so that annotations in it are found again."""
    module = types.ModuleType(f"twinbench_own_{path.resolve()}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module
    exec(compile(path.read_bytes(), str(path), "exec"), vars(module))
    return vars(module)
