"""One image: every mode becomes RGB, every damage becomes one line."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from twinbench.data.content import require_content
from twinbench.data.decode import prove, proven_size, read_size
from twinbench.data.errors import DataError
from twinbench.data.images import ImageDataset, read_rgb
from twinbench.data.paths import PathList


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1"])
def test_every_mode_is_read_as_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("image.jpg" if mode == "CMYK" else "image.png")
    Image.new("RGB", (5, 4), (255, 255, 255)).convert(mode).save(path)
    image = read_rgb(path)
    assert image.mode == "RGB"
    assert image.size == (5, 4)
    assert np.asarray(image).min() > 250


def test_a_truncated_or_foreign_or_missing_file_is_named(scenes: Path, tmp_path: Path) -> None:
    whole = next((scenes / "imagenet" / "train").rglob("*.JPEG")).read_bytes()
    (tmp_path / "half.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"half\.jpg: not a readable image \(.*truncated.*\); fetch the file again"):
        read_rgb(tmp_path / "half.jpg")
    (tmp_path / "text.jpg").write_text("<html>404</html>")
    with pytest.raises(DataError, match=r"text\.jpg: not an image in any known format"):
        read_rgb(tmp_path / "text.jpg")
    (tmp_path / "link.jpg").write_text("../../coco/train2017/000000000009.jpg")
    with pytest.raises(DataError, match=r"link\.jpg: a link that was copied as text"):
        read_rgb(tmp_path / "link.jpg")
    with pytest.raises(DataError, match=r"none\.jpg: no such image"):
        read_rgb(tmp_path / "none.jpg")
    with pytest.raises(DataError, match="not a file; expected an image"):
        read_rgb(tmp_path)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_proof_is_as_strict_as_reading(tmp_path: Path, suffix: str) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / f"image.{suffix}"
    Image.fromarray(rng.integers(0, 256, (60, 80, 3), np.uint8)).save(path)
    whole = path.read_bytes()
    assert proven_size(path) == read_size(path) == read_rgb(path).size == (80, 60)
    verdicts = {True: 0, False: 0}
    for number, place in enumerate(rng.integers(0, len(whole) - 40, 200)):
        path.write_bytes(whole[:place] if number % 2 else whole[:place] + bytes(40) + whole[place + 40 :])
        readable = [True, True]
        for index, read in enumerate((read_rgb, proven_size)):
            try:
                read(path)
            except DataError:
                readable[index] = False
        assert readable[0] == readable[1]
        verdicts[readable[0]] += 1
    assert verdicts[False] >= 90
    assert verdicts[True] + verdicts[False] == 200


@pytest.mark.parametrize("side", [9_500, 20_000])  # past Pillow's warning, past its error
def test_an_image_bomb_is_refused(tmp_path: Path, side: int) -> None:
    Image.new("1", (side, side)).save(tmp_path / "bomb.png")
    with pytest.raises(DataError, match=r"bomb\.png: an image of more than \d+ pixels"):
        read_rgb(tmp_path / "bomb.png")


def test_the_message_stays_one_line_whatever_the_file_is_called(tmp_path: Path) -> None:
    (tmp_path / "a\nb\x1b[31m.jpg").touch()
    with pytest.raises(DataError) as caught:
        read_rgb(tmp_path / "a\nb\x1b[31m.jpg")
    assert "a\\nb\\x1b[31m.jpg" in str(caught.value)
    assert str(caught.value).isprintable()


def test_the_data_set_gives_tensor_and_index(tmp_path: Path) -> None:
    for value in (10, 200):
        Image.new("RGB", (3, 2), (value, 0, 0)).save(tmp_path / f"{value}.png")
    images = ImageDataset([tmp_path / "200.png", tmp_path / "10.png"], lambda image: torch.tensor(np.asarray(image)))
    assert len(images) == 2
    assert [(int(image[0, 0, 0]), index) for image, index in (images[0], images[1])] == [(200, 0), (10, 1)]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_process_names_the_damaged_file_in_one_line(tmp_path: Path, workers: int) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8 no image")
    images = ImageDataset([tmp_path / "broken.jpg"], lambda image: torch.zeros(1))
    with pytest.raises(DataError) as caught:
        list(DataLoader(images, num_workers=workers))
    assert str(caught.value).startswith(f"{tmp_path / 'broken.jpg'}: ")
    assert "\n" not in str(caught.value)


# Modes: against the 8-bit picture that they were made from.

GREY = np.arange(256, dtype=np.uint8).reshape(16, 16)
COLOR = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)


def png(pixels: np.ndarray, color_type: int) -> bytes:
    """Return pixels (H, W) or (H, W, C), uint8 or big-endian uint16, as a PNG, by the format's definition."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    bits = 8 * pixels.dtype.itemsize
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], bits, color_type, 0, 0, 0)
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


