"""Nearest patches: whole trials with known answers and against a few lines of numpy, and mistakes."""

import itertools
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.preprocessing import StandardScaler

import twinbench
from tests.coloured_shapes import make_voc
from tests.patch_colours import GRAIN, SIDE, WHOLE, Colours, asked, striped, write_masks, write_noise
from twinbench.convert.convention import IMAGENET_MEAN, IMAGENET_STD
from twinbench.dense.held_out import split
from twinbench.dense.nearest import bank, patches, trial
from twinbench.dense.places import DenseError
from twinbench.dense.trial import measure


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def colours(monkeypatch):
    monkeypatch.setattr(patches, "Places", Colours)


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    return write_noise(tmp_path_factory.mktemp("noise"))


# ------------------------------------------------------------------------------------------------------ known answers


def test_patches_whose_label_is_their_colour_are_all_found(tmp_path, colours):
    data = write_masks(tmp_path / "data", [striped(0, 1), striped(1, 2), striped(2, 0)], [striped(0, 1, 2)])
    for name in ("voc12-hummingbird", "ade20k-knn-capi"):
        settings = {"held_out": 0.4} if name == "ade20k-knn-capi" else {}
        result = measure(asked(data, tmp_path / name, name, **settings))
        assert result.metrics["mIoU"] == 100.0, name


def test_a_class_that_the_bank_lacks_is_never_answered(tmp_path, colours):
    data = write_masks(tmp_path / "data", [striped(0, 1), striped(1, 0)], [striped(0, 2)])
    result = measure(asked(data, tmp_path / "out"))
    assert result.details["per_class"]["IoU"]["blue"] == 0.0
    assert result.details["per_class"]["Acc"]["red"] == 100.0


@pytest.mark.parametrize(("unlabelled", "patches_taken"), [("class-0", 32), ("own-class", 32), ("left-out", 16)])
def test_an_image_without_labels_gives_what_the_recipe_makes_of_it(tmp_path, colours, unlabelled, patches_taken):
    none = (striped(2)[0], np.full((SIDE, SIDE), 255))
    data = write_masks(tmp_path / "data", [striped(0, 1), none], [striped(0, 1), none, striped(2)])
    result = measure(asked(data, tmp_path / "out", unlabelled=unlabelled))
    assert result.details["patches"] == patches_taken
    iou = result.details["per_class"]["IoU"]
    if unlabelled == "class-0":  # blue was learnt as red
        assert iou == {"red": pytest.approx(100 / 3), "green": 100.0, "blue": 0.0}
    if unlabelled == "own-class":  # blue was learnt as no label, which is wrong where there is one
        assert iou == {"red": 100.0, "green": 100.0, "blue": 0.0, trial.NO_LABEL: 0.0}
        assert not any("no test pixel" in note for note in result.details["notes"])
    assert result.metrics["aAcc"] < 100


def test_of_one_neighbour_among_equals_the_earlier_patch_answers(tmp_path, colours):
    image, mask = striped(0)
    data = write_masks(tmp_path / "data", [(image, mask + 1), (image, mask)], [(image, mask + 1)])
    result = measure(asked(data, tmp_path / "out", neighbors=1))
    assert result.metrics["aAcc"] == 100.0


# -------------------------------------------------------------------------------- whole procedures, from the sources


def read(data, split):
    for path in sorted((data / "images" / split).glob("*.png")):
        mask = np.asarray(Image.open(data / "masks" / split / path.name)).astype(int)
        yield np.asarray(Image.open(path)).astype(float), np.where(mask == 255, -1, mask)


def cells_of(array):
    """Return (SIDE, SIDE, ...) as (patches, pixels of a patch, ...)."""
    count = SIDE // GRAIN
    parts = array.reshape(count, GRAIN, count, GRAIN, *array.shape[2:]).swapaxes(1, 2)
    return parts.reshape(count * count, GRAIN * GRAIN, *array.shape[2:])


def colour_rows(image):
    return cells_of((image / 255 - IMAGENET_MEAN) / IMAGENET_STD).mean(1)


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def enlarged(scores):
    """Return (count, count, C) at SIDE by bilinear weights of the distance to patches' centres."""
    count = SIDE // GRAIN
    at = ((np.arange(SIDE) + 0.5) / GRAIN - 0.5).clip(0, count - 1)
    weights = np.maximum(0, 1 - np.abs(at[:, None] - np.arange(count)))  # (SIDE, count)
    return np.einsum("yi,xj,ijc->yxc", weights, weights, scores)


