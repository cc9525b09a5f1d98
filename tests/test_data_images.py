"""One image: every mode becomes RGB, every damage becomes one line."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from twinbench.data.decode import proven_size, read_size
from twinbench.data.errors import DataError
from twinbench.data.images import ImageDataset, read_rgb


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
    with pytest.raises(DataError, match="not a readable image"):
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
