"""More than 1,000 damaged and hostile files: each ends in one line, runs nothing, and takes little memory and time."""

import io
import itertools
import os
import pickle
import random
import signal
import struct
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save as safetensors_bytes

from twinbench.convert import CheckpointError, load_backbone
from twinbench.convert.architectures.resnet import ResNet50
from twinbench.convert.finding.names import detectron2_name

WIDTH = 1 / 16
SECONDS = 10


def trained() -> dict[str, torch.Tensor]:
    """Return a small backbone in which no tensor is as initialised."""
    generator = torch.Generator().manual_seed(0)
    return {
        name: values + torch.rand(values.shape, generator=generator).add(0.5).to(values.dtype)
        for name, values in ResNet50(WIDTH).state_dict().items()
    }


def good_files() -> dict[str, bytes]:
    """Return one good checkpoint for each container."""
    weights = trained()
    files: dict[str, bytes] = {}
    for name, is_zip in (("torch-zip", True), ("torch-legacy", False)):
        buffer = io.BytesIO()
        torch.save(weights, buffer, _use_new_zipfile_serialization=is_zip)
        files[name] = buffer.getvalue()
    files["safetensors"] = safetensors_bytes(weights)
    arrays = {detectron2_name(name): values.numpy() for name, values in weights.items()}
    files["pickle"] = pickle.dumps({"model": arrays, "__author__": "MOCO"})
    return files


def outcome(path: Path) -> str:
    """Load the file under a watchdog; return the identity of the backbone, or nothing after a one-line error."""

    def too_long(*_: object) -> None:
        raise TimeoutError(f"{path.name} took more than {SECONDS} s")

    signal.signal(signal.SIGALRM, too_long)
    signal.alarm(SECONDS)
    try:
        return load_backbone(path).sha256
    except CheckpointError as error:
        assert "\n" not in str(error) and str(error).startswith(str(path)) and len(str(error)) < 1200, str(error)
        return ""
    finally:
        signal.alarm(0)


def test_the_good_files_are_good(tmp_path: Path) -> None:
    for name, data in good_files().items():
        (tmp_path / name).write_bytes(data)
        assert outcome(tmp_path / name), name


def test_truncated_files(tmp_path: Path) -> None:
    rng = random.Random(0)
    path = tmp_path / "file.pth"
    for name, data in good_files().items():
        ends = [*range(40), *(len(data) - n for n in range(1, 20)), *(rng.randrange(len(data)) for _ in range(40))]
        for end in ends:
            path.write_bytes(data[:end])
            assert outcome(path) == "", f"{name} cut to {end} of {len(data)} bytes was accepted"


def test_flipped_bits_never_change_a_checksummed_backbone(tmp_path: Path) -> None:
    rng = random.Random(1)
    path = tmp_path / "file.pth"
    for name, data in good_files().items():
        path.write_bytes(data)
        identity = outcome(path)
        for _ in range(25):
            damaged = bytearray(data)
            place = rng.choice((rng.randrange(len(data)), rng.randrange(3000), len(data) - 1 - rng.randrange(3000)))
            damaged[place] ^= 1 << rng.randrange(8)
            path.write_bytes(damaged)
            found = outcome(path)
            # Only torch's zip archive has checksums; in the others a flipped weight is a weight.
            assert name != "torch-zip" or found in ("", identity), f"bit flip at {place} of {name}"


def test_random_bytes_behind_true_beginnings(tmp_path: Path) -> None:
    rng = random.Random(2)
    path = tmp_path / "file.pth"
    starts = [data[:n] for data in good_files().values() for n in (1, 4, 16, 200)] + [b"", b"<html>", b"PK\x05\x06"]
    for start, _ in itertools.product(starts, range(12)):
        path.write_bytes(start + rng.randbytes(rng.randrange(1, 3000)))
        assert outcome(path) == ""


