"""One classifier on its siblings: the scores are timm's, so are the hits, and two heads are never taken for one."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from timm.data import RealLabelsImagenet
from timm.utils import accuracy
from torch.nn import functional

import twinbench
from tests.robust_world import SHOWN, TRAINED, WNIDS, make_world, shown, timms_model
from twinbench.protocols import robustness
from twinbench.protocols.catalogue import PROTOCOLS, find_protocol
from twinbench.protocols.datasets import large
from twinbench.protocols.house import UserError
from twinbench.protocols.kinds.tested import head_label
from twinbench.transfer import robust
from twinbench.transfer.class_maps import ClassMapError, outputs_of
from twinbench.transfer.features import feature_loader
from twinbench.transfer.kept_heads import FILE, HeadError, read_head
from twinbench.transfer.robust import HeadTest, RobustError, judged, mean_corruption_error

REAL = replace(large.IMAGENET_REAL, name="made-real", classes=12, images=(0, 0))
V2 = replace(large.IMAGENET_V2, name="made-v2", classes=12, images=(0, 24))
C = replace(large.IMAGENET_C, name="made-c", classes=12, images=(0, 120))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def trained(world, tmp_path_factory):
    """The finished trial of a linear probe on the made-up ImageNet: its folder and its result."""
    out = tmp_path_factory.mktemp("trial")
    result = evaluated(world, "imagenet-linear@made-up", "imagenet", out, TRAINED)
    return out, result


def evaluated(world, protocol, data, out, settings, **more):
    given = {"settings": settings, "method": "vit", "device": "cpu", "workers": 0}
    return twinbench.evaluate(world.backbone, protocol, world.root / data, out, **(given | more))


def label_of(result):
    return head_label(result.protocol, result.fingerprint)


def probed(world, trained, data_set, data, out, recipe="robust-linear", **more):
    """Test the trained head on a part of the world."""
    place, result = trained
    pair = find_protocol(f"{recipe}@{data_set}") if isinstance(data_set, str) else PROTOCOLS[recipe].on(data_set)
    settings = SHOWN | {"head": label_of(result)} | more.pop("settings", {})
    return evaluated(world, pair, data, out, settings, head=place, **more)


def head_scores(world, trained, paths):
    """The scores (N, 12) of the trained head by timm's network and the file's two tensors, without code of ours."""
    held = torch.load(trained[0] / FILE, weights_only=True)["state"]
    weight, bias = held.values()
    model = timms_model(world)
    with torch.no_grad():
        return functional.linear(
            model.forward_head(model.forward_features(shown(paths)), pre_logits=True), weight, bias
        )


def timms_accuracy(scores, targets):
    return [float(value) for value in accuracy(scores, torch.tensor(targets), topk=(1, 5))]


# ------------------------------------------------------------------------------------------------ the hits are timm's


def test_a_head_gives_on_its_own_test_images_what_its_trial_reported(world, trained, tmp_path):
    found = probed(world, trained, "made-up", "imagenet", tmp_path)
    assert found.metrics["top1"] == trained[1].metrics["top1"]


def test_the_head_has_learned(trained):
    assert trained[1].metrics["top1"] > 60


def test_numbered_folders_count_the_head_s_classes(world, trained, tmp_path):
    """ImageNetV2's folder 2 is the third class, wherever 10 stands between."""
    found = probed(world, trained, V2, "v2", tmp_path)
    paths, targets = zip(*world.images("v2"), strict=True)
    expected = timms_accuracy(head_scores(world, trained, list(paths)), targets)
    assert [found.metrics["top1"], found.metrics["top5"]] == pytest.approx(expected)


@pytest.mark.parametrize("sibling", ["a", "r"])
def test_of_a_subset_only_its_classes_count(world, trained, tmp_path, sibling):
    """timm takes the columns of the subset before it ranks: `output[:, valid_labels]`."""
    found = probed(world, trained, sibling, sibling, tmp_path)
    paths, targets = zip(*world.images(sibling), strict=True)
    classes = sorted(set(targets))
    scores = head_scores(world, trained, list(paths))[:, classes]
    expected = timms_accuracy(scores, [classes.index(target) for target in targets])
    assert [found.metrics["top1"], found.metrics["top5"]] == pytest.approx(expected)


def test_the_subset_is_told(world, trained, tmp_path):
    found = probed(world, trained, "a", "a", tmp_path)
    assert (found.details["head_outputs"], found.details["head_outputs_that_count"]) == (12, 5)


