"""One line of a suite that stands for a recipe on many data sets."""

from pathlib import Path

import pytest
import yaml

from twinbench.protocols.catalogue import PROTOCOLS, find_protocol
from twinbench.protocols.datasets import TWELVE
from twinbench.protocols.schema import ProtocolError
from twinbench.suite.entries import SuiteError
from twinbench.suite.suite import read_suite


@pytest.fixture
def write(tmp_path):
    def written(protocols, **data):
        for place in data.values():
            (tmp_path / place).mkdir(exist_ok=True)
        content = {
            "name": "twelve",
            "root": "results",
            "methods": {"mine": {"checkpoint": "random"}},
            "protocols": protocols,
            "data": {name.replace("_", "-"): place for name, place in data.items()},
        }
        path = tmp_path / "suite.yaml"
        path.write_text(yaml.safe_dump(content))
        return path

    return written


ALL = {data_set.folder.replace("-", "_"): data_set.name for data_set in TWELVE}


def test_a_family_is_a_column_for_each_of_its_sets_in_their_order(write):
    suite = read_suite(write({"linear12-byol": {"seeds": 2, "partial": True}}, **ALL))
    names = [measurement.protocol.name for measurement in suite.measurements]
    assert names == [f"linear12-byol@{data_set.name}" for data_set in TWELVE]
    assert {measurement.seeds for measurement in suite.measurements} == {(0, 1)}
    assert all(measurement.partial for measurement in suite.measurements)


def test_sets_chooses_some(write):
    suite = read_suite(write({"linear12-byol": {"sets": ["dtd", "cifar10"]}}, dtd="d", cifar10="c"))
    assert [measurement.protocol.data_set.name for measurement in suite.measurements] == ["cifar10", "dtd"]


def test_settings_are_those_of_every_pair(write):
    entry = {"sets": ["dtd", "voc07"], "set": {"penalties": [0.1, 1.0]}}
    suite = read_suite(write({"linear12-byol": entry}, dtd="d", voc="v"))
    assert {measurement.protocol.recipe.penalties for measurement in suite.measurements} == {(0.1, 1.0)}
    assert [measurement.protocol.metric for measurement in suite.measurements] == ["mAP-11", "top1"]


def test_a_method_names_a_family_as_the_suite_does(write, tmp_path):
    path = write(
        {"linear12-byol": {"sets": ["dtd", "cifar10"]}, "demo-imagenet-knn": {}}, dtd="d", cifar10="c", imagenet="i"
    )
    content = yaml.safe_load(path.read_text())
    content["methods"] = {"mine": {"checkpoint": "random", "protocols": ["linear12-byol"]}}
    path.write_text(yaml.safe_dump(content))
    (method,) = read_suite(path).methods
    assert method.protocols == ("linear12-byol@cifar10", "linear12-byol@dtd")


def test_what_has_no_folder_is_told_at_once_with_what_is_there(write):
    with pytest.raises(SuiteError, match=r"needs the images of food101, cifar100, .*sets: \[cifar10, dtd\]") as found:
        read_suite(write({"linear12-byol": {}}, dtd="d", cifar10="c"))
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (["birds"], r"linear12-byol.sets: unknown data set 'birds'"),
        ("dtd", r"linear12-byol.sets: is 'dtd', expected a list of data sets"),
        ([], r"linear12-byol.sets: is \[\], expected a list of data sets"),
    ],
)
def test_sets_are_names_of_the_family(write, sets, message):
    with pytest.raises(SuiteError, match=message):
        read_suite(write({"linear12-byol": {"sets": sets}}, dtd="d"))


def test_a_pair_beside_its_family_is_refused(write):
    entries = {"linear12-byol": {"sets": ["dtd"]}, "linear12-byol@dtd": {"seeds": 3}}
    with pytest.raises(SuiteError, match="measures linear12-byol@dtd, which has an entry of its own"):
        read_suite(write(entries, dtd="d"))


def test_a_family_is_no_protocol_of_one_trial():
    with pytest.raises(ProtocolError, match=r"measures 12 data sets, each by itself: food101, .*linear12-byol@food101"):
        find_protocol("linear12-byol")


def test_each_set_has_the_metric_that_is_reported_on_it():
    """BYOL, D.1: mean per class on four, AP at 11 points on VOC2007, else top-1."""
    found = {pair.data_set.name: pair.metric for pair in PROTOCOLS["linear12-byol"].members.values()}
    per_class = {"fgvc-aircraft", "oxford-pets", "caltech101", "flowers102"}
    assert {name for name, metric in found.items() if metric == "per-class"} == per_class
    assert {name for name, metric in found.items() if metric == "mAP-11"} == {"voc07"}
    assert len(found) == 12


def test_the_sets_with_an_official_validation_split_are_byols():
    """BYOL, table 10: Aircraft, VOC2007, DTD and Flowers."""
    with_one = {data_set.name for data_set in TWELVE if data_set.validation}
    assert with_one == {"fgvc-aircraft", "voc07", "dtd", "flowers102"}


def test_a_pair_of_a_family_has_its_published_numbers(tmp_path: Path):
    from twinbench.protocols.published import published_for

    found = {entry.method: entry.value for entry in published_for(find_protocol("linear12-byol@cifar10"))}
    assert found == {"BYOL": 91.3, "SimCLR": 90.6, "Supervised": 93.6}
    assert published_for(find_protocol("linear12-dinov2@cifar10")) == []
