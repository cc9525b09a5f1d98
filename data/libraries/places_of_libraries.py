"""Where other libraries keep their copies, and how splits of theirs are put together."""

import os
from collections.abc import Mapping
from pathlib import Path

from twinbench.data.errors import DataError
from twinbench.data.source import SPLITS, Source
from twinbench.runtime.cache import cache_folder


def torchvision_root(place: str) -> Path:
    """Return torchvision's root of `NAME=ROOT`; of `NAME` $TWINBENCH_DATA, or torchvision/ in the cache folder."""
    root = place.partition("=")[2] or os.environ.get("TWINBENCH_DATA", "")
    if root:
        return Path(root).expanduser()
    try:
        return cache_folder() / "torchvision"
    except RuntimeError:
        raise DataError(f"torchvision:{place}: you have no home folder; expected =ROOT behind the name") from None


def torchvision_place(base: Path, place: str) -> str:
    """Return `NAME=ROOT` with a root that does not depend on where a run starts, nor on its environment."""
    return f"{place.partition('=')[0]}={os.path.abspath(base / torchvision_root(place))}"


def hugging_face_place(base: Path, place: str) -> str:
    """Return the folder `place`, seen from `base`, where there is one: it comes before a name, as for `datasets`."""
    folder = base / Path(place).expanduser()
    return os.path.abspath(folder) if folder.is_dir() or place[0] in "/~." else place


def parts(
    source: Source, split: str, defaults: Mapping[str, str], meant: Mapping[str, str] | None = None
) -> tuple[str, ...]:
    """Return the names that `split` is put together from, `train+val`; DataError for images in training and test.

    `meant` holds names that stand for others.
    """
    named: dict[str, list[str]] = {}
    for each in SPLITS:
        given = source.named(each) or defaults[each]
        named[each] = (meant or {}).get(given, given).split("+")
    found = [name.strip() for name in named[split]]
    if "" in found or len(set(found)) < len(found):
        raise DataError(
            f"{source}: the {split} split is '{'+'.join(found)}'; expected different names with a + between"
        )
    both = set(named["train"]) & set(named["test"])
    if both:
        raise DataError(
            f"{source}: '{min(both)}' is in training and test; expected different images; leave it out of one"
        )
    return tuple(found)
