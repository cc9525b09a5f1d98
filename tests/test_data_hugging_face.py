"""`hf:`: tables of the datasets library, made here by the library itself, read without the network."""

import io
import json
import multiprocessing
import pickle
import shutil
import socket
import sys

import numpy as np
import pytest
from PIL import Image

from twinbench.data.decode import read_rgb
from twinbench.data.errors import DataError
from twinbench.data.folders.pool import read_pool
from twinbench.data.identity import identify
from twinbench.data.layouts import read_labelled
from twinbench.data.libraries import hugging_face
from twinbench.data.source import Source

datasets = pytest.importorskip("datasets")
NAMES = ["cat", "dog"]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Keep the library's cache in the test's folder, and any test from the network."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("asked the network"))
    datasets.disable_progress_bars()
    return tmp_path / "cache"


def encoded(seed, kind="PNG"):
    pixels = np.random.default_rng(seed).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def table(labels, feature, seed=0, **columns):
    """Return a data set of one PNG or JPEG a label."""
    images = [
        {"bytes": encoded(seed + place, ("PNG", "JPEG")[place % 2]), "path": None} for place in range(len(labels))
    ]
    features = {"image": datasets.Image(), "label": feature}
    values = {"image": images, "label": labels}
    for name, (more, its) in columns.items():
        values[name], features[name] = more, its
    return datasets.Dataset.from_dict(values, features=datasets.Features(features))


def saved(path, train, test=None):
    splits = {"train": train, "test": test if test is not None else train}
    datasets.DatasetDict(splits).save_to_disk(path)
    return f"hf:{path}"


def pair(path, labels, feature):
    """Save a training and a test split with these labels."""
    return saved(path, table(labels, feature), table(labels, feature, seed=50))


def parquet(folder, **splits):
    (folder / "data").mkdir(parents=True)
    for name, each in splits.items():
        each.to_parquet(folder / "data" / f"{name}-00000-of-00001.parquet")
    return folder


def cached(cache, folder, name, config="default", revision="a" * 40):
    """Put what the library prepares of a folder where it puts a set of that name from the hub."""
    builder = datasets.load_dataset_builder(str(folder), cache_dir=cache / "made")
    builder.download_and_prepare()
    organisation, _, short = name.rpartition("/")
    target = cache / f"{organisation}___{short}" / config / "0.0.0" / revision
    shutil.copytree(builder.cache_dir, target)
    info = json.loads((target / "dataset_info.json").read_text())
    for file in target.glob("*.arrow"):
        file.rename(target / file.name.replace(info["dataset_name"], short))
    (target / "dataset_info.json").write_text(json.dumps(info | {"dataset_name": short, "config_name": config}))
    return target


def read(data, split="train"):
    return read_labelled("", Source.of(data), split)


def single():
    return datasets.ClassLabel(names=NAMES)


def test_images_come_as_they_were_encoded(tmp_path):
    found = read(saved(tmp_path / "set", table([0, 1], single()), table([1, 0], single(), seed=9)))
    assert [image.content() for image in found.paths] == [encoded(0, "PNG"), encoded(1, "JPEG")]


def test_the_pixels_are_those_of_a_file_with_the_same_bytes(tmp_path):
    found = read(pair(tmp_path / "set", [0, 1], single()))
    (tmp_path / "x.jpg").write_bytes(encoded(1, "JPEG"))
    assert read_rgb(found.paths[1]).tobytes() == read_rgb(tmp_path / "x.jpg").tobytes()


I8 = datasets.Value("int8")
LABELS = [
    ("ClassLabel", [1, 0], single(), [1, 0], ("cat", "dog")),
    ("text", ["dog", "ant"], datasets.Value("string"), [1, 0], ("ant", "dog")),
    ("numbers", [10, 2], datasets.Value("int64"), [1, 0], ("2", "10")),
    ("truth", [True, False], datasets.Value("bool"), [1, 0], ("False", "True")),
    ("lists of ClassLabel", [[1], [0], []], datasets.List(single()), [[0, 1], [1, 0], [0, 0]], ("cat", "dog")),
    (
        "lists of text",
        [["b", "a"], ["b"], []],
        datasets.List(datasets.Value("string")),
        [[1, 1], [0, 1], [0, 0]],
        ("a", "b"),
    ),
    ("lists of numbers", [[7, 10], [10], []], datasets.List(I8), [[1, 1], [0, 1], [0, 0]], ("7", "10")),
    (
        "codes",
        [[1, 0, -1], [0, 1, 1], [0, 0, 0]],
        datasets.List(I8),
        [[1, 0, -1], [0, 1, 1], [0, 0, 0]],
        ("0", "1", "2"),
    ),
    (
        "lists of truth",
        [[True, False], [False, True]],
        datasets.List(datasets.Value("bool")),
        [[1, 0], [0, 1]],
        ("0", "1"),
    ),
]