def mean_iou(pairs, classes):
    ious = []
    for c in range(classes):
        both = sum(((t == c) & (p == c)).sum() for t, p in pairs)
        either = sum((((t == c) | (p == c)) & (t >= 0)).sum() for t, p in pairs)
        if either:
            ious.append(both / either)
    return 100 * float(np.mean(ious))


@pytest.mark.parametrize("unlabelled", ["class-0", "own-class", "left-out"])
def test_the_whole_retrieval_is_a_few_lines_of_numpy(noise, tmp_path, colours, unlabelled):
    rows, shares = [], []
    for image, mask in read(noise, "train"):
        rows.append(unit(colour_rows(image)))
        if unlabelled == "class-0":
            mask = np.where(mask < 0, 0, mask)
        counts = np.stack([(cells_of(mask) == c).sum(1) for c in (0, 1, 2, -1)], 1).astype(float)
        counts = counts if unlabelled == "own-class" else counts[:, :3]
        shares.append(counts / counts.sum(1, keepdims=True))
    keys, values = np.concatenate(rows), np.concatenate(shares)
    pairs = []
    for image, mask in read(noise, "val"):
        cosines = unit(colour_rows(image)) @ keys.T
        near = np.argsort(-cosines, 1)[:, :4]
        attention = np.exp(np.take_along_axis(cosines, near, 1) / 0.02)
        attention /= attention.sum(1, keepdims=True)
        scores = (attention[..., None] * values[near]).sum(1)
        count = SIDE // GRAIN
        pairs.append((mask, enlarged(scores.reshape(count, count, -1)).argmax(2)))
    result = measure(asked(noise, tmp_path, unlabelled=unlabelled))
    assert result.metrics["mIoU"] == pytest.approx(mean_iou(pairs, 4), abs=1e-9)
    assert 20 < result.metrics["mIoU"] < 90


def voted(labels):
    """Return the most frequent of (patches, k, pixels) along k, the lowest of equal ones; -1 is the lowest."""
    counts = np.stack([(labels == c).sum(1) for c in (-1, 0, 1, 2)])
    return counts.argmax(0) - 1


@pytest.mark.parametrize("standardize", [True, False])
def test_the_whole_grid_is_a_few_lines_of_numpy(noise, tmp_path, colours, standardize):
    train = list(read(noise, "train"))
    kept, held = split(12, 0.25, 0, "k")
    assert (len(kept), len(held)) == (9, 3)
    scaler = StandardScaler().fit(np.concatenate([colour_rows(train[i][0]) for i in kept]))

    def prepared(image):
        return scaler.transform(colour_rows(image)) if standardize else colour_rows(image)

    def predict(images, pairs, k, distance):
        keys = np.concatenate([prepared(image) for image, _ in pairs])
        labels = np.concatenate([cells_of(mask) for _, mask in pairs])
        taken = voted(labels[:, :, None])[:, 0] >= 0
        keys, labels = keys[taken], labels[taken]
        for image, mask in images:
            q = prepared(image)
            apart = 1 - unit(q) @ unit(keys).T if distance == "cosine" else np.linalg.norm(q[:, None] - keys, axis=2)
            yield cells_of(mask), voted(labels[np.argsort(apart, 1, kind="stable")[:, :k]])

    def score(images, pairs, cell):
        found = [(t, np.where(p < 0, 3, p)) for t, p in predict(images, pairs, *cell)]
        return mean_iou(found, 4)

    neighbours, choosing = ([train[i] for i in part] for part in (kept, held))
    tried = {cell: score(choosing, neighbours, cell) for cell in itertools.product((1, 3), ("cosine", "l2"))}
    best = max(tried, key=tried.get)
    result = measure(asked(noise, tmp_path, "ade20k-knn-capi", standardize=standardize))
    assert (result.details["neighbors"], result.details["distance"]) == best
    for (k, distance), value in tried.items():
        assert dict(result.curves[f"mIoU by k, {distance}"])[k] == pytest.approx(value, abs=1e-9)
    expected = score(list(read(noise, "val")), neighbours + choosing, best)
    assert result.metrics["mIoU"] == pytest.approx(expected, abs=1e-9)
    assert result.details["chosen_on"] == "3 training images"


# ----------------------------------------------------------------------------------------------------------- the bank


def test_a_bounded_bank_holds_an_equal_number_of_each_image_and_pass(noise, tmp_path, colours):
    result = measure(asked(noise, tmp_path, memory_size=12 * 2 * 3 + 5, augmentation_epochs=2, scale="0.5,2"))
    assert result.details["patches"] == 12 * 2 * 3