# Callables that run code, read or write files, or take memory; some are allowed by torch's own reader.
GADGETS = [
    *("os system", "posix system", "nt system", "os popen", "os remove", "subprocess Popen", "subprocess call"),
    *("builtins eval", "builtins exec", "builtins __import__", "builtins open", "builtins compile", "__builtin__ eval"),
    *("importlib import_module", "runpy run_path", "pty spawn", "webbrowser open", "shutil rmtree", "code interact"),
    *("functools partial", "operator methodcaller", "operator attrgetter", "types FunctionType", "codecs encode"),
    *(
        "pickle loads",
        "_pickle loads",
        "dill loads",
        "dill._dill _create_function",
        "cloudpickle loads",
        "marshal loads",
    ),
    *("torch load", "torch.hub load", "torch.serialization load", "torch.jit load", "torch._inductor.codecache load"),
    *("numpy load", "numpy f2py.crackfortran.myeval", "numpy.testing._private.utils runstring", "joblib load"),
    *("builtins bytearray", "builtins memoryview", "torch FloatTensor", "torch zeros", "bdb Bdb", "timeit timeit"),
    *("asyncio.unix_events _UnixSubprocessTransport", "ctypes CDLL", "pip main", "distutils.file_util write_file"),
    *("collections.abc Callable", "convert.files save", "convert.load load_backbone", "pathlib Path.unlink"),
    *("commands getoutput", "somebody.utils subprocess.Popen", "somebody.utils run", "_posixsubprocess fork_exec"),
    *("torch.fx.graph_module reduce_graph_module", "torch.multiprocessing.spawn ProcessContext", "numpy memmap"),
]


def gadget_pickles(canary: Path) -> Iterator[bytes]:
    """Yield pickles that would call a gadget, through every opcode that calls."""
    text = f"open({str(canary)!r}, 'w')".encode()
    argument = b"X" + struct.pack("<I", len(text)) + text
    for gadget in GADGETS:
        module, name = gadget.encode().split(b" ")
        called = b"c" + module + b"\n" + name + b"\n"
        stacked = b"\x8c" + bytes([len(module)]) + module + b"\x8c" + bytes([len(name)]) + name + b"\x93"
        yield b"\x80\x02" + called + argument + b"\x85R."  # REDUCE
        yield b"\x80\x04" + stacked + argument + b"\x85R."  # STACK_GLOBAL, REDUCE
        yield b"\x80\x02(" + argument + b"i" + module + b"\n" + name + b"\n."  # INST
        yield b"\x80\x02(" + called + argument + b"o."  # OBJ
        yield b"\x80\x02" + called + argument + b"\x85\x81."  # NEWOBJ
        yield b"\x80\x04" + called + argument + b"\x85}\x92."  # NEWOBJ_EX
        # As the __setstate__ of something that is allowed.
        yield b"\x80\x02cargparse\nNamespace\n)\x81}X\x0c\x00\x00\x00__setstate__" + called + b"sb" + argument + b"b."


def zipped(program: bytes, **members: bytes) -> bytes:
    """Return torch's archive around a pickle."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", program)
        archive.writestr("archive/version", "3\n")
        for name, data in members.items():
            archive.writestr(f"archive/data/{name.removeprefix('_')}", data)
    return buffer.getvalue()


def legacy(program: bytes) -> bytes:
    """Return torch's old container around a pickle."""
    head = [0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}]
    return b"".join(pickle.dumps(part, 2) for part in head) + program + pickle.dumps([], 2)


def test_no_gadget_is_called(tmp_path: Path) -> None:
    canary, path = tmp_path / "canary", tmp_path / "file.pth"
    count = 0
    for program in gadget_pickles(canary):
        for data in (program, zipped(program), legacy(program)):
            path.write_bytes(data)
            with pytest.raises(CheckpointError, match="allow-list|damaged"):
                load_backbone(path)
            assert not canary.exists()
            assert list(tmp_path.iterdir()) == [path]
            count += 1
    assert count > 1000


