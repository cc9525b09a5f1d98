"""What a pickle may say: honest ones of any package open without a call; one that would call `os.system` does not."""

import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import os
import pathlib
import pickle
import subprocess
import types
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from twinbench.convert import CheckpointError, load_backbone
from twinbench.convert.architectures.resnet import ResNet50
from twinbench.convert.reading import pickles
from twinbench.convert.reading.contents import Contents, fields
from twinbench.convert.reading.nodes import Name, Object
from twinbench.convert.reading.reader import open_checkpoint
from twinbench.convert.reading.window import Window


class Colour(enum.Enum):
    RED = "red"


class Access(enum.IntFlag):
    READ = 1
    WRITE = 2


@dataclasses.dataclass
class Config:
    depth: int = 12


Pair = collections.namedtuple("Pair", "one other")


class Outer:
    class Inner:
        pass


def honest() -> dict[str, Any]:
    """Return what trainers put among their settings."""
    return {
        "enum": Colour.RED,
        "flag": Access.READ | Access.WRITE,
        "dataclass": Config(),
        "namedtuple": Pair(1, 2),
        "nested class": Outer.Inner(),
        "partial of a class": functools.partial(nn.LayerNorm, eps=1e-6),
        "partial of torch": functools.partial(torch.relu),
        "partial of ours": functools.partial(honest),
        "partial of a partial": functools.partial(functools.partial(nn.Linear, 2), 3),
        "function": nn.functional.gelu,
        "optimizer class": torch.optim.AdamW,
        "builtin": len,
        "bound method": "text".upper,
        "class method": datetime.datetime.now,
        "datetime": datetime.datetime.now(datetime.UTC),
        "timedelta": datetime.timedelta(days=1),
        "date": datetime.date(2026, 1, 1),
        "decimal": decimal.Decimal("1.5"),
        "fraction": fractions.Fraction(1, 3),
        "uuid": uuid.uuid4(),
        "deque": collections.deque([1, 2], maxlen=3),
        "defaultdict": collections.defaultdict(list, a=[1]),
        "counter": collections.Counter("aab"),
        "namespace": types.SimpleNamespace(lr=0.1),
        "path": pathlib.PurePosixPath("a/b"),
        "range": range(3),
        "complex": 1j,
        "error": ValueError("x"),
        "tuple keys": {(0, "a"): 1, 3: 2, Colour.RED: 3},
        "numpy scalar": np.float32(1),
        "numpy generator": np.random.default_rng(0),
        "numpy state": np.random.RandomState(0),
        "objects": np.array([{}, None], dtype=object),
        "torch": [torch.float8_e4m3fn, torch.device("cpu"), torch.Size([2]), torch.strided],
    }


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_honest_settings_open_and_the_tensors_beside_them_are_read(tmp_path: Path, protocol: int) -> None:
    for what, value in honest().items():
        torch.save({"what": value, "w": torch.arange(3.0)}, tmp_path / "file.pth", pickle_protocol=protocol)
        contents = open_checkpoint(tmp_path / "file.pth")
        assert contents.tensors(contents.tree)["w"].fetch().tolist() == [0, 1, 2], what


def test_an_optimizer_that_was_saved_whole_opens(tmp_path: Path) -> None:
    layer = nn.Linear(2, 2)
    torch.save({"optimizer": torch.optim.AdamW(layer.parameters()), **layer.state_dict()}, tmp_path / "file.pth")
    contents = open_checkpoint(tmp_path / "file.pth")
    assert torch.equal(contents.tensors(contents.tree)["weight"].fetch(), layer.weight)
    assert contents.tree["optimizer"].path == "torch.optim.adamw.AdamW"


def test_arguments_of_transformers_open(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="a trainer of transformers writes training_args.bin")
    torch.save(transformers.TrainingArguments(str(tmp_path), use_cpu=True), tmp_path / "training_args.bin")
    settings = fields(open_checkpoint(tmp_path / "training_args.bin").tree)
    assert settings["adam_beta2"] == 0.999
    assert isinstance(settings["lr_scheduler_type"], Object)


