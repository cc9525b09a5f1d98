"""The parts of pretraining on a GPU against the processor, on the same inputs: loss, LARS, views, memory format."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image
from torch import Tensor

from twinbench.pretrain.images import Corrupt, Plan, Views, views_from_files, views_from_memory
from twinbench.pretrain.lars import LARS
from twinbench.pretrain.loss import barlow_twins_loss, correlation_statistics
from twinbench.pretrain.model import BarlowTwins
from twinbench.pretrain.options import Options
from twinbench.pretrain.record import Record
from twinbench.pretrain.train import Run
from twinbench.protocols.identity import FRESH, Identity
from twinbench.protocols.pretraining import RECIPES
from twinbench.runtime.precision import network_precision
from twinbench.runtime.process import Process
from twinbench.runtime.stopping import Late, Stopper

CPU = torch.device("cpu")
FORMS = ("dense", "chunked", "gram")
SHAPES = [(96, 160), (160, 96), (7, 1100)]  # N below and above D; more columns than one chunk
# Sums of up to 1100 float32 products, in any order: some tens of roundings of 6e-8. TF32 would be off by 1e-3.
FLOAT32 = 1e-5
RECIPE = replace(
    RECIPES["demo"], batch_size=16, crop=32, width=0.0625, projector=(24, 24), blur=(1.0, 0.5), solarize=(0.0, 0.5)
)


@contextmanager
def arithmetic_of(device: str) -> Generator[None]:
    """Compute in exact float32 as pretraining does; a rehearsal takes the processor's kernels without oneDNN.

    They add in another order than those with it, so that a rehearsal compares two ways of computing, too.
    """
    if device == "cpu":
        torch.backends.mkldnn.set_flags(_enabled=False)
    try:
        with network_precision("fp32", device):
            yield
    finally:
        torch.backends.mkldnn.set_flags(_enabled=True)


def plain(z1: Tensor, z2: Tensor, lambd: float = 0.0051) -> Tensor:
    """Return the loss by its definition and autograd."""
    a, b = (torch.nn.functional.batch_norm(z, None, None, training=True, eps=1e-5) for z in (z1, z2))
    c = a.T @ b / len(a)
    off = c - torch.diag(c.diagonal())
    return (c.diagonal() - 1).square().sum() + lambd * off.square().sum()


def embeddings(images: int, features: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Return two views' embeddings on the processor, of a type."""
    random = torch.Generator().manual_seed(images + features)
    z1 = torch.randn(images, features, dtype=torch.float64, generator=random) * 3 + 1
    z2 = z1 + 0.5 * torch.randn(images, features, dtype=torch.float64, generator=random)
    return z1.to(dtype), z2.to(dtype)


def exact(z1: Tensor, z2: Tensor) -> tuple[float, Tensor]:
    """Return value and gradients (2, N, D) of the definition in float64, on the inputs' device."""
    both = z1.double().requires_grad_(), z2.double().requires_grad_()
    loss = plain(*both)
    return float(loss.detach()), torch.stack(torch.autograd.grad(loss, both))


def ours(z1: Tensor, z2: Tensor, form: str, device: str, scale: float = 1.0) -> tuple[float, Tensor]:
    """Return value and gradients (2, N, D) of the loss on `device`; `scale` is what a gradient scaler does."""
    both = z1.to(device).requires_grad_(), z2.to(device).requires_grad_()
    # Under autocast, as a careless caller has it: it must not reach the loss.
    with network_precision("fp32", device), torch.autocast(torch.device(device).type, torch.bfloat16):
        loss = barlow_twins_loss(*both, form=form)  # type: ignore[arg-type]
    with network_precision("fp32", device):
        first, second = torch.autograd.grad(scale * loss, both)
    return float(loss.detach()), torch.stack((first.double(), second.double())) / scale


def error(found: Tensor, expected: Tensor) -> float:
    """Return the size of the difference in parts of the size of what is expected."""
    found, expected = found.detach().double().cpu(), expected.detach().double().cpu()
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, FLOAT32)])
def test_loss_and_gradient(
    shape: tuple[int, int], form: str, dtype: torch.dtype, tolerance: float, device: str
) -> None:
    z1, z2 = embeddings(*shape, dtype)
    (value, gradients), (expected, wanted) = ours(z1, z2, form, device), exact(z1, z2)
    assert value == pytest.approx(expected, rel=tolerance)
    assert error(gradients, wanted) < tolerance


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("dtype", "rounding"), [(torch.bfloat16, 2**-8), (torch.float16, 2**-11)])
def test_loss_of_embeddings_as_autocast_makes_them(form: str, dtype: torch.dtype, rounding: float, device: str) -> None:
    """The loss is float32 all the same; only the gradient is rounded, once, to what the network goes back with."""
    z1, z2 = embeddings(96, 160, dtype)
    value, gradients = ours(z1, z2, form, device, scale=2.0**10)
    expected, wanted = exact(z1, z2)
    assert value == pytest.approx(expected, rel=FLOAT32)
    assert error(gradients, wanted) < rounding


@pytest.mark.parametrize("form", FORMS)
def test_loss_at_the_recipe_s_size(form: str, device: str, on_gpu: bool) -> None:
    z1, z2 = (z.to(device) for z in embeddings(*((2048, 8192) if on_gpu else (128, 512)), torch.float32))
    (value, gradients), (expected, wanted) = ours(z1, z2, form, device), exact(z1, z2)
    assert value == pytest.approx(expected, rel=FLOAT32)
    assert error(gradients, wanted) < FLOAT32


def test_statistics_of_the_correlation(device: str) -> None:
    z1, z2 = embeddings(96, 1100)
    found = correlation_statistics(z1.float().to(device), z2.float().to(device))
    assert found == pytest.approx(correlation_statistics(z1, z2), rel=FLOAT32)