def test_the_gadgets_would_work(tmp_path: Path) -> None:
    """The files above are dangerous to those who unpickle them."""
    canary = tmp_path / "canary"
    for program in list(gadget_pickles(canary))[GADGETS.index("builtins eval") * 7 :][:4]:
        canary.unlink(missing_ok=True)
        pickle.loads(program)
        assert canary.exists()


def tensor_pickle(shape: tuple[int, ...], stride: tuple[int, ...], count: int, offset: int = 0) -> bytes:
    """Return the pickle of {"conv1.weight": a tensor over storage 0 of `count` floats}."""

    def number(value: int) -> bytes:
        return pickle.dumps(value, 2)[2:-1]

    def numbers(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(map(number, values)) + b"t"

    storage = (
        b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu" + number(count) + b"tQ"
    )
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + number(offset) + numbers(shape) + numbers(stride)
    return b"\x80\x02}X\x0c\x00\x00\x00conv1.weight" + tensor + b"\x89ccollections\nOrderedDict\n)RtRs."


def deflated(data: bytes, name: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, data)
    return buffer.getvalue()


def bombs() -> dict[str, bytes]:
    """Return small files that declare, or unpack to, far more than they are."""
    nothing = b"\x00" * (50 << 20)
    lying = bytearray(deflated(b"\x00" * 5000, "weights.pth"))
    at = lying.index(b"PK\x01\x02") + 24
    lying[at : at + 4] = struct.pack("<I", 0xFFFFFFF0)  # the declared size in the central directory
    deep = b"\x80\x02}" + b")" + b"\x85" * 300_000
    letters = b"X" + struct.pack("<I", 1000) + b"A" * 1000
    wrapped = b"ctorch._utils\n_rebuild_parameter\nq\x00" + b"h\x00" * 299_999
    hexed = b"\x80\x02" + b"c_codecs\nencode\n" * 30 + letters + (b"X\x03\x00\x00\x00hex\x86R") * 30 + b"."
    return {
        "deflated data.pkl": deflated(nothing, "archive/data.pkl"),
        "deflated checkpoint": deflated(nothing, "weights.pth"),
        "zip in zip": deflated(deflated(nothing, "weights.pth"), "weights.pth"),
        "lying size": bytes(lying),
        "memo index": b"\x80\x02Nr\xff\xff\xff\xff.",
        "huge bytes": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 60) + b"x.",
        "huge text": b"\x80\x04\x8d" + struct.pack("<Q", 1 << 40) + b"x.",
        "huge bytearray": b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b"x.",
        "huge frame": b"\x80\x04\x95" + struct.pack("<Q", 1 << 60) + b"N.",
        "bytearray(n)": b"\x80\x02cbuiltins\nbytearray\n\x8a\x06\x00\x00\x00\x00\x00\x01\x85R.",
        "doubled text": hexed,
        "a million sets": b"\x80\x04" + b"\x8f" * 3_000_000 + b".",
        "a million lists": b"\x80\x02" + b"]" * 3_000_000 + b".",
        "long number": b"\x80\x02I" + b"9" * 100_000 + b"\n.",
        "deep key": deep + b"Ns.",
        "deep value": b"\x80\x02}X\x05\x00\x00\x00model" + b")" + b"\x85" * 300_000 + b"s.",
        "deep list": b"\x80\x02" + b"]" * 240_000 + b"a" * 239_999 + b".",
        "many names": b"\x80\x02}(" + b"".join(b"X\x06\x00\x00\x00%06dN" % n for n in range(240_000)) + b"u.",
        "many attributes": b"\x80\x02cargparse\nNamespace\n)\x81}("
        + b"".join(b"X\x06\x00\x00\x00%06dN" % n for n in range(240_000))
        + b"ub.",
        "deep call": b"\x80\x02cargparse\nNamespace\n" + b")\x81" * 200_000 + b".",
        "huge shape": zipped(tensor_pickle((1 << 40, 3, 7, 7), (147, 49, 7, 1), 1 << 50), _0=b"\0" * 16),
        "stride 0": zipped(tensor_pickle((320, 3, 7, 7), (0, 0, 0, 0), 1), _0=b"\0" * 4),
        "stride 0, wide": zipped(tensor_pickle((1 << 40, 3, 7, 7), (0, 0, 0, 0), 1), _0=b"\0" * 4),
        "offset": zipped(tensor_pickle((64, 3, 7, 7), (147, 49, 7, 1), 9408, 1 << 45), _0=b"\0" * 37632),
        "negative": zipped(tensor_pickle((-64, 3, 7, 7), (147, 49, 7, 1), 9408), _0=b"\0" * 37632),
        "overflow": zipped(tensor_pickle((1 << 61, 1 << 61, 7, 7), (1, 1, 1, 1), 9408), _0=b"\0" * 37632),
        "legacy storage": legacy(tensor_pickle((1 << 40,), (1,), 1 << 40))[:-4]
        + b"(X\x01\x00\x00\x000l."
        + b"\xff" * 64,
        "safetensors header": struct.pack("<Q", 1 << 50) + b'{"a":1}',
        "safetensors shape": struct.pack("<Q", 80)
        + b'{"conv1.weight":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4]}}'.ljust(80)
        + b"\0" * 4,
        "one storage for all": shared_storage(),
        "modules that double": doubling_modules(),
        "a module in itself": module_in_itself(),
        "wrapped without end": b"\x80\x02}" + text("conv1.weight") + wrapped + b"N" + b"\x85R" * 300_000 + b"s.",
        "one text for all": one_text_for_all(),
        "one long shape for all": one_shape_for_all(),
        "a long number as a key": b"\x80\x02}\x8b" + struct.pack("<I", 1 << 24) + b"\x01" * (1 << 24) + b"Ns.",
    }


