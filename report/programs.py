"""The benchmarks whose whole tables `twinbench import` reads: one entry each, with what their files leave unsaid.

Sources, abbreviated: EP = billpsomas/efficient-probing at b8f4fb8, results.csv, tools/gen_leaderboard.py and
main_linprobe.py; RISK = YannDubs/SSL-Risk-Decomposition at e09046d, all_results.csv; TIMM =
huggingface/pytorch-image-models at aa4b585, results/results-*.csv and timm/data/transforms_factory.py; VISBENCH =
turhancan97/VisBench at feafbaf, visbench/results/.
"""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from twinbench.report.foreign import ForeignError, Number, Program, Row, in_bounds, percent, pixels


def _efficient_probing(row: Row, path: Path) -> Iterator[Number]:
    """Nearest neighbours, a linear probe and efficient probing of one encoder."""
    if row["eval"].strip() != "IN-1K":  # EP gen_leaderboard.py refuses others, too
        raise ForeignError(f"evaluated on {row['eval'][:40]!r}, expected IN-1K")
    method = f"{row['method']} {row['arch']}, {row['pretrain']}"
    size = pixels(row, "image_size")
    precision = "fp32" if row["amp"] == "float32" else "bf16"  # EP README: --amp bfloat16 in all commands but CAPI's
    shared: dict[str, object] = {"transform.crop": size, "transform.resize": size * 256 // 224, "precision": precision}
    feature, procedure = _ep_feature(row)
    knn, linear, attentive = (percent(row, column) for column in ("knn", "lp", "ep"))
    if knn is not None:
        told = f"k = {row['knn_k']} and T = {row['knn_T']}"
        settings = {**shared, "feature": feature}
        yield Number(method, "imagenet-knn-ep", {"top1": knn}, settings, procedure, told=_told(told, row))
    if linear is not None:
        settings = {**shared, "heads_on": feature}
        yield Number(method, "imagenet-linear-ep", {"top1": linear}, settings, procedure, told=_told("", row))
    if attentive is not None:
        name = {"ep": "imagenet-ep", "ep_all": "imagenet-ep-all"}.get(row["ep_variant"])
        if name is None:
            raise ForeignError(f"ep_variant is {row['ep_variant'][:40]!r}, expected ep or ep_all")
        raw = "-raw" if row["loader"] in EP_RAW else ""
        settings = {**shared, "heads_on": f"ep-{row['ep_queries']}"}
        yield Number(method, f"{name}{raw}", {"top1": attentive}, settings, told=_told("", row))


EP_RAW = ("", "simmim")  # loaders of EP models_vit.py, which never applies the last norm


def _ep_feature(row: Row) -> tuple[str, dict[str, str]]:
    """Return the feature of a row's linear probe and neighbours, and in what it is another than ours of that name."""
    feature = {"cls": "class", "pos": "patches"}.get(row["lp_variant"].strip())
    if feature is None and row["lp_gap"] == "yes":  # rows without a variant: generative models, without class token
        feature = "patches"
    if feature is None:
        raise ForeignError(f"lp_variant is {row['lp_variant'][:40]!r}, expected cls or pos")
    own = {"openclip": "the projected embedding", "radio": "the class tokens of all its teachers"}
    if feature == "class" and row["loader"] in own:
        return feature, {"taken": own[row["loader"]]}  # EP gen_leaderboard.py: features of another width
    return feature, {"taken": "before the last norm"} if row["loader"] in EP_RAW else {}


def _told(text: str, row: Row) -> str:
    """Return what a row adds, its own note behind it."""
    return "; ".join(part for part in (text, row["notes"].strip()) if part)


def _ssl_risk(row: Row, path: Path) -> Iterator[Number]:
    """Errors of logistic regressions on few labels, in percent."""
    metrics: dict[str, float] = {}
    for metric, column in RISK_ERRORS.items():
        error = percent(row, column)
        if error is not None:
            metrics[metric] = round(100 - error, 10)
    procedure: dict[str, str] = {}
    if row["img_size"] not in ("224", ""):
        procedure["img_size"] = row["img_size"]
    if row["z_layer"] not in RISK_POOLED:
        procedure["z_layer"] = row["z_layer"]
    if "top1-1pct" in metrics:
        told = "" if row["z_layer"] else "which layer"
        yield Number(f"{row['']} [SSL-Risk]", "imagenet-labels-ssl-risk", metrics, procedure=procedure, told=told)


RISK_ERRORS = {
    "top1-1pct": "train-balsbst-ntrain0.01_test",
    "top1-k30": "train-nperclass-30_test",
    "top1-k5": "train-nperclass-5_test",
    "top1-k3": "train-nperclass-3_test",
}
RISK_POOLED = ("avgpool", "cls")  # what the network itself gives, as the protocol takes it


def _timm(row: Row, path: Path) -> Iterator[Number]:
    """A released classifier on one of ImageNet's test sets."""
    data = TIMM_SETS.get(path.name)
    if data is None:
        raise ForeignError(f"which images these are, timm says by the file's name; expected {', '.join(TIMM_SETS)}")
    size, share = pixels(row, "img_size"), in_bounds(row["crop_pct"], "crop_pct", 2)
    if share < TIMM_LEAST:
        raise ForeignError(f"crop_pct is {row['crop_pct'][:40]!r}, expected a share of the image")
    settings: dict[str, object] = {"transform.crop": size, "transform.resize": math.floor(size / share)}
    procedure = {"crop_pct": row["crop_pct"]} if share > 1 else {}  # padded: no recipe of ours says that
    if row["interpolation"] in ("bilinear", "bicubic"):
        settings["transform.interpolation"] = row["interpolation"]
    else:
        procedure["interpolation"] = row["interpolation"]
    metrics = {metric: percent(row, metric) for metric in ("top1", "top5")}
    found = {metric: value for metric, value in metrics.items() if value is not None}
    if "top1" in found:
        yield Number(row["model"], f"robust-released@{data}", found, settings, procedure)


TIMM_LEAST = 0.01  # of a share; its own lie between 0.8 and 1
TIMM_SETS = {  # those on 200 of ImageNet's classes, ...-clean, are no set of ours
    "results-imagenet.csv": "imagenet",
    "results-imagenet-real.csv": "imagenet-real",
    "results-imagenetv2-matched-frequency.csv": "imagenet-v2",
    "results-imagenet-a.csv": "imagenet-a",
    "results-imagenet-r.csv": "imagenet-r",
    "results-sketch.csv": "imagenet-sketch",
}


def _visbench(row: Row, path: Path) -> Iterator[Number]:
    """A probe of one backbone, by a recipe of VisBench's own."""
    headline = VISBENCH_HEADLINES.get(str(row["task"]))
    found = row["metrics"]
    if headline is None or not isinstance(found, dict) or headline not in found:
        return
    scores = cast("Mapping[str, Any]", found)
    metrics = {headline: 100 * in_bounds(scores[headline], headline, 1)}
    for name, value in scores.items():
        if name.partition("@")[0] in VISBENCH_SHARES and name != headline:
            metrics[name] = 100 * in_bounds(value, name, 1)
    seed = row.get("seed")
    identity = row.get("dataset_fingerprint")
    procedure = {name: row.get(name) for name in VISBENCH_RECIPE}
    procedure["pooling"] = row.get("pooling_requested") or row.get("pooling")  # v6 and earlier have the resolved one
    procedure["classes_scored"] = scores.get("classes_scored")  # VISBENCH GUARD_METRICS: what a mean is over
    if not isinstance(identity, str) or not identity:  # then the name alone tells the data apart
        identity, procedure["dataset"] = "", row.get("dataset")
    yield Number(
        method=f"{row['backbone']} [{row['backbone_key']}]",
        protocol=f"visbench-{row['task']}",
        metrics=metrics,
        procedure=procedure,
        is_ours=False,
        told=str(row.get("notes") or ""),
        seed=seed if type(seed) is int else 0,
        data=f"{row.get('dataset')}/{row.get('split')}",
        data_identity=identity,
        version=str(row["visbench_version"]),
        finished=str(row.get("timestamp") or ""),
        details={"recipe": procedure},
    )


VISBENCH_RECIPE = (  # VISBENCH leaderboard.py, ComparabilityKey; and which layer, which it leaves out
    *("task", "level", "split", "finetune", "feature_mode", "layer", "layers", "task_params", "dataset_params"),
)
VISBENCH_HEADLINES = {  # VISBENCH render.py, HEADLINE_METRICS: those that are shares, where more is better
    "classification": "top1",
    "retrieval": "mAP",
    "correspondence": "recall@5px",
    "similarity": "accuracy",
    "semantic_segmentation": "miou",
    "generic_segmentation": "iou",
    "detection": "map_50",
    "depth": "d1",
}
VISBENCH_SHARES = frozenset(  # VISBENCH leaderboard.py, METRIC_DIRECTIONS: higher, but for correlations
    {
        *("top1", "top5", "accuracy", "precision", "recall", "f1", "iou", "binary_iou", "miou", "miou_per_image"),
        *("pixel_acc", "mean_acc", "d1", "d2", "d3", "mAP", "map_50", "map_50_95", "auc"),
    }
)

PROGRAMS = (
    Program(
        "efficient-probing",
        frozenset(
            {
                *(
                    "method",
                    "arch",
                    "pretrain",
                    "eval",
                    "image_size",
                    "amp",
                    "loader",
                    "notes",
                    "knn",
                    "knn_k",
                    "knn_T",
                ),
                *("lp", "lp_variant", "lp_gap", "ep", "ep_variant", "ep_queries"),
            }
        ),
        _efficient_probing,
        "the code's commit; number of runs; of rows that its paper has, the best of which numbers of queries",
    ),
    Program(
        "SSL-Risk",
        frozenset({"", "z_layer", "img_size", *RISK_ERRORS.values()}),
        _ssl_risk,
        "the code's commit; spread (one draw)",
        header=1,  # above it stand the groups of its columns
    ),
    Program(
        "timm",
        frozenset({"model", "img_size", "top1", "top5", "crop_pct", "interpolation"}),
        _timm,
        "timm's version; how the crop was taken (crop_mode), mean and std, precision",
    ),
    Program(
        "VisBench",
        frozenset({"backbone", "backbone_key", "task", "metrics", "task_params", "visbench_version"}),
        _visbench,
        "the images by name; spread (one run)",
        header=None,
        latest=lambda number: number.finished,  # VISBENCH latest_per_backbone: files are appended to
    ),
)
