"""Finding the backbone in an open checkpoint: the rows of the table of layouts are tried, the one that fits wins."""

import fnmatch
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch

from twinbench.convert.architectures.shapes import expected_shapes
from twinbench.convert.files import CheckpointError
from twinbench.convert.finding import prove
from twinbench.convert.finding.layouts import GENERIC, LAYOUTS, Layout
from twinbench.convert.reading.contents import Contents, fields
from twinbench.convert.reading.stored import Stored
from twinbench.protocols.house import unknown


@dataclass(frozen=True)
class Found:
    """A row of the table that fits a file so far: the tensors under torchvision's names, and what is left over."""

    layout: Layout
    lead: str  # `module.`, or nothing
    tensors: dict[str, Stored]
    dropped: tuple[str, ...]  # known heads
    left_over: tuple[str, ...]  # what nobody knows
    problems: tuple[str, ...]
    others: tuple[str, ...] = ()  # the labels of further complete backbones in the file

    @property
    def prefix(self) -> str:
        """What stands before the backbone's names in the file."""
        return self.lead + self.layout.prefix


def find(contents: Contents, layout: str | None = None, drop: Sequence[str] = ()) -> Found:
    """Return what the file's layout finds in it, the first where several are branches of one layout.

    Raises CheckpointError if no row of the table fits, with the problems of the one that fits best, and if backbones of
    different layouts do.
    """
    tried: list[Found] = []
    for row in _rows(contents, layout):
        found = _try(contents, row, drop)
        if found:
            tried.append(found)
    if not tried:
        raise CheckpointError(_nothing(contents))
    whole = [found for found in tried if not found.problems]
    if not whole:
        best = min(tried, key=_faults)
        raise CheckpointError(_failure(contents, best))
    first = whole[0]
    elsewhere = [found for found in whole if not _same_place(found, first)]
    if any(found.layout.name != first.layout.name for found in elsewhere):
        places = ", ".join(f"--layout {found.layout.label}" for found in whole)
        raise CheckpointError(f"{contents.name}: holds {len(whole)} complete backbones; choose one: {places}")
    return replace(first, others=tuple(found.layout.label for found in elsewhere))


def _rows(contents: Contents, layout: str | None) -> Sequence[Layout]:
    """Return the rows to try: those asked for, or the table, or where none of it applies its generic rows."""
    if layout:
        return _chosen(layout)
    return LAYOUTS if any(_stem(contents, row) for row in LAYOUTS) else GENERIC


def _same_place(one: Found, other: Found) -> bool:
    """Return True if two rows found the same tensors."""
    return (one.layout.at, one.prefix) == (other.layout.at, other.prefix)


def _faults(found: Found) -> int:
    """Return how many faults a row has: the numbers at the start of phrases such as `3 missing: ...`, added up."""
    return sum(int(problem.split(" ", 1)[0]) for problem in found.problems)


def _chosen(layout: str) -> tuple[Layout, ...]:
    """Return the rows that --layout names: `moco`, `moco:key`, or a place of the user's own such as `model/net.`."""
    if "/" in layout:
        *keys, prefix = layout.split("/")
        at = tuple(filter(None, keys))
        return (Layout("given", "--layout", at, prefix),)
    labelled = tuple(row for row in LAYOUTS if row.label == layout)
    if labelled:
        return labelled
    named = tuple(row for row in LAYOUTS if row.name == layout)
    if not named:
        labels = {row.label for row in LAYOUTS}
        raise CheckpointError(f"{unknown('layout', layout, labels)}; or KEYS/PREFIX")
    return named


def _stem(contents: Contents, row: Layout) -> tuple[str, str] | None:
    """Return `module.` or nothing, and the name of the first convolution if it is where the row says."""
    node = contents.at(row.at)
    names = [str(name) for name in fields(node)]
    parallel = bool(names) and all(name.startswith("module.") for name in names)
    lead = "module." if parallel else ""
    stem = f"{lead}{row.prefix}{row.naming.spell('conv1.weight')}"
    if row.naming.nested:
        names = [f"{name}/{inner}" for name, value in fields(node).items() for inner in fields(value)]
    return (lead, stem) if stem in map(row.naming.tidy, names) else None


