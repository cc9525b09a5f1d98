"""`torchvision:NAME=ROOT`: each set listed as torchvision's own object gives it, image by image."""

import hashlib
import http.server
import pickle
import socket
import tarfile
import threading
from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest
import torchvision.datasets as published
from PIL import Image

from tests.torchvision_copies import CELEBA, COPIES, make, pixels
from twinbench.data.decode import read_rgb
from twinbench.data.errors import DataError
from twinbench.data.folders.pool import read_pool
from twinbench.data.identity import identify
from twinbench.data.layouts import read_labelled
from twinbench.data.libraries.torchvision_sets import fetch
from twinbench.data.libraries.torchvision_table import ROWS
from twinbench.data.source import Source
from twinbench.protocols.datasets import DATA_SETS

SPLITS = [(name, split) for name, row in ROWS.items() for split in ("train", row.test and "test") if split]
UNORDERED = ("SUN397", "INaturalist")  # torchvision lists these in the disk's order
WHOLE = sorted(name for name, row in ROWS.items() if not row.test)


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """Make a small copy below tmp_path; return how DATA is typed."""
    return lambda name: make(name, tmp_path, monkeypatch)


def read(data, split="train"):
    return read_labelled("", Source.of(data), split)


def theirs(name, root, split):
    """Return torchvision's own object for a split of twinbench's."""
    row = ROWS[name]
    default = {option: values[0] for option, values in row.options.items()}
    return getattr(published, name)(str(root), **{**row.splits[getattr(row, split)], **default})


@contextmanager
def served(folder):
    """Serve a folder on this machine; give its address."""
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def in_order(name, pairs):
    return sorted(pairs) if name in UNORDERED else list(pairs)


def test_every_row_has_a_copy_in_these_tests():
    assert COPIES.keys() == ROWS.keys()


@pytest.mark.parametrize(("name", "split"), [pair for pair in SPLITS if pair[0] != "CelebA"])
def test_images_and_labels_are_those_that_torchvision_gives(name, split, copy, tmp_path):
    found = read(copy(name), split)
    first = ROWS[name].first
    labelled = zip(found.paths, found.targets, strict=True)
    ours = [(read_rgb(image).tobytes(), int(label) + first) for image, label in labelled]
    expected = [(image.convert("RGB").tobytes(), int(label)) for image, label in theirs(name, tmp_path, split)]
    assert in_order(name, ours) == in_order(name, expected)


@pytest.mark.parametrize(("name", "split"), SPLITS)
def test_every_label_has_a_class(name, split, copy):
    found = read(copy(name), split)
    assert found.targets.max() < len(found.classes)


def test_the_attributes_of_celeba_are_several_labels(copy, tmp_path):
    found = read(copy("CelebA"))
    expected = [target.tolist() for _, target in theirs("CelebA", tmp_path, "train")]
    assert found.targets.tolist() == expected


def test_the_attributes_of_celeba_have_their_names(copy):
    assert read(copy("CelebA")).classes == CELEBA


@pytest.mark.parametrize("split", ["train+val", "trainval", "train%2Bval"])
def test_splits_are_put_together(split, copy):
    data = copy("DTD")
    alone = [[path.name for path in read(f"{data}?train={part}").paths] for part in ("train", "val")]
    assert [path.name for path in read(f"{data}?train={split}").paths] == alone[0] + alone[1]


def test_arrays_are_put_together(copy):
    data = copy("SVHN")
    found = read(f"{data}?train=train+extra")
    alone = [*read(data).paths, *read(f"{data}?train=extra").paths]
    assert [read_rgb(image).tobytes() for image in found.paths] == [read_rgb(image).tobytes() for image in alone]


def test_a_source_with_splits_put_together_is_typed_as_it_was():
    data = "torchvision:DTD=/data?train=train+val&test=test"
    assert str(Source.of(data)) == data


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("DTD", "partition=2", ["banded_20.jpg", "zigzagged_20.jpg"]),
        ("FGVCAircraft", "annotation_level=family", ["0000.jpg", "0001.jpg"]),
    ],
)
def test_an_option_chooses_another_part_of_the_set(name, options, expected, copy):
    assert [path.name for path in read(f"{copy(name)}?{options}").paths] == expected


