"""FCN's network: torchvision's dilated ResNet-50 to the digit, its losses and rates by their formulas, its windows."""

import dataclasses

import numpy as np
import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import get_cfg
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_model, build_resnet_backbone
from detectron2.solver import build_optimizer
from torch.nn import functional
from torchvision.models import resnet50

from twinbench.convert.convention import IMAGENET, IMAGENET_BGR
from twinbench.convert.opening import open_backbone
from twinbench.convert.write import write_backbone
from twinbench.data.pixels.pairs import UNLABELLED
from twinbench.detection.models.weights import build_detector
from twinbench.detection.semantic import with_keys
from twinbench.detection.semantic.config import segmenter_config
from twinbench.detection.semantic.model import pixel_loss
from twinbench.detection.semantic.trunk import dilate
from twinbench.detection.training.schedule import build_schedule
from twinbench.protocols.catalogue import find_protocol
from twinbench.runtime.windows import Inference, centre, starts, windows

WIDTH = 0.125
FCN, CITY, BYOL = (find_protocol(name).recipe for name in ("voc12aug-fcn-20k", "cityscapes-fcn-40k", "voc12-fcn-byol"))


def config_of(recipe=FCN, classes=5, width=WIDTH, convention=IMAGENET, **changes):
    slim = {"head_channels": 16, "aux_channels": 8, "crop": 64, "norm": "BN"} | changes
    return segmenter_config(dataclasses.replace(recipe, **slim), classes=classes, width=width, convention=convention)


def trunk(dilations, contract=True):
    config = get_cfg()
    config.MODEL.RESNETS.NORM = "BN"
    config.MODEL.RESNETS.STRIDE_IN_1X1 = False
    config.MODEL.RESNETS.OUT_FEATURES = ["res2", "res3", "res4", "res5"]
    config.MODEL.BACKBONE.FREEZE_AT = 0
    return dilate(build_resnet_backbone(config, ShapeSpec(channels=3)), dilations, contract=contract)


def torchvision_pair(tmp_path, dilations, replaced):
    """Return our trunk and torchvision's network with the same tensors, drawn so that maps neither fade nor explode."""
    torch.manual_seed(3)
    theirs = resnet50(replace_stride_with_dilation=replaced).eval()
    for module in theirs.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # as after a training: fresh norms are refused as no backbone
            torch.nn.init.uniform_(module.weight, 0.2, 0.6)
            torch.nn.init.uniform_(module.bias, -0.2, 0.2)
            module.running_var.uniform_(0.5, 2)
            module.running_mean.uniform_(-0.2, 0.2)
    torch.save(theirs.state_dict(), tmp_path / "resnet50.pth")
    write_backbone(open_backbone(str(tmp_path / "resnet50.pth"), 1.0, None), tmp_path / "d2.pth", to="detectron2")
    ours = trunk(dilations).eval()
    DetectionCheckpointer(ours).load(str(tmp_path / "d2.pth"))
    return ours, theirs


def maps_of(network, images):
    x = network.maxpool(network.relu(network.bn1(network.conv1(images))))
    found = {}
    for number in range(1, 5):
        x = network.get_submodule(f"layer{number}")(x)
        found[f"res{number + 1}"] = x
    return found