@pytest.mark.filterwarnings("ignore")  # what Lightning has to say of machines and schedulers
def test_a_checkpoint_of_lightning_opens(tmp_path: Path) -> None:
    lightning = pytest.importorskip("lightning", reason="Lightning writes the checkpoint")

    class Module(lightning.LightningModule):
        def __init__(self, act: Any, optimizer: Any) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.backbone = nn.Linear(2, 2)

        def training_step(self, batch: Any, _: int) -> torch.Tensor:
            return self.backbone(batch[0]).sum()

        def configure_optimizers(self) -> Any:
            optimizer = self.hparams["optimizer"](self.parameters())
            return [optimizer], [torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, 10)]

    module = Module(nn.GELU, functools.partial(torch.optim.AdamW, lr=0.1))
    images = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.ones(2, 2)))
    trainer = lightning.Trainer(
        max_epochs=1,
        logger=False,
        accelerator="cpu",
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        callbacks=[lightning.pytorch.callbacks.Timer()],
        default_root_dir=tmp_path,
    )
    trainer.fit(module, images)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    contents = open_checkpoint(tmp_path / "last.ckpt")
    found = contents.tensors(contents.at(("state_dict",)))
    assert torch.equal(found["backbone.weight"].fetch(), module.backbone.weight)
    settings = fields(contents.at(("hyper_parameters",)))
    assert isinstance(settings["act"], Name)
    assert settings["act"].path == "torch.nn.modules.activation.GELU"


