"""Say what a checkpoint holds, and prove its backbone complete.

Examples:
    twinbench inspect checkpoint.pth
    twinbench inspect checkpoint.pth --json
    twinbench inspect zoo:barlow-twins
"""

import argparse
import json
from typing import TYPE_CHECKING, Any

from twinbench.convert.command import add_reading_arguments
from twinbench.convert.zoo import entry_named

if TYPE_CHECKING:
    from twinbench.convert.finding.layouts import Layout


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `twinbench inspect` takes."""
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="a file in any layout, or zoo:NAME")
    parser.add_argument("--json", action="store_true", help="the same as one JSON object")
    add_reading_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print what the file holds; the exit code is 0 only if its backbone is proven."""
    facts = inspect(arguments.checkpoint, arguments.layout, arguments.drop)
    if arguments.json:
        print(json.dumps(facts, indent=2))
    else:
        width = max(map(len, facts))
        print("\n".join(f"{name.replace('_', ' '):{width}}  {_text(value)}" for name, value in facts.items()))
    return 0


def inspect(spec: str, layout: str | None = None, drop: list[str] | None = None) -> dict[str, Any]:
    """Return what a file or `zoo:NAME` holds, in plain values. Raises CheckpointError if its backbone is not whole."""
    from twinbench.convert.finding.find import find
    from twinbench.convert.load import local_file, recorded_convention, take
    from twinbench.convert.reading.reader import open_checkpoint

    contents = open_checkpoint(local_file(spec))
    found = find(contents, layout, drop or [])
    backbone = take(contents, found, borrow=True)
    noted = recorded_convention(contents) is not None
    return {
        "file": contents.name,
        "bytes": contents.size,
        "container": contents.container,
        "layout": backbone.layout,
        "origin": found.layout.origins,
        "at": "/".join(found.layout.at) or "top level",
        "prefix": backbone.prefix or "none",
        "architecture": backbone.architecture,
        "width": backbone.width,
        "tensors": len(found.tensors),
        "dropped": _groups(found.dropped),
        "others": list(found.others),
        "convention": str(backbone.convention),
        "convention_from": _convention_from(noted, found.layout),
        "sha256": backbone.sha256,
        "identity": backbone.identity,
        **_published(spec),
    }


def _published(spec: str) -> dict[str, Any]:
    """Return what the zoo knows of `zoo:NAME`. A file's name alone proves nothing: many are called checkpoint.pth."""
    if not spec.startswith("zoo:"):
        return {}
    entry = entry_named(spec.removeprefix("zoo:"))
    top1 = {} if entry.top1 is None else {"published_top1": entry.top1}
    return {"zoo": f"zoo:{entry.name} ({entry.method})", "licence": entry.licence, **top1}


def _convention_from(noted: bool, layout: "Layout") -> str:
    """Say how the input convention is known."""
    from twinbench.convert.finding.layouts import LAYOUTS

    if noted:
        return "noted in the file"
    return f"usual for {layout.label}" if layout in LAYOUTS else "assumed: the file does not say"


def _groups(names: tuple[str, ...]) -> dict[str, int]:
    """Count dropped tensors by the head they belong to: the name up to its first number or its last part."""
    counts: dict[str, int] = {}
    for name in names:
        parts = name.split(".")
        head = ".".join(parts[: 2 if parts[0] == "module" else 1])
        counts[head] = counts.get(head, 0) + 1
    return counts


def _text(value: Any) -> str:
    """Return a value as a person reads it."""
    if isinstance(value, dict):
        return ", ".join(f"{name} ({count})" for name, count in value.items()) or "nothing"
    if isinstance(value, list):
        return ", ".join(f"--layout {item}" for item in value) or "none"
    return f"{value:,}" if isinstance(value, int) else str(value)
