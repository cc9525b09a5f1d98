"""Files as the libraries' own saving code writes them: which backbone is taken, and which others are offered."""

import argparse
import copy
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.optim.swa_utils import AveragedModel
from torchvision.models import resnet18

from twinbench.convert import CheckpointError
from twinbench.convert.convention import IMAGENET
from twinbench.convert.finding.find import Wanted
from twinbench.convert.inspect import inspect
from twinbench.convert.opening import open_backbone

Weights = dict[str, Tensor]


def moved(model: nn.Module, seed: int = 1) -> Any:
    """Return the model with every tensor moved from its initial value."""
    generator = torch.Generator().manual_seed(seed)
    for name, values in model.state_dict().items():
        if values.is_floating_point():
            noise = torch.rand(values.shape, generator=generator)
            values.add_(noise if "running_var" in name else (noise - 0.5) * 0.05)
    return model.eval()


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    return moved(resnet18())


@pytest.fixture(scope="module")
def average() -> nn.Module:
    return moved(resnet18(), 2)


def under(prefix: str, model: nn.Module) -> Weights:
    return {prefix + name: values for name, values in model.state_dict().items()}


def held(file: Path | str, layout: str | None = None) -> Weights:
    """Return what the file's backbone is, under torchvision's names."""
    backbone = open_backbone(file, wanted=Wanted(layout))
    assert backbone.architecture == "torchvision:resnet18"
    assert backbone.convention == IMAGENET
    return dict(backbone.state_dict)


def is_of(found: Weights, model: nn.Module) -> bool:
    """Say whether a backbone's weights are a model's."""
    expected = [values for name, values in model.state_dict().items() if "fc." not in name and "head" not in name]
    return all(torch.equal(mine, theirs) for mine, theirs in zip(found.values(), expected, strict=True))


def assert_holds(file: Path | str, default: nn.Module, others: dict[str, nn.Module], layout: str | None = None) -> None:
    """The default is one model; the others have these labels, each of which leads to its model when typed."""
    facts = inspect(str(file))
    assert is_of(held(file), default)
    assert layout is None or facts["layout"] == layout
    assert facts["others"] == list(others)
    for label, model in others.items():
        assert is_of(held(file, label), model), label
    assert is_of(held(file, facts["layout"]), default)


# --- Lightning, with lightly's modules as its examples put them together ---


class Batches(torch.utils.data.IterableDataset[Tensor]):
    def __iter__(self) -> Iterator[Tensor]:
        yield from torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def trained_by_lightning(tmp_path: Path, names: tuple[str, ...]) -> tuple[Path, Any]:
    """Train a module with these backbones for one step, let Lightning save it, and return the file and the module."""
    lightning = pytest.importorskip("lightning")
    heads = pytest.importorskip("lightly.models.modules.heads")

    class Method(lightning.LightningModule):
        def __init__(self, temperature: float = 0.1) -> None:
            super().__init__()
            self.save_hyperparameters()
            for name in names:
                setattr(self, name, moved(nn.Sequential(*list(resnet18().children())[:-1])))
            self.projection_head = heads.SimCLRProjectionHead(512, 64, 32)

        def training_step(self, batch: Tensor, _: int) -> Tensor:
            features = [getattr(self, name)(batch).flatten(1) for name in names]
            return torch.stack([self.projection_head(each).square().mean() for each in features]).sum()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.01, momentum=0.9)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of few workers, of CPUs
        quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        trainer = lightning.Trainer(
            max_steps=1, accelerator="cpu", enable_model_summary=False, default_root_dir=tmp_path, **quiet
        )
        module = Method()
        for number, name in enumerate(names):  # two backbones must not be one
            moved(getattr(module, name), number + 3)
        trainer.fit(module.train(), torch.utils.data.DataLoader(Batches(), batch_size=4))
        trainer.save_checkpoint(tmp_path / "epoch=0.ckpt")
    return tmp_path / "epoch=0.ckpt", module


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (("backbone",), {}),  # SimCLR
        (("backbone", "backbone_momentum"), {"lightly:momentum": "backbone_momentum"}),  # MoCo, BYOL
        (("student_backbone", "teacher_backbone"), {"lightly:student": "student_backbone"}),  # DINO
    ],
)
def test_lightly_in_a_lightning_module(tmp_path: Path, names: tuple[str, ...], labels: dict[str, str]) -> None:
    file, module = trained_by_lightning(tmp_path, names)
    [default] = [name for name in names if name not in labels.values()]
    assert_holds(file, getattr(module, default), {label: getattr(module, name) for label, name in labels.items()})


