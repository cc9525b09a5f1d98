"""Finding the backbone in an open checkpoint: every whole one is found and named, wherever it lies; a rule chooses one.

1. Places: whatever looks like the beginning of a backbone in one of the known namings (`places`).
2. Networks: which architectures the tensors there can be of (`architectures.recognized`), or the one asked for.
3. Proof by names: every tensor of the network is there in its shape, and nothing else lies inside the trunk.
4. Choice: the layouts' table (`layouts`) knows who writes such files and which of several backbones is meant.
"""

import fnmatch
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from twinbench.convert.architectures.network import Network, is_counter
from twinbench.convert.architectures.recognized import recognized
from twinbench.convert.files import CheckpointError
from twinbench.convert.finding import prove, told
from twinbench.convert.finding.layout import Layout
from twinbench.convert.finding.layouts import HEADS, LAYOUTS, NESTED
from twinbench.convert.finding.naming import Naming
from twinbench.convert.finding.namings import NAMINGS
from twinbench.convert.finding.places import Keys, Place, places, unwrap
from twinbench.convert.reading.contents import Contents, fields
from twinbench.convert.reading.stored import Stored
from twinbench.protocols.house import unknown


@dataclass(frozen=True)
class Found:
    """A backbone as a place in the file has it: its tensors under our names, and what lies beside them."""

    layout: Layout
    place: Place
    network: Network
    tensors: dict[str, Stored]
    dropped: tuple[str, ...]  # known heads, and what lies outside the trunk's prefix
    problems: tuple[str, ...]
    is_other: bool  # something lies inside the trunk that this network does not have
    others: tuple[str, ...] = ()  # the labels of further whole backbones in the file

    @property
    def prefix(self) -> str:
        """What stands before the backbone's names in the file."""
        return self.place.shown

    @property
    def label(self) -> str:
        """What --layout takes: a layout's name, with its branch, or KEYS/PREFIX of a place that no layout has."""
        return self.layout.label or f"{'/'.join(self.place.at)}/{self.prefix}"


@dataclass(frozen=True)
class Wanted:
    """What the user says of a backbone beyond the file's name."""

    layout: str | None = None  # NAME, NAME:BRANCH or KEYS/PREFIX
    drop: Sequence[str] = ()  # patterns of tensors that may be left out
    network: Network | None = None  # timm:NAME=FILE


def find(contents: Contents, wanted: Wanted = Wanted()) -> Found:
    """Return the file's backbone, the one that its layout means where it holds several.

    Raises CheckpointError if none is whole, with the problems of the one that fits best, and if nothing says which of
    several is meant.
    """
    tried = [found for place in _places(contents, wanted.network) for found in _tried(contents, place, wanted)]
    tried = _asked(contents, tried, wanted.layout)
    if not tried:
        raise CheckpointError(_nothing(contents, wanted.network))
    whole = [found for found in tried if not found.problems]
    if not whole:
        raise CheckpointError(_failure(contents, min(tried, key=_faults)))
    return _chosen(contents, _distinct(whole))


def _places(contents: Contents, network: Network | None) -> Iterator[Place]:
    """Yield the places to look at: of every known naming, or of those that the network asked for can have."""
    yield from places(contents, namings_of(network) if network else NAMINGS)
    for row in NESTED:
        at, prefix, naming = row.at, row.prefix, row.naming
        assert at is not None and prefix is not None and naming is not None, row
        stored = _nested(contents, at, row.also)
        if prefix + naming.spelled(naming.marks[0])[0] in stored:
            yield Place(at, prefix, prefix, naming, stored)


def namings_of(network: Network) -> tuple[Naming, ...]:
    """Return the namings that a network's tensors can have in a file; its own names if no other is known."""
    shapes = network.shapes()
    known = tuple(naming for naming in NAMINGS if all(mark in shapes for mark in naming.marks))
    first = next(name for name in shapes if not is_counter(name))
    own = Naming("its library's names", (first, first))
    return known if any(naming.spell(first) == first for naming in known) else (*known, own)


