"""Whole tables of other benchmarks: each number in the column of its own recipe, marked with where it stands.

The files are small ones in the programs' own forms. Rows called real are copied from them, at the commits that
programs.py names; what they are here was worked out by hand.
"""

import json

import pytest

import twinbench
from twinbench.protocols.catalogue import PROTOCOLS, find_protocol
from twinbench.report.foreign import ForeignError, results
from twinbench.report.programs import PROGRAMS, VISBENCH_HEADLINES
from twinbench.report.table import read

EP_COLUMNS = (
    "family,method,arch,pretrain,eval,image_size,lp,lp_gap,ep,ep_queries,ep_variant,model,loader,pretrain_tag,finetune,"
    "lp_variant,lp_log,ep_log,notes,verified,amp,waiting,gap_reason,knn,knn_k,knn_T,knn_log,extra_flags"
)
EP_DINOV2 = (  # real
    "Hybrid,DINOv2,ViT-B/14,LVD-142M,IN-1K,224,83.55,no,84.01,32,ep,dinov2_vitb14,hub,,,cls,logs/dinov2_vitb/lp.txt,"
    "logs/dinov2_vitb/ep.txt,,yes,,,,79.34,15,0.07,logs/dinov2_vitb/knn.txt,"
)
EP_MAE = (  # real
    "MIM,MAE,ViT-L/16,IN-1K,IN-1K,224,76.01,no,79.52,32,ep,vit_large_patch16,,,vit_large_patch16_224.mae,cls,"
    'logs/mae_vitl/lp.txt,logs/mae_vitl/ep.txt,"LP peaks ep84, EP ep86 -- this MIM encoder uses the whole schedule. '
    'GAP scores 73.58, below cls.",yes,,,,48.06,50,0.07,logs/mae_vitl/knn.txt,'
)
EP_PE = (  # real but for its notes
    "VLM,PE-Core,L-14/336,MetaCLIP-curated 5.4B,IN-1K,336,85.44,yes,87.25,32,ep_all,PE-Core-L-14-336,openclip,meta,,"
    "pos,a,b,,yes,float32,,attn_pool,-,,,,"
)
RISK_GROUPS = ",risk_decomposition,metrics,metrics,metrics,metrics,metrics,hyperparameters,hyperparameters"
RISK_COLUMNS = (
    ",approx,train_test,train-nperclass-30_test,train-balsbst-ntrain0.01_test,train-nperclass-5_test,"
    "train-nperclass-3_test,img_size,z_layer"
)
RISK_BARLOW = (
    "barlow_rn50,0.84508890286087,28.82199883460998,43.576,49.092,57.326,63.298,224,avgpool"  # real, its columns
)
TIMM_COLUMNS = "model,img_size,top1,top1_err,top5,top5_err,param_count,crop_pct,interpolation"
TIMM_TV = "resnet50.tv_in1k,224,76.156,23.844,92.866,7.134,25.56,0.875,bilinear"  # real
TIMM_A1 = "resnet50.a1_in1k,288,81.240,18.760,95.112,4.888,25.56,1.000,bicubic"  # real
VISBENCH = {  # real
    "backbone": "clip_vitb16",
    "backbone_key": "clip/ViT-B-16-quickgelu/openai/224/preproj",
    "dataset": "val",
    "dataset_fingerprint": "9555d63a9e12b035",
    "dataset_params": {"num_classes": 10},
    "dataset_size": 3925,
    "duration_seconds": 51.7110669920221,
    "feature_mode": "dense_only",
    "finetune": None,
    "layer": None,
    "layers": None,
    "level": "high_level",
    "metrics": {"top1": 0.9954139590263367, "top5": 0.9997451901435852},
    "notes": None,
    "pooling": "cls",
    "pooling_requested": "default",
    "schema_version": 7,
    "seed": 0,
    "split": "val",
    "task": "classification",
    "task_params": {"batch_size": 256, "epochs": 200, "lr": 0.01, "num_classes": 10},
    "timestamp": "2026-08-02T09:38:41.677540+00:00",
    "visbench_version": "0.5.0",
}


@pytest.fixture
def imported(tmp_path):
    def read_as(name, *lines):
        file = tmp_path / name
        file.write_text("".join(f"{line}\n" for line in lines))
        return results(file, PROGRAMS)

    return read_as


