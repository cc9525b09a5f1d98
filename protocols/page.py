"""The page docs/protocols.md: every protocol from the data, each constant with its source."""

from collections.abc import Iterable, Sequence
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
    rows = [
        (f"[{entry.name}](#{entry.name})", entry.title, entry.metric, str(entry.trials), f"`{entry.fingerprint}`")
        for entry in protocols
    ]
    parts = [HEAD, _table(("name", "task", "metric", "trials", "fingerprint"), rows), _abbreviations(FILES)]
    return "\n".join([*parts, *map(_section, protocols), *_pretraining()])


def _pretraining() -> list[str]:
    """Return the sections of the pretraining recipes."""
    lines = [(f"[{name}](#{name})", recipe.source, f"`{recipe.fingerprint}`") for name, recipe in RECIPES.items()]
    parts = ["# Pretraining recipes\n", _table(("name", "source", "fingerprint"), lines)]
    parts.append(_abbreviations(["pretraining.py"]))
    for recipe in RECIPES.values():
        parts += [f"## {recipe.name}\n", f"{recipe.source}. Version {recipe.version}, `{recipe.fingerprint}`.\n"]
        whole = recipe is BARLOW_TWINS
        parts += [] if whole else [f"Everything else as in [{BARLOW_TWINS.name}](#{BARLOW_TWINS.name}).\n"]
        parts.append(_table(("field", "value", "source"), _pretraining_fields(recipe, whole)))
    return parts


def _pretraining_fields(recipe: PretrainRecipe, whole: bool) -> list[tuple[str, str, str]]:
    """Return field, value and source of a pretraining recipe: of all fields, or of those that differ."""
    notes = pretraining_sources(recipe)
    first = dict(pretraining_values(BARLOW_TWINS))
    found: list[tuple[str, str, str]] = []
    for name, text in pretraining_values(recipe):
        if whole or text != first[name]:
            found.append((f"`{name}`", f"`{text}`" if text else "", notes.get(name, "")))
    return found


def _section(protocol: Protocol) -> str:
    """Return one protocol: its facts, its recipe with sources, its published numbers."""
    sources = sources_of(protocol)
    paper = PROTOCOLS.get(protocol.name.removeprefix("demo-"), protocol)
    kept = set(flat(paper.recipe)) if paper != protocol else set[tuple[str, str]]()
    recipe = [
        (f"`{name}`", f"`{text}`" if text else "", sources.get(name, ""))
        for name, text in flat(protocol.recipe)
        if (name, text) not in kept
    ]
    parts = [f"## {protocol.name}\n", f"{protocol.title}.\n"]
    parts += [_table(("", ""), [(name, text) for name, text in facts(protocol).items()])]
    parts += [f"Everything else as in [{paper.name}](#{paper.name}).\n"] if kept else []
    parts += [_table(("field", "value", "source"), recipe)]
    published = [entry for entry in published_for(protocol) if entry.metric == protocol.metric]
    if published:
        papers = {entry.paper: None for entry in published}
        parts.append(f"{len(published)} published numbers ({protocol.metric}), from {', '.join(papers)}.\n")
    return "\n".join(parts)


def _abbreviations(files: Sequence[str]) -> str:
    """Return how the sources are abbreviated, as the modules that cite them say."""
    texts = [import_module(f"twinbench.protocols.{name.removesuffix('.py')}").__doc__ or "" for name in files]
    wanted = [part for text in texts for part in text.split("\n\n") if part.startswith("Sources, abbreviated")]
    return "\n\n".join(part.strip() for part in wanted) + "\n"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table and an empty line."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |" for line in lines) + "\n"
