"""The public checkpoints: address, network, layout, licence, documented hash, published number.

Examples:
    twinbench zoo
    twinbench zoo moco
    twinbench zoo vit_base
    twinbench zoo moco-v2-800ep --fetch
    twinbench zoo hf:facebook/dinov2-small --fetch
    twinbench convert zoo:moco-v2-800ep moco.pth
"""

import argparse
import json
import sys
from dataclasses import asdict
from typing import Any

from twinbench.convert.zoo import Entry, ZooError, entry_named, zoo
from twinbench.protocols.house import aligned


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `twinbench zoo` takes."""
    parser.add_argument(
        "name",
        nargs="?",
        metavar="NAME",
        help="one checkpoint; a part of names, methods, networks; or hf:ORG/MODEL[@REVISION] of the Hugging Face hub",
    )
    parser.add_argument("--fetch", action="store_true", help="fetch it now, for machines without a network later")
    parser.add_argument("--json", action="store_true", help="the same as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Print the zoo, or one checkpoint of it, or fetch that one and print its path."""
    from twinbench.convert.download import fetch

    if (arguments.name or "").startswith("hf:"):
        return _run_hub(arguments)
    if arguments.fetch:
        if not arguments.name:
            raise ZooError("--fetch needs the NAME of one checkpoint; see twinbench zoo")
        path = fetch(entry_named(arguments.name))
        print(json.dumps({"path": str(path)}) if arguments.json else path)
        return 0
    entries = _chosen(arguments.name)
    if arguments.json:
        print(json.dumps([_facts(entry) for entry in entries], indent=2))
    elif arguments.name in zoo():
        print(
            "\n".join(
                f"{name:10} {value}" for name, value in _facts(entries[0]).items() if value not in ("", None, False)
            )
        )
    else:
        print(_table(entries))
    return 0


def _run_hub(arguments: argparse.Namespace) -> int:
    """Print where a model of the hub is cached, after fetching it if that was asked for; its licence on stderr."""
    from twinbench.convert.reading.hub import cached_folder, fetch_folder, licence

    path = fetch_folder(arguments.name) if arguments.fetch else cached_folder(arguments.name)
    found = licence(path)
    if arguments.json:
        print(json.dumps({"path": str(path), "licence": found}))
    else:
        print(f"{arguments.name}: licence {found or 'not named in its card'}", file=sys.stderr)
        print(path)
    return 0


def _chosen(name: str | None) -> list[Entry]:
    """Return all entries, the one called `name`, or those with `name` in their name, method or network."""
    if name in zoo():
        return [zoo()[name]]
    part = (name or "").lower()
    found = [entry for entry in zoo().values() if part in f"{entry.name} {entry.method} {entry.network}".lower()]
    return found or [entry_named(name or "")]


def _facts(entry: Entry) -> dict[str, Any]:
    """Return an entry with whether it lies on this machine."""
    from twinbench.convert.download import cached_path, is_cached

    return {**asdict(entry), "cached": str(cached_path(entry)) if is_cached(entry) else None}


def _table(entries: list[Entry]) -> str:
    """Return the entries as a table, one line each."""
    from twinbench.convert.download import is_cached

    rows = [("name", "method", "network", "epochs", "top-1", "layout", "licence", "hash", "here")]
    for entry in entries:
        top1 = "" if entry.top1 is None else f"{entry.top1:g}"
        epochs = str(entry.epochs or "")
        here = "by hand" if entry.by_hand else ""
        if is_cached(entry):
            here = "cached"
        start = entry.hash[:15]  # sha256: and eight digits
        rows.append((entry.name, entry.method, entry.network, epochs, top1, entry.layout, entry.licence, start, here))
    return "\n".join([*aligned(rows), "", "top-1: ImageNet linear evaluation as published with the file, percent"])
