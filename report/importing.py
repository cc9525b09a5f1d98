"""Results out of other programs' logs and tables, so that runs made elsewhere can join a table; they stay marked.

Examples:
  twinbench import runs/linear/metrics.json results/swav --protocol imagenet-linear --method swav --layer res5
  twinbench import output/metrics.json results/moco --protocol coco-mrcnn-c4-1x --method moco-v2 --seed 1
  twinbench import results.csv results/efficient-probing
  twinbench import results-imagenet.csv results/timm --only resnet50

With --protocol and --method, reads the JSON lines of VISSL (metrics.json), MMSelfSup (*.log.json,
vis_data/scalars.json) and Detectron2 (metrics.json) and takes the last evaluation. That the run followed the protocol
is your word; the table says so.

Without them, reads a whole table, whose rows say by themselves what they are: results.csv of efficient-probing,
all_results.csv of SSL-Risk, timm's results-*.csv, VisBench's JSON lines, and .eval_results/*.yaml of the Hub where
twinbench has written them. Each number is marked with where it stands.
"""

import argparse
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from twinbench.protocols.catalogue import find_protocol, load_own
from twinbench.protocols.house import UserError, parse_settings
from twinbench.protocols.schema import Protocol
from twinbench.protocols.text import TextError, parse_json, read_text
from twinbench.report import provenance
from twinbench.report.files import folder_name
from twinbench.report.result import Result, read_result
from twinbench.report.trial import as_label

MOST_BYTES = 100_000_000  # of a log; 100 epochs with a line for each tenth step take 30 million


class ImportingError(UserError):
    """A log that holds no number of the protocol it is said to be of."""


@dataclass(frozen=True)
class Log:
    """How one program writes its evaluations: dotted names of numbers, and the count that orders them."""

    program: str
    pattern: re.Pattern[str]  # groups: layer or data set (perhaps), kind (perhaps), metric
    steps: tuple[str, ...]  # the first of these that a line has is the x of its curve


LOGS = (
    Log(
        "VISSL",  # log_hooks.py: {"test_accuracy_list_meter": {"top_1": {"res5": 70.1}}, "train_phase_idx": 27}
        re.compile(r"test_accuracy_list_meter\.(?P<metric>top_\d+)\.(?P<layer>.+)"),
        ("train_phase_idx", "iteration"),
    ),
    Log(
        "MMSelfSup",  # 0.x: {"mode": "val", "epoch": 9, "head0_top1": 68.1}; 1.x: {"accuracy/top1": 68.1, "step": 9}
        re.compile(r"(?:(?P<layer>.+)_|accuracy/)(?P<metric>top-?\d+)"),
        ("epoch", "step"),
    ),
    Log(
        # {"bbox/AP": 38.9, "segm/AP": 34.1, "iteration": 89999}; of several test sets {"voc_2007_test/bbox/AP": ...}
        "Detectron2",
        re.compile(r"(?:(?P<layer>.+)/)?(?P<kind>bbox|segm)/(?P<metric>AP(?:50|75|s|m|l)?)"),
        ("iteration",),
    ),
)


