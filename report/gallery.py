"""Pictures of results as a page carries them: small, inside the page, and never read from elsewhere."""

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

SIDE = 640  # width, pixels; a sheet of images in rows may be twice as high
BUDGET = 1_200_000  # bytes of all pictures together, as they stand in the page


@dataclass(frozen=True)
class Picture:
    """A picture as the page carries it."""

    caption: str
    source: str = ""  # a data URI; empty where there is nothing to show, the caption then says why
    width: int = 0
    height: int = 0


def gallery(wanted: list[tuple[str, Path, str]]) -> Iterator[Picture]:
    """Yield pictures of (caption, folder, file name) until the budget is used up, and then say how many are left."""
    used = 0
    for index, (caption, folder, name) in enumerate(wanted):
        picture = _picture(caption, folder, name)
        used += len(picture.source)
        if used > BUDGET:
            yield Picture(f"{len(wanted) - index} further pictures lie beside their results")
            return
        yield picture


def _picture(caption: str, folder: Path, name: str) -> Picture:
    """Read a picture that lies directly in `folder`, scaled down to the page.

    Where it cannot be shown, the caption says so.
    """
    if Path(name).name != name:
        return Picture(f"{caption} (not shown: not beside its result)")
    try:
        image = Image.open(folder / name)
        image.thumbnail((SIDE, 2 * SIDE))
        image = image.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        return Picture(f"{caption} (not shown: {type(error).__name__})")
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    source = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
    return Picture(caption, source, *image.size)
