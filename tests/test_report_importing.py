import dataclasses
import json
import typing
from pathlib import Path

import pytest

import twinbench
from twinbench import report
from twinbench.protocols.catalogue import PROTOCOLS
from twinbench.report.importing import ImportingError, imported
from twinbench.report.result import REQUIRED, Result, read_result
from twinbench.report.schema import json_schema
from twinbench.report.table import read

LINEAR, COCO, VOC = PROTOCOLS["imagenet-linear"], PROTOCOLS["coco-mrcnn-c4-1x"], PROTOCOLS["voc0712-frcnn-c4"]
VISSL = [
    {"iteration": 100, "phase_idx": 1, "train_phase_idx": 0, "train_accuracy_list_meter": {"top_1": {"res5": 10.0}}},
    {
        "iteration": 100,
        "phase_idx": 2,
        "train_phase_idx": 0,
        "test_accuracy_list_meter": {"top_1": {"res4": 50.0, "res5": 60.0}, "top_5": {"res4": 70.0, "res5": 80.0}},
    },
    {
        "iteration": 200,
        "phase_idx": 4,
        "train_phase_idx": 1,
        "test_accuracy_list_meter": {"top_1": {"res4": 51.0, "res5": 65.25}, "top_5": {"res4": 71.0, "res5": 85.5}},
    },
]
MMSELFSUP = [
    {"env_info": "sys.platform: linux", "seed": 0},
    {"mode": "train", "epoch": 1, "iter": 50, "lr": 0.1, "loss": 5.1, "head0_top1": 99.0},
    {"mode": "val", "epoch": 1, "iter": 782, "lr": 0.1, "head0_top1": 60.5, "head0_top5": 82.0},
    {"mode": "val", "epoch": 2, "iter": 782, "lr": 0.1, "head0_top1": 61.5, "head0_top5": 83.0},
]
MMENGINE = [{"loss": 5.0, "step": 10}, {"accuracy/top1": 68.25, "accuracy/top5": 88.5, "step": 100}]
DETECTRON2 = [
    {"iteration": 19, "total_loss": 1.5, "lr": 0.01},
    {"iteration": 999, "bbox/AP": 30.0, "bbox/AP50": 50.0, "segm/AP": 27.0, "bbox/APl": float("nan")},
    {"iteration": 1999, "bbox/AP": 38.5, "bbox/AP50": 58.5, "segm/AP": 33.5, "bbox/AP-person": 50.0},
]


# As the programs write them: keys sorted, training scalars beside the last evaluation, NaN where no object is small.
DETECTRON2_RESUMED = """\
{"data_time": 0.0081, "eta_seconds": 912.5, "iteration": 979, "loss_cls": 0.31, "lr": 0.02, "total_loss": 0.92}
{"bbox/AP": 30.25, "bbox/AP-car": 31.0, "bbox/AP50": 50.5, "bbox/APs": 12.5, "iteration": 999, "segm/AP": 27.75}
{"bbox/AP": 99.0, "bbox/AP-car": 99.0, "bbox/AP50": 99.0, "bbox/APs": 99.0, "iteration": 1999, "segm/AP": 99.0}
{"data_time": 0.0079, "eta_seconds": 610.0, "iteration": 1019, "loss_cls": 0.3, "lr": 0.02, "total_loss": 0.9}
{"bbox/AP": 35.5, "bbox/AP-car": 36.0, "bbox/AP50": 55.5, "bbox/APs": 14.5, "iteration": 1999, "segm/AP": 31.5}
{"bbox/AP": 38.5, "bbox/AP50": 58.5, "bbox/APs": NaN, "iteration": 2999, "lr": 0.0002, "segm/AP": 33.5, "time": 0.4}
"""
VISSL_RESUMED = """\
{"iteration": 626, "phase_idx": 0, "train_accuracy_list_meter": {"top_1": {"0": 41.5}}, "train_phase_idx": 0}
{"iteration": 626, "phase_idx": 1, "test_accuracy_list_meter": {"top_1": {"0": 60.5}}, "train_phase_idx": 0}
{"iteration": 1252, "phase_idx": 3, "test_accuracy_list_meter": {"top_1": {"0": 64.0}}, "train_phase_idx": 1}
{"iteration": 1252, "phase_idx": 3, "test_accuracy_list_meter": {"top_1": {"0": 63.5}}, "train_phase_idx": 1}
"""
MMENGINE_EPOCHS = """\
{"lr": 0.3, "data_time": 0.21, "loss": 4.5, "time": 0.44, "epoch": 1, "iter": 600, "memory": 2103, "step": 600}
{"accuracy/top1": 55.5, "accuracy/top5": 78.5, "data_time": 0.05, "time": 0.11, "step": 1}
{"lr": 0.1, "data_time": 0.19, "loss": 3.5, "time": 0.42, "epoch": 2, "iter": 600, "memory": 2103, "step": 1200}
{"accuracy/top1": 61.5, "accuracy/top5": 83.5, "data_time": 0.05, "time": 0.11, "step": 2}
{"accuracy/top1": 62.5, "accuracy/top5": 84.5, "data_time": 0.05, "time": 0.11}
"""


