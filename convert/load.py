"""One driver for every layout: find the backbone in a checkpoint, prove it, or say in one line why not."""

import fnmatch
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from convert import prove
from convert.contents import Contents, fields
from convert.convention import IMAGENET, InputConvention
from convert.files import CheckpointError
from convert.layouts import GENERIC, LAYOUTS, Layout
from convert.reader import open_checkpoint
from convert.resnet import ResNet50
from convert.stored import Stored
from convert.zoo import entry_named
from protocols.house import unknown

RANDOM_SEED = 0


@dataclass(frozen=True)
class Backbone:
    """A proven ResNet-50 backbone.

    `state_dict` has the 318 torchvision names in torchvision's order, as CPU tensors (float32; counters int64);
    `sha256` is their identity (`prove.identity`), the same for the same weights in any file. `width` multiplies
    ResNet-50's channels. `layout`, `prefix` and `source` say where it was found.
    """

    state_dict: dict[str, Tensor]
    layout: str
    prefix: str
    sha256: str
    width: float = 1.0
    convention: InputConvention = IMAGENET
    source: str = ""


@dataclass(frozen=True)
class Found:
    """A row of the table that fits a file so far: the tensors under torchvision's names, and what is left over."""

    layout: Layout
    lead: str  # `module.`, or nothing
    tensors: dict[str, Stored]
    dropped: tuple[str, ...]  # known heads
    left_over: tuple[str, ...]  # what nobody knows
    problems: tuple[str, ...]

    @property
    def prefix(self) -> str:
        """What stands before the backbone's names in the file."""
        return self.lead + self.layout.prefix


def load_backbone(path: Path | str, layout: str | None = None, drop: Sequence[str] = ()) -> Backbone:
    """Read the checkpoint `path`, of any known layout and container, and prove its backbone.

    `layout` chooses one backbone of several (`dino-full:student`), or describes an unknown layout as KEYS/PREFIX
    (`state_dict/net.trunk.`); `drop` adds shell patterns of tensors that may be left over. Raises CheckpointError.
    """
    contents = open_checkpoint(path)
    return take(contents, find(contents, layout, drop))


def take(contents: Contents, found: Found) -> Backbone:
    """Fetch the values of the backbone that was found, check them, and return it."""
    width = prove.width_of(found.tensors["conv1.weight"], contents.name)
    if found.problems:
        raise CheckpointError(_failure(contents, found))
    shapes = prove.expected_shapes(width)
    needed = sum(found.tensors[name].nbytes for name in shapes if name in found.tensors)
    if needed > contents.size:
        raise CheckpointError(f"{contents.name}: declares {needed:,} bytes of backbone in a file of {contents.size:,}")
    state_dict = {
        name: found.tensors[name].fetch() if name in found.tensors else torch.zeros(shape, dtype=torch.int64)
        for name, shape in shapes.items()
    }
    prove.check_values(state_dict, contents.name)
    prove.check_trained(state_dict, contents.name, folded=found.layout.folded)
    return Backbone(
        state_dict,
        found.layout.label,
        found.prefix,
        prove.identity(state_dict),
        width,
        recorded_convention(contents) or found.layout.convention,
        contents.name,
    )


def open_backbone(spec: str, random_width: float = 1.0) -> Backbone:
    """Return the backbone that a command line names: a path, `zoo:NAME`, or `random`, a fresh one of `random_width`."""
    if spec == "random":
        return random_backbone(random_width)
    return replace(load_backbone(local_file(spec)), source=spec)


def local_file(spec: str) -> Path:
    """Return the file that a path or `zoo:NAME` means; the latter is fetched the first time."""
    if not spec.startswith("zoo:"):
        return Path(spec)
    from convert.download import fetch

    return fetch(entry_named(spec.removeprefix("zoo:")))


def random_backbone(width: float = 1.0) -> Backbone:
    """Return a ResNet-50 as torchvision initialises it, always from seed 0; the global random state is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(RANDOM_SEED)
        state_dict = dict(ResNet50(width).state_dict())
    return Backbone(state_dict, "random", "", prove.identity(state_dict), width, source="random")


def build_model(backbone: Backbone) -> ResNet50:
    """Return a model in eval mode with a copy of the backbone's tensors; the global random state is left alone."""
    with torch.device("meta"):
        model = ResNet50(backbone.width)
    model = model.to_empty(device="cpu")
    model.load_state_dict(backbone.state_dict)
    return model.eval()


