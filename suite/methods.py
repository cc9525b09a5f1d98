"""The rows of a suite's table: what an entry of `methods` says, checked."""

import glob
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from twinbench.convert.named import ModelError, NamedModel, named_model
from twinbench.convert.zoo import ZooError, entry_named
from twinbench.data.source import Source
from twinbench.protocols.house import SettingError, unknown, with_settings
from twinbench.protocols.pretraining import RECIPES
from twinbench.protocols.schema import Protocol, ProtocolError, look_up
from twinbench.suite.cluster import Cluster
from twinbench.suite.entries import (
    SuiteError,
    as_cluster,
    as_count,
    as_mapping,
    as_path,
    as_settings,
    is_text,
    shown,
)
from twinbench.suite.measurements import MAX_SEED
from twinbench.suite.series import Files, look

# What a suite keeps in its root beside its methods' folders, as patterns.
OURS = ("code", "features", "slurm", "superseded", "jobs.jsonl", "submitted.yaml", "report", "report.*")
KINDS = "`random`, zoo:NAME, hf:ORG/MODEL or LIBRARY:NAME"  # what a checkpoint may be beside a file
FILES = "files, as runs/bt/*.pth"
SERIES = {"checkpoints", "until"}  # keys of a method that stands for several


@dataclass(frozen=True)
class Pretraining:
    """A method that is trained first: the data set's layout, the recipe and its changed settings."""

    data: str
    recipe: str
    settings: tuple[tuple[str, str], ...] = ()
    seed: int = 0
    keep_every: int = 0  # epochs from one backbone that is kept to the next; 0: the last only


@dataclass(frozen=True)
class Method:
    """A row of the table: a checkpoint (a path, `random`, `zoo:NAME`, LIBRARY:NAME) or a pretraining that makes one."""

    name: str
    checkpoint: str = ""
    pretrain: Pretraining | None = None
    input: str = ""  # how images are normalised for it; empty: what is known of it
    layout: str = ""  # which backbone of a file that holds several
    protocols: tuple[str, ...] = ()  # those that it is measured with; empty: all
    cluster: Cluster = field(default_factory=Cluster)  # of the job that makes its backbone
    series: str = ""  # whose point it is

    def wants(self, protocol: Protocol) -> bool:
        """Say whether it is measured with a protocol."""
        return not self.protocols or protocol.name in self.protocols

    @property
    def flags(self) -> tuple[str, ...]:
        """What a command that reads the checkpoint has to be told beside it."""
        words = (("--input", self.input), ("--layout", self.layout))
        return tuple(word for name, value in words if value for word in (name, value))

    @property
    def model(self) -> NamedModel | None:
        """Another library's model, if it is one."""
        return named_model(self.checkpoint)

    @property
    def file(self) -> Path | None:
        """The file that its weights come from, if there is one."""
        if self.model:
            return self.model.file
        elsewhere = not self.checkpoint or self.checkpoint == "random" or self.checkpoint.startswith(("zoo:", "hf:"))
        return None if elsewhere else Path(self.checkpoint)


@dataclass(frozen=True)
class Series:
    """An entry of `methods` that stands for a method NAME@NUMBER for each checkpoint of one training, see series.py."""

    common: Method  # what they have in common; its `checkpoint` is a glob, or LIBRARY:NAME=GLOB
    until: int = 0  # the last number that will come; 0: not known
    files: Files = field(default_factory=Files, compare=False)  # as they were when the suite was read

    @property
    def checkpoints(self) -> dict[str, str]:
        """The checkpoints by the names of their methods, as a method names one."""
        model = named_model(self.common.checkpoint)
        files = self.files.checkpoints.items()
        return {name: f"{model.label}={path}" if model else str(path) for name, path in files}


def read_methods(
    file: Path,
    root: Path,
    data: Mapping[str, Source],
    cluster: Cluster,
    protocols: Mapping[str, Sequence[str]],
    entries: Iterable[tuple[str, object]],
) -> tuple[tuple[Method, ...], tuple[Series, ...]]:
    """Return the methods, those of series last, and the series; SuiteError for two of one name.

    `protocols` are the names that a method may give, with those of the suite's measurements that each stands for.
    """
    methods: list[Method] = []
    series: list[Series] = []
    for name, value in entries:
        where = f"{file}: methods.{name}"
        if any(fnmatchcase(name, ours) for ours in OURS):
            raise SuiteError(
                f"{where}: the suite keeps something of its own as {name} in its root; choose another name"
            )
        entry = as_mapping(value, where, Method, without=("name", "series"), plus=SERIES)
        own = as_cluster(entry.get("cluster"), cluster, where, without=("max_running",))
        chosen = _chosen(where, entry.get("protocols", []), protocols)
        if SERIES & set(entry):
            common = Method(name, protocols=chosen, cluster=own)
            series.append(_series(file, root, where, common, entry))
        else:
            method = replace(_method(file, data, where, name, entry), protocols=chosen, cluster=own)
            methods.append(method)
    taken = {method.name for method in methods}
    for each in series:
        for name, checkpoint in each.checkpoints.items():
            if name in taken:
                raise SuiteError(f"{file}: methods.{name}: {each.common.name} has a checkpoint of that name; rename it")
            methods.append(replace(each.common, name=name, checkpoint=checkpoint, series=each.common.name))
    return tuple(methods), tuple(series)


