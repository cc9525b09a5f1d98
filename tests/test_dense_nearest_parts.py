"""Nearest patches piece by piece: draws, augmentation, labels by patch, votes, files of a bank, settings."""

import itertools
import os
import resource
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import functional as tf

from tests.patch_colours import GRAIN, SIDE, striped
from twinbench.convert.named import ModelError
from twinbench.convert.opening import open_backbone
from twinbench.dense.nearest import bank, trial, votes
from twinbench.dense.nearest.images import Squares, augmented
from twinbench.dense.nearest.patches import Patches
from twinbench.protocols.catalogue import find_protocol
from twinbench.protocols.house import SettingError
from twinbench.protocols.nearest_patches import ADE20K_KNN_CAPI, VOC12_HUMMINGBIRD
from twinbench.runtime.confusion import matched_iou
from twinbench.runtime.process import Process


def test_patches_are_taken_by_the_frequency_of_their_classes_times_noise():
    labels = torch.from_numpy(np.random.default_rng(0).integers(0, 4, (20, 6)))
    recipe = replace(VOC12_HUMMINGBIRD, unlabelled="left-out")
    frequency = {c: sum(c in row for row in labels.tolist()) for c in range(3)}
    taken = trial.chosen((1, 2), labels, classes=3, recipe=recipe, most=7, seed=5)
    draws = torch.rand(20, generator=torch.Generator().manual_seed(trial.draw_seed(5, 1, 2, trial.NOISE))).tolist()
    scores = [
        sum(frequency[c] for c in set(row) - {3}) * draw for row, draw in zip(labels.tolist(), draws, strict=True)
    ]
    assert taken.tolist() == sorted(sorted(range(20), key=scores.__getitem__)[:7])


def test_patches_of_an_image_depend_on_seed_pass_and_image_alone():
    labels = torch.from_numpy(np.random.default_rng(0).integers(0, 4, (50, 6)))

    def taken(key, seed):
        return trial.chosen(key, labels, classes=4, recipe=VOC12_HUMMINGBIRD, most=5, seed=seed).tolist()

    first = taken((0, 3), 0)
    torch.rand(3)
    assert taken((0, 3), 0) == first
    assert len({tuple(taken(key, seed)) for key in ((0, 3), (1, 3), (0, 4)) for seed in (0, 1)}) == 6


def test_shares_of_more_classes_than_a_byte_holds():
    labels = torch.tensor([[299, 299, 300, 7], [7, 7, 7, 7]]).to(torch.uint16)  # 300: no label
    left_out = trial.shares(labels, "left-out", 300)
    assert left_out.shape == (2, 300)
    assert left_out[0, [299, 7]].tolist() == pytest.approx([2 / 3, 1 / 3])
    own = trial.shares(labels, "own-class", 300)
    assert own[0, [299, 7, 300]].tolist() == [0.5, 0.25, 0.25]
    assert trial.shares(labels, "class-0", 300)[0, [0, 7]].tolist() == [0.25, 0.25]
    assert left_out[1, 7] == 1


def test_a_bank_of_more_pieces_than_a_process_may_open_files_is_searched(tmp_path):
    whole = bank.Bank(tmp_path, 40)
    for piece in range(whole.pieces):
        rows = np.full((2, 3), piece, np.float32)
        whole.write(piece, {"features": rows, "labels": np.array([[piece], [piece + 40]], np.uint8)})
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 20, limits[1]))
    try:
        opened = whole.opened("cpu")
        found = opened.labels(torch.tensor([[0, 79], [41, 6]]))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert len(opened) == 80
    assert found.tolist() == [[[0], [79]], [[60], [3]]]


def test_votes_are_torchs_mode_with_no_label_below_all_classes():
    labels = torch.from_numpy(np.random.default_rng(0).integers(0, 6, (300, 7, 4)))  # 5: no label
    expected = torch.where(labels == 5, -1, labels).mode(dim=1).values
    found = votes.votes(labels, 5)
    assert torch.equal(torch.where(found == 5, -1, found), expected)


