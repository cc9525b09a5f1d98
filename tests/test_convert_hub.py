"""hf:ORG/MODEL: found in a cache as Hugging Face's library lays it out, fetched from a server on this machine."""

import hashlib
import http.server
import json
import os
import socket
import subprocess
import sys
import threading
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save, save_file

import twinbench
from twinbench.convert import CheckpointError
from twinbench.convert.opening import local_file
from twinbench.convert.reading import hub
from twinbench.convert.reading.hub import cached_folder, licence, wanted
from twinbench.convert.reading.reader import open_checkpoint
from twinbench.runtime.cache import hub_folder

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, for this process."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def put(cache: Path, *names: str, ref: str = "main") -> Path:
    """Put a model into a cache as links to blobs; return the folder of the snapshot."""
    model = cache / "models--org--some.model"
    snapshot = model / "snapshots" / COMMIT
    (model / "blobs").mkdir(parents=True)
    snapshot.mkdir(parents=True)
    (model / "refs" / ref).parent.mkdir(parents=True)
    (model / "refs" / ref).write_text(COMMIT)
    for number, name in enumerate(names):
        blob = model / "blobs" / str(number)
        save_file({"a": torch.ones(2)}, blob) if name.endswith(".safetensors") else blob.write_text('{"model": 1}')
        (snapshot / name).symlink_to(f"../../blobs/{number}")
    return snapshot