class Call:
    """Something whose unpickling calls a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> Any:
        return self.function, self.arguments


class State(Call):
    """A call of a harmless function, whose state is set afterwards."""

    def __reduce__(self) -> Any:
        return self.function, (), self.arguments[0]


def text(value: str) -> bytes:
    return b"\x8c" + bytes([len(value)]) + value.encode()


def called(module: str, name: str) -> bytes:
    """Return a pickle that calls a name without arguments."""
    return b"\x80\x04" + text(module) + text(name) + b"\x93)R."


def read(program: bytes) -> Any:
    return pickles.read(Window(memoryview(program)), "file.pth")


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize(
    "value",
    [
        Call(os.system, "true"),
        Call(subprocess.Popen, ["true"]),
        Call(pathlib.Path.unlink, pathlib.Path("x")),
        functools.partial(os.system, "true"),
        functools.partial(functools.partial(subprocess.Popen, ["true"]), shell=True),
        functools.partial(pathlib.Path("x").unlink),
        collections.defaultdict(os.getcwd),
        State(functools.partial(honest).__class__, (os.system, (), {}, None)),
        Call(torch.load, "x"),
        Call(np.load, "x"),
        {"among": [{"others": Call(eval, "1")}]},
    ],
)
def test_calls_that_any_machine_could_make_are_refused(value: Any, protocol: int) -> None:
    with pytest.raises(CheckpointError, match=r"file\.pth: (its pickle calls|damaged)"):
        read(pickle.dumps(value, protocol))


@pytest.mark.parametrize(
    ("module", "name", "opens"),
    [
        ("somebody.models", "Config", True),
        ("somebody.models", "_Config", True),
        ("somebody.models", "Outer.Inner", True),
        ("__main__", "Config", True),
        ("somebody.models", "build", False),
        ("somebody.utils", "subprocess.Popen", False),  # through a module that somebody imports
        ("torch.nn.functional", "importlib.import_module", False),
        ("torch.nn", "Linear", True),
        ("torch", "FloatTensor", False),
        ("torch.fx.graph_module", "reduce_graph_module", False),  # runs the source that the pickle brings
        ("torch.distributed.elastic.multiprocessing.subprocess_handler", "SubprocessHandler", False),
        ("subprocess", "Popen", False),
        ("commands", "getoutput", False),  # Python 2's, which an unpickler translates
        ("dill._dill", "_create_type", False),
        ("cloudpickle", "CloudPickler", False),
        ("dataclasses", "Field", False),
        ("collections", "Counter", True),
    ],
)
def test_which_calls_open(module: str, name: str, opens: bool) -> None:
    program = called(module, name)
    if opens:
        assert read(program).path == f"{module}.{name}"
    else:
        with pytest.raises(
            CheckpointError, match=f"its pickle calls '{module}.{name}', which is not on the allow-list"
        ):
            read(program)


def test_a_name_that_is_not_called_may_be_anything() -> None:
    name = read(pickle.dumps({"loss": os.system}))["loss"]
    assert isinstance(name, Name)
    assert name.path == f"{os.system.__module__}.system"


def test_attributes_of_names_are_names_and_judged_as_such() -> None:
    getattr_ = b"\x80\x04" + text("builtins") + text("getattr") + b"\x93"
    inner = getattr_ + text("somebody") + text("Outer") + b"\x93" + text("Inner") + b"\x86R"
    assert read(inner + b".").path == "somebody.Outer.Inner"
    assert read(inner + b")R.").path == "somebody.Outer.Inner"
    through = getattr_ + text("somebody") + text("os") + b"\x93" + text("system") + b"\x86R)R."
    with pytest.raises(CheckpointError, match=r"somebody\.os\.system"):
        read(through)


def test_a_class_that_came_with_its_source_is_judged_as_any_other() -> None:
    """Torch before 1.6 pickled the class of a module as a reference to ("module", class, file, source)."""

    def program(module: str, name: str) -> bytes:
        return b"\x80\x04(" + text("module") + text(module) + text(name) + b"\x93NNtQ)R."

    assert read(program("somebody", "Net")).path == "somebody.Net"
    with pytest.raises(CheckpointError, match="its pickle calls 'os.system'"):
        read(program("os", "system"))


@pytest.mark.parametrize(
    "program",
    [
        b"\x80\x04" + text("somebody") + text("Class") + b"\x93)R)R.",  # the result of a call is called
        b"\x80\x04" + text("somebody") + text("Class") + b"\x93}b.",  # attributes of a class are set
        b"\x80\x04" + text("somebody") + text("Class") + b"\x93)R}b}b.",  # a second state
        b"\x80\x04" + text("functools") + text("partial") + b"\x93" + text("x") + b"\x85R.",
        b"\x80\x04csomebody\n" + b"x" * 1000 + b"\n.",
        b"\x80\x04}(((((ttttNu.",  # tuples in tuples as a key
        b"\x80\x04}(\x8b" + (200).to_bytes(4, "little") + b"\x01" * 200 + b"Nu.",  # a number of 200 bytes as a key
    ],
)
def test_what_no_pickler_writes_is_refused(program: bytes) -> None:
    with pytest.raises(CheckpointError, match="damaged or truncated pickle"):
        read(program)


def test_limits() -> None:
    with pytest.raises(CheckpointError, match="more than 3,000,000 operations"):
        read(b"\x80\x02" + b"N0" * 1_500_001 + b".")
    names = b"".join(b"csomebody\nN%05d\n" % n for n in range(10_001))
    with pytest.raises(CheckpointError, match="names more than 10,000 classes"):
        read(b"\x80\x02" + names + b".")


def test_python_2_s_ordered_dicts_hold_pairs() -> None:
    tree = read(pickle.dumps(Call(collections.OrderedDict, [["a", 1], ["b", 2]]), 2))
    assert fields(tree) == {"a": 1, "b": 2}


class Net(nn.Module):
    """A network with a module used twice, buffers of both kinds, and a parameter that is None."""

    mean: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        self.layer1 = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4, affine=False), nn.GELU())
        self.again = self.bn1
        self.register_buffer("mean", torch.ones(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer1(self.again(self.bn1(self.conv1(x + self.mean.view(1, 3, 1, 1)))))


def assert_is(contents: Contents, node: Any, expected: dict[str, torch.Tensor]) -> None:
    """Compare a node's tensors with a state dict: names, types, values."""
    found = contents.tensors(node)
    assert sorted(found) == sorted(expected)
    for name, values in expected.items():
        assert found[name].dtype == values.dtype, name
        assert torch.equal(found[name].fetch(), values), name