@pytest.mark.parametrize(
    ("labels", "feature", "targets", "classes"), [row[1:] for row in LABELS], ids=[row[0] for row in LABELS]
)
def test_what_a_column_of_labels_says(labels, feature, targets, classes, tmp_path):
    source = Source.of(pair(tmp_path / "set", labels, feature))
    found = hugging_face.read_hugging_face(source, "train")
    assert found.targets.tolist() == targets
    assert found.classes == classes


def test_several_columns_are_a_class_each(tmp_path):
    flags = {"wings": ([1, 0], datasets.Value("bool")), "fur": ([0, 1], datasets.Value("int64"))}
    each = table([0, 1], single(), **flags)
    found = read(saved(tmp_path / "set", each) + "?label=fur,wings")
    assert found.targets.tolist() == [[0, 1], [1, 0]]
    assert found.classes == ("fur", "wings")


MORE = {
    "none of several": ({"fine_label": ([0, 1], single())}, "", "2 columns may be the labels: label, fine_label"),
    "no such column": ({}, "?label=lable", "unknown column 'lable'. Did you mean 'label'"),
    "no image": ({}, "?image=label", "'label' is no column of images; expected one of image, label"),
    "two images": (
        {"mask": ([{"bytes": b"x", "path": None}] * 2, datasets.Image())},
        "",
        "2 columns of images: image, mask",
    ),
    "no code": ({"age": ([3, 4], I8)}, "?label=age,label", "'3' in column age; expected 1, 0 or -1"),
    "no label": ({"weight": ([0.5, 1.0], datasets.Value("float32"))}, "?label=weight", "holds float32; expected text"),
    "no split": ({}, "?train=tests", "unknown split 'tests'. Did you mean 'test'"),
    "leak": ({}, "?train=train+test", "'test' is in training and test"),
    "no slice": ({}, "?train=train[x]", "cannot be read"),
}


@pytest.mark.parametrize(("columns", "query", "told"), MORE.values(), ids=MORE.keys())
def test_what_does_not_fit_is_one_line(columns, query, told, tmp_path):
    data = saved(tmp_path / "set", table([0, 1], single(), **columns))
    with pytest.raises(DataError, match=told):
        read(f"{data}{query}")


def test_a_named_column_of_several_is_taken(tmp_path):
    each = table([0, 1], single(), fine_label=([1, 0], single()))
    assert read(saved(tmp_path / "set", each) + "?label=fine_label").targets.tolist() == [1, 0]


def test_hidden_labels_of_a_test_split_are_refused(tmp_path):
    data = saved(tmp_path / "set", table([0, 1], single()), table([-1, -1], single()))
    with pytest.raises(DataError, match=r"2 rows without a label \(-1\).*another split"):
        read(data, "test")


def test_rows_without_a_label_are_refused(tmp_path):
    data = saved(tmp_path / "set", table(["a", None], datasets.Value("string")))
    with pytest.raises(DataError, match="1 of 2 rows have no label"):
        read(data)


def test_images_without_labels_are_there_to_pretrain_on(tmp_path):
    data = saved(tmp_path / "set", table([0, 1], single()).remove_columns("label"))
    assert len(read_pool(Source.of(data)).paths) == 2
    with pytest.raises(DataError, match="without labels"):
        read(data)


def test_captions_are_no_labels_unless_somebody_says_so(tmp_path):
    each = table(["a cat", "a dog"], datasets.Value("string")).rename_column("label", "caption")
    data = saved(tmp_path / "set", each)
    with pytest.raises(DataError, match="no column of labels, of image, caption.*label=none"):
        read(data)
    assert len(read_pool(Source.of(f"{data}?label=none")).paths) == 2


def test_one_set_saved_alone_has_no_test_split(tmp_path):
    table([0, 1], single()).save_to_disk(tmp_path / "set")
    assert len(read(f"hf:{tmp_path}/set").paths) == 2
    with pytest.raises(DataError, match="no test split, but train"):
        read(f"hf:{tmp_path}/set", "test")