@pytest.fixture(scope="module")
def real(world, trained, tmp_path_factory):
    """Our result with reassessed labels, and timm's object that has seen the same scores."""
    result = probed(world, trained, REAL, "imagenet", tmp_path_factory.mktemp("real"))
    paths = sorted((path for path, _ in world.images("imagenet/val")), key=lambda path: path.name)
    theirs = RealLabelsImagenet([path.name for path in paths], real_json=str(world.root / "imagenet" / "real.json"))
    theirs.add_result(head_scores(world, trained, paths))
    return result, theirs


@pytest.mark.parametrize(("metric", "k"), [("top1", 1), ("top5", 5)])
def test_with_reassessed_labels_the_accuracy_is_timms(real, metric, k):
    result, theirs = real
    assert result.metrics[metric] == pytest.approx(theirs.get_accuracy(k=k))


def test_images_without_a_reassessed_label_are_left_out(real, world):
    labels = json.loads((world.root / "imagenet" / "real.json").read_text())
    assert real[0].images == {"test": sum(map(bool, labels))}


def test_imagenets_own_labels_leave_out_as_many_images_as_the_registry_says():
    """timm ships real.json; its sha256 is the one in the registry of data sets."""
    theirs = RealLabelsImagenet([f"ILSVRC2012_val_{number:08d}.JPEG" for number in range(1, 50_001)])
    assert sum(map(bool, theirs.real_labels.values())) == large.IMAGENET_REAL.images[1]


# ------------------------------------------------------------------------------------------------ corruptions


TWO = {"corruptions": "fog,snow", "reference_errors": "0.8,0.5", "transform.resize": 0, "transform.crop": 32}


@pytest.fixture(scope="module")
def corrupted(world, trained, tmp_path_factory):
    return probed(world, trained, C, "c", tmp_path_factory.mktemp("c"), "corruptions-linear", settings=TWO)


@pytest.fixture(scope="module")
def accuracies(world, trained):
    """Top-1 by corruption and severity, of timm's network."""
    found = {}
    for corruption in ("fog", "snow"):
        for severity in range(1, 6):
            paths, targets = zip(*world.images(f"c/{corruption}/{severity}"), strict=True)
            found[corruption, severity] = timms_accuracy(head_scores(world, trained, list(paths)), targets)[0]
    return found


def test_the_accuracy_under_corruptions_is_the_mean_over_kinds_and_degrees(corrupted, accuracies):
    assert corrupted.metrics["top1"] == pytest.approx(np.mean(list(accuracies.values())))


def test_each_corruption_and_severity_is_told(corrupted, accuracies):
    fog = [accuracies["fog", severity] for severity in range(1, 6)]
    assert corrupted.details["top1_by_corruption_and_severity"]["fog"] == pytest.approx(fog)


def test_the_mean_corruption_error_is_relative_to_alexnets(corrupted, accuracies):
    errors = {name: 100 - np.mean([accuracies[name, severity] for severity in range(1, 6)]) for name in ("fog", "snow")}
    assert corrupted.details["mce"] == pytest.approx((errors["fog"] / 0.8 + errors["snow"] / 0.5) / 2)


def test_alexnet_s_own_errors_are_a_mean_corruption_error_of_100():
    recipe = robustness.CORRUPTIONS
    own = zip(recipe.corruptions, recipe.reference_errors, strict=True)
    top1 = {name: {1: 100 * (1 - error)} for name, error in own}
    assert mean_corruption_error(top1, recipe) == pytest.approx(100)


def test_a_corruption_that_is_missing_is_told(world, trained, tmp_path):
    settings = TWO | {"corruptions": "fog,frost,snow", "reference_errors": ""}
    with pytest.raises(RobustError, match="2 corruptions, and .* is about 3; frost is only expected; add its folder"):
        probed(world, trained, C, "c", tmp_path, "corruptions-linear", settings=settings)


def test_images_without_corruptions_are_told(world, trained, tmp_path):
    with pytest.raises(RobustError, match="expected images as <corruption>/<severity>/<class>/NAME, as ImageNet-C's"):
        probed(world, trained, "made-up", "imagenet", tmp_path, "corruptions-linear", settings=TWO)


def test_the_four_extra_corruptions_are_in_no_mean(world, trained, corrupted, tmp_path):
    copy = Path(shutil.copytree(world.root / "c", tmp_path / "c"))
    shutil.copytree(copy / "fog", copy / "spatter")
    found = probed(world, trained, C, copy, tmp_path / "out", "corruptions-linear", settings=TWO)
    assert found.data_sha256 == corrupted.data_sha256


# ------------------------------------------------------------------------------------------------ released


