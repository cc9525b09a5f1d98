"""Whole trials of the twelve sets' recipes on the scenes: what the result says, and a second start is the first."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

import twinbench
from twinbench.protocols.catalogue import find_protocol
from twinbench.protocols.house import UserError
from twinbench.report.asked import Asked
from twinbench.transfer.measure import measure
from twinbench.transfer.options import Options

SMALL = {"transform.resize": 40, "transform.crop": 32}
FEW = {**SMALL, "penalties": "0.01,1,100"}


def asked(name, data, out, settings, **changes):
    protocol = dataclasses.replace(find_protocol(name), width=0.125, **changes).with_settings(settings)
    return Asked(protocol, "random", data, out, method="ours", device="cpu", workers=0)


@pytest.mark.parametrize("name", ["linear12-byol", "linear12-dinov2", "linear12-dinov3", "linear12-ssl-transfer"])
def test_a_result_says_who_chose_and_every_penalty_that_was_tried(scenes: Path, tmp_path: Path, name: str) -> None:
    options = Options(cache=tmp_path / "features")
    result = measure(asked(f"{name}@digits", scenes / "imagenet", tmp_path / "a", FEW), options)
    assert result is not None
    assert set(result.metrics) == {"top1", "per-class"}
    assert [penalty for penalty, _ in result.curves["on images held out"]] == [0.01, 1, 100]
    assert result.details["penalty"] in (0.01, 1, 100)
    assert result.details["held_out_by"] == "a draw"
    assert 0 < result.details["held_out"] < result.images["train"]
    again = measure(asked(f"{name}@digits", scenes / "imagenet", tmp_path / "b", FEW), options)
    assert again is not None
    assert again.metrics == result.metrics


def test_the_official_split_of_voc2007_chooses(scenes: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(scenes / "VOCdevkit", tmp_path / "VOCdevkit"))
    main = data / "VOC2007" / "ImageSets" / "Main"
    for path in list(main.glob("*trainval.txt")):
        lines = path.read_text().splitlines()
        chosen = [line for place, line in enumerate(lines) if place % 4]
        (main / path.name.replace("trainval", "val")).write_text("\n".join(chosen) + "\n")
    pair = find_protocol("linear12-byol@voc07")
    scaled = dataclasses.replace(pair.data_set, classes=10, images=(0, 0))
    result = measure(asked("linear12-byol@voc07", data, tmp_path / "out", FEW, data_set=scaled))
    assert result is not None
    assert set(result.metrics) == {"mAP-11"}
    assert result.details["held_out_by"] == "an official split"
    assert result.details["held_out"] == len((main / "val.txt").read_text().split())


def test_episodes_are_drawn_from_both_splits(scenes: Path, tmp_path: Path) -> None:
    settings = {**SMALL, "shots": 1, "queries": 1, "episodes": 20, "ways": 3}
    result = measure(asked("few-shot-5way-5shot@digits", scenes / "imagenet", tmp_path, settings))
    assert result is not None
    assert 0 <= result.metrics["top1"] <= 100
    assert result.details["interval_95"] > 0


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("few-shot-5way-5shot", {"shots": 4000}, "0 of 10 classes have 4000"),
        ("linear12-dinov2", {"held_out": 1e-9}, "training images: 0 to choose a setting on"),
    ],
)
def test_what_cannot_be_drawn_is_told_before_features_are_extracted(
    scenes: Path, tmp_path: Path, name: str, settings: dict[str, float], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        measure(asked(f"{name}@digits", scenes / "imagenet", tmp_path / "out", SMALL | settings))
    assert not list(tmp_path.rglob("*.npy"))


def test_the_command_refuses_a_family_in_one_line(scenes: Path, tmp_path: Path, capsys) -> None:
    words = ["transfer", "linear12-byol", "random", str(scenes / "imagenet"), str(tmp_path / "out")]
    assert twinbench.main(words) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "linear12-byol: measures 12 data sets" in line
    assert not (tmp_path / "out").exists()


def test_a_program_reads_a_family(capsys) -> None:
    assert twinbench.main(["protocols", "linear12-byol", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [entry["name"] for entry in found["sets"]][:2] == ["food101", "cifar10"]
    assert len(found["published"]) == 36
    assert twinbench.main(["protocols", "linear12-byol"]) == 0
    assert "mAP-11 on voc07" in capsys.readouterr().out