def test_a_shuffled_set_is_saved_in_its_new_order(tmp_path):
    each = table([0, 1, 1, 0], single()).select([3, 1])
    found = read(saved(tmp_path / "set", each))
    assert found.targets.tolist() == [0, 1]
    assert found.paths[0].content() == encoded(3, "JPEG")


def test_a_folder_of_parquet_files_is_read(tmp_path):
    folder = parquet(tmp_path / "set", train=table([0, 1], single()), validation=table([1, 0], single(), seed=7))
    found = read(f"hf:{folder}", "test")
    assert found.targets.tolist() == [1, 0]
    assert found.paths[0].content() == encoded(7)


def test_slices_make_a_test_split_of_the_only_one(tmp_path):
    folder = parquet(tmp_path / "set", train=table([0, 1, 0, 1], single()))
    data = f"hf:{folder}?train=train[:50%]&test=train[50%:]"
    assert [image.content() for image in read(data, "test").paths] == [encoded(2), encoded(3, "JPEG")]


def test_a_set_of_the_hub_is_read_from_the_librarys_cache(tmp_path, cache):
    folder = parquet(tmp_path / "set", train=table([0, 1], single()), test=table([1, 0], single(), seed=7))
    cached(cache, folder, "org/pets")
    assert read("hf:org/pets", "test").targets.tolist() == [1, 0]


def test_a_set_that_was_not_fetched_says_how(cache):
    with pytest.raises(DataError, match="no copy in .*; expected .* twinbench data fetch hf:org/none"):
        read("hf:org/none")


def two_copies(tmp_path, cache, **differing):
    for number, (option, value) in enumerate(
        (option, value) for option, values in differing.items() for value in values
    ):
        labels = [[0, 1], [1, 0]][number]
        folder = parquet(tmp_path / f"set{number}", train=table(labels, single()), test=table(labels, single()))
        cached(cache, folder, "org/pets", **{option: value})


@pytest.mark.parametrize(("option", "values"), [("config", ("large", "small")), ("revision", ("a" * 40, "b" * 40))])
def test_of_two_copies_in_the_cache_one_is_to_be_named(option, values, tmp_path, cache):
    two_copies(tmp_path, cache, **{option: values})
    with pytest.raises(DataError, match=f"2 of {option} are in the cache.*add .{option}=NAME"):
        read("hf:org/pets")
    assert read(f"hf:org/pets?{option}={values[1]}").targets.tolist() == [1, 0]


def test_a_revision_is_known_by_its_first_digits_and_by_its_branch(tmp_path, cache, monkeypatch):
    two_copies(tmp_path, cache, revision=("a" * 40, "b" * 40))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    refs = tmp_path / "hub" / "datasets--org--pets" / "refs"
    refs.mkdir(parents=True)
    (refs / "main").write_text("b" * 40)
    found = [read(f"hf:org/pets?revision={revision}").targets.tolist() for revision in ("bbbbbbb", "main")]
    assert found == [[1, 0], [1, 0]]


def test_another_revision_than_the_one_in_the_cache_is_refused(tmp_path, cache):
    folder = parquet(tmp_path / "set", train=table([0, 1], single()))
    cached(cache, folder, "org/pets")
    with pytest.raises(DataError, match="unknown revision 'ccccccc'"):
        read("hf:org/pets?revision=ccccccc")


def test_a_folder_comes_before_a_name_and_starts_at_the_suites(tmp_path):
    (tmp_path / "org" / "pets").mkdir(parents=True)
    assert Source.of("hf:org/pets", tmp_path).place == f"{tmp_path}/org/pets"
    assert Source.of("hf:org/others", tmp_path).place == "org/others"


def test_a_folder_of_images_is_not_read_as_a_table(tmp_path):
    (tmp_path / "set" / "train").mkdir(parents=True)
    with pytest.raises(DataError, match="no dataset_dict.json, .* give a folder of images without hf:"):
        read(f"hf:{tmp_path}/set")


def test_a_damaged_table_is_one_line(tmp_path):
    data = pair(tmp_path / "set", [0, 1], single())
    for file in (tmp_path / "set").rglob("*.arrow"):
        file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(DataError, match="not a readable copy"):
        read(data)


def test_a_row_without_an_image_is_told(tmp_path):
    each = table([0, 1], single())
    empty = datasets.Dataset.from_dict({"image": [None], "label": [0]}, features=each.features)
    data = saved(tmp_path / "set", datasets.concatenate_datasets([each, empty]))
    with pytest.raises(DataError, match="row 2: a row without an image"):
        identify("", Source.of(data))