def _try(contents: Contents, row: Layout, drop: Sequence[str]) -> Found | None:
    """Return what a row finds in the file, or None if its first convolution is not where the row says."""
    place = _stem(contents, row)
    if not place:
        return None
    lead, stem = place
    stored = _tensors(contents, row, contents.at(row.at))
    if stem not in stored:
        return None
    tensors: dict[str, Stored] = {}
    spelled: set[str] = set()  # how the file would write the names of a ResNet-50
    for name in expected_shapes(1.0):
        key = f"{lead}{row.prefix}{row.naming.spell(name)}"
        spelled.add(key)
        if key in stored:
            tensors[name] = _restored(stored[key], row)
    heads: list[str] = []
    left_over: list[str] = []
    for key in stored:
        if key in spelled:
            continue
        is_known = _is_head(key, lead, row) or _matches(key.removeprefix(lead), drop)
        (heads if is_known else left_over).append(key)
    width = prove.width_of(tensors["conv1.weight"], contents.name)
    unknown_names = [key.removeprefix(lead + row.prefix) for key in left_over]
    problems = prove.differences(tensors, width, unknown_names)
    problems += prove.listed("left over that are no known head", left_over)
    return Found(row, lead, tensors, tuple(heads), tuple(left_over), tuple(problems))


def _tensors(contents: Contents, row: Layout, node: object) -> dict[str, Stored]:
    """Return the tensors that a row speaks of, by their tidied names."""
    if not row.naming.nested:
        return {row.naming.tidy(name): tensor for name, tensor in contents.tensors(node).items()}
    parts = [fields(node), fields(contents.at(row.also))]
    return {
        f"{module}/{name}": tensor
        for part in parts
        for module, inner in part.items()
        for name, tensor in contents.tensors(inner).items()
    }


def _restored(stored: Stored, row: Layout) -> Stored:
    """Return a tensor as torchvision shapes it."""
    restore = row.naming.restore
    shape = tuple(restore(torch.empty(stored.shape, device="meta")).shape)
    return replace(stored, shape=shape, fetch=lambda: restore(stored.fetch()))


def _is_head(name: str, lead: str, row: Layout) -> bool:
    """Return True for what a row knows to lie beside a backbone.

    What lies under the backbone's own prefix must be a head by its full name: `encoder.fc.*` is one, while the
    blocks of a deeper ResNet must not pass as part of `encoder.*`.
    """
    heads = (lead + head for head in row.heads)
    inside = lead + row.prefix
    if row.prefix and name.startswith(inside):
        heads = (head for head in heads if head.startswith(inside) and head != f"{inside}*")
    return _matches(name, heads)


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _failure(contents: Contents, found: Found) -> str:
    """Return why the best row does not fit."""
    spell = found.layout.naming.spell
    names = [key.removeprefix(found.prefix) for key in (*found.left_over, *map(spell, found.tensors))]
    other = prove.architecture(names)
    if other:
        return f"{contents.name}: holds {other}; twinbench measures ResNet-50 backbones"
    hint = "" if not found.left_over else "; if they are a head, name them with twinbench convert --drop"
    return (
        f"{contents.name}: no whole ResNet-50 under {'/'.join(found.layout.at) or 'the top level'} with prefix "
        f"{found.prefix!r} (layout {found.layout.label}): {'; '.join(found.problems)}{hint}"
    )


def _nothing(contents: Contents) -> str:
    """Return what the file holds instead of a ResNet-50 in a known place."""
    keys = [str(key)[:40] for key in fields(contents.tree)]
    shown = ", ".join(keys[:6]) or "none"
    more = " ..." if len(keys) > 6 else ""
    place = _elsewhere(contents)
    hint = f"; its conv1.weight is at {place}: try twinbench convert --layout {place}" if place else ""
    return f"{contents.name}: no ResNet-50 in any known layout; top-level keys: {shown}{more}{hint}"


def _elsewhere(contents: Contents) -> str | None:
    """Return KEYS/PREFIX of a first convolution under a name that no layout has."""
    places: list[tuple[str, ...]] = [()]
    for key in fields(contents.tree):
        if isinstance(key, str):
            places.append((key,))
    for at in places:
        for name in fields(contents.at(at)):
            if isinstance(name, str) and _is_stem(name):
                return "/".join((*at, name.removesuffix("conv1.weight")))[:200]
    return None


def _is_stem(name: str) -> bool:
    """Say whether a name is that of a first convolution, not of one in a block."""
    return re.search(r"(^|\.)conv1\.weight$", name) is not None and re.search(r"layer\d", name) is None
