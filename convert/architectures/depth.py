"""Learning rates that fall with depth (ELECTRA's, BEiT's, MAE's): of each parameter by the block that it belongs to.

Blocks are a transformer's, which timm calls `blocks.N` and torchvision `encoder_layer_N`, or a ResNet's, `layerS.N` in
both libraries and ours. Modules are registered in the order in which they are called, so that what stands before the
first block is the stem: patch embedding, positions, class token.
"""

import re
from collections.abc import Sequence

_BLOCK = re.compile(r"(?:^|\.)(blocks\.\d+|encoder_layer_\d+|layer\d+\.\d+)\.")


def depths(names: Sequence[str]) -> tuple[list[int], int]:
    """Return the depth of each parameter, whose names stand in a network's own order, and the number of blocks.

    0 is the stem's, 1 the first block's, and what stands behind B blocks (a final norm, a head) has B + 1. Without
    blocks all are the stem's.
    """
    found: list[int] = []
    seen: list[str] = []
    for name in names:
        block = _BLOCK.search(name)
        if block and block[1] not in seen:
            seen.append(block[1])
        found.append(seen.index(block[1]) + 1 if block else len(seen) + bool(seen))
    return found, len(seen)


def layer_rates(names: Sequence[str], decay: float) -> list[float]:
    """Return what the rate of each parameter is multiplied by: 1 behind the last block, `decay` in it, its square in
    the one before, and so on down to the stem."""
    found, blocks = depths(names)
    return [decay ** (blocks + 1 - depth) for depth in found]