@pytest.mark.parametrize(
    ("dilations", "replaced", "strides"),
    [
        ((1, 1, 1, 1), [False, False, False], (4, 8, 16, 32)),
        ((1, 1, 1, 2), [False, False, True], (4, 8, 16, 16)),
        ((1, 1, 2, 4), [False, True, True], (4, 8, 8, 8)),
    ],
    ids=["plain", "d16", "d8"],
)
def test_the_dilated_trunk_is_torchvisions(tmp_path, dilations, replaced, strides):
    ours, theirs = torchvision_pair(tmp_path, dilations, replaced)
    images = torch.randn(1, 3, 65, 97, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        found, expected = ours(images), maps_of(theirs, images)
    for name, values in expected.items():
        assert torch.allclose(found[name], values, rtol=1e-5, atol=1e-5 * float(values.abs().max())), name
    assert tuple(shape.stride for shape in ours.output_shape().values()) == strides


def test_without_contraction_every_block_of_a_stage_has_its_dilation():
    stage = trunk((1, 1, 1, 2), contract=False).res5
    assert [block.conv2.dilation for block in stage] == [(2, 2)] * 3
    assert [block.conv2.stride for block in stage] == [(1, 1)] * 3


def test_every_tensor_of_the_backbone_arrives_in_the_segmenter(tmp_path):
    backbone = open_backbone("random", WIDTH, None)
    model = build_detector(config_of(), backbone, tmp_path / "backbone.pth", seed=0)
    sent = torch.load(tmp_path / "backbone.pth", weights_only=True)["model"]
    assert len([name for name in sent if not name.endswith("num_batches_tracked")]) == 265
    assert torch.equal(model.state_dict()["backbone.stem.conv1.weight"], torch.as_tensor(sent["stem.conv1.weight"]))


def test_the_configuration_written_down_builds_the_same_network():
    torch.manual_seed(0)
    model = build_model(config_of())
    again = with_keys(get_cfg())
    again.merge_from_other_cfg(type(again).load_cfg(config_of().dump()))
    torch.manual_seed(0)
    for (name, ours), theirs in zip(model.state_dict().items(), build_model(again).state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), name


def test_mmsegmentations_head_has_its_convolutions():
    head = build_model(config_of(width=0.25, head_channels=128, aux_channels=64)).state_dict()
    shapes = {name: tuple(value.shape) for name, value in head.items() if "head" in name and value.ndim == 4}
    assert shapes == {
        "head.convs.0.weight": (128, 512, 3, 3),
        "head.convs.1.weight": (128, 128, 3, 3),
        "head.concat.weight": (128, 640, 3, 3),
        "head.predictor.weight": (5, 128, 1, 1),
        "aux_head.convs.0.weight": (64, 256, 3, 3),
        "aux_head.predictor.weight": (5, 64, 1, 1),
    }


def test_byols_head_is_two_convolutions_with_holes_and_no_second_head():
    model = build_model(config_of(BYOL))
    assert [(conv.dilation, conv.padding) for conv in model.head.convs] == [((6, 6), (6, 6))] * 2
    assert model.head.concat is None
    assert model.aux_head is None


def example(height, width, classes=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {
        "image": torch.randint(256, (3, height, width), dtype=torch.uint8, generator=generator),
        "sem_seg": torch.randint(classes, (height, width), generator=generator),
    }


def by_hand(model, batch, mean):
    """Return both losses, pixel by pixel over padded squares, from the network's own scores."""
    images = torch.zeros(len(batch), 3, model.crop, model.crop)
    labels = torch.full((len(batch), model.crop, model.crop), UNLABELLED)
    for place, entry in enumerate(batch):
        height, width = entry["sem_seg"].shape
        images[place, :, :height, :width] = (entry["image"] - model.pixel_mean) / model.pixel_std
        labels[place, :height, :width] = entry["sem_seg"]
    features = model.backbone(images)
    losses = []
    for head, name in ((model.head, "res5"), (model.aux_head, "res4")):
        scores = functional.interpolate(head(features[name]), (model.crop, model.crop), mode="bilinear")
        chances = scores.double().softmax(dim=1)
        total, count = 0.0, 0
        for place, row, column in torch.nonzero(labels != UNLABELLED).tolist():
            total -= float(chances[place, labels[place, row, column], row, column].log())
            count += 1
        losses.append(total / (labels.numel() if mean == "all" else count))
    return losses


@pytest.mark.parametrize("mean", ["all", "labelled"])
def test_the_losses_are_cross_entropy_over_padded_squares(mean):
    torch.manual_seed(1)
    model = build_model(config_of(loss_mean=mean, dropout=0.0, crop=48)).train()
    batch = [example(48, 40), example(30, 48, seed=1)]
    batch[0]["sem_seg"][:10] = UNLABELLED
    found = model(batch)
    seg, aux = by_hand(model, batch, mean)
    assert float(found["loss_seg"]) == pytest.approx(seg, rel=1e-5)
    assert float(found["loss_aux"]) == pytest.approx(0.4 * aux, rel=1e-5)


def test_a_batch_without_a_labelled_pixel_has_no_loss():
    scores, labels = torch.zeros(1, 5, 4, 4), torch.full((1, 4, 4), UNLABELLED)
    assert float(pixel_loss(scores, labels, "labelled")) == 0
    assert float(pixel_loss(scores, labels, "all")) == 0


def test_a_bgr_backbone_gets_its_channels_statistics_in_its_order():
    config = config_of(convention=IMAGENET_BGR)
    assert config.INPUT.FORMAT == "BGR"
    assert pytest.approx([103.53, 116.28, 123.675]) == config.MODEL.PIXEL_MEAN


@pytest.mark.parametrize("done", [0, 1, 9_999, 10_000, 19_999])
def test_the_rate_is_mmsegmentations_poly(done):
    config = config_of()
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=config.SOLVER.BASE_LR)
    schedule = build_schedule(config, optimizer)
    schedule.last_epoch = done - 1
    optimizer.step()
    schedule.step()
    expected = (0.01 - 1e-4) * (1 - done / 20_000) ** 0.9 + 1e-4
    assert optimizer.param_groups[0]["lr"] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("done", "expected"), [(0, 0.01), (20_999, 0.01), (21_000, 1e-3), (26_999, 1e-3), (27_000, 1e-4), (29_999, 1e-4)]
)
def test_byols_rate_falls_at_the_70th_and_the_90th_percentile(done, expected):
    config = config_of(BYOL)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=config.SOLVER.BASE_LR)
    schedule = build_schedule(config, optimizer)
    schedule.last_epoch = done - 1
    optimizer.step()
    schedule.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(expected, rel=1e-12)


