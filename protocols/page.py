"""The page docs/protocols.md: every protocol from the data, each constant with its source."""

from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module

from twinbench.protocols.catalogue import PROTOCOLS
from twinbench.protocols.facts import facts
from twinbench.protocols.pretraining import BARLOW_TWINS, RECIPES, PretrainRecipe
from twinbench.protocols.published import published_for
from twinbench.protocols.schema import Protocol, flat
from twinbench.protocols.sources import FILES, pretraining_sources, pretraining_values, sources_of

HEAD = """# The protocols

This page is written by `twinbench protocols --markdown` from the data in `protocols/`; a test keeps it up to date.

A protocol is a frozen recipe with a name, a version and a fingerprint. The fingerprint hashes every number of the
recipe as it ran: two results with the same fingerprint are comparable, two with different ones never share a column.
`--set field=value` changes a field; the change is recorded, moves the fingerprint, and is marked in the table.
"""


def render(protocols: Sequence[Protocol]) -> str:
    """Return the page of some protocols."""
    rows: list[tuple[str, ...]] = []
    for entry in protocols:
        trials = str(entry.trials)
        rows.append((_link(entry.name), entry.title, entry.metric, trials, f"`{entry.fingerprint}`"))
    parts = [HEAD, _table(("name", "task", "metric", "trials", "fingerprint"), rows)]
    parts.append(_abbreviations(FILES))
    parts += [_section(entry) for entry in protocols]
    parts += _pretraining()
    return "\n".join(parts)


def _link(name: str) -> str:
    """Return a link to the section of that name."""
    return f"[{name}](#{name})"


def _pretraining() -> list[str]:
    """Return the sections of the pretraining recipes."""
    rows: list[tuple[str, ...]] = []
    for name, recipe in RECIPES.items():
        rows.append((_link(name), recipe.source, f"`{recipe.fingerprint}`"))
    parts = ["# Pretraining recipes\n", _table(("name", "source", "fingerprint"), rows)]
    parts.append(_abbreviations(["pretraining.py"]))
    for recipe in RECIPES.values():
        parts += [f"## {recipe.name}\n", f"{recipe.source}. Version {recipe.version}, `{recipe.fingerprint}`.\n"]
        whole = recipe is BARLOW_TWINS
        if not whole:
            parts.append(_everything_else(BARLOW_TWINS.name))
        parts.append(_table(("field", "value", "source"), _pretraining_fields(recipe, whole)))
    return parts


def _pretraining_fields(recipe: PretrainRecipe, whole: bool) -> list[tuple[str, str, str]]:
    """Return field, value and source of a pretraining recipe: of all fields, or of those that differ."""
    notes = pretraining_sources(recipe)
    first = dict(pretraining_values(BARLOW_TWINS))
    found: list[tuple[str, str, str]] = []
    for name, text in pretraining_values(recipe):
        if whole or text != first[name]:
            found.append(_field(name, text, notes))
    return found


def _field(name: str, text: str, notes: Mapping[str, str]) -> tuple[str, str, str]:
    """Return the row of a recipe's field: its name, its value and its source."""
    return f"`{name}`", f"`{text}`" if text else "", notes.get(name, "")


def _everything_else(name: str) -> str:
    """Return the line above a table that holds only what differs from another recipe."""
    return f"Everything else as in {_link(name)}.\n"


def _section(protocol: Protocol) -> str:
    """Return one protocol: its facts, its recipe with sources, its published numbers."""
    sources = sources_of(protocol)
    paper = PROTOCOLS.get(protocol.name.removeprefix("demo-"), protocol)
    kept: set[tuple[str, str]] = set()  # what a demo protocol has from the paper's
    if paper != protocol:
        kept = set(flat(paper.recipe))
    fields: list[tuple[str, str, str]] = []
    for name, text in flat(protocol.recipe):
        if (name, text) not in kept:
            fields.append(_field(name, text, sources))
    parts = [f"## {protocol.name}\n", f"{protocol.title}.\n"]
    parts.append(_table(("", ""), facts(protocol).items()))
    if kept:
        parts.append(_everything_else(paper.name))
    parts.append(_table(("field", "value", "source"), fields))
    published = [entry for entry in published_for(protocol) if protocol.sets or entry.metric == protocol.metric]
    if published:
        papers = ", ".join(dict.fromkeys(entry.paper for entry in published))
        metrics = ", ".join(dict.fromkeys(entry.metric for entry in published))
        parts.append(f"{len(published)} published numbers ({metrics}), from {papers}.\n")
    return "\n".join(parts)


def _abbreviations(files: Sequence[str]) -> str:
    """Return how the sources are abbreviated, as the modules that cite them say."""
    wanted: list[str] = []
    for name in files:
        path = name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        module = import_module(f"twinbench.protocols.{path}")
        for part in (module.__doc__ or "").split("\n\n"):
            if part.startswith("Sources, abbreviated"):
                wanted.append(part.strip())
    return "\n\n".join(wanted) + "\n"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table and an empty line."""
    lines: list[str] = []
    for row in (header, ["---"] * len(header), *rows):
        cells = [cell.replace("|", "&#124;") for cell in row]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