@pytest.mark.parametrize("is_zip", [True, False])
def test_a_module_that_was_saved_whole_is_its_state_dict(tmp_path: Path, is_zip: bool) -> None:
    net = Net()
    net.register_buffer("left_out", torch.ones(1), persistent=False)
    wrapped = nn.DataParallel(net)
    torch.save(wrapped, tmp_path / "file.pth", _use_new_zipfile_serialization=is_zip)
    contents = open_checkpoint(tmp_path / "file.pth")
    assert list(fields(contents.tree)) == list(wrapped.state_dict())
    assert_is(contents, contents.tree, wrapped.state_dict())
    torch.save({"epoch": 1, "model": net}, tmp_path / "in.pth", _use_new_zipfile_serialization=is_zip)
    contents = open_checkpoint(tmp_path / "in.pth")
    assert_is(contents, contents.at(("model",)), net.state_dict())


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:FutureWarning")
@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("way", ["script", "trace"])
def test_torchscript_archives_are_read_as_tensors(tmp_path: Path, way: str, half: bool) -> None:
    net = Net().eval()
    net = net.half() if half else net
    images = torch.ones(1, 3, 8, 8, dtype=net.mean.dtype)
    module: Any = torch.jit.script(net) if way == "script" else torch.jit.trace(net, images)
    torch.jit.save(module, tmp_path / "file.pt")
    contents = open_checkpoint(tmp_path / "file.pt")
    assert contents.container == "torchscript"
    assert_is(contents, contents.tree, module.state_dict())
    assert set(net.state_dict()) == set(module.state_dict())


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:FutureWarning")
@pytest.mark.parametrize("way", ["whole", "trace"])
def test_a_backbone_is_proven_in_whatever_it_was_saved(tmp_path: Path, way: str) -> None:
    model = ResNet50(1 / 16).eval()
    generator = torch.Generator().manual_seed(0)
    for values in model.state_dict().values():
        values += torch.rand(values.shape, generator=generator).add(0.5).to(values.dtype)
    torch.save(model.state_dict(), tmp_path / "plain.pth")
    if way == "whole":
        torch.save({"epoch": 3, "model": model}, tmp_path / "file.pth")
    else:
        torch.jit.save(torch.jit.trace(model, torch.ones(1, 3, 32, 32)), tmp_path / "file.pth")
    assert load_backbone(tmp_path / "file.pth").sha256 == load_backbone(tmp_path / "plain.pth").sha256


def test_a_pickle_of_torch_tensors_without_torch_save_is_read(tmp_path: Path) -> None:
    weights = {"a": torch.arange(6.0).view(2, 3).T, "b": torch.arange(4).half()}
    for protocol in (2, 4):
        (tmp_path / "file.pkl").write_bytes(pickle.dumps(weights, protocol))
        contents = open_checkpoint(tmp_path / "file.pkl")
        assert_is(contents, contents.tree, weights)
        places = {stored.place for stored in contents.tensors(contents.tree).values()}
        assert len(places) == 2


def test_modules_that_hold_themselves_or_double_end_soon() -> None:
    inner: Any = nn.Module()
    for _ in range(60):  # 2 ** 60 modules by name, 60 in the file
        outer = nn.Module()
        outer.a = outer.b = inner
        inner = outer
    assert fields(read(pickle.dumps(inner, 2))) == {}
    circle = nn.Module()
    circle.inner = circle
    assert fields(read(pickle.dumps(circle, 2))) == {}
