"""A suite trains a head once and tests it in further columns: what waits for what, and what is refused."""

import pytest
import yaml

from tests.robust_world import MODEL, SHOWN, TRAINED, make_world
from twinbench import main
from twinbench.protocols.catalogue import PROTOCOLS
from twinbench.protocols.kinds.tested import head_label
from twinbench.report.result import read_result
from twinbench.suite.entries import SuiteError
from twinbench.suite.graph import build_jobs
from twinbench.suite.suite import read_suite

SIBLINGS = {"imagenet": "i", "imagenet-v2": "v", "imagenet-a": "a", "imagenet-r": "r", "imagenet-sketch": "s"}


@pytest.fixture
def write(tmp_path):
    """Write a suite on empty folders."""

    def written(protocols, methods=None, data=SIBLINGS):
        for place in data.values():
            (tmp_path / place).mkdir(exist_ok=True)
        content = {
            "name": "heads",
            "root": "results",
            "methods": methods or {"mine": {"checkpoint": "random"}},
            "protocols": protocols,
            "data": dict(data),
        }
        path = tmp_path / "suite.yaml"
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return path

    return written


V2 = {"sets": ["imagenet-v2"]}


def jobs_by_name(path):
    return {job.name: job for job in build_jobs(read_suite(path))}


def test_a_test_waits_for_its_head_s_trial_wherever_it_stands_in_the_file(write):
    jobs = jobs_by_name(write({"robust-linear": V2, "imagenet-linear": {}}))
    order = [name for name, job in jobs.items() if job.kind == "trial"]
    assert order == ["mine/imagenet-linear/seed0", "mine/robust-linear@imagenet-v2/seed0"]
    assert jobs[order[1]].needs == (order[0],)


def test_its_command_names_the_head_s_trial(write, tmp_path):
    jobs = jobs_by_name(write({"robust-linear": V2, "imagenet-linear": {}}))
    argv = jobs["mine/robust-linear@imagenet-v2/seed0"].argv
    assert argv[-2:] == ("--head", str(tmp_path / "results" / "mine" / "imagenet-linear" / "seed0"))


def test_a_family_is_tested_on_all_its_sets(write):
    path = write({"robust-linear": {}, "imagenet-linear": {}})
    names = [measurement.protocol.data_set.name for measurement in read_suite(path).measurements]
    assert names == ["imagenet-v2", "imagenet-real", "imagenet-a", "imagenet-r", "imagenet-sketch", "imagenet"]


def test_a_test_has_the_seeds_of_its_head(write):
    path = write({"robust-1pct": V2, "imagenet-1pct": {"seeds": [4, 7]}})
    assert read_suite(path).measurements[0].seeds == (4, 7)


def test_a_test_may_say_some_of_them(write):
    path = write({"robust-1pct": V2 | {"seeds": [7]}, "imagenet-1pct": {"seeds": [4, 7]}})
    assert read_suite(path).measurements[0].seeds == (7,)


def test_a_seed_that_trains_no_head_is_refused(write):
    path = write({"robust-1pct": V2 | {"seeds": [5]}, "imagenet-1pct": {"seeds": [4, 7]}})
    with pytest.raises(
        SuiteError, match=r"seeds: 5 is no seed of imagenet-1pct; expected some of \[4, 7\], or none said"
    ):
        read_suite(path)


def test_a_head_of_a_changed_recipe_is_another_column_and_marked(write):
    path = write({"robust-linear": V2, "imagenet-linear": {"set": {"epochs": 3}}})
    test, head = read_suite(path).measurements
    assert test.protocol.overrides == (("head", head_label("imagenet-linear", head.protocol.fingerprint)),)


def test_settings_of_a_test_stay_beside_its_head(write):
    path = write({"robust-linear": V2 | {"set": {"bins": 10}}, "imagenet-linear": {"set": {"epochs": 3}}})
    assert dict(read_suite(path).measurements[0].protocol.overrides)["bins"] == "10"


def test_a_test_names_another_head(write):
    path = write({"robust-linear": V2 | {"head": "imagenet-1pct"}, "imagenet-1pct": {"seeds": 1}})
    label = head_label("imagenet-1pct", PROTOCOLS["imagenet-1pct"].fingerprint)
    assert read_suite(path).measurements[0].protocol.recipe.head == label


