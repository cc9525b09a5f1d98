"""The linear rule, against Detectron2's own scaling of a configuration."""

import pytest
from detectron2.engine import DefaultTrainer

import twinbench
from twinbench.convert.convention import IMAGENET
from twinbench.detection.config.detector import detectron2_config
from twinbench.protocols.catalogue import find_protocol
from twinbench.protocols.scaling import ScalingError, linear_rule


@pytest.mark.parametrize("gpus", [1, 2, 4, 16])
@pytest.mark.parametrize(
    "name", ["voc0712-frcnn-c4", "coco-mrcnn-fpn-1x-vicreg", "coco-retinanet-2x", "coco-mrcnn-vitdet-100ep"]
)
def test_the_linear_rule_is_detectron2s(name, gpus):
    protocol = find_protocol(name)
    scaled = protocol.with_settings(linear_rule(protocol.recipe, gpus))
    theirs = detectron2_config(protocol.recipe, classes=3, width=1.0, convention=IMAGENET)
    theirs.defrost()
    theirs.SOLVER.REFERENCE_WORLD_SIZE = 8
    theirs = DefaultTrainer.auto_scale_workers(theirs, gpus).SOLVER
    ours = detectron2_config(scaled.recipe, classes=3, width=1.0, convention=IMAGENET).SOLVER
    for key in ("IMS_PER_BATCH", "BASE_LR", "MAX_ITER", "STEPS", "WARMUP_ITERS"):
        assert ours[key] == pytest.approx(theirs[key]), key


def test_a_scaled_recipe_is_another_one_and_says_so():
    protocol = find_protocol("voc0712-frcnn-c4")
    scaled = protocol.with_settings(linear_rule(protocol.recipe, 4))
    assert scaled.fingerprint != protocol.fingerprint
    assert dict(scaled.overrides) == {
        "batch_size": "8", "lr": "0.05", "iterations": "48000", "steps": "36000,44000", "warmup_iterations": "2000"
    }  # fmt: skip


def test_eight_gpus_change_nothing():
    protocol = find_protocol("voc0712-frcnn-c4")
    assert protocol.with_settings(linear_rule(protocol.recipe, 8)) == protocol


@pytest.mark.parametrize("gpus", [0, -8])
def test_a_number_of_gpus_is_one_or_more(gpus):
    with pytest.raises(ScalingError, match=f"^{gpus}: .*choose a number"):
        linear_rule(find_protocol("voc0712-frcnn-c4").recipe, gpus)


def test_a_part_of_an_image_is_no_batch():
    with pytest.raises(ScalingError, match="^1: 1/8 of the batch of 4 is no whole number of images"):
        linear_rule(find_protocol("demo-voc0712-frcnn-c4").recipe, 1)


def test_the_command_names_its_own_word_for_the_rule(tmp_path, capsys):
    words = ["detection", "demo-voc0712-frcnn-c4", "random", str(tmp_path), str(tmp_path / "out"), "--scale-to", "1"]
    assert twinbench.main(words) == 2
    assert "--scale-to 1: 1/8 of the batch of 4 is no whole number of images" in capsys.readouterr().err