def _nested(contents: Contents, *containers: Keys) -> dict[str, Stored]:
    """Return the tensors whose names lie as dicts in dicts, in one container or two."""
    return {
        f"{module}/{name}": tensor
        for container in containers
        for module, inner in fields(contents.at(container)).items()
        for name, tensor in contents.tensors(inner).items()
    }


def _tried(contents: Contents, place: Place, wanted: Wanted) -> Iterator[Found]:
    """Yield what a place holds, once for each network that its tensors can be of."""
    row = _row(contents, place)
    networks = [wanted.network] if wanted.network else _networks(contents, place, row)
    for network in networks:
        yield _proven(contents, place, row, network, wanted.drop)


def _networks(contents: Contents, place: Place, row: Layout) -> list[Network]:
    """Return the networks that the tensors of a place can be of, as far as nothing tells them apart."""
    fitting = recognized(place.look, row.variant or told.variant(contents))
    return told.by_positions(place, told.called(contents, fitting))


def _row(contents: Contents, place: Place) -> Layout:
    """Return the row of the table that a place belongs to: of several the one that knows most of what lies beside it.

    A place that no row has is a layout of its own, without a name.
    """
    rows = [row for row in LAYOUTS if row.is_at(place.at, place.prefix, place.naming)]
    if not rows:
        return Layout("", "parts of no known layout", place.at, place.prefix, naming=place.naming, convention=None)
    others = [name for name in place.stored if not place.prefix or not name.startswith(place.prefix)]
    return min(rows, key=lambda row: sum(not _matches(name, row.heads) for name in others))


def _proven(contents: Contents, place: Place, row: Layout, network: Network, drop: Sequence[str]) -> Found:
    """Hold a place against a network: every tensor of it, and nothing else inside the trunk."""
    tensors: dict[str, Stored] = {}
    used: set[str] = set()
    for name in network.shapes():
        used.update(place.prefix + part for part in place.naming.spelled(name))
        tensor = place.read(name)
        if tensor is not None:
            tensors[name] = tensor
    parts = {name.removeprefix(place.prefix).partition(".")[0] for name in used}
    dropped: list[str] = []
    left_over: list[str] = []
    is_other = False
    for name in place.stored:
        if name in used:
            continue
        inner = name.removeprefix(place.prefix)
        is_outside = not name.startswith(place.prefix)
        if is_outside or _matches(inner, place.naming.unused):
            dropped.append(name)
        elif inner.partition(".")[0] in parts:
            left_over.append(name)  # inside the trunk: another network, whatever anybody says
            is_other = True
        else:
            is_known = _matches(inner, HEADS) or _matches(name, row.heads) or _matches(name, map(unwrap, drop))
            (dropped if is_known else left_over).append(name)
    names = [name.removeprefix(place.prefix) for name in left_over]
    problems = prove.differences(tensors, network.shapes(), names)
    problems += prove.listed("left over that are no known head", left_over)
    return Found(row, place, network, tensors, tuple(dropped), tuple(problems), is_other)


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _asked(contents: Contents, tried: list[Found], layout: str | None) -> list[Found]:
    """Return what --layout leaves: everything, a layout's backbones, one branch, or one place."""
    if layout is None:
        return tried
    labelled = [found for found in tried if found.label == layout]
    named = [found for found in tried if found.layout.name == layout]
    if "/" in layout:
        *keys, prefix = layout.split("/")
        at = tuple(filter(None, keys))
        labelled = [found for found in tried if (found.place.at, found.place.prefix) == (at, unwrap(prefix))]
    elif not any(layout in (row.name, row.label) for row in LAYOUTS):
        raise CheckpointError(f"{unknown('layout', layout, {row.label for row in LAYOUTS})}; or KEYS/PREFIX")
    if not labelled and not named:
        there = ", ".join(f"--layout {found.label}" for found in _distinct(tried)) or "none"
        raise CheckpointError(f"{contents.name}: holds no backbone at --layout {layout}; those in the file: {there}")
    return labelled or named


