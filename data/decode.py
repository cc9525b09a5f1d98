"""One image file in, one RGB image out, or one clear line. Needs Pillow only."""

import warnings
from collections.abc import Generator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from twinbench.data.errors import DataError
from twinbench.data.items import ImageFile

SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")  # torchvision's list


def read_rgb(path: ImageFile) -> Image.Image:
    """Return the image as RGB, decoded to the last pixel; DataError names a file that is missing or damaged.

    An image of more pixels than Pillow's MAX_IMAGE_PIXELS (about 89 million) is refused: a small file that unpacks to
    gigabytes is an attack or an accident, and no data set here holds one.
    """
    with _opened(path) as image:
        return image.convert("RGB")


def proven_size(path: ImageFile) -> tuple[int, int]:
    """Return width and height, proven: the file is decoded to its end. DataError just where `read_rgb` has one.

    A JPEG is decoded at an eighth of its size: every bit of it is read, but most of the arithmetic is left out.
    """
    with _opened(path) as image:
        size = image.size
        image.draft("RGB", (1, 1))
        image.load()
        return size


def read_size(path: ImageFile) -> tuple[int, int]:
    """Return width and height from the header alone; DataError as in `read_rgb`, as far as a header shows it."""
    with _opened(path) as image:
        return image.size


@contextmanager
def _opened(path: ImageFile) -> Generator[Image.Image]:
    """Open an image for the block, and turn what Pillow raises in it into DataErrors."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # remarks on metadata, which nobody here uses
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with _image(path) as image:
                yield image
    except FileNotFoundError:
        raise DataError(f"{path}: no such image; the data set is incomplete, see `twinbench data check`") from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        limit = Image.MAX_IMAGE_PIXELS
        raise DataError(f"{path}: an image of more than {limit} pixels; expected a photograph; remove it") from None
    except UnidentifiedImageError:
        if _names_a_file(path):
            raise DataError(f"{path}: a link that was copied as text; expected an image; make the link anew") from None
        raise DataError(f"{path}: not an image in any known format; fetch the file again") from None
    except (OSError, SyntaxError, ValueError, EOFError, MemoryError) as error:
        # Pillow raises any of these on damaged files, depending on the format.
        raise DataError(f"{path}: not a readable image ({error}); fetch the file again") from None


def _image(path: ImageFile) -> Image.Image:
    """Return the image with its header read."""
    if isinstance(path, Path):
        return Image.open(path)
    content = path.content()
    return Image.open(BytesIO(content)) if isinstance(content, bytes) else Image.fromarray(content)


def _names_a_file(path: ImageFile) -> bool:
    """True if a file holds nothing but a path, as a link does after a copy that cannot keep links."""
    if not isinstance(path, Path):
        return False
    with path.open("rb") as file:
        text = file.read(300)
    return 2 < len(text) < 300 and text.isascii() and b"/" in text and b"\n" not in text.strip() and b"<" not in text
