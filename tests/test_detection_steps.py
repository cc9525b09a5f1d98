"""Steps that Detectron2's trainer lacks: parts of a batch, halves, AdamW, another number of processes, and an end."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import DatasetMapper
from detectron2.data.samplers import RepeatFactorTrainingSampler
from detectron2.modeling import build_model
from PIL import Image
from torch import nn

from twinbench.convert.convention import IMAGENET
from twinbench.convert.opening import open_backbone
from twinbench.data.objects.keypoints import PERSON
from twinbench.data.objects.packed import Records
from twinbench.detection.config.detector import detectron2_config
from twinbench.detection.datasets import open_data
from twinbench.detection.models.weights import build_detector
from twinbench.detection.training.checkpoint import Owner, ResumeError, checkpoints, own_statistics
from twinbench.detection.training.mapping import flipped, image_mapper
from twinbench.detection.training.optimizer import build_optimizer
from twinbench.detection.training.step import DivergedError, StepError, Steps
from twinbench.detection.training.stream import batches, shared_batches
from twinbench.detection.training.train import Run, train
from twinbench.protocols.catalogue import find_protocol
from twinbench.protocols.identity import Identity
from twinbench.runtime.process import Process
from twinbench.runtime.progress import read_log

WIDTH = 0.125
MINE = Identity(recipe="8" * 12, backbone="b" * 64, data="d" * 64, seed=3)
SMALL = {"batch_size": 4, "iterations": 3, "steps": "2", "warmup_iterations": 1, "rois_per_image": 8}
SMALL |= {"min_size_train": 64, "min_size_test": 64, "precise_bn_iterations": 0, "rpn_post_nms_test": 8}


@pytest.fixture(scope="module")
def records(scenes):
    return open_data(find_protocol("demo-voc0712-frcnn-c4"), scenes / "VOCdevkit").train


def configured(**settings):
    recipe = find_protocol("demo-voc0712-frcnn-c4").with_settings(SMALL | settings).recipe
    return detectron2_config(recipe, classes=10, width=WIDTH, convention=IMAGENET)


def trained(folder, records, *, config=None, steps=None, **more):
    """Train in `folder`; return the weights."""
    given = {"workers": 0, "checkpoint_seconds": 0.0, "steps": steps or Steps()} | more
    run = Run(config or configured(), MINE, Process(), folder, **given)
    model = build_detector(run.config, open_backbone("random", WIDTH), folder / "backbone.pth", run.seed)
    train(run, model, records)
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


# --- an end that all share


def test_a_rate_far_too_high_is_one_line_and_the_last_state_is_kept(tmp_path, records):
    config = configured(lr=1e8, iterations=20, steps="15")
    with pytest.raises(
        DivergedError, match=r"iteration \d+: the training has diverged \(.*at a rate of .*--set lr"
    ) as found:
        trained(tmp_path, records, config=config)
    assert "\n" not in str(found.value)
    kept = checkpoints(tmp_path / "checkpoints")
    assert kept
    assert torch.load(kept[-1], weights_only=True)["iteration"] >= 1


# --- parts of a batch


class Means(nn.Module):
    """A model without batch statistics whose loss is a mean over its images."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 1)

    def forward(self, batch):
        pixels = torch.stack([image["image"].float().flatten(1).mean(1) / 255 for image in batch])
        return {"loss_a": self.layer(pixels).square().mean(), "loss_b": self.layer(pixels).abs().mean()}


def stepped(folder, records, steps):
    torch.manual_seed(0)
    model = Means()
    run = Run(configured(), MINE, Process(), folder, 0, 1e9, steps=steps)
    train(run, model, records)
    return model.state_dict(), [line["total_loss"] for line in read_log(folder / "log.jsonl")]


def test_parts_of_a_batch_make_the_step_of_the_whole(tmp_path, records):
    whole, losses = stepped(tmp_path / "whole", records, Steps())
    parts, same = stepped(tmp_path / "parts", records, Steps(accumulate=2))
    for name, tensor in whole.items():
        torch.testing.assert_close(parts[name], tensor, rtol=1e-6, atol=1e-7)
    assert same == pytest.approx(losses, rel=1e-6)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (Steps(precision="fp16"), "precision fp16 on cpu: expected a GPU; use --set precision=bf16"),
        (Steps(accumulate=3), "accumulate 3: the 4 images of each process make no such number of equal parts"),
    ],
)
def test_steps_that_cannot_be_done_are_told_before_anything(steps, message):
    with pytest.raises(StepError, match=message):
        steps.require_runs_on(Process(), 4)


