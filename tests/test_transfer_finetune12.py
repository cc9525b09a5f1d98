"""Fine-tuning whose rate and decay a grid of trainings finds: the rules of BYOL's D.3, who chooses, kills, refusals."""

import dataclasses
import json
import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from sklearn.metrics import balanced_accuracy_score
from torch.nn.modules.batchnorm import _BatchNorm

import twinbench
from tests.forks import launch
from tests.probe_kills import interrupt_after
from twinbench.convert.opening import open_backbone
from twinbench.data.layouts import LabelledImages
from twinbench.data.paths import file_list
from twinbench.protocols.catalogue import PROTOCOLS, find_protocol
from twinbench.protocols.classification import BT_SEMI
from twinbench.protocols.datasets import TWELVE
from twinbench.protocols.finetune12 import BYOL
from twinbench.protocols.house import SettingError
from twinbench.protocols.kinds.base import ImageTransform
from twinbench.protocols.published import published_for
from twinbench.report.asked import Asked
from twinbench.runtime.batchnorm import GlobalBatchNorm, synchronize
from twinbench.runtime.process import Process
from twinbench.transfer import search
from twinbench.transfer.classifier import Classifier, norm_momentum
from twinbench.transfer.measure import measure
from twinbench.transfer.objectives import OneClass, SeveralClasses
from twinbench.transfer.options import Options
from twinbench.transfer.probe import Probe, ProbeOutcome
from twinbench.transfer.probe_checks import DivergedError, ProbeError
from twinbench.transfer.search import Tried, best

TINY = ImageTransform(resize=32, crop=32, shape="center-crop")
TUNE = dataclasses.replace(BT_SEMI, transform=TINY, epochs=3, batch_size=8, norm_groups=1, steps=7)
SMALL = {"transform.resize": 40, "transform.crop": 32, "batch_size": 16, "steps": 4}
GRID = {**SMALL, "lrs": "0.01,0.1", "weight_decays": "0,0.001"}