def _distinct(found: list[Found]) -> list[Found]:
    """Return each backbone once: one that lies under two names, or is whole under two namings, is the same.

    Of two names the one that a layout knows is kept: byol-pytorch has its online network as `net`, too.
    """
    kept: dict[tuple[object, ...], Found] = {}
    for each in sorted(found, key=lambda each: not each.layout.name):
        places = tuple(tensor.place for name, tensor in each.tensors.items() if not is_counter(name))
        where = (each.place.at, each.place.prefix) if None in places else places
        kept.setdefault((each.network, where), each)
    return list(kept.values())


def _chosen(contents: Contents, whole: list[Found]) -> Found:
    """Return the backbone that is meant: the first branch of a layout, or what was trained and not its average.

    Of a file that only looks like parts of known ones nothing says which is meant.
    """
    order = list(LAYOUTS)
    whole = sorted(whole, key=lambda found: order.index(found.layout) if found.layout in order else len(order))
    trained = [found for found in whole if not found.layout.name and not _is_average(found)]
    first = whole[0] if whole[0].layout.name or not trained else trained[0]
    rivals = [found for found in whole if found is not first]
    if any(_is_rival(found, first) for found in rivals):
        raise CheckpointError(_several(contents, whole))
    return replace(first, others=tuple(found.label for found in rivals))


def _is_rival(other: Found, first: Found) -> bool:
    """Say whether nothing tells that `first` is meant and not `other`."""
    if (other.place.at, other.place.prefix) == (first.place.at, first.place.prefix):
        return True
    is_branch = bool(first.layout.name) and other.layout.name == first.layout.name
    is_known_part = other.place.at == first.place.at and _matches(other.place.prefix, first.layout.heads)
    return not (is_branch or is_known_part or _is_average(other))


def _is_average(found: Found) -> bool:
    """Say whether a place is called an average of weights in the course of training: EMA, momentum, SWA."""
    words = ("ema", "average", "averaged", "momentum", "swa", "shadow")
    place = ".".join((*found.place.at, found.place.prefix)).lower().replace("_", ".")
    return any(word in words for word in place.split("."))


def _several(contents: Contents, whole: list[Found]) -> str:
    """Return what there is to choose from: places, or networks that only the forward pass tells apart."""
    networks = {found.network.name for found in whole}
    if len(whole) > len({found.label for found in whole}):
        specs = " or ".join(shlex.quote(f"{name}={contents.name}") for name in sorted(networks))
        return (
            f"{contents.name}: its tensors are those of {len(networks)} networks that only the forward pass tells "
            f"apart; say which: {specs}"
        )
    there = ", ".join(f"--layout {found.label}" for found in whole)
    return f"{contents.name}: holds {len(whole)} complete backbones; choose one: {there}"


def _faults(found: Found) -> int:
    """Return how many faults a place has: the numbers at the start of phrases such as `3 missing: ...`, added up."""
    return sum(int(problem.split(" ", 1)[0]) for problem in found.problems)


def _failure(contents: Contents, found: Found) -> str:
    """Return why the best place holds no whole backbone."""
    where = f"under {'/'.join(found.place.at) or 'the top level'} with prefix {found.prefix!r}"
    fault = (
        f"{contents.name}: no whole {found.network.name} {where} (layout {found.label}): {'; '.join(found.problems)}"
    )
    if found.is_other:
        hint = "inside the trunk nothing is left out: it is another network; if a library has it, say LIBRARY:NAME=FILE"
    elif any("left over" in problem for problem in found.problems):
        hint = "if they are a head, name them with twinbench convert --drop"
    else:
        return fault
    return f"{fault}; {hint}"


def _nothing(contents: Contents, network: Network | None) -> str:
    """Return what the file holds instead of a backbone."""
    keys = [str(key)[:40] for key in fields(contents.tree)]
    shown = ", ".join(keys[:6]) or "none"
    more = " ..." if len(keys) > 6 else ""
    what = f"tensors of {network.name}" if network else "backbone that twinbench knows"
    hint = "" if network else "; of any other network of timm or torchvision say LIBRARY:NAME=FILE"
    return f"{contents.name}: no {what}; top-level keys: {shown}{more}{hint}"