@dataclass
class Found:
    """What a log holds: by layer (one without a name where the log knows none), metric -> [[step, value], ...].

    Steps grow: a run that was resumed repeats some, and the later evaluation of a step is the one that stands.
    """

    program: str
    layers: dict[str, dict[str, list[list[float]]]] = field(default_factory=dict[str, dict[str, list[list[float]]]])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `twinbench import` takes."""
    parser.add_argument("log", metavar="FILE", type=Path, help="log of a run, or another benchmark's whole table")
    parser.add_argument("out", metavar="OUT", type=Path, help="folder for result.json; of a table for one each")
    parser.add_argument("--protocol", metavar="NAME", help="of a log: the protocol that the run followed")
    parser.add_argument(
        "--protocols", action="append", default=[], metavar="FILE", help="own protocols, as YAML or Python"
    )
    parser.add_argument("--method", type=as_label, metavar="LABEL", help="of a log: row of the table")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="default 0")
    parser.add_argument("--layer", default="", help="which layer, head or test set, where the log evaluates several")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="a setting in which the run differed"
    )
    parser.add_argument("--only", default="", metavar="TEXT", help="of a table: methods whose name holds TEXT")


def run(arguments: argparse.Namespace) -> int:
    """Write the result, or those of a table, and say what was read."""
    load_own(arguments.protocols)
    if arguments.protocol is None and arguments.method is None:
        return _run_table(arguments)
    if arguments.protocol is None or arguments.method is None or arguments.only:
        raise ImportingError("a log takes --protocol and --method, a whole table neither; --only is of tables")
    protocol = find_protocol(arguments.protocol).with_settings(parse_settings(arguments.set))
    result = imported(arguments.log, protocol, arguments.method, arguments.seed, arguments.layer)
    path = _write(result, arguments.out)
    shown = ", ".join(f"{name} {value:.2f}" for name, value in result.metrics.items())
    print(f"{path}: {result.method} on {result.protocol}, from {result.imported}: {shown}")
    return 0


def _run_table(arguments: argparse.Namespace) -> int:
    """Write the results of a whole table, each in a folder of its own."""
    from twinbench.report import hub
    from twinbench.report.foreign import results
    from twinbench.report.programs import PROGRAMS

    for option, value in {"--layer": arguments.layer, "--set": arguments.set, "--seed": arguments.seed}.items():
        if value:
            raise ImportingError(f"{option} says nothing of a whole table; it is of a log with --protocol and --method")
    if arguments.log.suffix in (".yaml", ".yml"):
        found = hub.read(arguments.log)
    else:
        found = results(arguments.log, PROGRAMS)
    kept = [result for result in found if arguments.only.casefold() in result.method.casefold()]
    if not kept:
        raise ImportingError(f"{arguments.log}: --only {arguments.only} is in none of {len(found)} methods' names")
    for result in kept:
        _write(result, arguments.out / folder_name(result.method) / _recipe_folder(result) / f"seed{result.seed}")
    protocols = sorted({result.protocol for result in kept})
    print(f"{arguments.out}: {len(kept)} results of {kept[0].imported}, on {', '.join(protocols)}")
    return 0


def _recipe_folder(result: Result) -> str:
    """Return a name for what a result is a number of, which no other recipe and no other data have."""
    return folder_name("-".join(filter(None, (result.protocol, result.fingerprint, result.data_sha256))))


def _write(result: Result, folder: Path) -> Path:
    """Write an imported result; ImportingError where another one lies, which may have been measured."""
    path = folder / "result.json"
    if path.exists():
        earlier = read_result(path)
        same = (earlier.method, earlier.protocol, earlier.seed) == (result.method, result.protocol, result.seed)
        if not (earlier.imported and same):
            raise ImportingError(f"{path}: holds another result; choose another OUT or remove it")
    return result.write(folder)


def imported(log: Path, protocol: Protocol, method: str, seed: int, layer: str = "") -> Result:
    """Return the last evaluation in a log as a result of `protocol`.

    ImportingError says what the log holds instead.
    """
    found = read_log(log)
    named: dict[str, list[list[float]]] = {}
    for metric, points in _curves(log, found, layer).items():
        named[_name(metric, protocol)] = points
    if protocol.metric not in named:
        held = ", ".join(sorted(named))
        raise ImportingError(f"{log}: holds {held} of {found.program}, expected {protocol.metric} for {protocol.name}")
    last, headline = named[protocol.metric][-1]
    if not math.isfinite(headline):
        raise ImportingError(f"{log}: its last evaluation, at {last:g}, has {protocol.metric} {headline}, not a number")
    metrics: dict[str, float] = {}
    for name, points in named.items():
        at, value = points[-1]
        if at == last and math.isfinite(value):  # AP of no small object is none
            metrics[name] = value
    curve = [point for point in named[protocol.metric] if math.isfinite(point[1])]
    return Result(
        protocol=protocol.name,
        version=protocol.version,
        fingerprint=protocol.fingerprint,
        method=method,
        seed=seed,
        metrics=metrics,
        headline=protocol.metric,
        backbone_sha256="",
        overrides=dict(protocol.overrides),
        selected_on="nothing: the last evaluation in the log",
        curves={protocol.metric: curve},
        command=provenance.command(),
        code=provenance.code(),
        finished=provenance.now(),
        imported=found.program,
    )


def _curves(log: Path, found: Found, layer: str) -> dict[str, list[list[float]]]:
    """Return the curves of a layer, of the only one if none is named.

    ImportingError where several are there.
    """
    if layer in found.layers:
        return found.layers[layer]
    if layer or len(found.layers) > 1:
        known = ", ".join(sorted(found.layers))
        raise ImportingError(f"{log}: evaluates {known}; choose one with --layer")
    (curves,) = found.layers.values()
    return curves


def read_log(path: Path) -> Found:
    """Read the evaluations in a log, whichever known program wrote it."""
    lines = list(_objects(path))
    for log in LOGS:
        found = _read_as(log, lines)
        if found.layers:
            return found
    programs = ", ".join(log.program for log in LOGS)
    raise ImportingError(f"{path}: holds no evaluation that is known; expected JSON lines as {programs} write them")


def _read_as(log: Log, lines: Iterable[dict[str, Any]]) -> Found:
    """Return the evaluations that the lines of a log hold in one program's way of writing them."""
    found = Found(log.program)
    step = 0.0
    for line in lines:
        numbers = dict(_numbers(line))
        step = next((numbers[name] for name in log.steps if name in numbers), step)
        if line.get("mode") == "train":
            continue
        for name, value in numbers.items():
            match = log.pattern.fullmatch(name)
            if match:
                groups = match.groupdict()
                metric = f"{groups.get('kind') or ''} {groups['metric']}".strip()
                layer = found.layers.setdefault(groups.get("layer") or "", {})
                points = layer.setdefault(metric, [])
                while points and points[-1][0] >= step:  # of a run that was resumed
                    points.pop()
                points.append([step, value])
    return found


def _objects(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects of a file, one a line; a last line cut off by a kill is left out."""
    try:
        text = read_text(path, "expected a log of JSON lines", MOST_BYTES)
    except TextError as error:
        raise ImportingError(str(error)) from None
    lines = text.rstrip("\n").split("\n")  # splitlines() also ends lines within JSON's texts
    for number, line in enumerate(lines, 1):
        try:
            found: Any = parse_json(line, str(path)) if line.strip() else {}
        except TextError:
            if number == len(lines):
                return
            raise ImportingError(f"{path}: line {number} is no JSON; expected one object a line") from None
        if isinstance(found, dict):
            yield cast("dict[str, Any]", found)


def _numbers(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Yield the numbers of nested objects under dotted names; one of them may be NaN."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _numbers(cast("dict[str, Any]", value), f"{prefix}{name}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{prefix}{name}", float(value)


def _name(metric: str, protocol: Protocol) -> str:
    """Return a metric under twinbench's name: top_1 is top1.

    A box's AP is box-AP on COCO and AP on VOC.
    """
    kind, _, plain = metric.rpartition(" ")
    if kind:
        if protocol.data_set.layout == "voc" and kind == "bbox":
            return plain
        prefix = {"bbox": "box-", "segm": "mask-"}[kind]
        return f"{prefix}{plain}"
    return re.sub(r"[_-]", "", metric)