@pytest.fixture(scope="module")
def backbone():
    return open_backbone("random", 0.125)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An own data set, 24 training and 8 test images: dark ones and bright ones."""
    draw, root = np.random.default_rng(0), tmp_path_factory.mktemp("own")
    for split, count in (("train", 24), ("val", 8)):
        for index in range(count):
            bright = index % 2
            pixels = draw.integers(0, 90, size=(40, 44, 3)) + 150 * bright
            place = root / split / ("dark", "bright")[bright]
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(place / f"{index}.png")
    return root


def asked(name, data, out, settings, **changes):
    protocol = dataclasses.replace(find_protocol(name), width=0.125, **changes).with_settings(settings)
    return Asked(protocol, "random", data, out, method="ours", device="cpu", workers=0)


def run(data, out, settings=GRID, name="finetune12-byol@mine", **changes):
    found = measure(asked(name, data, out, settings, **changes), Options(cache=out / "features"))
    assert found is not None
    return found


@pytest.fixture(scope="module")
def never_killed(scenes, tmp_path_factory):
    return run(scenes / "imagenet", tmp_path_factory.mktemp("whole") / "out")


# --- the rules of D.3


@pytest.mark.parametrize(("batches", "part"), [(1, 0.1), (15, 0.1), (100, 0.1), (200, 0.05), (266, 10 / 266)])
def test_a_batch_has_the_part_in_the_statistics_that_byol_leaves_it(batches, part):
    """BYOL: the old ones have max(1 - 10 / s, 0.9); PyTorch's momentum is the new ones' part."""
    assert norm_momentum(batches) == pytest.approx(part, rel=1e-12)


@pytest.mark.parametrize(("rule", "part"), [("torch", 0.1), ("by-epoch", 0.05)])
def test_the_rule_is_of_every_batch_norm_of_the_trunk(backbone, folder, rule, part, tmp_path):
    paths = file_list([folder / "val" / "dark" / "0.png"] * 200)
    images = LabelledImages(paths, np.zeros(200, np.int64), ("a", "b"))
    recipe = dataclasses.replace(
        TUNE, batch_size=1, steps=0, norm_momentum=rule, transform=dataclasses.replace(TINY, crop=64)
    )
    probe = Probe(backbone, recipe, images, images, identity="", out=tmp_path, cache=tmp_path)
    norms = [module for module in probe.model.trunk.modules() if isinstance(module, _BatchNorm)]
    assert len(norms) == 53
    assert {round(norm.momentum or 0, 12) for norm in norms} == {part}


def test_the_rule_is_of_batch_norms_that_processes_share(backbone):
    model = Classifier(backbone.build(), 2, TUNE, seed=0)
    synchronize(model.trunk, torch.device("cpu"))
    model.set_norm_momentum(0.03)
    assert isinstance(model.trunk.bn1, GlobalBatchNorm)
    assert model.trunk.bn1.momentum == 0.03


def test_decays_are_divided_by_the_rate(backbone, folder, tmp_path):
    training = BYOL.training(0.01, 1e-4, epochs=3)
    assert training.weight_decay == pytest.approx(0.01)
    assert (training.lr_head, training.lr_backbone) == (0.01, 0.01)
    assert BYOL.training(0.01, 0.0, epochs=3).weight_decay == 0
    assert dataclasses.replace(BYOL, decays_are="decay").training(0.01, 1e-4, epochs=3).weight_decay == 1e-4


def test_a_grid_is_fifty_six_pairs_and_one_more_training():
    assert len(set(BYOL.grid)) == 56
    assert BYOL.trainings == 57
    assert BYOL.length(10) == ("training", 57)
    assert (min(BYOL.grid), max(BYOL.grid)) == ((1e-4, 0.0), (0.1, pytest.approx(1e-3)))


def dark_and_bright(folder, split):
    paths = sorted((folder / split).glob("*/*.png"))
    targets = np.array([path.parent.name == "bright" for path in paths]).astype(np.int64)
    return LabelledImages(file_list(paths), targets, ("dark", "bright"))


def probe(backbone, folder, out, recipe=TUNE):
    train, test = dark_and_bright(folder, "train"), dark_and_bright(folder, "val")
    return Probe(backbone, recipe, train, test, identity="this", out=out, cache=out)


def test_the_rate_falls_with_every_step_as_torchs_scheduler_has_it(backbone, folder, tmp_path, monkeypatch):
    """24 images in batches of 8: seven steps are two epochs and a step."""
    seen, take = [], Probe._step

    def look(self, *batch):
        seen.append(self.optimizer.param_groups[0]["lr"])
        return take(self, *batch)

    monkeypatch.setattr(Probe, "_step", look)
    outcome = probe(backbone, folder, tmp_path).run()
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=TUNE.lr_head)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=7)
    wanted = []
    for _ in range(7):
        wanted += scheduler.get_last_lr()
        optimizer.step()
        scheduler.step()
    assert seen == pytest.approx(wanted, abs=1e-12)
    assert [epoch for epoch, _ in outcome.curves["loss"]] == [1, 2, 3]
    assert [epoch for epoch, _ in outcome.curves["top1"]] == [3]


def test_the_loss_of_an_epoch_that_steps_end_is_of_the_images_it_had(backbone, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(Probe, "_step", lambda self, images, targets: torch.tensor(2.0 * len(images)))
    outcome = probe(backbone, folder, tmp_path).run()
    assert [loss for _, loss in outcome.curves["loss"]] == [2, 2, 2]


def test_steps_beyond_the_epochs_change_nothing(backbone, folder, tmp_path):
    assert probe(backbone, folder, tmp_path, dataclasses.replace(TUNE, steps=1000)).steps == 9


@pytest.mark.parametrize("saves", [1, 4, 7])
def test_counted_steps_killed_anywhere_end_as_if_never_killed(backbone, folder, tmp_path, saves, monkeypatch):
    whole = probe(backbone, folder, tmp_path / "whole").run()
    interrupt_after(monkeypatch, saves)
    with pytest.raises(KeyboardInterrupt):
        probe(backbone, folder, tmp_path / "cut").run()
    monkeypatch.undo()
    assert probe(backbone, folder, tmp_path / "cut").run() == whole


def test_epochs_of_counted_steps_are_not_saved_one_by_one(backbone, folder, tmp_path, monkeypatch):
    """Of DTD an epoch is 15 steps: a state of 300 MB after each would take longer than they do."""
    saved = []
    monkeypatch.setattr(Probe, "_save", lambda self: saved.append((len(self.history), self.step)))
    probe(backbone, folder, tmp_path).run()
    assert saved == [(2, 1), (3, 0)]  # before the test and after it


# --- what is trained for, and measured


def scored(scores, pieces=3):
    for rows in np.array_split(np.arange(len(scores)), pieces):
        yield torch.as_tensor(scores[rows]), torch.as_tensor(rows)


def test_one_class_is_judged_by_images_and_by_classes():
    draw = np.random.default_rng(0)
    scores, targets = draw.normal(size=(40, 4)).astype(np.float32), draw.integers(0, 4, 40)
    found = OneClass(4).measured(scored(scores), targets, Process())
    assert found["top1"] == pytest.approx(100 * (scores.argmax(1) == targets).mean())
    assert found["per-class"] == pytest.approx(100 * balanced_accuracy_score(targets, scores.argmax(1)))


def test_scores_that_are_no_numbers_reach_nothing():
    scores = np.ones((4, 2), np.float32)
    scores[2, 1] = np.nan
    assert math.isnan(OneClass(2).measured(scored(scores), np.array([0, 1, 0, 1]), Process())["top1"])
    targets = np.array([[1, 0], [0, 1], [1, 0], [0, 1]])
    assert math.isnan(SeveralClasses(2, "mean", "negative").measured(scored(scores), targets, Process())["mAP-11"])


@pytest.mark.parametrize("joined_by", ["mean", "sum"])
def test_the_loss_of_several_classes_is_torchs(joined_by):
    logits = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor(np.random.default_rng(0).integers(0, 2, (6, 5)))
    wanted = torch.nn.BCEWithLogitsLoss(reduction=joined_by)(logits, targets.float())
    found = SeveralClasses(5, joined_by, "negative").loss(logits, targets)
    assert found.item() == pytest.approx(wanted.item() * (6 if joined_by == "mean" else 1), rel=1e-6)


def test_images_that_show_only_difficult_ones_are_negatives_or_nothing():
    logits, targets = torch.tensor([[2.0, 0.0]]), torch.tensor([[-1, 1]])
    half, absent = math.log(2), math.log1p(math.exp(2))
    assert SeveralClasses(2, "sum", "negative").loss(logits, targets).item() == pytest.approx(absent + half)
    assert SeveralClasses(2, "sum", "dropped").loss(logits, targets).item() == pytest.approx(half)


def test_ap_of_several_classes_is_at_eleven_points():
    """Ranks of the positives 1 and 3: precision 1 up to a recall of a half, six levels, then 2/3 for five."""
    scores = np.array([[4.0], [3.0], [2.0], [1.0]], np.float32)
    targets = np.array([[1], [0], [1], [0]], np.int8)
    found = SeveralClasses(1, "mean", "negative").measured(scored(scores), targets, Process())
    assert found == {"mAP-11": pytest.approx(100 * (6 + 5 * 2 / 3) / 11)}


# --- who chooses


class Stub:
    """In a Probe's place: what a rate reaches on the images held out, and the opposite on test images."""

    asked: list[tuple[float, set[str], set[str]]]
    reached = {1e-3: 60.0, 1e-2: 80.0, 1e-1: 20.0}

    def __init__(self, backbone, recipe, train, test, **given):
        names = [{str(path) for path in images.paths} for images in (train, test)]
        self.lr = recipe.lr_head
        Stub.asked.append((self.lr, *names))

    def run(self):
        of_test = any("/val/" in name for name in Stub.asked[-1][2])
        value = 100 - self.reached[self.lr] if of_test else self.reached[self.lr]
        return ProbeOutcome({"top1": value, "per-class": value}, {"loss": []}, {})


