"""A suite: methods x protocols x seeds, read from one YAML file and checked before anything runs.

name: barlow-against-random
root: results                     # relative paths start at the suite file
methods:
  mine:   {pretrain: {data: imagenet, recipe: barlow-twins, set: {epochs: 300}}}
  theirs: {checkpoint: theirs.pth}
  random: {checkpoint: random}
  grown:  {checkpoints: "runs/bt/*.pth", protocols: [voc07-svm]}      # grown@0010, grown@0020, ...: see series.py
protocols:
  voc07-svm: {}
  imagenet-1pct: {seeds: [0, 1, 2]}
data: {voc: /datasets/VOCdevkit, imagenet: /datasets/imagenet}
cluster: {partition: gpu, gpus_per_node: 8, max_running: 16}
"""

import glob
import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from twinbench.convert.named import ModelError, NamedModel, named_model
from twinbench.data.errors import DataError, require_is_folder
from twinbench.data.source import Source
from twinbench.protocols.catalogue import load_own
from twinbench.protocols.datasets import DATA_SETS
from twinbench.protocols.house import SettingError, unknown, with_settings
from twinbench.protocols.pretraining import RECIPES
from twinbench.protocols.schema import Protocol, ProtocolError, look_up
from twinbench.suite.cluster import Cluster, ClusterError, read_cluster, report_cluster
from twinbench.suite.entries import (
    SuiteError,
    as_cluster,
    as_count,
    as_entries,
    as_mapping,
    as_name,
    as_path,
    as_settings,
    is_text,
    parsed,
    shown,
)
from twinbench.suite.measurements import MAX_SEED, Measurement, read_measurements
from twinbench.suite.series import Files, look, take

# What a suite keeps in its root beside its methods' folders, as patterns, and in a method's folder beside its trials'.
OURS = ("code", "features", "slurm", "superseded", "jobs.jsonl", "submitted.yaml", "report", "report.*")
OURS_IN_METHOD = ("pretrain", "backbone")
KINDS = "`random`, zoo:NAME, hf:ORG/MODEL or LIBRARY:NAME"  # what a checkpoint may be beside a file
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


@dataclass(frozen=True)
class Suite:
    """What a suite file says, checked and with absolute paths."""

    name: str
    file: Path
    root: Path
    methods: tuple[Method, ...]  # those of a series last
    measurements: tuple[Measurement, ...]
    data: Mapping[str, Source] = field(default_factory=dict)
    protocol_files: tuple[Path, ...] = ()  # own protocols, see protocols/own.py
    cluster: Cluster = field(default_factory=Cluster)
    report: Cluster = field(default_factory=Cluster)  # of the job that writes the table
    series: tuple[Series, ...] = ()


def read_suite(file: Path) -> Suite:
    """Read and check a suite file; SuiteError names the file, the place in it and what was expected there."""
    file = Path(os.path.abspath(file))
    content = as_mapping(
        parsed(file), f"{file}", Suite, without=("file", "measurements", "series"), plus=("protocols", "site")
    )
    missing = [key for key in ("name", "root", "methods", "protocols") if key not in content]
    if missing:
        raise SuiteError(f"{file}: lacks {', '.join(missing)}; see docs/clusters.md for a whole suite")
    try:
        cluster = read_cluster(content.get("cluster") or {}, site=content.get("site", True) is True)
        own_files = _protocol_files(file, content.get("protocol_files") or [])
        load_own(own_files)
        protocols = as_entries(content["protocols"], f"{file}: protocols")
        _require_free(file, [name for name, _ in protocols])
        entries = as_entries(content["methods"], f"{file}: methods")
        data = _data(file, content.get("data") or {}, own=[name.partition("@")[2] for name, _ in protocols])
        root = as_path(content["root"], file, f"{file}: root")
        names = [name for name, _ in protocols]
        methods, series = _methods(file, root, data, cluster, names, entries)
        suite = Suite(
            name=as_name(content["name"], f"{file}: name"),
            file=file,
            root=root,
            methods=methods,
            measurements=read_measurements(file, data, cluster, protocols, methods=len(methods)),
            data=data,
            protocol_files=own_files,
            cluster=cluster,
            report=as_cluster(
                content.get("report"), report_cluster(cluster), f"{file}: report", without=("max_running", "nodes")
            ),
            series=series,
        )
    except (ProtocolError, SettingError, ClusterError) as error:
        raise SuiteError(f"{file}: {error}") from None
    _require_one_random(suite)
    return suite


def take_checkpoints(suite: Suite) -> None:
    """Write down, before jobs are started, which files the methods of its series stand for."""
    for each in suite.series:
        take(suite.root, each.files.checkpoints)


def _require_free(file: Path, protocols: Iterable[str]) -> None:
    """Refuse own protocols whose trials would lie where a method's backbone does."""
    for name in protocols:
        if name in OURS_IN_METHOD:
            raise SuiteError(f"{file}: protocols.{name}: a method's folder {name}/ has that name; choose another")


