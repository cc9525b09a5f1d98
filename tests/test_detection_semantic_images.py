"""Images for a segmenter: OpenCV's resizing and colours, MMSegmentation's sizes and crops, draws that come again."""

import dataclasses

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from twinbench.convert.convention import IMAGENET, IMAGENET_BGR
from twinbench.data.errors import DataError
from twinbench.data.objects.packed import Records
from twinbench.data.pixels.distortion import distorted, to_hsv, to_rgb
from twinbench.data.pixels.pairs import UNLABELLED, crop_place, nearest, new_size
from twinbench.data.pixels.split import read_mask
from twinbench.detection.semantic.config import segmenter_config
from twinbench.detection.semantic.images import TestImages, TrainImages, labels_of
from twinbench.detection.training.stream import SeededImages
from twinbench.protocols.catalogue import find_protocol

RECIPE = find_protocol("voc12aug-fcn-20k").recipe
RNG = np.random.default_rng(0)


def config_of(convention=IMAGENET, **changes):
    recipe = dataclasses.replace(RECIPE, **{"long_side": 120, "short_side": 60, "crop": 40} | changes)
    return segmenter_config(recipe, classes=5, width=0.125, convention=convention)


@pytest.fixture
def record(tmp_path):
    rng = np.random.default_rng(1)
    image = cv2.resize(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8), (96, 72), interpolation=cv2.INTER_CUBIC)
    mask = rng.integers(0, 5, (6, 8), dtype=np.uint8).repeat(12, 0).repeat(12, 1)
    mask[:3] = 255
    Image.fromarray(image).save(tmp_path / "a.png")
    Image.fromarray(mask).save(tmp_path / "mask.png")
    return {
        "file_name": str(tmp_path / "a.png"),
        "sem_seg_file_name": str(tmp_path / "mask.png"),
        "image_id": "a",
        "width": 96,
        "height": 72,
    }


@pytest.mark.parametrize(
    ("size", "sides", "scale", "expected"),
    [
        ((375, 500), (2048, 512), 1.0, (512, 683)),  # the short side becomes 512
        ((500, 375), (2048, 512), 0.5, (341, 256)),
        ((100, 900), (2048, 512), 1.0, (228, 2048)),  # the long side is in the way
        ((1024, 2048), (2049, 1025), 1.0, (1025, 2049)),
        ((375, 500), (0, 0), 1.5, (563, 750)),
        ((375, 500), (0, 0), 1.0, (375, 500)),
    ],
)
def test_an_image_is_as_large_as_fits(size, sides, scale, expected):
    assert new_size(size, *sides, scale) == expected


@pytest.mark.parametrize("size", [(17, 31), (60, 80), (37, 21), (74, 42), (5, 90)])
def test_labels_are_resized_as_opencv_does_it(size):
    labels = RNG.integers(0, 21, (37, 42)).astype(np.uint8)
    expected = cv2.resize(labels, size[::-1], interpolation=cv2.INTER_NEAREST)
    assert np.array_equal(nearest(labels, *size), expected)


def test_hue_saturation_and_value_are_opencvs_to_the_bit():
    image = RNG.integers(0, 256, (200, 200, 3), dtype=np.uint8)
    image[:20] = image[:20, :, :1]  # greys
    assert np.array_equal(to_hsv(image), cv2.cvtColor(image, cv2.COLOR_RGB2HSV))


def test_the_way_back_to_rgb_is_opencvs_within_1():
    hsv = RNG.integers(0, 256, (300, 300, 3), dtype=np.uint8)
    hsv[..., 0] %= 180
    expected = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB).astype(int)
    assert np.abs(to_rgb(hsv).astype(int) - expected).max() <= 1


def test_each_distortion_comes_in_half_of_the_images_and_within_its_range():
    grey = np.full((2, 2, 3), 100, np.uint8)  # no saturation, no hue: brightness and contrast alone
    values = []
    for seed in range(4000):
        np.random.seed(seed)
        values.append(int(distorted(grey)[0, 0, 0]))
    values = np.array(values)
    assert (values == 100).mean() == pytest.approx(0.25, abs=0.03)  # neither of the two
    assert values.min() >= int((100 - 32) * 0.5)
    assert values.max() <= int((100 + 32) * 1.5)
    assert values.std() > 20