def log(path, lines, tail=""):
    file = path / "log.json"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines) + tail)
    return file


def test_vissl(tmp_path):
    result = imported(log(tmp_path, VISSL), LINEAR, "swav", 1, "res5")
    assert result.metrics == {"top1": 65.25, "top5": 85.5}
    assert result.curves == {"top1": [[0, 60.0], [1, 65.25]]}
    assert (result.imported, result.seed, result.fingerprint) == ("VISSL", 1, LINEAR.fingerprint)


@pytest.mark.parametrize(("lines", "expected"), [(MMSELFSUP, (61.5, 83.0)), (MMENGINE, (68.25, 88.5))])
def test_mmselfsup(tmp_path, lines, expected):
    result = imported(log(tmp_path, lines), LINEAR, "m", 0)
    assert (result.metrics["top1"], result.metrics["top5"]) == expected
    assert result.imported == "MMSelfSup"


def test_detectron2_names_boxes_and_masks_by_the_data_set(tmp_path):
    coco = imported(log(tmp_path, DETECTRON2), COCO, "m", 0)
    assert coco.metrics == {"box-AP": 38.5, "box-AP50": 58.5, "mask-AP": 33.5}
    voc = imported(log(tmp_path, DETECTRON2), VOC, "m", 0)
    assert voc.metrics["AP"] == 38.5
    assert voc.metrics["AP50"] == 58.5


def text_log(path, text):
    file = path / "metrics.json"
    file.write_text(text)
    return file


def test_a_resumed_detectron2_run_counts_each_evaluation_once_and_mixes_no_two(tmp_path):
    """After a restart from an earlier checkpoint the file goes on, repeating steps; small objects' AP may be NaN."""
    result = imported(text_log(tmp_path, DETECTRON2_RESUMED), COCO, "m", 0)
    assert result.metrics == {"box-AP": 38.5, "box-AP50": 58.5, "mask-AP": 33.5}  # no box-APs of another evaluation
    assert result.curves == {"box-AP": [[999, 30.25], [1999, 35.5], [2999, 38.5]]}


def test_a_resumed_vissl_run(tmp_path):
    result = imported(text_log(tmp_path, VISSL_RESUMED), LINEAR, "m", 0)  # one head, called 0: nothing to choose
    assert (result.metrics, result.curves) == ({"top1": 63.5}, {"top1": [[0, 60.5], [1, 63.5]]})


def test_an_evaluation_that_tells_no_step_is_that_of_the_line_before(tmp_path):
    result = imported(text_log(tmp_path, MMENGINE_EPOCHS), LINEAR, "m", 0)
    assert result.metrics == {"top1": 62.5, "top5": 84.5}
    assert result.curves == {"top1": [[1, 55.5], [2, 62.5]]}


def test_a_last_evaluation_that_failed_is_not_replaced_by_an_earlier_one(tmp_path):
    text = '{"bbox/AP": 30.0, "iteration": 999}\n{"bbox/AP": NaN, "iteration": 1999}\n'
    with pytest.raises(ImportingError, match="its last evaluation, at 1999, has box-AP nan, not a number"):
        imported(text_log(tmp_path, text), COCO, "m", 0)


def test_several_test_sets_are_chosen_from(tmp_path):
    text = '{"voc_2007_test/bbox/AP": 55.5, "voc_2012_val/bbox/AP": 50.5, "iteration": 999}\n'
    with pytest.raises(ImportingError, match="evaluates voc_2007_test, voc_2012_val; choose one with --layer"):
        imported(text_log(tmp_path, text), VOC, "m", 0)
    assert imported(text_log(tmp_path, text), VOC, "m", 0, "voc_2007_test").metrics == {"AP": 55.5}


def test_a_last_line_cut_off_by_a_kill_is_left_out(tmp_path):
    assert imported(log(tmp_path, MMENGINE, tail='{"accuracy/top1": 9'), LINEAR, "m", 0).metrics["top1"] == 68.25


@pytest.mark.parametrize("odd", ["\x85", "\u2028"])
def test_a_line_is_ended_by_what_json_lines_are_ended_by(tmp_path, odd):
    told = json.dumps({"note": f"a{odd}b"}, ensure_ascii=False)
    file = log(tmp_path, MMENGINE, tail=f"{told}\n{{}}\n")
    assert imported(file, LINEAR, "m", 0).metrics["top1"] == 68.25


