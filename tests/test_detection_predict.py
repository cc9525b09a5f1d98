"""`twinbench predict`: what a finished trial's detector finds is drawn, written, and nobody's files are harmed."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from detectron2.config import get_cfg
from detectron2.engine import DefaultPredictor
from PIL import Image, ImageOps
from pycocotools.coco import COCO

import twinbench
from twinbench.data.scenes.make import make_scenes
from twinbench.detection.drawing import Thing, color_of, decoded, draw, resized
from twinbench.detection.pictures import _true_things
from twinbench.detection.trained import TrainedError, load_trained
from twinbench.detection.trial import measure
from twinbench.protocols.catalogue import find_protocol
from twinbench.report.asked import Asked

SMALL = {"iterations": 12, "steps": "10", "warmup_iterations": 2, "lr": 0.02, "batch_size": 2, "rois_per_image": 8}
SMALL |= {"min_size_train": 64, "min_size_test": 64, "anchor_sizes": "16,32", "rpn_post_nms_test": 8}
ALL = ("--threshold", "0.01", "--device", "cpu")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    root = tmp_path_factory.mktemp("scenes")
    make_scenes(root, scale=0.05)
    return root


@pytest.fixture(scope="module")
def trial(scenes, tmp_path_factory):
    """A trial of masks, hardly trained: it finds something everywhere at a low threshold."""
    out = tmp_path_factory.mktemp("trial")
    protocol = replace(find_protocol("demo-coco-mrcnn-c4-1x@scenes"), width=0.125).with_settings(SMALL)
    measure(Asked(protocol, "random", scenes / "coco", out, method="ours", device="cpu", workers=0))
    return out


@pytest.fixture(scope="module")
def photograph(scenes):
    return sorted((scenes / "coco/val2017").iterdir())[0]


def predict(*words):
    """Run the command and return its exit code."""
    return twinbench.main(["predict", *map(str, words)])


def results(out):
    return json.loads((out / "predictions.json").read_text())


def test_it_finds_what_detectron2s_own_predictor_finds(trial, photograph, tmp_path):
    assert predict(trial, photograph, tmp_path / "out", *ALL) == 0
    config = get_cfg()
    config.merge_from_file(str(trial / "config.yaml"))
    config.MODEL.WEIGHTS = str(trial / "model_final.pth")
    config.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.01
    pixels = np.asarray(Image.open(photograph).convert("RGB"))
    theirs = DefaultPredictor(config)(pixels[:, :, ::-1])["instances"]
    ours = results(tmp_path / "out")
    assert len(ours) > 0
    assert [one["score"] for one in ours] == pytest.approx(theirs.scores.tolist(), abs=1e-6)
    assert [one["category_id"] - 1 for one in ours] == theirs.pred_classes.tolist()
    corners = theirs.pred_boxes.tensor.numpy()
    wide = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
    np.testing.assert_allclose([one["bbox"] for one in ours], wide, atol=1e-3)
    masks = [decoded(one["segmentation"], photograph_size(photograph)) for one in ours]
    np.testing.assert_array_equal(masks, theirs.pred_masks.numpy())


def photograph_size(path):
    with Image.open(path) as image:
        return image.size


def test_what_the_trial_measured_is_found_again(trial, scenes, tmp_path):
    """At the recipe's own threshold, on all test images."""
    measured = json.loads((trial / "predictions.json").read_text())
    predict(trial, scenes / "coco/val2017", tmp_path / "out", "--threshold", 0.05, "--device", "cpu")
    assert [one["score"] for one in results(tmp_path / "out")] == pytest.approx([one["score"] for one in measured])


def test_pycocotools_reads_both_files(trial, scenes, tmp_path, capsys):
    predict(trial, scenes / "coco/val2017", tmp_path / "out", *ALL)
    images = COCO(str(tmp_path / "out/images.json"))
    found = images.loadRes(str(tmp_path / "out/predictions.json"))
    assert len(found.anns) == len(results(tmp_path / "out"))
    names = {category["id"]: category["name"] for category in images.loadCats(images.getCatIds())}
    one = results(tmp_path / "out")[0]
    assert names[one["category_id"]] == one["category"]
    assert images.imgs[one["image_id"]]["file_name"] == one["file_name"]


