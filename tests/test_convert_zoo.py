"""The zoo: a table that agrees with the layouts, and downloads from a server on this machine."""

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

import twinbench
from twinbench.convert import download
from twinbench.convert.architectures.known import KNOWN
from twinbench.convert.architectures.resnet import ResNet50
from twinbench.convert.convention import CONVENTIONS, HALF, IMAGENET, UNIT
from twinbench.convert.download import cached_path, fetch, is_cached
from twinbench.convert.finding.layouts import LAYOUTS
from twinbench.convert.opening import open_backbone
from twinbench.convert.zoo import Entry, ZooError, entry_named, zoo
from twinbench.runtime import download as fetching

WIDTH = 1 / 16


class Server(http.server.ThreadingHTTPServer):
    """Serves `files` from memory with ranges; `cut` is after how many bytes an answer breaks off."""

    files: dict[str, bytes]
    requests: list[tuple[str, str | None]]
    cut: int | None = None


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.requests.append((self.path, wanted))
        data = self.server.files.get(self.path)
        if data is None:
            self.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        if start > len(data):
            self.send_error(416)
            return
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        self.wfile.write(data[start : self.server.cut])

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("TWINBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(fetching, "CHUNK", 1000)
    running = Server(("127.0.0.1", 0), Handler)
    running.files, running.requests = {}, []
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield running
    running.shutdown()
    running.server_close()


def serve(server: Server, data: bytes, digest: str = "", name: str = "model.pth") -> Entry:
    """Put a file on the server and return its entry in the zoo."""
    server.files[f"/{name}"] = data
    address = f"http://127.0.0.1:{server.server_port}/{name}"
    return Entry("mine", "Mine", 100, 70.0, address, "torchvision", "MIT", "here", digest)


def checkpoint(tmp_path: Path) -> bytes:
    generator = torch.Generator().manual_seed(0)
    weights = {
        name: values + torch.rand(values.shape, generator=generator).to(values.dtype)
        for name, values in ResNet50(WIDTH).state_dict().items()
    }
    torch.save(weights, tmp_path / "weights")
    return (tmp_path / "weights").read_bytes()


def test_a_file_is_fetched_once_and_then_works_offline(server: Server, tmp_path: Path, capsys) -> None:
    data = checkpoint(tmp_path)
    entry = serve(server, data, f"sha256:{hashlib.sha256(data).hexdigest()[:8]}")
    assert not is_cached(entry)
    path = fetch(entry)
    assert path.read_bytes() == data
    assert path == cached_path(entry) == tmp_path / "cache" / "mine" / "model.pth"
    assert "licence MIT" in capsys.readouterr().err
    server.files.clear()
    assert fetch(entry) == path
    assert len(server.requests) == 1


def test_zoo_names_work_wherever_a_backbone_is_asked_for(server: Server, tmp_path: Path, monkeypatch, capsys) -> None:
    entry = serve(server, checkpoint(tmp_path))
    zoo()[entry.name] = entry
    try:
        backbone = open_backbone("zoo:mine")
        assert backbone.width == WIDTH
        assert backbone.source == "zoo:mine"
        assert twinbench.main(["inspect", "zoo:mine", "--json"]) == 0
        facts = json.loads(capsys.readouterr().out)
        assert facts["licence"] == "MIT"
        assert facts["published_top1"] == 70.0
        assert facts["sha256"] == backbone.sha256
        assert twinbench.main(["convert", "zoo:mine", str(tmp_path / "out.safetensors")]) == 0
        assert twinbench.main(["zoo", "mine", "--fetch"]) == 0
        assert capsys.readouterr().out.splitlines()[-1] == str(cached_path(entry))
        assert twinbench.main(["zoo", "mine", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)[0]["cached"] == str(cached_path(entry))
    finally:
        del zoo()[entry.name]


@pytest.fixture
def vit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Entry]:
    """A plain ViT in the cache, as DINO's are, whose entry says ImageNet's mean and std.

    Nothing else tells them: timm's weights of this network all have 0.5.
    """
    monkeypatch.setenv("TWINBENCH_CACHE", str(tmp_path / "cache"))
    address = "https://example.org/model.safetensors"
    entry = Entry("vit", "ViT", 1, None, address, "vit", "MIT", "here", input="imagenet")
    cached_path(entry).parent.mkdir(parents=True)
    save_file(tiny_vit(), cached_path(entry))
    zoo()[entry.name] = entry
    yield entry
    del zoo()[entry.name]


def tiny_vit() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    fresh = timm.create_model("vit_tiny_patch16_224", num_classes=0).state_dict()
    return {name: values + 0.1 * torch.rand(values.shape, generator=generator) for name, values in fresh.items()}


def test_the_entry_says_the_input_that_a_file_does_not(vit: Entry, tmp_path: Path, capsys) -> None:
    assert open_backbone(cached_path(vit)).convention == HALF
    backbone = open_backbone("zoo:vit")
    assert backbone.convention == IMAGENET
    assert backbone.convention_from == "the zoo's entry"
    assert twinbench.main(["inspect", "zoo:vit", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["convention_from"] == "the zoo's entry"
    assert facts["identity"] == backbone.identity
    assert twinbench.main(["convert", "zoo:vit", str(tmp_path / "out.safetensors")]) == 0
    assert open_backbone(tmp_path / "out.safetensors").identity == backbone.identity


def test_what_is_asked_for_comes_before_the_entry(vit: Entry, capsys) -> None:
    assert open_backbone("zoo:vit", convention="unit").convention == UNIT
    assert twinbench.main(["inspect", "zoo:vit", "--input", "unit", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["convention_from"] == "asked for"


def test_a_note_in_the_file_comes_before_the_entry(vit: Entry, tmp_path: Path) -> None:
    noted = tmp_path / "noted.safetensors"
    assert twinbench.main(["convert", str(cached_path(vit)), str(noted), "--input", "unit"]) == 0
    noted.replace(cached_path(vit))
    backbone = open_backbone("zoo:vit")
    assert backbone.convention == UNIT
    assert backbone.convention_from == "noted in the file"


def test_the_entry_comes_before_what_lies_beside_the_file(vit: Entry) -> None:
    beside = cached_path(vit).with_name("preprocessor_config.json")
    beside.write_text(json.dumps({"image_mean": [0.0] * 3, "image_std": [1.0] * 3}))
    assert open_backbone(cached_path(vit)).convention == UNIT
    assert open_backbone("zoo:vit").convention == IMAGENET


def test_the_entry_comes_before_what_is_usual_for_the_layout(vit: Entry) -> None:
    zoo()["vit"] = replace(vit, input="unit", address="https://example.org/model.pth")
    torch.save({"model": tiny_vit()}, cached_path(zoo()["vit"]))  # MAE's layout: all that is published saw ImageNet's
    assert open_backbone(cached_path(zoo()["vit"])).convention == IMAGENET
    assert open_backbone("zoo:vit").convention == UNIT


def test_an_entry_without_an_input_leaves_it_to_the_file(vit: Entry) -> None:
    zoo()["vit"] = replace(vit, input="")
    assert open_backbone("zoo:vit").convention == HALF


def test_a_broken_connection_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    data = checkpoint(tmp_path)
    entry = serve(server, data)
    server.cut = 5000
    with pytest.raises(ZooError, match=r"cannot be fetched \(.*\); fetch it by hand and save it as .*model\.pth"):
        fetch(entry)
    assert not is_cached(entry)
    server.cut = None
    assert fetch(entry).read_bytes() == data
    assert server.requests == [("/model.pth", None), ("/model.pth", "bytes=5000-")]


def test_a_part_longer_than_the_file_is_fetched_anew(server: Server, tmp_path: Path) -> None:
    entry = serve(server, b"\x80" * 3000)
    cached_path(entry).parent.mkdir(parents=True)
    cached_path(entry).with_name(".model.pth.part").write_bytes(b"x" * 9000)
    assert fetch(entry).read_bytes() == b"\x80" * 3000


def test_a_dead_address_is_one_line_that_names_the_file_to_fetch_by_hand(server: Server) -> None:
    entry = serve(server, b"")
    server.files.clear()
    with pytest.raises(ZooError, match=r"Not Found.*by hand and save it as") as caught:
        fetch(entry)
    assert "\n" not in str(caught.value)
    gone = replace(entry, address="http://127.0.0.1:9/gone.pth")
    with pytest.raises(ZooError, match=r"gone\.pth cannot be fetched \(.*refused.*\)"):
        fetch(gone)
    with pytest.raises(ZooError, match="not an http address"):
        fetch(replace(entry, address="file:///etc/passwd"))


def test_a_web_page_is_not_a_checkpoint(server: Server) -> None:
    with pytest.raises(ZooError, match="answers with a web page"):
        fetch(serve(server, b"<!DOCTYPE html><html>Sign in</html>"))


@pytest.mark.parametrize("algorithm", ["md5", "sha256"])
def test_a_wrong_hash_is_an_error_and_a_right_file_by_hand_repairs_it(server: Server, algorithm: str) -> None:
    right = b"right" * 1000
    entry = serve(server, b"wrong" * 1000, f"{algorithm}:{hashlib.new(algorithm, right).hexdigest()[:8]}")
    for _ in range(2):  # it is not believed the second time either
        with pytest.raises(ZooError, match=rf"{algorithm} .*expected .*as documented for zoo:mine.*by hand"):
            fetch(entry)
    cached_path(entry).write_bytes(right)
    assert fetch(entry).read_bytes() == right
    cached_path(entry).write_bytes(b"later" * 999)  # replaced behind our back
    with pytest.raises(ZooError, match="expected"):
        fetch(entry)


def test_a_file_of_a_file_service_is_taken_by_hand(server: Server) -> None:
    entry = replace(serve(server, b""), by_hand=True)
    with pytest.raises(ZooError, match="no program can fetch it; take it from .* and save it as .*mine/checkpoint"):
        fetch(entry)
    cached_path(entry).parent.mkdir(parents=True)
    cached_path(entry).write_bytes(b"by hand")
    assert fetch(entry) == cached_path(entry)
    assert not server.requests


def test_processes_that_ask_at_once_fetch_once(server: Server, tmp_path: Path) -> None:
    entry = serve(server, os.urandom(300_000))
    code = (
        "import sys; from twinbench.convert.download import fetch; from twinbench.convert.zoo import Entry;"
        f"print(fetch(Entry('mine', 'Mine', 1, None, {entry.address!r}, '', 'MIT', '')))"
    )
    environment = os.environ | {"PYTHONPATH": os.getcwd()}
    runs = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    assert {run.communicate()[0].strip() for run in runs} == {str(cached_path(entry))}
    assert len(server.requests) == 1


def test_the_table_names_layouts_that_exist_and_files_that_differ() -> None:
    entries = list(zoo().values())
    lines = Path(download.__file__).with_name("zoo.csv").read_text().splitlines()
    assert len(entries) == len(lines) - 1 > 50, "a name stands twice"
    assert {entry.layout for entry in entries} <= {row.name for row in LAYOUTS}
    assert {entry.input for entry in entries} <= {"", *CONVENTIONS}
    networks = {row.network.name.partition(":")[2] for row in KNOWN}
    assert {entry.network for entry in entries} <= {"resnet50", *networks}
    assert len({cached_path(entry) for entry in entries}) == len(entries)
    for entry in entries:
        assert entry.address.startswith("https://")
        assert entry.licence
        assert entry.source
        algorithm, _, digits = entry.hash.partition(":")
        given = 6 if entry.method == "MAE" else 8  # digits in its authors' README
        assert not entry.hash or (algorithm in ("md5", "sha256") and int(digits, 16) and len(digits) >= given)
        assert entry.top1 is None or 30 < entry.top1 < 90
    assert entry_named("moco-v2-800ep").top1 == 71.1  # MoCo README
    assert entry_named("barlow-twins").top1 == 73.5  # Barlow Twins README
    assert entry_named("dino-vits16").top1 == 77.0  # DINO README
    assert entry_named("dinov2-vitg14-reg").top1 == 87.1  # DINOv2 README
    clip = entry_named("clip-vitb32")
    assert clip.hash == f"sha256:{clip.address.split('/')[-2]}"  # clip.py: _download


def test_a_file_whose_layout_has_several_inputs_has_one_in_the_table() -> None:
    several = {row.name for row in LAYOUTS if row.convention is None}
    assert [entry.name for entry in zoo().values() if entry.layout in several and not entry.input] == []


def test_the_listing(capsys) -> None:
    assert twinbench.main(["zoo"]) == 0
    out = capsys.readouterr().out
    assert len(out.splitlines()) == len(zoo()) + 3
    assert "moco-v2-800ep" in out
    assert "CC BY-NC 4.0" in out
    assert twinbench.main(["zoo", "vit_base_patch14"]) == 0
    assert "dinov2-vitb14-reg  DINOv2  vit_base_patch14_reg4_dinov2" in capsys.readouterr().out
    assert twinbench.main(["zoo", "moco", "--json"]) == 0
    assert {"moco-v2-800ep", "lightly-moco-v2"} <= {entry["name"] for entry in json.loads(capsys.readouterr().out)}
    assert twinbench.main(["zoo", "moco-v2-80ep"]) == 2
    assert "the zoo has no such checkpoint; near: moco-v2-800ep" in capsys.readouterr().err
    assert twinbench.main(["zoo", "--fetch"]) == 2
    assert "--fetch needs the NAME" in capsys.readouterr().err
