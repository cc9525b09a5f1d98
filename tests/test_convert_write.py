"""What is written: the same tensors in every form, the input convention with them, and files that others load."""

import itertools
import json
import os
import resource
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

import twinbench
from twinbench.convert import CheckpointError, load_backbone, write_backbone
from twinbench.convert.architectures.network import ResNet50Network
from twinbench.convert.architectures.resnet import ResNet50
from twinbench.convert.backbone import Backbone
from twinbench.convert.convention import IMAGENET, UNIT, InputConvention
from twinbench.convert.files import ABANDONED
from twinbench.convert.finding.prove import identity
from twinbench.convert.opening import open_backbone
from twinbench.protocols.house import replacing

WIDTH = 1 / 16
FORMS = {
    "torchvision": "out.pth",
    "detectron2": "d2.pth",
    "detectron2 pickle": "d2.pkl",
    "timm": "timm.pth",
    "safetensors": "out.safetensors",
}
BGR = InputConvention((103.53, 116.28, 123.675), (1.0, 1.0, 1.0), "bgr", 255.0)


def trained(width: float = WIDTH) -> dict[str, Tensor]:
    """Return a small backbone in which no tensor is as initialised, of moderate activations."""
    generator = torch.Generator().manual_seed(0)
    state_dict = open_backbone("random", width).state_dict
    for name, values in state_dict.items():
        if name.endswith("num_batches_tracked"):
            values.fill_(7)
        elif values.ndim == 1:
            values.copy_(torch.rand(values.shape, generator=generator) + 0.5)
    return state_dict


def backbone(convention: InputConvention = IMAGENET) -> Backbone:
    weights = trained()
    return Backbone(weights, "torchvision", "", identity(weights), ResNet50Network(WIDTH), convention)


def write(one: Backbone, form: str, folder: Path) -> Path:
    path = folder / FORMS[form]
    write_backbone(one, path, form.split()[0])
    return path


@pytest.mark.parametrize(("first", "second"), list(itertools.product(FORMS, FORMS)))
def test_round_trips_are_exact_in_every_pair(tmp_path: Path, first: str, second: str) -> None:
    one = backbone(BGR)
    two = load_backbone(write(load_backbone(write(one, first, tmp_path)), second, tmp_path))
    assert list(two.state_dict) == list(one.state_dict)
    assert all(torch.equal(two.state_dict[name], values) for name, values in one.state_dict.items())
    assert (two.sha256, two.width, two.convention) == (one.sha256, WIDTH, BGR)


@pytest.mark.parametrize("form", FORMS)
def test_the_same_backbone_gives_the_same_bytes(tmp_path: Path, form: str) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    assert (
        write(backbone(), form, tmp_path / "one").read_bytes() == write(backbone(), form, tmp_path / "two").read_bytes()
    )


def test_each_form_is_what_its_library_reads(tmp_path: Path) -> None:
    one = backbone(UNIT)
    plain = torch.load(write(one, "torchvision", tmp_path), weights_only=True)
    assert len(plain) == 318
    ResNet50(WIDTH).load_state_dict(plain)
    timm = torch.load(write(one, "timm", tmp_path), weights_only=True)
    assert timm["arch"] == "resnet50"
    assert list(timm["state_dict"]) == list(one.state_dict)
    with safe_open(write(one, "safetensors", tmp_path), "pt") as file:
        assert set(file.keys()) == set(one.state_dict)
        assert file.metadata()["format"] == "pt"
        assert json.loads(file.metadata()["twinbench"])["convention"]["std"] == [1.0, 1.0, 1.0]
    detectron2 = torch.load(write(one, "detectron2", tmp_path), weights_only=True)
    assert detectron2["matching_heuristics"] is True
    assert detectron2["__author__"]
    assert len(detectron2["model"]) == 318


def test_random_can_be_written_but_not_mistaken_for_a_trained_one(tmp_path: Path) -> None:
    write_backbone(open_backbone("random", WIDTH), tmp_path / "random.pth")
    with pytest.raises(CheckpointError, match="freshly initialised .* ask for random weights by name"):
        load_backbone(tmp_path / "random.pth")