def test_a_piece_from_which_nothing_is_taken_does_no_harm(tmp_path, colours, monkeypatch):
    monkeypatch.setattr(bank, "IMAGES", 1)
    none = (striped(2)[0], np.full((SIDE, SIDE), 255))
    data = write_masks(tmp_path / "data", [none, striped(0, 1), none, striped(1, 0), none], [striped(0, 1)])
    result = measure(asked(data, tmp_path / "out", unlabelled="left-out"))
    assert result.details["patches"] == 32
    assert result.metrics["aAcc"] == 100.0


# ------------------------------------------------------------------------------------------------- learning, mistakes


def test_it_learns_from_a_transformers_and_a_resnets_places(tmp_path):
    voc = make_voc(tmp_path)
    seen = {"side": 64, "neighbors": 10, "memory_size": 300}
    result = measure(asked(voc, tmp_path / "vit", backbone="timm:vit_tiny_patch16_224=random", **seen))
    assert result.metrics["mIoU"] > 50
    assert result.headline == "mIoU"
    assert result.details["features"] == 192
    assert result.details["side"] == 64
    resnet = measure(asked(voc, tmp_path / "resnet", **(seen | {"memory_size": 0})))
    assert resnet.details["patches"] == 12 * 4
    assert resnet.details["features"] == 256


def test_the_side_is_rounded_down_to_whole_patches(noise, tmp_path, colours):
    assert measure(asked(noise, tmp_path, side=39)).details["side"] == 32


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("voc12-hummingbird", {"neighbors": 2000}, "neighbors=2000: the bank can have at most 192 labelled patches; "),
        ("ade20k-knn-capi", {"neighbors": "1,145"}, "neighbors=145: the bank can have at most 144 labelled patches; "),
        ("voc12-hummingbird", {"side": 7}, "side=7: less than a patch of resnet50-w0.125, 8 px a side; expected one"),
    ],
)
def test_what_cannot_be_searched_is_told_before_a_bank_is_made(noise, tmp_path, colours, name, settings, message):
    with pytest.raises(DenseError, match=message):
        measure(asked(noise, tmp_path / "out", name, **settings))
    assert not (tmp_path / "out").exists()


def test_too_few_labelled_patches_are_told(tmp_path, colours):
    none = (striped(2)[0], np.full((SIDE, SIDE), 255))
    data = write_masks(tmp_path / "data", [striped(0, 1), none], [striped(0, 1)])
    with pytest.raises(DenseError, match="neighbors=17: the bank has 16 labelled patches; expected at least as many"):
        measure(asked(data, tmp_path / "out", unlabelled="left-out", neighbors=17))


def test_no_image_to_choose_on_is_told(noise, tmp_path, colours):
    with pytest.raises(DenseError, match="held_out=0.05: 0 of 12 training images would choose k and distance"):
        measure(asked(noise, tmp_path, "ade20k-knn-capi", held_out=0.05))


def test_images_without_a_label_choose_nothing(tmp_path, colours):
    none = (striped(2)[0], np.full((SIDE, SIDE), 255))
    _, held = split(4, 0.25, 0, "k")
    train = [none if place in held else striped(0, 1) for place in range(4)]
    data = write_masks(tmp_path / "data", train, [striped(0, 1)])
    with pytest.raises(DenseError, match="held_out=0.25: none of the 1 training images that would choose k and dist"):
        measure(asked(data, tmp_path / "out", "ade20k-knn-capi"))


def test_a_disk_without_room_is_told_before_anything_is_made(noise, tmp_path, monkeypatch, colours):
    class Full:
        free = 1000

    monkeypatch.setattr(shutil, "disk_usage", lambda path: Full)
    with pytest.raises(DenseError, match="bank: the bank takes 0.0 GB, .* expected room for it: choose another OUT"):
        measure(asked(noise, tmp_path))


def test_a_backbone_that_gives_no_numbers_is_told(noise, tmp_path, monkeypatch, colours):
    monkeypatch.setattr(Colours, "forward", lambda self, images: torch.full((len(images), 3, 4, 4), torch.nan))
    with pytest.raises(DenseError, match="features are not finite; expected numbers"):
        measure(asked(noise, tmp_path))


def test_the_command_measures(noise, tmp_path, capsys):
    words = [
        "dense",
        "voc12-hummingbird@noise",
        "random",
        str(noise),
        str(tmp_path),
        "--workers",
        "0",
        "--device",
        "cpu",
    ]
    settings = [word for name, value in (WHOLE | {"side": 64}).items() for word in ("--set", f"{name}={value}")]
    assert twinbench.main([*words, *settings]) == 0
    assert "mIoU" in capsys.readouterr().out