def test_all_parameters_are_decayed_as_mmsegmentation_decays_them():
    model = build_model(config_of())
    groups = build_optimizer(config_of(), model).param_groups
    assert {group["weight_decay"] for group in groups} == {5e-4}
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))


@pytest.mark.parametrize(
    ("side", "expected"), [(5, [0]), (8, [0]), (9, [0, 1]), (14, [0, 6]), (15, [0, 6, 7]), (20, [0, 6, 12])]
)
def test_windows_start_every_stride_and_the_last_ends_with_the_image(side, expected):
    assert starts(side, crop=8, stride=6) == expected


def places(pixels):
    """Score each pixel by its window's size and its place in it, so that every window says something else."""
    height, width = pixels.shape[2:]
    rows = torch.arange(height).view(1, 1, -1, 1).expand(1, 1, height, width).float()
    return torch.cat([pixels[:, :1], rows * width], dim=1)


def test_overlapping_windows_are_averaged_pixel_by_pixel():
    pixels = torch.randn(1, 3, 11, 7, generator=torch.Generator().manual_seed(0))
    found = windows(places, pixels, crop=8, stride=6)
    assert torch.allclose(found[:, 0], pixels[:, 0])
    for row in range(11):
        inside = [row - top for top in (0, 3) if top <= row < top + 8]
        assert found[0, 1, row, 0] == pytest.approx(7 * np.mean(inside))


def test_one_window_over_all_of_the_image_is_the_whole_image():
    pixels = torch.randn(1, 3, 9, 6)
    assert torch.equal(windows(places, pixels, crop=9, stride=4), places(pixels))


def test_the_centre_of_a_large_image_is_all_that_is_scored():
    pixels = torch.randn(1, 3, 13, 10)
    scores, region = centre(lambda part: part, pixels, crop=8)
    assert region == (2, 1, 10, 9)
    assert torch.equal(scores, pixels[:, :, 2:10, 1:9])


def test_a_small_image_is_padded_around_and_scored_whole():
    pixels = torch.randn(1, 3, 5, 12)
    seen = []
    scores, region = centre(lambda part: seen.append(part) or part, pixels, crop=8)
    assert seen[0].shape == (1, 3, 8, 8)
    assert region == (0, 2, 5, 10)
    assert torch.equal(scores, pixels[:, :, :, 2:10])


def test_scores_of_a_resized_image_are_brought_back_to_its_own_size():
    pixels = torch.randn(1, 3, 8, 12)
    scores, region = Inference("whole", 0, 0, False)(lambda part: part, pixels, (16, 24))
    assert torch.equal(scores, functional.interpolate(pixels, (16, 24), mode="bilinear"))
    assert region == (0, 0, 16, 24)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dilations": "1,1,2"}, "dilations=1,1,2: expected 4 whole numbers"),
        ({"scale": ""}, "scale=: expected the least and the largest scale"),
        ({"short_side": 0}, "long_side=2048: expected 0 as short_side is"),
        ({"steps": "5,9"}, "steps=5,9: expected rising whole numbers with schedule=steps, and else none"),
        ({"lr": 1e-5}, r"lr_end=0.0001: expected at most lr=1e-05"),
        ({"test_mode": "slide"}, "test_crop=0: expected 0 with test_mode=whole, and else a number"),
        ({"test_mode": "slide", "test_crop": 9}, "test_stride=0: expected 1 to test_crop=9, or pixels would have"),
        ({"test_stride": 3}, "test_stride=3: expected 0 with test_mode=whole"),
        ({"test_mode": "center", "test_crop": 9}, "test_mode=center: expected whole or slide, where long_side=2048"),
    ],
)
def test_settings_that_contradict_each_other_are_told(settings, message):
    with pytest.raises(Exception, match=message):
        find_protocol("voc12aug-fcn-20k").with_settings(settings)


def test_cityscapes_is_tested_in_windows_of_769_pixels():
    inference = build_model(config_of(CITY)).inference
    assert inference == Inference("slide", 769, 513, True)
