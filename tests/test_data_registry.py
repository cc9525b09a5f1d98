"""The registry of data sets is what the sources say, and is shown whole."""

import json
import tomllib
from pathlib import Path

import pytest
from torchvision import datasets as torchvision_sets

from twinbench import main
from twinbench.data.checking import listing
from twinbench.protocols.catalogue import PROTOCOLS, find_protocol
from twinbench.protocols.datasets import DATA_SETS, PUBLISHED, SCENES
from twinbench.protocols.schema import ProtocolError

ORACLES = tomllib.loads((Path(__file__).parent / "oracles" / "datasets" / "published.toml").read_text())
NAMES = [entry.name for entry in PUBLISHED]
TWELVE = (
    "food101 cifar10 cifar100 birdsnap sun397 stanford-cars fgvc-aircraft voc07 dtd oxford-pets caltech101 flowers102"
)
VTAB = "caltech101 cifar100 dtd flowers102 oxford-pets svhn sun397"  # VTAB, arXiv:1910.04867, the natural ones

# What torchvision's sources hold, read there and not copied: name -> address -> md5 by file name
SETS = torchvision_sets
_VOC = torchvision_sets.voc.DATASET_YEAR_DICT
TORCHVISION = {
    "food101": {"food-101.tar.gz": SETS.Food101._MD5},
    "cifar10": {"cifar-10-python.tar.gz": SETS.CIFAR10.tgz_md5},
    "cifar100": {"cifar-100-python.tar.gz": SETS.CIFAR100.tgz_md5},
    "sun397": {"SUN397.tar.gz": SETS.SUN397._DATASET_MD5},
    "dtd": {"dtd-r1.0.1.tar.gz": SETS.DTD._MD5},
    "oxford-pets": {address.rpartition("/")[2]: md5 for address, md5 in SETS.OxfordIIITPet._RESOURCES},
    "flowers102": dict(SETS.Flowers102._file_dict.values()),
    "svhn": {name: md5 for _, name, md5 in map(SETS.SVHN.split_list.get, ("train", "test"))},
    "country211": {"country211.tgz": SETS.Country211._MD5},
    "rendered-sst2": {"rendered-sst2.tgz": SETS.RenderedSST2._MD5},
    "imagenet": dict(torchvision_sets.imagenet.ARCHIVE_META.values()),
    "voc07": {_VOC[year]["filename"]: _VOC[year]["md5"] for year in ("2007", "2007-test")},
    "voc0712": {_VOC[year]["filename"]: _VOC[year]["md5"] for year in ("2007", "2007-test", "2012")},
    "voc12-seg": {_VOC["2012"]["filename"]: _VOC["2012"]["md5"]},
    "voc12aug-seg": {_VOC["2012"]["filename"]: _VOC["2012"]["md5"]},
}
for _subset in ("imagenet-1pct", "imagenet-10pct"):
    TORCHVISION[_subset] = TORCHVISION["imagenet"]


def digests(entry) -> dict[str, str]:
    """Return every digest that an entry has, by file name."""
    return {file.name: file.digest for file in entry.about.files} | dict(entry.about.archives)


def test_every_published_set_has_an_oracle():
    assert set(NAMES) == ORACLES.keys()


@pytest.mark.parametrize("name", NAMES)
def test_the_splits_are_the_source_s(name):
    assert list(DATA_SETS[name].about.splits) == list(ORACLES[name]["splits"].items())


@pytest.mark.parametrize("name", NAMES)
def test_complete_is_what_the_splits_sum_up_to(name):
    oracle = ORACLES[name]
    train = sum(oracle["splits"][split] for split in oracle["trains"])
    assert DATA_SETS[name].images == (train, oracle["splits"][oracle["tests"]])


@pytest.mark.parametrize("name", NAMES)
def test_the_classes_are_the_source_s(name):
    assert DATA_SETS[name].classes == ORACLES[name]["classes"]


@pytest.mark.parametrize("name", NAMES)
def test_the_metric_is_the_source_s(name):
    assert DATA_SETS[name].about.metric.startswith(ORACLES[name]["metric"])


