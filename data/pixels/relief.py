"""A sheet of images with depth, a row each: the image, its true depth and the predicted one by one scale of colours."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from PIL import Image, ImageDraw

from twinbench.data.pixels.pictures import LINE, MARGIN, NOT_LABELLED, WIDTH, Shown, paste_rows, row_of

COLOURS = "viridis"
BAR = 12  # height of the scale, pixels


def draw_reliefs(shown: Sequence[Shown], path: Path) -> None:
    """Write a PNG with a row for each of `shown`, whose score is its RMSE less than 0, and the scale below."""
    known = [one.truth[one.truth > 0] for one in shown]
    near, far = (float(end(np.concatenate(known))) for end in (np.min, np.max))
    rows: list[Image.Image] = []
    for one in shown:
        tiles = (_painted(one.truth, near, far), _painted(one.predicted, near, far))
        rows.append(row_of(one, tiles, ("true depth", f"predicted, RMSE {-one.score:.3f} m")))
    paste_rows((*rows, _scale(near, far)), path)


def _painted(metres: np.ndarray, near: float, far: float) -> Image.Image:
    """Return depth (H, W) in colours; what is not known is grey."""
    share = (metres - near) / max(far - near, 1e-6)
    pixels = colormaps[COLOURS](share.clip(0, 1), bytes=True)[..., :3]
    return Image.fromarray(np.where(metres[..., None] > 0, pixels, np.array(NOT_LABELLED, np.uint8)))


def _scale(near: float, far: float) -> Image.Image:
    """Return the scale with its ends in metres."""
    scale = Image.new("RGB", (WIDTH, 2 * LINE), "white")
    width = WIDTH - 2 * MARGIN
    ramp = np.linspace(near, far, width, dtype=np.float32)[None].repeat(BAR, 0)
    scale.paste(_painted(ramp, near, far), (MARGIN, 0))
    pen = ImageDraw.Draw(scale)
    pen.text((MARGIN, BAR), f"{near:.2f} m", fill="black")
    end = f"{far:.2f} m"
    pen.text((WIDTH - MARGIN - pen.textlength(end), BAR), end, fill="black")
    return scale