# --- timm, torchvision's references, transformers, accelerate ---


def test_timms_checkpoint_saver(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    utils = pytest.importorskip("timm.utils")
    model = moved(timm.create_model("resnet18"))
    ema = utils.ModelEmaV3(model)
    moved(ema.module, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    arguments = argparse.Namespace(model="resnet18", lr=0.1)
    saver = utils.CheckpointSaver(model, optimizer, arguments, ema, checkpoint_dir=str(tmp_path))
    saver.save_checkpoint(3, metric=0.5)
    assert_holds(tmp_path / "checkpoint-3.pth.tar", model, {"state-dict:ema": ema.module}, "state-dict")


def test_torchvisions_references_with_their_average(tmp_path: Path, trained: nn.Module, average: nn.Module) -> None:
    averaged = AveragedModel(average, use_buffers=True)
    contents = {"model": trained.state_dict(), "model_ema": averaged.state_dict(), "args": argparse.Namespace(lr=0.1)}
    torch.save(contents, tmp_path / "checkpoint.pth")
    assert "n_averaged" in contents["model_ema"]
    assert_holds(tmp_path / "checkpoint.pth", trained, {"torchvision-trainer:ema": average}, "torchvision-trainer")


def test_transformers_saving_timms_models(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    wrapper = transformers.TimmWrapperModel(transformers.TimmWrapperConfig(architecture="resnet18"))
    moved(wrapper).save_pretrained(tmp_path / "wrapper")
    assert_holds(tmp_path / "wrapper" / "model.safetensors", wrapper, {}, "/timm_model.")
    backbone = transformers.TimmBackbone(transformers.TimmBackboneConfig(backbone="resnet18"))
    moved(backbone).save_pretrained(tmp_path / "backbone")
    assert_holds(tmp_path / "backbone" / "model.safetensors", backbone, {}, "/_backbone.")


@pytest.mark.parametrize(
    ("kind", "sizes", "depths"),
    [("basic", [64, 128, 256, 512], [2, 2, 2, 2]), ("bottleneck", [256, 512, 1024, 2048], [3, 4, 6, 3])],
)
def test_transformers_resnets(tmp_path: Path, kind: str, sizes: list[int], depths: list[int]) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.ResNetConfig(layer_type=kind, hidden_sizes=sizes, depths=depths)
    model = moved(transformers.ResNetForImageClassification(config))
    model.save_pretrained(tmp_path)
    backbone = open_backbone(tmp_path / "model.safetensors")
    assert backbone.architecture == {"basic": "torchvision:resnet18", "bottleneck": "resnet50"}[kind]
    assert backbone.layout == "transformers"
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        expected = model.resnet(images, output_hidden_states=True)
        trunk = backbone.build()
        torch.testing.assert_close(trunk(images), expected.pooler_output.flatten(1), rtol=1e-5, atol=1e-5)
        for mine, theirs in zip(trunk.maps(images), expected.hidden_states[1:], strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)


def test_accelerate(tmp_path: Path, trained: nn.Module) -> None:
    accelerate = pytest.importorskip("accelerate")
    accelerate.Accelerator(cpu=True).save_model(trained, str(tmp_path))
    assert_holds(tmp_path / "model.safetensors", trained, {}, "torchvision")


# --- what wraps a module ---


def test_wrappers_of_torch(tmp_path: Path) -> None:
    inner = moved(resnet18())
    plain = copy.deepcopy(inner)
    inner.layer1[0] = checkpoint_wrapper(inner.layer1[0])
    wrapped = nn.DataParallel(torch.compile(inner))  # type: ignore[arg-type]
    assert all(name.startswith("module._orig_mod.") for name in wrapped.state_dict())
    torch.save({"model": wrapped.state_dict()}, tmp_path / "file.pth")
    assert_holds(tmp_path / "file.pth", plain, {})


# --- by the names that their code gives: packages that are not installed here ---


def documented(one: nn.Module, two: nn.Module) -> dict[str, tuple[dict[str, Any], str, str]]:
    """Return what is saved by origin, with the layouts of `one`, the default, and of `two`."""
    byol = under("net.", one) | under("online_encoder.net.", one) | under("target_encoder.net.", two)
    byol |= {"online_predictor.0.weight": torch.ones(3, 3), "online_encoder.projector.0.weight": torch.ones(3, 3)}
    learner = {f"learner.{name}": values for name, values in byol.items()}
    bolts = under("online_network.encoder.", one) | under("target_network.encoder.", two)
    twins = (
        under("backbone.student.", two) | under("backbone.teacher.", one) | {"backbone.ema_coefficient": torch.ones(())}
    )
    solo = under("backbone.", one) | under("momentum_backbone.", two) | {"classifier.weight": torch.ones(3, 3)}
    return {
        "byol-pytorch": (byol, "byol-pytorch", "byol-pytorch:target"),
        "byol-pytorch in Lightning": ({"state_dict": learner}, "byol-pytorch", "byol-pytorch:target"),
        "Bolts": ({"state_dict": bolts}, "bolts", "bolts:target"),
        "stable-pretraining": ({"state_dict": twins}, "stable-pretraining", "stable-pretraining:student"),
        "solo-learn": ({"state_dict": solo}, "solo-learn", "solo-learn:momentum"),
        "DeiT": (
            {"model": one.state_dict(), "model_ema": two.state_dict()},
            "torchvision-trainer",
            "torchvision-trainer:ema",
        ),
    }


ORIGINS = ("byol-pytorch", "byol-pytorch in Lightning", "Bolts", "stable-pretraining", "solo-learn", "DeiT")


@pytest.mark.parametrize("origin", ORIGINS)
def test_two_networks_in_one_file(tmp_path: Path, trained: nn.Module, average: nn.Module, origin: str) -> None:
    contents, layout, other = documented(trained, average)[origin]
    torch.save(contents, tmp_path / "file.ckpt")
    assert_holds(tmp_path / "file.ckpt", trained, {other: average}, layout)


@pytest.mark.parametrize(
    ("at", "prefix", "label"),
    [
        ("module", "", "module/"),  # DeepSpeed's mp_rank_00_model_states.pt
        ("state_dict", "backbone.", "mmselfsup"),  # stable-pretraining's without a teacher, and many others'
        ("state_dict", "encoder.", "simsiam"),  # Bolts' SimCLR
        ("state_dict", "model.", "state_dict/model."),
    ],
)
def test_one_network_under_its_librarys_names(
    tmp_path: Path, trained: nn.Module, at: str, prefix: str, label: str
) -> None:
    torch.save({at: under(prefix, trained), "epoch": 3}, tmp_path / "file.ckpt")
    assert_holds(tmp_path / "file.ckpt", trained, {}, label)


def test_what_an_error_offers_leads_on(tmp_path: Path, trained: nn.Module, average: nn.Module) -> None:
    torch.save({"first": trained.state_dict(), "second": average.state_dict()}, tmp_path / "file.pth")
    with pytest.raises(CheckpointError, match="holds 2 complete backbones; choose one") as error:
        open_backbone(tmp_path / "file.pth")
    offered = re.findall(r"--layout ([^,]+)", str(error.value))
    assert [is_of(held(tmp_path / "file.pth", label), average) for label in offered] == [False, True]
