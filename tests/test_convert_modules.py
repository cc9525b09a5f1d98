"""Architectures of own modules: the same code and settings are the same one, anything else that computes is another."""

import importlib.util
import linecache
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from twinbench.convert.architectures import modules
from twinbench.convert.architectures.modules import module_architecture
from twinbench.convert.named import ModelError

NET = '''
import torch
from torch import nn

class Base(nn.Module):
    def forward(self, images):
        """Take the mean

        over places.
        """
        return self.body(images).mean((2, 3)) * 2

class Net(Base):
    gain = 1
    def __init__(self, stride=1, scale=1.0):
        super().__init__()
        self.body = nn.Conv2d(3, 4, 3, stride=stride)
        self.scale = scale
'''


def imported(folder: Path, text: str = NET, name: str = "net"):
    """Return the module of Python that a file with `text` is, imported anew."""
    path = folder / f"{name}.py"
    path.write_text(text)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec
    assert spec.loader
    found = importlib.util.module_from_spec(spec)
    exec(compile(text, path, "exec"), vars(found))  # no .pyc, which would be told by the second
    linecache.checkcache(str(path))
    return found


def test_the_class_is_named_and_two_of_its_instances_are_one_architecture(tmp_path):
    net = imported(tmp_path)
    first, second = module_architecture(net.Net()), module_architecture(net.Net())
    assert first == second
    assert first.startswith("module:Net-")
    assert len(first) == len("module:Net-") + 12


def test_mode_device_and_values_are_no_part_of_it(tmp_path):
    net = imported(tmp_path)
    one, two = net.Net(), net.Net().eval().requires_grad_(False)
    two.device = torch.device("cpu")
    with torch.no_grad():
        two.body.weight.zero_()
    assert module_architecture(one) == module_architecture(two)


def test_where_the_file_lies_and_what_it_is_called_is_no_part_of_it(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    first, moved = imported(tmp_path), imported(tmp_path / "elsewhere", "\n\n" + NET, "other")
    assert module_architecture(first.Net()) == module_architecture(moved.Net())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (".mean((2, 3)) * 2", ".amax((2, 3)) * 2"),  # of the class below
        ("gain = 1", "gain = 2"),
        ("scale=1.0", "scale=2.0"),
        ("stride=stride", "stride=2"),
    ],
)
def test_other_code_is_another_architecture(tmp_path, old, new):
    (tmp_path / "changed").mkdir()
    assert NET.count(old) == 1
    before, after = imported(tmp_path), imported(tmp_path / "changed", NET.replace(old, new))
    assert module_architecture(before.Net()) != module_architecture(after.Net())


def test_settings_that_no_tensor_shows_make_another_architecture(tmp_path):
    net = imported(tmp_path)
    plain = module_architecture(net.Net())
    others = {module_architecture(other) for other in (net.Net(stride=2), net.Net(scale=2.0))}
    assert len(others | {plain}) == 3


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (nn.ReLU(), nn.GELU()),
        (nn.GELU(), nn.GELU("tanh")),
        (nn.MultiheadAttention(8, 2), nn.MultiheadAttention(8, 4)),
        (nn.TransformerEncoderLayer(8, 2, 8), nn.TransformerEncoderLayer(8, 2, 8, norm_first=True)),
        (nn.TransformerEncoderLayer(8, 2, 8), nn.TransformerEncoderLayer(8, 2, 8, activation="gelu")),
    ],
)
def test_settings_of_torchs_own_modules_count(one, other):
    assert module_architecture(nn.Sequential(one)) != module_architecture(nn.Sequential(other))


class Called(nn.Module):
    """Applies what it is given."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, images):
        return self.function(images)


def double(images):
    return images * 2


def test_functions_that_a_module_holds_count():
    held = [torch.relu, functional.relu, functional.gelu, double, lambda x: x, partial(double), partial(double, 1)]
    assert len({module_architecture(Called(function)) for function in held}) == len(held)


def test_tensors_that_are_not_saved_count():
    def holding(value, persistent):
        module = Called(None)
        module.register_buffer("grid", torch.full((2,), value), persistent=persistent)
        return module_architecture(module)

    assert holding(1.0, False) != holding(2.0, False)
    assert holding(1.0, True) == holding(2.0, True)  # these are the sha256's


def test_bytecode_is_told_only_where_the_source_is_not_what_computes(tmp_path):
    """Else an architecture would change with the version of Python."""
    kind = imported(tmp_path, NET.replace("* 2", "* sum(x for x in (1, self.__class__.gain))")).Base
    functions = list(modules._functions(kind))
    assert len(functions) == 1
    assert list(modules._changed_since_read(kind, functions, list(map(modules._source, functions)))) == []


def test_an_edited_file_does_not_pass_for_what_was_imported_from_it(tmp_path):
    """Seen in notebooks: the file is edited, the old class still computes."""
    net = imported(tmp_path)
    before = module_architecture(net.Net())
    edited = NET.replace("* 2", "* 3")
    (tmp_path / "net.py").write_text(edited)
    stale = module_architecture(net.Net())
    fresh = module_architecture(imported(tmp_path, edited).Net())
    assert len({before, stale, fresh}) == 3


def test_a_function_replaced_in_the_running_program_counts(tmp_path):
    net = imported(tmp_path)
    before = module_architecture(net.Net())
    net.Base.forward = double
    assert module_architecture(net.Net()) != before


def test_a_class_of_a_notebooks_cell_is_that_of_a_file(tmp_path):
    cell = "/tmp/ipykernel_1/cell.py"  # a name in the cache of lines, and no file
    linecache.cache[cell] = (len(NET), None, NET.splitlines(keepends=True), cell)
    names = {"__name__": "__main__"}
    exec(compile(NET, cell, "exec"), names)
    module = names["Net"]()  # type: ignore[operator]
    assert module_architecture(module) == module_architecture(imported(tmp_path).Net())


def test_a_class_without_a_source_is_told_how_to_get_one():
    names: dict = {"__name__": "__main__"}
    exec(NET, names)
    with pytest.raises(ModelError, match=r"^Base.forward|^Net.__init__: its source cannot be read, .* into a file"):
        module_architecture(names["Net"]())


def test_every_process_tells_the_same(tmp_path):
    """Sets and hashes are in another order in each."""
    text = NET.replace("self.scale = scale", "self.scale = {'a', 'b', 'c', 'd'}")
    (tmp_path / "net.py").write_text(text)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import net;"
        "from twinbench.convert.architectures.modules import module_architecture; print(module_architecture(net.Net()))"
    )
    root = Path(__file__).resolve().parent.parent
    told = subprocess.run([sys.executable, "-c", code, tmp_path], cwd=root, check=True, capture_output=True, text=True)
    assert told.stdout.strip() == module_architecture(imported(tmp_path, text).Net())