def _chosen(where: str, value: object, protocols: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Return the protocols that a method is measured with, each one of the suite's."""
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise SuiteError(f"{where}.protocols: is {shown(value)}, expected a list of names")
    for name in value:
        if name not in protocols:
            raise SuiteError(f"{where}.protocols: {unknown('protocol', name, protocols)}")
    return tuple(dict.fromkeys(each for name in value for each in protocols[name]))


def _series(file: Path, root: Path, where: str, common: Method, entry: Mapping[str, object]) -> Series:
    """Return a series with the checkpoints that there are now."""
    if "checkpoints" not in entry or {"checkpoint", "pretrain"} & set(entry):
        raise SuiteError(f"{where}: expected `checkpoints`, and beside it neither `checkpoint` nor `pretrain`")
    named = _checkpoint(where, common.name, entry["checkpoints"], entry, "checkpoints")
    if not named.file:
        raise SuiteError(f"{where}.checkpoints: is {shown(entry['checkpoints'])}, expected {FILES}")
    pattern = as_path(str(named.file), Path(glob.escape(str(file))), where)
    spec = f"{named.model.label}={pattern}" if named.model else str(pattern)
    until = as_count(entry.get("until", 0), f"{where}.until", at_least=0)
    common = replace(common, checkpoint=spec, input=named.input, layout=named.layout)
    return Series(common, until, look(common.name, pattern, root, where))


def _method(file: Path, data: Mapping[str, Source], where: str, name: str, entry: Mapping[str, Any]) -> Method:
    """Return one method, its checkpoint found or its pretraining checked."""
    if ("pretrain" in entry) == ("checkpoint" in entry):
        raise SuiteError(f"{where}: expected either `checkpoint` or `pretrain`")
    if "pretrain" in entry:
        if {"input", "layout"} & set(entry):
            raise SuiteError(f"{where}: `input` and `layout` belong to a `checkpoint`; a pretraining's are known")
        return Method(name, pretrain=_pretraining(data, f"{where}.pretrain", entry["pretrain"]))
    method = _checkpoint(where, name, entry["checkpoint"], entry, "checkpoint")
    if method.file:
        path = as_path(str(method.file), file, where)
        if not path.exists():
            several = "; a pattern belongs to `checkpoints`" if glob.has_magic(str(method.file)) else ""
            raise SuiteError(f"{where}: there is no file {path}; expected a checkpoint, {KINDS}{several}")
        method = replace(method, checkpoint=f"{method.model.label}={path}" if method.model else str(path))
    return method


def _checkpoint(where: str, name: str, checkpoint: object, entry: Mapping[str, object], key: str) -> Method:
    """Return a method as its entry says it, whether or not its files are there."""
    if not is_text(checkpoint):
        expected = f"a file, {KINDS}" if key == "checkpoint" else FILES
        raise SuiteError(f"{where}: {key} is {shown(checkpoint)}, expected {expected}")
    convention, layout = (_word(entry.get(word, ""), f"{where}.{word}") for word in ("input", "layout"))
    method = Method(name, checkpoint, input=convention, layout=layout)
    try:
        _ = method.model
        if checkpoint.startswith("zoo:"):
            entry_named(checkpoint.removeprefix("zoo:"))
    except (ModelError, ZooError) as error:
        raise SuiteError(f"{where}: {error}") from None
    return method


def _word(value: object, where: str) -> str:
    """Return a text that is one word of a command line, or empty."""
    if not isinstance(value, str) or value.startswith("-"):
        raise SuiteError(f"{where}: is {shown(value)}, expected a name; see twinbench inspect")
    return value


def _pretraining(data: Mapping[str, Source], where: str, value: object) -> Pretraining:
    """Return a pretraining whose data, recipe and settings exist."""
    entry = as_mapping(value, where, Pretraining, without=("settings",), plus=("set",))
    layout = entry.get("data", "imagenet")
    if layout not in data:
        raise SuiteError(f"{where}: trains on {shown(layout)}, but data names no folder for it; add it to data")
    settings = as_settings(entry.get("set"), f"{where}.set")
    try:
        recipe = look_up(RECIPES, str(entry.get("recipe", "barlow-twins")), "recipe")
        with_settings(recipe, dict(settings))
    except (ProtocolError, SettingError) as error:
        raise SuiteError(f"{where}: {error}") from None
    seed = as_count(entry.get("seed", 0), f"{where}.seed", 0, MAX_SEED)
    keep_every = as_count(entry.get("keep_every", 0), f"{where}.keep_every", at_least=0)
    return Pretraining(layout, recipe.name, settings, seed, keep_every)
