"""A suite: methods x protocols x seeds, read from one YAML file and checked before anything runs.

name: barlow-against-random
root: results                     # relative paths start at the suite file
methods:
  mine:   {pretrain: {data: imagenet, recipe: barlow-twins, set: {epochs: 300}}}
  theirs: {checkpoint: theirs.pth}
  random: {checkpoint: random}
protocols:
  voc07-svm: {}
  imagenet-1pct: {seeds: [0, 1, 2]}
data: {voc: /datasets/VOCdevkit, imagenet: /datasets/imagenet}
cluster: {partition: gpu, gpus_per_node: 8, max_running: 16}
"""

import dataclasses
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from convert.named import ModelError, NamedModel, named_model
from protocols.catalogue import find_protocol
from protocols.house import SettingError, UserError, unknown, with_settings
from protocols.pretraining import RECIPES
from protocols.schema import Protocol, ProtocolError, look_up
from slurm.cluster import Cluster, ClusterError, read_cluster

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")  # becomes a folder, a job name and a table row
OURS = ("code", "features", "slurm")  # folders of a suite's root that no method may be called after
LAYOUTS = ("imagenet", "voc", "coco", "inat", "places")


class SuiteError(UserError):
    """A suite file with a mistake in it."""


@dataclass(frozen=True)
class Pretraining:
    """A method that is trained first: the data set's layout, the recipe and its changed settings."""

    data: str
    recipe: str
    settings: tuple[tuple[str, str], ...] = ()
    seed: int = 0


@dataclass(frozen=True)
class Method:
    """A row of the table: a checkpoint (a path, `random`, `zoo:NAME`, LIBRARY:NAME) or a pretraining that makes one."""

    name: str
    checkpoint: str = ""
    pretrain: Pretraining | None = None

    @property
    def model(self) -> NamedModel | None:
        """Another library's model, if it is one."""
        return named_model(self.checkpoint)

    @property
    def file(self) -> Path | None:
        """The file that its weights come from, if there is one."""
        if self.model:
            return self.model.file
        elsewhere = not self.checkpoint or self.checkpoint == "random" or self.checkpoint.startswith("zoo:")
        return None if elsewhere else Path(self.checkpoint)


@dataclass(frozen=True)
class Measurement:
    """A column of the table: a protocol, the suite's settings applied, and the seeds to run it with."""

    protocol: Protocol
    seeds: tuple[int, ...]
    gpus: int = 1  # processes of one trial, one on each GPU
    minutes: int = 0  # time limit of one trial on a cluster; 0: the cluster's
    partial: bool = False  # go on with an incomplete data set; the table marks it


@dataclass(frozen=True)
class Suite:
    """What a suite file says, checked and with absolute paths."""

    name: str
    file: Path
    root: Path
    methods: tuple[Method, ...]
    measurements: tuple[Measurement, ...]
    data: Mapping[str, Path] = field(default_factory=dict)
    cluster: Cluster = field(default_factory=Cluster)


class _Loader(yaml.SafeLoader):
    """A safe YAML loader to which a repeated key is a mistake; plain YAML lets the last one win in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Build a mapping whose keys differ."""
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"'{key.value}' is given twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_suite(file: Path) -> Suite:
    """Read and check a suite file; SuiteError names the file, the place in it and what was expected there."""
    file = Path(os.path.abspath(file))
    content = _mapping(_load(file), f"{file}", Suite, without=("file", "measurements"), plus=("protocols",))
    missing = [key for key in ("name", "root", "methods", "protocols") if key not in content]
    if missing:
        raise SuiteError(f"{file}: lacks {', '.join(missing)}; see docs/clusters.md for a whole suite")
    try:
        data = _data(file, content.get("data") or {})
        return Suite(
            name=_name(content["name"], f"{file}: name"),
            file=file,
            root=_path(content["root"], file, f"{file}: root"),
            methods=tuple(_method(file, data, *entry) for entry in _entries(content["methods"], f"{file}: methods")),
            measurements=tuple(
                _measurement(file, data, *entry) for entry in _entries(content["protocols"], f"{file}: protocols")
            ),
            data=data,
            cluster=read_cluster(content.get("cluster") or {}),
        )
    except (ProtocolError, SettingError, ClusterError) as error:
        raise SuiteError(f"{file}: {error}") from None


