"""Say what a checkpoint holds, and prove its backbone complete.

Examples:
    twinbench inspect checkpoint.pth
    twinbench inspect checkpoint.pth --json
    twinbench inspect zoo:barlow-twins
"""

import argparse
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from twinbench.convert.command import add_reading_arguments
from twinbench.convert.zoo import entry_named

if TYPE_CHECKING:
    from twinbench.convert.backbone import Backbone


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `twinbench inspect` takes."""
    parser.add_argument(
        "checkpoint",
        metavar="CHECKPOINT",
        help="a file or folder in any known layout, LIBRARY:NAME=FILE, zoo:NAME or hf:ORG/MODEL",
    )
    parser.add_argument("--json", action="store_true", help="the same as one JSON object")
    add_reading_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print what the file holds; the exit code is 0 only if its backbone is proven."""
    facts = inspect(arguments.checkpoint, arguments.layout, arguments.drop, arguments.input, arguments.cast)
    if arguments.json:
        print(json.dumps(facts, indent=2))
    else:
        width = max(map(len, facts))
        print("\n".join(f"{name.replace('_', ' '):{width}}  {_text(name, value)}" for name, value in facts.items()))
    return 0


def inspect(
    spec: str, layout: str | None = None, drop: Sequence[str] = (), convention: str | None = None, cast: bool = False
) -> dict[str, Any]:
    """Return what a file, folder, `zoo:NAME` or LIBRARY:NAME=FILE holds, in plain values.

    Raises CheckpointError if its backbone is not whole.
    """
    from twinbench.convert.convention import as_convention
    from twinbench.convert.finding.find import Wanted
    from twinbench.convert.load import take
    from twinbench.convert.opening import search

    contents, found = search(spec, Wanted(layout, drop))
    backbone = take(contents, found, convention=as_convention(convention) if convention else None, cast=cast)
    return {
        "file": contents.name,
        "bytes": contents.size,
        "container": contents.container,
        "layout": backbone.layout,
        "origin": found.layout.origins,
        "at": "/".join(found.place.at) or "top level",
        "prefix": backbone.prefix or "none",
        "names": found.place.naming.name,
        "architecture": backbone.architecture,
        "width": backbone.width,
        "spec": _spec(spec, backbone),
        "offers": sorted(backbone.network.offers),
        "tensors": len(found.tensors),
        "cast": backbone.cast or "none",
        "dropped": _groups(found.dropped),
        "others": list(found.others),
        "convention": str(backbone.convention),
        "convention_from": backbone.convention_from,
        "sha256": backbone.sha256,
        "identity": backbone.identity,
        **_published(spec),
    }


def _spec(spec: str, backbone: "Backbone") -> str:
    """Return what to give as BACKBONE for this very network: the file, with the network's name in its library."""
    name = backbone.architecture
    has_name = ":" in name and " " not in name and not spec.startswith(("zoo:", "hf:", name))
    return f"{name}={spec}" if has_name else spec


def _published(spec: str) -> dict[str, Any]:
    """Return what the zoo knows of `zoo:NAME`. A file's name alone proves nothing: many are called checkpoint.pth."""
    if not spec.startswith("zoo:"):
        return {}
    entry = entry_named(spec.removeprefix("zoo:"))
    top1 = {} if entry.top1 is None else {"published_top1": entry.top1}
    return {"zoo": f"zoo:{entry.name} ({entry.method})", "licence": entry.licence, **top1}


def _groups(names: tuple[str, ...]) -> dict[str, int]:
    """Count dropped tensors by the head they belong to: the name up to its first number or its last part."""
    counts: dict[str, int] = {}
    for name in names:
        parts = name.split(".")
        head = ".".join(parts[: 2 if parts[0] == "module" else 1])
        counts[head] = counts.get(head, 0) + 1
    return counts


def _text(name: str, value: Any) -> str:
    """Return a value as a person reads it."""
    if isinstance(value, dict):
        return ", ".join(f"{name} ({count})" for name, count in value.items()) or "nothing"
    if isinstance(value, list):
        return ", ".join(f"--layout {item}" if name == "others" else item for item in value) or "none"
    return f"{value:,}" if isinstance(value, int) else str(value)