def test_an_option_chooses_other_classes(copy):
    assert read(f"{copy('FGVCAircraft')}?annotation_level=family").classes == ("Boeing 707", "A300")


def test_the_letters_of_emnist_have_no_class_without_images(copy):
    found = read(f"{copy('EMNIST')}?split=letters")
    assert [found.classes[label] for label in found.targets] == ["a", "b", "z"]


@pytest.mark.parametrize("split", ["unlabeled", "train+unlabeled"])
def test_unlabelled_images_are_there_to_pretrain_on(split, copy):
    found = read_pool(Source.of(f"{copy('STL10')}?train={split}"))
    assert len(found.paths) == (2 if split == "unlabeled" else 4)


def test_unlabelled_images_are_refused_by_who_needs_labels(copy):
    with pytest.raises(DataError, match="without labels"):
        read(f"{copy('STL10')}?train=unlabeled")


@pytest.mark.parametrize("name", WHOLE)
def test_a_set_without_a_test_split_says_how_to_give_one(name, copy):
    with pytest.raises(DataError, match=r"no test split; .* list:TRAIN.txt,TEST.txt"):
        read(copy(name), "test")


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ("torchvision:CIFAR11=/data", "unknown data set of torchvision 'CIFAR11'. Did you mean 'CIFAR10"),
        (
            "torchvision:DTD=/nowhere",
            r"no whole copy in /nowhere \(no such folder\).*twinbench data fetch torchvision:DTD",
        ),
        ("torchvision:StanfordCars=/nowhere", "torchvision cannot download it"),
        ("torchvision:DTD=/data?train=trian", "unknown split 'trian'. Did you mean 'train'"),
        ("torchvision:DTD=/data?partition=11", "unknown partition '11'"),
        ("torchvision:DTD=/data?size=full", "has no option size; expected partition"),
        ("torchvision:DTD=/data?train=train+val&test=val", "'val' is in training and test"),
        ("torchvision:DTD=/data?train=trainval&test=val", "'val' is in training and test"),
        ("torchvision:DTD=/data?train=train+train", r"the train split is 'train\+train'; expected different names"),
        ("torchvision:VOCDetection=/data?year=2013", "unknown year '2013'"),
    ],
)
def test_what_does_not_fit_is_one_line(data, told):
    with pytest.raises(DataError, match=told):
        read(data)


def test_a_damaged_file_is_refused_by_its_published_digest(copy, tmp_path):
    data = copy("CIFAR10")
    with (tmp_path / "cifar-10-batches-py" / "data_batch_3").open("ab") as file:
        file.write(b"more")
    with pytest.raises(DataError, match="no whole copy .* corrupted"):
        read(data)


def test_a_pickle_with_another_digest_is_never_loaded(copy, tmp_path):
    data = copy("CIFAR100")
    trap = tmp_path / "sprung"
    (tmp_path / "cifar-100-python" / "train").write_bytes(b"cos\nmkdir\n(S'" + str(trap).encode() + b"'\ntR.")
    with pytest.raises(DataError):
        read(data)
    assert not trap.exists()


@pytest.mark.parametrize("name", ["Caltech101", "INaturalist", "MNIST"])
def test_a_missing_copy_makes_no_folder_and_asks_no_network(name, tmp_path, monkeypatch):
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("asked the network"))
    with pytest.raises(DataError, match="no whole copy"):
        read(f"torchvision:{name}={tmp_path}/empty")
    assert not (tmp_path / "empty").exists()


def test_a_relative_root_starts_at_the_suites_folder(tmp_path):
    assert Source.of("torchvision:DTD=sets?train=val", tmp_path).place == f"DTD={tmp_path}/sets"


def test_without_a_root_the_one_of_the_environment_is_meant(copy, tmp_path, monkeypatch):
    copy("DTD")
    monkeypatch.setenv("TWINBENCH_DATA", str(tmp_path))
    assert len(read("torchvision:DTD").paths) == 2


def test_a_root_of_the_environment_goes_with_a_suite(tmp_path, monkeypatch):
    monkeypatch.setenv("TWINBENCH_DATA", "/sets")
    assert Source.of("torchvision:DTD", tmp_path).place == "DTD=/sets"