def _load(file: Path) -> object:
    """Parse the YAML file; a mistake is reported with its line."""
    try:
        return yaml.load(file.read_text(), _Loader)
    except OSError as error:
        raise SuiteError(f"{file}: {error.strerror}; expected a suite file, see docs/clusters.md") from None
    except UnicodeDecodeError:
        raise SuiteError(f"{file}: is no text file; expected a suite in YAML") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise SuiteError(f"{file}, line {line}: not valid YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise SuiteError(f"{file}: not valid YAML: {' '.join(str(error).split())}") from None


def _mapping(
    value: object, where: str, kind: type, without: Iterable[str] = (), plus: Iterable[str] = ()
) -> dict[str, Any]:
    """Return `value` as a mapping whose keys are the fields of the dataclass `kind`, less `without`, and `plus`."""
    if not isinstance(value, dict):
        raise SuiteError(f"{where}: is {_short(value)}, expected a mapping")
    known = {entry.name for entry in dataclasses.fields(kind)} - set(without) | set(plus)
    for key in value:
        if key not in known:
            raise SuiteError(f"{where}: {unknown('key', str(key), known)}")
    return value


def _entries(value: object, where: str) -> list[tuple[str, object]]:
    """Return the entries of a mapping that holds at least one and whose keys are usable names."""
    if not isinstance(value, dict) or not value:
        raise SuiteError(f"{where}: is {_short(value)}, expected at least one `name: {{...}}`")
    return [(_name(key, where), entry) for key, entry in value.items()]


def _name(value: object, where: str) -> str:
    """Check a name that will be a folder's: nothing that could leave the root or puzzle a shell."""
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise SuiteError(
            f"{where}: {value!r} is no usable name; expected letters, digits, '.', '_' or '-', "
            "at most 80, beginning with a letter or digit (quote a number: '1')"
        )
    return value


def _path(value: object, file: Path, where: str) -> Path:
    """Return an absolute path; a relative one starts at the suite file."""
    if not isinstance(value, str) or not value:
        raise SuiteError(f"{where}: is {_short(value)}, expected a path")
    path = Path(os.path.abspath(file.parent / os.path.expanduser(value)))
    if any(not character.isprintable() for character in str(path)):
        raise SuiteError(f"{where}: {value!r} holds a control character; expected a plain path")
    return path


def _data(file: Path, value: object) -> dict[str, Path]:
    """Return the data roots by layout; each must be a folder."""
    if not isinstance(value, dict):
        raise SuiteError(f"{file}: data: is {_short(value)}, expected layouts and folders, as {{voc: /datasets/VOC}}")
    roots: dict[str, Path] = {}
    for layout, path in value.items():
        if layout not in LAYOUTS:
            raise SuiteError(f"{file}: data: {unknown('layout', str(layout), LAYOUTS)}")
        roots[layout] = _path(path, file, f"{file}: data.{layout}")
        if not roots[layout].is_dir():
            raise SuiteError(f"{file}: data.{layout}: {roots[layout]} is no folder; expected the data set's root")
    return roots


def _method(file: Path, data: Mapping[str, Path], name: str, value: object) -> Method:
    """Return one method, its checkpoint found or its pretraining checked."""
    where = f"{file}: methods.{name}"
    if name in OURS:
        raise SuiteError(f"{where}: the suite's own folder {name}/ has that name; choose another")
    entry = _mapping(value, where, Method, without=("name",))
    if len(entry) != 1:
        raise SuiteError(f"{where}: has {len(entry)} entries, expected either `checkpoint` or `pretrain`")
    if "pretrain" in entry:
        return Method(name, pretrain=_pretraining(data, f"{where}.pretrain", entry["pretrain"]))
    checkpoint = entry["checkpoint"]
    kinds = "`random`, zoo:NAME or LIBRARY:NAME"
    if not isinstance(checkpoint, str) or not checkpoint:
        raise SuiteError(f"{where}: checkpoint is {_short(checkpoint)}, expected a file, {kinds}")
    method = Method(name, checkpoint)
    try:
        model = method.model
    except ModelError as error:
        raise SuiteError(f"{where}: {error}") from None
    if method.file:
        path = _path(str(method.file), file, where)
        if not path.is_file():
            raise SuiteError(f"{where}: there is no file {path}; expected a checkpoint, {kinds}")
        method = Method(name, f"{model.label}={path}" if model else str(path))
    return method


def _pretraining(data: Mapping[str, Path], where: str, value: object) -> Pretraining:
    """Return a pretraining whose data, recipe and settings exist."""
    entry = _mapping(value, where, Pretraining, without=("settings",), plus=("set",))
    layout = entry.get("data", "imagenet")
    if layout not in data:
        raise SuiteError(f"{where}: trains on {_short(layout)}, but data names no folder for it; add it to data")
    recipe = look_up(RECIPES, str(entry.get("recipe", "barlow-twins")), "recipe")
    settings = _settings(f"{where}.set", entry.get("set"))
    with_settings(recipe, dict(settings))
    return Pretraining(layout, recipe.name, settings, _count(f"{where}.seed", entry.get("seed", 0), at_least=0))


def _measurement(file: Path, data: Mapping[str, Path], name: str, value: object) -> Measurement:
    """Return one protocol with its settings, seeds and size."""
    where = f"{file}: protocols.{name}"
    protocol = find_protocol(name)
    fields = ("seeds", "set", "gpus", "minutes", "partial")
    entry = _mapping(value or {}, where, Measurement, without=("protocol",), plus=fields)
    if protocol.data not in data:
        raise SuiteError(f"{where}: needs {protocol.data} images; add their folder as data: {{{protocol.data}: ...}}")
    settings = _settings(f"{where}.set", entry.get("set"))
    try:
        protocol = protocol.with_settings(dict(settings))
    except SettingError as error:
        raise SuiteError(f"{where}.set: {error}") from None
    gpus = _count(f"{where}.gpus", entry.get("gpus", 1), at_least=1)
    minutes = _count(f"{where}.minutes", entry.get("minutes", 0), at_least=0)
    if not isinstance(entry.get("partial", False), bool):
        raise SuiteError(f"{where}.partial: is {_short(entry['partial'])}, expected true or false")
    seeds = _seeds(where, entry.get("seeds", protocol.trials))
    return Measurement(protocol, seeds, gpus, minutes, entry.get("partial", False))


def _seeds(where: str, value: object) -> tuple[int, ...]:
    """Return the seeds: a number N means 0 .. N-1, a list means these."""
    seeds = value if isinstance(value, list) else range(_count(f"{where}.seeds", value, at_least=1))
    if not seeds or len(set(seeds)) != len(seeds):
        raise SuiteError(f"{where}.seeds: is {_short(value)}, expected a number of seeds or a list of different ones")
    return tuple(_count(f"{where}.seeds", seed, at_least=0) for seed in seeds)


def _settings(where: str, value: object) -> tuple[tuple[str, str], ...]:
    """Return the entries of a `set` as pairs of texts, as --set takes them."""
    if value is None:
        return ()
    if not isinstance(value, dict):
        raise SuiteError(f"{where}: is {_short(value)}, expected settings, as {{epochs: 50}}")
    return tuple(
        (str(key), ",".join(map(str, entry)) if isinstance(entry, list) else str(entry)) for key, entry in value.items()
    )


def _count(where: str, value: object, at_least: int) -> int:
    """Return a whole number of at least `at_least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
        raise SuiteError(f"{where}: is {_short(value)}, expected a whole number of at least {at_least}")
    return value


def _short(value: object) -> str:
    """Name a found value in a message."""
    return "empty" if value is None else repr(value)[:60]