def by_protocol(found):
    return {result.protocol: result for result in found}


def visbench(**changes):
    return json.dumps(VISBENCH | changes)


def test_efficient_probings_row_is_three_results_of_our_protocols(imported):
    found = by_protocol(imported("results.csv", EP_COLUMNS, EP_DINOV2))
    assert {name: result.metrics for name, result in found.items()} == {
        "imagenet-knn-ep": {"top1": 79.34},
        "imagenet-linear-ep": {"top1": 83.55},
        "imagenet-ep": {"top1": 84.01},
    }
    for name in ("imagenet-linear-ep", "imagenet-ep"):
        assert found[name].fingerprint == PROTOCOLS[name].fingerprint
        assert found[name].overrides == {}
    knn = found["imagenet-knn-ep"]
    assert knn.overrides == {"precision": "bf16"}
    assert knn.fingerprint == PROTOCOLS["imagenet-knn-ep"].with_settings({"precision": "bf16"}).fingerprint
    assert {result.method for result in found.values()} == {"DINOv2 ViT-B/14, LVD-142M"}
    assert {result.imported for result in found.values()} == {"efficient-probing"}
    assert knn.details["told"] == "k = 15 and T = 0.07"
    assert "number of runs" in knn.details["unsaid"]


def test_tokens_before_the_last_norm_are_another_recipe(imported):
    found = by_protocol(imported("results.csv", EP_COLUMNS, EP_MAE))
    assert sorted(found) == ["imagenet-ep-raw", "imagenet-knn-ep", "imagenet-linear-ep"]
    assert found["imagenet-ep-raw"].fingerprint == PROTOCOLS["imagenet-ep-raw"].fingerprint
    linear = found["imagenet-linear-ep"]
    assert linear.overrides == {"taken": "before the last norm"}
    assert linear.fingerprint != PROTOCOLS["imagenet-linear-ep"].fingerprint


def test_another_size_feature_and_precision_are_settings(imported):
    found = by_protocol(imported("results.csv", EP_COLUMNS, EP_PE))
    assert sorted(found) == ["imagenet-ep-all", "imagenet-linear-ep"]  # neighbours: `-`, not measured
    sizes = {"transform.crop": "336", "transform.resize": "384", "precision": "fp32"}
    assert found["imagenet-ep-all"].overrides == sizes
    linear = found["imagenet-linear-ep"]
    assert linear.overrides == {**sizes, "heads_on": "patches"}
    assert linear.fingerprint == PROTOCOLS["imagenet-linear-ep"].with_settings(linear.overrides).fingerprint


def test_ssl_risks_errors_are_what_they_leave_of_100(imported):
    other = RISK_BARLOW.replace("barlow_rn50", "dino").replace("avgpool", "4xcls").replace("49.092", "49.5")
    barlow, dino = imported("all_results.csv", RISK_GROUPS, RISK_COLUMNS, "enc,,,,,,,,", RISK_BARLOW, other)
    assert barlow.metrics == {"top1-1pct": 50.908, "top1-k30": 56.424, "top1-k5": 42.674, "top1-k3": 36.702}
    assert barlow.headline == "top1-1pct"
    assert barlow.fingerprint == PROTOCOLS["imagenet-labels-ssl-risk"].fingerprint
    assert barlow.method == "barlow_rn50 [SSL-Risk]"
    assert dino.overrides == {"z_layer": "4xcls"}
    assert dino.fingerprint != barlow.fingerprint


def test_timms_models_that_were_shown_otherwise_stand_in_other_columns(imported):
    padded = TIMM_A1.replace("a1_in1k", "padded").replace("1.000", "1.150")
    first, other, beyond = imported("results-imagenet.csv", TIMM_COLUMNS, TIMM_TV, TIMM_A1, padded)
    assert (first.protocol, first.metrics) == ("robust-released@imagenet", {"top1": 76.156, "top5": 92.866})
    assert first.fingerprint == find_protocol("robust-released@imagenet").fingerprint
    assert first.overrides == {}
    assert other.overrides == {
        "transform.crop": "288",
        "transform.resize": "288",
        "transform.interpolation": "bicubic",
    }
    assert beyond.overrides == {**other.overrides, "transform.resize": "250", "crop_pct": "1.150"}  # floor(288 / 1.15)
    assert len({first.fingerprint, other.fingerprint, beyond.fingerprint}) == 3


