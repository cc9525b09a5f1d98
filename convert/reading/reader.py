"""Opening a checkpoint of any container, found by its first bytes and not by its name, without running any of it."""

from dataclasses import replace
from pathlib import Path

from twinbench.convert.files import CheckpointError
from twinbench.convert.reading import containers, pickles, tensorflow
from twinbench.convert.reading.contents import Contents
from twinbench.convert.reading.folder import open_named
from twinbench.convert.reading.parts import map_file
from twinbench.convert.reading.window import Window

_LEGACY_MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # what torch.save wrote before 1.6
_FOREIGN = {
    b"<!DOCTYPE": "a web page, so the download failed",
    b"<html": "a web page, so the download failed",
    b"<HTML": "a web page, so the download failed",
    b"<?xml": "an error message of a file server, so the download failed",
    b"version https://git-lfs": "a Git LFS pointer: run git lfs pull",
    b"\x1f\x8b": "compressed with gzip: unpack it first",
    b"\x89HDF": "an HDF5 file (Keras); twinbench reads PyTorch, safetensors, TensorFlow, Haiku and Caffe2 files",
}


def open_checkpoint(path: Path | str) -> Contents:
    """Open a file or folder, reading its table of contents only. Raises CheckpointError for what is no checkpoint."""
    return open_named(Path(path), _open_file)


def _open_file(path: Path) -> Contents:
    """Map a file and read its table of contents; TensorFlow's checkpoints are several, and follow their index."""
    index = tensorflow.is_bundle(path)
    if index:
        return tensorflow.open_bundle(index)
    mapped = map_file(path)
    view = memoryview(mapped)
    try:
        if view[8:9] == b"{":
            return containers.safetensors(path, len(view))  # its library maps the file itself
        return replace(_open(str(path), view), mapped=mapped)
    except MemoryError:
        raise CheckpointError(f"{path}: declares more than this machine's memory holds; not a checkpoint") from None


def _open(name: str, view: memoryview, is_inner: bool = False) -> Contents:
    """Choose the reader by the first bytes."""
    head = bytes(view[:64])
    if head.startswith(b"PK\x03\x04"):
        found = containers.torch_zip(name, view)
        if found is None and is_inner:
            raise CheckpointError(f"{name}: a zip archive in a zip archive; unpack it first")
        return found or _open(*containers.unzipped(name, view), is_inner=True)
    if head.startswith(_LEGACY_MAGIC):
        return containers.torch_legacy(name, view)
    if head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05":
        return Contents(name, "pickle", pickles.read(Window(view), name), len(view), containers.embedded(name))
    for start, what in _FOREIGN.items():
        if head.lstrip().startswith(start):
            raise CheckpointError(f"{name}: {what}")
    raise CheckpointError(
        f"{name}: begins with {head[:8]!r}, which is no checkpoint that twinbench knows; expected a file of "
        "torch.save, safetensors, a TensorFlow checkpoint, or a pickle of arrays"
    )