def test_only_what_reaches_the_threshold_is_told(trial, photograph, tmp_path):
    predict(trial, photograph, tmp_path / "low", *ALL)
    scores = [one["score"] for one in results(tmp_path / "low")]
    middle = (scores[0] + scores[-1]) / 2
    predict(trial, photograph, tmp_path / "middle", "--threshold", middle, "--device", "cpu")
    kept = [one["score"] for one in results(tmp_path / "middle")]
    assert kept == pytest.approx([score for score in scores if score >= middle])
    assert len(kept) < len(scores)


def test_each_image_has_its_picture_where_it_lay(trial, photograph, tmp_path):
    source = tmp_path / "mine"
    (source / "deep er").mkdir(parents=True)
    shutil.copy(photograph, source / "a.jpg")
    shutil.copy(photograph, source / "deep er/Ünï.JPG")
    with Image.open(photograph) as image:
        image.save(source / "a.tif")
        image.save(source / "a.png")
    assert predict(trial, source, tmp_path / "out", *ALL) == 0
    pictures = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.*")}
    assert pictures == {"a.jpg", "a.png", "a-2.png", "deep er/Ünï.JPG", "images.json", "predictions.json"}


def test_something_is_drawn(trial, photograph, tmp_path):
    with Image.open(photograph) as image:
        image.save(tmp_path / "a.png")
    predict(trial, tmp_path / "a.png", tmp_path / "out", *ALL)
    with Image.open(tmp_path / "out/a.png") as picture, Image.open(tmp_path / "a.png") as image:
        picture.load()
        assert max(picture.size) >= 480
        assert ImageOps.contain(image, picture.size).size == picture.size
        assert np.asarray(picture).std() != np.asarray(image.resize(picture.size)).std()


def test_a_turned_photograph_is_looked_at_upright(trial, photograph, tmp_path):
    """The same pixels stored on their side, with the EXIF value that says so."""
    with Image.open(photograph) as image:
        upright = image.convert("RGB")
    upright.save(tmp_path / "upright.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    predict(trial, tmp_path / "upright.png", tmp_path / "turned.png", tmp_path / "out", *ALL)
    first, second = ([one for one in results(tmp_path / "out") if one["image_id"] == number] for number in (1, 2))
    assert [one["bbox"] for one in first] == [one["bbox"] for one in second]
    sizes = [(one["width"], one["height"]) for one in json.loads((tmp_path / "out/images.json").read_text())["images"]]
    assert sizes[0] == sizes[1] == upright.size


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "I;16"])
def test_an_image_of_any_mode_is_read_as_everywhere(trial, photograph, tmp_path, mode):
    with Image.open(photograph) as image:
        grey = image.convert("L")
        changed = image.convert(mode) if mode != "I;16" else Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    changed.save(tmp_path / "a.tif")
    assert predict(trial, tmp_path / "a.tif", tmp_path / "out", *ALL) == 0
    if mode == "I;16":
        grey.convert("RGB").save(tmp_path / "grey.png")
        predict(trial, tmp_path / "grey.png", tmp_path / "grey", *ALL)
        assert [one["bbox"] for one in results(tmp_path / "out")] == [one["bbox"] for one in results(tmp_path / "grey")]


def test_an_unreadable_image_stops_no_other(trial, photograph, tmp_path, capsys):
    source = tmp_path / "mine"
    source.mkdir()
    (source / "a.jpg").write_text("not an image")
    (source / "b.jpg").write_bytes(photograph.read_bytes()[:500])
    shutil.copy(photograph, source / "c.jpg")
    assert predict(trial, source, tmp_path / "out", *ALL, "--json") == 1
    captured = capsys.readouterr()
    told = captured.err.strip().splitlines()
    assert len(told) == 2
    assert "a.jpg: not an image" in told[0]
    assert "b.jpg: not a readable image" in told[1]
    found = json.loads(captured.out)
    assert found["images"] == 1
    assert (tmp_path / "out/c.jpg").exists()


def test_the_summary_counts_by_class(trial, photograph, tmp_path, capsys):
    predict(trial, photograph, tmp_path / "out", *ALL, "--json")
    found = json.loads(capsys.readouterr().out)
    assert sum(found["classes"].values()) == found["detections"] == len(results(tmp_path / "out"))
    predict(trial, photograph, tmp_path / "none", "--threshold", 1, "--device", "cpu")
    assert "1 image, 0 objects; a lower --threshold shows more" in capsys.readouterr().out