@pytest.mark.parametrize("size", [(30, 50), (64, 48), (32, 32), (7, 100)])
def test_stretched_labels_are_torchs_or_pillows_nearest(size):
    labels = np.random.default_rng(0).integers(0, 200, size)
    corner, centre = (Squares(recipe, 32).labels(labels) for recipe in (VOC12_HUMMINGBIRD, ADE20K_KNN_CAPI))
    theirs = tf.resize(torch.from_numpy(labels)[None], [32, 32], tf.InterpolationMode.NEAREST)[0]
    np.testing.assert_array_equal(corner, theirs.numpy())
    pillows = Image.fromarray(labels.astype(np.uint8)).resize((32, 32), Image.Resampling.NEAREST)
    np.testing.assert_array_equal(centre, np.asarray(pillows))


def test_labels_by_patch_come_back_as_they_were():
    labels = np.arange(SIDE * SIDE).reshape(SIDE, SIDE)
    squares = Squares(VOC12_HUMMINGBIRD, SIDE)
    by_patch = squares.by_patch(labels, GRAIN)
    assert by_patch[1, 0] == GRAIN
    assert by_patch[SIDE // GRAIN, 1] == GRAIN * SIDE + 1
    np.testing.assert_array_equal(squares.from_patches(by_patch, GRAIN), labels)


def test_an_augmented_pair_is_changed_in_colour_and_cut():
    image, labels = Image.fromarray(striped(0, 1, 2)[0]), striped(0, 1, 2)[1]
    squares = Squares(VOC12_HUMMINGBIRD, SIDE)
    torch.manual_seed(0)
    plain = replace(VOC12_HUMMINGBIRD, jitter=0.0, scale=())
    pixels, same = augmented(image, labels, plain, squares)
    np.testing.assert_array_equal(pixels.permute(1, 2, 0).numpy(), np.asarray(image))
    np.testing.assert_array_equal(same.numpy(), labels)
    coloured, same = augmented(image, labels, replace(plain, jitter=0.1, jitter_chance=1.0), squares)
    assert 0 < (coloured.int() - pixels.int()).abs().max() < 120
    np.testing.assert_array_equal(same.numpy(), labels)
    part, cut = augmented(image, labels, replace(plain, scale=(0.5, 0.6)), squares)
    assert part.shape == (3, SIDE, SIDE)
    assert not np.array_equal(cut.numpy(), labels)


def test_a_network_of_one_size_is_asked_at_the_recipes():
    swin = open_backbone("timm:swin_tiny_patch4_window7_224=random")

    def patches(side):
        recipe = replace(ADE20K_KNN_CAPI, side=side)
        return Patches(SimpleNamespace(recipe=recipe, backbone=swin, process=Process()))  # type: ignore[arg-type]

    with pytest.raises(ModelError, match="takes no images of 64 px .*, or crop= or side= of a protocol on patches"):
        patches(64)
    found = patches(224)
    assert (found.grain, found.across, found.width) == (32, 7, 768)


def test_matched_classes_have_the_highest_sum_of_ious():
    table = np.random.default_rng(0).integers(0, 50, (4, 4))
    either = table.sum(1)[:, None] + table.sum(0)[None] - table
    best = max(sum(table[i, p[i]] / either[i, p[i]] for i in range(4)) / 4 for p in itertools.permutations(range(4)))
    assert matched_iou(table) == pytest.approx(100 * best)
    assert matched_iou(np.diag([5, 3, 0])) == pytest.approx(100 * 2 / 3)
    assert matched_iou(np.array([[0, 5], [3, 0]])) == 100.0


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        (
            "voc12-hummingbird",
            {"memory_size": "20"},
            "memory_size=20: expected 0 .all patches., or at least neighbors=30",
        ),
        ("voc12-hummingbird", {"temperature": "0"}, "temperature=0.0: expected a number above 0"),
        ("voc12-hummingbird", {"jitter_chance": "0"}, "jitter_chance=0.0: expected a number above 0 where jitter"),
        ("voc12-hummingbird", {"unlabelled": "none"}, "unlabelled"),
        ("ade20k-knn-capi", {"distances": "l1"}, "distances=l1: expected cosine, l2 or both"),
        ("ade20k-knn-capi", {"held_out": "1"}, "held_out=1.0: expected a number above 0 and below 1"),
    ],
)
def test_settings_that_no_run_can_mean_are_told(name, settings, message):
    with pytest.raises(SettingError, match=message):
        find_protocol(name).with_settings(settings)