def test_a_released_classifier_is_timms(world, tmp_path):
    found = evaluated(world, PROTOCOLS["robust-released"].on(V2), "v2", tmp_path, SHOWN)
    paths, targets = zip(*world.images("v2"), strict=True)
    with torch.no_grad():
        expected = timms_accuracy(timms_model(world)(shown(list(paths))), targets)
    assert [found.metrics["top1"], found.metrics["top5"]] == pytest.approx(expected)


def test_a_released_classifier_knows_no_names_of_a_subset(world, tmp_path):
    with pytest.raises(ClassMapError, match="class n01440765 of 5 is none of the classifier's 12, of which no names"):
        evaluated(world, "robust-released@a", "a", tmp_path, SHOWN)


def test_a_released_classifier_of_another_width_is_refused(world, tmp_path):
    spec, _, file = world.backbone.partition("=")
    state = torch.load(file, weights_only=True)
    torch.save(state | {"head.weight": state["head.weight"][:, :100].clone()}, tmp_path / "vit.pth")
    with pytest.raises(HeadError, match="a classifier of 100 features, but timm:vit_tiny_patch16_224 gives 192; exp"):
        twinbench.evaluate(
            f"{spec}={tmp_path / 'vit.pth'}",
            PROTOCOLS["robust-released"].on(V2),
            world.root / "v2",
            tmp_path / "out",
            settings=SHOWN,
            device="cpu",
            workers=0,
        )


def test_imagenets_subset_is_found_by_timms_list():
    names = timm.data.ImageNetInfo().label_names()
    assert outputs_of([names[7], names[99]], (), 1000).tolist() == [7, 99]


def test_a_subset_of_numbers_counts_outputs():
    assert outputs_of(["10", "2"], WNIDS, 12).tolist() == [10, 2]


def test_numbers_that_are_names_are_names():
    assert outputs_of(["10", "2"], ("0", "10", "2"), 3).tolist() == [1, 2]


def test_as_many_classes_as_outputs_are_those():
    assert outputs_of(["b", "a", "c"], (), 3).tolist() == [1, 0, 2]


def test_a_class_that_the_head_has_not_is_told():
    with pytest.raises(
        ClassMapError, match="class cat of 2 is none of the classifier's 3, such as a; expected classes"
    ):
        outputs_of(["a", "cat"], ("a", "b", "c"), 3)


# ------------------------------------------------------------------------------------------------ a fine-tuned network


