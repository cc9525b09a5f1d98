import argparse
import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy
import pytest

from twinbench.protocols.catalogue import PROTOCOLS
from twinbench.protocols.identity import data_identity
from twinbench.report import provenance
from twinbench.report.asked import add_trial_arguments
from twinbench.report.result import read_result
from twinbench.report.trial import (
    Trial,
    TrialBackbone,
    TrialData,
    TrialError,
    leaving_nothing,
    trial_protocol,
)

KNN = PROTOCOLS["imagenet-knn"]


RGB = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "order": "rgb", "scale": 1.0}
BGR = RGB | {"order": "bgr", "scale": 255.0}
BACKBONE = TrialBackbone("a" * 64, "resnet50", RGB)
DATA = TrialData("imagenet", "d" * 64)


def a_trial(out, **changes):
    fields = {
        "protocol": KNN,
        "method": "m",
        "seed": 0,
        "backbone": BACKBONE,
        "data": DATA,
        "device": "cpu",
        "out": out,
    }
    return Trial(**(fields | changes))


def finished(out, **changes):
    """Finish a trial in `out`."""
    return a_trial(out, **changes).finish({"top1-k20": 50.0, "top1-k10": 49.0}, {"train": 100, "test": 10})


def test_a_trial_says_what_it_is_of(tmp_path):
    identity = a_trial(tmp_path, seed=3).identity
    assert identity.recipe == KNN.fingerprint
    assert identity.backbone == BACKBONE.identity
    assert identity.data == DATA.sha256
    assert identity.seed == 3


def test_a_trials_description_tells_it_from_others(tmp_path):
    expected = f"m on imagenet-knn ({KNN.fingerprint}), seed 3, backbone {BACKBONE.identity[:12]}, data {'d' * 12}"
    assert a_trial(tmp_path, seed=3).description == expected


def test_a_finished_trial_is_found_again(tmp_path):
    trial = a_trial(tmp_path)
    assert trial.finished() is None
    result = finished(tmp_path)
    assert trial.finished() == result
    assert read_result(tmp_path / "result.json") == result


def test_a_result_has_the_identity_of_its_trial(tmp_path):
    trial = a_trial(tmp_path, protocol=trial_protocol(KNN, ["temperature=0.1"]), seed=4)
    result = trial.finish({"top1-k20": 50.0}, {})
    assert result.identity == trial.identity
    assert result.fingerprint != KNN.fingerprint
    assert result.overrides == {"temperature": "0.1"}


def test_a_result_carries_what_its_trial_knows(tmp_path):
    result = a_trial(tmp_path).finish({"top1-k20": 50.0}, {"train": 100, "test": 10}, details={"k": 1})
    assert (result.protocol, result.version, result.headline) == ("imagenet-knn", 2, "top1-k20")
    assert (result.architecture, result.convention) == ("resnet50", RGB)
    assert (result.data, result.data_sha256) == ("imagenet", "d" * 64)
    assert result.precision == "fp32"  # the recipe's
    assert result.images_expected == {"train": 1_281_167, "test": 50_000}
    assert result.details == {"k": 1}
    assert result.wall_seconds >= 0
    assert result.schema == 2


def test_a_room_may_say_another_precision_than_the_recipes(tmp_path):
    assert a_trial(tmp_path).finish({"top1-k20": 50.0}, {}, precision="bf16").precision == "bf16"


BGR_WORDS = "bgr, scale 255.0, mean 0.485 0.456 0.406, std 0.229 0.224 0.225"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": 1}, "another seed than 1"),
        ({"method": "other"}, "another method than other"),
        ({"backbone": replace(BACKBONE, sha256="b" * 64)}, f"of another backbone ({'a' * 12} instead of {'b' * 12})"),
        (
            {"backbone": replace(BACKBONE, architecture="timm:vit")},
            "of another architecture (resnet50 instead of timm:vit)",
        ),
        (
            {"backbone": replace(BACKBONE, convention=BGR)},
            "under another input convention (rgb, scale 1.0, mean 0.485 0.456 0.406, std 0.229 0.224 0.225 instead of "
            f"{BGR_WORDS})",
        ),
        (
            {"data": TrialData("pets", "e" * 64)},
            f"on other data (imagenet {'d' * 12} instead of pets {'e' * 12})",
        ),
        (
            {"data": TrialData("imagenet", "e" * 64), "seed": 7},
            f"another seed than 7, on other data (imagenet {'d' * 12} instead of imagenet {'e' * 12})",
        ),
        ({"protocol": replace(KNN, version=9)}, "by version 2 of the protocol instead of 9"),
        ({"protocol": PROTOCOLS["demo-imagenet-knn"]}, "another protocol than demo-imagenet-knn"),
        (
            {"protocol": trial_protocol(KNN, ["temperature=0.1"])},
            f"by another recipe ({KNN.fingerprint} instead of {trial_protocol(KNN, ['temperature=0.1']).fingerprint})",
        ),
    ],
    ids=[
        "seed",
        "method",
        "tensors",
        "architecture",
        "convention",
        "data",
        "seed and data",
        "version",
        "protocol",
        "recipe",
    ],
)
def test_a_folder_with_another_trial_is_refused_by_every_part_that_differs(tmp_path, change, words):
    finished(tmp_path)
    with pytest.raises(TrialError) as caught:
        a_trial(tmp_path, **change).finished()
    place = f"{tmp_path / 'result.json'}: holds imagenet-knn of m, seed 0, "
    assert str(caught.value) == f"{place}{words}; choose another OUT or remove it"


IMAGES = {"train": "1" * 64, "test": "2" * 64}


def on(samples, images=IMAGES):
    """Return the data of a low-shot trial; no samples from files where `samples` is empty."""
    splits = images | ({"samples": samples} if samples else {})
    return TrialData("voc07", data_identity(splits), splits)