def test_the_pair_is_chosen_on_images_held_out_and_no_training_of_the_grid_sees_the_test(scenes, tmp_path, monkeypatch):
    monkeypatch.setattr(search, "Probe", Stub)
    Stub.asked = []
    result = run(scenes / "imagenet", tmp_path / "out", {**SMALL, "lrs": "0.001,0.01,0.1", "weight_decays": "0"})
    assert result.details["lr"] == 0.01
    assert result.metrics["top1"] == 20.0  # of the three rates the worst on the test images
    *grid, (last_lr, last_train, last_test) = Stub.asked
    assert last_lr == 0.01
    assert all("/val/" in name for name in last_test)
    for _, train, held in grid:
        assert not train & held
        assert train | held == last_train
        assert not (train | held) & last_test
    assert len(grid[0][2]) == result.details["held_out"] == len(last_train) // 5


def test_the_first_of_equal_pairs_is_taken_and_diverged_ones_never():
    tried = [Tried(1e-4, 0.0, None), Tried(1e-3, 0.0, 0.0), Tried(1e-2, 0.0, 70.0), Tried(0.1, 0.0, 70.0)]
    assert best(tried) is tried[2]
    assert best(tried[:2]) is tried[1]


def test_a_result_says_every_pair_and_what_it_reached(never_killed):
    tried = never_killed.details["tried"]
    assert [pair[:2] for pair in tried] == [[0.01, 0], [0.01, 0.001], [0.1, 0], [0.1, 0.001]]
    chosen = next(pair for pair in tried if pair[2] == max(value for *_, value in tried))
    assert [never_killed.details["lr"], never_killed.details["weight_decay"]] == chosen[:2]
    assert set(never_killed.metrics) == {"top1", "per-class"}
    assert never_killed.details["held_out_by"] == "a draw"