def test_timms_file_name_says_which_images(imported):
    (result,) = imported("results-sketch.csv", f"{TIMM_COLUMNS},top1_diff,top5_diff,rank_diff", f"{TIMM_TV},-1,-1,+1")
    assert result.protocol == "robust-released@imagenet-sketch"
    with pytest.raises(ForeignError, match="line 2: which images these are, timm says by the file's name"):
        imported("results-imagenet-r-clean.csv", TIMM_COLUMNS, TIMM_TV)


def test_visbenchs_record_is_a_protocol_of_its_own(imported):
    (result,) = imported("visbench.jsonl", visbench())
    assert result.protocol == "visbench-classification"
    assert result.metrics == pytest.approx({"top1": 99.54139590263367, "top5": 99.97451901435852})
    assert (result.data, result.data_sha256) == ("val/val", "9555d63a9e12b035")
    assert result.details["program_version"] == "0.5.0"
    assert result.overrides == {}


@pytest.mark.parametrize(
    "changes",
    [
        {"task_params": {"batch_size": 256, "epochs": 100, "lr": 0.01, "num_classes": 10}},
        {"dataset_params": {"num_classes": 100}},
        {"pooling_requested": "mean"},
        {"finetune": {"blocks": 2, "backbone_lr": 0.1}},
        {"layer": 5},
        {"split": "test"},
        {"metrics": {"top1": 0.5, "classes_scored": 9.0}},
    ],
)
def test_whatever_is_recipe_moves_visbenchs_fingerprint(imported, changes):
    (first,) = imported("a.jsonl", visbench())
    (second,) = imported("b.jsonl", visbench(**changes))
    assert first.fingerprint != second.fingerprint


def test_what_is_no_recipe_does_not(imported):
    resolved = {"pooling": "mean", "backbone": "resnet50", "visbench_version": "0.9.0", "seed": 1}
    (first,) = imported("a.jsonl", visbench())
    (second,) = imported("b.jsonl", visbench(**resolved))
    assert first.fingerprint == second.fingerprint


def test_a_note_may_hold_what_ends_a_line_elsewhere(imported):
    (found,) = imported("a.jsonl", json.dumps(VISBENCH | {"notes": "one\u2028two"}, ensure_ascii=False))
    assert found.details["told"] == "one\u2028two"


def test_visbenchs_data_without_a_fingerprint_are_told_apart_by_name(imported):
    one, two = imported("a.jsonl", *(visbench(dataset=name, dataset_fingerprint=None) for name in ("a", "b")))
    assert one.fingerprint != two.fingerprint
    assert one.data_sha256 == ""


def test_only_shares_are_imported_and_the_latest_record_stands(imported):
    errors = visbench(task="surface_normal", metrics={"mean": 20.0, "d1": 0.5})
    depth = visbench(task="depth", metrics={"d1": 0.5, "rmse": 0.25, "abs_rel": 0.125})
    later = visbench(metrics={"top1": 0.25}, timestamp="2026-08-03T00:00:00+00:00")
    found = by_protocol(imported("v.jsonl", later, errors, depth, visbench()))
    assert {name: result.metrics for name, result in found.items()} == {
        "visbench-classification": {"top1": 25.0},
        "visbench-depth": {"d1": 50.0},
    }
    assert "surface_normal" not in VISBENCH_HEADLINES  # its headline is an error in degrees