@pytest.mark.parametrize(
    ("lines", "protocol", "layer", "match"),
    [
        (VISSL, LINEAR, "", "evaluates res4, res5; choose one with --layer"),
        (VISSL, LINEAR, "res3", "evaluates res4, res5; choose one"),
        (VISSL, COCO, "res5", "holds top1, top5 of VISSL, expected box-AP for coco-mrcnn-c4-1x"),
        ([{"loss": 1.0}], LINEAR, "", "holds no evaluation that is known; expected JSON lines"),
    ],
)
def test_a_log_of_something_else(tmp_path, lines, protocol, layer, match):
    with pytest.raises(ImportingError, match=match):
        imported(log(tmp_path, lines), protocol, "m", 0, layer)


def test_a_file_of_something_else(tmp_path):
    with pytest.raises(ImportingError, match="missing.json: No such file"):
        imported(tmp_path / "missing.json", LINEAR, "m", 0)
    (tmp_path / "x").write_text("epoch 1\nepoch 2\n")
    with pytest.raises(ImportingError, match="line 1 is no JSON"):
        imported(tmp_path / "x", LINEAR, "m", 0)


def test_imported_results_join_a_table_and_stay_marked(tmp_path, capsys):
    file = log(tmp_path, MMENGINE)
    out = tmp_path / "results" / "m"
    command = ["import", str(file), str(out), "--protocol", "imagenet-linear", "--method", "m"]
    assert twinbench.main(command) == 0
    assert twinbench.main(command) == 0  # the same again replaces it
    table = read([tmp_path / "results"])
    (column,) = table.columns
    assert (column.fingerprint, table.cell("m", column).number) == (LINEAR.fingerprint, "68.2")
    assert "imported from a log of MMSelfSup" in dict(table.footnotes)["a"]
    assert twinbench.main([*command, "--seed", "1"]) == 2
    assert "holds another result; choose another OUT" in capsys.readouterr().err


def test_a_setting_that_differed_moves_the_fingerprint(tmp_path):
    file, out = log(tmp_path, MMENGINE), tmp_path / "out"
    command = ["import", str(file), str(out), "--protocol", "imagenet-linear", "--method", "m", "--set", "epochs=28"]
    assert twinbench.main(command) == 0
    found = read_result(out / "result.json")
    assert found.overrides == {"epochs": "28"}
    assert found.fingerprint != LINEAR.fingerprint


def test_the_published_schema_is_up_to_date():
    with open(Path(report.__file__).parent / "result.schema.json", encoding="utf-8") as file:
        assert json.load(file) == json_schema(), "run: python -m twinbench.report.schema > report/result.schema.json"


def fits(value, schema):
    """The part of JSON Schema that a result needs, written from the standard."""
    kinds = {"string": str, "integer": int, "number": int | float, "boolean": bool, "array": list, "object": dict}
    kind = schema.get("type")
    if kind and not isinstance(value, kinds[kind]):
        return False
    if kind in ("integer", "number") and isinstance(value, bool):
        return False
    if kind == "array":
        return all(fits(part, schema["items"]) for part in value)
    if kind != "object":
        return True
    named = schema.get("properties", {})
    rest = schema.get("additionalProperties", True)
    return set(schema.get("required", ())) <= set(value) and all(
        fits(part, named[name]) if name in named else rest is not False and (rest is True or fits(part, rest))
        for name, part in value.items()
    )


def test_the_schema_accepts_what_is_written_and_refuses_what_the_reader_refuses(tmp_path):
    written = json.loads(imported(log(tmp_path, VISSL), LINEAR, "m", 0, "res5").write(tmp_path).read_text())
    schema = json_schema()
    assert fits(written, schema)
    assert not fits(written | {"surprise": 1}, schema)
    assert not fits({name: value for name, value in written.items() if name != "metrics"}, schema)
    assert not fits(written | {"seed": "0"}, schema)
    assert not fits(written | {"curves": {"a": [1]}}, schema)


def test_every_field_of_a_result_is_described():
    schema = json_schema()
    assert set(schema["properties"]) == {entry.name for entry in dataclasses.fields(Result)}
    assert all(entry["description"] for entry in schema["properties"].values())
    assert (
        set(schema["required"])
        == REQUIRED
        == set(typing.get_type_hints(Result))
        - {
            entry.name
            for entry in dataclasses.fields(Result)
            if entry.default is not dataclasses.MISSING or entry.default_factory is not dataclasses.MISSING
        }
    )
