"""Tensors as torch wrote them, against `torch.load`: every type and subclass, views, checksums once, one place each."""

import io
import json
import pickle
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import _utils, nn

from twinbench.convert import CheckpointError
from twinbench.convert.reading import stored
from twinbench.convert.reading.contents import Contents
from twinbench.convert.reading.reader import open_checkpoint

Z = torch.complex(torch.arange(6.0), torch.arange(6.0) + 10).view(2, 3)


class Image(torch.Tensor):
    """A subclass such as torchvision's."""


class Weight(nn.Parameter):
    """A parameter of a class of its own."""


def marked() -> nn.Parameter:
    """Return a parameter with an attribute, which is pickled with its state."""
    weight = nn.Parameter(torch.arange(3.0))
    weight.is_expert = True  # type: ignore[attr-defined]
    return weight


def plain() -> dict[str, torch.Tensor]:
    """Return tensors that are read as they are."""
    base = torch.arange(24.0).view(2, 3, 4)
    real = (torch.float16, torch.bfloat16, torch.float64, torch.int8, torch.int16, torch.uint8, torch.bool)
    return {
        **{str(dtype): torch.arange(4).to(dtype) for dtype in real},
        **{str(dtype): torch.arange(4.0).to(dtype) for dtype in (torch.float8_e4m3fn, torch.float8_e5m2)},
        **{str(dtype): torch.arange(4).to(dtype) for dtype in (torch.uint16, torch.uint32, torch.uint64)},
        "transposed": base.permute(2, 0, 1),
        "narrow": base[:, 1:, ::2],
        "channels last": torch.arange(24.0).view(1, 2, 3, 4).contiguous(memory_format=torch.channels_last),
        "empty": torch.empty(0, 3),
        "number": torch.tensor(3.0),
        "imaginary part": Z.imag,
        "negated imaginary part": Z.conj().imag,
        "negated and narrow": Z.conj().imag[:, 1],
        "real view": torch.view_as_real(Z),
        "parameter": nn.Parameter(base),
        "parameter with state": marked(),
        "parameter of a class": Weight(torch.arange(3.0)),
        "subclass": torch.arange(3.0).as_subclass(Image),
        "half subclass": torch.arange(3.0).half().as_subclass(Image),
    }


@pytest.mark.parametrize("is_zip", [True, False])
def test_tensors_are_those_of_torch_load(tmp_path: Path, is_zip: bool) -> None:
    tensors = plain()
    if not is_zip:  # torch itself cannot read what it writes there of types that came later
        tensors = {
            name: tensor for name, tensor in tensors.items() if not name.startswith(("torch.uint", "torch.float8"))
        }
    torch.save(tensors, tmp_path / "file.pth", _use_new_zipfile_serialization=is_zip)
    expected = torch.load(tmp_path / "file.pth", weights_only=False)
    contents = open_checkpoint(tmp_path / "file.pth")
    found = contents.tensors(contents.tree)
    assert list(found) == list(expected)
    for name, values in expected.items():
        fetched = found[name].fetch()
        assert found[name].dtype == fetched.dtype == values.dtype, name
        assert found[name].shape == tuple(values.shape), name
        assert fetched.is_contiguous(), name
        assert fetched.double().tolist() == values.detach().double().tolist(), name


def test_a_negated_view_is_one_whose_sign_would_flip() -> None:
    assert Z.conj().imag.is_neg()
    assert Z.conj().imag[0, 0] == -10


def odd() -> dict[str, tuple[Any, str]]:
    """Return what no backbone is made of, with a word of the error that fetching it gives."""
    quantized = torch.quantize_per_channel(torch.ones(2, 2), torch.ones(2), torch.zeros(2), 0, torch.qint8)
    return {
        "complex": (Z, "complex64"),
        "conjugate": (Z.conj(), "complex64"),
        "double complex": (Z.to(torch.complex128), "complex128"),
        "quantized": (torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.quint8), "quint8"),
        "per channel": (quantized, "qint8"),
        "expanded": (torch.arange(3.0).expand(2, 3), "shape 2 x 3 over 3 stored values"),
        "meta": (torch.ones(2, 2, device="meta"), "meta device"),
    }


@pytest.mark.filterwarnings("ignore")  # that torch gives up quantized tensors, and is not done with nested ones
def test_odd_tensors_are_refused_when_they_are_asked_for_and_not_before(tmp_path: Path) -> None:
    nested = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])
    beside = {"sparse": torch.eye(3).to_sparse(), "csr": torch.eye(3).to_sparse_csr(), "nested": nested}
    tensors = {name: tensor for name, (tensor, _) in odd().items()}
    torch.save({"first": torch.ones(2), **tensors, **beside, "last": torch.arange(2.0)}, tmp_path / "file.pth")
    contents = open_checkpoint(tmp_path / "file.pth")
    found = contents.tensors(contents.tree)
    assert list(found) == ["first", *tensors, "last"]
    assert found["last"].fetch().tolist() == [0, 1]
    for name, (tensor, word) in odd().items():
        assert found[name].shape == tuple(tensor.shape)
        with pytest.raises(CheckpointError, match=rf"file\.pth: a tensor of .*{word}"):
            found[name].fetch()