@pytest.mark.parametrize(
    ("name", "to", "message"),
    [
        ("out.pth", "onnx", "unknown form 'onnx'.*Known: detectron2"),
        ("out.safetensors", "torchvision", r"name ending in \.safetensors for the form torchvision; call it out\.pth"),
        ("out.pkl", "timm", r"name ending in \.pkl"),
        ("out.pth", "safetensors", r"needs a name ending in \.safetensors"),
        (".", "torchvision", "a folder; OUT is the file to write"),
        ("out.onnx", "torchvision", r"a name ending in \.onnx, which no form has; expected \.pth, .* call it out\.pth"),
        ("out.h5", "timm", r"a name ending in \.h5"),
        ("out.PKL", "detectron2", r"a name ending in \.PKL"),
        ("out.tar", "torchvision", r"a name ending in \.tar"),
        ("out", "torchvision", "a name without an ending, which no form has"),
    ],
)
def test_names_that_do_not_fit(tmp_path: Path, name: str, to: str, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        write_backbone(backbone(), tmp_path / name, to)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["out.pt", "out.pth.tar", "out.ckpt", "out.bin"])
def test_names_of_torch(tmp_path: Path, name: str) -> None:
    write_backbone(backbone(), tmp_path / name, "torchvision")
    assert torch.load(tmp_path / name, weights_only=True).keys() == backbone().state_dict.keys()


def test_a_name_is_refused_before_a_checkpoint_is_looked_for(tmp_path: Path, capsys) -> None:
    assert twinbench.main(["convert", "nowhere.pth", str(tmp_path / "out.onnx")]) == 2
    assert "out.onnx: a name ending in .onnx, which no form has" in capsys.readouterr().err


def test_a_damaged_note_is_an_error(tmp_path: Path) -> None:
    contents = {"arch": "resnet50", "state_dict": trained(), "twinbench": '{"convention": {"mean": [1, 2]}}'}
    torch.save(contents, tmp_path / "file.pth")
    with pytest.raises(CheckpointError, match="metadata is damaged"):
        load_backbone(tmp_path / "file.pth")


def detectron2_config(norm: str, **changes: Any) -> Any:
    """Return a configuration of Detectron2 for a ResNet-50 of WIDTH on the CPU."""
    config = pytest.importorskip("detectron2.config").get_cfg()
    config.MODEL.DEVICE = "cpu"
    config.MODEL.WEIGHTS = ""
    config.MODEL.RESNETS.NORM = norm
    config.MODEL.RESNETS.STRIDE_IN_1X1 = False
    config.MODEL.RESNETS.STEM_OUT_CHANNELS = round(64 * WIDTH)
    config.MODEL.RESNETS.RES2_OUT_CHANNELS = round(256 * WIDTH)
    config.MODEL.RESNETS.WIDTH_PER_GROUP = round(64 * WIDTH)
    config.MODEL.BACKBONE.FREEZE_AT = 0
    for name, value in changes.items():
        config.merge_from_list([name.replace("__", "."), value])
    return config


@pytest.mark.parametrize("suffix", ["detectron2", "detectron2 pickle"])
@pytest.mark.parametrize("norm", ["FrozenBN", "BN", "naiveSyncBN"])
def test_detectron2_computes_the_same_features(tmp_path: Path, norm: str, suffix: str) -> None:
    config = detectron2_config(norm, MODEL__RESNETS__OUT_FEATURES=["res2", "res3", "res4", "res5"])
    from detectron2.checkpoint import DetectionCheckpointer
    from detectron2.layers import ShapeSpec
    from detectron2.modeling.backbone import build_resnet_backbone

    one = backbone()
    theirs = build_resnet_backbone(config, ShapeSpec(channels=3)).eval()
    left = DetectionCheckpointer(theirs).load(str(write(one, suffix, tmp_path)))
    assert left["matching_heuristics"] is True
    ours = one.build()
    x = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        maps = theirs(x)
        x = ours.maxpool(ours.relu(ours.bn1(ours.conv1(x))))
        for number in range(1, 5):
            x = ours.get_submodule(f"layer{number}")(x)
            assert torch.equal(maps[f"res{number + 1}"], x), f"res{number + 1} differs"


