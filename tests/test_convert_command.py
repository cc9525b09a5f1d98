"""`twinbench convert` and `twinbench inspect` as a person uses them."""

import json
import multiprocessing
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import twinbench
from twinbench import cli
from twinbench.convert import load_backbone
from twinbench.convert.architectures.known import KNOWN
from twinbench.convert.architectures.resnet import ResNet50
from twinbench.convert.convention import CONVENTIONS, IMAGENET, UNIT, InputConvention

WIDTH = 1 / 16
ROOT = Path(__file__).resolve().parent.parent


def trained() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        name: values + torch.rand(values.shape, generator=generator).add(0.5).to(values.dtype)
        for name, values in ResNet50(WIDTH).state_dict().items()
    }


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A full checkpoint with two backbones and heads."""
    weights = trained()
    student = {f"module.backbone.{name}": values * 2 for name, values in weights.items()}
    teacher = {f"backbone.{name}": values for name, values in weights.items()}
    contents = {"student": student, "teacher": teacher | {"head.mlp.0.weight": torch.ones(2, 2)}, "epoch": 5}
    torch.save(contents, tmp_path / "checkpoint.pth")
    return tmp_path / "checkpoint.pth"


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = twinbench.main([str(word) for word in words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize("name", ["out.pth", "out.pkl", "out.safetensors"])
def test_convert_writes_the_form_that_the_name_says(capsys, checkpoint: Path, name: str) -> None:
    out = checkpoint.parent / name
    code, text, _ = run(capsys, "convert", checkpoint, out)
    assert code == 0
    assert load_backbone(out).sha256 in text == text.splitlines()[0] + "\n"
    assert load_backbone(out).sha256 == load_backbone(checkpoint).sha256


def test_convert_takes_the_branch_that_was_asked_for(capsys, checkpoint: Path) -> None:
    out = checkpoint.parent / "student.pth"
    assert run(capsys, "convert", checkpoint, out, "--layout", "dino-full:student")[0] == 0
    assert torch.equal(load_backbone(out).state_dict["bn1.bias"], trained()["bn1.bias"] * 2)


def test_convert_notes_the_input_convention(capsys, checkpoint: Path) -> None:
    out = checkpoint.parent / "unit.pth"
    assert run(capsys, "convert", checkpoint, out, "--input", "unit")[0] == 0
    assert load_backbone(out).convention == UNIT != load_backbone(checkpoint).convention
    facts = json.loads(run(capsys, "inspect", out, "--json")[1])
    assert facts["convention"] == "RGB in [0, 1], mean 0 0 0, std 1 1 1"
    assert facts["convention_from"] == "noted in the file"


def test_the_same_tensors_under_two_conventions_are_two_backbones(capsys, checkpoint: Path) -> None:
    paths = [checkpoint.parent / f"{name}.pth" for name in ("imagenet", "unit")]
    for path in paths:
        assert run(capsys, "convert", checkpoint, path, "--input", path.stem)[0] == 0
    facts = [json.loads(run(capsys, "inspect", path, "--json")[1]) for path in paths]
    assert facts[0]["sha256"] == facts[1]["sha256"]
    assert facts[0]["identity"] != facts[1]["identity"]
    assert [fact["identity"] for fact in facts] == [load_backbone(path).identity for path in paths]
    assert load_backbone(checkpoint).identity == facts[0]["identity"]  # assumed or noted, it is the same convention


def test_inspect_says_how_it_knows_the_convention(capsys, checkpoint: Path) -> None:
    assert json.loads(run(capsys, "inspect", checkpoint, "--json")[1])["convention_from"] == "usual for dino-full"
    torch.save({"network": {f"net.{name}": values for name, values in trained().items()}}, checkpoint)
    words = ("inspect", checkpoint, "--layout", "network/net.", "--json")
    assert json.loads(run(capsys, *words)[1])["convention_from"] == "assumed: the file does not say"


def test_convert_replaces_its_own_input(capsys, checkpoint: Path) -> None:
    before = load_backbone(checkpoint).sha256
    assert run(capsys, "convert", checkpoint, checkpoint)[0] == 0
    assert load_backbone(checkpoint).sha256 == before
    assert load_backbone(checkpoint).layout == "torchvision"


def test_convert_random(capsys, tmp_path: Path) -> None:
    assert run(capsys, "convert", "random", tmp_path / "random.pth")[0] == 0
    assert len(torch.load(tmp_path / "random.pth", weights_only=True)) == 318


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["convert", "missing.pth", "out.pth"], "missing.pth: No such file"),
        (["convert", ".", "out.pth"], ".: a folder with one checkpoint file in it; name the file: checkpoint.pth"),
        (["convert", "checkpoint.pth", "."], "OUT is the file to write"),
        (
            ["convert", "checkpoint.pth", "out.pth", "--layout", "dino"],
            "unknown layout 'dino'. Did you mean 'dino-full'",
        ),
        (
            ["convert", "checkpoint.pth", "out.pth", "--layout", "swav"],
            "no backbone at --layout swav; those in the file: --layout dino-full",
        ),
        (["inspect", "missing.pth"], "missing.pth: No such file"),
    ],
)
def test_mistakes_take_one_line_and_write_nothing(capsys, checkpoint: Path, monkeypatch, words, message: str) -> None:
    monkeypatch.chdir(checkpoint.parent)
    code, out, err = run(capsys, *words)
    assert code == 2
    assert out == ""
    assert message in err
    assert err.count("\n") == 1
    assert [path.name for path in checkpoint.parent.iterdir()] == ["checkpoint.pth"]


def test_inspect_says_what_is_in_the_file(capsys, checkpoint: Path) -> None:
    code, out, _ = run(capsys, "inspect", checkpoint, "--json")
    facts = json.loads(out)
    assert code == 0
    assert facts["layout"] == "dino-full"
    assert facts["at"] == "teacher"
    assert facts["prefix"] == "backbone."
    assert facts["tensors"] == 318
    assert facts["width"] == WIDTH
    assert facts["dropped"] == {"head": 1}
    assert facts["architecture"] == "resnet50-w0.0625"
    assert facts["others"] == ["dino-full:student"]
    assert facts["sha256"] == load_backbone(checkpoint).sha256
    assert "licence" not in facts  # the zoo holds a file called checkpoint.pth too, but that proves nothing
    code, out, _ = run(capsys, "inspect", checkpoint)
    assert code == 0
    assert "layout" in out
    assert "dino-full" in out
    assert "mean 0.485 0.456 0.406" in out
    assert re.search(f"^identity +{facts['identity']}$", out, re.M)


def test_a_kill_leaves_the_old_file(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, save = checkpoint.parent / "out.pth", torch.save
    out.write_bytes(b"old")
    words = ["convert", str(checkpoint), str(out)]

    def killed(contents: object, file: IO[bytes]) -> None:
        save(contents, file)
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", killed)
        process = multiprocessing.get_context("fork").Process(target=twinbench.main, args=(words,))
        process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    assert out.read_bytes() == b"old"
    assert twinbench.main(words) == 0
    assert load_backbone(out).width == WIDTH


def test_a_conversion_needs_no_torchvision(checkpoint: Path) -> None:
    code = (
        "import sys; sys.modules['torchvision'] = None; import twinbench;"
        f"sys.exit(twinbench.main(['convert', {str(checkpoint)!r}, {str(checkpoint.parent / 'out.pth')!r}]))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=120, check=False).returncode == 0


def test_conventions_speak_and_are_checked() -> None:
    assert str(IMAGENET) == "RGB in [0, 1], mean 0.485 0.456 0.406, std 0.229 0.224 0.225"
    assert InputConvention.from_dict(json.loads(json.dumps(IMAGENET.as_dict()))) == IMAGENET
    for field, value in {"mean": [1, 2], "std": [0, 1, 1], "order": "hsv", "scale": 2, "std ": "x"}.items():
        with pytest.raises(ValueError, match="no input convention"):
            InputConvention.from_dict({**IMAGENET.as_dict(), field.strip(): value})
    typed = InputConvention((0, 0, 0), (1, 1, 1), scale=1)  # whole numbers, as people type them
    assert json.dumps(typed.as_dict()) == json.dumps(UNIT.as_dict())


def test_every_command_in_the_documentation_parses() -> None:
    text = (ROOT / "docs" / "checkpoints.md").read_text()
    blocks = "".join(re.findall(r"```sh\n(.*?)```", text, re.S))
    commands = re.findall(r"^twinbench (\w+) ?(.*)$", blocks, re.M)
    assert len(commands) > 25
    for name, rest in commands:
        room = cli._load(name)
        parser = cli.Parser(prog=name, allow_abbrev=False)
        room.add_arguments(parser)
        parser.parse_args(shlex.split(rest, comments=True))


def test_the_documentation_names_every_layout_and_no_other() -> None:
    from twinbench.convert.finding.layouts import LAYOUTS
    from twinbench.convert.zoo import zoo

    text = (ROOT / "docs" / "checkpoints.md").read_text()
    table = set(re.findall(r"^\| `([\w-]+)`", text.partition("## Layouts")[2].partition("\n## ")[0], re.M))
    assert table == {row.name for row in LAYOUTS}
    assert set(re.findall(r"zoo:([\w.-]+\w)", text)) - {"NAME"} <= set(zoo())
    labels = {row.label for row in LAYOUTS} | {row.name for row in LAYOUTS}
    assert set(re.findall(r"--layout ([\w:-]+)(?: |$|`)", text, re.M)) - {"NAME:BRANCH"} <= labels


@pytest.mark.parametrize(
    "network",
    [
        {"library": "timm", "model": "resnet18", "options": {"checkpoint_path": "FILE"}, "positions": None},
        {"library": "timm", "model": "resnet18", "options": {"num_classes": 10**9}, "positions": None},
        {"library": "os", "model": "system", "options": {}, "positions": None},
        {"library": "timm", "model": ["resnet18"], "options": {}, "positions": None},
        {"library": "timm", "model": "resnet18", "options": {}, "positions": "dino"},
        {},
        7,
    ],
)
def test_a_note_can_only_name_what_is_known(capsys, tmp_path: Path, network: Any) -> None:
    known = {"convention": IMAGENET.as_dict(), "network": network}
    (tmp_path / "FILE").write_text("not to be opened")
    save_file(trained(), tmp_path / "x.safetensors", {"twinbench": json.dumps(known)})
    code, _, err = run(capsys, "inspect", tmp_path / "x.safetensors")
    assert code == 2
    assert "x.safetensors: its twinbench metadata is damaged; convert the original again" in err


def test_a_network_with_options_is_read_again(capsys, tmp_path: Path) -> None:
    network = next(row.network for row in KNOWN if "num_heads=12" in row.network.name)
    tensors = {name: values + 0.1 * torch.rand(values.shape) for name, values in network.fresh().items()}
    torch.save({"state_dict": {f"base_encoder.{name}": values for name, values in tensors.items()}}, tmp_path / "m.pth")
    assert run(capsys, "convert", tmp_path / "m.pth", tmp_path / "out.safetensors")[0] == 0
    first, again = load_backbone(tmp_path / "m.pth"), load_backbone(tmp_path / "out.safetensors")
    assert again.architecture == "timm:vit_small_patch16_224 num_heads=12"
    assert again.identity == first.identity


@pytest.mark.parametrize("command", ["inspect", "convert", "transfer", "detection"])
def test_the_help_of_input_names_every_convention(capsys, command: str) -> None:
    with pytest.raises(SystemExit):
        twinbench.main([command, "--help"])
    told = capsys.readouterr().out.rpartition("--input NAME")[2]
    assert all(re.search(rf"\b{name}\b", told) for name in CONVENTIONS)