@pytest.mark.parametrize(
    ("theirs", "ours", "words"),
    [
        (
            on(""),
            on("b" * 64),
            f"with other low-shot samples (drawn from the seed instead of those of files, {'b' * 12})",
        ),
        (
            on("a" * 64),
            on("b" * 64),
            f"with other low-shot samples (those of files, {'a' * 12} instead of those of files, {'b' * 12})",
        ),
        (
            on("a" * 64),
            on("a" * 64, IMAGES | {"test": "3" * 64}),
            "on other data or with other low-shot samples (voc07 ",
        ),
        (on(""), on("", IMAGES | {"test": "3" * 64}), "on other data (voc07 "),
    ],
    ids=["drawn and given", "two files", "other images", "other images, all drawn"],
)
def test_other_low_shot_samples_are_no_other_data(tmp_path, theirs, ours, words):
    given = theirs.splits.get("samples", "")
    details = {"samples": "from a file" if given else "drawn from the seed", "samples_sha256": given or "e" * 64}
    trial = a_trial(tmp_path, data=theirs)
    trial.finish({"top1-k20": 50.0}, {}, details=details)
    with pytest.raises(TrialError, match=re.escape(f"seed 0, {words}")):
        a_trial(tmp_path, data=ours).finished()


def as_schema_1(path):
    """Rewrite a result as an older twinbench would have written it."""
    new = ("architecture", "convention", "data", "data_sha256", "precision")
    old = {name: value for name, value in json.loads(path.read_text()).items() if name not in new}
    path.write_text(json.dumps(old | {"schema": 1}))


@pytest.mark.parametrize(
    ("change", "words"),
    [({}, ""), ({"seed": 2}, "another seed than 2, ")],
    ids=["all else the same", "another seed"],
)
def test_a_result_without_a_record_of_its_data_cannot_be_shown_the_same(tmp_path, change, words):
    finished(tmp_path)
    as_schema_1(tmp_path / "result.json")
    with pytest.raises(TrialError) as caught:
        a_trial(tmp_path, **change).finished()
    why = f"seed 0, {words}made by an older twinbench that did not record its data; choose another OUT or remove it"
    assert str(caught.value).endswith(why)


def test_a_result_without_a_record_of_its_convention_cannot_be_shown_the_same(tmp_path):
    finished(tmp_path, backbone=replace(BACKBONE, convention={}))
    with pytest.raises(TrialError, match="seed 0, without a record of the backbone's input convention; choose"):
        a_trial(tmp_path).finished()


def test_an_imported_result_is_no_trials(tmp_path):
    replace(finished(tmp_path), data="", data_sha256="", imported="VISSL").write(tmp_path)
    with pytest.raises(TrialError, match="seed 0, imported from a log of VISSL; choose"):
        a_trial(tmp_path).finished()


def test_the_code_is_named_by_its_commit():
    root = Path(provenance.__file__).resolve().parent.parent
    git = ["git", "-C", str(root), "rev-parse", "HEAD"]
    head = subprocess.run(git, capture_output=True, text=True, check=False)
    found = provenance.code()
    assert found["root"] == str(root)
    assert found["commit"] == (head.stdout.strip() if head.returncode == 0 else "unknown")


def test_versions_and_command_can_be_repeated(monkeypatch):
    assert provenance.versions()["numpy"] == numpy.__version__
    monkeypatch.setattr("sys.argv", ["/somewhere/bin/twinbench", "transfer", "a b"])
    assert provenance.command() == "twinbench transfer 'a b'"


def test_the_command_of_a_module_can_be_repeated(monkeypatch):
    monkeypatch.setattr("sys.argv", ["/clone/twinbench/__main__.py", "transfer", "a b"])
    assert provenance.command() == "python -m twinbench transfer 'a b'"


def parsed(*words):
    parser = argparse.ArgumentParser()
    add_trial_arguments(parser)
    return parser.parse_args(["imagenet-knn", "random", "data", "out", *words])


@pytest.mark.parametrize("seed", ["-1", "4294967296", "x"])
def test_a_seed_that_no_generator_takes_is_refused(seed):
    with pytest.raises(TrialError, match=f"^--seed {seed}: expected 0 or more, at most 4294967295$"):
        parsed("--seed", seed)
    assert [parsed("--seed", good).seed for good in ("0", "4294967295")] == [0, 4294967295]


@pytest.mark.parametrize("label", ["", " ", "two\nlines", "\x1b[31mred"])
def test_a_label_that_no_table_shows_is_refused(tmp_path, label):
    with pytest.raises(TrialError, match="^method label '.*': expected printable characters; name the row with"):
        parsed("--method", label)
    with pytest.raises(TrialError, match="^method label '.*': expected printable"):
        a_trial(tmp_path, method=label)  # of a checkpoint's file name
    assert parsed("--method", "Barlow Twins, é").method == "Barlow Twins, é"


@pytest.mark.parametrize(
    ("before", "made", "left"),
    [
        (None, [], None),
        (None, ["data"], None),  # made before any work is done
        (None, ["data", "log.jsonl"], {"data", "log.jsonl"}),
        ([], ["data"], {"data"}),
        (["mine"], ["data"], {"mine", "data"}),
    ],
)
def test_a_call_that_is_refused_leaves_no_folder_that_it_made(before, made, left, tmp_path):
    out = tmp_path / "out"
    for name in before or []:
        (out / name).mkdir(parents=True)
    if before == []:
        out.mkdir()
    with pytest.raises(TrialError), leaving_nothing(out, "data"):
        for name in made:
            (out / name).mkdir(parents=True)
        raise TrialError("refused")
    assert ({path.name for path in out.iterdir()} if out.exists() else None) == left
