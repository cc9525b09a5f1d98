"""Networks of timm and torchvision under a feature pyramid: their maps, norms, frozen parts and weights."""

import os
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from detectron2.layers import FrozenBatchNorm2d, NaiveSyncBatchNorm
from torch import nn

from tests.small_networks import NARROW
from twinbench.convert.files import load
from twinbench.convert.named import ModelError
from twinbench.convert.opening import open_backbone
from twinbench.detection import work
from twinbench.detection.config import bases
from twinbench.detection.config.backbone import yaml_of
from twinbench.detection.config.detector import detectron2_config
from twinbench.detection.models.norms import ProcessorSyncBatchNorm, with_synchronized_norms
from twinbench.detection.models.trunks import TrunkBackbone
from twinbench.detection.models.weights import WeightsError, build_detector, fill
from twinbench.detection.options import Options
from twinbench.detection.pictures import draw_predictions
from twinbench.detection.trial import measure
from twinbench.protocols.catalogue import find_protocol
from twinbench.report.asked import Asked
from twinbench.report.result import read_result
from twinbench.runtime.process import Process

ROOT = Path(__file__).parent.parent
FPN = "demo-coco-mrcnn-fpn-1x"
SMALL = {"batch_size": 2, "iterations": 4, "steps": "3", "warmup_iterations": 1, "rois_per_image": 4}
SMALL |= {"rpn_post_nms_test": 4, "min_size_train": 64, "min_size_test": 64, "precise_bn_iterations": 1}
BATCH_NORMS = "timm:regnety_002"  # 184 tensors; its norms compute the activation, too


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    """What stands on the networks is not what these tests are of."""
    monkeypatch.setattr(bases, "FPN", bases.FPN | NARROW)
    monkeypatch.setattr(work, "draw_predictions", partial(draw_predictions, images=1))


def random(name):
    """Return a library's network whose tensors are all drawn anew: fresh norms would hide a wrong one."""
    backbone = open_backbone(f"{name}=random")
    generator = torch.Generator().manual_seed(3)
    drawn = {}
    for key, values in backbone.state_dict.items():
        if values.is_floating_point():
            noise = torch.randn(values.shape, generator=generator) * 0.1
            drawn[key] = values + (noise.abs() if key.endswith("running_var") else noise)
        else:
            drawn[key] = values
    return replace(backbone, state_dict=drawn)


def config_of(backbone, protocol=FPN, **settings):
    recipe = find_protocol(protocol).with_settings(SMALL | settings).recipe
    return detectron2_config(
        recipe, classes=10, width=backbone.width, convention=backbone.convention, network=backbone.network
    )


def detector(backbone, folder=Path("unused"), **settings):
    return build_detector(config_of(backbone, **settings), backbone, folder / "backbone.pth", seed=0)


def bottom(backbone, **settings):
    return detector(backbone, **settings).get_submodule("backbone.bottom_up")


def images(seed=0):
    return torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(seed))