def shared_storage() -> bytes:
    """Return a wide ResNet-50 whose every tensor is a view of the storage of one of them."""
    with torch.device("meta"):
        shapes = {name: tuple(values.shape) for name, values in ResNet50(1.0).state_dict().items()}
    values = torch.rand(max(torch.Size(shape).numel() for shape in shapes.values()))
    views = {
        name: values[: torch.Size(shape).numel()].view(shape) for name, shape in shapes.items() if "num_b" not in name
    }
    buffer = io.BytesIO()
    torch.save(views, buffer)
    return buffer.getvalue()


def doubling_modules() -> bytes:
    """Return 60 modules that have 2 ** 60 names."""
    inner: Any = torch.nn.Module()
    for _ in range(60):
        outer = torch.nn.Module()
        outer.a = outer.b = inner
        inner = outer
    return pickle.dumps(inner, 2)


def module_in_itself() -> bytes:
    """Return a module that has itself under a name of a million letters."""
    circle = torch.nn.Module()
    circle._modules["a" * 1_000_000] = circle
    return pickle.dumps(circle, 2)


def many(value: bytes) -> bytes:
    """Return the entries of a dict that has a value under 19,999 names, one of them a backbone's."""
    names = ["conv1.weight", *(f"w{n}" for n in range(19_998))]
    return b"(" + b"".join(text(name) + value for name in names) + b"u"


def one_text_for_all() -> bytes:
    """Return arrays whose bytes are one text of 4 MB, which is not ASCII."""
    array = (
        reduce("numpy.core.multiarray _reconstruct", b"cnumpy\nndarray\n", b"K\x00\x85", text("b"))
        + b"(K\x01J\x00\x00\x10\x00\x85h\x01\x89h\x00tb"
    )
    raw = "\u00e9".encode() * (4 << 20)
    dtype = reduce("numpy dtype", text("f4"), b"K\x00K\x01") + b"(K\x03" + text("<") + b"NNNK\x00K\x00K\x00tb"
    memo = b"X" + struct.pack("<I", len(raw)) + raw + b"q\x000" + dtype + b"q\x010"
    return b"\x80\x02" + memo + b"}" + many(array) + b"."


