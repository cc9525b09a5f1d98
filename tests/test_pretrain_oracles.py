"""The settings of the published recipes reach the computation: numbers typed from main.py, against what a run does.

tests/oracles/pretraining.toml holds each setting by itself; a setting that is right and goes nowhere would pass there.
Lines are of facebookresearch/barlowtwins at 8e8d284, main.py.
"""

from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DistributedSampler

from twinbench.pretrain import augment
from twinbench.pretrain.images import Plan, Views, views_from_memory
from twinbench.pretrain.model import BarlowTwins
from twinbench.pretrain.optimizer import build_optimizer, set_rates
from twinbench.pretrain.record import Record
from twinbench.pretrain.train import Options, Run
from twinbench.protocols.identity import FRESH, Identity
from twinbench.protocols.pretraining import RECIPES, PretrainRecipe
from twinbench.runtime.process import Process, ProcessError

BARLOW_TWINS = RECIPES["barlow-twins"]
PUBLISHED = {"barlow-twins": 1000, "barlow-twins-paper": 1000, "barlow-twins-300": 300}  # :29; 300 by issue 9
LAMBD = {"barlow-twins": 0.0051, "barlow-twins-paper": 0.005, "barlow-twins-300": 0.0051}  # :39; the paper, 2.2
WORLD = {"barlow-twins": 16, "barlow-twins-paper": 32, "barlow-twins-300": 16}  # README.md:60; the paper, 2.2
DECAY = {"barlow-twins": 1e-6, "barlow-twins-paper": 1.5e-6, "barlow-twins-300": 1e-6}  # :37; the paper, 2.2
IMAGENET = 1_281_167  # training images
CPU = torch.device("cpu")
HELD = {  # by a test below, or in the file named
    "steps": ("epochs", "batch_size", "lr_weights", "lr_biases", "warmup_epochs", "last_batch"),
    "one step": ("lambd", "reference_world", "momentum", "trust", "weight_decay", "precision"),
    "network": ("width", "projector", "zero_init_residual"),
    "views": ("views", "crop", "min_scale", "flip", "jitter", "brightness", "contrast", "saturation", "hue"),
    "tests/test_pretrain_objectives.py": ("objective", "temperature", "terms"),
    "networks there": ("projector_norm", "predictor", "stop_gradient"),
    "more of views": ("gray", "blur", "blur_sigma", "solarize"),
}


def test_every_setting_is_held_by_a_test():
    settings = {field.name for field in fields(PretrainRecipe)} - {"name", "version", "source"}
    assert {name for names in HELD.values() for name in names} == settings


class Rates:
    """An optimizer's two groups, and nothing else."""

    def __init__(self) -> None:
        self.param_groups: list[dict[str, float]] = [{"lr": -1.0}, {"lr": -1.0}]

    def at(self, plan: Plan, step: int) -> list[float]:
        """Return the learning rates of weights and biases at a step of `plan`."""
        set_rates(self, plan, step)  # type: ignore[arg-type]
        return [group["lr"] for group in self.param_groups]


@pytest.mark.parametrize("name", PUBLISHED)
def test_rates_of_the_steps_of_imagenet(name):
    """:153-167: base 2048 / 256 = 8, times 0.2 and 0.0048; ten epochs of warm-up; down to a thousandth."""
    plan, epochs, rates = Plan(RECIPES[name], IMAGENET, 0), PUBLISHED[name], Rates()
    assert plan.steps_per_epoch == 626  # len(loader), :119: 625 whole batches and a short one
    assert plan.steps == 626 * epochs
    assert rates.at(plan, 0) == [0, 0]
    assert rates.at(plan, 3130) == pytest.approx([0.8, 0.0192])
    assert rates.at(plan, 6260) == pytest.approx([1.6, 0.0384])
    assert rates.at(plan, 6261)[0] < 1.6
    half = 6260 + (626 * epochs - 6260) // 2
    assert rates.at(plan, half) == pytest.approx([0.8008, 0.0192192], rel=1e-6)
    assert rates.at(plan, 626 * epochs) == pytest.approx([0.0016, 0.0000384])