class Rebuilt:
    """A tensor as torch pickles it on an accelerator whose storages it cannot write."""

    def __init__(self, function: str, data: Any, dtype: torch.dtype) -> None:
        self.function, self.data, self.dtype = function, data, dtype

    def __reduce__(self) -> Any:
        return getattr(_utils, self.function), (self.data, self.dtype, "cpu", False)


@pytest.mark.parametrize(
    ("function", "data"),
    [
        ("_rebuild_device_tensor_from_numpy", np.arange(4, dtype="f4")),
        ("_rebuild_device_tensor_from_cpu_tensor", torch.arange(4.0)),
    ],
)
def test_tensors_of_other_devices_have_the_type_they_had_there(tmp_path: Path, function: str, data: Any) -> None:
    torch.save({"w": Rebuilt(function, data, torch.bfloat16)}, tmp_path / "file.pth")
    expected = torch.load(tmp_path / "file.pth", weights_only=False)["w"]
    contents = open_checkpoint(tmp_path / "file.pth")
    found = contents.tensors(contents.tree)["w"]
    assert found.dtype == expected.dtype == torch.bfloat16
    assert torch.equal(found.fetch(), expected)


def test_distributed_tensors_are_read_where_they_are_whole(tmp_path: Path) -> None:
    from torch.distributed.tensor import DTensor, Replicate, Shard, init_device_mesh
    from torch.distributed.tensor.placement_types import Partial

    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        mesh = init_device_mesh("cpu", (1,))
        part = torch.arange(6.0).view(2, 3)
        layouts = {"replicated": [Replicate()], "sharded": [Shard(0)], "sum": [Partial()]}
        tensors: dict[str, Any] = {name: DTensor.from_local(part, mesh, placing) for name, placing in layouts.items()}
        tensors["parameter"] = nn.Parameter(tensors["replicated"])
        tensors["one of two"] = DTensor.from_local(
            part, mesh, [Shard(0)], run_check=False, shape=torch.Size((4, 3)), stride=(3, 1)
        )
        torch.save(tensors, tmp_path / "file.pth")
    finally:
        torch.distributed.destroy_process_group()
    contents = open_checkpoint(tmp_path / "file.pth")
    found = contents.tensors(contents.tree)
    for name in ("replicated", "sharded", "parameter"):
        assert torch.equal(found[name].fetch(), part), name
    assert found["one of two"].shape == (4, 3)
    for name in ("one of two", "sum"):
        with pytest.raises(CheckpointError, match="one rank's part of a tensor"):
            found[name].fetch()


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the sizes of what checksums are computed of from now on."""
    sizes: list[int] = []
    crc32 = zlib.crc32

    class Zlib:
        @staticmethod
        def crc32(data: Any) -> int:
            sizes.append(len(data))
            return crc32(data)

    monkeypatch.setattr(stored, "zlib", Zlib)
    return sizes


def opened(tensors: dict[str, torch.Tensor], path: Path) -> Contents:
    torch.save(tensors, path)
    return open_checkpoint(path)


def test_a_checksum_is_compared_once_for_all_tensors_of_a_storage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = torch.arange(1000.0)
    contents = opened({f"w{n}": base[n : n + 9] for n in range(100)} | {"other": torch.ones(3)}, tmp_path / "file.pth")
    sizes = counted(monkeypatch)
    for _ in range(2):
        for values in contents.tensors(contents.tree).values():
            values.fetch()
    assert sorted(sizes) == [12, 4000]


def test_a_wrong_checksum_is_said_each_time(tmp_path: Path) -> None:
    torch.save({"a": torch.full((100,), 7.0)}, tmp_path / "file.pth")
    data = bytearray((tmp_path / "file.pth").read_bytes())
    data[data.index(struct.pack("<ff", 7, 7)) + 8] ^= 1
    (tmp_path / "file.pth").write_bytes(data)
    contents = open_checkpoint(tmp_path / "file.pth")
    for _ in range(2):
        with pytest.raises(CheckpointError, match="checksum does not fit"):
            contents.tensors(contents.tree)["a"].fetch()


def test_tensors_are_interpreted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = opened({"a": torch.ones(3)}, tmp_path / "file.pth")
    first = contents.tensors(contents.tree)
    first.clear()
    monkeypatch.setattr("twinbench.convert.reading.contents.as_tensor", None)
    assert list(contents.tensors(contents.tree)) == ["a"]
    other = {"a": first}
    assert contents.tensors(dict(other["a"])) == {}, "another node is not the one of before"


@pytest.mark.parametrize("is_zip", [True, False])
def test_one_place_is_one_tensor(tmp_path: Path, is_zip: bool) -> None:
    base = torch.arange(6.0)
    tensors = {
        "online.w": base,
        "encoder.w": base,
        "view": base.view(2, 3),
        "other view": base.view(2, 3).T,
        "later": base[3:],
        "equal": base.clone(),
    }
    torch.save(tensors, tmp_path / "file.pth", _use_new_zipfile_serialization=is_zip)
    contents = open_checkpoint(tmp_path / "file.pth")
    found = contents.tensors(contents.tree)
    assert all(item.place is not None for item in found.values())
    assert found["online.w"].place == found["encoder.w"].place
    assert len({(item.place, item.shape) for item in found.values()}) == 5


def test_arrays_and_safetensors_have_places_too(tmp_path: Path) -> None:
    array = np.arange(6, dtype="f4")
    (tmp_path / "file.pkl").write_bytes(pickle.dumps({"a": array, "b": array, "c": array.copy()}))
    contents = open_checkpoint(tmp_path / "file.pkl")
    a, b, c = (item.place for item in contents.tensors(contents.tree).values())
    assert a == b
    assert a != c
    save_file({"a": torch.ones(2), "b": torch.ones(2)}, tmp_path / "file.safetensors")
    contents = open_checkpoint(tmp_path / "file.safetensors")
    a, b = (item.place for item in contents.tensors(contents.tree).values())
    assert a != b


def test_safetensors_of_every_type(tmp_path: Path) -> None:
    dtypes = (torch.float8_e4m3fn, torch.float8_e5m2, torch.bfloat16, torch.float16, torch.uint16, torch.uint64)
    tensors = {str(dtype): torch.arange(4.0).to(dtype) for dtype in dtypes}
    save_file(tensors, tmp_path / "file.safetensors")
    contents = open_checkpoint(tmp_path / "file.safetensors")
    found = contents.tensors(contents.tree)
    assert found.keys() == tensors.keys()
    for name, values in tensors.items():
        assert found[name].fetch().double().tolist() == values.double().tolist(), name


class Part:
    """A storage that is a part of another, as torch 0.4 pickled it: (index, first value, number of values)."""

    def __init__(self, total: int, first: int, count: int) -> None:
        self.key = ("storage", torch.FloatStorage, "root", "cpu", total, (f"{first}+{count}", first, count))


class Viewing:
    """A tensor over such a storage."""

    def __init__(self, part: Part, offset: int, shape: tuple[int, ...]) -> None:
        self.arguments = part, offset, shape, (1,), False, {}

    def __reduce__(self) -> Any:
        return _utils._rebuild_tensor_v2, self.arguments


def old_file(tree: Any, values: torch.Tensor) -> bytes:
    """Return a file of torch before 1.6 with one storage."""

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj: Any) -> Any:
            return obj.key if isinstance(obj, Part) else None

    buffer = io.BytesIO()
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    for part in (0x1950A86A20F9469CFC6C, 1001, system, tree, ["root"]):
        Pickler(buffer, 2).dump(part)
    buffer.write(struct.pack("<q", len(values)) + values.numpy().tobytes())
    return buffer.getvalue()


def test_storages_that_are_parts_of_others(tmp_path: Path) -> None:
    tree = {"a": Viewing(Part(10, 4, 5), 1, (3,)), "b": Viewing(Part(10, 0, 10), 5, (3,))}
    (tmp_path / "file.pth").write_bytes(old_file(tree, torch.arange(10.0)))
    expected = torch.load(tmp_path / "file.pth", weights_only=False)
    contents = open_checkpoint(tmp_path / "file.pth")
    found = contents.tensors(contents.tree)
    assert found["a"].fetch().tolist() == expected["a"].tolist() == [5, 6, 7]
    assert found["a"].place == found["b"].place


@pytest.mark.parametrize(
    ("part", "message"), [(Part(10, 8, 5), "did not write"), (Part(10, 8, 2), "3 over 2 stored values")]
)
def test_parts_that_reach_beyond_are_refused(tmp_path: Path, part: Part, message: str) -> None:
    (tmp_path / "file.pth").write_bytes(old_file({"a": Viewing(part, 0, (3,))}, torch.arange(10.0)))
    with pytest.raises(CheckpointError, match=message):
        contents = open_checkpoint(tmp_path / "file.pth")
        contents.tensors(contents.tree)


def test_places_in_shards_are_of_their_files(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "one.bin")
    torch.save({"b": torch.ones(2)}, tmp_path / "two.bin")
    index = {"weight_map": {"a": "one.bin", "b": "two.bin"}}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    contents = open_checkpoint(tmp_path)
    a, b = (item.place for item in contents.tensors(contents.tree).values())
    assert a is not None
    assert a != b