@pytest.fixture
def resnet(tmp_path):
    """A ResNet-50 of an eighth of the width that has seen images."""
    from twinbench.convert import write_backbone
    from twinbench.convert.opening import open_backbone

    found = open_backbone("random", 0.125)
    model = found.build().train()
    with torch.no_grad():
        for _ in range(10):
            model(torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
        for values in model.parameters():
            values.add_(0.01)  # as an optimizer would have moved them
    write_backbone(replace(found, state_dict=model.state_dict()), tmp_path / "resnet50.pth")
    return tmp_path / "resnet50.pth"


def test_a_fine_tuned_network_is_kept_whole(world, resnet, tmp_path):
    settings = SHOWN | {"epochs": 2, "batch_size": 24, "norm_groups": 1}
    given = {"device": "cpu", "workers": 0}
    root = world.root / "imagenet"
    first = twinbench.evaluate(resnet, "imagenet-10pct@made-up", root, tmp_path / "ft", settings=settings, **given)
    shows = SHOWN | {"head": label_of(first)}
    second = twinbench.evaluate(
        resnet, "robust-10pct@made-up", root, tmp_path / "test", settings=shows, head=tmp_path / "ft", **given
    )
    assert second.metrics["top1"] == first.metrics["top1"]


# ------------------------------------------------------------------------------------------------ which head it is


def test_the_file_says_what_the_head_is_of(trained):
    place, result = trained
    head = read_head(place)
    assert (head.label, head.seed, list(head.classes)) == (label_of(result), result.seed, WNIDS)


def test_another_recipes_head_is_another_column(world, trained, tmp_path):
    found = probed(world, trained, V2, "v2", tmp_path)
    assert found.fingerprint != PROTOCOLS["robust-linear"].with_settings(SHOWN).fingerprint


def test_what_the_head_was_trained_on_is_a_part_of_the_data(world, trained, tmp_path):
    """The same test images for a released classifier, which says nothing of its training, are other data."""
    of_head = probed(world, trained, V2, "v2", tmp_path / "head")
    released = evaluated(world, PROTOCOLS["robust-released"].on(V2), "v2", tmp_path / "released", SHOWN)
    assert of_head.data_sha256 != released.data_sha256


def test_a_row_with_another_head_is_marked(world, trained, tmp_path):
    assert "head" in probed(world, trained, V2, "v2", tmp_path).overrides


@pytest.fixture
def altered(trained, tmp_path):
    """A copy of the trial whose head can be written anew: `altered(field=value)`."""
    copy = Path(shutil.copytree(trained[0], tmp_path / "altered"))

    def write(**changes):
        torch.save(torch.load(copy / FILE, weights_only=True) | changes, copy / FILE)
        return copy, trained[1]

    return write


def test_another_head_than_a_finished_result_s_is_refused(world, trained, altered, tmp_path):
    probed(world, trained, V2, "v2", tmp_path / "out")
    state = torch.load(trained[0] / FILE, weights_only=True)["state"]
    again = altered(state={name: values + 1 for name, values in state.items()})
    with pytest.raises(HeadError, match="of another head .* choose another OUT or remove it"):
        probed(world, again, V2, "v2", tmp_path / "out")


def test_a_head_of_another_backbone_is_refused(world, altered, tmp_path):
    with pytest.raises(HeadError, match="a head on another backbone .* expected one that was trained on timm:vit_tiny"):
        probed(world, altered(backbone="0" * 64), V2, "v2", tmp_path / "out")


def test_a_head_of_another_seed_is_refused(world, altered, tmp_path):
    with pytest.raises(HeadError, match="a head of seed 3; expected seed 0, as this trial's; say --seed 3"):
        probed(world, altered(seed=3), V2, "v2", tmp_path / "out")


def test_a_head_of_yesterdays_recipe_is_refused(world, altered, tmp_path):
    with pytest.raises(HeadError, match=r"trained by another recipe of imagenet-linear@made-up \(0{12}\)"):
        probed(world, altered(fingerprint="0" * 12), V2, "v2", tmp_path / "out")


def test_a_head_of_a_protocol_that_is_gone_is_refused(world, altered, tmp_path):
    with pytest.raises(HeadError, match="the head of a protocol that is not known: .*; name its file: --protocols"):
        probed(world, altered(protocol="gone"), V2, "v2", tmp_path / "out")


def test_a_file_that_is_no_head_is_refused(world, trained, altered, tmp_path):
    place, _ = altered()
    torch.save({"protocol": "imagenet-linear"}, place / FILE)
    with pytest.raises(HeadError, match="no head of twinbench"):
        probed(world, (place, trained[1]), V2, "v2", tmp_path / "out")


def test_a_head_of_another_protocol_is_refused(world, trained, tmp_path):
    with pytest.raises(HeadError, match="the head of imagenet-linear@made-up:.*, but robust-1pct@made-v2 tests "):
        evaluated(world, PROTOCOLS["robust-1pct"].on(V2), "v2", tmp_path, SHOWN, head=trained[0])


def test_a_trial_without_a_kept_head_is_told(world, trained, tmp_path):
    place = Path(shutil.copytree(trained[0], tmp_path / "old"))
    (place / FILE).unlink()
    with pytest.raises(HeadError, match="no such file; expected the head of that trial"):
        probed(world, (place, trained[1]), V2, "v2", tmp_path / "out")


def test_an_unfinished_trial_has_no_head(world, trained, tmp_path):
    with pytest.raises(HeadError, match=r"no result\.json in it; expected the folder of a finished trial"):
        probed(world, (tmp_path, trained[1]), V2, "v2", tmp_path / "out")


def test_a_test_without_a_head_is_told(world, tmp_path):
    with pytest.raises(
        HeadError, match="tests the head of imagenet-linear; expected the folder .* name it with --head"
    ):
        evaluated(world, PROTOCOLS["robust-linear"].on(V2), "v2", tmp_path, SHOWN)


def test_a_released_classifier_takes_no_head(world, trained, tmp_path):
    with pytest.raises(HeadError, match="tests the classifier that a network comes with; leave it out"):
        evaluated(world, PROTOCOLS["robust-released"].on(V2), "v2", tmp_path, SHOWN, head=trained[0])


def test_a_protocol_that_trains_takes_no_head(world, trained, tmp_path):
    with pytest.raises(HeadError, match="imagenet-knn@made-up trains a head of its own; leave it out"):
        evaluated(world, "imagenet-knn@made-up", "imagenet", tmp_path, {}, head=trained[0])


def test_heads_of_several_layers_are_not_kept(world, tmp_path, resnet):
    settings = SHOWN | {"epochs": 1, "batch_size": 24, "milestones": "", "layers": "res5avg"}
    twinbench.evaluate(
        resnet,
        "imagenet-layers-vissl@made-up",
        world.root / "imagenet",
        tmp_path / "out",
        settings=settings,
        device="cpu",
        workers=0,
    )
    assert not (tmp_path / "out" / FILE).exists()


# ------------------------------------------------------------------------------------------------ killed and resumed


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of seven images, each saved."""
    monkeypatch.setattr(robust, "CPU_BLOCK", 7)
    monkeypatch.setattr(robust, "SAVE_SECONDS", -1)


def test_loaders_begin_once_for_all_blocks(world, trained, small_blocks, monkeypatch, tmp_path):
    begun = []
    monkeypatch.setattr(robust, "feature_loader", lambda *given: begun.append(given) or feature_loader(*given))
    probed(world, trained, V2, "v2", tmp_path / "out", "calibration-linear")
    [given] = begun
    assert [list(batch) for batch in given[-1]] == [[*range(start, min(start + 7, 24))] for start in range(0, 24, 7)]


def test_a_test_that_was_killed_goes_on_to_the_same_numbers(world, trained, small_blocks, monkeypatch, tmp_path):
    whole = probed(world, trained, V2, "v2", tmp_path / "whole", "calibration-linear")
    judge, count = HeadTest._judge, iter(range(100))

    def killed(self, start, scored):
        if next(count) == 2:
            raise KeyboardInterrupt
        judge(self, start, scored)

    with monkeypatch.context() as patch:
        patch.setattr(HeadTest, "_judge", killed)
        with pytest.raises(KeyboardInterrupt):
            probed(world, trained, V2, "v2", tmp_path / "out", "calibration-linear")
    starts = []
    monkeypatch.setattr(
        HeadTest, "_judge", lambda self, start, scored: starts.append(start) or judge(self, start, scored)
    )
    again = probed(world, trained, V2, "v2", tmp_path / "out", "calibration-linear")
    assert (again.metrics, starts) == (whole.metrics, [14, 21])


def test_nothing_but_the_result_is_left(world, trained, small_blocks, tmp_path):
    probed(world, trained, V2, "v2", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


def test_another_test_s_state_is_refused(world, trained, tmp_path):
    torch.save({"identity": "another"}, tmp_path / robust.STATE)
    with pytest.raises(RobustError, match="belongs to another, but this is vit on robust-linear@made-v2"):
        probed(world, trained, V2, "v2", tmp_path)


# ------------------------------------------------------------------------------------------------ parts


def test_a_hit_is_any_of_several_labels():
    scores = torch.tensor([[3.0, 2.0, 1.0], [1.0, 2.0, 3.0]])
    answers = torch.tensor([[1, 0, 1], [1, 0, 0]], dtype=torch.int8)
    assert judged(scores, answers)[:, 0].tolist() == [1, 0]


def test_confidence_is_the_softmax_of_the_first():
    found = judged(torch.tensor([[0.0, float(np.log(3))]]), torch.tensor([1]))
    assert found[0, 2].item() == pytest.approx(0.75)


def test_scores_that_are_no_numbers_are_refused(world, altered, trained, tmp_path):
    state = torch.load(trained[0] / FILE, weights_only=True)["state"]
    broken = altered(state={name: values * torch.nan for name, values in state.items()})
    with pytest.raises(RobustError, match="scores are not finite"):
        probed(world, broken, V2, "v2", tmp_path / "out")


def test_temperatures_need_an_image_in_each_fold(world, trained, tmp_path):
    with pytest.raises(RobustError, match=r"24 images for folds=40; expected one in each fold"):
        probed(world, trained, V2, "v2", tmp_path, "calibration-linear", settings={"folds": 40})


def test_no_temperature_is_fitted_to_several_labels():
    with pytest.raises(UserError, match="runs on single-label data, but made-real is multi-label"):
        PROTOCOLS["calibration-linear"].on(REAL)


@pytest.mark.parametrize("head", ["imagenet-linear", "imagenet-linear:xyz", "", "released:"])
def test_a_head_is_named_with_its_fingerprint(head):
    with pytest.raises(UserError, match="expected released, or the protocol that trained it with its fingerprint"):
        PROTOCOLS["robust-linear"].with_settings({"head": head})


def test_errors_are_as_many_as_corruptions():
    with pytest.raises(UserError, match="setting reference_errors=0.5: expected 15 errors, one a corruption, or none"):
        PROTOCOLS["corruptions-linear"].with_settings({"reference_errors": "0.5"})


@pytest.mark.parametrize("name", [name for name, entry in PROTOCOLS.items() if entry.recipe.trained_by])
def test_a_protocol_tests_the_head_of_today_s_recipe(name):
    recipe = PROTOCOLS[name].recipe
    assert recipe.head == head_label(recipe.trained_by, PROTOCOLS[recipe.trained_by].fingerprint)
