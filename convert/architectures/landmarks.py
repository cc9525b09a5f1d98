"""A few tensors by which a network is recognised, each with its shape."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from twinbench.convert.architectures.network import Network

Shape = tuple[int, ...]
Look = Callable[[str], Shape | None]  # the shape of the tensor of that name, if the file has it


@dataclass(frozen=True)
class Known:
    """A network with its landmarks: the shapes of tensors that it has (a side of None may be any), or None for one
    that it must not have. `variant` tells which origin builds it, of several networks with the same tensors."""

    network: Network
    landmarks: Mapping[str, tuple[int | None, ...] | None]
    variant: str = ""

    def fits(self, look: Look) -> bool:
        """Say whether all landmarks are as they must be."""
        return all(_fits(look(name), shape) for name, shape in self.landmarks.items())


def _fits(found: Shape | None, wanted: tuple[int | None, ...] | None) -> bool:
    if found is None or wanted is None:
        return found is wanted
    return len(found) == len(wanted) and all(side in (None, has) for has, side in zip(found, wanted, strict=True))