def trained(module):
    return {name for name, parameter in module.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize(
    "name",
    ["torchvision:resnet18", "torchvision:regnet_y_400mf", "torchvision:swin_t", "timm:convnext_atto", BATCH_NORMS],
)
def test_the_pyramid_stands_on_the_maps_of_the_proven_backbone(name):
    backbone = random(name)
    with torch.no_grad():
        found = bottom(backbone).eval()(images())
        expected = backbone.build().maps(images(), 4)
    assert list(found) == ["res2", "res3", "res4", "res5"]
    for stride, ours, theirs in zip((4, 8, 16, 32), found.values(), expected, strict=True):
        assert ours.shape[2:] == (64 // stride, 96 // stride)
        assert torch.equal(ours, theirs)


def test_timms_swin_is_the_one_that_timm_builds_for_the_size_of_the_image():
    """Its windows keep their size and are shifted in every second block, whatever the image's size."""
    backbone = random("timm:swin_tiny_patch4_window7_224")
    theirs = timm.create_model(
        "swin_tiny_patch4_window7_224", num_classes=0, img_size=(64, 96), always_partition=True
    ).eval()
    theirs.load_state_dict(dict(backbone.state_dict))
    with torch.no_grad():
        found = bottom(backbone).eval()(images())
        expected = theirs.forward_intermediates(images(), indices=4, intermediates_only=True)
    for ours, wanted in zip(found.values(), expected, strict=True):
        torch.testing.assert_close(ours, wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("timm:mixer_s16_224", r"takes no image of 96 x 64 px \(Input height"),
        ("timm:maxvit_nano_rw_256", r"takes no image of 96 x 64 px \(width \(12\) must be divisible by window"),
        ("timm:csatv2", "its maps have strides 8, 16, 32, 64; a feature pyramid stands on four of strides 4, 8, 16"),
        ("timm:shvit_s1", "has fewer than 4 maps; a feature pyramid stands on four"),
    ],
)
def test_a_network_that_makes_no_pyramid_is_refused_in_one_line(name, why):
    with pytest.raises(ModelError, match=f"{name}: {why}") as caught:
        detector(random(name))
    assert "\n" not in str(caught.value)


def test_a_network_of_tokens_is_told_of_vitdet_by_what_it_offers():
    with pytest.raises(ModelError, match="does not offer; it has plain, .* for a detector one of ViTDet, such as"):
        open_backbone("timm:vit_tiny_patch16_224=random").require("maps", FPN, "detection")


def test_a_c4_head_is_told_to_be_a_resnet50s():
    with pytest.raises(ModelError, match="trains a C4 detector, .* such as coco-mrcnn-fpn-1x"):
        open_backbone("torchvision:resnet18=random").require("detector", "coco-mrcnn-c4-1x")


@pytest.mark.parametrize(
    ("norm", "kind"),
    [("SyncBN", nn.SyncBatchNorm), ("naiveSyncBN", NaiveSyncBatchNorm), ("FrozenBN", FrozenBatchNorm2d)],
)
def test_norms_are_of_the_recipes_kind_and_keep_their_numbers_and_activations(norm, kind):
    backbone = random(BATCH_NORMS)
    found = bottom(backbone, norm=norm).eval()
    norms = [part for part in found.modules() if hasattr(part, "running_var")]
    assert {type(part) for part in norms} == {kind}
    with torch.no_grad():
        for ours, theirs in zip(found(images()).values(), backbone.build().maps(images(), 4), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_frozen_norms_stay_as_they_are_in_training():
    backbone = random("torchvision:resnet18")
    found = bottom(backbone, norm="FrozenBN").train()
    with torch.no_grad():
        for ours, theirs in zip(found(images()).values(), backbone.build().maps(images(), 4), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_norms_of_several_processors_keep_the_activation_behind_them():
    backbone = random(BATCH_NORMS)
    found = with_synchronized_norms(bottom(backbone, norm="SyncBN"), Process(rank=0, world=2, device="cpu")).eval()
    assert any(isinstance(part, ProcessorSyncBatchNorm) for part in found.modules())
    with torch.no_grad():
        for ours, theirs in zip(found(images()).values(), backbone.build().maps(images(), 4), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_layer_norms_stay_layer_norms():
    found = bottom(random("torchvision:swin_t"), norm="FrozenBN")
    assert not [part for part in found.modules() if isinstance(part, FrozenBatchNorm2d)]


def test_a_norm_that_no_network_has_is_refused():
    trunk = random("torchvision:resnet18").build()
    with pytest.raises(ModelError, match="norm=LN: the network has batch norms; expected BN, FrozenBN, SyncBN"):
        TrunkBackbone(trunk, "LN")


def test_what_no_map_depends_on_is_not_trained():
    """A parameter without a gradient would stop training on several processes."""
    found = bottom(random("torchvision:convnext_tiny"))
    all_of_it = {name for name, _ in found.named_parameters()}
    assert all_of_it - trained(found) == {"trunk.model.classifier.0.weight", "trunk.model.classifier.0.bias"}


@pytest.mark.parametrize(
    ("name", "first"),
    [  # what is trained first, by freeze_at
        ("torchvision:resnet18", ["conv1", "layer1", "layer2", "layer3", "layer4", None]),
        ("torchvision:swin_t", ["features.0", "features.1", "features.2", "features.4", "features.6", None]),
        ("timm:convnext_atto", ["stem", "stages.0", "stages.1", "stages.2", "stages.3", None]),
        (BATCH_NORMS, ["stem", "s1", "s2", "s3", "s4", None]),
    ],
)
def test_freeze_at_counts_the_stem_and_the_stages(name, first):
    backbone = random(name)
    for freeze_at, part in enumerate(first):
        found = TrunkBackbone(backbone.build(), "BN", freeze_at)
        names = [key.removeprefix("trunk.model.") for key in trained(found)]
        order = [key.removeprefix("trunk.model.") for key, _ in found.named_parameters()]
        assert (min(names, key=order.index) if names else None) == next(
            (key for key in order if part and key.startswith(f"{part}.")), None
        )


def test_frozen_stages_have_frozen_norms_and_the_others_the_recipes():
    found = bottom(random("torchvision:resnet18"), norm="SyncBN", freeze_at=2)
    kinds = {name: type(part) for name, part in found.named_modules() if name.endswith(("bn1", "bn2"))}
    assert kinds["trunk.model.bn1"] is kinds["trunk.model.layer1.1.bn2"] is FrozenBatchNorm2d
    assert kinds["trunk.model.layer2.0.bn1"] is nn.SyncBatchNorm


def test_a_recipes_drop_path_goes_before_the_librarys_own():
    rates = {}
    for name in ("torchvision:swin_t", "timm:swin_tiny_patch4_window7_224"):
        for rate in (0.0, 0.3):
            parts = bottom(random(name), drop_path=rate).modules()
            found = [part for part in parts if type(part).__name__ in ("StochasticDepth", "DropPath")]
            rates[name, rate] = {getattr(part, "p", getattr(part, "drop_prob", None)) for part in found}
    assert max(rates["torchvision:swin_t", 0.0]) == 0
    assert max(rates["timm:swin_tiny_patch4_window7_224", 0.0]) == 0
    assert max(rates["torchvision:swin_t", 0.3]) == pytest.approx(0.3)
    assert max(rates["timm:swin_tiny_patch4_window7_224", 0.3]) == pytest.approx(0.3)


@pytest.mark.parametrize("name", ["torchvision:resnet18", "timm:dla34", "resnet50"])
def test_drop_path_is_refused_where_no_block_can_be_left_out(name):
    backbone = open_backbone("random", 0.125) if name == "resnet50" else open_backbone(f"{name}=random")
    with pytest.raises(ModelError, match=f"drop_path=0.3: {name}.* has no blocks that can be left out; expected"):
        detector(backbone, drop_path=0.3)


@pytest.mark.parametrize("name", ["torchvision:resnet18", "timm:swin_tiny_patch4_window7_224"])
def test_every_tensor_arrives_to_the_bit(name):
    backbone = random(name)
    found = bottom(backbone).state_dict()
    for key, values in backbone.state_dict.items():
        assert torch.equal(found[f"trunk.model.{key}"], values), key


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda sent: sent.pop("weight"), "1 of 2 tensors of the network fit the detector's, not weight"),
        (lambda sent: sent.update(weight=torch.zeros(2, 3)), "1 of 2 .* not weight"),
        (lambda sent: sent.update(other=torch.zeros(2)), "2 of 2 .* not other"),
    ],
)
def test_weights_that_do_not_fit_are_refused(change, why):
    module = nn.Linear(2, 2)
    sent = {name: values.clone() for name, values in module.state_dict().items()}
    change(sent)
    with pytest.raises(WeightsError, match=f"mine: {why}"):
        fill(module, sent, what="mine")


class Killed(BaseException):
    """Ends a run on the spot."""


@pytest.mark.parametrize("name", ["torchvision:resnet18", "timm:convnext_atto"])
def test_a_trial_that_was_killed_ends_with_the_same_bits_and_names_its_backbone(scenes, tmp_path, monkeypatch, name):
    def run(out):
        protocol = find_protocol(FPN).with_settings(SMALL)
        asked = Asked(protocol, f"{name}=random", scenes / "coco", tmp_path / out, device="cpu", workers=0)
        return measure(asked, Options(checkpoint_seconds=0.0))

    step, steps = torch.optim.SGD.step, []

    def step_or_die(self, *words, **named):
        steps.append(self)
        if len(steps) == 3:
            raise Killed
        return step(self, *words, **named)

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.SGD, "step", step_or_die)
        with pytest.raises(Killed):
            run("broken")
    run("broken")
    run("whole")
    ours, theirs = (load(tmp_path / out / "model_final.pth")["model"] for out in ("broken", "whole"))
    assert [key for key in theirs if not torch.equal(ours[key], theirs[key])] == []
    result = read_result(tmp_path / "whole" / "result.json")
    assert result.details["backbone"] == f"{name}=random"
    assert "add_trunk_config" in (tmp_path / "whole" / "config.yaml").read_text()


