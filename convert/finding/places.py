"""Every place in an open checkpoint where a backbone may lie: under which keys, behind which prefix, in whose names.

Wrappers put words of their own into names, anywhere and in any order; they are taken off before anything is compared.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from twinbench.convert.finding.naming import Naming
from twinbench.convert.reading.contents import Contents, fields
from twinbench.convert.reading.stored import Stored

Keys = tuple[str, ...]

# DistributedDataParallel and DataParallel, torch.compile, FSDP, activation checkpointing.
WRAPPERS = ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module")
_WRAPPED = re.compile(rf"(?:(?<=\.)|^)(?:{'|'.join(WRAPPERS)})\.")
MAX_DEPTH = 8  # of dicts in dicts; VISSL's trunk lies under four keys
MAX_NODES = 2000


@dataclass(frozen=True)
class Place:
    """Where a backbone may lie. `stored` are all tensors of the node `at`, by their unwrapped names."""

    at: Keys
    prefix: str  # unwrapped
    shown: str  # as it stands in the file
    naming: Naming
    stored: Mapping[str, Stored]

    def read(self, name: str) -> Stored | None:
        """Return the tensor that we call `name`."""
        return self.naming.read(name, self.stored, self.prefix)

    def look(self, name: str) -> tuple[int, ...] | None:
        """Return the shape of the tensor that we call `name`."""
        found = self.read(name)
        return None if found is None else found.shape


def places(contents: Contents, namings: Sequence[Naming]) -> Iterator[Place]:
    """Yield every place where the first mark of a naming lies, in the order of the file."""
    for at, node in _nodes(contents.tree):
        names = contents.tensors(node)
        if names:
            unwrapped = _unwrapped(names)
            for naming in namings:
                yield from _marked(at, unwrapped, naming)


def unwrap(name: str) -> str:
    """Return a name without the words of wrappers."""
    return _WRAPPED.sub("", name)


def _unwrapped(names: Mapping[str, Stored]) -> dict[str, tuple[str, Stored]]:
    """Return tensors by their unwrapped names, each with the name that it has in the file.

    Where that would make two names one, as `module.net.weight` beside `net.weight`, all stay as they are.
    """
    found = {unwrap(name): (name, tensor) for name, tensor in names.items()}
    return found if len(found) == len(names) else {name: (name, tensor) for name, tensor in names.items()}


def _marked(at: Keys, names: Mapping[str, tuple[str, Stored]], naming: Naming) -> Iterator[Place]:
    """Yield the places of a naming among the tensors of one node."""
    tidied = {naming.tidy(name): kept for name, kept in names.items()}
    stored = {name: tensor for name, (_, tensor) in tidied.items()}
    mark = naming.spelled(naming.marks[0])[0]
    for name, (original, _) in tidied.items():
        prefix = name.removesuffix(mark)
        if prefix != name and (not prefix or prefix[-1] in "./"):
            shown = original.removesuffix(mark)
            yield Place(at, prefix, prefix if shown == original else shown, naming, stored)


def _nodes(tree: object) -> Iterator[tuple[Keys, object]]:
    """Yield every dict-like node with the keys that lead to it, the top first."""
    waiting: list[tuple[Keys, object]] = [((), tree)]
    count = 0
    while waiting and count < MAX_NODES:
        at, node = waiting.pop(0)
        yield at, node
        count += 1
        if len(at) < MAX_DEPTH:
            inner = ((key, value) for key, value in fields(node).items() if isinstance(key, str))
            waiting += [((*at, key), value) for key, value in inner if fields(value)]