@pytest.mark.parametrize("split", ["train", "test"])
def test_imagenette_is_the_same_as_a_folder(split, copy, tmp_path):
    found, folder = read(copy("Imagenette"), split), read(tmp_path / "imagenette2", split)
    assert [*found.paths] == [*folder.paths]
    assert found.targets.tolist() == folder.targets.tolist()
    assert found.classes == folder.classes


@pytest.mark.parametrize(("name", "layout"), [("ImageNet", "imagenet"), ("VOCDetection", "voc")])
def test_sets_in_folders_with_a_layout_are_read_by_it(name, layout, scenes):
    root = scenes / "imagenet" if layout == "imagenet" else scenes
    found, folder = read(f"torchvision:{name}={root}", "test"), read(root, "test")
    assert np.array_equal(found.targets, folder.targets)
    assert [*found.paths] == [*folder.paths]


def test_an_image_of_an_array_goes_to_another_process_with_its_own_pixels_only(copy):
    image = read(copy("STL10")).paths[1]
    assert len(pickle.dumps(image)) < 2 * 3 * 96 * 96
    assert read_rgb(pickle.loads(pickle.dumps(image))).tobytes() == read_rgb(image).tobytes()


def test_some_images_of_an_array_are_those_at_their_places(copy):
    paths = read(copy("SVHN")).paths
    assert read_rgb(paths.select([2, 0])[0]).tobytes() == read_rgb(paths[2]).tobytes()


def test_one_other_pixel_is_another_identity(copy, tmp_path):
    data = copy("MNIST")
    before = identify("", Source.of(data))
    path = tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    after = identify("", Source.of(data))
    assert before["train"] != after["train"]
    assert before["test"] == after["test"]


@pytest.mark.parametrize("name", ["DTD", "CIFAR10", "PCAM"])
def test_the_identity_does_not_depend_on_where_the_copy_lies(name, copy, tmp_path):
    data = copy(name)
    before = identify("", Source.of(data))
    (tmp_path / "elsewhere").mkdir()
    for entry in tmp_path.iterdir():
        if entry.name != "elsewhere":
            entry.rename(tmp_path / "elsewhere" / entry.name)
    assert identify("", Source.of(f"torchvision:{name}={tmp_path}/elsewhere")) == before


def test_fetching_has_torchvision_download_both_splits(tmp_path, monkeypatch):
    make("DTD", tmp_path / "published", monkeypatch)
    archive = tmp_path / "dtd-r1.0.1.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "published" / "dtd" / "dtd", "dtd")
    monkeypatch.setattr(published.DTD, "_MD5", hashlib.md5(archive.read_bytes()).hexdigest())
    with served(tmp_path) as address:
        monkeypatch.setattr(published.DTD, "_URL", f"{address}/{archive.name}")
        root = fetch(f"DTD={tmp_path}/mine", {})
    assert len(read(f"torchvision:DTD={root}", "test").paths) == 2


def test_a_fetch_that_fails_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(published.DTD, "_URL", (tmp_path / "gone.tar.gz").as_uri())
    with pytest.raises(DataError, match="torchvision could not download it"):
        fetch(f"DTD={tmp_path}/mine", {})


FORMS = [entry.about.form for entry in DATA_SETS.values() if entry.about.form.startswith("torchvision:")]


@pytest.mark.parametrize("form", FORMS)
def test_the_usual_form_of_a_known_data_set_is_understood(form, tmp_path, monkeypatch):
    name = form.removeprefix("torchvision:").partition("=")[0]
    make(name, tmp_path, monkeypatch)
    assert len(read(form.replace("FOLDER", str(tmp_path)), "test").paths)


def test_what_torchvision_cannot_download_is_said(tmp_path):
    with pytest.raises(DataError, match="torchvision cannot download it"):
        fetch(f"StanfordCars={tmp_path}", {})


def test_pixels_are_given_as_they_lie_in_the_file(copy):
    """CIFAR's rows are the red, then the green, then the blue values."""
    expected = pixels(1, 2, 3072)[0].reshape(3, 32, 32).transpose(1, 2, 0)
    assert np.array_equal(np.asarray(read_rgb(read(copy("CIFAR10")).paths[0])), expected)


def test_images_in_files_are_listed_without_opening_one(copy, tmp_path, monkeypatch):
    data = copy("Food101")
    monkeypatch.setattr(Image, "open", lambda *_: pytest.fail("opened an image"))
    assert len(read(data).paths) == 2
