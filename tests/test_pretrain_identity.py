"""An OUT goes on with its own run and with no other: recipe, settings, DATA and seed are those it was begun with."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pytest
from PIL import Image

import twinbench
from twinbench.convert import files
from twinbench.data.identity import identify
from twinbench.protocols.house import with_settings
from twinbench.protocols.identity import FRESH, Identity, data_identity
from twinbench.protocols.pretraining import RECIPES

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = {"width": 0.0625, "epochs": 2, "batch_size": 8, "projector": "16,16", "crop": 16, "precision": "fp32"}
TINY = ["--recipe", "demo", "--device", "cpu", "--workers", "0", "--log-steps", "1"]
TINY += [f"--set={name}={value}" for name, value in SETTINGS.items()]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, random = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for i in range(24):
        path = root / "train" / f"class{i % 2}" / f"{i:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (24, 24, 3), dtype=np.uint8)).save(path)
    return root


def pretrain(data: Path, out: Path, *more: str) -> int:
    return twinbench.main(["pretrain", str(data), str(out), *TINY, *more])


@pytest.fixture(scope="module")
def trained(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run; not to be written to."""
    out = tmp_path_factory.mktemp("trained") / "out"
    assert pretrain(images, out) == 0
    return out


@pytest.fixture(params=["finished", "begun"])
def used(trained: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A copy of a finished run, or of one that has its checkpoint only."""
    copytree(trained, tmp_path / "out")
    if request.param == "begun":
        (tmp_path / "out" / "resnet50.pth").unlink()
    return tmp_path / "out"


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., None]:
    """Check that a start ended with exit code 2 and one line with these words."""

    def check(code: int, *words: str) -> None:
        error = capsys.readouterr().err.strip()
        assert code == 2
        assert len(error.splitlines()) == 1, error
        for word in words:
            assert word in error

    return check


def test_the_record_needs_no_torch_and_is_what_the_run_is_of(trained: Path, images: Path) -> None:
    code = f"import json, sys; print(json.load(open({str(trained / 'pretrain.json')!r}))['identity']['recipe'])"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    recipe = with_settings(RECIPES["demo"], SETTINGS)
    assert run.stdout.strip() == recipe.fingerprint
    found = json.loads((trained / "pretrain.json").read_text())
    data = data_identity(identify("imagenet", images, task="pretraining"))
    assert Identity(**found["identity"]) == Identity(recipe.fingerprint, FRESH, data, 0)
    assert found["precision"] == "fp32"
    assert found["images"] == 24
    checkpoint = files.load(trained / "checkpoint.pth")["twinbench"]
    assert checkpoint["record"]["identity"] == found["identity"]


def test_the_same_run_goes_on_or_is_finished(used: Path, images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pretrain(images, used) == 0
    assert capsys.readouterr().out == f"{used}/resnet50.pth\n"


def test_its_data_may_lie_elsewhere(trained: Path, images: Path, tmp_path: Path) -> None:
    copytree(images, tmp_path / "copy")
    before = (trained / "resnet50.pth").stat().st_mtime_ns
    assert pretrain(tmp_path / "copy", trained) == 0
    assert (trained / "resnet50.pth").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--seed=5"], ["with seed=0 instead of seed=5"]),
        (["--set=lambd=0.02"], ["with lambd=0.01 instead of lambd=0.02"]),
        (["--precision=bf16"], ["with precision=fp32 instead of precision=bf16"]),
        (["--set=projector=8,8", "--seed=1"], ["with projector=16,16, seed=0 instead of projector=8,8, seed=1"]),
        (["--recipe=barlow-twins"], ["with recipe demo (", "instead of recipe barlow-twins ("]),
    ],
)
def test_another_recipe_setting_or_seed_is_refused(
    used: Path, images: Path, more: list[str], words: list[str], refused: Callable[..., None]
) -> None:
    refused(pretrain(images, used, *more), *words, "choose another OUT, or remove it to start again")


@pytest.mark.parametrize("change", ["more", "fewer", "renamed", "resized"])
def test_other_data_are_refused(
    trained: Path, images: Path, tmp_path: Path, change: str, refused: Callable[..., None]
) -> None:
    copytree(images, tmp_path / "other")
    folder = tmp_path / "other" / "train" / "class0"
    if change == "more":
        (folder / "new.png").write_bytes((folder / "00.png").read_bytes())
    elif change == "fewer":
        (folder / "00.png").unlink()
    elif change == "renamed":
        (folder / "00.png").rename(folder / "0.png")
    else:
        Image.new("RGB", (24, 24)).save(folder / "00.png")
    code = pretrain(tmp_path / "other", trained)
    refused(code, f"with 24 images of {images} (", f"images of {tmp_path / 'other'} (", "choose another OUT")


def test_a_run_that_left_nothing_gives_way(images: Path, tmp_path: Path) -> None:
    more = ("--set=lr_weights=1e30", "--set=lr_biases=1e30")
    assert pretrain(images, tmp_path, *more) == 1
    assert (tmp_path / "pretrain.json").exists()
    assert pretrain(images, tmp_path) == 0


def test_a_checkpoint_beside_another_run_s_record(used: Path, images: Path, refused: Callable[..., None]) -> None:
    (used / "resnet50.pth").unlink(missing_ok=True)
    path = used / "pretrain.json"
    found = json.loads(path.read_text())
    found["identity"]["seed"] = 7
    path.write_text(json.dumps(found))
    refused(pretrain(images, used, "--seed=7"), "checkpoint.pth: of another run, with seed=0 instead of seed=7")


def test_a_record_that_is_none(used: Path, images: Path, refused: Callable[..., None]) -> None:
    for text in ("", "[]", '{"identity": {}}', "{"):
        (used / "pretrain.json").write_text(text)
        refused(pretrain(images, used), "pretrain.json: not a record of `twinbench pretrain`")


def as_before(out: Path) -> None:
    """Make a run one of the first release: no record, and a recipe without the fields of today."""
    (out / "pretrain.json").unlink()
    state = files.load(out / "checkpoint.pth")
    kept: dict[str, Any] = state["twinbench"]
    recipe = dict(kept.pop("record")["recipe"])
    for name in ("last_batch", "precision"):
        del recipe[name]
    state["twinbench"] = {**kept, "recipe": recipe, "fingerprint": "of another formula", "seed": 0}
    files.save(state, out / "checkpoint.pth")


def test_a_run_of_the_first_release_goes_on(used: Path, images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    as_before(used)
    for _ in range(2):
        assert pretrain(images, used) == 0
        error = capsys.readouterr().err
        assert len(error.splitlines()) == 1
        assert "made by an older twinbench, its data are not recorded" in error


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("--seed=5", "with seed=0 instead of seed=5"),
        ("--set=epochs=3", "with epochs=2 instead of epochs=3"),
        ("--set=last_batch=short", "with last_batch=dropped instead of last_batch=short"),
        ("--precision=bf16", "with precision=fp32 instead of precision=bf16"),
    ],
)
def test_a_run_of_the_first_release_is_of_its_recipe_and_seed(
    used: Path, images: Path, more: str, words: str, refused: Callable[..., None]
) -> None:
    as_before(used)
    refused(pretrain(images, used, more), words)


def test_a_backbone_alone_tells_nothing(used: Path, images: Path, refused: Callable[..., None]) -> None:
    (used / "resnet50.pth").touch()
    (used / "pretrain.json").unlink()
    (used / "checkpoint.pth").unlink()
    refused(pretrain(images, used), "neither pretrain.json nor checkpoint.pth beside it tells which run made it")


def test_auto_stays_what_it_became(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that goes on on another machine computes as it began."""
    more = ("--precision=auto", "--set=crop=32")
    monkeypatch.setattr("twinbench.runtime.precision._fast", lambda device: "bf16")
    assert pretrain(images, tmp_path, *more) == 0
    (tmp_path / "resnet50.pth").unlink()
    monkeypatch.setattr("twinbench.runtime.precision._fast", lambda device: "fp32")
    assert pretrain(images, tmp_path, *more) == 0
    assert json.loads((tmp_path / "pretrain.json").read_text())["precision"] == "bf16"
    starts = [line for line in (tmp_path / "log.jsonl").read_text().splitlines() if '"start"' in line]
    assert [json.loads(line)["precision"] for line in starts] == ["bf16", "bf16"]