READ = """
import sys
import numpy as np, torch
{imports}
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import get_cfg
from detectron2.modeling import build_model

cfg = get_cfg()
{room}
cfg.merge_from_file("config.yaml")
model = build_model(cfg).eval()
DetectionCheckpointer(model).load("model_final.pth")
with torch.no_grad():
    found = model([{{"image": torch.from_numpy(np.load("image.npy"))}}])[0]["instances"]
np.save("boxes.npy", found.pred_boxes.tensor.numpy())
np.save("scores.npy", found.scores.numpy())
assert any(name.startswith("twinbench") for name in sys.modules) == {ours}
"""


@pytest.mark.parametrize(
    ("name", "protocol", "imports", "room"),
    [
        ("random", FPN, "", ""),
        ("random", "demo-coco-mrcnn-c4-1x", "import twinbench.detection.models", ""),
        (
            "torchvision:resnet18=random",
            FPN,
            "from twinbench.detection.models import add_trunk_config",
            "add_trunk_config(cfg)",
        ),
    ],
    ids=["stock", "extra-norm", "trunk"],
)
def test_a_saved_detector_loads_in_detectron2_as_its_config_says(tmp_path, name, protocol, imports, room):
    """Nothing of ours is imported for a stock head on a ResNet-50."""
    backbone = open_backbone(name, 0.125)
    config = config_of(backbone, protocol)
    model = build_detector(config, backbone, tmp_path / "backbone.pth", seed=0).eval()
    with torch.no_grad():  # scores of a fresh detector are all alike; these are not
        model.get_submodule("roi_heads.box_predictor.cls_score").weight.mul_(100)
    torch.save({"model": model.state_dict(), "identity": {"seed": 0}}, tmp_path / "model_final.pth")
    (tmp_path / "config.yaml").write_text(yaml_of(config))
    image = np.random.default_rng(0).integers(0, 255, (3, 64, 96), dtype=np.uint8)
    np.save(tmp_path / "image.npy", image)
    with torch.no_grad():
        expected = model([{"image": torch.from_numpy(image)}])[0]["instances"]
    assert len(expected) > 0
    script = READ.format(imports=imports, room=room, ours=bool(imports))
    path = {"PYTHONPATH": str(ROOT)} if imports else {}
    where = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | path
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=where, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(np.load(tmp_path / "scores.npy"), expected.scores.numpy())
    np.testing.assert_array_equal(np.load(tmp_path / "boxes.npy"), expected.pred_boxes.tensor.numpy())
