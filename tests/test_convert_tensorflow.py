"""TensorFlow's checkpoints, written here by the documented format and read back: whole, damaged and hostile."""

import struct
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from twinbench.convert import CheckpointError, load_backbone
from twinbench.convert.architectures.resnet import ResNet50
from twinbench.convert.convention import UNIT
from twinbench.convert.finding.simclr import simclr_name
from twinbench.convert.reading import crc32c as crc
from twinbench.convert.reading import sstable, tensorflow, tensorflow_objects
from twinbench.convert.reading.crc32c import crc32c, unmasked
from twinbench.convert.reading.reader import open_checkpoint

MAGIC = 0xDB4775248B80FB57
CODES = {"f4": 1, "f8": 2, "i4": 3, "u1": 4, "i2": 5, "i1": 6, "i8": 9, "b1": 10, "f2": 19}  # types.proto
Message = list[tuple[int, int | bytes]]


def table_of_crcs() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


CRCS = table_of_crcs()


def plain_crc(data: bytes | bytearray) -> int:
    """Return the CRC-32C, byte by byte."""
    state = 0xFFFFFFFF
    for byte in data:
        state = CRCS[(state ^ byte) & 0xFF] ^ state >> 8
    return state ^ 0xFFFFFFFF


def masked(crc: int) -> int:
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def varint(value: int) -> bytes:
    written = bytearray()
    while value >= 0x80:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(written) + bytes([value])


def message(fields: Message, fixed32: tuple[int, ...] = ()) -> bytes:
    """Return a message on the wire: numbers as varints but for those of `fixed32`, bytes with their length."""
    written = bytearray()
    for number, value in fields:
        if isinstance(value, bytes):
            written += varint(number << 3 | 2) + varint(len(value)) + value
        elif number in fixed32:
            written += varint(number << 3 | 5) + struct.pack("<I", value)
        else:
            written += varint(number << 3) + varint(value)
    return bytes(written)


def shape_of(axes: tuple[int, ...]) -> bytes:
    return message([(2, message([(1, axis)] if axis else [])) for axis in axes])


def block(entries: list[tuple[bytes, bytes]], compression: int = 0) -> bytes:
    """Return a block in which every fourth key is written in full, with its trailer."""
    data, restarts, last = bytearray(), [], b""
    for number, (key, value) in enumerate(entries):
        shared = 0
        if number % 4 == 0:
            restarts.append(len(data))
        else:
            while shared < min(len(last), len(key)) and last[shared] == key[shared]:
                shared += 1
        data += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        last = key
    restarts = restarts or [0]
    data += struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts)) + bytes([compression])
    return bytes(data) + struct.pack("<I", masked(plain_crc(data)))


def table(entries: list[tuple[bytes, bytes]], per_block: int = 7, repeats: int = 1, compression: int = 0) -> bytes:
    """Return a table; `repeats` lists each of its blocks more than once."""
    written, handles = bytearray(), []
    for start in range(0, len(entries), per_block):
        part = block(entries[start : start + per_block], compression)
        handle = varint(len(written)) + varint(len(part) - 5)
        handles += [(entries[start : start + per_block][-1][0], handle)] * repeats
        written += part
    footer = b""
    for part in (block([]), block(handles)):
        footer += varint(len(written)) + varint(len(part) - 5)
        written += part
    return bytes(written) + footer.ljust(40, b"\0") + struct.pack("<Q", MAGIC)


def header(shards: int = 1) -> bytes:
    return message([(1, shards), (3, message([(1, 1)]))])


