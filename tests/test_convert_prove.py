"""Values: what is kept of other types, what no training leaves behind is refused, counters never matter."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from twinbench.convert import CheckpointError, load_backbone
from twinbench.convert.architectures.resnet import ResNet50
from twinbench.convert.opening import open_backbone

WIDTH = 1 / 16
Weights = dict[str, Tensor]


def trained() -> Weights:
    """Return a small backbone in which no tensor is as initialised, of numbers that 8 bits hold exactly."""
    generator = torch.Generator().manual_seed(0)
    state_dict = ResNet50(WIDTH).state_dict()
    for name, values in state_dict.items():
        if name.endswith("num_batches_tracked"):
            values.fill_(7)
        else:
            values.copy_(torch.randint(1, 100, values.shape, generator=generator) / 64)
    return dict(state_dict)


def stored(tmp_path: Path, weights: Weights) -> Path:
    torch.save(weights, tmp_path / "file.pth")
    return tmp_path / "file.pth"


def converted(weights: Weights, dtype: torch.dtype) -> Weights:
    return {name: values.to(dtype) if values.is_floating_point() else values for name, values in weights.items()}


# --- types ---


@pytest.mark.parametrize("container", ["torch", "safetensors"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_types_that_lose_nothing_are_read_to_the_bit_and_named(
    tmp_path: Path, dtype: torch.dtype, container: str
) -> None:
    weights = trained()
    file = tmp_path / "model.safetensors"
    if container == "torch":
        file = stored(tmp_path, converted(weights, dtype))
    else:
        save_file(converted(weights, dtype), file)
    found = load_backbone(file)
    assert found.cast == str(dtype).removeprefix("torch.")
    assert {values.dtype for values in found.state_dict.values()} == {torch.float32, torch.int64}
    assert all(torch.equal(found.state_dict[name], values) for name, values in weights.items())
    assert found.details["cast"] == found.cast


def test_a_file_of_several_types_names_them_all_and_one_of_32_bits_none(tmp_path: Path) -> None:
    weights = trained()
    assert load_backbone(stored(tmp_path, weights)).cast == ""
    weights["bn1.weight"] = weights["bn1.weight"].half()
    weights["bn1.bias"] = weights["bn1.bias"].bfloat16()
    assert load_backbone(stored(tmp_path, weights)).cast == "bfloat16, float16"


def test_numbers_of_64_bits_are_rounded_only_on_request(tmp_path: Path) -> None:
    weights = converted(trained(), torch.float64)
    weights["layer2.0.bn1.bias"][0] = 1 / 3
    file = stored(tmp_path, weights)
    with pytest.raises(
        CheckpointError, match=r"layer2\.0\.bn1\.bias holds numbers of 64 bits that 32 bits cannot.*--cast"
    ):
        load_backbone(file)
    found = load_backbone(file, cast=True)
    assert found.state_dict["layer2.0.bn1.bias"][0] == torch.tensor(1 / 3, dtype=torch.float32)
    assert found.cast == "float64"


def test_half_precision_is_the_same_backbone_as_its_values_in_full(tmp_path: Path) -> None:
    weights = trained()
    rounded = converted(converted(weights, torch.float16), torch.float32)
    assert load_backbone(stored(tmp_path, converted(weights, torch.float16))).sha256 == (
        load_backbone(stored(tmp_path, rounded)).sha256
    )


# --- counters ---


def some_counters(weights: Weights) -> None:
    for number, name in enumerate(sorted(weights)):
        if name.endswith("num_batches_tracked") and number % 2:
            del weights[name]


def odd_counters(weights: Weights) -> None:
    """Averaged as if they were weights, sharded, of another whole type: what EMA, FSDP and other writers leave."""
    weights["bn1.num_batches_tracked"] = torch.tensor(7.5)
    weights["layer1.0.bn1.num_batches_tracked"] = torch.tensor([7, 7])
    weights["layer1.0.bn2.num_batches_tracked"] = torch.tensor(7, dtype=torch.int32)


@pytest.mark.parametrize("change", [some_counters, odd_counters])
def test_counters_never_matter(tmp_path: Path, change: Callable[[Weights], None]) -> None:
    weights = trained()
    whole = load_backbone(stored(tmp_path, weights))
    change(weights)
    found = load_backbone(stored(tmp_path, weights))
    assert found.sha256 == whole.sha256
    assert {values.dtype for name, values in found.state_dict.items() if "num_batches" in name} == {torch.int64}
    assert sorted({int(values) for name, values in found.state_dict.items() if "num_batches" in name}) == [0, 7]
    images = torch.randn(1, 3, 32, 32)
    assert torch.equal(found.build()(images), whole.build()(images))


# --- values that no training leaves behind ---


def fill(name: str, value: float) -> Callable[[Weights], None]:
    return lambda weights: weights.update({name: torch.full_like(weights[name], value)})


def put(name: str, value: float) -> Callable[[Weights], None]:
    """Return what changes one number of a tensor."""

    def change(weights: Weights) -> None:
        weights[name].view(-1)[0] = value

    return change


def initialised(start: str) -> Callable[[Weights], None]:
    """Return what makes a part of a backbone as it is before training."""
    fresh = ResNet50(WIDTH).state_dict()
    return lambda weights: weights.update({name: fresh[name] for name in weights if name.startswith(start)})


REFUSED = {
    "an infinity": (put("layer3.1.conv2.weight", float("inf")), r"1 not finite: layer3\.1\.conv2\.weight"),
    "not a number": (put("bn1.running_mean", float("nan")), r"1 not finite: bn1\.running_mean"),
    "1e38": (put("layer1.0.conv1.weight", 1e38), r"1 beyond 1e\+19: layer1\.0\.conv1\.weight"),
    "-1e38": (put("layer1.0.conv1.weight", -1e38), r"1 beyond 1e\+19: layer1\.0\.conv1\.weight"),
    "a negative variance": (
        put("bn1.running_var", -1e-3),
        r"1 no variances \(negative, or all zero\): bn1\.running_var",
    ),
    "no variances": (fill("layer4.2.bn2.running_var", 0), r"1 no variances .*: layer4\.2\.bn2\.running_var"),
    "a layer of zeros": (fill("layer4.2.conv3.weight", 0), r"1 one and the same number all over: layer4\.2\.conv3"),
    "a layer of ones": (fill("conv1.weight", 1), r"1 one and the same number all over: conv1\.weight"),
    "one stage": (initialised("layer3"), r"19 batch norms are as initialised, the others are trained: layer3\.0\.bn1"),
    "one block": (
        initialised("layer4.1."),
        r"3 batch norms are as initialised, the others are trained: layer4\.1\.bn1",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_no_training_leaves_behind_is_refused_by_name(tmp_path: Path, what: str) -> None:
    change, message = REFUSED[what]
    weights = trained()
    change(weights)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_backbone(stored(tmp_path, weights))
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "file.pth"))


def test_what_training_does_leave_behind_is_not(tmp_path: Path) -> None:
    """A dead channel has variance 0; a scale of 0 is pruned or was so initialised; a block may not be used at all."""
    weights = trained()
    put("bn1.running_var", 0.0)(weights)
    put("layer1.0.conv1.weight", 1e18)(weights)
    weights["layer2.1.bn3.weight"].zero_()
    load_backbone(stored(tmp_path, weights))


# --- networks of layer norms ---


def test_fresh_networks_without_batch_norms_are_refused_too(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    model = timm.create_model("convnext_atto", num_classes=0)
    file = stored(tmp_path, model.state_dict())
    with pytest.raises(CheckpointError, match="a freshly initialised backbone: no optimizer step has moved its norms"):
        open_backbone(file)
    with torch.no_grad():
        model.stages[1].blocks[0].norm.bias.add_(1e-6)  # one step of one norm is training
    assert open_backbone(stored(tmp_path, model.state_dict())).architecture == "timm:convnext_atto"