def one_shape_for_all() -> bytes:
    """Return tensors whose shape is one tuple of a million ones."""
    memo = b"(" + b"K\x01" * 1_000_000 + b"tq\x000" + STORAGE.replace(b"New", b"Float") + b"q\x010"
    tensor = reduce("torch._utils _rebuild_tensor_v2", b"h\x01K\x00h\x00h\x00")
    return zipped(b"\x80\x02" + memo + b"}" + many(tensor) + b".", _0=b"\0" * 16)


BOMBER = """
import pathlib, resource, sys, time
import torch
from twinbench.convert import CheckpointError, load_backbone

def peak_kb():
    # getrusage's peak would begin with that of the process that started this one
    return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])

pages = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (pages + (1 << 30), pages + (1 << 30)))
before = peak_kb()
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    start = time.process_time()
    try:
        load_backbone(path)
        outcome = "accepted"
    except CheckpointError as error:
        outcome = str(error).replace("\\n", "<newline>")
    peak = peak_kb()
    print(path.name, round(time.process_time() - start, 2), (peak - before) // 1024, outcome, sep="|")
"""


def test_bombs_take_little_memory_and_time(tmp_path: Path) -> None:
    files = bombs()
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd()}
    run = subprocess.run(
        [sys.executable, "-c", BOMBER, tmp_path], capture_output=True, text=True, env=environment, check=False
    )
    assert run.returncode == 0, run.stderr[-500:]
    rows = [line.split("|", 3) for line in run.stdout.splitlines()]
    assert [row[0] for row in rows] == sorted(files)
    for name, seconds, megabytes, outcome in rows:
        assert outcome.startswith(str(tmp_path)) and "<newline>" not in outcome, f"{name}: {outcome}"
        assert float(seconds) < SECONDS and int(megabytes) < 600, f"{name}: {seconds} s, {megabytes} MB"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "0 bytes"),
        (b"<!DOCTYPE html><html>Google Drive - Quota exceeded</html>", "a web page, so the download failed"),
        (b"\n<html><body>404</body></html>", "a web page"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "an error message of a file server"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
        (b"\x1f\x8b\x08\x00" + b"x" * 90, "gzip"),
        (b"\x89HDF\r\n\x1a\n" + b"x" * 90, "HDF5"),
        (b"conv1.weight: 1 2 3\n" * 9, "no checkpoint that twinbench knows"),
        (pickle.dumps([1, 2, 3]), "no backbone that twinbench knows; top-level keys: none"),
        (deflated(b"hello", "notes.txt"), "a zip archive with 0 checkpoints in it"),
    ],
)
def test_files_that_are_no_checkpoints(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "resnet50.pth").write_bytes(data)
    with pytest.raises(CheckpointError, match=message):
        load_backbone(tmp_path / "resnet50.pth")


def reduce(name: str, *arguments: bytes) -> bytes:
    return b"c" + name.encode().replace(b" ", b"\n") + b"\n(" + b"".join(arguments) + b"tR"


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def holding(value: bytes) -> bytes:
    """Return the pickle of {"conv1.weight": value}."""
    return b"\x80\x02}" + text("conv1.weight") + value + b"s."


