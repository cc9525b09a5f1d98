"""The benchmarks: what each measures, by which recipe and from which source, and the fingerprint of that recipe.

Examples:
twinbench protocols                    one line each
twinbench protocols voc07-svm          everything about one
twinbench protocols barlow-twins       a pretraining recipe
twinbench protocols voc07-svm --json   the same for a program
twinbench protocols --markdown         the page docs/protocols.md
"""

import argparse
import dataclasses
import json
import shutil
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from twinbench.protocols import page
from twinbench.protocols.catalogue import PROTOCOLS, find_entry, load_own
from twinbench.protocols.facts import facts
from twinbench.protocols.house import aligned
from twinbench.protocols.pretraining import RECIPES, PretrainRecipe
from twinbench.protocols.schema import Protocol, flat
from twinbench.protocols.sources import pretraining_sources, pretraining_values


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `twinbench protocols` takes."""
    parser.add_argument("name", metavar="NAME", nargs="?", help="show everything about this one")
    parser.add_argument(
        "--protocols", action="append", default=[], metavar="FILE", help="own protocols, as YAML or Python"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument("--markdown", action="store_true", help="print the page of the documentation")


def run(arguments: argparse.Namespace) -> int:
    """Print the list, one protocol, or the page of all."""
    load_own(arguments.protocols)
    if arguments.name in RECIPES:
        print(_pretraining(RECIPES[arguments.name], as_json=arguments.json))
        return 0
    chosen = [find_entry(arguments.name)] if arguments.name else list(PROTOCOLS.values())
    if arguments.markdown:
        print(page.render(chosen), end="")
    elif arguments.json:
        found = [as_json(protocol) for protocol in chosen]
        print(json.dumps(found[0] if arguments.name else found, indent=1))
    else:
        print(_all_about(chosen[0]) if arguments.name else _list())
    return 0


def as_json(protocol: Protocol) -> dict[str, Any]:
    """Return a protocol as JSON values: fingerprint, kind of recipe, sources and published numbers included."""
    from twinbench.protocols.published import published_for
    from twinbench.protocols.sources import sources_of

    return {
        **dataclasses.asdict(protocol),
        "fingerprint": protocol.fingerprint,
        "kind": protocol.recipe.kind,
        "sources": sources_of(protocol),
        "published": [dataclasses.asdict(entry) for entry in published_for(protocol)],
    }


def _list() -> str:
    """Return a line a protocol."""
    rows = [("name", "data", "metric", "trials", "fingerprint")]
    for entry in PROTOCOLS.values():
        rows.append((entry.name, entry.data_set.name, entry.metric, str(entry.trials), entry.fingerprint))
    return "\n".join(aligned(rows))


def _all_about(protocol: Protocol) -> str:
    """Return everything about a protocol, for people."""
    from twinbench.protocols.published import published_for
    from twinbench.protocols.sources import sources_of

    recipe = _sourced(flat(protocol.recipe), sources_of(protocol))
    parts = [f"{protocol.name}: {protocol.title}", *_lines(facts(protocol))]
    parts += ["recipe [source]", *_lines(recipe)]
    numbers = [entry for entry in published_for(protocol) if entry.metric == protocol.metric]
    if numbers:
        paper = numbers[0].paper
        parts.append(f"published {protocol.metric} in {paper}; {len(numbers)} numbers in all, see --json")
        shown: dict[str, str] = {}
        for entry in numbers:
            if entry.paper == paper:
                shown[entry.method] = f"{entry.value:g}  {entry.where}"
        parts += _lines(shown)
    return "\n".join(parts)


def _pretraining(recipe: PretrainRecipe, *, as_json: bool) -> str:
    """Return everything about a pretraining recipe."""
    notes = pretraining_sources(recipe)
    if as_json:
        whole = dataclasses.asdict(recipe)
        whole |= {"fingerprint": recipe.fingerprint, "kind": "pretraining"}
        whole["sources"] = {name: note for name, note in notes.items() if note}
        return json.dumps(whole, indent=1)
    known = {"version": str(recipe.version), "fingerprint": recipe.fingerprint, "source": recipe.source}
    parts = [f"{recipe.name}: pretraining", *_lines(known)]
    parts += ["recipe [source]", *_lines(_sourced(pretraining_values(recipe), notes))]
    return "\n".join(parts)


def _sourced(values: Iterable[tuple[str, str]], notes: Mapping[str, str]) -> dict[str, str]:
    """Return name -> value of some settings, behind each value its source where there is one."""
    sourced: dict[str, str] = {}
    for name, text in values:
        note = notes.get(name)
        sourced[name] = f"{text}   [{note}]" if note else text
    return sourced


def _lines(entries: Mapping[str, str]) -> list[str]:
    """Return `name  text` lines, the texts wrapped to the terminal and aligned."""
    width = max(map(len, entries)) + 2
    room = max(shutil.get_terminal_size((100, 24)).columns - width - 2, 40)
    lines: list[str] = []
    for name, text in entries.items():
        first, *others = textwrap.wrap(text, room) or [""]
        lines.append(f"  {name:{width}}{first}")
        for line in others:
            lines.append(f"  {'':{width}}{line}")
    return lines
