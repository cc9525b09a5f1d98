"""Folders that are damaged, or made to do harm: each ends in one line, soon, and in little memory."""

import json
import os
import pickle
import shutil
import signal
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.checkpoint as dcp
from safetensors.torch import save_file
from torch.distributed.checkpoint.metadata import Metadata, MetadataIndex, TensorStorageMetadata

from twinbench.convert import CheckpointError
from twinbench.convert.reading.contents import Contents
from twinbench.convert.reading.reader import open_checkpoint

pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
SECONDS = 10
INDEX = "model.safetensors.index.json"


@contextmanager
def watchdog() -> Iterator[None]:
    """Fail if the block takes more than SECONDS, also where it waits for a pipe."""

    def too_long(*_: object) -> None:
        raise TimeoutError(f"more than {SECONDS} s")

    signal.signal(signal.SIGALRM, too_long)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)


def read_all(path: Path) -> Contents:
    """Open a folder and fetch every tensor of it."""
    contents = open_checkpoint(path)
    for stored in contents.tensors(contents.tree).values():
        stored.fetch()
    return contents


def refused(path: Path, match: str) -> None:
    """Assert that a folder ends in one line that names it."""
    with watchdog(), pytest.raises(CheckpointError, match=match) as caught:
        read_all(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert message.isprintable()
    assert len(message) < 600


def shards(folder: Path, **places: str) -> None:
    """Write two shards, with a in the first and b in the second, and an index with `places`."""
    save_file({"a": torch.ones(2)}, folder / "one.safetensors")
    save_file({"b": torch.ones(2)}, folder / "two.safetensors")
    (folder / INDEX).write_text(json.dumps({"weight_map": places}))


def test_the_good_shards_are_good(tmp_path: Path) -> None:
    shards(tmp_path, a="one.safetensors", b="two.safetensors")
    assert sorted(read_all(tmp_path).tree) == ["a", "b"]


@pytest.mark.parametrize(
    ("places", "match"),
    [
        ({"a": "one.safetensors", "b": "gone.safetensors"}, "names 'gone.safetensors', which is missing; copy or down"),
        (
            {"a": "one.safetensors", "b": "../two.safetensors"},
            r"'\.\./two\.safetensors', which lies outside the folder",
        ),
        ({"a": "one.safetensors", "b": "/etc/passwd"}, "'/etc/passwd', which lies outside the folder; refused"),
        ({"a": "one.safetensors", "b": "x/../../two"}, "lies outside the folder"),
        ({"a": "one.safetensors", "b": ""}, "names no file where one is expected"),
        ({"a": "one.safetensors", "b": "two\0.safetensors"}, "which is missing"),
        ({"a": "one.safetensors", "b": "two" * 200}, "which is missing"),
        ({"a": "one.safetensors", "b": "."}, "a folder; expected a file"),
        ({"a": "one.safetensors", "b": INDEX}, "is no checkpoint that twinbench knows"),
        ({"a": "one.safetensors", "b": "one.safetensors"}, "one.safetensors lacks 'b', unlike the index"),
        ({"a": "two.safetensors", "b": "one.safetensors"}, "lacks 'a', unlike the index"),
        ({"b": "two.safetensors", "a": "both.safetensors"}, "both.safetensors also holds 'b', unlike the index"),
        ({"\x1b[2J": "one.safetensors"}, r"lacks '\\x1b\[2J'|also holds 'a'"),
        ({str(n): f"{n}.safetensors" for n in range(100_000)}, "names 100,000 files; expected at most 1,000"),
        ({}, "no weight_map"),
        ({"a": 1}, "no weight_map"),
    ],
)
def test_indices_that_lie(tmp_path: Path, places: dict[str, str], match: str) -> None:
    shards(tmp_path, **places)
    save_file({"a": torch.ones(2), "b": torch.ones(2)}, tmp_path / "both.safetensors")
    refused(tmp_path, match)


def test_shards_cut_short(tmp_path: Path) -> None:
    shards(tmp_path, a="one.safetensors", b="two.safetensors")
    data = (tmp_path / "two.safetensors").read_bytes()
    for end in (0, 1, 7, 8, 9, 30, len(data) - 1):
        (tmp_path / "two.safetensors").write_bytes(data[:end])
        refused(tmp_path, "truncated|0 bytes|is no checkpoint")


DEEP = "[" * 200_000
BOMBS = {
    "deep": DEEP,
    "cut short": '{"a": ',
    "no object": "[1, 2]",
    "a long number": '{"a": ' + "9" * 10_000 + "}",
    "no text": b"\xff\xfe\x00",
    "large": '{"a": "' + "x" * (17 << 20) + '"}',
}


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json", "open_clip_config.json", INDEX])
@pytest.mark.parametrize("bomb", BOMBS)
def test_small_files_that_are_bombs(tmp_path: Path, name: str, bomb: str) -> None:
    text = BOMBS[bomb]
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    if name != INDEX:
        save_file({"a": torch.ones(2)}, tmp_path / "model.safetensors")
    with (
        watchdog(),
        pytest.raises(CheckpointError, match=rf"{name}: (not readable as JSON|a JSON list|.* bytes of JSON)"),
    ):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize(
    "name", ["model.safetensors", INDEX, "pytorch_model.bin", ".metadata", "latest", "config.json", "two.safetensors"]
)
@pytest.mark.parametrize("kind", ["pipe", "device", "loop", "gone", "folder"])
def test_what_is_no_file_is_not_waited_for(tmp_path: Path, name: str, kind: str) -> None:
    path = tmp_path / name
    if name == "config.json":
        save_file({"a": torch.ones(2)}, tmp_path / "model.safetensors")
    if name == "two.safetensors":
        shards(tmp_path, a="one.safetensors", b=name)
        path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to({"device": "/dev/zero", "loop": path, "gone": tmp_path / "nowhere"}[kind])
    refused(tmp_path, "not a regular file|symbolic links|No such file|a folder|is missing|cannot be read")


def test_links_out_of_a_folder_are_followed(tmp_path: Path) -> None:
    """Every file of Hugging Face's cache is one."""
    (tmp_path / "blobs").mkdir()
    save_file({"a": torch.ones(2)}, tmp_path / "blobs" / "0123")
    (tmp_path / "snapshot").mkdir()
    (tmp_path / "snapshot" / "model.safetensors").symlink_to(tmp_path / "blobs" / "0123")
    assert list(read_all(tmp_path / "snapshot").tree) == ["a"]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """Return a distributed checkpoint of a tensor, in one chunk, and of a number."""
    dcp.save({"a": torch.arange(6.0).view(2, 3), "epoch": 3}, checkpoint_id=tmp_path / "dcp", no_dist=True)
    return tmp_path / "dcp"


def rewritten(folder: Path, change: Callable[[Metadata], Any]) -> None:
    """Write the metadata of a folder anew after `change`."""
    metadata = pickle.loads((folder / ".metadata").read_bytes())
    change(metadata)
    (folder / ".metadata").write_bytes(pickle.dumps(metadata))


def tensor_of(metadata: Metadata) -> TensorStorageMetadata:
    found = metadata.state_dict_metadata["a"]
    assert isinstance(found, TensorStorageMetadata)
    return found


def place(metadata: Metadata, **changes: Any) -> None:
    """Change where the tensor's chunk lies."""
    index = next(index for index in metadata.storage_data if index.fqn == "a")
    metadata.storage_data[index] = replace(metadata.storage_data[index], **changes)


def boxed(metadata: Metadata, *boxes: tuple[tuple[int, ...], tuple[int, ...]], size: tuple[int, ...] = (2, 3)) -> None:
    """Declare the tensor to be of `size` and of these chunks, all of which lie where its one chunk lies."""
    tensor = tensor_of(metadata)
    first = next(info for index, info in metadata.storage_data.items() if index.fqn == "a")
    chunk = tensor.chunks[0]
    tensor.size = torch.Size(size)
    tensor.chunks = [replace(chunk, offsets=torch.Size(at), sizes=torch.Size(sizes)) for at, sizes in boxes]
    metadata.storage_data = {MetadataIndex("a", at): first for at, _ in boxes}


CHANGES: dict[str, tuple[Callable[[Metadata], Any], str]] = {
    "outside": (lambda m: place(m, relative_path="../dcp/__0_0.distcp"), "lies outside the folder"),
    "absolute": (lambda m: place(m, relative_path="/dev/zero"), "lies outside the folder"),
    "missing": (lambda m: place(m, relative_path="__1_0.distcp"), "'__1_0.distcp', which is missing"),
    "no path": (lambda m: place(m, relative_path=["a"]), "names no file"),
    "beyond": (lambda m: place(m, offset=1 << 40), "truncated: 'a' ends at byte"),
    "negative": (lambda m: place(m, offset=-1), "impossible shape or place"),
    "within": (lambda m: place(m, offset=8, length=60), "lies something else than the chunk of 'a'"),
    "short": (lambda m: place(m, length=100), "damaged or truncated zip archive"),
    "compressed": (lambda m: place(m, transform_descriptors=["zstd"]), "transformed when it was written"),
    "no places": (lambda m: m.storage_data.clear(), "no place for a chunk of 'a'"),
    "places of none": (lambda m: setattr(m, "storage_data", None), "no tensors or no places"),
    "other shape": (lambda m: boxed(m, ((0, 0), (3, 2)), size=(3, 2)), "something else than the chunk of 'a'"),
    "gap": (lambda m: boxed(m, ((0, 0), (1, 3))), "do not add up"),
    "overlap": (lambda m: boxed(m, ((0, 0), (2, 3)), ((1, 0), (2, 3)), size=(4, 3)), "that overlap"),
    "outside the tensor": (lambda m: boxed(m, ((1, 0), (2, 3))), "outside the tensor"),
    "dimensions": (lambda m: boxed(m, ((0,), (6,))), "other dimensions"),
    "huge": (lambda m: boxed(m, ((0, 0), (1 << 40, 3)), size=(1 << 40, 3)), "declares 13,194,139,533,312 bytes"),
    "chunks": (lambda m: setattr(tensor_of(m), "chunks", None), "does not say what 'a' is"),
    "entry": (lambda m: tensor_of(m).chunks.append("x"), "something else where torch writes ChunkStorageMetadata"),
    "size": (lambda m: setattr(tensor_of(m), "size", "large"), "impossible shape or place"),
    "other dtype": (
        lambda m: setattr(tensor_of(m).properties, "dtype", torch.float16),
        "something else than the chunk of 'a'",
    ),
}


def test_the_good_distributed_checkpoint_is_good(saved: Path) -> None:
    rewritten(saved, lambda metadata: None)
    assert list(read_all(saved).tree) == ["a"]


@pytest.mark.parametrize("change", CHANGES)
def test_metadata_that_lies(saved: Path, change: str) -> None:
    rewritten(saved, CHANGES[change][0])
    refused(saved, CHANGES[change][1])


def test_one_chunk_in_two_places(saved: Path) -> None:
    """A dict of Python cannot hold both; a pickle can."""
    data = (saved / ".metadata").read_bytes()
    metadata = pickle.loads(data)
    index = next(index for index in metadata.storage_data if index.fqn == "a")
    metadata.storage_data[MetadataIndex("b", index.offset)] = metadata.storage_data[index]
    (saved / ".metadata").write_bytes(pickle.dumps(metadata, 2).replace(b"X\x01\x00\x00\x00b", b"X\x01\x00\x00\x00a"))
    refused(saved, "two places for one chunk of 'a'")


def test_one_chunk_that_stands_for_many_takes_no_memory(saved: Path) -> None:
    """A thousand chunks that all are the same bytes add up to a tensor larger than the file."""
    rewritten(saved, lambda m: boxed(m, *(((2 * n, 0), (2, 3)) for n in range(1000)), size=(2000, 3)))
    refused(saved, r"declares 24,000 bytes of 'a' in files of")


def test_metadata_cut_short(saved: Path) -> None:
    data = (saved / ".metadata").read_bytes()
    for end in (0, 1, 2, 10, len(data) // 2, len(data) - 1):
        (saved / ".metadata").write_bytes(data[:end])
        refused(saved, "truncated|0 bytes|something else where torch writes Metadata")


def test_metadata_that_runs_code_is_not_run(saved: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    (saved / ".metadata").write_bytes(
        b"cos\nsystem\n(X" + struct.pack("<I", 6 + len(str(canary))) + f"touch {canary}".encode() + b"tR."
    )
    refused(saved, "not on the allow-list")
    assert not canary.exists()


def test_files_of_chunks_cut_short(saved: Path) -> None:
    (file,) = saved.glob("*.distcp")
    data = file.read_bytes()
    for end in (0, 1, 50, len(data) // 2):
        file.write_bytes(data[:end])
        refused(saved, "truncated|0 bytes")


def test_a_folder_that_disappears(saved: Path) -> None:
    contents = open_checkpoint(saved)
    shutil.rmtree(saved)
    with pytest.raises(CheckpointError, match="No such file"):
        contents.tree["a"].fetch()
