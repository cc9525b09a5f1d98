"""How a library names and shapes the tensors of a network: from our name of one to its name, or names, in a file."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from twinbench.convert.reading.stored import Stored

Spelled = str | tuple[str, ...]


def only(name: str, parts: Sequence[Tensor]) -> Tensor:
    """Return the one tensor that another is made of, or several one below the other: queries, keys and values."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


@dataclass(frozen=True)
class Naming:
    """One library's names for the networks of one family.

    `marks` are two of our names: if the first is in a file, what stands before it is the backbone's prefix; a network
    of the family has both. `spell` gives a library's name for ours, or the names of several tensors that `join` makes
    ours of; it raises LookupError for a name that the library has no word for. `tidy` makes the names in a file what
    `spell` gives. `nested`: the names lie as dicts in dicts, and are joined by a slash.
    """

    name: str
    marks: tuple[str, str]
    spell: Callable[[str], Spelled] = lambda name: name
    join: Callable[[str, Sequence[Tensor]], Tensor] = only
    tidy: Callable[[str], str] = lambda name: name
    unused: tuple[str, ...] = ()  # patterns of tensors inside the trunk that no feature depends on
    nested: bool = False

    def spelled(self, name: str) -> tuple[str, ...]:
        """Return the names in a file of what makes our tensor `name`; none if the library has no word for it."""
        try:
            found = self.spell(name)
        except LookupError:  # another network's
            return ()
        return (found,) if isinstance(found, str) else found

    def read(self, name: str, stored: Mapping[str, Stored], prefix: str = "") -> Stored | None:
        """Return our tensor `name`, still in the file; None if a part of it is missing."""
        parts = [stored.get(prefix + part) for part in self.spelled(name)]
        found = [part for part in parts if part is not None]
        if not parts or len(found) < len(parts):
            return None
        if len(found) == 1 and self.join is only:
            return found[0]
        empty = [torch.empty(part.shape, device="meta") for part in found]
        try:
            shape = tuple(self.join(name, empty).shape)
        except (RuntimeError, IndexError):  # parts that do not fit each other
            return None
        return replace(found[0], shape=shape, fetch=lambda: self.join(name, [part.fetch() for part in found]))
