"""Images that show nothing: data whose images are all of one colour each have gone through as numbers."""

from pathlib import Path

from twinbench.data.decode import is_flat, read_rgb
from twinbench.data.errors import DataError
from twinbench.data.items import ImageList
from twinbench.data.source import Source


def require_content(data: Path | Source, what: str, images: ImageList) -> None:
    """Raise DataError if every one of the images, `what` in words, is one colour all over.

    It looks until it meets one that is not, as a rule the first. Damaged images are told where they are used.
    """
    flat = 0
    for index in range(len(images)):
        try:
            if not is_flat(read_rgb(images.one(index))):
                return
            flat += 1
        except DataError:
            continue
    if flat:
        raise DataError(
            f"{data}: each of the {flat} {what} images is one colour all over; expected pictures: open one; were they"
            " converted with a wrong range, or is the picture in the transparency alone?"
        )
