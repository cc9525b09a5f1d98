"""What a trial does for a GPU's sake, seen on a processor: deterministic kernels, and a word where memory is short."""

import pytest
import torch
from detectron2.engine import SimpleTrainer

from twinbench.detection.evaluation.predictions import predict_all
from twinbench.detection.models.roialign import LAYER, roi_align
from twinbench.detection.options import Options
from twinbench.detection.training import train as training
from twinbench.detection.trial import measure
from twinbench.protocols.catalogue import find_protocol
from twinbench.protocols.house import UserError
from twinbench.report.asked import Asked

SMALL = {"iterations": 1, "batch_size": 4, "rois_per_image": 8, "rpn_post_nms_test": 8, "precise_bn_iterations": 1}
SMALL |= {"min_size_train": 64, "min_size_test": 64}


@pytest.fixture
def asked(scenes, tmp_path):
    protocol = find_protocol("demo-voc0712-frcnn-c4").with_settings(SMALL)
    return Asked(protocol, "random", scenes / "VOCdevkit", tmp_path, device="cpu", workers=0)


def test_deterministic_mode_holds_in_training_and_at_test_and_is_in_the_result(asked, monkeypatch):
    seen = []

    def noted(function):
        def call(*arguments):
            seen.append((torch.are_deterministic_algorithms_enabled(), LAYER.roi_align is roi_align))
            return function(*arguments)

        return call

    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # for monkeypatch to put back what there was
    monkeypatch.setattr(SimpleTrainer, "run_step", noted(SimpleTrainer.run_step))
    monkeypatch.setattr(training, "update_bn_stats", noted(training.update_bn_stats))
    monkeypatch.setattr("twinbench.detection.work.predict_all", noted(predict_all))
    result = measure(asked, Options(deterministic=True))
    assert seen == [(True, True)] * 3
    assert result.details["deterministic"] is True
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_gpu_that_is_too_small_is_one_line_that_says_what_helps(asked, monkeypatch):
    def full(_):
        raise torch.OutOfMemoryError(
            "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of ..."
        )

    monkeypatch.setattr(SimpleTrainer, "run_step", full)
    words = (
        r"4 images of up to 160 px do not fit into its memory \(CUDA out of memory\); .* fewer images with --scale-to N"
    )
    with pytest.raises(UserError, match=words) as found:
        measure(asked)
    assert "\n" not in str(found.value)