@pytest.mark.parametrize(
    ("backbone_name", "where", "heads"),
    [
        ("build_resnet_backbone", ("backbone.", "roi_heads."), "Res5ROIHeads"),
        ("build_resnet_fpn_backbone", ("backbone.bottom_up.",), "StandardROIHeads"),
    ],
    ids=["C4", "FPN"],
)
def test_detectron2_models_take_every_tensor(
    tmp_path: Path, backbone_name: str, where: tuple[str, ...], heads: str
) -> None:
    config = detectron2_config("BN", MODEL__BACKBONE__NAME=backbone_name, MODEL__ROI_HEADS__NAME=heads)
    if "fpn" in backbone_name:
        config.MODEL.RESNETS.OUT_FEATURES = ["res2", "res3", "res4", "res5"]
        config.MODEL.FPN.IN_FEATURES = ["res2", "res3", "res4", "res5"]
        config.MODEL.ANCHOR_GENERATOR.SIZES = [[32], [64], [128], [256], [512]]
        config.MODEL.RPN.IN_FEATURES = ["p2", "p3", "p4", "p5", "p6"]
        config.MODEL.ROI_HEADS.IN_FEATURES = ["p2", "p3", "p4", "p5"]
        config.MODEL.ROI_BOX_HEAD.NAME = "FastRCNNConvFCHead"
        config.MODEL.ROI_BOX_HEAD.NUM_FC = 1
        config.MODEL.ROI_BOX_HEAD.FC_DIM = 8
    from detectron2.checkpoint import DetectionCheckpointer
    from detectron2.modeling import build_model as build_detector

    one = backbone()
    detector = build_detector(config)
    DetectionCheckpointer(detector).load(str(write(one, "detectron2", tmp_path)))
    from twinbench.convert.finding.names import detectron2_name

    state = detector.state_dict()
    taken = [
        name
        for name, values in one.state_dict.items()
        if any(torch.equal(state.get(place + detectron2_name(name), torch.empty(0)), values) for place in where)
    ]
    assert len([name for name in taken if not name.endswith("num_batches_tracked")]) == 265


def test_what_a_kill_left_is_removed_once_nobody_writes_it(tmp_path: Path) -> None:
    fresh = tmp_path / ".out.pth.2.part"
    with replacing(tmp_path / "out.pth") as left:  # where a kill would leave it
        left.write_bytes(b"whole")
    for path in (left, fresh):
        path.write_bytes(b"half")
    os.utime(left, (0, time.time() - ABANDONED - 1))
    write(backbone(), "torchvision", tmp_path)
    assert not left.exists()
    assert fresh.exists()


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of 5 MB."""
    path = tmp_path_factory.mktemp("large") / "large.safetensors"
    save_file(trained(0.25), path)
    return path


@pytest.mark.parametrize("form", FORMS)
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path, capsys, large: Path, form: str) -> None:
    out, limits = tmp_path / FORMS[form], resource.getrlimit(resource.RLIMIT_FSIZE)
    out.write_bytes(b"old")
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
    try:
        code = twinbench.main(["convert", str(large), str(out), "--to", form.split()[0]])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    said = capsys.readouterr()
    assert (code, said.out) == (2, ""), said.err
    assert said.err.startswith(f"twinbench convert: {out}: ")
    assert said.err.count("\n") == 1
    assert out.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [out]


def test_an_input_convention_is_noted_for_random_too(tmp_path: Path) -> None:
    assert twinbench.main(["convert", "random", str(tmp_path / "one.safetensors"), "--input", "unit"]) == 0
    with safe_open(tmp_path / "one.safetensors", "pt") as file:
        assert json.loads(file.metadata()["twinbench"])["convention"]["std"] == [1.0, 1.0, 1.0]
