"""Namings as tables: from our names of tensors to a library's, and what is to be done where it keeps them otherwise.

In a table N stands for a number, of a stage or a block, and * for the last part, weight or bias. Several names mean
several tensors that are parts of ours.
"""

import re
from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from twinbench.convert.finding.naming import Spelled, only

Join = Callable[[Sequence[Tensor]], Tensor]
_BLOCK = re.compile(r"blocks\.\d+\.")


def speller(table: Mapping[str, Spelled]) -> Callable[[str], Spelled]:
    """Return the function from our names to a library's that a table describes."""
    rules = [(_pattern(ours), theirs) for ours, theirs in table.items()]

    def spell(name: str) -> Spelled:
        for pattern, theirs in rules:
            if match := pattern.fullmatch(name):
                return _filled(theirs, match) if isinstance(theirs, str) else tuple(_filled(t, match) for t in theirs)
        raise LookupError(name)

    return spell


def joiner(joins: Mapping[str, Join]) -> Callable[[str, Sequence[Tensor]], Tensor]:
    """Return the function that makes our tensors of a library's: those named (in blocks: behind the number) as said."""

    def join(name: str, parts: Sequence[Tensor]) -> Tensor:
        known = joins.get(_BLOCK.sub("", name, count=1))
        return known(parts) if known else only(name, parts)

    return join


def renamer(*rules: tuple[str, str]) -> Callable[[str], str]:
    """Return the function that applies regular expressions to a name in a file, one after the other."""
    compiled = [(re.compile(pattern), new) for pattern, new in rules]

    def tidy(name: str) -> str:
        for pattern, new in compiled:
            name = pattern.sub(new, name)
        return name

    return tidy


def _pattern(ours: str) -> re.Pattern[str]:
    return re.compile(re.escape(ours).replace("N", r"(\d+)").replace(r"\*", r"(?P<slot>\w+)"))


def _filled(theirs: str, match: re.Match[str]) -> str:
    """Return a name with the numbers of ours, in their order, and its last part."""
    slot = match.groupdict().get("slot")
    numbers = match.groups() if slot is None else match.groups()[:-1]
    for number in numbers:
        theirs = theirs.replace("N", number, 1)
    return theirs if slot is None else theirs.replace("*", slot)