@pytest.mark.parametrize(
    ("name", "lines", "match"),
    [
        ("x.csv", ["a,b", "1,2"], "not recognised; expected a table of efficient-probing, SSL-Risk, timm, VisBench"),
        ("x.csv", [], "not recognised"),
        ("x.jsonl", ['{"a": 1}'], "not recognised"),
        ("x.jsonl", ['{"a": '], "line 1: not readable as JSON"),
        ("x.jsonl", [visbench(), "[]"], "line 2: no object"),
        ("x.jsonl", ['{"a":' + "[" * 99 + "]" * 99 + "}"], "values within each other"),
        ("x.jsonl", [visbench(metrics={"top1": 1.5})], "top1 is '1.5', expected a number from 0 to 1"),
        ("x.jsonl", [visbench(metrics={"top1": [1]})], r"top1 is '\[1\]', expected a number"),
        ("x.jsonl", [visbench(task="edge")], "a table of VisBench without a number that is percent"),
        ("results-imagenet.csv", [TIMM_COLUMNS, TIMM_TV, TIMM_TV], "line 3: resnet50.tv_in1k on .* is on line 2, too"),
        ("results-imagenet.csv", [TIMM_COLUMNS, "a,b"], "line 2: 2 cells under 9 columns"),
        ("results-imagenet.csv", [TIMM_COLUMNS, TIMM_TV.replace("76.156", "nan")], "top1 is 'nan', expected a number"),
        ("results-imagenet.csv", [TIMM_COLUMNS, TIMM_TV.replace(",224", ",9" + "9" * 99)], "expected a size in pixels"),
        ("results-imagenet.csv", [TIMM_COLUMNS, TIMM_TV.replace("0.875", "0")], "crop_pct is '0'"),
        ("results-imagenet.csv", [TIMM_COLUMNS, TIMM_TV.replace("0.875", "1e-320")], "crop_pct is '1e-320'"),
        ("results-imagenet.csv", [json.dumps(dict.fromkeys(TIMM_COLUMNS.split(","), 1))], "not recognised"),
        ("results-imagenet.csv", [TIMM_COLUMNS, TIMM_TV.replace("resnet50", "\x1b[31m")], "expected printable"),
        ("results-imagenet.csv", [TIMM_COLUMNS, TIMM_TV.replace("resnet50", "r" * 200_000)], "no CSV"),
        ("results.csv", [EP_COLUMNS.replace("amp", "precision"), EP_DINOV2], "not recognised"),
        ("results.csv", [EP_COLUMNS, EP_DINOV2.replace(",IN-1K,", ",STL10,")], "evaluated on 'STL10', expected IN-1K"),
        ("results.csv", [EP_COLUMNS, EP_DINOV2.replace(",ep,", ",other,")], "ep_variant is 'other'"),
    ],
)
def test_what_cannot_be_read_ends_in_one_line(imported, name, lines, match):
    with pytest.raises(ForeignError, match=match) as error:
        imported(name, *lines)
    assert "\n" not in str(error.value)


def test_a_table_is_imported_by_one_command_and_every_number_says_where_it_stands(tmp_path, capsys):
    file, out = tmp_path / "results-imagenet.csv", tmp_path / "out"
    file.write_text("\n".join([TIMM_COLUMNS, TIMM_TV, TIMM_A1, TIMM_TV.replace("resnet50", "vgg16")]))
    command = ["import", str(file), str(out), "--only", "ResNet50"]
    assert twinbench.main(command) == 0
    assert twinbench.main(command) == 0  # the same again replaces it
    assert "2 results of timm, on robust-released@imagenet" in capsys.readouterr().out
    table = read([out])
    assert set(table.methods) == {"resnet50.tv_in1k", "resnet50.a1_in1k"}
    assert len(table.columns) == 2
    notes = [text for _, text in table.footnotes]
    assert any(
        text.startswith("not measured here: imported from timm, results-imagenet.csv; not stated there: timm's version")
        for text in notes
    )
    assert any("transform.crop=288" in text for text in notes)
    assert twinbench.main([*command[:3], "--only", "none such"]) == 2
    assert "is in none of 3 methods' names" in capsys.readouterr().err


@pytest.mark.parametrize("more", [["--protocol", "imagenet-knn"], ["--layer", "x"], ["--seed", "1"]])
def test_what_is_said_of_a_log_is_not_said_of_a_table(tmp_path, capsys, more):
    assert twinbench.main(["import", str(tmp_path / "x"), str(tmp_path / "out"), *more]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_no_measured_result_is_written_over(tmp_path, write, capsys):
    file, out = tmp_path / "results-imagenet.csv", tmp_path / "out"
    file.write_text(f"{TIMM_COLUMNS}\n{TIMM_TV}\n")
    assert twinbench.main(["import", str(file), str(out)]) == 0
    (path,) = out.rglob("result.json")
    path.write_text(path.read_text().replace('"imported": "timm"', '"imported": ""'))
    assert twinbench.main(["import", str(file), str(out)]) == 2
    assert "holds another result" in capsys.readouterr().err