def test_halves_train_and_resume_to_the_bit(tmp_path, monkeypatch, records):
    whole = trained(tmp_path / "whole", records, steps=Steps(precision="bf16"))
    plain = trained(tmp_path / "plain", records)
    name = "roi_heads.box_predictor.cls_score.weight"
    assert not torch.equal(whole[name], plain[name])

    class Killed(BaseException):
        pass

    def die(*_):
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr("twinbench.detection.training.train._precise_batch_norm", die)
        trained(tmp_path / "broken", records, steps=Steps(precision="bf16"))
    found = trained(tmp_path / "broken", records, steps=Steps(precision="bf16"))
    assert [key for key in whole if not torch.equal(whole[key], found[key])] == []


def test_steps_are_what_the_recipe_says():
    recipe = find_protocol("voc0712-frcnn-c4").recipe
    assert Steps.of(replace(recipe, accumulate=2, precision="bf16")) == Steps(2, "bf16")
    assert Steps.of(object()) == Steps()


# --- AdamW


def test_rates_fall_from_block_to_block_as_in_vitdet():
    """12 blocks at .7: a block's rate is .7 to the number of layers above it, the heads' the whole rate."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.patch_embed = nn.Linear(2, 2)
            self.pos_embed = nn.Parameter(torch.zeros(1, 4, 2))
            self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2)) for _ in range(12))

    model = nn.Module()
    model.backbone = nn.Module()
    model.backbone.net = Net()
    model.head = nn.Linear(2, 2)
    config = get_cfg()
    config.merge_from_list(["SOLVER.BASE_LR", 1e-4, "SOLVER.WEIGHT_DECAY", 0.1])
    optimizer = build_optimizer(config, model, "adamw", 0.7)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = {names[id(p)]: group for group in optimizer.param_groups for p in group["params"]}
    assert found["backbone.net.patch_embed.weight"]["lr"] == pytest.approx(1e-4 * 0.7**13)
    assert found["backbone.net.blocks.0.0.weight"]["lr"] == pytest.approx(1e-4 * 0.7**12)
    assert found["backbone.net.blocks.11.0.weight"]["lr"] == pytest.approx(1e-4 * 0.7)
    assert found["head.weight"]["lr"] == pytest.approx(1e-4)
    assert found["head.weight"]["weight_decay"] == 0.1
    assert found["backbone.net.blocks.3.1.weight"]["weight_decay"] == 0.0
    assert found["backbone.net.pos_embed"]["weight_decay"] == 0.0
    assert optimizer.defaults["betas"] == (0.9, 0.999)


# --- another number of processes


SHAPES = np.array([(40 + k % 3, 40 + k % 2) for k in range(50)], np.int32)


def taken(streams, world, count=20):
    """Return what each of `world` processes gets in `count` iterations of a run that `streams` processes began."""

    def order(stream):
        return batches(SHAPES, batch_size=8 // streams, seed=5, rank=stream, world=streams)

    found = []
    for rank in range(world):
        mine = shared_batches(order, streams=streams, rank=rank, world=world)
        found.append([next(mine) for _ in range(count)])
    return found


@pytest.mark.parametrize("world", [1, 2, 8])
def test_an_iteration_sees_the_same_images_on_another_number_of_processes(world):
    began, goes_on = taken(4, 4), taken(4, world)
    for iteration in range(20):
        before = [pair for rank in began for pair in rank[iteration]]
        after = [pair for rank in goes_on for pair in rank[iteration]]
        assert after == before
        assert {len(rank[iteration]) for rank in goes_on} == {8 // world}


def test_as_many_processes_get_what_they_got():
    assert taken(4, 4)[1] == [
        batch for batch, _ in zip(batches(SHAPES, batch_size=2, seed=5, rank=1, world=4), range(20), strict=False)
    ]


def owner(processes):
    return Owner(MINE, processes)


def test_a_run_goes_on_with_another_number_where_no_norm_depends_on_it():
    norms = nn.Sequential(nn.Conv2d(3, 3, 1), nn.SyncBatchNorm(3), nn.GroupNorm(1, 3))
    for processes in (2, 4, 8):
        owner(processes).require_shared_streams(Path("state"), 4, norms)
    assert own_statistics(norms) == ""


@pytest.mark.parametrize(
    ("processes", "message"),
    [
        (3, "began with 4 processes, and this one has 3; expected a number that divides the other"),
        (2, "began with 4 processes, and this one has 2; BatchNorm2d depends on how many images each process has"),
    ],
)
def test_a_run_that_cannot_go_on_with_another_number_says_why(processes, message):
    with pytest.raises(ResumeError, match=message) as found:
        owner(processes).require_shared_streams(Path("state"), 4, nn.BatchNorm2d(3))
    assert "\n" not in str(found.value)


def test_detectron2s_naive_syncbn_depends_on_the_number_of_processes():
    model = build_model(configured(norm="naiveSyncBN"))
    assert own_statistics(model) == "NaiveSyncBatchNorm"
    assert own_statistics(build_model(configured(norm="FrozenBN", extra_norm=False))) == ""


# --- rare classes


def test_images_of_rare_classes_are_repeated_as_detectron2_does():
    records = Records.of(
        {"width": 4, "height": 4, "annotations": [{"category_id": int(k == 0) + 2 * int(k % 5 == 1)}]}
        for k in range(40)
    )
    factors = RepeatFactorTrainingSampler.repeat_factors_from_category_frequency(records, 0.4)
    assert factors[0] == pytest.approx(4.0)  # sqrt(.4 / (1 / 40))
    assert factors[1] == pytest.approx(2**0.5)  # sqrt(.4 / .2)
    stream = batches(np.ones((40, 2), np.int32), batch_size=1, seed=2, repeats=factors)
    seen = np.zeros(40)
    for _ in range(4000):
        ((image, _),) = next(stream)
        seen[image] += 1
    assert seen[0] / seen[2] == pytest.approx(4, rel=0.15)
    assert seen[1] / seen[2] == pytest.approx(2**0.5, rel=0.15)


# --- examples


def test_large_scale_jitter_puts_images_on_a_square(scenes):
    data = open_data(find_protocol("demo-coco-mrcnn-c4-1x"), scenes / "coco")
    recipe = find_protocol("demo-coco-mrcnn-c4-1x").recipe
    config = detectron2_config(recipe, classes=10, width=WIDTH, convention=IMAGENET)
    mapper = image_mapper(config, train=True, jitter=(0.1, 2.0))
    np.random.seed(0)
    sides = [tuple(mapper(data.train[0])["image"].shape[1:]) for _ in range(20)]
    assert max(max(side) for side in sides) == 160  # max_size: larger ones are cropped
    assert min(min(side) for side in sides) < 80


def test_a_mirror_exchanges_left_and_right_keypoints():
    """Detectron2's own order for COCO: each name's number where left and right are exchanged."""
    assert flipped(PERSON).tolist() == [0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15]


def test_keypoints_are_places_and_not_pixels(scenes):
    """COCO says which pixel, from 0; its middle is half a pixel on (Detectron2's load_coco_json)."""
    recipe = replace(find_protocol("demo-coco-mrcnn-fpn-1x").recipe, architecture="krcnn-fpn")
    config = detectron2_config(recipe, classes=1, width=WIDTH, convention=IMAGENET).clone()
    config.defrost()
    config.merge_from_list(["MODEL.KEYPOINT_ON", True, "MODEL.MASK_ON", False])
    record = open_data(find_protocol("demo-coco-mrcnn-c4-1x"), scenes / "coco").train[0]
    thing = {"bbox": [10, 10, 30, 30], "bbox_mode": 1, "category_id": 0, "iscrowd": 0, "keypoints": [20, 25, 2] * 17}
    record["annotations"] = [thing]
    mapper = image_mapper(config, train=True, keypoints=PERSON)
    np.random.seed(1)
    example = mapper(record)
    height, width = example["image"].shape[1:]
    x, y, seen = example["instances"].gt_keypoints.tensor[0, 0].tolist()
    assert min(abs(x - 20.5 * width / 96), abs(width - x - 20.5 * width / 96)) < 1e-3
    assert y == pytest.approx(25.5 * height / 96)
    assert seen == 2


def test_a_16_bit_image_is_read_with_its_whole_range(tmp_path):
    """Detectron2 reads it as white: Pillow cuts 16 bits off at 255."""
    pixels = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    Image.fromarray(pixels).save(tmp_path / "deep.png")
    record = {"file_name": str(tmp_path / "deep.png"), "width": 64, "height": 64}
    image = image_mapper(configured(), train=False)(record)["image"]
    assert image.float().mean() == pytest.approx(127.5, abs=1)


@pytest.mark.parametrize("order", ["RGB", "BGR"])
@pytest.mark.parametrize("train", [True, False])
def test_examples_are_those_of_detectron2s_mapper(scenes, order, train):
    data = open_data(find_protocol("demo-coco-mrcnn-c4-1x"), scenes / "coco")
    recipe = find_protocol("demo-coco-mrcnn-c4-1x").recipe
    config = detectron2_config(recipe, classes=10, width=WIDTH, convention=replace(IMAGENET, order=order.lower()))
    np.random.seed(4)
    theirs = DatasetMapper(config, train)(data.train[3])
    np.random.seed(4)
    ours = image_mapper(config, train=train)(data.train[3])
    assert torch.equal(ours["image"], theirs["image"])
    assert ours.keys() == theirs.keys()
    if train:
        assert torch.equal(ours["instances"].gt_boxes.tensor, theirs["instances"].gt_boxes.tensor)
        assert torch.equal(ours["instances"].gt_classes, theirs["instances"].gt_classes)
