"""Which images `twinbench predict` reads, where their pictures go, and that nothing of anybody else is written over."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, cast

from twinbench.data.decode import SUFFIXES
from twinbench.data.folders.leavings import is_leaving
from twinbench.data.folders.walk import Walk
from twinbench.protocols.house import UserError

IMAGES, RESULTS = "images.json", "predictions.json"
MAKER = "twinbench predict"  # what marks IMAGES as ours
JPEG = (".jpg", ".jpeg")


class PredictError(UserError):
    """Images that cannot be drawn, or a place where their pictures cannot go."""


@dataclass(frozen=True)
class Planned:
    """One image: its file, what it is called, and the picture's place in OUT."""

    file: Path
    name: str  # the path below the folder that was given
    picture: str


def planned(given: Sequence[Path], out: Path) -> list[Planned]:
    """Return the images in `given`, files and folders of them, in order, each once. Raises PredictError."""
    named: dict[Path, str] = {}
    for place in given:
        for file, name in _images(place, out):
            named.setdefault(file.resolve(), name)
    plan: list[Planned] = []
    taken: set[str] = set()
    for file, name in named.items():
        picture = _picture(name, taken)
        taken.add(picture.casefold())
        plan.append(Planned(file, name, picture))
    _require_own(out, plan)
    return plan


def _images(place: Path, out: Path) -> list[tuple[Path, str]]:
    """Return the file and the name of each image at one place."""
    if not place.exists():
        raise PredictError(f"{place}: no such image or folder; expected images to look at")
    if not place.is_dir():
        return [(place, place.name)]
    if out.resolve().is_relative_to(place.resolve()):
        raise PredictError(f"{out}: lies in {place}, whose images are read; expected another place; choose another OUT")
    names = list(Walk(place).images(place))
    if not names:
        raise PredictError(f"{place}: no image in it or below; expected files called {', '.join(SUFFIXES)}")
    return [(place / name, name) for name in names]


def _picture(name: str, taken: set[str]) -> str:
    """Return where the picture of an image goes: a JPEG stays one, all others become PNG; equal names get a number."""
    path = PurePosixPath(name)
    suffix = path.suffix if path.suffix.lower() in JPEG else ".png"
    picture, number = path.with_suffix(suffix), 1
    while str(picture).casefold() in taken:
        number += 1
        picture = path.with_name(f"{path.stem}-{number}{suffix}")
    return str(picture)


def _require_own(out: Path, plan: Sequence[Planned]) -> None:
    """Raise PredictError unless `out` is new or empty, or all that would be written over is of an earlier predict."""
    if out.exists() and not out.is_dir():
        raise PredictError(f"{out}: a file; expected a folder for the pictures; choose another OUT")
    present = [path.name for path in out.iterdir() if not is_leaving(path.name)] if out.is_dir() else []
    if not present:
        return
    earlier = _earlier(out / IMAGES)
    if earlier is None:
        raise PredictError(
            f"{out}: holds {sorted(present)[0]}, which no `{MAKER}` wrote; expected a new or empty folder as the last"
            " word; choose another OUT"
        )
    foreign = [one.picture for one in plan if one.picture not in earlier and (out / one.picture).exists()]
    if foreign:
        raise PredictError(f"{out / foreign[0]}: is there, and no `{MAKER}` wrote it; choose another OUT or move it")


def _earlier(path: Path) -> set[str] | None:
    """Return the pictures that an earlier run says are its own; None where none has been."""
    try:
        found: Any = json.loads(path.read_text())
        if found["info"]["made_by"] == MAKER:
            return {cast("str", image["picture"]) for image in found["images"]}
    except (OSError, ValueError, LookupError, TypeError):
        pass
    return None
