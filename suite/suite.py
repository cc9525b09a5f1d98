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

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from twinbench.data.errors import DataError, require_is_folder
from twinbench.data.source import Source
from twinbench.protocols.catalogue import load_own
from twinbench.protocols.datasets import DATA_SETS
from twinbench.protocols.house import SettingError, unknown
from twinbench.protocols.schema import ProtocolError
from twinbench.runtime.tracking import TrackError, parse_trackers
from twinbench.suite.cluster import Cluster, ClusterError, read_cluster, report_cluster
from twinbench.suite.entries import (
    SuiteError,
    as_cluster,
    as_entries,
    as_mapping,
    as_name,
    as_path,
    is_text,
    parsed,
    shown,
)
from twinbench.suite.families import members
from twinbench.suite.heads import with_heads
from twinbench.suite.measurements import Measurement, read_measurements
from twinbench.suite.methods import Method, Series, read_methods
from twinbench.suite.series import take

# What a suite keeps in a method's folder beside its trials'.
OURS_IN_METHOD = ("pretrain", "backbone")
# How the keys of a file differ from the fields of a Suite.
KEYS = {"without": ("file", "measurements", "series"), "plus": ("protocols", "site")}


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
    track: tuple[str, ...] = ()  # trackers that every pretraining and trial shows its numbers to


def read_suite(file: Path) -> Suite:
    """Read and check a suite file; SuiteError names the file, the place in it and what was expected there."""
    file = Path(os.path.abspath(file))
    content = as_mapping(parsed(file), f"{file}", Suite, **KEYS)
    require_keys(file, content)
    try:
        cluster = read_cluster(content.get("cluster") or {}, site=content.get("site", True))
        own_files = protocol_files(file, content.get("protocol_files") or [])
        load_own(own_files)
        protocols = as_entries(content["protocols"], f"{file}: protocols")
        _require_free(file, [name for name, _ in protocols])
        entries = as_entries(content["methods"], f"{file}: methods")
        data = read_data(file, content.get("data") or {}, own=[name.partition("@")[2] for name, _ in protocols])
        protocols, names = members(file, protocols, data)
        root = as_path(content["root"], file, f"{file}: root")
        methods, series = read_methods(file, root, data, cluster, names, entries)
        measurements = read_measurements(file, data, cluster, protocols, methods=len(methods))
        suite = Suite(
            name=as_name(content["name"], f"{file}: name"),
            file=file,
            root=root,
            methods=methods,
            measurements=with_heads(file, measurements, dict(protocols), methods),
            data=data,
            protocol_files=own_files,
            cluster=cluster,
            report=read_report(file, content, cluster),
            series=series,
            track=read_trackers(file, content.get("track") or ""),
        )
    except (ProtocolError, SettingError, ClusterError) as error:
        raise SuiteError(f"{file}: {error}") from None
    _require_one_random(suite)
    return suite


def require_keys(file: Path, content: Mapping[str, object]) -> None:
    """Raise SuiteError for a file without a key that each suite has, and for a `site` that is no truth."""
    if not isinstance(content.get("site", True), bool):
        raise SuiteError(f"{file}: site: is {shown(content['site'])}, expected true or false")
    missing = [key for key in ("name", "root", "methods", "protocols") if key not in content]
    if missing:
        raise SuiteError(f"{file}: lacks {', '.join(missing)}; see docs/clusters.md for a whole suite")


def read_report(file: Path, content: Mapping[str, object], cluster: Cluster) -> Cluster:
    """Return the options of the job that writes the table."""
    given, over = content.get("report"), report_cluster(cluster)
    return as_cluster(given, over, f"{file}: report", without=("max_running", "nodes"))


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


def read_trackers(file: Path, value: object) -> tuple[str, ...]:
    """Return the trackers that a suite names; whether they are installed, its jobs find out."""
    if not isinstance(value, str):
        raise SuiteError(f"{file}: track: is {shown(value)}, expected names, such as tensorboard,wandb")
    try:
        return parse_trackers(value)
    except TrackError as error:
        raise SuiteError(f"{file}: track: {str(error).removeprefix('--track ')}") from None


def protocol_files(file: Path, value: object) -> tuple[Path, ...]:
    """Return the files of own protocols."""
    if not isinstance(value, list):
        raise SuiteError(f"{file}: protocol_files: is {shown(value)}, expected a list of files")
    return tuple(as_path(path, file, f"{file}: protocol_files") for path in value)


def read_data(file: Path, value: object, own: Iterable[str]) -> dict[str, Source]:
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