def _require_one_random(suite: Suite) -> None:
    """Refuse `random` on protocols of several widths: two backbones, which no table can hold in one row."""
    for method in suite.methods:
        protocols = [entry.protocol for entry in suite.measurements if method.wants(entry.protocol)]
        widths = {protocol.width: protocol.name for protocol in protocols}
        if method.checkpoint == "random" and len(widths) > 1:
            told = " and ".join(f"{width:g} ({name})" for width, name in sorted(widths.items()))
            raise SuiteError(
                f"{suite.file}: methods.{method.name}: a random backbone has the width of its protocol, and these have "
                f"{told}; keep to protocols of one width, or make a suite of each"
            )


def _protocol_files(file: Path, value: object) -> tuple[Path, ...]:
    """Return the files of own protocols."""
    if not isinstance(value, list):
        raise SuiteError(f"{file}: protocol_files: is {shown(value)}, expected a list of files")
    return tuple(as_path(path, file, f"{file}: protocol_files") for path in value)


def _data(file: Path, value: object, own: Iterable[str]) -> dict[str, Source]:
    """Return the data by name, a published set's or one of `own` as in RECIPE@NAME; what has a place must be there."""
    known = {*(data_set.folder for data_set in DATA_SETS.values()), *filter(None, own)}
    if not isinstance(value, dict):
        raise SuiteError(f"{file}: data: is {shown(value)}, expected layouts and folders, as {{voc: /datasets/VOC}}")
    sources: dict[str, Source] = {}
    for layout, path in value.items():
        if layout not in known:
            raise SuiteError(f"{file}: data: {unknown('data set', str(layout), known)}")
        sources[layout] = _source(file, f"{file}: data.{layout}", path)
    return sources


def _source(file: Path, where: str, value: object) -> Source:
    """Return where one data set lies; SuiteError where a folder is named and none is there."""
    if not is_text(value) or not value.isprintable():
        raise SuiteError(f"{where}: is {shown(value)}, expected a folder, or a source such as list:FILE")
    try:
        source = Source.of(value, file.parent)
        if source.is_folder:
            require_is_folder(source.path, "the data set")
    except DataError as error:
        raise SuiteError(f"{where}: {error}") from None
    return source


def _methods(
    file: Path,
    root: Path,
    data: Mapping[str, Source],
    cluster: Cluster,
    protocols: Collection[str],
    entries: Iterable[tuple[str, object]],
) -> tuple[tuple[Method, ...], tuple[Series, ...]]:
    """Return the methods, those of series last, and the series; SuiteError for two of one name."""
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


def _chosen(where: str, value: object, protocols: Collection[str]) -> tuple[str, ...]:
    """Return the protocols that a method is measured with, each one of the suite's."""
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise SuiteError(f"{where}.protocols: is {shown(value)}, expected a list of names")
    for name in value:
        if name not in protocols:
            raise SuiteError(f"{where}.protocols: {unknown('protocol', name, protocols)}")
    return tuple(value)


def _series(file: Path, root: Path, where: str, common: Method, entry: Mapping[str, object]) -> Series:
    """Return a series with the checkpoints that there are now."""
    if "checkpoints" not in entry or {"checkpoint", "pretrain"} & set(entry):
        raise SuiteError(f"{where}: expected `checkpoints`, and beside it neither `checkpoint` nor `pretrain`")
    named = _checkpoint(where, common.name, entry["checkpoints"], entry, "checkpoints")
    if not named.file:
        raise SuiteError(f"{where}.checkpoints: is {shown(entry['checkpoints'])}, expected files, as runs/bt/*.pth")
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
            raise SuiteError(f"{where}: there is no file {path}; expected a checkpoint, {KINDS}")
        method = replace(method, checkpoint=f"{method.model.label}={path}" if method.model else str(path))
    return method


def _checkpoint(where: str, name: str, checkpoint: object, entry: Mapping[str, object], key: str) -> Method:
    """Return a method as its entry says it, whether or not its files are there."""
    if not is_text(checkpoint):
        raise SuiteError(f"{where}: {key} is {shown(checkpoint)}, expected a file, {KINDS}")
    convention, layout = (_word(entry.get(word, ""), f"{where}.{word}") for word in ("input", "layout"))
    method = Method(name, checkpoint, input=convention, layout=layout)
    try:
        _ = method.model
    except ModelError as error:
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
    recipe = look_up(RECIPES, str(entry.get("recipe", "barlow-twins")), "recipe")
    settings = as_settings(entry.get("set"), f"{where}.set")
    with_settings(recipe, dict(settings))
    seed = as_count(entry.get("seed", 0), f"{where}.seed", 0, MAX_SEED)
    keep_every = as_count(entry.get("keep_every", 0), f"{where}.keep_every", at_least=0)
    return Pretraining(layout, recipe.name, settings, seed, keep_every)
