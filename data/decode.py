"""One image file in, one RGB image out, or one clear line. Needs Pillow and NumPy only."""

import io
import os
import stat
import warnings
from collections.abc import Collection, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from twinbench.data.errors import DataError
from twinbench.data.items import ImageFile
from twinbench.data.jpeg import require_few_scans

SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")  # torchvision's list
# What is looked for in a file, whatever its suffix: web collections hold every one of these under the name x.jpg.
# Pillow would open many more, EPS by starting Ghostscript on it.
FORMATS = ("JPEG", "PNG", "PPM", "BMP", "GIF", "TIFF", "WEBP", "AVIF", "JPEG2000")
MOST_BYTES = 300_000_000  # of a file: some decoders read it whole, twice
MOST_READS = 200_000  # of a file in small pieces, by the parsers of headers
MOST_PIXELS = {"WEBP": 40_000_000, "AVIF": 40_000_000, "JPEG2000": 40_000_000}  # decoders of 20 to 30 bytes a pixel

# Pillow converts these with their whole range. Alpha is dropped, as by every loader of the field: pixels keep the
# colour that lies beneath their transparency.
WHOLE_RANGE = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV")
SIXTEEN_BITS = ("I;16", "I;16B", "I;16L", "I;16N")
SCALED_TO_16_BITS = ("PPM", "PNG")  # formats whose mode "I" is 0 to 65535, whatever the file's largest value is

