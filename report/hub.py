"""Results as `.eval_results/*.yaml`, in which the Hub's model repositories tell how they did, and back again.

An entry there is a data set of the Hub that keeps a leaderboard, a task of it, and one number. What number it is, the
entry's `notes` say: in words, and behind them in JSON with recipe, backbone, data and every trial, so that a reader
gets the very column back. The format: huggingface/hub-docs, docs/hub/eval-results.md. huggingface_hub is imported only
here.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import yaml

import twinbench
from twinbench.protocols.house import UserError, optional, replacing
from twinbench.protocols.text import TextError, parse_json
from twinbench.protocols.yaml_text import read_yaml
from twinbench.report import provenance
from twinbench.report.files import Located, folder_name
from twinbench.report.grid import Cell, Column, Table
from twinbench.report.result import Result, ResultError, parse_result

FILE = Path(".eval_results", "twinbench.yaml")  # below a model's repository
MARK = "twinbench {"  # where in `notes` the JSON begins
# What all trials of an entry share, under the names of a result's fields
SHARED = (
    *("protocol", "version", "fingerprint", "method", "headline", "backbone_sha256", "architecture", "convention"),
    *("data", "data_sha256", "precision", "overrides", "selected_on", "converged"),
)
UNSAID = "image counts, curves, versions and the machine of the run"


class HubError(UserError):
    """Entries that cannot be written, or a file that holds none of twinbench's."""


