import os
from dataclasses import dataclass
from typing import Literal

import pytest

from twinbench.protocols.house import SettingError, optional, parse_settings, replacing, some_of, unknown, with_settings


@dataclass(frozen=True)
class Transform:
    resize: int = 256
    crop: int = 224


@dataclass(frozen=True)
class Recipe:
    epochs: int = 100
    lr: float = 0.3
    nesterov: bool = False
    schedule: Literal["cosine", "steps"] = "cosine"
    milestones: tuple[int, ...] = ()
    limit: int | None = None
    note: str = ""
    transform: Transform = Transform()


def test_settings_are_texts_by_name():
    assert parse_settings(["epochs=50", " lr =1e-3", "note=a=b"]) == {"epochs": "50", "lr": "1e-3", "note": "a=b"}


@pytest.mark.parametrize("pair", ["epochs", "=50"])
def test_a_setting_without_name_or_value(pair):
    with pytest.raises(SettingError, match="expected key=value"):
        parse_settings([pair])


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("epochs", "50", 50),
        ("lr", "1e-3", 0.001),
        ("lr", 1, 1.0),
        ("nesterov", "true", True),
        ("nesterov", False, False),
        ("schedule", "steps", "steps"),
        ("milestones", "8,11", (8, 11)),
        ("milestones", [8, 11], (8, 11)),
        ("milestones", 8, (8,)),
        ("milestones", "", ()),
        ("limit", "none", None),
        ("limit", "3", 3),
        ("note", 7, "7"),
    ],
)
def test_values_take_the_type_of_the_field(name, given, expected):
    changed = getattr(with_settings(Recipe(), {name: given}), name)
    assert changed == expected
    assert type(changed) is type(expected)


def test_a_field_within_a_field_is_set_by_a_dotted_name():
    changed = with_settings(Recipe(), {"transform.crop": "96", "transform.resize": 112, "epochs": 3})
    assert (changed.transform, changed.epochs) == (Transform(112, 96), 3)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"epoch": "50"}, "unknown setting 'epoch'. Did you mean 'epochs'.* Known: .*milestones"),
        ({"epochs": "1.5"}, "epochs=1.5: expected int"),
        ({"epochs": True}, "epochs=True: expected int"),
        ({"nesterov": "perhaps"}, "nesterov=perhaps: expected bool"),
        ({"transform.crob": "96"}, "unknown setting 'crob'. Did you mean 'crop'"),
        ({"transform": "96"}, "unknown setting 'transform'.* Known: .*transform.crop, transform.resize"),
        ({"epochs.crop": "96"}, "unknown setting 'epochs.crop'.* Known: .*epochs"),
        ({"schedule": "cosin"}, "unknown value for setting schedule: 'cosin'. Did you mean 'cosine'"),
        ({"milestones": "8,x"}, "milestones=8,x: expected int"),
    ],
)
def test_a_setting_that_does_not_fit_is_an_error(settings, match):
    with pytest.raises(SettingError, match=match):
        with_settings(Recipe(), settings)


def test_an_unknown_name_without_a_near_one_lists_all():
    assert unknown("room", "xyzzy", ["data", "convert"]) == "unknown room 'xyzzy'. Known: convert, data"


def test_an_unknown_name_among_none_says_that_there_is_none():
    assert unknown("method", "mine", []) == "unknown method 'mine': there is none"


def test_a_replaced_file_is_the_old_or_the_new_one(tmp_path):
    path = tmp_path / "deep" / "file.txt"
    with replacing(path) as beside:
        beside.write_text("old")
        assert not path.exists()
    with pytest.raises(RuntimeError), replacing(path) as beside:
        beside.write_text("half of the new")
        raise RuntimeError
    assert path.read_text() == "old"
    assert os.listdir(path.parent) == ["file.txt"]


def test_two_writers_of_one_file_never_share_what_lies_beside_it(tmp_path):
    """Containers on one disk may have equal process ids; here both writers are one process."""
    path = tmp_path / "file.txt"
    with replacing(path) as first, replacing(path) as second:
        first.write_text("first")
        second.write_text("second")
        assert len({first, second}) == 2
        for beside in (first, second):
            assert beside.match(f".file.txt.{os.uname().nodename}.{os.getpid()}.*.part")
    # the outer block ends last
    assert path.read_text() == "first"
    assert os.listdir(tmp_path) == ["file.txt"]


def test_of_many_names_the_nearest_are_told_and_how_many_there_are():
    names = [f"recipe-{number}" for number in range(1000)] + ["other-part", "part-of-it"]
    told = unknown("protocol", "part", names, "twinbench protocols")
    assert told.startswith("unknown protocol 'part'. Did you mean 'other-part' or 'part-of-it'")
    assert told.endswith("1,002 are known; see: twinbench protocols")
    assert len(told) < 200


def test_a_list_in_a_message_has_an_end():
    assert some_of(["a", "b", "c"], 2) == "a, b, c"
    assert some_of(["a", "b", "c", "d"], 2) == "a, b and 2 others"


def test_a_package_that_is_missing_is_told_with_its_extra_and_a_broken_one_as_it_is(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "half_there").mkdir()
    (tmp_path / "half_there" / "part.py").write_text("import not_there_at_all\n")
    assert optional("half_there", "hf", "asked").__name__ == "half_there"
    with pytest.raises(ModuleNotFoundError, match="not_there_at_all"):
        optional("half_there.part", "hf", "asked")
    wanted = "^asked: needs the package not_there_at_all, which is not installed; run: pip install 'twinbench.hf.'$"
    for module in ("not_there_at_all", "not_there_at_all.part"):
        with pytest.raises(SettingError, match=wanted):
            optional(module, "hf", "asked", SettingError)