STORAGE = b"(" + text("storage") + b"ctorch\nNewStorage\n" + text("0") + text("cpu") + b"K\x04tQ"
ARRAY = (
    reduce("numpy.core.multiarray _reconstruct", b"cnumpy\nndarray\n", b"K\x00\x85", text("b"))
    + b"(K\x01K\x05\x85"
    + reduce("numpy dtype", text("f4"), b"K\x00K\x01")
    + b"(K\x03"
    + text("<")
    + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
    + text("12345678")
    + b"tb"
)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (zipped(tensor_pickle((4,), (1,), 4)), r"the values of a tensor \(data/0\) are missing from the archive"),
        (zipped(holding(b"(" + STORAGE + b"l.")), "no backbone"),
        (
            zipped(holding(reduce("torch._utils _rebuild_tensor_v2", STORAGE, b"K\x00K\x04\x85K\x01\x85"))),
            "unknown kind",
        ),
        (zipped(holding(reduce("torch._utils _rebuild_tensor_v2"))), "a tensor that torch did not write"),
        (tensor_pickle((4,), (1,), 4), "a torch tensor without its storage"),
        (holding(ARRAY), "an array of shape 5 in 8 bytes"),
        (b"\x80\x02\x82\x01.", "pickle opcode EXT1, which no checkpoint uses"),
        (legacy(b"\x80\x02N.").replace(b"little_endianq\x02\x88", b"little_endianq\x02\x89"), "big-endian"),
        (deflated(b"", "weights.pth"), "is empty"),
        (deflated(deflated(os.urandom(5000), "inner.txt"), "weights.pth"), "a zip archive in a zip archive"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "file.pth").write_bytes(data)
    with pytest.raises(CheckpointError, match=message):
        load_backbone(tmp_path / "file.pth")


def test_names_from_a_file_cannot_write_lines_or_terminal_codes(tmp_path: Path) -> None:
    torch.save({"epoch\n\x1b[2J": 1, "state\r\ndict": {"a.conv1.weight": torch.ones(2)}}, tmp_path / "file.pth")
    assert outcome(tmp_path / "file.pth") == ""
    with pytest.raises(CheckpointError, match=r"keys: epoch\\n\\x1b\[2J, state\\r\\ndict;"):
        load_backbone(tmp_path / "file.pth")


def test_big_endian_archives_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "file.pth", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}, 2))
        archive.writestr("archive/byteorder", "big")
    with pytest.raises(CheckpointError, match="big-endian"):
        load_backbone(tmp_path / "file.pth")


def test_a_damaged_weight_is_found_by_its_checksum(tmp_path: Path) -> None:
    data = bytearray(good_files()["torch-zip"])
    weight = trained()["layer4.2.bn3.running_var"].numpy().tobytes()
    data[data.index(weight) + 100] ^= 1
    (tmp_path / "file.pth").write_bytes(data)
    with pytest.raises(CheckpointError, match="checksum does not fit"):
        load_backbone(tmp_path / "file.pth")


def test_the_contents_count_and_not_the_extension(tmp_path: Path) -> None:
    for name, data in good_files().items():
        for extension in (".pth", ".safetensors", ".pkl", ".txt", ""):
            (tmp_path / f"file{extension}").write_bytes(data)
            assert outcome(tmp_path / f"file{extension}"), f"{name} named {extension}"


def test_folders_links_and_devices(tmp_path: Path) -> None:
    good = tmp_path / "good.pth"
    good.write_bytes(good_files()["torch-zip"])
    (tmp_path / "link.pth").symlink_to(good)
    assert outcome(tmp_path / "link.pth"), "a link to a good file is a good file"
    (tmp_path / "dangling.pth").symlink_to(tmp_path / "gone.pth")
    (tmp_path / "loop.pth").symlink_to(tmp_path / "loop.pth")
    (tmp_path / "zero.pth").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe.pth")
    for name, message in {
        ".": "a folder",
        "missing.pth": "No such file",
        "dangling.pth": "No such file",
        "loop.pth": "symbolic links",
        "zero.pth": "not a regular file",
        "pipe.pth": "not a regular file",
    }.items():
        with pytest.raises(CheckpointError, match=message):
            load_backbone(tmp_path / name)


def test_a_file_without_checksums_is_read(tmp_path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(trained(), tmp_path / "file.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    assert outcome(tmp_path / "file.pth")