def test_images_that_are_files_of_their_own_are_those_files(tmp_path):
    path = tmp_path / "x.png"
    path.write_bytes(encoded(3))
    values = {"image": [{"bytes": None, "path": str(path)}], "label": [0]}
    each = datasets.Dataset.from_dict(values, features=datasets.Features(image=datasets.Image(), label=single()))
    info = tmp_path / "set"
    each.cast_column("image", datasets.Image(decode=False)).save_to_disk(info, max_shard_size="1GB")
    found = read(f"hf:{info}").paths
    assert read_rgb(found[0]).tobytes() == read_rgb(path).tobytes()
    assert list(found.sizes()) == [path.stat().st_size]


def test_sizes_are_those_of_the_encoded_images(tmp_path):
    found = read(pair(tmp_path / "set", [0, 1], single()))
    assert list(found.paths.select([1, 0]).sizes()) == [len(encoded(1, "JPEG")), len(encoded(0))]


def _pixels(image):
    return read_rgb(image).tobytes()


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_an_image_goes_to_another_process_by_its_place(start, tmp_path):
    found = read(pair(tmp_path / "set", [0, 1], single()))
    assert len(pickle.dumps(found.paths[1])) < 600
    with multiprocessing.get_context(start).Pool(1) as pool:
        assert pool.map(_pixels, list(found.paths)) == [read_rgb(image).tobytes() for image in found.paths]


def test_what_was_written_anew_is_read_anew(tmp_path):
    data = pair(tmp_path / "set", [0, 1], single())
    before = identify("", Source.of(data))["train"]
    shutil.rmtree(tmp_path / "set")
    pair(tmp_path / "set", [1, 0], single())
    assert identify("", Source.of(data))["train"] != before


def test_the_identity_does_not_depend_on_where_the_folder_lies(tmp_path):
    data = pair(tmp_path / "set", [0, 1], single())
    before = identify("", Source.of(data))
    (tmp_path / "set").rename(tmp_path / "moved")
    assert identify("", Source.of(f"hf:{tmp_path}/moved")) == before


def test_the_library_is_kept_from_the_network_while_it_opens(tmp_path, monkeypatch):
    data, seen = pair(tmp_path / "set", [0, 1], single()), []
    load = datasets.load_from_disk

    def watching(*given):
        seen.append(datasets.config.HF_HUB_OFFLINE)
        return load(*given)

    monkeypatch.setattr(datasets, "load_from_disk", watching)
    read(data)
    assert seen == [True]
    assert datasets.config.HF_HUB_OFFLINE is False


def test_without_the_library_one_line_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"pip install 'twinbench\[hf\]'"):
        read(f"hf:{tmp_path}")


def test_fetching_has_the_library_prepare_its_cache(tmp_path, cache, monkeypatch):
    """The hub is stood in for by a folder: `load_dataset_builder` takes either."""
    folder = parquet(tmp_path / "set", train=table([0, 1], single()))
    asked = []
    builder = datasets.load_dataset_builder

    def hub(place, config, revision):
        asked.append((place, config, revision))
        return builder(str(folder), cache_dir=cache)

    monkeypatch.setattr(datasets, "load_dataset_builder", hub)
    assert list(hugging_face.fetch("org/pets", {"config": "large", "revision": "v1"}).glob("*.arrow"))
    assert asked == [("org/pets", "large", "v1")]


def test_a_fetch_that_fails_is_one_line(monkeypatch):
    def gone(*_, **__):
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr(datasets, "load_dataset_builder", gone)
    with pytest.raises(DataError, match=r"could not be fetched \(no route\)"):
        hugging_face.fetch("org/pets", {})


def test_a_column_of_bytes_alone_holds_images_where_it_is_named(tmp_path):
    values = {"png": [encoded(1), encoded(2)], "label": [0, 1]}
    features = datasets.Features(png=datasets.Value("binary"), label=single())
    data = saved(tmp_path / "set", datasets.Dataset.from_dict(values, features=features))
    assert [image.content() for image in read(f"{data}?image=png").paths] == values["png"]


def test_rows_keep_the_names_of_their_files(tmp_path):
    values = {"image": [{"bytes": encoded(1), "path": "/somewhere/a/1.png"}], "label": [0]}
    features = datasets.Features(image=datasets.Image(decode=False), label=single())
    data = saved(tmp_path / "set", datasets.Dataset.from_dict(values, features=features))
    assert read(data).paths.name(0) == "train/0000000-1.png"
