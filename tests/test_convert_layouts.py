"""Every layout of the zoo, on a file built as the original code saves it: the same nesting, classes and container."""

import argparse
import pathlib
import pickle
import re
import sys
import types
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from twinbench.convert import CheckpointError, load_backbone
from twinbench.convert.architectures.resnet import ResNet50
from twinbench.convert.convention import IMAGENET, IMAGENET_BGR
from twinbench.convert.finding.layouts import LAYOUTS
from twinbench.convert.finding.names import transformers_name
from twinbench.convert.inspect import inspect

WIDTH = 1 / 16
Weights = dict[str, Tensor]


def trained(seed: int = 0, width: float = WIDTH) -> Weights:
    """Return a small backbone in which no tensor is as initialised."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: values + torch.rand(values.shape, generator=generator).add(0.5).to(values.dtype)
        for name, values in ResNet50(width).state_dict().items()
    }


def under(prefix: str, weights: Weights) -> Weights:
    return OrderedDict((prefix + name, values) for name, values in weights.items())


def head(*names: str) -> Weights:
    return {f"{name}.weight": torch.ones(3, 3) for name in names}


def fake(monkeypatch: pytest.MonkeyPatch, path: str, base: type = object, **attributes: Any) -> Any:
    """Return a class that pickles under the dotted `path` of a package that is not installed here."""
    module, name = path.rsplit(".", 1)
    made = type(name, (base,), {"__module__": module, **attributes})
    parts = module.split(".")
    for end in range(1, len(parts) + 1):
        package = ".".join(parts[:end])
        if package != "__main__":
            monkeypatch.setitem(sys.modules, package, sys.modules.get(package, types.ModuleType(package)))
    monkeypatch.setattr(sys.modules[module], name, made, raising=False)
    return made


A, B = trained(0), trained(1)
SGD = torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], lr=0.1, momentum=0.9).state_dict()
EPOCH = {"epoch": 100, "arch": "resnet50", "optimizer": SGD}

# name of the test: (contents, layout, prefix); the backbone is always A unless a branch is asked for
SAVED: dict[str, tuple[Any, str, str]] = {
    "barlow-twins": (OrderedDict(A), "torchvision", ""),
    "torchvision": (OrderedDict(A | head("fc")), "torchvision", ""),
    "barlow-twins-full": (
        {"epoch": 1000, "model": under("module.", under("backbone.", A) | head("projector.0", "bn")), "optimizer": SGD},
        "barlow-twins-full",
        "module.backbone.",
    ),
    "vicreg-full": (
        {"epoch": 1000, "model": under("module.", under("backbone.", A) | head("projector.0")), "optimizer": SGD},
        "vicreg-full",
        "module.backbone.",
    ),
    "mocov1": (
        EPOCH
        | {
            "state_dict": under("module.encoder_q.", A | head("fc"))
            | under("module.encoder_k.", B | head("fc"))
            | {"module.queue": torch.ones(3, 5), "module.queue_ptr": torch.zeros(1, dtype=torch.int64)}
        },
        "moco",
        "module.encoder_q.",
    ),
    "pcl-mocov2": (
        EPOCH
        | {
            "state_dict": under("module.encoder_q.", A | head("fc.0", "fc.2"))
            | under("module.encoder_k.", B | head("fc.0", "fc.2"))
            | {"module.queue": torch.ones(3, 5), "module.queue_ptr": torch.zeros(1, dtype=torch.int64)}
        },
        "moco",
        "module.encoder_q.",
    ),
    "mocov3": (
        EPOCH
        | {
            "state_dict": under("module.base_encoder.", A | head("fc.0"))
            | under("module.momentum_encoder.", B | head("fc.0"))
            | head("module.predictor.0"),
            "scaler": {"scale": 65536.0},
        },
        "mocov3",
        "module.base_encoder.",
    ),
    "simsiam": (
        EPOCH | {"state_dict": under("module.encoder.", A | head("fc.0", "fc.6")) | head("module.predictor.0")},
        "simsiam",
        "module.encoder.",
    ),
    "swav": (under("module.", A | head("projection_head.0", "prototypes")), "swav", "module."),
    "deepcluster-v2": (
        under("module.", A | head("projection_head.0", "prototypes.prototypes0", "prototypes.prototypes1")),
        "swav",
        "module.",
    ),
    "dino-full": (
        {
            "student": under("module.backbone.", B) | head("module.head.mlp.0"),
            "teacher": under("backbone.", A) | head("head.mlp.0"),
            "optimizer": SGD,
            "epoch": 800,
            "args": argparse.Namespace(arch="resnet50", lr=0.3, output_dir=pathlib.PosixPath("/out")),
            "dino_loss": OrderedDict(center=torch.zeros(1, 5)),
        },
        "dino-full",
        "backbone.",
    ),
    "pycontrast": (
        {"opt": argparse.Namespace(method="InfoMin"), "model": under("module.encoder.", A) | head("module.head.0")}
        | {"model_ema": under("encoder.", B) | head("head.0"), "contrast": {"memory": torch.ones(2)}},
        "pycontrast",
        "module.encoder.",
    ),
    "pirl": (
        {"model": under("module.encoder.", A) | head("module.head.0", "module.head_jig.fc1")},
        "pycontrast",
        "module.encoder.",
    ),
    "cmc": (
        {
            "model": under("module.encoder1.", A)
            | under("module.encoder2.", B)
            | head("module.head1.0", "module.head2.0")
        },
        "pycontrast-cmc",
        "module.encoder1.",
    ),
    "densecl": ({"state_dict": OrderedDict(A), "author": "densecl"}, "state-dict", ""),
    "pixpro": (
        {
            "opt": argparse.Namespace(model="PixPro"),
            "model": under("module.encoder.", A)
            | under("module.encoder_k.", B)
            | head("module.projector.linear1", "module.projector_k.linear1", "module.value_transform"),
            "optimizer": SGD,
            "epoch": 400,
        },
        "pixpro",
        "module.encoder.",
    ),
    "obow-training": (
        {
            "epoch": 200,
            "network": {
                f"_feature_blocks.{re.sub('^bn1', '0.bn', re.sub('^layer', '', name))}".replace(
                    "s.conv1", "s.0.Conv"
                ): values
                for name, values in A.items()
            },
            "meters": None,
        },
        "obow",
        "_feature_blocks.",
    ),
    "vissl": (
        {
            "phase_idx": 999,
            "iteration": np.float64(1.5),
            "loss": {"name": "barlow_twins_loss"},
            "classy_state_dict": {
                "train": True,
                "base_model": {
                    "model": {"trunk": under("_feature_blocks.", A), "heads": head("0.clf.0"), "target_heads": {}},
                    "meters": None,
                },
                "optimizer": SGD,
            },
        },
        "vissl",
        "_feature_blocks.",
    ),
    "vissl-converted": ({"model_state_dict": under("_feature_blocks.", A)}, "vissl-converted", "_feature_blocks."),
    "vissl-trunk": (under("trunk._feature_blocks.", A) | head("heads.0.clf"), "vissl-trunk", "trunk._feature_blocks."),
    "openselfsup": ({"state_dict": OrderedDict(A)}, "state-dict", ""),
    "mmselfsup": (
        {
            "meta": {"experiment_name": "barlowtwins", "seed": 0, "time": "20220825"},
            "state_dict": under("backbone.", A)
            | head("neck.projector.0", "head.loss", "data_preprocessor.x")
            | under("target_net.0.", B),
        },
        "mmselfsup",
        "backbone.",
    ),
    "lightly-barlow": (
        {
            "epoch": 99,
            "state_dict": under("backbone.", A) | head("projection_head.layers.0", "online_classifier.linear"),
        }
        | {"pytorch-lightning_version": "2.0.3", "hparams_name": "kwargs", "hyper_parameters": {"num_classes": 1000}},
        "lightly",
        "backbone.",
    ),
    "lightly-dino": (
        {
            "state_dict": under("backbone.", A)
            | under("student_backbone.", B)
            | head("projection_head.0", "student_projection_head.0")
            | {"criterion.center": torch.zeros(1, 1, 3)}
        },
        "lightly",
        "backbone.",
    ),
    "solo-learn": (
        {
            "state_dict": under("backbone.", A)
            | under("momentum_backbone.", B)
            | head("classifier", "projector.0", "momentum_projector.0", "predictor.0"),
            "callbacks": {"ModelCheckpoint": {"best_model_score": torch.tensor(0.5)}},
        },
        "solo-learn",
        "backbone.",
    ),
    "solo-learn-old": (
        {"state_dict": under("encoder.", A) | head("classifier", "projector.0")},
        "solo-learn-encoder",
        "encoder.",
    ),
    "timm": ({"arch": "resnet50", "state_dict": A | head("fc"), "version": 2}, "state-dict", ""),
    "msf": (
        {
            "opt": argparse.Namespace(),
            "state_dict": under("module.encoder_q.", A | head("fc.0"))
            | under("module.encoder_t.", B)
            | head("module.predict_q.0"),
        },
        "msf",
        "module.encoder_q.",
    ),
    "detectron2-moco-converter": (
        {"model": {"stem.fc.weight": torch.ones(2, 2)}, "matching_heuristics": True, "__author__": "MOCO"},
        "detectron2",
        "",
    ),
}


def detectron2_names(weights: Weights) -> Weights:
    """Return the names as MoCo's converter makes them, by its order of text replacements."""
    named: Weights = {}
    for old, values in weights.items():
        name = old if "layer" in old else "stem." + old
        for number in "1234":
            name = name.replace(f"layer{number}", f"res{int(number) + 1}")
        for number in "123":
            name = name.replace(f"bn{number}", f"conv{number}.norm")
        named[name.replace("downsample.0", "shortcut").replace("downsample.1", "shortcut.norm")] = values
    return named


