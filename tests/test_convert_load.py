"""Loading is exact or fails; the same weights are the same backbone in any container; nothing global is touched."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torchvision.models import resnet50

from twinbench.convert import CheckpointError, load_backbone, write_backbone
from twinbench.convert.architectures.network import ResNet50Network
from twinbench.convert.architectures.resnet import ResNet50
from twinbench.convert.convention import IMAGENET, UNIT
from twinbench.convert.files import load, save
from twinbench.convert.opening import open_backbone
from twinbench.protocols.identity import backbone_identity

WIDTH = 1 / 16


def trained(seed: int = 0, width: float = WIDTH) -> dict[str, Tensor]:
    """Return a small backbone in which no tensor is as initialised."""
    generator = torch.Generator().manual_seed(seed)
    state_dict = ResNet50(width).state_dict()
    for name, values in state_dict.items():
        if name.endswith("num_batches_tracked"):
            values.fill_(7)
        elif values.ndim == 1:
            values.copy_(torch.rand(values.shape, generator=generator) + 0.5)
        else:
            values.copy_(torch.randn(values.shape, generator=generator))
    return dict(state_dict)


def stored(tmp_path: Path, contents: object, name: str = "checkpoint.pth") -> Path:
    torch.save(contents, tmp_path / name)
    return tmp_path / name


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return list(one) == list(other) and all(torch.equal(one[name], other[name]) for name in one)


def test_a_plain_file_and_a_full_checkpoint_hold_the_same_backbone(tmp_path: Path) -> None:
    weights = trained()
    plain = load_backbone(stored(tmp_path, weights))
    wrapped = {f"module.backbone.{name}": values for name, values in weights.items()}
    heads = {"module.projector.0.weight": torch.zeros(3, 3), "module.bn.running_mean": torch.zeros(3)}
    full = load_backbone(stored(tmp_path, {"epoch": 2, "model": wrapped | heads, "optimizer": {}}, "full.pth"))
    assert same(plain.state_dict, weights)
    assert same(full.state_dict, weights)
    assert (plain.layout, plain.prefix, plain.width) == ("torchvision", "", WIDTH)
    assert (full.layout, full.prefix) == ("barlow-twins-full", "module.backbone.")
    assert plain.sha256 == full.sha256 != load_backbone(stored(tmp_path, trained(1))).sha256


def test_the_names_and_values_are_torchvisions(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = resnet50()
    model(torch.randn(2, 3, 64, 64)).square().mean().backward()  # one forward pass in train mode, one step
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    backbone = load_backbone(stored(tmp_path, model.state_dict()))
    assert len(backbone.state_dict) == 318
    assert "fc.weight" not in backbone.state_dict
    ours, images = backbone.build(), torch.randn(2, 3, 64, 64)
    model.fc = torch.nn.Identity()
    assert not ours.training
    assert torch.equal(ours(images), model.eval()(images))


def test_left_out_counters_are_zero_and_do_not_change_the_identity(tmp_path: Path) -> None:
    weights = trained()
    whole = load_backbone(stored(tmp_path, weights))
    few = load_backbone(stored(tmp_path, {k: v for k, v in weights.items() if "num_batches" not in k}))
    assert len(few.state_dict) == 318
    assert few.state_dict["bn1.num_batches_tracked"] == 0
    assert few.sha256 == whole.sha256


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("layer4.2.bn3.running_var"), r"1 missing: layer4\.2\.bn3\.running_var"),
        (lambda d: d.update({"layer4.2.bn3.runing_var": d.pop("layer4.2.bn3.running_var")}), r"nearest: .*runing_var"),
        (
            lambda d: d.update({"conv1.weight": torch.zeros(64, 3, 3, 3)}),
            r"conv1\.weight is 64 x 3 x 3 x 3, expected 4 x 3 x 7 x 7",
        ),
        (lambda d: d.update({"bn1.bias": torch.zeros(5)}), r"1 misshapen: bn1\.bias is 5, expected 4"),
        (
            lambda d: d.update({"bn1.bias": d["bn1.bias"].int()}),
            r"1 of a type that holds no weights .*bn1\.bias is int32",
        ),
        (lambda d: d["bn1.bias"].fill_(float("nan")), r"1 not finite: bn1\.bias"),
        (lambda d: d["bn1.running_var"].fill_(-1), r"1 no variances .*: bn1\.running_var"),
        (lambda d: d.update({"extra.weight": torch.zeros(1)}), r"1 left over that are no known head: extra\.weight"),
        (
            lambda d: d.update({"layer3.22.conv1.weight": torch.zeros(1)}),
            r"1 left over .*layer3\.22\..*inside the trunk nothing is left out",
        ),
    ],
)
def test_a_backbone_that_is_not_whole_is_refused(tmp_path: Path, change, message: str) -> None:
    weights = trained()
    change(weights)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_backbone(stored(tmp_path, weights))
    assert "\n" not in str(caught.value)


def test_a_fresh_backbone_is_refused_and_a_short_pretraining_is_not(tmp_path: Path) -> None:
    model = ResNet50(WIDTH, zero_init_residual=True)
    with pytest.raises(CheckpointError, match="freshly initialised"):
        load_backbone(stored(tmp_path, model.state_dict()))
    model(torch.randn(2, 3, 32, 32))  # statistics move, weights do not
    with pytest.raises(CheckpointError, match="no optimizer step"):
        load_backbone(stored(tmp_path, model.state_dict()))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    for _ in range(2):
        optimizer.zero_grad()
        model(torch.randn(2, 3, 32, 32)).square().mean().backward()
        optimizer.step()
    assert load_backbone(stored(tmp_path, model.state_dict())).width == WIDTH


def test_statistics_of_a_fresh_model_under_trained_weights_are_refused(tmp_path: Path) -> None:
    weights = trained()
    for name, values in weights.items():
        if name.endswith(("running_mean", "running_var")):
            values.fill_(float(name.endswith("var")))
    with pytest.raises(CheckpointError, match="statistics are those of a fresh model"):
        load_backbone(stored(tmp_path, weights))


def test_random_is_the_same_backbone_every_time_and_leaves_the_global_state_alone() -> None:
    torch.manual_seed(123)
    expected = torch.rand(3)
    torch.manual_seed(123)
    one, two = open_backbone("random", WIDTH), open_backbone("random", WIDTH)
    one.build()
    assert torch.equal(torch.rand(3), expected)
    assert one.sha256 == two.sha256
    assert one.layout == "random"
    assert one.width == WIDTH
    torch.manual_seed(0)
    assert same(one.state_dict, dict(ResNet50(WIDTH).state_dict()))


def test_random_leaves_the_generators_of_gpus_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    seeded: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    open_backbone("random", WIDTH)
    assert seeded == []


@pytest.mark.parametrize("width", [1 / 4, 1 / 2])
def test_other_widths_are_read_and_carried(tmp_path: Path, width: float) -> None:
    backbone = load_backbone(stored(tmp_path, trained(width=width)))
    assert backbone.width == width
    assert backbone.build().features == 2048 * width
    assert backbone.architecture == f"resnet50-w{width}"


def test_an_identity_is_tensors_architecture_and_convention(tmp_path: Path) -> None:
    backbone = load_backbone(stored(tmp_path, trained()))
    assert backbone.identity == backbone_identity(backbone.sha256, "resnet50-w0.0625", IMAGENET.as_dict())
    assert replace(backbone, convention=UNIT).identity != backbone.identity
    assert replace(backbone, network=ResNet50Network()).architecture == "resnet50"
    assert replace(backbone, source="elsewhere", layout="other").identity == backbone.identity


def test_a_model_is_a_copy(tmp_path: Path) -> None:
    backbone = load_backbone(stored(tmp_path, trained()))
    backbone.build().conv1.weight.data.zero_()
    assert backbone.state_dict["conv1.weight"].abs().sum() > 0


def test_own_files_are_written_whole_and_read_with_care(tmp_path: Path) -> None:
    path = tmp_path / "state" / "checkpoint.pth"
    save({"epoch": 3, "model": {"w": torch.ones(2)}}, path)
    assert load(path)["epoch"] == 3

    class Unwritable:
        def __reduce__(self):
            raise RuntimeError("killed half-way")

    with pytest.raises(RuntimeError, match="killed"):
        save({"big": torch.zeros(1000), "bad": Unwritable()}, path)
    assert load(path)["epoch"] == 3
    assert [file.name for file in path.parent.iterdir()] == ["checkpoint.pth"]
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(CheckpointError, match="not a whole file"):
        load(path)


def test_a_written_backbone_is_a_plain_dict_for_anybody(tmp_path: Path) -> None:
    backbone = load_backbone(stored(tmp_path, trained()))
    write_backbone(backbone, tmp_path / "out.pth")
    plain = torch.load(tmp_path / "out.pth", weights_only=True)
    assert same(dict(plain), backbone.state_dict)
    ResNet50(WIDTH).load_state_dict(plain)