def write(
    prefix: Path, tensors: Mapping[str, np.ndarray[Any, Any]], shards: int = 1, codes: Mapping[str, int] | None = None
) -> Path:
    """Write a checkpoint and return its index; `codes` are types that numpy does not have."""
    prefix.parent.mkdir(parents=True, exist_ok=True)
    data = [b""] * shards
    entries = [(b"", header(shards))]
    for number, (name, values) in enumerate(sorted(tensors.items())):
        shard, raw = number % shards, values.tobytes()
        code = (codes or {}).get(name) or CODES[values.dtype.str[1:]]
        fields: Message = [(1, code), (2, shape_of(values.shape)), (3, shard), (4, len(data[shard])), (5, len(raw))]
        entries.append((name.encode(), message([*fields, (6, masked(plain_crc(raw)))], fixed32=(6,))))
        data[shard] += raw
    for shard, raw in enumerate(data):
        prefix.with_name(f"{prefix.name}.data-{shard:05}-of-{shards:05}").write_bytes(raw)
    index = prefix.with_name(f"{prefix.name}.index")
    index.write_bytes(table(entries))
    return index


def indexed(folder: Path, *entries: tuple[bytes, bytes], **options: Any) -> Path:
    """Write an index alone, with an empty file of values."""
    index = folder / "model.index"
    index.write_bytes(table(list(entries), **options))
    (folder / "model.data-00000-of-00001").write_bytes(bytes(64))
    return index


def entry(**changes: Any) -> bytes:
    """Return the entry of a tensor of four float32."""
    fields = {"dtype": 1, "shape": shape_of((4,)), "shard": 0, "offset": 0, "size": 16, "crc": 0, "slices": None}
    numbered = enumerate((fields | changes).values(), start=1)
    return message([(number, value) for number, value in numbered if value is not None], fixed32=(6,))


NUMBERS = {
    "a/float": np.arange(6, dtype="f4").reshape(1, 2, 3) / 7,
    "a/double": np.array([np.pi, -0.0]),
    "a/half": np.array([[0.5, 65504]], dtype="f2"),
    "a/long": np.array([-1, 1 << 40]),
    "a/int": np.array([-7], dtype="i4"),
    "a/short": np.array([-7], dtype="i2"),
    "a/char": np.array([-7], dtype="i1"),
    "a/byte": np.arange(256, dtype="u1"),
    "a/bool": np.array([True, False]),
    "a/scalar": np.array(3.5, dtype="f4"),
    "empty": np.zeros((0, 3), dtype="f4"),
    "global_step": np.array(7),
}