@pytest.mark.parametrize("name", NAMES)
def test_every_digest_is_the_one_that_torchvision_or_the_source_publishes(name):
    wanted = {file: f"md5:{md5}" for file, md5 in TORCHVISION.get(name, {}).items()}
    if name == "caltech101":  # only in the body of torchvision's download()
        source = Path(torchvision_sets.caltech.__file__).read_text()
        found = digests(DATA_SETS[name])["caltech-101.zip"]
        assert f'md5="{found.removeprefix("md5:")}"' in source
        return
    assert digests(DATA_SETS[name]) == wanted | ORACLES[name].get("digests", {})


@pytest.mark.parametrize("name", NAMES)
def test_addresses_are_http(name):
    assert [file.address for file in DATA_SETS[name].about.files if not file.address.startswith("http")] == []


@pytest.mark.parametrize("name", NAMES)
def test_who_says_the_counts_is_said(name):
    assert DATA_SETS[name].about.source


@pytest.mark.parametrize("name", NAMES)
def test_a_copy_can_be_come_by(name):
    about = DATA_SETS[name].about
    assert about.files or about.get


@pytest.mark.parametrize("name", [name for name in NAMES if DATA_SETS[name].about.form])
def test_the_usual_copy_is_a_class_of_torchvision_s(name):
    form, _, place = DATA_SETS[name].about.form.partition(":")
    assert (form, hasattr(torchvision_sets, place.partition("=")[0])) == ("torchvision", True)


def test_the_twelve_of_byol_s_suite_are_there():
    assert {entry.name for entry in PUBLISHED if "BYOL" in entry.about.suites} == set(TWELVE.split())


def test_the_natural_ones_of_vtab_are_there():
    assert {entry.name for entry in PUBLISHED if "VTAB natural" in entry.about.suites} == set(VTAB.split())


def test_another_copy_is_not_the_complete_one():
    wrong = [entry.name for entry in PUBLISHED for copy in entry.about.others if copy.images == entry.images]
    assert wrong == []


def test_a_protocol_s_data_set_is_the_registry_s():
    other = [name for name, protocol in PROTOCOLS.items() if protocol.data_set != DATA_SETS[protocol.data_set.name]]
    assert other == []


def test_a_recipe_runs_on_a_set_of_the_registry_with_its_counts():
    pair = find_protocol("imagenet-knn@oxford-pets")
    assert (pair.classes, pair.images) == (37, (3680, 3669))


@pytest.mark.parametrize(
    ("pair", "why"),
    [
        ("imagenet-linear@imagenet-v2", "imagenet-v2 only tests heads that were trained on imagenet; expected"),
        ("imagenet-linear@ade20k", "runs on single-label data, but ade20k is pixels"),
    ],
)
def test_what_no_recipe_measures_yet_is_refused(pair, why):
    with pytest.raises(ProtocolError, match=why):
        find_protocol(pair)


def test_the_list_has_a_line_for_every_published_set(capsys):
    assert main(["data", "list"]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]]
    assert names == NAMES


def test_every_set_has_a_recipe_that_runs_on_it():
    assert [name for name in NAMES if not any(listing.protocols_on(DATA_SETS[name]))] == []


def test_the_list_for_programs(capsys):
    assert main(["data", "list", "--json"]) == 0
    found = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert found["stanford-cars"]["images"] == [8144, 8041]


def test_what_is_shown_of_cars(capsys):
    assert main(["data", "show", "stanford-cars"]) == 0
    shown = capsys.readouterr().out
    assert "8,143 / 8,040: a mirror that lacks one image of each split" in shown


@pytest.mark.parametrize("name", [*NAMES, "scenes-voc07"])
def test_every_entry_can_be_shown(name, capsys):
    assert main(["data", "show", name]) == 0
    assert capsys.readouterr().out.startswith(f"name          {name}")


def test_what_is_shown_for_programs_names_the_protocols(capsys):
    assert main(["data", "show", "inat18", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["named_protocols"]
    assert found == [name for name, protocol in PROTOCOLS.items() if protocol.data_set.name == "inat18"]


def test_an_unknown_name_is_one_line(capsys):
    assert main(["data", "show", "oxfordpets"]) == 2
    assert "unknown data set 'oxfordpets'. Did you mean 'oxford-pets'?" in capsys.readouterr().err


def test_the_demo_s_sets_are_not_listed(capsys):
    main(["data", "list", "--json"])
    found = {entry["name"] for entry in json.loads(capsys.readouterr().out)}
    assert found & {entry.name for entry in SCENES.values()} == set()
