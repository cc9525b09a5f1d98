"""Features by name: which numbers of a backbone a recipe takes.

| name | what it is | of |
|---|---|---|
| `gap` | what the network itself gives for an image: a ResNet's global average, most transformers' class token | all |
| `class` | the class token after the last block, normalised | transformers |
| `class-4` | those of the last 4 blocks (or any number), the last block's last | transformers |
| `patches` | the mean of the last block's patches, or of the last stage's map | both |
| `class+patches`, `class-4+patches` | the one before the other | transformers |
| `prenorm-patches` | the same before the final norm: MAE's, for a head with a norm of its own | transformers |
| `res2` to `res5` | the mean of a stage's map | networks with stages |
| `res5-avg6` | 6 x 6 averages of res5's map, stride 1: VISSL's | networks with stages |
"""

import re
from dataclasses import dataclass
from functools import cache
from typing import Literal

from twinbench.protocols.ranges import Range

# What of a backbone a recipe takes: a form of features, of which `patches` are a transformer's or a map's, or a use.
Takes = Literal["pooled", "maps", "tokens", "patches", "training", "detector", "plain"]

GAP, RES5_AVG6, PRENORM = "gap", "res5-avg6", "prenorm-patches"
_TOKENS = re.compile(r"class(?:-([1-9]\d?))?(\+patches)?")
_STAGES = {f"res{stage}": stage for stage in range(2, 6)}
_WORDS = "gap, class, class-4, patches, class+patches, class-4+patches, prenorm-patches, res2 to res5, or res5-avg6"


@dataclass(frozen=True)
class Form:
    """What a name says: the class tokens of some last blocks, the mean of the patches behind them, a stage's map."""

    takes: Takes  # of a backbone
    blocks: int = 0  # whose class tokens are taken
    patches: bool = False  # the mean of the last block's, or of the last map
    stage: int = 0  # whose map is averaged: 2 to 5
    norm: bool = True  # a transformer's final one, before the mean


@cache
def form(name: str) -> Form | None:
    """Return what a name of features says; None for any other word."""
    if name == GAP:
        return Form("pooled")
    if name == RES5_AVG6:
        return Form("maps")
    if name == PRENORM:
        return Form("tokens", patches=True, norm=False)
    if name == "patches":
        return Form("patches", patches=True)
    if name in _STAGES:
        return Form("maps", stage=_STAGES[name])
    told = _TOKENS.fullmatch(name)
    return Form("tokens", int(told[1] or 1), bool(told[2])) if told else None


FEATURE = Range(lambda name: form(name) is not None, _WORDS)


def takes(name: str) -> Takes:
    """Return what of a backbone features of this name take; of a word that is no name, what most take."""
    found = form(name)
    return found.takes if found else "pooled"


def rows(name: str) -> int:
    """Return how many rows of a network's width lie side by side in features of this name; res5-avg6 is its own."""
    found = form(name)
    return max(1, found.blocks + found.patches) if found else 1