def test_the_official_split_of_voc2007_chooses_by_its_ap(scenes, tmp_path):
    data = Path(shutil.copytree(scenes / "VOCdevkit", tmp_path / "VOCdevkit"))
    main = data / "VOC2007" / "ImageSets" / "Main"
    for path in list(main.glob("*trainval.txt")):
        lines = path.read_text().splitlines()
        chosen = [line for place, line in enumerate(lines) if place % 4]
        (main / path.name.replace("trainval", "val")).write_text("\n".join(chosen) + "\n")
    pair = find_protocol("finetune12-byol@voc07")
    scaled = dataclasses.replace(pair.data_set, classes=10, images=(0, 0))
    settings = {**SMALL, "transform.resize": 64, "transform.crop": 64, "lrs": "0.01", "weight_decays": "0"}
    result = run(data, tmp_path / "out", settings, "finetune12-byol@voc07", data_set=scaled)
    assert set(result.metrics) == {"mAP-11"}
    assert 0 < result.metrics["mAP-11"] <= 100
    assert result.details["held_out_by"] == "an official split"
    assert result.details["held_out"] == len((main / "val.txt").read_text().split())


# --- kills


def same(found, whole):
    assert found.metrics == whole.metrics
    assert found.curves == whole.curves
    assert found.details == whole.details


@pytest.mark.parametrize("saves", [2, 6, 27])  # within the first training, at its end, in the last
def test_a_search_killed_within_a_training_ends_as_if_never_killed(scenes, tmp_path, saves, monkeypatch, never_killed):
    count = interrupt_after(monkeypatch, saves)
    with pytest.raises(KeyboardInterrupt):
        run(scenes / "imagenet", tmp_path / "out")
    same(run(scenes / "imagenet", tmp_path / "out"), never_killed)
    # After each step, after the epoch that ends within, and after the test; on all images four steps are one epoch.
    assert next(count) == 4 * 6 + 5 + 1  # no step was taken twice
    left = [path.name for path in (tmp_path / "out").rglob("*") if path.suffix in (".pth", ".json", ".jsonl")]
    assert sorted(left) == ["log.jsonl", "log.jsonl", "result.json"]


