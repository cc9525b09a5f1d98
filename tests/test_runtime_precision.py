"""One number format, enforced within its block, and what was set before is back after it."""

from collections.abc import Callable
from multiprocessing import get_context
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from twinbench.runtime import precision as precision_module
from twinbench.runtime.precision import PrecisionError, TrainingPrecision, network_precision, resolve_precision

CPU = torch.device("cpu")


def switches() -> tuple[bool, bool]:
    """Return what a GPU's convolutions and its matrix products may take of TF32."""
    return torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32


@pytest.fixture
def restored():
    """Put PyTorch's switch of matrix products back after a test that changes it, as it is at start."""
    yield
    torch.set_float32_matmul_precision("highest")


def apart(work: Callable[[], None]) -> None:
    """Do `work` in a process of its own, forked: some switches cannot be put back as they were."""
    process = get_context("fork").Process(target=work)
    process.start()
    process.join(60)
    assert process.exitcode == 0


@pytest.mark.parametrize(
    ("precision", "device", "exact_products", "expected"),
    [
        ("fp32", "cuda", False, (False, False)),
        ("tf32", "cuda", False, (True, True)),
        ("tf32", "cuda", True, (True, False)),
        ("bf16", "cpu", False, (False, False)),
        ("fp16", "cpu", False, (False, False)),
    ],
)
@pytest.mark.parametrize("before", ["highest", "high", "medium"])
def test_switches_of_each_format_and_their_way_back(precision, device, exact_products, expected, before, restored):
    torch.set_float32_matmul_precision(before)
    found = switches()
    with pytest.raises(KeyboardInterrupt), network_precision(precision, device, exact_products=exact_products):
        assert switches() == expected
        raise KeyboardInterrupt
    assert switches() == found
    assert torch.get_float32_matmul_precision() == before


def newer() -> list[str]:
    """Return what PyTorch's newer interface says; `none` is exact, too, where nothing above says otherwise."""
    backends: Any = torch.backends
    if not hasattr(backends, "fp32_precision"):  # torch before 2.9
        return []
    places = (backends.cudnn.conv, backends.cuda.matmul, backends.mkldnn.conv, backends.mkldnn.matmul)
    return [place.fp32_precision.replace("none", "ieee") for place in places]


def older() -> list[bool | str]:
    """Return what the older interface says, where it does not refuse a mixture of the two."""
    found: list[bool | str] = []
    for read in (lambda: torch.backends.cudnn.allow_tf32, lambda: torch.backends.cuda.matmul.allow_tf32):
        try:
            found.append(read())
        except RuntimeError:
            found.append("unreadable")
    return found


@pytest.mark.parametrize(
    "given",
    [
        'backends.fp32_precision = "tf32"',  # which outlives `cudnn.allow_tf32 = False`
        'backends.cudnn.fp32_precision = "tf32"',
        'backends.cudnn.conv.fp32_precision = "tf32"; backends.cuda.matmul.fp32_precision = "tf32"',
        "backends.cuda.matmul.allow_tf32 = True; backends.cuda.matmul.allow_tf32 = False",
        'backends.cudnn.conv.fp32_precision = "ieee"; backends.cuda.matmul.fp32_precision = "tf32"',
    ],
)
def test_exact_means_exact_after_pytorch_s_newer_switches_too(given):
    """Those that PyTorch's pages advise, in a notebook before `twinbench.evaluate`."""
    if not hasattr(torch.backends, "fp32_precision"):
        pytest.skip("torch before 2.9")

    def work() -> None:
        exec(given, {"backends": torch.backends})
        before = newer(), older()
        with network_precision("fp32", "cuda"):
            assert "tf32" not in newer()
            assert older() == [False, False]
        assert (newer(), older()) == before

    apart(work)


@pytest.mark.parametrize(("name", "expected"), [("fp32", "float32"), ("bf16", "bfloat16"), ("fp16", "float16")])
def test_products_are_of_the_format(name, expected):
    weight = torch.ones(2, 2)
    with network_precision(name, "cpu"):
        found = (weight @ weight).dtype
    assert str(found) == f"torch.{expected}"


def test_the_inner_block_counts():
    weight = torch.ones(2, 2)
    with network_precision("bf16", "cpu"), network_precision("fp32", "cpu"):
        assert (weight @ weight).dtype == torch.float32