def test_a_second_run_replaces_the_first_ones_files(trial, photograph, tmp_path):
    predict(trial, photograph, tmp_path / "out", *ALL)
    before = (tmp_path / "out" / photograph.name).read_bytes()
    assert predict(trial, photograph, tmp_path / "out", "--threshold", 1, "--device", "cpu") == 0
    assert (tmp_path / "out" / photograph.name).read_bytes() != before


def test_a_run_that_was_killed_owns_its_pictures(trial, photograph, tmp_path, monkeypatch):
    monkeypatch.setattr("twinbench.detection.predicting._result", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        predict(trial, photograph, tmp_path / "out", *ALL)
    monkeypatch.undo()
    assert (tmp_path / "out" / photograph.name).exists()
    assert predict(trial, photograph, tmp_path / "out", *ALL) == 0


def refused(capsys, *words):
    """Return the one line with which the command refuses its input."""
    assert predict(*words) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def test_files_of_others_are_not_written_over(trial, photograph, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    assert f"{out}: holds notes.txt, which no `twinbench predict` wrote" in refused(capsys, trial, photograph, out)
    (out / "notes.txt").unlink()
    predict(trial, photograph, out, *ALL)
    Image.new("RGB", (9, 9)).save(tmp_path / "other.png")
    (out / "other.png").write_text("mine")
    capsys.readouterr()
    line = refused(capsys, trial, tmp_path / "other.png", out)
    assert "other.png: is there, and no `twinbench predict` wrote it" in line
    assert (out / "other.png").read_text() == "mine"


def test_the_trials_own_folder_is_no_place_for_pictures(trial, photograph, capsys):
    assert "which no `twinbench predict` wrote" in refused(capsys, trial, photograph, trial)


def test_pictures_do_not_go_among_the_images(trial, scenes, capsys):
    folder = scenes / "coco/val2017"
    assert "whose images are read" in refused(capsys, trial, folder, folder / "out")
    assert not (folder / "out").exists()


def test_images_that_are_not_there_are_named(trial, tmp_path, capsys):
    assert "nowhere: no such image or folder" in refused(capsys, trial, tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    assert "empty: no image in it or below" in refused(capsys, trial, tmp_path / "empty", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("score", ["-0.1", "1.5", "nan", "high"])
def test_a_threshold_is_a_score(trial, photograph, tmp_path, capsys, score):
    with pytest.raises(SystemExit) as ended:
        predict(trial, photograph, tmp_path / "out", f"--threshold={score}")
    assert ended.value.code == 2
    assert f"'{score}' is no score; expected a number from 0 to 1" in capsys.readouterr().err


@pytest.fixture
def copied(trial, tmp_path):
    """The trial in a folder that a test may damage."""
    return shutil.copytree(trial, tmp_path / "copied")


def test_a_folder_that_is_no_trial_is_refused(tmp_path, photograph, capsys):
    assert "nowhere: no such folder; expected" in refused(capsys, tmp_path / "nowhere", photograph, tmp_path / "out")
    with pytest.raises(TrainedError, match=r"no result\.json in it; expected the folder OUT of a finished"):
        load_trained(tmp_path)


def test_a_trial_that_is_not_finished_is_refused(copied):
    (copied / "result.json").unlink()
    with pytest.raises(TrainedError, match="not finished, it has no result.json; its own command goes on"):
        load_trained(copied)


def test_a_trial_without_a_detector_is_refused(copied):
    (copied / "config.yaml").unlink()
    with pytest.raises(TrainedError, match=r"a trial of demo-coco-mrcnn-c4-1x@scenes, without config\.yaml"):
        load_trained(copied)


def test_a_trial_whose_weights_were_removed_is_refused(copied):
    (copied / "model_final.pth").unlink()
    with pytest.raises(TrainedError, match=r"no model_final\.pth in it"):
        load_trained(copied)


def test_weights_of_another_trial_are_refused(copied):
    text = (copied / "config.yaml").read_text()
    (copied / "config.yaml").write_text(text.replace("NUM_CLASSES: 10", "NUM_CLASSES: 11"))
    with pytest.raises(TrainedError, match=r"model_final\.pth: .*size mismatch.*; expected the tensors of config.yaml"):
        load_trained(copied)


def test_a_trial_of_another_network_is_refused(copied):
    text = (copied / "config.yaml").read_text()
    (copied / "config.yaml").write_text(
        text.replace("META_ARCHITECTURE: GeneralizedRCNN", "META_ARCHITECTURE: PanopticFPN")
    )
    with pytest.raises(TrainedError, match="a trial of a PanopticFPN; expected one of a detector or a Segmenter"):
        load_trained(copied)


@pytest.mark.parametrize("text", ["VERSION: [", "MODEL: 5\n", "- a\n"])
def test_a_damaged_configuration_is_refused(copied, text):
    (copied / "config.yaml").write_text(text)
    with pytest.raises(TrainedError, match=r"config\.yaml: no configuration of Detectron2"):
        load_trained(copied)


def test_classes_beside_each_other_have_colors_far_apart():
    colors = np.array([color_of(label) for label in range(80)], float)
    assert np.abs(np.diff(colors, axis=0)).sum(axis=1).min() > 150


def test_a_box_and_a_mask_lie_where_they_should():
    mask = np.zeros((400, 600), bool)
    mask[100:200, 300:500] = True
    thing = Thing((20, 40, 120, 240), (255, 0, 0), mask=mask)
    drawn = np.asarray(draw(Image.new("RGB", (600, 400), "black"), [thing]))
    assert tuple(drawn[40, 70]) == (255, 0, 0)  # the box's edge
    assert tuple(drawn[140, 70]) == (0, 0, 0)  # within it
    assert tuple(drawn[150, 400]) == (102, 0, 0)  # 0.4 of the mask's colour
    assert tuple(drawn[100, 400]) == (255, 0, 0)  # the mask's edge
    assert tuple(drawn[99, 400]) == (0, 0, 0)


def test_a_label_stays_on_the_image():
    thing = Thing((590, 2, 599, 30), (255, 255, 0), "a long class name 0.99")
    drawn = np.asarray(draw(Image.new("RGB", (600, 400), "black"), [thing]))
    rows, columns = np.nonzero(drawn[:, :, 0])
    assert columns.min() < 450
    assert rows.max() < 40


def test_letters_of_other_alphabets_are_drawn():
    """A missing letter is a box, the same for all of them."""
    pictures = [
        np.asarray(draw(Image.new("RGB", (600, 400)), [Thing((9, 99, 99, 199), (9, 9, 9), text)])) for text in "ЖΩ"
    ]
    assert (pictures[0] != pictures[1]).any()


def test_keypoints_of_a_person_are_joined():
    points = np.zeros((17, 3))
    points[5], points[7] = (100, 100, 1), (100, 300, 1)  # left shoulder and left elbow
    thing = Thing((0, 0, 5, 5), (0, 0, 255), points=points)
    drawn = np.asarray(draw(Image.new("RGB", (600, 400), "black"), [thing]))
    assert drawn[200, 100].any()
    assert not drawn[200, 120].any()


def test_a_mask_is_decoded_in_each_of_its_forms():
    square = decoded([[2, 1, 6, 1, 6, 4, 2, 4]], (10, 8))
    assert square.shape == (8, 10)
    assert square.sum() == 12
    counts = [10 * 8 - 6, 6]
    assert decoded({"size": [8, 10], "counts": counts}, (10, 8)).sum() == 6
    assert resized(square, (20, 16)).sum() == 48


def test_a_box_whose_corners_are_the_wrong_way_round_ends_no_picture():
    """A trial on such annotations ended in Pillow's ValueError, with all of its evaluation done."""
    image = Image.new("RGB", (600, 400), "black")
    drawn = draw(image, [Thing((120, 40, 20, 240), (255, 0, 0))])
    assert not np.asarray(drawn).any()


def test_labels_of_boxes_at_one_place_do_not_hide_each_other():
    things = [Thing((100, 100, 300, 300), color, "a class 0.99") for color in ((0, 0, 255), (255, 0, 0))]
    drawn = np.asarray(draw(Image.new("RGB", (600, 400), "black"), things))
    blue = (drawn == (0, 0, 255)).all(axis=2).sum()
    assert blue > 500  # of its label: its box lies below the other one


def test_the_true_keypoints_are_on_the_picture_of_a_trial_too():
    thing = {"bbox": [5, 5, 20, 20], "bbox_mode": 1, "category_id": 0, "keypoints": [10, 20, 2, 0, 0, 0]}
    (true,) = _true_things({"width": 100, "height": 50, "annotations": [thing]}, (200, 100), 2.0)
    assert true.points is not None
    assert true.points.tolist() == [[20, 40, 2], [0, 0, 0]]  # the second one is not labelled