SAVED["detectron2-moco-converter"][0]["model"].update(detectron2_names(A))


def assert_is(path: Path, weights: Weights, layout: str) -> None:
    """Load `path` and compare every tensor with `weights`."""
    backbone = load_backbone(path)
    for name, values in backbone.state_dict.items():
        assert name.endswith("num_batches_tracked") or torch.equal(values, weights[name]), name
    assert backbone.layout == layout


# Published before torch 1.6, or in the container of before.
LEGACY = ("mocov1", "pcl-mocov2", "swav", "pirl", "cmc", "openselfsup", "torchvision")


@pytest.mark.parametrize(("origin", "legacy"), [*((name, False) for name in SAVED), *((name, True) for name in LEGACY)])
def test_each_torch_layout(tmp_path: Path, origin: str, legacy: bool) -> None:
    contents, layout, prefix = SAVED[origin]
    path = tmp_path / f"{origin}.pth.tar"
    torch.save(contents, path, _use_new_zipfile_serialization=not legacy)
    assert_is(path, A, layout)
    backbone = load_backbone(path)
    assert backbone.prefix == prefix
    assert backbone.convention == IMAGENET
    assert backbone.width == WIDTH


@pytest.mark.parametrize(
    ("origin", "label"),
    [
        ("mocov1", "moco:key"),
        ("mocov3", "mocov3:momentum"),
        ("dino-full", "dino-full:student"),
        ("pycontrast", "pycontrast:ema"),
        ("pixpro", "pixpro:key"),
        ("lightly-dino", "lightly:student"),
        ("solo-learn", "solo-learn:momentum"),
    ],
)
def test_the_other_branch_on_request(tmp_path: Path, origin: str, label: str) -> None:
    torch.save(SAVED[origin][0], tmp_path / "file.pth")
    backbone = load_backbone(tmp_path / "file.pth", label)
    assert backbone.layout == label
    assert torch.equal(backbone.state_dict["conv1.weight"], B["conv1.weight"])


