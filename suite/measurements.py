"""The columns of a suite's table: what an entry of `protocols` says, checked."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from twinbench.data.source import Source
from twinbench.protocols.catalogue import find_protocol
from twinbench.protocols.house import SettingError
from twinbench.protocols.schema import Protocol
from twinbench.suite.cluster import Cluster
from twinbench.suite.entries import SuiteError, as_cluster, as_count, as_mapping, as_settings, shown
from twinbench.suite.inputs import KEYS, Inputs, read_inputs

MAX_TRIALS = 100_000  # planned in 40 seconds and 400 MB; `seeds: 1000000000` took 4.4 GB before it said anything
MAX_SEED = 2**32 - 1  # that every generator takes, as --seed


@dataclass(frozen=True)
class Measurement:
    """A column of the table: a protocol, the suite's settings applied, and the seeds to run it with."""

    protocol: Protocol
    seeds: tuple[int, ...]
    gpus: int = 1  # processes of one trial, one on each GPU
    minutes: int = 0  # time limit of one trial on a cluster; 0: the cluster's
    partial: bool = False  # go on with an incomplete data set; the table marks it
    inputs: Inputs = Inputs()
    cluster: Cluster = field(default_factory=Cluster)  # of its trials


def read_measurements(
    file: Path, data: Mapping[str, Source], cluster: Cluster, entries: Iterable[tuple[str, object]], methods: int
) -> tuple[Measurement, ...]:
    """Return the protocols; SuiteError as soon as they come to more trials than anybody means."""
    found: list[Measurement] = []
    trials = 0
    for name, entry in entries:
        found.append(_measurement(file, data, cluster, name, entry))
        trials += methods * len(found[-1].seeds)
        if trials > MAX_TRIALS:
            raise SuiteError(
                f"{file}: protocols.{name}: {trials} trials up to here, methods x protocols x seeds; expected "
                f"{MAX_TRIALS} at most; make several suites of it"
            )
    return tuple(found)


def _measurement(file: Path, data: Mapping[str, Source], cluster: Cluster, name: str, value: object) -> Measurement:
    """Return one protocol with its settings, seeds and size."""
    where = f"{file}: protocols.{name}"
    protocol = find_protocol(name)
    entry = as_mapping(value or {}, where, Measurement, without=("protocol", "inputs"), plus=("set", *KEYS))
    folder = protocol.data_set.folder
    if folder not in data:
        raise SuiteError(f"{where}: needs {folder} images; add their folder as data: {{{folder}: ...}}")
    inputs, settings = read_inputs(protocol, entry, file, where)
    try:
        # where both change a setting, `set` has the last word, as --set has
        protocol = protocol.with_settings({**settings, **dict(as_settings(entry.get("set"), f"{where}.set"))})
    except SettingError as error:
        raise SuiteError(f"{where}.set: {error}") from None
    own = as_cluster(entry.get("cluster"), cluster, where, without=("max_running", "nodes"))
    gpus = _gpus(entry.get("gpus", 1), own, f"{where}.gpus")
    minutes = as_count(entry.get("minutes", 0), f"{where}.minutes", at_least=0)
    if not isinstance(entry.get("partial", False), bool):
        raise SuiteError(f"{where}.partial: is {shown(entry['partial'])}, expected true or false")
    seeds = _seeds(where, entry.get("seeds", protocol.trials))
    return Measurement(protocol, seeds, gpus, minutes, entry.get("partial", False), inputs, own)


def _gpus(value: object, cluster: Cluster, where: str) -> int:
    """Return the processes of one trial. On several nodes each node has as many, and all that it has: three on nodes
    of two would take four."""
    gpus = as_count(value, where, at_least=1)
    each = cluster.gpus_per_node
    if each and gpus > each and gpus % each:
        near = gpus - gpus % each
        raise SuiteError(
            f"{where}: is {gpus}, but nodes have gpus_per_node = {each}; expected at most {each} or a multiple of it: "
            f"{near} or {near + each}"
        )
    return gpus


def _seeds(where: str, value: object) -> tuple[int, ...]:
    """Return the seeds: a number N means 0 .. N-1, a list means these."""
    if not isinstance(value, list):
        return tuple(range(as_count(value, f"{where}.seeds", 1, MAX_TRIALS)))
    seeds = tuple(as_count(seed, f"{where}.seeds", 0, MAX_SEED) for seed in value)
    if not seeds or len(set(seeds)) != len(seeds):
        raise SuiteError(f"{where}.seeds: is {shown(value)}, expected a number of seeds or a list of different ones")
    return seeds