ORIENTATION = 0x0112  # EXIF's tag, and those of its values that mean a quarter turn, mirrored or not
QUARTER_TURNS = (5, 6, 7, 8)
UPRIGHT = {  # EXIF's value -> what turns the pixels so that the image is shown as it was taken
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Proof:
    """What decoding an image to its end has shown."""

    size: tuple[int, int]  # width, height
    is_flat: bool  # one colour all over


def read_rgb(path: ImageFile) -> Image.Image:
    """Return the image as RGB, decoded to the last pixel; DataError names a file that is missing or damaged.

    Of 16 bits a channel the upper 8 are kept, as libpng and Pillow do with colour images. Modes without a known range
    (32-bit, floating point) and Lab are refused by name. An image of more pixels than Pillow's MAX_IMAGE_PIXELS (about
    89 million), or MOST_PIXELS of its format, is refused, too, by its header: a small file that unpacks to gigabytes is
    an attack or an accident, and no data set here holds one.
    """
    with _opened(path) as image:
        _require_few_scans(path, image)
        image.load()
        return _as_rgb(image)


def read_upright(path: ImageFile) -> Image.Image:
    """Return the image as `read_rgb` does, turned as EXIF asks for: so do Detectron2, and whoever shows photographs."""
    with _opened(path) as image:
        _require_few_scans(path, image)
        image.load()
        turn = UPRIGHT.get(_orientation(image))
        found = _as_rgb(image)
        return found if turn is None else found.transpose(turn)


def read_numbers(path: ImageFile, modes: Collection[str] = ("L", "P"), expected: str = "") -> np.ndarray:
    """Return the numbers in a mask (H, W), uint8 or of 16-bit modes uint16: grey levels, or places in a palette.

    DataError for an image of none of `modes`, which are Pillow's; it says what was `expected`, if not a mask.
    """
    with _opened(path) as image:
        if image.mode not in modes:
            if expected:
                raise DataError(f"{path}: pixels of mode {image.mode}; expected {expected}")
            bits = "8 or 16" if set(SIXTEEN_BITS) & set(modes) else "8"
            raise DataError(
                f"{path}: a mask of mode {image.mode}; expected one number of {bits} bits a pixel: turn colours into "
                "class numbers first"
            )
        return np.asarray(image)


def _as_rgb(image: Image.Image) -> Image.Image:
    """Convert an image of a mode that `_opened` lets through.

    Pillow's own conversion cuts 16 bits off at 255: whole data sets of 16-bit PNG turned white and gave a number.
    """
    if image.mode == "RGB":  # `convert` would copy it, a twentieth of the time that a photograph takes
        return image
    if image.mode in WHOLE_RANGE:
        return image.convert("RGB")
    return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")


def is_flat(image: Image.Image) -> bool:
    """Say whether an RGB image has one colour all over."""
    return all(low == high for low, high in image.getextrema())  # type: ignore[misc]  # a pair for each channel


def prove(path: ImageFile) -> Proof:
    """Decode the file to its end; DataError just where `read_rgb` has one.

    A JPEG is decoded at an eighth of its size: every bit of it is read, but most of the arithmetic is left out. One
    that is flat at that size is decoded in full before it is called so.
    """
    with _opened(path) as image:
        size = image.size
        _require_few_scans(path, image)
        image.draft("RGB", (1, 1))
        flat = is_flat(_as_rgb(image))
    if flat and image.size != size:
        flat = is_flat(read_rgb(path))
    return Proof(size, flat)


def proven_size(path: ImageFile) -> tuple[int, int]:
    """Return width and height, proven; see `prove`."""
    return prove(path).size


def read_size(path: ImageFile) -> tuple[int, int]:
    """Return width and height from the header alone; DataError as in `read_rgb`, as far as a header shows it."""
    with _opened(path) as image:
        return image.size


def upright_size(path: ImageFile) -> tuple[int, int]:
    """Return width and height as the image is shown: one that EXIF calls turned by a quarter has its sides swapped.

    Boxes are judged by this size: Detectron2 turns an image upright before it looks at them.
    """
    with _opened(path) as image:
        width, height = image.size
        return (height, width) if _is_turned(image) else (width, height)


def _is_turned(image: Image.Image) -> bool:
    """Say whether EXIF asks for a quarter turn."""
    return _orientation(image) in QUARTER_TURNS


def _orientation(image: Image.Image) -> int:
    """Return EXIF's value; of metadata that cannot be read 1, for upright, as Detectron2 takes it."""
    try:
        return image.getexif().get(ORIENTATION, 1)
    except Exception:  # Pillow names none for damaged metadata
        return 1


@contextmanager
def _opened(path: ImageFile) -> Generator[Image.Image]:
    """Open an image for the block, and turn what Pillow raises in it into DataErrors."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # remarks on metadata, which nobody here uses
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with _image(path) as image:
                _require_pixels(path, image)
                _require_range(path, image)
                yield image
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(f"{path}: no such image; the data set is incomplete, see `twinbench data check`") from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise _too_large(path, Image.MAX_IMAGE_PIXELS or 0) from None
    except UnidentifiedImageError:
        if _names_a_file(path):
            raise DataError(f"{path}: a link that was copied as text; expected an image; make the link anew") from None
        raise DataError(f"{path}: not an image in any known format; fetch the file again") from None
    except Exception as error:
        # Damaged files end in whatever a decoder raises: OSError, SyntaxError, ValueError; of AVIF, RuntimeError.
        raise DataError(f"{path}: not a readable image ({error}); fetch the file again") from None


class _File(io.BufferedReader):
    """A file that ends a parser which goes through it byte by byte.

    Between two segments of a JPEG Pillow skips junk, a byte in a tenth of a microsecond: 200 MB of zeros took minutes.
    """

    reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the next bytes; OSError after MOST_READS calls."""
        self.reads += 1
        if self.reads > MOST_READS:
            raise OSError("its header does not end")
        return super().read(size)


@contextmanager
def _image(path: ImageFile) -> Generator[Image.Image]:
    """Open an image with its header read; DataError for what is no file, or a file of more than MOST_BYTES."""
    if isinstance(path, Path):
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
            raise DataError(f"{path}: not a file; expected an image; remove it and fetch the image again")
        _require_size(path, status.st_size)
        raw = io.FileIO(path)
    else:
        content = path.content()
        if not isinstance(content, bytes):
            yield Image.fromarray(content)
            return
        _require_size(path, len(content))
        raw = io.BytesIO(content)
    with _File(raw) as file, Image.open(file, formats=FORMATS) as image:
        yield image


def _require_size(path: ImageFile, size: int) -> None:
    if size > MOST_BYTES:
        raise DataError(f"{path}: an image of {size:,} bytes; expected {MOST_BYTES:,} at most; remove it")


def _require_pixels(path: ImageFile, image: Image.Image) -> None:
    """Raise DataError for more pixels than MOST_PIXELS; Pillow sees to its own limit."""
    limit = MOST_PIXELS.get(image.format or "")
    if limit and image.width * image.height > limit:
        raise _too_large(path, limit)


def _too_large(path: ImageFile, limit: int) -> DataError:
    return DataError(f"{path}: an image of more than {limit} pixels; expected a photograph; remove it")


def _require_few_scans(path: ImageFile, image: Image.Image) -> None:
    """Raise DataError for a progressive JPEG that is made to take minutes."""
    if "progressive" in image.info:  # one in a hundred: to read it twice costs little
        content = path.read_bytes() if isinstance(path, Path) else path.content()
        require_few_scans(path, bytes(content))


def _require_range(path: ImageFile, image: Image.Image) -> None:
    """Raise DataError for a mode whose values have no known black and white."""
    known = image.mode in WHOLE_RANGE or image.mode in SIXTEEN_BITS
    if not known and not (image.mode == "I" and image.format in SCALED_TO_16_BITS):
        raise DataError(
            f"{path}: pixels of mode {image.mode}, which have no range that says what black and white are; expected 8"
            " or 16 bits a channel, grey or colour; convert the images, for example to 8-bit PNG"
        )


def _names_a_file(path: ImageFile) -> bool:
    """True if a file holds nothing but a path, as a link does after a copy that cannot keep links."""
    if not isinstance(path, Path):
        return False
    with path.open("rb") as file:
        text = file.read(300)
    return 2 < len(text) < 300 and text.isascii() and b"/" in text and b"\n" not in text.strip() and b"<" not in text
