"""The benchmarks: what each measures, by which recipe, and the fingerprint of that recipe.

twinbench protocols                    one line each
twinbench protocols voc07-svm          everything about one
twinbench protocols voc07-svm --json   the same for a program
"""

import argparse
import dataclasses
import json
import shutil
import textwrap
from typing import Any

from protocols.catalogue import PROTOCOLS, find_protocol
from protocols.schema import Protocol


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `twinbench protocols` takes."""
    parser.add_argument("name", metavar="NAME", nargs="?", help="show everything about this one")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Print the list, or one protocol."""
    if arguments.name:
        protocol = find_protocol(arguments.name)
        print(json.dumps(as_json(protocol), indent=1) if arguments.json else _page(protocol))
    elif arguments.json:
        print(json.dumps([as_json(protocol) for protocol in PROTOCOLS.values()], indent=1))
    else:
        print(_list())
    return 0


def as_json(protocol: Protocol) -> dict[str, Any]:
    """Return a protocol as JSON values, the fingerprint and the kind of recipe included."""
    return {
        **dataclasses.asdict(protocol),
        "fingerprint": protocol.fingerprint,
        "recipe_type": type(protocol.recipe).__name__,
    }


def _list() -> str:
    """Return a line a protocol."""
    rows = [("name", "data", "metric", "trials", "fingerprint")]
    rows += [
        (entry.name, entry.data, entry.metric, str(entry.trials), entry.fingerprint) for entry in PROTOCOLS.values()
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _page(protocol: Protocol) -> str:
    """Return everything about a protocol, for people."""
    train, test = protocol.images
    facts: dict[str, object] = {
        "version": protocol.version,
        "fingerprint": protocol.fingerprint,
        "data": f"{protocol.data}, {protocol.classes} classes, {train} training and {test} test images",
        "metric": ", ".join([f"{protocol.metric} (headline)", *protocol.also]),
        "selected on": protocol.selected_on,
        "trials": protocol.trials,
        "width": protocol.width,
        "source": protocol.source,
    }
    recipe = dict(_flat(dataclasses.asdict(protocol.recipe)))
    name = max(map(len, [*facts, *recipe])) + 2
    room = max(shutil.get_terminal_size((100, 24)).columns - name - 2, 40)

    def lines(entries: dict[str, object]) -> list[str]:
        shown = {key: textwrap.wrap(str(value), room) or [""] for key, value in entries.items()}
        return [
            f"  {key if first == 0 else '':{name}}{line}"
            for key, wrapped in shown.items()
            for first, line in enumerate(wrapped)
        ]

    return "\n".join([f"{protocol.name}: {protocol.task}", *lines(facts), "recipe", *lines(recipe)])


def _flat(fields: dict[str, Any], prefix: str = "") -> list[tuple[str, object]]:
    """Return the fields of nested dataclasses as `outer.inner`, values as --set takes them."""
    found: list[tuple[str, object]] = []
    for key, value in fields.items():
        if isinstance(value, dict):
            found += _flat(value, f"{prefix}{key}.")  # type: ignore[arg-type]
        else:
            found.append((prefix + key, ",".join(map(str, value)) if isinstance(value, tuple) else value))  # type: ignore[arg-type]
    return found
