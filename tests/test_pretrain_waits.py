"""Nothing between two steps waits for a GPU, shown without one: its tensors are PyTorch's fakes, shapes without values.

A fake refuses to give a value away, as a GPU would have to be waited for; and each copy to it is seen here.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from twinbench.pretrain.images import Plan, views_from_memory
from twinbench.pretrain.loss import barlow_twins_loss
from twinbench.pretrain.model import BarlowTwins
from twinbench.protocols.pretraining import RECIPES
from twinbench.runtime.process import Process
from twinbench.runtime.stopping import Stopper

GPU = torch.device("cuda:0")
# Every operation on some image: both views blur, and solarise, most of them.
RECIPE = replace(
    RECIPES["demo"], batch_size=16, crop=32, width=0.0625, projector=(24,), blur=(0.9, 0.9), solarize=(0.9, 0.9)
)


class Copies(TorchDispatchMode):
    """Lists the copies that wait for a GPU: those between devices without `non_blocking`."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[str] = []
        self.others = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, options = str(func), kwargs or {}
        if "_pin_memory" in name:  # fakes know no pinned memory
            return args[0]
        if name.startswith("aten._local_scalar_dense") and args[0].device.type == "cpu":
            return 1.0  # the processor's own values are at hand
        result = func(*args, **options)
        if "_to_copy" in name and args[0].device.type != result.device.type:
            if options.get("non_blocking"):
                self.others += 1
            else:
                self.waiting.append(name)
        return result


@contextmanager
def fake_gpu() -> Iterator[Copies]:
    with FakeTensorMode(allow_non_fake_inputs=True), Copies() as copies:
        yield copies


def test_a_copy_that_waits_is_seen() -> None:
    with fake_gpu() as copies:
        torch.zeros(3).to(GPU)
    assert len(copies.waiting) == 1


def test_a_value_that_is_asked_for_is_seen() -> None:
    with fake_gpu(), pytest.raises(RuntimeError, match="local_scalar_dense"):
        float(torch.zeros(3, device=GPU).max())


def test_views_are_made_without_a_wait() -> None:
    with fake_gpu() as copies:
        images = torch.zeros(32, 3, 40, 40, dtype=torch.uint8, device=GPU)
        view1, _ = next(views_from_memory(images, Plan(RECIPE, 32, 0), Process(), GPU, 0))
    assert view1.device == GPU
    assert copies.waiting == []
    assert copies.others > 20


def test_a_stop_is_asked_for_without_a_wait() -> None:
    """It is between two steps: a copy of the flag would wait for the step that has just begun."""
    with fake_gpu() as copies:
        Stopper(1, GPU)._sum()
    assert copies.waiting == []


@pytest.mark.parametrize("form", ["dense", "gram", "chunked"])
def test_network_and_loss_make_no_tensor_elsewhere(form: Any) -> None:
    """Fakes refuse an operation on a GPU's tensor and a processor's, as the real ones do."""
    with fake_gpu() as copies:
        with GPU:
            network = BarlowTwins(RECIPE)
        copies.waiting.clear()  # making it may wait
        z1, z2 = network(*(torch.zeros(16, 3, 32, 32, device=GPU) for _ in range(2)))
        loss: Tensor = barlow_twins_loss(z1, z2, form=form)
    assert loss.device == GPU
    assert copies.waiting == []