def test_lars_steps(device: str) -> None:
    """Weights of a convolution lie channels last; a gradient of zero and a weight of zero are not scaled."""
    random = torch.Generator().manual_seed(0)
    shapes = [(16, 3, 7, 7), (64, 32), (64,), (8, 8)]
    values = [torch.randn(shape, generator=random) for shape in shapes]
    values[0] = values[0].contiguous(memory_format=torch.channels_last)
    values[3].zero_()
    there, here = ([torch.nn.Parameter(value.to(where)) for value in values] for where in (device, CPU))
    optimizers = [LARS(params, lr=0.3, weight_decay=0.01) for params in (there, here)]
    for _ in range(5):
        for there_one, here_one in zip(there, here, strict=True):
            gradient = torch.randn(here_one.shape, generator=random)
            there_one.grad, here_one.grad = gradient.to(device), gradient
        for optimizer in optimizers:
            optimizer.step()
    # A norm of 2352 numbers is off by some roundings of 6e-8, and each step adds one more.
    assert max(error(one, other) for one, other in zip(there, here, strict=True)) < 1e-6


@pytest.fixture(scope="module")
def photos() -> Tensor:
    """Thirty-two pieces of real photographs, uint8 (32, 3, 48, 56)."""
    china = load_sample_image("china.jpg")
    pieces = [china[y : y + 48, x : x + 56] for y in range(0, 320, 80) for x in range(0, 560, 70)]
    return torch.from_numpy(np.stack(pieces)).permute(0, 3, 1, 2).contiguous()


@pytest.fixture(scope="module")
def files(photos: Tensor, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("photos")
    paths = [folder / f"{i}.png" for i in range(len(photos))]
    for path, photo in zip(paths, photos, strict=True):
        Image.fromarray(photo.permute(1, 2, 0).numpy()).save(path)
    return paths


def worst(found: Views, expected: Views) -> float:
    return max(float((one.cpu() - other).abs().max()) for one, other in zip(found, expected, strict=True))


# Each operation rounds values in [0, 1] by some 1e-7, contrast and hue enlarge it up to ten times, and dividing by the
# deviation four times.
VIEWS = 1e-4


def test_views_made_from_memory(photos: Tensor, device: str) -> None:
    plan = Plan(RECIPE, len(photos), 3)
    expected = next(views_from_memory(photos, plan, Process(), CPU, 0))
    with arithmetic_of(device):
        found = next(views_from_memory(photos.to(device), plan, Process(), torch.device(device), 0))
    assert worst(found, expected) < VIEWS
    assert all(view.is_contiguous(memory_format=torch.channels_last) for view in found)


@pytest.mark.parametrize("views", ["batched", "pil"])
def test_views_made_from_files(files: list[Path], views: str, device: str) -> None:
    """Loaders are forked from a process that has used its GPU, and hand over through pinned memory."""
    plan = Plan(replace(RECIPE, views=views), len(files), 3)
    torch.zeros(1, device=device)
    expected = next(views_from_files(files, plan, Process(), CPU, 0, workers=0, corrupt=Corrupt(0)))
    with arithmetic_of(device):
        there = torch.device(device)
        found = next(views_from_files(files, plan, Process(), there, 0, workers=2, corrupt=Corrupt(0)))
    assert worst(found, expected) < VIEWS
    assert all(view.is_contiguous(memory_format=torch.channels_last) for view in found)


def gradients_of(model: BarlowTwins, views: Views) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the embeddings of both views and the gradients of all parameters."""
    z1, z2 = model(*views)
    model.zero_grad()
    barlow_twins_loss(z1, z2).backward()
    return torch.cat((z1, z2)), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def test_channels_last_and_the_processor(photos: Tensor, device: str) -> None:
    """Embeddings agree through 50 layers; the stem's gradient, the last that is computed, lies as its weight does."""
    torch.manual_seed(0)
    there, here = BarlowTwins(RECIPE), BarlowTwins(RECIPE)
    here.load_state_dict(there.state_dict())
    there.to(device).backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    views = next(views_from_memory(photos, Plan(RECIPE, len(photos), 3), Process(), CPU, 0))
    with arithmetic_of(device):
        view1, view2 = (view.to(device) for view in views)
        z, gradients = gradients_of(there, (view1, view2))
    expected, wanted = gradients_of(here, (views[0].contiguous(), views[1].contiguous()))
    stem = "backbone.conv1.weight"
    assert error(z, expected) < 1e-4  # each batch norm of 16 images enlarges what its layer's sums are off by
    assert error(gradients[stem], wanted[stem]) < 1e-3  # the way back enlarges it once more
    assert gradients[stem].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_nothing_between_two_steps_waits(
    precision: str, photos: Tensor, device: str, only_gpu: None, tmp_path: Path
) -> None:
    """PyTorch raises for each operation that would wait for the GPU; the first steps, which find kernels, may."""
    recipe, there = replace(RECIPE, precision=precision, epochs=4), torch.device(device)
    plan = Plan(recipe, len(photos), 0)
    record = Record(Identity(recipe.fingerprint, FRESH, "d" * 64, 0), precision, {}, len(photos), "")
    run = Run(plan, record, tmp_path, Options(), Process(device=device), there)
    views = views_from_memory(photos.to(device), plan, Process(device=device), there, 0)
    with network_precision("fp32", device):
        for step in range(4):
            torch.cuda.set_sync_debug_mode("error" if step > 1 else "default")
            try:
                loss = run._step(*next(views))[2]
                arrived = Late(loss), Late(Stopper(1, there)._sum())
            finally:
                torch.cuda.set_sync_debug_mode("default")
            run.step += 1
    assert [late.value() for late in arrived] == [float(loss), 0]
