"""The network's names and sizes, the checkpoint as the original script would read it, the monitor's accuracy."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.models import resnet50

from twinbench.convert.files import load
from twinbench.pretrain import state
from twinbench.pretrain.images import Corrupt, Plan, decode_all
from twinbench.pretrain.lars import LARS
from twinbench.pretrain.model import BarlowTwins
from twinbench.pretrain.monitor import Monitor
from twinbench.pretrain.record import Record
from twinbench.protocols.identity import FRESH, Identity
from twinbench.protocols.pretraining import RECIPES
from twinbench.runtime.process import Process

RECIPE = RECIPES["barlow-twins"]


def test_parameter_counts_of_the_paper_s_network() -> None:
    """174,535,744 in all, of which 56 weight tensors and 110 of one dimension (arXiv:2103.03230's main.py)."""
    with torch.device("meta"):
        model = BarlowTwins(RECIPE)
    sizes = {True: [0, 0], False: [0, 0]}
    for p in model.parameters():
        sizes[p.ndim == 1][0] += 1
        sizes[p.ndim == 1][1] += p.numel()
    assert sizes == {False: [56, 174_449_856], True: [110, 85_888]}
    assert sum(p.numel() for p in model.backbone.parameters()) == 23_508_032
    assert len(model.state_dict()) == 334


class Original(nn.Module):
    """The parts of the original model under the names its script gives them."""

    def __init__(self, sizes: list[int]) -> None:
        super().__init__()
        self.backbone = resnet50(zero_init_residual=True)
        self.backbone.fc = nn.Identity()  # type: ignore[assignment]
        layers: list[nn.Module] = []
        for inputs, outputs in zip(sizes[:-2], sizes[1:-1], strict=True):
            layers += [nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs), nn.ReLU(inplace=True)]
        self.projector = nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1], bias=False))
        self.bn = nn.BatchNorm1d(sizes[-1], affine=False)


def test_the_original_script_can_load_our_checkpoint(tmp_path: Path) -> None:
    recipe = replace(RECIPE, projector=(32, 32, 32), batch_size=4, reference_world=4)
    plan = Plan(recipe, 8, 0)
    torch.manual_seed(0)
    model = BarlowTwins(recipe)
    parameters = list(model.parameters())
    groups = [[p for p in parameters if (p.ndim != 1) == weights] for weights in (True, False)]
    optimizer = LARS([{"params": group} for group in groups], 0.1)
    for p in parameters:
        p.grad = torch.ones_like(p)
    optimizer.step()
    record = Record(Identity(recipe.fingerprint, FRESH, "data", 0), "fp32", asdict(recipe), 8, "/data")
    state.save(tmp_path / "checkpoint.pth", plan, record, 6, model, optimizer, {})
    found = load(tmp_path / "checkpoint.pth")
    assert found["epoch"] == 3
    original = Original([2048, 32, 32, 32])
    original.load_state_dict({name.removeprefix("module."): tensor for name, tensor in found["model"].items()})
    assert all(torch.equal(p, q) for p, q in zip(parameters, original.parameters(), strict=True))
    # Two groups, weights first, state under `mu`, in the order of model.parameters().
    state_of, (weights, others) = found["optimizer"]["state"], found["optimizer"]["param_groups"]
    assert (len(weights["params"]), len(others["params"])) == (56, 110)
    for index, p in zip([*weights["params"], *others["params"]], [*groups[0], *groups[1]], strict=True):
        assert set(state_of[index]) == {"mu"}
        assert state_of[index]["mu"].shape == p.shape


def test_views_pass_one_by_one_and_bn_follows() -> None:
    """Batch statistics are per view, and the last batch norm's running ones see both views."""
    recipe = replace(RECIPES["demo"], width=0.0625, projector=(8, 8))
    torch.manual_seed(0)
    model = BarlowTwins(recipe).train()
    view1, view2 = torch.randn(2, 6, 3, 32, 32)
    z1, z2 = model(view1, view2)
    mean = 0.9 * 0.1 * z1.mean(0) + 0.1 * z2.mean(0)
    torch.testing.assert_close(model.bn.running_mean, mean.detach())
    assert model.bn.num_batches_tracked == 2
    alone = BarlowTwins(recipe).train()
    alone.load_state_dict({**model.state_dict(), **alone.bn.state_dict(prefix="bn.")})
    torch.testing.assert_close(alone(view1, view1)[0], z1)


def test_orders_are_permutations_that_differ() -> None:
    plan = Plan(replace(RECIPES["demo"], batch_size=4, epochs=2), 11, 3)
    # 3 images are left over
    assert plan.steps_per_epoch == 2
    assert plan.steps == 4
    first, second = (np.concatenate([plan.batch(step) for step in pair]) for pair in ((0, 1), (2, 3)))
    assert len(set(first)) == len(set(second)) == 8
    assert (first != second).any()
    assert (plan.batch(1) == first[4:]).all()  # asked for again, after another epoch
    parts = [plan.batch(0)[plan.own(Process(rank, 2), 0)] for rank in (0, 1)]
    assert (np.concatenate(parts) == plan.batch(0)).all()


def test_small_sets_are_kept_in_memory_and_others_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = []
    for i in range(3):
        paths.append(tmp_path / f"{i}.png")
        Image.new("RGB", (5, 4), (i, 0, 9)).save(paths[-1])
    images = decode_all(paths, Corrupt(0))
    assert images is not None
    assert images.shape == (3, 3, 4, 5)
    assert images[2, :, 0, 0].tolist() == [2, 0, 9]
    monkeypatch.setattr("twinbench.pretrain.images.MEMORY_BYTES", 3 * 60 - 1)
    assert decode_all(paths, Corrupt(0)) is None
    monkeypatch.undo()
    Image.new("RGB", (5, 5)).save(paths[1])
    assert decode_all(paths, Corrupt(0)) is None


class MeanColor(nn.Module):
    """Features are the mean of each channel."""

    def forward(self, images: Tensor) -> Tensor:
        return images.mean((2, 3))


def test_monitor_by_a_plain_loop(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    colors, labels = [], []
    for label, base in enumerate(((200, 60, 40), (60, 190, 90), (50, 80, 200))):
        for i in range(9):
            color = np.clip(np.array(base) + random.integers(-110, 111, 3), 0, 255)
            (tmp_path / f"class{label}").mkdir(exist_ok=True)
            Image.new("RGB", (40, 40), tuple(color.tolist())).save(tmp_path / f"class{label}" / f"{i}.png")
            colors.append((color / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225])
            labels.append(label)
    unit = np.array(colors) / np.linalg.norm(colors, axis=1, keepdims=True)
    right = 0
    for i in range(27):
        alike = [(float(unit[i] @ unit[j]), labels[j]) for j in range(27) if j != i]
        votes = [0.0, 0.0, 0.0]
        for similarity, label in sorted(alike, reverse=True)[:20]:
            votes[label] += np.exp(similarity / 0.07)
        right += votes.index(max(votes)) == labels[i]
    backbone = MeanColor().train()
    monitor = Monitor(tmp_path, 32, Process(), 0)
    assert monitor.accuracy(backbone, torch.device("cpu")) == pytest.approx(100 * right / 27)
    assert 50 < 100 * right / 27 < 100
    assert backbone.training