@pytest.mark.parametrize("name", ["imagenet-linear-dinov2-heldout", "imagenet-ep"])
def test_the_head_that_was_chosen_of_many_is_one(write, name):
    jobs = jobs_by_name(write({"robust-linear": V2 | {"head": name}, name: {}}))
    assert jobs["mine/robust-linear@imagenet-v2/seed0"].needs == (f"mine/{name}/seed0",)


def test_a_head_that_the_suite_does_not_train_is_told(write):
    with pytest.raises(SuiteError, match="tests the head of imagenet-linear, which the suite does not train; add it"):
        read_suite(write({"robust-linear": V2}))


@pytest.mark.parametrize("name", ["imagenet-knn", "robust-linear@imagenet-v2"])
def test_a_protocol_that_leaves_no_head_is_told(write, name):
    path = write({"robust-linear@imagenet-a": {"head": name}, name: {"head": "imagenet-1pct"} if "@" in name else {}})
    with pytest.raises(SuiteError, match=f"tests the head of {name}, which leaves none"):
        read_suite(path)


def test_a_head_is_named_by_a_text(write):
    with pytest.raises(SuiteError, match=r"head: is 3, expected the name of the protocol that trains it"):
        read_suite(write({"robust-linear": V2 | {"head": 3}, "imagenet-linear": {}}))


def test_a_method_without_the_head_is_told(write):
    methods = {"mine": {"checkpoint": "random", "protocols": ["robust-linear"]}}
    path = write({"robust-linear": V2, "imagenet-linear": {}}, methods)
    with pytest.raises(SuiteError, match="which methods.mine leaves out; add it to methods.mine.protocols"):
        read_suite(path)


def test_a_released_classifier_needs_a_file_that_keeps_it(write):
    with pytest.raises(SuiteError, match=r"what a suite keeps of methods.mine has none; .*timm:resnet50=FILE"):
        read_suite(write({"robust-released": V2}))


def test_a_library_s_model_is_tested_as_it_is(write):
    methods = {"theirs": {"checkpoint": "timm:resnet18=pretrained"}}
    job = jobs_by_name(write({"robust-released": V2}, methods))["theirs/robust-released@imagenet-v2/seed0"]
    assert job.argv[2] == "timm:resnet18=pretrained"
    assert job.needs == ()


def test_other_training_images_of_the_head_are_other_data(tmp_path, write):
    """The expected identity of a test's data holds that of the images that its head was trained on."""
    world = make_world(tmp_path / "world")
    data = {"made-up": str(world.root / "imagenet"), "sibling": str(world.root / "a")}
    protocols = {"robust-linear@sibling": {"head": "imagenet-linear@made-up"}, "imagenet-linear@made-up": {}}
    name = "mine/robust-linear@sibling/seed0"
    before = jobs_by_name(write(protocols, data=data))[name].parts()["data"]
    next((world.root / "imagenet" / "train").rglob("*.JPEG")).unlink()
    assert jobs_by_name(write(protocols, data=data))[name].parts()["data"] != before


def test_a_suite_trains_a_head_and_tests_it(tmp_path, write):
    """With real trials: the identities that the suite expects are those that the workers write, so all is done."""
    world = make_world(tmp_path / "world")
    data = {"made-up": str(world.root / "imagenet"), "sibling": str(world.root / "a")}
    methods = {"vit": {"checkpoint": f"timm:{MODEL}={world.root / 'vit.pth'}"}}
    protocols = {
        "calibration-linear@sibling": {"head": "imagenet-linear@made-up", "set": SHOWN},
        "imagenet-linear@made-up": {"set": TRAINED | {"epochs": 2}, "seeds": [1]},
    }
    path = write(protocols, methods, data)
    jobs = [job for job in build_jobs(read_suite(path)) if job.kind == "trial"]
    for job in jobs:
        assert main([*job.argv, "--workers", "0", "--device", "cpu"]) == 0
    assert {job.name: job.standing().reason for job in jobs if not job.done()} == {}
    found = read_result(tmp_path / "results" / "vit" / "calibration-linear@sibling" / "seed1" / "result.json")
    assert found.details["head"] == head_label("imagenet-linear@made-up", _trained_fingerprint(path))


def _trained_fingerprint(path):
    [head] = [each for each in read_suite(path).measurements if each.protocol.name == "imagenet-linear@made-up"]
    return head.protocol.fingerprint