def test_timm_safetensors(tmp_path: Path) -> None:
    save_file({name: values.contiguous() for name, values in (A | head("fc")).items()}, tmp_path / "model.safetensors")
    assert_is(tmp_path / "model.safetensors", A, "torchvision")


def test_obow_in_a_zip_archive(tmp_path: Path) -> None:
    torch.save({"network": A | head("fc"), "epoch": 200}, tmp_path / "student.pth.tar")
    with zipfile.ZipFile(tmp_path / "obow.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(tmp_path / "student.pth.tar", "ResNet50_OBoW/torchvision_resnet50_student.pth.tar")
        archive.writestr("ResNet50_OBoW/README.txt", "OBoW")
    assert_is(tmp_path / "obow.zip", A, "obow")


def haiku(weights: Weights) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return parameters and state as Haiku nests them: (H, W, in, out) convolutions, (1, 1, 1, C) batch norms."""
    params: dict[str, Any] = {"projector/linear": {"w": np.ones((2, 2), np.float32)}}
    state: dict[str, Any] = {}
    for name, values in weights.items():
        module, _, slot = name.rpartition(".")
        parts = re.fullmatch(r"layer(\d)\.(\d)\.(\D+)(\d)", module)
        is_conv = values.ndim == 4
        if parts:
            kind = {"downsample.": "shortcut_" + ("conv" if is_conv else "batchnorm")}.get(parts[3])
            kind = kind or f"{'conv' if is_conv else 'batchnorm'}_{int(parts[4]) - 1}"
            module = f"block_group_{int(parts[1]) - 1}/~/block_{parts[2]}/~/{kind}"
        else:
            module = "initial_conv" if is_conv else "initial_batchnorm"
        module = f"res_net50/~/{module}"
        if is_conv:
            params[module] = {"w": values.permute(2, 3, 1, 0).numpy()}
        elif slot in ("weight", "bias"):
            params.setdefault(module, {})[{"weight": "scale", "bias": "offset"}[slot]] = values.numpy().reshape(
                1, 1, 1, -1
            )
        elif slot in ("running_mean", "running_var"):
            average = values.numpy().reshape(1, 1, 1, -1)
            state[f"{module}/~/{slot[8:]}_ema"] = {"average": average, "hidden": average * 2, "counter": np.int32(5)}
    return params, state


def byol_experiment(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return what DeepMind's BYOL pickles, of classes that are not installed here: A is online, B the target."""
    frozen = fake(
        monkeypatch,
        "haiku._src.data_structures.frozendict",
        __init__=lambda self, storage: setattr(self, "_storage", storage),
        __reduce__=lambda self: (type(self), (self._storage,)),
    )
    state = fake(monkeypatch, "byol.byol_experiment._ByolExperimentState", tuple)
    state.__new__ = lambda cls, *values: tuple.__new__(cls, values)
    state.__getnewargs__ = lambda self: tuple(self)
    lars = fake(monkeypatch, "byol.utils.optimizers.LarsState", tuple)

    def freeze(tree: dict[str, Any]) -> Any:
        return frozen({module: frozen(inner) for module, inner in tree.items()})

    (params, statistics), (target, target_statistics) = haiku(A), haiku(B)
    experiment = state(*map(freeze, (params, target, statistics, target_statistics)), lars(({},)))
    return {"experiment_state": experiment, "step": np.int64(3), "rng": np.zeros(2, np.uint32)}


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_byol_from_haiku(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: int) -> None:
    (tmp_path / "byol.pkl").write_bytes(pickle.dumps(byol_experiment(monkeypatch), protocol))
    assert_is(tmp_path / "byol.pkl", A, "byol")
    target = load_backbone(tmp_path / "byol.pkl", "byol:target").state_dict
    assert torch.equal(target["layer4.2.conv2.weight"], B["layer4.2.conv2.weight"])


def caffe2(weights: Weights, statistics: bool = True) -> dict[str, np.ndarray]:
    """Return blobs as fair_self_supervision_benchmark names them; `riv` holds the variance."""
    slots = {"weight": "s", "bias": "b", "running_mean": "rm", "running_var": "riv"}
    blobs: dict[str, np.ndarray] = {"pred_w": np.ones((2, 2), np.float32), "conv1_w_momentum": np.ones(1, np.float32)}
    for name, values in weights.items():
        module, _, slot = name.rpartition(".")
        parts = re.fullmatch(r"layer(\d)\.(\d)\.(\D+)(\d)", module)
        if slot == "num_batches_tracked" or (slot in ("running_mean", "running_var") and not statistics):
            continue
        base = "conv1" if values.ndim == 4 else "res_conv1"
        if parts:
            branch = "branch1" if parts[3] == "downsample." else "branch2" + " abc"[int(parts[4])]
            base = f"res{int(parts[1]) + 1}_{parts[2]}_{branch}"
        blobs[f"{base}_w" if values.ndim == 4 else f"{base}_bn_{slots[slot]}"] = values.numpy()
    return blobs


@pytest.mark.parametrize("wrapped", [True, False])
def test_caffe2_blobs(tmp_path: Path, wrapped: bool) -> None:
    blobs = caffe2(A)
    (tmp_path / "jigsaw.pkl").write_bytes(pickle.dumps({"blobs": blobs} if wrapped else blobs, 2))
    assert_is(tmp_path / "jigsaw.pkl", A, "caffe2")
    assert load_backbone(tmp_path / "jigsaw.pkl").convention == IMAGENET_BGR


def test_caffe2_jigsaw_takes_the_first_of_the_nine_branches(tmp_path: Path) -> None:
    blobs = {
        re.sub(r"_(w|bn_\w+)$", r"_s0_\1", name): values for name, values in caffe2(A).items() if "pred" not in name
    }
    blobs |= {name.replace("_s0_", "_s1_"): values for name, values in blobs.items()}
    (tmp_path / "jigsaw.pkl").write_bytes(pickle.dumps({"blobs": blobs}, 2))
    assert_is(tmp_path / "jigsaw.pkl", A, "caffe2")


def test_detectron2_pickle(tmp_path: Path) -> None:
    model = {name: values.numpy() for name, values in detectron2_names(A).items() if "num_batches" not in name}
    contents = {"model": model, "__author__": "MOCO", "matching_heuristics": True}
    (tmp_path / "moco.pkl").write_bytes(pickle.dumps(contents))
    assert_is(tmp_path / "moco.pkl", A, "detectron2")


def test_classes_of_packages_that_are_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    history = fake(monkeypatch, "mmengine.logging.history_buffer.HistoryBuffer", mean=staticmethod(len))
    history.__reduce__ = lambda self: (history, (), {"_history": np.ones(3), "_statistics": {"mean": (getattr, 1)}})
    lightning = fake(monkeypatch, "pytorch_lightning.utilities.parsing.AttributeDict", dict)
    function = fake(monkeypatch, "__main__.exclude_bias_and_norm")  # Barlow Twins before 21149b4 pickled a function
    contents = {
        "state_dict": under("backbone.", A) | head("neck.0"),
        "message_hub": {"log_scalars": {"loss": history()}},
        "hyper_parameters": lightning(lr=0.1),
        "optimizer": {"param_groups": [{"weight_decay_filter": function}]},
    }
    torch.save(contents, tmp_path / "file.pth")
    monkeypatch.undo()
    assert_is(tmp_path / "file.pth", A, "mmselfsup")


def test_a_place_that_no_layout_has_is_found_and_can_be_named(tmp_path: Path) -> None:
    torch.save({"net": under("trunk.body.", A) | head("my_head")}, tmp_path / "own.pth")
    assert_is(tmp_path / "own.pth", A, "net/trunk.body.")
    assert load_backbone(tmp_path / "own.pth", "net/trunk.body.").layout == "net/trunk.body."
    with pytest.raises(CheckpointError, match=r"no backbone at --layout net/; those in the file: .*net/trunk\.body\."):
        load_backbone(tmp_path / "own.pth", "net/")
    with pytest.raises(CheckpointError, match=r"unknown layout 'mocoo'\. Did you mean 'moco' or"):
        load_backbone(tmp_path / "own.pth", "mocoo")


def test_a_head_that_nobody_knows_must_be_named(tmp_path: Path) -> None:
    torch.save({"net": A | head("my_head")}, tmp_path / "own.pth")
    with pytest.raises(CheckpointError, match=r"1 left over .*my_head\.weight; .*--drop"):
        load_backbone(tmp_path / "own.pth")
    assert load_backbone(tmp_path / "own.pth", drop=["my_head.*"]).layout == "net/"


WRAPPED = {
    "module.": lambda name: f"module.{name}",
    "module._orig_mod.model.": lambda name: f"module._orig_mod.model.{name}",
    "_orig_mod.module.net.0.": lambda name: f"_orig_mod.module.net.0.{name}",
    "_fsdp_wrapped_module.": lambda name: "_fsdp_wrapped_module." + name.replace(".0.", ".0._fsdp_wrapped_module.", 1),
    "model.": lambda name: "model." + name.replace(".conv", "._checkpoint_wrapped_module.conv", 1),
}


@pytest.mark.parametrize("wrapped", WRAPPED)
def test_wrappers_at_any_depth_are_taken_off(tmp_path: Path, wrapped: str) -> None:
    spell = WRAPPED[wrapped]
    torch.save({"state": {"net": {spell(name): values for name, values in A.items()}}}, tmp_path / "file.pth")
    backbone = load_backbone(tmp_path / "file.pth")
    assert torch.equal(backbone.state_dict["layer4.2.conv2.weight"], A["layer4.2.conv2.weight"])
    again = load_backbone(tmp_path / "file.pth", backbone.layout)
    assert again.sha256 == backbone.sha256


def test_two_networks_that_differ_by_a_wrapper_stay_two(tmp_path: Path) -> None:
    torch.save({"model": under("module.backbone.", A) | under("backbone.", B)}, tmp_path / "file.pth")
    with pytest.raises(CheckpointError, match=r"2 complete backbones; choose one: .*module\.backbone\."):
        load_backbone(tmp_path / "file.pth")


@pytest.mark.parametrize("prefix", ["backbone.", "student_backbone.", "encoder.", "momentum_backbone.", ""])
def test_a_deeper_resnet_does_not_pass_with_its_blocks_as_heads(tmp_path: Path, prefix: str) -> None:
    deeper = A | {
        name.replace("layer3.5.", f"layer3.{block}."): values
        for name, values in A.items()
        for block in range(6, 24)
        if name.startswith("layer3.5.")
    }
    torch.save({"state_dict": under(prefix, deeper) | head("online_classifier", "projector")}, tmp_path / "file.pth")
    for drop in ([], ["*layer3.*"], ["layer3.1*", "layer3.2*", "layer3.6*"]):
        with pytest.raises(CheckpointError, match=r"left over .*layer3\.6\..*inside the trunk nothing is left out"):
            load_backbone(tmp_path / "file.pth", drop=drop)


def test_another_network_in_another_librarys_names_is_not_called_a_head(tmp_path: Path) -> None:
    named = {transformers_name(name): values for name, values in A.items()}
    named["encoder.stages.0.layers.0.layer.2.attention.squeeze.weight"] = torch.ones(2, 2)
    torch.save(named, tmp_path / "file.pth")
    for drop in ([], ["encoder.*"]):
        with pytest.raises(CheckpointError, match="1 left over .*inside the trunk nothing is left out") as caught:
            load_backbone(tmp_path / "file.pth", drop=drop)
        assert "--drop" not in str(caught.value)


def test_known_parts_in_an_unknown_combination(tmp_path: Path) -> None:
    torch.save({"model_state_dict": under("module.encoder.", A) | head("module.projector.0")}, tmp_path / "file.pth")
    assert_is(tmp_path / "file.pth", A, "model_state_dict/module.encoder.")


def test_several_backbones_of_different_layouts_need_a_choice(tmp_path: Path) -> None:
    contents = {"model": OrderedDict(A), "state_dict": under("backbone.", B) | head("neck.0")}
    torch.save(contents, tmp_path / "both.pth")
    with pytest.raises(CheckpointError, match="2 complete backbones; choose one: .*--layout mmselfsup.*trainer"):
        load_backbone(tmp_path / "both.pth")
    backbone = load_backbone(tmp_path / "both.pth", "torchvision-trainer")
    assert torch.equal(backbone.state_dict["bn1.bias"], A["bn1.bias"])


def test_what_was_trained_comes_before_its_average(tmp_path: Path) -> None:
    torch.save({"net": A, "net_ema": B}, tmp_path / "both.pth")
    assert_is(tmp_path / "both.pth", A, "net/")
    facts = inspect(str(tmp_path / "both.pth"))
    assert facts["others"] == ["net_ema/"]
    assert torch.equal(load_backbone(tmp_path / "both.pth", "net_ema/").state_dict["bn1.bias"], B["bn1.bias"])


def test_no_row_of_the_table_says_the_same_twice() -> None:
    rows = [(row.label, row.at, row.prefix, row.naming) for row in LAYOUTS]
    assert len(set(rows)) == len(rows)