def test_a_model_in_the_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = put(cache, "model.safetensors", "config.json")

    def no_network(*_: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", no_network)
    for spec in ("hf:org/some.model", "hf:org/some.model@main", f"hf:org/some.model@{COMMIT}"):
        assert local_file(spec) == snapshot
    contents = open_checkpoint(local_file("hf:org/some.model"))
    assert list(contents.tree) == ["a"]
    assert contents.hints == {"config": {"model": 1}}


@pytest.mark.parametrize("ref", ["main", "v1.0", "refs/pr/1"])
def test_the_library_finds_the_same_file(cache: Path, ref: str) -> None:
    library = pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
    put(cache, "model.safetensors", ref=ref)
    found = library.try_to_load_from_cache("org/some.model", "model.safetensors", cache_dir=cache, revision=ref)
    assert cached_folder(f"hf:org/some.model@{ref}") / "model.safetensors" == Path(found)


PLACES = [
    {"HF_HUB_CACHE": "/one", "HF_HOME": "/two"},
    {"HUGGINGFACE_HUB_CACHE": "/one", "HF_HOME": "/two"},
    {"HF_HOME": "~/two"},
    {"XDG_CACHE_HOME": "/three"},
    {"HF_HUB_CACHE": "$HOME/four"},
    {},
]


def test_the_cache_is_where_the_library_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library decides when it is imported, so each time in a process of its own; all start at once."""
    pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
    names = {name for place in PLACES for name in place}
    clean = {name: value for name, value in os.environ.items() if name not in names}
    ask = "from huggingface_hub.constants import HF_HUB_CACHE as it; print(it)"
    runs = [
        subprocess.Popen([sys.executable, "-c", ask], env=clean | place, stdout=subprocess.PIPE, text=True)
        for place in PLACES
    ]
    for place, run in zip(PLACES, runs, strict=True):
        for name in names:
            monkeypatch.delenv(name, raising=False)
        for name, value in place.items():
            monkeypatch.setenv(name, value)
        assert str(hub_folder()) == run.communicate()[0].strip()


@pytest.mark.parametrize(
    "spec", ["hf:", "hf:model", "hf:a/b/c", "hf:../x", "hf:a/..", "hf:a/b@", "hf:a/b@../../x", "hf:a/b@-"]
)
def test_what_names_no_model(cache: Path, spec: str) -> None:
    with pytest.raises(CheckpointError, match="names no model of the hub|not in"):
        cached_folder(spec)


def test_what_is_not_cached_is_told_how_to_fetch(cache: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"^hf:org/other: not in .*; fetch it: twinbench zoo hf:org/other --fetch$"
    ):
        cached_folder("hf:org/other")
    snapshot = put(cache, "config.json")
    with pytest.raises(
        CheckpointError, match="has no weights in it; fetch them: twinbench zoo hf:org/some.model --fetch"
    ):
        cached_folder("hf:org/some.model")
    (snapshot.parents[1] / "refs" / "main").write_text("../../../elsewhere")
    with pytest.raises(CheckpointError, match="not in"):
        cached_folder("hf:org/some.model")


def test_a_pipe_in_the_cache_is_not_waited_for(cache: Path) -> None:
    snapshot = put(cache, "model.safetensors")
    ref = snapshot.parents[1] / "refs" / "main"
    ref.unlink()
    os.mkfifo(ref)
    os.mkfifo(snapshot / "README.md")
    with pytest.raises(CheckpointError, match="not in"):
        cached_folder("hf:org/some.model")
    assert licence(snapshot) == ""


@pytest.mark.parametrize(
    ("card", "expected"),
    [
        ("---\nlicense: apache-2.0\ntags:\n- vision\n---\n# Model\n", "apache-2.0"),
        ("---\nlicense: other\nlicense_name: dinov3-license\n---\n", "dinov3-license"),
        ("---\r\nlicense: 'mit' # yes\r\n---\r\n", "mit"),
        ("# Model\nlicense: mit\n", ""),
        ("---\nlicense: mit\n", ""),
        ("---\nlicense:\n- mit\n---\n", ""),
        ("---\n" + "a: &a [*a, *a]\n" * 10_000 + "---\n", ""),
        ("", ""),
    ],
)
def test_the_licence_of_a_card(tmp_path: Path, card: str, expected: str) -> None:
    (tmp_path / "README.md").write_bytes(card.encode())
    assert licence(tmp_path) == expected


@pytest.mark.parametrize(
    ("files", "weights"),
    [
        (["model.safetensors", "pytorch_model.bin", "tf_model.h5", "onnx/model.onnx"], ["model.safetensors"]),
        (["pytorch_model.bin", "open_clip_model.safetensors"], ["open_clip_model.safetensors"]),
        (
            ["model.safetensors.index.json", "model-1.safetensors", "model-2.safetensors", "pytorch_model.bin"],
            ["model.safetensors.index.json", "model-1.safetensors", "model-2.safetensors"],
        ),
        (
            ["pytorch_model.bin.index.json", "p-1.bin", "p-2.bin"],
            ["pytorch_model.bin.index.json", "p-1.bin", "p-2.bin"],
        ),
        (["a.pth", "b.pth", "sub/c.safetensors"], ["a.pth", "b.pth"]),
        (["pytorch_model.bin.index.json", "p-1.bin", "ema.safetensors"], ["pytorch_model.bin.index.json", "p-1.bin"]),
        (["tf_model.h5"], []),
    ],
)
def test_one_set_of_weights_is_fetched(files: list[str], weights: list[str]) -> None:
    texts = ["README.md", "config.json", "preprocessor_config.json"]
    assert sorted(wanted([*files, *texts, "vocab.json", ".gitattributes"])) == sorted([*weights, *texts])


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of the hub as the library asks for: a revision, a tree, files."""

    files = {
        "model.safetensors": save({"a": torch.ones(2)}),
        "pytorch_model.bin": b"not asked for",
        "config.json": b'{"model_type": "vit"}',
        "README.md": b"---\nlicense: cc-by-nc-4.0\n---\n",
    }
    asked: list[str] = []

    def do_GET(self) -> None:
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        self.asked.append(path)
        name = path.rpartition("/")[2]
        if path == "/api/models/org/some.model/revision/main":
            self.answer(json.dumps({"id": "org/some.model", "sha": COMMIT, "siblings": []}).encode())
        elif path.startswith("/api/models/org/some.model/tree/"):
            entries = [
                {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                for name, data in self.files.items()
            ]
            self.answer(json.dumps(entries).encode())
        elif path == f"/org/some.model/resolve/{COMMIT}/{name}" and name in self.files:
            self.answer(self.files[name], ETag=f'"{hashlib.sha1(self.files[name]).hexdigest()}"')
        else:
            self.send_error(404)

    do_HEAD = do_GET

    def answer(self, data: bytes, **headers: str) -> None:
        self.send_response(200)
        for name, value in {"Content-Length": str(len(data)), "X-Repo-Commit": COMMIT, **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    """The address of a hub on this machine."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


FETCHING = """
import sys, twinbench
print(twinbench.main(["zoo", "hf:org/some.model", "--fetch", "--json"]))
print(twinbench.main(["zoo", "hf:org/gone", "--fetch"]))
"""


def test_fetching_a_model_when_asked_to(cache: Path, server: str) -> None:
    """In a process of its own: the library reads its settings once."""
    pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
    settings = {"HF_ENDPOINT": server, "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": "", "no_proxy": "127.0.0.1"}
    run = subprocess.run(
        [sys.executable, "-c", FETCHING],
        env=os.environ | settings,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    folder = cached_folder("hf:org/some.model")
    answer, *codes = run.stdout.splitlines()
    assert json.loads(answer) == {"path": str(folder), "licence": "cc-by-nc-4.0"}
    assert codes == ["0", "2"]
    assert run.stderr.splitlines()[-1].startswith("twinbench zoo: hf:org/gone: could not be fetched (")
    assert sorted(os.listdir(folder)) == ["README.md", "config.json", "model.safetensors"]
    assert open_checkpoint(folder).hints == {"config": {"model_type": "vit"}}
    assert not any(path.endswith(".bin") for path in Hub.asked)


def test_printing_where_a_model_is_cached(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    snapshot = put(cache, "model.safetensors", "README.md")
    assert twinbench.main(["zoo", "hf:org/some.model"]) == 0
    printed = capsys.readouterr()
    assert printed.out == f"{snapshot}\n"
    assert printed.err == "hf:org/some.model: licence not named in its card\n"


def test_fetching_without_the_library(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(CheckpointError, match=r"needs the package huggingface_hub, .*pip install 'twinbench\[hf\]'"):
        hub.fetch_folder("hf:org/some.model")