def test_the_last_batch_of_imagenet():
    """1,281,167 images and one again, so that 16 processes have 80,073 each; 625 batches of them are whole."""
    plan = Plan(BARLOW_TWINS, IMAGENET, 0)
    assert plan.epoch_images == 16 * 80_073
    assert plan.batch_images(624) == 2048
    assert plan.batch_images(625) == len(plan.batch(625)) == 1168
    assert plan.batch_images(626) == 2048
    dropped = Plan(replace(BARLOW_TWINS, last_batch="dropped"), IMAGENET, 0)
    assert dropped.steps_per_epoch == 625
    assert dropped.batch_images(624) == 2048


class InOrder:
    """A generator that shuffles nothing."""

    def permutation(self, count: int) -> np.ndarray:
        """Return the numbers below `count`, in order."""
        return np.arange(count)


@pytest.mark.parametrize(("images", "world"), [(35, 4), (33, 4), (32, 4), (17, 2), (16, 1), (19, 8)])
def test_batches_are_those_of_distributed_samplers(images, world, monkeypatch):
    """Each of `world` processes has a sampler and a loader as in :116-119; together they see our global batches."""
    monkeypatch.setattr("twinbench.pretrain.images.generator", lambda *_: InOrder())
    each = 8 // world
    plan = Plan(replace(BARLOW_TWINS, batch_size=8, reference_world=world), images, 0)
    theirs = [list(DistributedSampler(range(images), world, rank, shuffle=False)) for rank in range(world)]  # type: ignore[arg-type]
    steps = -(-len(theirs[0]) // each)
    assert plan.steps_per_epoch == steps
    for step in range(steps):
        batch = [index for own in theirs for index in own[step * each : (step + 1) * each]]
        assert sorted(batch) == sorted(plan.batch(step).tolist())


def test_a_short_batch_is_shared_evenly_or_refused():
    plan = Plan(BARLOW_TWINS, IMAGENET, 0)
    parts = [plan.own(Process(rank, 8), 625) for rank in range(8)]
    assert [part.stop - part.start for part in parts] == [146] * 8
    assert (parts[0].start, parts[-1].stop) == (0, 1168)
    plan.require_shares(Process(0, 16))
    with pytest.raises(ProcessError, match=r"the last batch of an epoch, 1168 images, does not divide by 32 processes"):
        plan.require_shares(Process(0, 32))
    Plan(replace(BARLOW_TWINS, reference_world=32), IMAGENET, 0).require_shares(Process(0, 32))


def small_run(recipe: PretrainRecipe, folder: Path) -> Run:
    """Return a run of `recipe` with a small network on eight images, past its warm-up; all else is the recipe's."""
    recipe = replace(recipe, width=0.0625, projector=(24, 16), crop=32, batch_size=8, precision="fp32")
    record = Record(Identity(recipe.fingerprint, FRESH, "data", 0), "fp32", {}, 8, "/data")
    run = Run(Plan(recipe, 8 * recipe.reference_world, 0), record, folder, Options(), Process(), CPU)
    run.step = 10 * run.plan.steps_per_epoch  # the rates' peak, :157: 8 / 256 times 0.2 and 0.0048
    return run


@pytest.mark.parametrize("images", [8, 6], ids=["whole", "short"])
@pytest.mark.parametrize("name", PUBLISHED)
def test_a_step_is_main_py_s(name, images, tmp_path):
    """The gradient of the global batch divided by the processes (:216, DDP), LARS (:223-262), in float64 typed anew."""
    run = small_run(RECIPES[name], tmp_path)
    run.model.double().train()
    run.model.bn.float()  # which only follows
    twin = BarlowTwins(run.plan.recipe).double().train()
    twin.load_state_dict(run.model.state_dict())
    for p, q in zip(run.model.parameters(), twin.parameters(), strict=True):
        noise = torch.randn_like(p) * 0.05  # zero-initialised norms would hide the branches behind them
        p.data += noise
        q.data += noise
    momenta = [torch.zeros_like(p) for p in twin.parameters()]
    for _ in range(2):
        views = torch.randn(2, images, 3, 32, 32, dtype=torch.float64)
        z1, z2 = (twin.projector(twin.backbone(view)) for view in views)
        c = (normalized(z1).T @ normalized(z2)) / 8  # args.batch_size, :213, of a short batch as well
        on = (c.diagonal() - 1).square().sum()
        off = c.square().sum() - c.diagonal().square().sum()
        twin.zero_grad()
        (on + LAMBD[name] * off).backward()
        with torch.no_grad():
            for p, mu in zip(twin.parameters(), momenta, strict=True):
                assert p.grad is not None
                lars_step(p, p.grad / WORLD[name], mu, DECAY[name], 8 / 256)
        _, _, loss = run._step(*views)
        assert float(loss) == pytest.approx(float((on + LAMBD[name] * off).detach()), rel=1e-9)
    for (label, p), q in zip(run.model.named_parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-9, atol=1e-11, msg=lambda m, label=label: f"{label}: {m}")


def normalized(z: Tensor) -> Tensor:
    """Apply `bn`, :204: no affine parameters."""
    return nn.functional.batch_norm(z, None, None, training=True, eps=1e-5)


def lars_step(p: Tensor, g: Tensor, mu: Tensor, decay: float, base: float) -> None:
    """Move `p` as :234-262 do; the rates of :166-167 by hand."""
    if p.ndim != 1:
        g = g + decay * p
        size, slope = p.norm(), g.norm()
        if size > 0 and slope > 0:
            g = g * (0.001 * size / slope)
    mu.mul_(0.9).add_(g)
    p.sub_(base * (0.0048 if p.ndim == 1 else 0.2) * mu)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_optimizer_s_groups(name):
    with torch.device("meta"):
        model = BarlowTwins(RECIPES[name])
    weights, others = build_optimizer(model, RECIPES[name]).param_groups
    for group in (weights, others):
        assert (group["weight_decay"], group["momentum"], group["eta"]) == (DECAY[name], 0.9, 0.001)  # :225
    assert {p.ndim for p in others["params"]} == {1}
    assert 1 not in {p.ndim for p in weights["params"]}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_network(name):
    """:191-204; 174,535,744 parameters are those of width 1 and of three layers of 8192."""
    with torch.device("meta"):
        model = BarlowTwins(RECIPES[name])
    assert sum(p.numel() for p in model.parameters()) == 174_535_744
    linear = [layer for layer in model.projector if isinstance(layer, nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in linear] == [(2048, 8192), (8192, 8192), (8192, 8192)]


def test_residual_branches_begin_at_zero():
    recipe = replace(BARLOW_TWINS, width=0.0625, projector=(8, 8))
    norms = [p for name, p in BarlowTwins(recipe).named_parameters() if name.endswith("bn3.weight")]
    assert len(norms) == 16
    assert not any(p.any() for p in norms)
    norms = BarlowTwins(replace(recipe, zero_init_residual=False)).backbone.layer1[0].bn3.weight
    assert norms.all()


def test_the_network_computes_in_fp16_and_the_loss_in_float32(tmp_path):
    """:123 and :131; the loss, which main.py computes in fp16 too, is float32 here."""
    assert {RECIPES[name].precision for name in PUBLISHED} == {"fp16"}
    recipe = replace(BARLOW_TWINS, width=0.0625, projector=(24, 16), crop=32, batch_size=8)
    record = Record(Identity(recipe.fingerprint, FRESH, "data", 0), recipe.precision, {}, 8, "/data")
    run = Run(Plan(recipe, 16, 0), record, tmp_path, Options(), Process(), CPU)
    assert run.precision.scaler is not None
    z1, _, loss = run._step(*torch.randn(2, 8, 3, 32, 32))
    assert z1.dtype == torch.float16
    assert loss.dtype == torch.float32


STILL = replace(  # no view differs from its image
    BARLOW_TWINS,
    batch_size=6,
    crop=24,
    min_scale=1.0,
    flip=0.0,
    jitter=0.0,
    gray=0.0,
    blur=(0.0, 0.0),
    solarize=(0.0, 0.0),
    reference_world=1,
)


@pytest.fixture(scope="module")
def images() -> Tensor:
    """Six smooth images (6, 3, 24, 24), uint8."""
    torch.manual_seed(0)
    return nn.functional.interpolate(torch.rand(6, 3, 4, 4), 24, mode="bicubic").clamp(0, 1).mul(255).byte()


def views(images: Tensor, **settings: object) -> list[Tensor]:
    """Return both views of all images in [0, 1], of the first step of a run with these settings."""
    recipe = replace(STILL, **settings)  # type: ignore[arg-type]
    made: Iterator[Views] = views_from_memory(images, Plan(recipe, 6, 0), Process(), CPU, 0)
    mean, std = (torch.tensor(values)[:, None, None] for values in (augment.MEAN, augment.STD))
    return [view * std + mean for view in next(made)]


def moved(images: Tensor, **settings: object) -> list[bool]:
    """Say of each view whether these settings change it."""
    return [float((a - b).abs().max()) > 1e-4 for a, b in zip(views(images), views(images, **settings), strict=True)]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"flip": 1.0}, [True, True]),
        ({"min_scale": 0.08}, [True, True]),
        ({"gray": 1.0}, [True, True]),
        ({"blur": (1.0, 0.0)}, [True, False]),
        ({"blur": (0.0, 1.0)}, [False, True]),
        ({"solarize": (1.0, 0.0)}, [True, False]),
        ({"solarize": (0.0, 1.0)}, [False, True]),
        ({"jitter": 1.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}, [True, True]),  # brightness alone
        ({"jitter": 1.0, "brightness": 0.0, "saturation": 0.0, "hue": 0.0}, [True, True]),  # contrast alone
        ({"jitter": 1.0, "brightness": 0.0, "contrast": 0.0, "hue": 0.0}, [True, True]),  # saturation alone
        ({"jitter": 1.0, "brightness": 0.0, "contrast": 0.0, "saturation": 0.0}, [True, True]),  # hue alone
        ({"jitter": 1.0, "brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}, [False, False]),
        ({"blur_sigma": (1.0, 1.0)}, [False, False]),
    ],
)
def test_what_is_drawn_is_done(images, settings, expected):
    assert moved(images, **settings) == expected


def test_a_view_that_is_mirrored_and_one_that_is_grey(images):
    plain, mirrored, grey = (views(images, **settings)[0] for settings in ({}, {"flip": 1.0}, {"gray": 1.0}))
    torch.testing.assert_close(mirrored, plain.flip(-1), atol=1e-5, rtol=0)
    torch.testing.assert_close(grey[:, 0], grey[:, 2], atol=1e-5, rtol=0)


def test_blur_is_as_wide_as_drawn(images):
    """A wider one leaves less of an image's edges."""
    edges = []
    for sigma in (0.5, 1.0, 2.0):
        view = views(images, blur=(1.0, 1.0), blur_sigma=(sigma, sigma))[0]
        edges.append(float(view.diff(dim=-1).abs().mean()))
    assert edges[0] > edges[1] > edges[2]


def test_views_are_as_large_as_the_crop(images):
    assert views(images, crop=16)[0].shape == (6, 3, 16, 16)
    assert BARLOW_TWINS.crop == 224  # :293
    assert BARLOW_TWINS.views == "batched"