def plain(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Return all tensors that are read from `path`."""
    return {name: stored.fetch().numpy() for name, stored in open_checkpoint(path).tree.items()}


def same(found: Mapping[str, Any], expected: Mapping[str, Any]) -> bool:
    described = [{n: (v.dtype.str, v.shape, v.tobytes()) for n, v in part.items()} for part in (found, expected)]
    return described[0] == described[1]


# The checksum


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", 0),
        (b"123456789", 0xE3069283),  # the check value of CRC-32C/iSCSI
        (bytes(32), 0x8A9136AA),  # RFC 3720, B.4
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ],
)
def test_checksums_are_those_of_the_rfc(data: bytes, expected: int) -> None:
    assert crc32c(data) == expected


def test_checksums_of_any_length_are_those_of_the_plain_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crc, "PIECE", 64)
    data = np.random.default_rng(0).bytes(1100)
    for size in range(len(data)):
        assert crc32c(memoryview(data)[:size]) == plain_crc(data[:size]), size


def test_a_masked_checksum_is_unmasked() -> None:
    assert [unmasked(masked(crc)) for crc in (0, 1, 0xE3069283, 0xFFFFFFFF)] == [0, 1, 0xE3069283, 0xFFFFFFFF]


# Whole checkpoints


@pytest.mark.parametrize("shards", [1, 3])
def test_every_type_is_read_to_the_bit(tmp_path: Path, shards: int) -> None:
    index = write(tmp_path / "model.ckpt-7", NUMBERS, shards)
    assert same(plain(index), NUMBERS)
    sizes = [file.stat().st_size for file in tmp_path.iterdir()]
    assert open_checkpoint(index).size == sum(sizes)


def test_bfloat16_is_read_to_the_bit(tmp_path: Path) -> None:
    values = torch.tensor([1.5, -2.25, 3e38]).bfloat16()
    index = write(tmp_path / "m", {"x": values.view(torch.int16).numpy()}, codes={"x": 14})
    assert torch.equal(open_checkpoint(index).tree["x"].fetch(), values)


def test_texts_and_other_types_are_left_out(tmp_path: Path) -> None:
    index = write(tmp_path / "m", {"text": NUMBERS["a/byte"], "x": NUMBERS["a/float"]}, codes={"text": 7})
    assert list(open_checkpoint(index).tree) == ["x"]


@pytest.mark.parametrize("named", ["model.ckpt-7", "model.ckpt-7.index", "model.ckpt-7.data-00001-of-00002", ""])
def test_a_checkpoint_may_be_named_by_any_of_its_files(tmp_path: Path, named: str) -> None:
    index = write(tmp_path / "model.ckpt-7", NUMBERS, shards=2)
    assert tensorflow.is_bundle(tmp_path / named) == index


@pytest.mark.parametrize("place", ["model.ckpt-9", "/gone/from/here/model.ckpt-9", "../../model.ckpt-9"])
def test_a_folder_means_the_checkpoint_that_its_state_names_and_none_outside(tmp_path: Path, place: str) -> None:
    write(tmp_path / "model.ckpt-7", NUMBERS)
    index = write(tmp_path / "model.ckpt-9", NUMBERS)
    text = f'model_checkpoint_path: "{place}"\nall_model_checkpoint_paths: "model.ckpt-7"\n'
    (tmp_path / "checkpoint").write_text(text)
    assert tensorflow.is_bundle(tmp_path) == index


def test_a_folder_may_be_a_saved_model(tmp_path: Path) -> None:
    index = write(tmp_path / "variables" / "variables", NUMBERS)
    (tmp_path / "saved_model.pb").write_bytes(b"\x08\x01")
    assert tensorflow.is_bundle(tmp_path) == index
    assert same(plain(tmp_path), NUMBERS)


def test_what_is_no_tensorflow_checkpoint_is_left_to_other_readers(tmp_path: Path) -> None:
    write(tmp_path / "two" / "a", NUMBERS)
    write(tmp_path / "two" / "b", NUMBERS)
    (tmp_path / "flax").mkdir()
    (tmp_path / "flax" / "checkpoint").write_bytes(b"\x82\xa6params")
    (tmp_path / "words.index").write_text("Ardvark 1\n")
    torch.save({}, tmp_path / "model.pth")
    write(tmp_path / "model.pth", NUMBERS)  # beside it, as model.pth.index
    for name in ("two", "flax", "words.index", "words", "model.pth", "nothing", "long" * 63):
        assert tensorflow.is_bundle(tmp_path / name) is None, name


# Damaged and hostile ones


def test_a_changed_byte_anywhere_in_the_index_is_seen_or_changes_nothing(tmp_path: Path) -> None:
    index = write(tmp_path / "m", {"x": NUMBERS["a/float"], "y": NUMBERS["a/long"]})
    whole = index.read_bytes()
    unseen = 0
    for place in range(len(whole)):
        index.write_bytes(whole[:place] + bytes([whole[place] ^ 0x11]) + whole[place + 1 :])
        try:
            contents = tensorflow.open_bundle(index)
        except CheckpointError:
            continue
        unseen += 1
        found = {name: stored.fetch().numpy() for name, stored in contents.tree.items()}
        assert same(found, {"x": NUMBERS["a/float"], "y": NUMBERS["a/long"]}), place
    assert unseen < sstable.FOOTER + len(block([]))  # its padding, and the block that nobody reads


def test_an_index_cut_anywhere_is_refused(tmp_path: Path) -> None:
    index = write(tmp_path / "m", {"x": NUMBERS["a/float"]})
    whole = index.read_bytes()
    for size in range(1, len(whole)):
        index.write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match="no sound TensorFlow checkpoint"):
            tensorflow.open_bundle(index)


def test_a_changed_byte_of_the_values_is_seen(tmp_path: Path) -> None:
    stored = open_checkpoint(write(tmp_path / "m", {"x": NUMBERS["a/float"]})).tree["x"]
    data = tmp_path / "m.data-00000-of-00001"
    whole = data.read_bytes()
    for place in range(len(whole)):
        data.write_bytes(whole[:place] + bytes([whole[place] ^ 0x40]) + whole[place + 1 :])
        with pytest.raises(CheckpointError, match="the checksum of 'x' does not fit"):
            stored.fetch()
    data.write_bytes(whole[:-1])
    with pytest.raises(CheckpointError, match="shorter than it was"):
        stored.fetch()


def test_missing_and_short_files_of_values_are_named(tmp_path: Path) -> None:
    index = write(tmp_path / "m", NUMBERS, shards=3)
    last = tmp_path / "m.data-00002-of-00003"
    last.write_bytes(last.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="end beyond their file"):
        open_checkpoint(index)
    last.unlink()
    with pytest.raises(CheckpointError, match=r"1 of its 3 files .* missing, first m.data-00002-of-00003"):
        open_checkpoint(index)


def test_an_index_under_another_name_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "m", NUMBERS).rename(tmp_path / "m.ckpt")
    with pytest.raises(CheckpointError, match=r"not named PREFIX\.index"):
        open_checkpoint(tmp_path / "m.ckpt")


H = (b"", header())
BROKEN: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "no entries": ("no entries", lambda folder: indexed(folder)),
    "no header": ("no header", lambda folder: indexed(folder, (b"x", entry()))),
    "first format": ("field 1 is no number", lambda folder: indexed(folder, (b"", message([(1, b"\x0a\x00")])))),
    "no shards": ("no header", lambda folder: indexed(folder, (b"", b""), (b"x", entry()))),
    "many shards": ("no header", lambda folder: indexed(folder, (b"", header(1 << 40)))),
    "big-endian": ("big-endian", lambda folder: indexed(folder, (b"", message([(1, 1), (2, 1)])))),
    "newer": ("newer than", lambda folder: indexed(folder, (b"", message([(1, 1), (3, message([(2, 2)]))])))),
    "partitioned": ("partitioned", lambda folder: indexed(folder, H, (b"x", entry(slices=b"")))),
    "unknown rank": ("unknown shape", lambda folder: indexed(folder, H, (b"x", entry(shape=message([(3, 1)]))))),
    "negative": ("unknown shape", lambda folder: indexed(folder, H, (b"x", entry(shape=shape_of(((1 << 64) - 1,)))))),
    "17 axes": ("unknown shape", lambda folder: indexed(folder, H, (b"x", entry(shape=shape_of((1,) * 17))))),
    "size": ("do not fit its shape", lambda folder: indexed(folder, H, (b"x", entry(size=12)))),
    "another shard": ("end beyond", lambda folder: indexed(folder, H, (b"x", entry(shard=1)))),
    "far offset": ("end beyond", lambda folder: indexed(folder, H, (b"x", entry(offset=1 << 63)))),
    "a group": ("wire type 3", lambda folder: indexed(folder, H, (b"x", b"\x0b"))),
    "a long field": ("ends beyond its message", lambda folder: indexed(folder, H, (b"x", b"\x12\x7f"))),
    "a long number": ("without an end", lambda folder: indexed(folder, H, (b"x", b"\x08" + b"\xff" * 11))),
    "a cut number": ("without an end", lambda folder: indexed(folder, H, (b"x", b"\x08\xff"))),
    "no text": ("can't decode", lambda folder: indexed(folder, H, (b"\xff", entry()))),
    "snappy": ("compressed block", lambda folder: indexed(folder, H, compression=1)),
    "repeated block": ("overlap", lambda folder: indexed(folder, H, repeats=2)),
    "many entries": ("more than 20,000", lambda folder: indexed(folder, H, *[(b"", b"")] * 20_000, per_block=1000)),
    "a long key": ("damaged entry", lambda folder: indexed(folder, H, (b"x" * 4097, entry()))),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_index_is_refused_in_one_line(tmp_path: Path, case: str) -> None:
    what, make = BROKEN[case]
    with pytest.raises(CheckpointError, match=what) as raised:
        open_checkpoint(make(tmp_path))
    assert "\n" not in str(raised.value)


def test_the_largest_index_and_graph_that_are_taken_are_read_within_two_seconds(tmp_path: Path) -> None:
    many = [(b"%03d" % number, bytes([64, 0]) * 4000) for number in range(125)]  # field 8, which nobody knows
    index = indexed(tmp_path, H, *many, per_block=1)
    assert 0.9 < index.stat().st_size / tensorflow.MAX_INDEX <= 1
    start = time.process_time()
    assert tensorflow.open_bundle(index).tree == {}
    assert time.process_time() - start < 2
    star = graph(({str(number): number for number in range(1, 43_000)}, ""), *[({}, "key")] * 42_999)
    assert 0.9 < len(star) / tensorflow.MAX_GRAPH <= 1
    start = time.process_time()
    assert tensorflow_objects.paths(star) == {"key": "1"}
    assert time.process_time() - start < 2


def test_an_index_of_more_than_its_bound_is_refused_unread(tmp_path: Path) -> None:
    index = indexed(tmp_path, H)
    with index.open("r+b") as file:
        file.truncate(tensorflow.MAX_INDEX)
        file.seek(0, 2)
        file.write(sstable.MAGIC)
    with pytest.raises(CheckpointError, match="expected 1,048,576 at most"):
        open_checkpoint(index)


# The names of TensorFlow 2


def graph(*nodes: tuple[Mapping[str, int], str]) -> bytes:
    """Return a graph of objects: each node's children by name, and the name under which its value is stored."""
    written: Message = []
    for children, key in nodes:
        fields: Message = [(1, message([(1, at), (2, name.encode())])) for name, at in children.items()]
        if key:
            fields.append((2, message([(1, b"VARIABLE_VALUE"), (2, b"any/name"), (3, key.encode())])))
        written.append((1, message(fields)))
    return message(written)


def write_objects(prefix: Path, tensors: Mapping[str, np.ndarray[Any, Any]], text: bytes) -> Path:
    """Write a checkpoint of TensorFlow 2 with a graph of objects."""
    length = varint(len(text)) + struct.pack("<I", masked(plain_crc(struct.pack("<I", len(text)))))
    whole = np.frombuffer(length + text, dtype="u1")
    index = write(prefix, {**tensors, tensorflow_objects.GRAPH: whole}, codes={tensorflow_objects.GRAPH: 7})
    # The text's checksum sees its length in four bytes: the entry is written anew with that.
    theirs = masked(plain_crc(whole.tobytes()))
    ours = masked(plain_crc(struct.pack("<I", len(text)) + whole.tobytes()[len(varint(len(text))) :]))
    entries = dict(sstable.entries(index.read_bytes()))
    key = tensorflow_objects.GRAPH.encode()
    entries[key] = entries[key].replace(struct.pack("<I", theirs), struct.pack("<I", ours))
    index.write_bytes(table(list(entries.items())))
    return index


def test_variables_have_the_names_of_the_objects_that_hold_them(tmp_path: Path) -> None:
    keys = [f"variables/{number}/.ATTRIBUTES/VARIABLE_VALUE" for number in (0, 1)]
    tensors = {keys[0]: NUMBERS["a/float"], keys[1]: NUMBERS["a/long"], "save_counter": NUMBERS["a/int"]}
    objects = graph(
        ({"variables": 1, "keras_api": 1, "model": 2, "self": 0}, ""),
        ({"0": 3, "1": 4}, ""),  # the list of all variables is nearer than the layers that own them
        ({"conv": 5, "root": 0}, ""),
        ({}, keys[0]),
        ({}, keys[1]),
        ({"kernel": 3, "bias": 4}, ""),
    )
    index = write_objects(tmp_path / "variables" / "variables", tensors, objects)
    expected = {"model/conv/kernel": tensors[keys[0]], "model/conv/bias": tensors[keys[1]]}
    assert same(plain(index), expected | {"save_counter": tensors["save_counter"]})


@pytest.mark.parametrize(
    "broken",
    [
        graph(({"x": 7}, "")),
        graph(({"x" * 501: 1}, ""), ({}, "")),
        graph(*([({"x": number + 1}, "") for number in range(300)])),
        message([(1, b"\xff")]),
        message([(1, message([(1, 5)]))]),
        message([(1, message([(1, message([(2, b"\xff")]))]))]),
    ],
)
def test_a_broken_graph_is_refused_in_one_line(tmp_path: Path, broken: bytes) -> None:
    index = write_objects(tmp_path / "m", {"x": NUMBERS["a/float"]}, broken)
    with pytest.raises(CheckpointError, match=r"a damaged graph of objects \([^\n]*\); get it again"):
        open_checkpoint(index)


def test_a_changed_byte_of_the_graph_is_seen(tmp_path: Path) -> None:
    index = write_objects(tmp_path / "m", {}, graph(({"x": 1}, ""), ({}, "key")))
    data = tmp_path / "m.data-00000-of-00001"
    whole = data.read_bytes()
    for place in range(len(whole)):
        data.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        with pytest.raises(CheckpointError, match="a damaged graph of objects"):
            open_checkpoint(index)


def test_a_huge_graph_is_refused_unread(tmp_path: Path) -> None:
    size = tensorflow.MAX_GRAPH + 1
    index = indexed(tmp_path, H, (tensorflow_objects.GRAPH.encode(), entry(dtype=7, size=size)))
    with (tmp_path / "model.data-00000-of-00001").open("wb") as file:
        file.truncate(size)
    with pytest.raises(CheckpointError, match="graph of objects of 2,097,153 bytes"):
        open_checkpoint(index)


# SimCLR


def in_order(blocks: tuple[int, ...]) -> list[tuple[str, str]]:
    """Return convolution and batch norm of each layer by torchvision's names, in the order of SimCLR's resnet.py."""
    layers = [("conv1", "bn1")]
    for stage, count in enumerate(blocks, start=1):
        for number in range(count):
            at = f"layer{stage}.{number}."
            if number == 0:
                layers.append((f"{at}downsample.0", f"{at}downsample.1"))
            layers += [(f"{at}conv{place}", f"{at}bn{place}") for place in (1, 2, 3)]
    return layers


@pytest.mark.parametrize("blocks", [(3, 4, 6, 3), (3, 4, 23, 3), (3, 8, 36, 3)])
def test_layers_are_numbered_as_they_are_made(blocks: tuple[int, ...]) -> None:
    for number, (convolution, norm) in enumerate(in_order(blocks)):
        count = f"_{number}" if number else ""
        assert simclr_name(f"{convolution}.weight", blocks) == f"conv2d{count}/kernel"
        assert simclr_name(f"{norm}.weight", blocks) == f"batch_normalization{count}/gamma"


def test_a_few_names_known_by_heart() -> None:
    assert simclr_name("bn1.running_mean") == "batch_normalization/moving_mean"
    assert simclr_name("layer1.0.downsample.0.weight") == "conv2d_1/kernel"
    assert simclr_name("layer2.0.downsample.1.bias") == "batch_normalization_11/beta"
    assert simclr_name("layer4.2.bn3.running_var") == "batch_normalization_52/moving_variance"


def trained(seed: int) -> dict[str, torch.Tensor]:
    """Return a small backbone in which no tensor is as initialised."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.rand(values.shape, generator=generator).add(0.5)
        for name, values in ResNet50(1 / 16).state_dict().items()
        if not name.endswith("num_batches_tracked")
    }


def as_simclr(weights: Mapping[str, torch.Tensor], scope: str) -> dict[str, np.ndarray[Any, Any]]:
    """Return weights as SimCLR's trainer saves them, with the optimizer's slots."""
    slots = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
    saved = {}
    for number, (convolution, norm) in enumerate(in_order((3, 4, 6, 3))):
        count = f"_{number}" if number else ""
        kernel = weights[f"{convolution}.weight"].permute(2, 3, 1, 0).numpy()  # (height, width, in, out)
        saved[f"{scope}conv2d{count}/kernel"] = kernel
        saved[f"{scope}conv2d{count}/kernel/Momentum"] = np.zeros_like(kernel)
        for slot, theirs in slots.items():
            saved[f"{scope}batch_normalization{count}/{theirs}"] = weights[f"{norm}.{slot}"].numpy()
    return saved


HEADS = {
    "head_contrastive/nl_0/dense/kernel": np.ones((8, 8), dtype="f4"),
    "head_supervised/linear_layer/dense/bias": np.ones(8, dtype="f4"),
    "global_step": np.array(250228),
}


def test_simclrs_backbone_is_found_under_torchvisions_names(tmp_path: Path) -> None:
    weights = trained(0)
    write(tmp_path / "model.ckpt-250228", as_simclr(weights, "base_model/") | HEADS)
    backbone = load_backbone(tmp_path / "model.ckpt-250228")
    assert backbone.layout == "simclr"
    assert backbone.convention == UNIT
    assert backbone.width == 1 / 16
    assert [name for name, values in weights.items() if not torch.equal(backbone.state_dict[name], values)] == []


@pytest.mark.parametrize(("layout", "seed"), [(None, 0), ("simclr", 0), ("simclr:ema", 1)])
def test_simclr_v2_holds_a_moving_average_too(tmp_path: Path, layout: str | None, seed: int) -> None:
    tensors = as_simclr(trained(0), "base_model/") | as_simclr(trained(1), "ema_model/base_model/") | HEADS
    tensors["ema_model/head_contrastive/nl_0/dense/kernel"] = np.ones((8, 8), dtype="f4")
    index = write(tmp_path / "model.ckpt-250228", tensors, shards=2)
    backbone = load_backbone(index, layout)
    assert torch.equal(backbone.state_dict["layer4.2.conv3.weight"], trained(seed)["layer4.2.conv3.weight"])


def test_a_block_that_is_missing_is_named(tmp_path: Path) -> None:
    tensors = as_simclr(trained(0), "base_model/")
    del tensors["base_model/conv2d_52/kernel"]
    with pytest.raises(CheckpointError, match=r"1 missing: layer4\.2\.conv3\.weight"):
        load_backbone(write(tmp_path / "model.ckpt-1", tensors))


def test_simclr_in_tensorflow_2_is_found_too(tmp_path: Path) -> None:
    weights = trained(0)
    lists = {"downsample.0": "projection_layers/0/conv2d", "downsample.1": "projection_layers/1/bn"}
    for place in range(3):
        lists[f"conv{place + 1}"] = f"conv_relu_dropblock_layers/{3 * place}/conv2d"
        lists[f"bn{place + 1}"] = f"conv_relu_dropblock_layers/{3 * place + 1}/bn"
    saved = as_simclr(weights, "")
    tensors = {"model/supervised_head/linear_layer/dense/bias": np.ones(8, dtype="f4")}
    for number, (convolution, norm) in enumerate(in_order((3, 4, 6, 3))):
        count = f"_{number}" if number else ""
        layer, block, own = ([*convolution.split(".", 2), ""] + [""])[:3]
        at = f"block_groups/{int(layer[-1]) - 1}/layers/{block}/" if block else "initial_conv_relu_max_pool/"
        to_convolution = lists[own] if block else "0/conv2d"
        to_norm = lists[norm.split(".", 2)[2]] if block else "2/bn"
        tensors[f"model/resnet_model/{at}{to_convolution}/kernel"] = saved[f"conv2d{count}/kernel"]
        for slot in ("gamma", "beta", "moving_mean", "moving_variance"):
            tensors[f"model/resnet_model/{at}{to_norm}/{slot}"] = saved[f"batch_normalization{count}/{slot}"]
    momentum = ".OPTIMIZER_SLOT/optimizer/momentum/.ATTRIBUTES/VARIABLE_VALUE"
    tensors[f"model/resnet_model/initial_conv_relu_max_pool/0/conv2d/kernel/{momentum}"] = np.ones(8, dtype="f4")
    tensors |= {"optimizer/learning_rate": NUMBERS["a/scalar"], "save_counter": NUMBERS["global_step"]}
    backbone = load_backbone(write(tmp_path / "variables" / "variables", tensors).parent.parent)
    assert backbone.layout == "simclr-tf2"
    assert [name for name, values in weights.items() if not torch.equal(backbone.state_dict[name], values)] == []