def parse_leaderboards(texts: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Return protocol -> (data set of the Hub, task) from `[PROTOCOL=]ORG/NAME[:TASK]`.

    An empty protocol is for all others. The task is called as the protocol where none is given.
    """
    found: dict[str, tuple[str, str]] = {}
    for text in texts:
        protocol, equals, place = text.rpartition("=")
        data_set, colon, task = place.partition(":")
        parts = data_set.split("/")
        if len(parts) != 2 or not all(parts) or (equals and not protocol) or (colon and not (task and protocol)):
            raise HubError(f"--leaderboard {text}: expected ORG/NAME, or PROTOCOL=ORG/NAME:TASK of one protocol")
        if protocol in found:
            raise HubError(f"--leaderboard {text}: {protocol or 'all protocols'} was given before; name one")
        found[protocol] = data_set, task
    return found


def write(table: Table, leaderboards: Mapping[str, tuple[str, str]], out: Path) -> list[str]:
    """Write a file for each measured method below `out` and return what was done, or left out, in lines."""
    hub = _library("--format hub")
    lines: list[str] = []
    entries: dict[str, list[Any]] = defaultdict(list)
    taken: dict[tuple[str, str], Column] = {}
    for method in table.measured:
        for column in table.columns:
            cell = table.cell(method, column)
            if not cell.trials or column.metric != cell.trials[0].result.headline:
                continue
            if reason := _unfit(cell):
                lines.append(f"left out: {method} on {column.protocol}: {reason}")
                continue
            data_set, task = _place(column, leaderboards, taken)
            entries[method].append(
                hub.EvalResultEntry(data_set, task, cell.mean, date=_date(cell), notes=_notes(column, cell))
            )
    for method, found in entries.items():
        path = out / folder_name(method) / FILE
        text = yaml.safe_dump(hub.eval_result_entries_to_yaml(found), sort_keys=False, allow_unicode=True, width=10**6)
        with replacing(path) as beside:
            beside.write_text(text, encoding="utf-8")
        lines.append(f"{path}: {len(found)} entries")
    return lines


def read(path: Path) -> list[Result]:
    """Return the trials that a file's entries tell of; HubError if none of them is of twinbench."""
    advice = "expected entries as twinbench report --format hub writes them"
    hub = _library(f"{path}")
    try:
        content = read_yaml(path, advice)
    except TextError as error:
        raise HubError(str(error)) from None
    if not isinstance(content, list) or not all(isinstance(item, dict) for item in cast("list[Any]", content)):
        raise HubError(f"{path}: no list of entries; {advice}")
    try:
        entries = hub.parse_eval_result_entries(content)
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise HubError(f"{path}: an entry that the Hub would refuse ({type(error).__name__}: {error})") from None
    found: list[Result] = []
    for number, entry in enumerate(entries, 1):
        if isinstance(entry.notes, str) and MARK in entry.notes:
            found += _trials(entry, path, number)
    if not found:
        raise HubError(f"{path}: {len(entries)} entries, none with twinbench's notes; {advice}")
    return found


def _library(who: str) -> Any:
    """Return huggingface_hub; an error, which `who` begins, where it is missing or older than these entries."""
    hub = optional("huggingface_hub", "hf", who, HubError)
    if not hasattr(hub, "EvalResultEntry"):
        raise HubError(
            f"{who}: huggingface_hub {hub.__version__} does not know .eval_results; run: pip install -U 'twinbench[hf]'"
        )
    return hub


def _unfit(cell: Cell) -> str:
    """Return why a cell is no entry for others to compare with; empty if it is one."""
    if any(trial.result.imported for trial in cell.trials):
        return "imported, not measured here"
    return "" if cell.comparable else "not on the complete data"


def _place(
    column: Column, leaderboards: Mapping[str, tuple[str, str]], taken: dict[tuple[str, str], Column]
) -> tuple[str, str]:
    """Return where a column's leaderboard is; two columns that would share one are a mistake."""
    given = leaderboards.get(column.protocol) or leaderboards.get("")
    if given is None:
        raise HubError(
            f"which data set of the Hub keeps the leaderboard of {column.protocol} is not known; expected "
            f"--leaderboard {column.protocol}=ORG/NAME:TASK, or ORG/NAME for all protocols"
        )
    place = given[0], given[1] or column.protocol
    other = taken.setdefault(place, column)
    if other != column:
        raise HubError(
            f"{other.protocol} {other.fingerprint} on {other.data_shown} and {column.protocol} {column.fingerprint} on "
            f"{column.data_shown} would share the leaderboard {place[0]}:{place[1]}; give each its own --leaderboard, "
            "or name the results of only one"
        )
    return place


def _date(cell: Cell) -> str | None:
    """Return when the last trial was finished, as far as they say."""
    return max(trial.result.finished for trial in cell.trials) or None


def _notes(column: Column, cell: Cell) -> str:
    """Return what number an entry is, in words and in JSON."""
    result = cell.trials[0].result
    exact: dict[str, Any] = {name: getattr(result, name) for name in SHARED}
    exact["converged"] = all(trial.result.converged for trial in cell.trials)
    exact["seeds"] = [trial.result.seed for trial in cell.trials]
    exact["metrics"] = _by_metric(cell.trials)
    exact["twinbench"] = twinbench.__version__
    spread = (
        "one trial"
        if cell.std is None
        else f"mean of {cell.count} trials, sample standard deviation {cell.std:.{column.unit.decimals + 1}f}"
    )
    words = [
        f"{column.unit.words(column.metric)}, {spread}",
        f"{column.protocol} v{column.version} {column.fingerprint}",
    ]
    words += [f"data {column.data_shown}", *cell.notes]
    return f"{'; '.join(words)}. {MARK}{json.dumps(exact, sort_keys=True)[1:]}"


def _by_metric(trials: Sequence[Located]) -> dict[str, list[float]]:
    """Return the values of the metrics that all trials have, in the order of their seeds."""
    shared = [name for name in trials[0].result.metrics if all(name in trial.result.metrics for trial in trials)]
    return {name: [trial.result.metrics[name] for trial in trials] for name in shared}


def _trials(entry: Any, path: Path, number: int) -> list[Result]:
    """Return the trials that an entry's notes tell of, checked as any result is."""
    where = f"{path}: entry {number}"
    notes = str(entry.notes)
    try:
        told = parse_json(notes[notes.index(MARK) + len(MARK) - 1 :], where)
    except TextError as error:
        raise HubError(str(error)) from None
    seeds, metrics = told.get("seeds"), told.get("metrics")
    if not isinstance(seeds, list) or not isinstance(metrics, dict):
        raise HubError(f"{where}: its notes lack seeds or metrics; write it again with twinbench report --format hub")
    columns = cast("dict[str, Any]", metrics)
    found: list[Result] = []
    for index, seed in enumerate(cast("list[Any]", seeds)):
        fields = {name: told[name] for name in SHARED if name in told}
        try:
            fields["metrics"] = {name: values[index] for name, values in columns.items()}
        except (LookupError, TypeError):
            raise HubError(f"{where}: its notes have another number of values than of seeds") from None
        fields |= {"seed": seed, "imported": "twinbench", "command": provenance.command()}
        fields |= {"code": provenance.code(), "finished": str(entry.date or "")}
        fields["details"] = {"table": f"{path.name}, for {entry.dataset_id}", "unsaid": UNSAID}
        try:
            found.append(parse_result(json.dumps(fields), Path(where)))
        except ResultError as error:
            raise HubError(str(error)) from None
    return found