def find(contents: Contents, layout: str | None = None, drop: Sequence[str] = ()) -> Found:
    """Find the row of the table that the file fits, the first where several are branches of one layout."""
    rows = _chosen(layout) if layout else LAYOUTS
    tried = [found for row in rows if (found := _try(contents, row, drop))]
    if not tried and not layout:
        tried = [found for row in GENERIC if (found := _try(contents, row, drop))]
    whole = [found for found in tried if not found.problems]
    if any(found.layout.name != whole[0].layout.name and not _same_place(found, whole[0]) for found in whole):
        places = ", ".join(f"--layout {found.layout.label}" for found in whole)
        raise CheckpointError(f"{contents.name}: holds {len(whole)} complete backbones; choose one: {places}")
    if whole:
        return whole[0]
    if tried:
        return min(tried, key=lambda found: sum(map(_faults, found.problems)))
    raise CheckpointError(_nothing(contents))


def _same_place(one: Found, other: Found) -> bool:
    """Return True if two rows found the same tensors."""
    return (one.layout.at, one.prefix) == (other.layout.at, other.prefix)


def _faults(problem: str) -> int:
    """Return the number at the start of a phrase such as `3 missing: ...`."""
    return int(problem.split(" ", 1)[0])


def _chosen(layout: str) -> tuple[Layout, ...]:
    """Return the rows that --layout names: `moco`, `moco:key`, or a place of the user's own such as `model/net.`."""
    if "/" in layout:
        *at, prefix = layout.split("/")
        return (Layout("given", "--layout", tuple(key for key in at if key), prefix),)
    rows = tuple(row for row in LAYOUTS if layout in (row.name, row.label))
    if not rows:
        raise CheckpointError(f"{unknown('layout', layout, {row.label for row in LAYOUTS})}; or KEYS/PREFIX")
    return tuple(row for row in rows if row.label == layout) or rows


def _try(contents: Contents, row: Layout, drop: Sequence[str]) -> Found | None:
    """Return what a row finds in the file, or None if its first convolution is not where the row says."""
    node = contents.at(row.at)
    lead = "module." if (names := list(fields(node))) and all(str(name).startswith("module.") for name in names) else ""
    stem = f"{lead}{row.prefix}{row.naming.spell('conv1.weight')}"
    if not row.naming.nested and stem not in {row.naming.tidy(str(name)) for name in names}:
        return None
    stored = _tensors(contents, row, node)
    if stem not in stored:
        return None
    spelled = {f"{lead}{row.prefix}{row.naming.spell(name)}": name for name in prove.expected_shapes(1.0)}
    tensors = {name: _restored(stored[key], row) for key, name in spelled.items() if key in stored}
    others = [key for key in stored if key not in spelled]
    heads = [lead + head for head in row.heads] + list(drop)
    left_over = tuple(key for key in others if not _matches(key, heads))
    width = prove.width_of(tensors["conv1.weight"], contents.name)
    unknown_names = [key.removeprefix(lead + row.prefix) for key in left_over]
    problems = [
        *prove.differences(tensors, width, unknown_names),
        *prove.listed("left over that are no known head", list(left_over)),
    ]
    dropped = tuple(key for key in others if _matches(key, heads))
    return Found(row, lead, tensors, dropped, left_over, tuple(problems))


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


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def recorded_convention(contents: Contents) -> InputConvention | None:
    """Return the input convention that twinbench wrote into the file, or None. A broken note is an error."""
    note = contents.note()
    if note is None:
        return None
    try:
        return InputConvention.from_dict(json.loads(note)["convention"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise CheckpointError(
            f"{contents.name}: its twinbench metadata is damaged; convert the original again"
        ) from None


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
    place = _elsewhere(contents)
    hint = f"; its conv1.weight is at {place}: try twinbench convert --layout {place}" if place else ""
    return (
        f"{contents.name}: no ResNet-50 in any known layout; top-level keys: {', '.join(keys[:6]) or 'none'}"
        f"{' ...' if len(keys) > 6 else ''}{hint}"
    )


def _elsewhere(contents: Contents) -> str | None:
    """Return KEYS/PREFIX of a first convolution under a name that no layout has."""
    for at in ((), *((key,) for key in fields(contents.tree) if isinstance(key, str))):
        for name in fields(contents.at(at)):
            if isinstance(name, str) and re.search(r"(^|\.)conv1\.weight$", name) and not re.search(r"layer\d", name):
                return "/".join((*at, name.removesuffix("conv1.weight")))[:200]
    return None