@pytest.mark.parametrize("moment", ["before the value is kept", "before its folder is removed"])
def test_a_search_killed_between_trainings_ends_as_if_never_killed(scenes, tmp_path, moment, monkeypatch, never_killed):
    of, name = (search, "replacing") if moment == "before the value is kept" else (search.Search, "_remove")
    whole, count = getattr(of, name), iter(range(1, 100))

    def killed(*given):
        if next(count) == 2:
            raise KeyboardInterrupt
        return whole(*given)

    monkeypatch.setattr(of, name, killed)
    with pytest.raises(KeyboardInterrupt):
        run(scenes / "imagenet", tmp_path / "out")
    monkeypatch.undo()
    same(run(scenes / "imagenet", tmp_path / "out"), never_killed)
    lines = [json.loads(line) for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
    assert [line["training"] for line in lines][-2:] == [3, 4]
    assert not (tmp_path / "out" / "training-2").exists()


def test_two_processes_share_each_training(scenes, tmp_path):
    """At a rate at which nothing moves, so that what rounds otherwise is no other class; each image is scored once."""
    settings = {**SMALL, "lrs": "1e-12", "weight_decays": "0"}
    words = ["transfer", "finetune12-byol@mine", "timm:resnet18=random", str(scenes / "imagenet")]
    words += [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    found = []
    for world in (1, 2):
        out = tmp_path / str(world)
        launch(
            world, tmp_path / f"said{world}", twinbench.main, [*words, str(out), "--workers", "0", "--device", "cpu"]
        )
        found.append(json.loads((out / "result.json").read_text()))
    one, two = found
    assert one["metrics"] == two["metrics"]
    assert one["details"] == two["details"]
    assert one["curves"]["loss"][0] == pytest.approx(two["curves"]["loss"][0], rel=1e-3)


# --- what is refused


class Diverging(Stub):
    """Rates of 0.01 and more diverge, all of them on all training images."""

    all_do = False

    def run(self):
        of_test = any("/val/" in name for name in Stub.asked[-1][2])
        if of_test or self.lr >= 0.01 or self.all_do:
            raise DivergedError("the loss is nan")
        return super().run()


def test_rates_that_diverge_are_recorded_and_the_rest_goes_on(scenes, tmp_path, monkeypatch):
    monkeypatch.setattr(search, "Probe", Diverging)
    Stub.asked = []
    settings = {**SMALL, "lrs": "0.001,0.01", "weight_decays": "0"}
    with pytest.raises(ProbeError, match=r"lr 0.001 and weight decay 0 were best .* leave the largest rates out"):
        run(scenes / "imagenet", tmp_path / "out", settings)
    kept = json.loads((tmp_path / "out" / "tried.json").read_text())
    assert kept["tried"] == [[0.001, 0.0, 60.0], [0.01, 0.0, None]]


def test_a_grid_that_diverges_everywhere_is_told_in_one_line(scenes, tmp_path, monkeypatch):
    monkeypatch.setattr(search, "Probe", Diverging)
    monkeypatch.setattr(Diverging, "all_do", True)
    Stub.asked = []
    with pytest.raises(ProbeError, match=r"2 of 2 pairs of lrs and weight_decays diverge") as found:
        run(scenes / "imagenet", tmp_path / "out", {**SMALL, "lrs": "0.001,0.01", "weight_decays": "0"})
    assert "\n" not in str(found.value)


def test_a_real_training_that_diverges_is_told_by_its_own_error(backbone, folder, tmp_path):
    with pytest.raises(DivergedError, match="the probe diverges"):
        probe(backbone, folder, tmp_path, dataclasses.replace(TUNE, lr_backbone=1e20)).run()


def test_what_another_trial_has_tried_is_not_taken(scenes, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "tried.json").write_text(json.dumps({"identity": "theirs", "tried": []}))
    with pytest.raises(ProbeError, match=r"tried.json: belongs to theirs, but this is ours on finetune12-byol@mine"):
        run(scenes / "imagenet", out)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"precision": "bf16"}, "precision=bf16: expected fp32 or tf32 where the backbone is trained"),
        ({"norm_groups": 3}, "norm_groups=3: expected a divisor of batch_size"),
        ({"momentum": 0}, "nesterov=True: expected false where momentum=0"),
        ({"weight_decays": "0,-1"}, "weight_decays=0.0,-1.0: expected different numbers of at least 0"),
        ({"lrs": ""}, "lrs=: expected different numbers above 0"),
        ({"steps": 0}, "steps=0: expected a whole number of at least 1"),
    ],
)
def test_settings_that_no_search_can_have_are_refused(settings, message):
    with pytest.raises(SettingError, match=message):
        find_protocol("finetune12-byol@cifar10").with_settings(settings)