@pytest.mark.parametrize("factor", [256, 257])  # 8 bits moved up, or spread over the whole range
@pytest.mark.parametrize("color_type", [0, 2, 4, 6])  # grey, RGB, grey with alpha, RGBA
def test_16_bits_are_their_8_bit_copy(tmp_path: Path, factor: int, color_type: int) -> None:
    pixels = {0: GREY, 2: COLOR, 4: COLOR[:, :, :2], 6: np.concatenate([COLOR, COLOR[:, :, :1]], 2)}[color_type]
    (tmp_path / "8.png").write_bytes(png(pixels, color_type))
    (tmp_path / "16.png").write_bytes(png((pixels.astype(np.uint16) * factor).astype(">u2"), color_type))
    found = np.asarray(read_rgb(tmp_path / "16.png"))
    assert np.array_equal(found, np.asarray(read_rgb(tmp_path / "8.png")))
    expected = pixels[:, :, :3] if color_type in (2, 6) else pixels.reshape(16, 16, -1)[:, :, :1].repeat(3, 2)
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("mode", ["I;16", "I;16B"])
def test_16_bit_tiff_of_either_byte_order(tmp_path: Path, mode: str) -> None:
    pixels = GREY.astype(np.uint16) * 257
    image = Image.frombytes(mode, (16, 16), pixels.astype({"I;16": "<u2", "I;16B": ">u2"}[mode]).tobytes())
    image.save(tmp_path / "a.tif")
    assert np.array_equal(np.asarray(read_rgb(tmp_path / "a.tif"))[:, :, 0], GREY)


@pytest.mark.parametrize("most", [65535, 4095])
def test_pgm_is_read_by_its_own_range(tmp_path: Path, most: int) -> None:
    values = np.array([[0, most // 2, most]], dtype=">u2")
    (tmp_path / "a.pgm").write_bytes(b"P5 3 1 %d\n" % most + values.tobytes())
    assert np.asarray(read_rgb(tmp_path / "a.pgm"))[0, :, 0].tolist() == [0, 127, 255]


def test_alpha_shows_what_lies_beneath(tmp_path: Path) -> None:
    Image.fromarray(np.concatenate([COLOR, np.zeros((16, 16, 1), np.uint8)], 2), "RGBA").save(tmp_path / "a.png")
    assert np.array_equal(np.asarray(read_rgb(tmp_path / "a.png")), COLOR)


def test_a_palette_with_a_transparent_colour_keeps_its_colours(tmp_path: Path) -> None:
    image = Image.fromarray(GREY % 4, "P")
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120])
    image.save(tmp_path / "a.png", transparency=1)
    expected = np.array([10, 20, 30]) + 30 * (GREY % 4)[:, :, None]
    assert np.array_equal(np.asarray(read_rgb(tmp_path / "a.png")), expected)


def test_bits_are_black_and_white(tmp_path: Path) -> None:
    Image.fromarray(GREY > 100).save(tmp_path / "a.png")
    assert np.array_equal(np.asarray(read_rgb(tmp_path / "a.png"))[:, :, 1], np.where(GREY > 100, 255, 0))


def test_ink_becomes_light(tmp_path: Path) -> None:
    Image.new("CMYK", (4, 4), (0, 255, 255, 0)).save(tmp_path / "a.tif")  # magenta and yellow: red
    assert read_rgb(tmp_path / "a.tif").getpixel((1, 1)) == (255, 0, 0)


@pytest.mark.parametrize("mode", ["I", "F", "LAB"])
@pytest.mark.parametrize("read", [read_rgb, prove, read_size])
def test_modes_without_a_known_range_are_refused_by_name(tmp_path: Path, mode: str, read) -> None:
    Image.new(mode, (4, 4), 1).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match=rf"a\.tif: pixels of mode {mode}, which have no range .*; convert the images"):
        read(tmp_path / "a.tif")


# Images that show nothing.


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_one_colour_all_over_is_noticed(tmp_path: Path, name: str) -> None:
    Image.new("RGB", (40, 30), (200, 100, 0)).save(tmp_path / name)
    assert prove(tmp_path / name).is_flat


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_a_fine_pattern_is_not_taken_for_one_colour(tmp_path: Path, name: str) -> None:
    board = np.indices((64, 64)).sum(0) % 2 * 255  # every block of 8 x 8 has one mean
    Image.fromarray(board.astype(np.uint8)).convert("RGB").save(tmp_path / name, quality=95)
    assert not prove(tmp_path / name).is_flat


def test_data_of_flat_images_is_refused_and_one_picture_is_enough(tmp_path: Path) -> None:
    for number in range(3):
        Image.new("RGB", (8, 8), (number, 9, 9)).save(tmp_path / f"{number}.png")
    images = PathList(tmp_path, ["0.png", "1.png", "2.png"])
    with pytest.raises(DataError, match="each of the 3 training images is one colour all over; expected pictures"):
        require_content(tmp_path, "training", images)
    Image.fromarray(COLOR).save(tmp_path / "2.png")
    require_content(tmp_path, "training", images)


def test_damaged_images_are_told_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes(b"none")
    require_content(tmp_path, "training", PathList(tmp_path, ["0.png"]))