def test_weights_that_changed_between_two_inner_blocks_are_seen():
    """PyTorch caches cast weights until the outermost autocast ends; trained so, a network never changed."""
    weight, found = torch.nn.Parameter(torch.ones(2, 2)), []
    with network_precision("fp32", "cpu"):
        for _ in range(2):
            with network_precision("bf16", "cpu"):
                found.append((torch.ones(1, 2) @ weight).sum().item())
            with torch.no_grad():
                weight.mul_(2)
    assert found == [4, 8]


def test_cudnn_s_other_switches_stay():
    torch.backends.cudnn.benchmark = True
    try:
        with network_precision("fp32", "cpu"):
            assert torch.backends.cudnn.benchmark
    finally:
        torch.backends.cudnn.benchmark = False


def test_auto_is_what_a_processor_does_fast(monkeypatch):
    for bf16, expected in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda bf16=bf16: bf16)
        monkeypatch.setattr("torch.cpu._is_amx_tile_supported", lambda: False)
        assert resolve_precision("auto", CPU) == expected


@pytest.mark.parametrize(
    ("bf16", "capability", "expected"), [(True, (9, 0), "bf16"), (False, (7, 0), "fp16"), (False, (6, 1), "fp32")]
)
def test_auto_is_what_a_gpu_does_fast(monkeypatch, bf16, capability, expected):
    """A V100 says that it supports bf16, by emulation."""
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation=True: bf16 or including_emulation)
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda device: capability)
    assert resolve_precision("auto", "cuda:0") == expected


def test_what_does_not_exist_is_named():
    with pytest.raises(PrecisionError, match=r"unknown precision 'half'.*Known: auto, bf16, fp16, fp32, tf32"):
        resolve_precision("half", CPU)
    with pytest.raises(PrecisionError, match="precision tf32 on cpu: expected a GPU"):
        resolve_precision("tf32", CPU)


def test_only_fp16_has_a_scaler():
    assert TrainingPrecision("fp32", CPU).state() == {"precision": "fp32", "scaler": None}
    state = TrainingPrecision("fp16", CPU).state()
    assert state["scaler"]["scale"] == 65536


@pytest.mark.parametrize("name", ["fp32", "bf16", "fp16"])
def test_a_training_step_descends(name):
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    images = torch.randn(8, 4)
    precision, losses = TrainingPrecision(name, CPU), []
    for _ in range(5):
        with precision.forward():
            outputs = model(images)
        loss = outputs.float().square().mean()
        optimizer.zero_grad()
        precision.step(loss, optimizer)
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    assert all(p.dtype == torch.float32 for p in model.parameters())


@pytest.mark.parametrize(
    "given",
    [
        "backends.cuda.matmul.allow_tf32 = True",
        "torch.set_float32_matmul_precision('high'); backends.cuda.matmul.allow_tf32 = False",
        "torch.set_float32_matmul_precision('medium')",
    ],
)
@pytest.mark.parametrize("precision", ["fp32", "tf32"])
def test_what_an_older_switch_does_after_a_block_is_what_it_does_without_one(given, precision):
    """A block once left a processor's products at tf32; `allow_tf32 = False` after it made the switch unreadable."""

    def work() -> None:
        exec(given, {"backends": torch.backends, "torch": torch})
        before = newer(), older()
        with network_precision(precision, "cuda"):
            pass
        assert (newer(), older()) == before
        torch.backends.cuda.matmul.allow_tf32 = False
        assert torch.backends.cuda.matmul.allow_tf32 is False
        with network_precision(precision, "cuda"):
            pass
        assert torch.backends.cuda.matmul.allow_tf32 is False

    apart(work)


def test_torch_before_2_9_has_no_switch_for_a_processors_products(monkeypatch, restored):
    """Every command ended with AttributeError there: mkldnn.matmul was asked for before the version was."""
    matmul = SimpleNamespace(allow_tf32=False)
    older_torch = SimpleNamespace(cuda=SimpleNamespace(matmul=matmul), mkldnn=SimpleNamespace())
    monkeypatch.setattr(precision_module, "_BACKENDS", older_torch)
    torch.set_float32_matmul_precision("high")
    with network_precision("fp32", "cpu"):
        pass
    assert torch.get_float32_matmul_precision() == "high"