# --- suites and numbers


@pytest.fixture
def suite_file(tmp_path):
    def written(protocols):
        for split in ("train", "val"):
            for number in range(10):
                (tmp_path / "images" / split / f"class{number}").mkdir(parents=True, exist_ok=True)
        content = {
            "name": "tuned",
            "root": "results",
            "methods": {"mine": {"checkpoint": "random"}},
            "protocols": protocols,
            "data": {"cifar10": "images", "dtd": "images"},
        }
        path = tmp_path / "suite.yaml"
        path.write_text(yaml.safe_dump(content))
        return path

    return written


def test_one_line_of_a_suite_is_a_trial_on_each_set_and_its_plan_says_how_many_trainings(suite_file, capsys):
    path = suite_file({"finetune12-byol": {"sets": ["cifar10", "dtd"], "seeds": 2}})
    twinbench.main(["suite", "plan", str(path), "--local"])
    told = capsys.readouterr().out
    for name in ("cifar10", "dtd"):
        assert re.search(rf"mine +finetune12-byol@{name} +0/2 done", told)
    assert (
        "note: finetune12-byol: a trial is 57 trainings, one after the other on each of 2 data sets; `gpus: N` in its "
        "entry has N GPUs share each of them\n"
    ) in told


def test_a_plan_counts_the_trainings_of_a_smaller_grid(suite_file, capsys):
    entry = {"sets": ["dtd"], "set": {"lrs": [0.01, 0.1], "weight_decays": [0]}}
    twinbench.main(["suite", "plan", str(suite_file({"finetune12-byol": entry})), "--local"])
    assert "note: finetune12-byol: a trial is 3 trainings, one after the other; `gpus: N`" in capsys.readouterr().out


def test_each_set_has_the_metric_that_is_reported_on_it():
    tuned, linear = (PROTOCOLS[name].members.values() for name in ("finetune12-byol", "linear12-byol"))
    assert [(pair.data_set, pair.metric) for pair in tuned] == [(pair.data_set, pair.metric) for pair in linear]


TABLE_3 = """
BYOL            88.5 97.8 86.1 76.3 63.7 91.6 88.1 85.4 76.2 91.7 93.8 97.0
SimCLR (repro)  87.5 97.4 85.3 75.0 63.9 91.4 87.6 84.5 75.4 89.4 91.7 96.6
SimCLR          88.2 97.7 85.9 75.9 63.5 91.3 88.1 84.1 73.2 89.2 92.1 97.0
Supervised      88.3 97.5 86.4 75.8 64.3 92.1 86.0 85.0 74.6 92.1 93.3 97.6
"""  # BYOL, in the order of TWELVE; its random initialisation was trained by another recipe


@pytest.mark.parametrize("line", TABLE_3.strip().splitlines(), ids=lambda line: line[:14].strip())
def test_published_numbers_are_those_of_byols_table_3(line):
    method, values = line[:16].strip(), [float(value) for value in line[16:].split()]
    found = [
        entry.value
        for data_set in TWELVE
        for entry in published_for(find_protocol(f"finetune12-byol@{data_set.name}"))
        if entry.method == method
    ]
    assert found == values


def test_published_numbers_carry_the_metric_of_their_set():
    for pair in PROTOCOLS["finetune12-byol"].members.values():
        assert {entry.metric for entry in published_for(pair)} == {pair.metric}


def test_recipes_that_were_there_before_have_their_fingerprints():
    assert PROTOCOLS["imagenet-1pct"].fingerprint == "d5a50d5183c7"
    assert PROTOCOLS["imagenet-10pct-steps"].fingerprint == "cee6eb818df6"