def test_hue_turns_by_at_most_18_of_180_degrees_and_saturation_by_half():
    colour = np.full((2, 2, 3), (200, 80, 80), np.uint8)
    found = []
    for seed in range(2000):
        np.random.seed(seed)
        found.append(to_hsv(distorted(colour))[0, 0].astype(int))
    hues = (np.array(found)[:, 0] + 90) % 180 - 90
    assert -22 <= hues.min() < -14  # 18, and what rounding to 8 bits on the way does to pale colours
    assert 14 < hues.max() <= 22
    assert (np.abs(hues) <= 1).mean() > 0.5


def test_a_crop_with_too_much_of_one_class_is_drawn_anew():
    labels = np.zeros((100, 100), np.int64)
    labels[:, 90:] = 1
    mixed = 0
    for seed in range(200):
        np.random.seed(seed)
        place = crop_place(labels, 20, 0.75)
        mixed += labels[place].max() == 1
    # A place is good if 6 to 10 of its 20 columns show class 1: 5 of 81. In 11 draws: 1 - (76 / 81) ** 11 = 0.50. Of
    # the others, 5 of 76 show 1 to 5 columns of it, and the last draw is kept whatever it shows.
    good = 1 - (76 / 81) ** 11
    assert mixed / 200 == pytest.approx(good + (1 - good) * 5 / 76, abs=0.12)


def test_unlabelled_pixels_are_no_part_of_a_crops_classes():
    labels = np.full((20, 20), UNLABELLED)
    labels[0, 0], labels[0, 1] = 0, 1
    np.random.seed(0)
    before = np.random.get_state()[2]
    crop_place(labels, 20, 0.75)
    assert np.random.get_state()[2] - before <= 4  # one place: half and half is mixed enough


def test_a_crop_of_any_mixture_is_kept_where_none_is_asked_for():
    np.random.seed(0)
    assert crop_place(np.zeros((30, 30), np.int64), 40, 1.0) == (slice(0, 40), slice(0, 40))


def test_an_example_has_an_image_and_a_class_for_each_of_its_pixels(record):
    np.random.seed(0)
    found = TrainImages(config_of(), read_mask)(record)
    assert found["image"].shape[1:] == found["sem_seg"].shape
    assert max(found["sem_seg"].shape) <= 40
    assert found["image"].dtype == torch.uint8
    assert set(found["sem_seg"].unique().tolist()) <= {UNLABELLED, 0, 1, 2, 3, 4}


def test_image_and_mask_are_cropped_and_flipped_together(tmp_path):
    image = np.zeros((60, 80, 3), np.uint8)
    image[20:40, 10:50] = 255
    Image.fromarray(image).save(tmp_path / "a.png")
    Image.fromarray((image[..., 0] > 0).astype(np.uint8)).save(tmp_path / "m.png")
    record = {"file_name": str(tmp_path / "a.png"), "sem_seg_file_name": str(tmp_path / "m.png")}
    reader = TrainImages(config_of(distortion=False, scale=(1.0, 1.0), long_side=80, crop=30), read_mask)
    flipped = set()
    for seed in range(20):
        np.random.seed(seed)
        found = reader(record)
        assert torch.equal(found["image"][0] > 127, found["sem_seg"] == 1)
        flipped.add(found["sem_seg"].numpy().tobytes())
    assert len(flipped) > 10


def test_an_example_depends_on_seed_and_place_in_the_stream_alone(record):
    images = SeededImages(Records.of([record]), TrainImages(config_of(), read_mask), 7)
    np.random.seed(0)
    first = images[0, 5]
    np.random.seed(1)
    again, other = images[0, 5], images[0, 6]
    assert torch.equal(first["image"], again["image"])
    assert torch.equal(first["sem_seg"], again["sem_seg"])
    assert not torch.equal(first["image"], other["image"])


def test_a_test_image_is_opencvs_resized_one_in_the_backbones_order(record):
    found = TestImages(config_of(IMAGENET_BGR))(record)
    image = cv2.imread(record["file_name"])
    assert found["image"].shape == (3, 60, 80)
    assert np.array_equal(found["image"].numpy(), cv2.resize(image, (80, 60)).transpose(2, 0, 1))
    assert (found["height"], found["width"]) == (72, 96)


def test_the_highest_number_of_a_masks_type_is_no_label(record):
    found = labels_of(record, read_mask)
    assert (found[:3] == UNLABELLED).all()
    assert found[3:].min() >= 0


def test_a_damaged_image_is_a_value_and_no_traceback(record):
    with open(record["file_name"], "wb") as file:
        file.write(b"no image")
    assert isinstance(TrainImages(config_of(), read_mask)(record), DataError)
    assert isinstance(TestImages(config_of())(record), DataError)
