"""Every number of every recipe is what its source says, typed apart from it: tests/oracles/."""

import dataclasses

import pytest

from tests import plant_errors
from tests.oracles import tables
from twinbench.protocols.catalogue import PROTOCOLS


@pytest.fixture
def a_planted_error(monkeypatch):
    """One wrong number in the registry: nearest neighbours at ten times DINO's temperature."""
    knn = PROTOCOLS["imagenet-knn"]
    recipe = dataclasses.replace(knn.recipe, temperature=0.7)
    monkeypatch.setitem(PROTOCOLS, "imagenet-knn", dataclasses.replace(knn, recipe=recipe))


@pytest.mark.parametrize("name", tables.entries())
def test_a_recipe_is_what_its_sources_say(name):
    assert tables.problems(name, tables.values_of(tables.entries()[name])) == []


def test_no_line_of_the_tables_is_left_over():
    assert tables.unread(tables.entries()) == []


def test_no_table_is_left_over():
    assert tables.tables().keys() - tables.entries().keys() == set()


def test_every_line_says_where_it_stands():
    assert [field for field, line in tables.all_lines() if not line.place.strip()] == []


def test_an_error_in_the_registry_is_seen(a_planted_error):
    """What is compared is the registry as it is, not a copy that was made at import."""
    with pytest.raises(AssertionError, match=r"temperature is 0\.7, but 0\.07 by dino-knn"):
        test_a_recipe_is_what_its_sources_say("imagenet-knn")


def test_a_demo_is_held_against_the_paper_s_recipe(a_planted_error):
    """What no line of demo.toml changes must be the paper's; whether that is right, its own oracle tells."""
    with pytest.raises(AssertionError, match=r"temperature is 0\.07, but 0\.7 by imagenet-knn"):
        test_a_recipe_is_what_its_sources_say("demo-imagenet-knn")


def test_a_field_without_an_oracle_is_an_error():
    values = tables.values_of(PROTOCOLS["imagenet-knn"]) | {"distance": "cosine"}
    (problem,) = tables.problems("imagenet-knn", values)
    assert problem.startswith("imagenet-knn: distance=cosine has no oracle: type it from the source")


def test_an_oracle_for_a_field_that_is_gone_is_an_error():
    values = tables.values_of(PROTOCOLS["inat18-svm"])
    del values["positive_weight"]
    (problem,) = tables.problems("inat18-svm", values)
    assert problem.startswith("inat18-svm: positive_weight is no field any more")


def test_a_source_s_line_for_a_field_that_is_gone_is_an_error():
    everything = tables.entries()
    del everything["imagenet-knn"]
    left_over = tables.unread(everything)
    assert any("temperature of dino-knn" in line for line in left_over)


def test_a_protocol_without_a_table_is_an_error():
    (problem,) = tables.problems("imagenet-own", {})
    assert problem.startswith("imagenet-own has no oracle: type it from the source")


ALIKE = [
    (True, 1),
    (1, True),
    ((1, 2), (1, 2, 3)),
    ((1, 2), (2, 1)),
    ("1", 1),
    (0.1, 0.1000001),
    (None, 0),
    ((), 0),
]


@pytest.mark.parametrize(("value", "wanted"), ALIKE)
def test_values_that_are_alike_are_not_the_same(value, wanted):
    assert not tables.same(value, wanted)


@pytest.mark.parametrize(("value", "wanted"), [(2, 2.0), (0.02 * 3, 0.06), ((1.0, 2.0), (1, 2)), ((), ())])
def test_one_setting_written_in_two_ways_is_the_same(value, wanted):
    assert tables.same(value, wanted)


def test_every_error_that_is_planted_is_caught(capsys):
    """What `python -m tests.plant_errors` does: some 6,000 wrong values, one after the other."""
    code = plant_errors.main([])
    assert code == 0, capsys.readouterr().out


def test_an_error_that_survives_is_told(monkeypatch, capsys):
    """Planting is worth something only if it fails where an oracle is missing: here one that sees nothing."""
    monkeypatch.setattr(plant_errors, "problems", lambda name, values: [])
    code = plant_errors.main(["imagenet-knn"])
    assert code == 1
    assert "imagenet-knn: temperature=" in capsys.readouterr().out


@pytest.mark.parametrize("name", tables.entries())
def test_an_error_is_planted_in_every_field(name):
    """A field whose type knows no wrong value would pass unseen."""
    entry = tables.entries()[name]
    planted = {field for field, _ in plant_errors.plantings(entry)}
    assert planted == tables.values_of(entry).keys()
