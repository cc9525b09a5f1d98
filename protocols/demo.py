"""The demo protocols: the same recipes scaled down to the generated scenes, a narrow backbone and two cores."""

from dataclasses import replace

from twinbench.protocols import classification, detection
from twinbench.protocols.schema import DetectionRecipe, ImageTransform, KnnRecipe, ProbeRecipe, Protocol, SvmRecipe

WIDTH = 0.25  # a quarter of the channels: 16, 32, 64, 128
CENTER_CROP = ImageTransform(resize=54, crop=48, shape="center-crop")  # 48: the crop of the demo's pretraining
SQUASH = ImageTransform(resize=112, crop=96, shape="squash")
COSTS = (0.01, 0.1, 1.0, 10.0, 100.0)  # those of them that the paper's protocol tries


def _scaled(paper: Protocol) -> Protocol:
    """Return the demo version of a paper's protocol; only sizes, lengths, width and counts differ.

    Learning rates follow the batch size. Images are resized bilinearly throughout.
    """
    recipe = paper.recipe
    if isinstance(recipe, SvmRecipe):
        # 96 px give a 3 x 3 map, too small for the 6 x 6 average: the global average stands in.
        costs = tuple(cost for cost in COSTS if cost in recipe.costs) if len(recipe.costs) > 1 else recipe.costs
        squash = replace(SQUASH, resize=SQUASH.resize if recipe.transform.resize else 0)
        transform = CENTER_CROP if recipe.transform.shape == "center-crop" else squash
        recipe = replace(recipe, transform=transform, pooling="gap", costs=costs, shots=recipe.shots[:5])
    elif isinstance(recipe, KnnRecipe):
        recipe = replace(recipe, transform=CENTER_CROP, neighbors=(10, 20))
    elif isinstance(recipe, ProbeRecipe):
        epochs = recipe.epochs if recipe.train_backbone else 8
        milestones = tuple(round(milestone * epochs / recipe.epochs) for milestone in recipe.milestones)
        batch_size = 64
        recipe = replace(
            recipe,
            transform=CENTER_CROP,
            epochs=epochs,
            milestones=milestones,
            batch_size=batch_size,
            lr_head=recipe.lr_head * batch_size / recipe.batch_size,  # rates follow the batch, as in Goyal et al. 2017
            lr_backbone=recipe.lr_backbone * batch_size / recipe.batch_size,
            feature="gap",
            norm_groups=1,  # a batch of 64 small images is no larger than one GPU's of the paper
        )
    else:
        recipe = _scaled_detection(recipe)
    few = recipe.train_fraction if isinstance(recipe, ProbeRecipe) else ""
    shots = recipe.shots if isinstance(recipe, SvmRecipe) else ()
    return replace(
        paper,
        name=f"demo-{paper.name}",
        task=f"{paper.task} [demo scenes]",
        classes=10,
        images=_IMAGES.get((paper.data, few)) or _IMAGES[paper.data, paper.room],
        metric=f"mAP-k{shots[-1]}" if shots else paper.metric,
        trials=_TRIALS.get(paper.name, 1),
        source=f"{paper.name}, scaled down",
        recipe=recipe,
        published_as="",
        width=WIDTH,
    )


def _scaled_detection(recipe: DetectionRecipe) -> DetectionRecipe:
    """Return a schedule of a hundred small iterations on 96 px scenes; tried out on one core."""
    fpn = recipe.architecture == "mrcnn-fpn"
    iterations = 200 if recipe.iterations > 90_000 else 100  # 2x and 1x
    return replace(
        recipe,
        batch_size=4,
        # Not a quarter, as the linear rule has it: in so few iterations a high rate gets further. VOC, random backbone:
        # AP50 0.8 at half the rate, 3.0 at the rate itself; a pretrained one 5.2, and 5.0 at twice the rate.
        lr=recipe.lr * (1 if recipe.architecture == "frcnn-c4" else 3),
        warmup_iterations=max(1, recipe.warmup_iterations // 100),
        steps=(iterations * 8 // 10,),
        iterations=iterations,
        min_size_train=(96,),
        min_size_test=96,
        max_size=160,
        anchor_sizes=(12, 24, 48, 96, 192) if fpn else (16, 24, 32),  # the digits are 17 to 40 px
        rpn_pre_nms_test=200,
        rpn_post_nms_test=16,
        rois_per_image=16,
        roi_resolution=7,
        precise_bn_iterations=5,
    )


_IMAGES = {
    ("voc", "transfer"): (600, 300),
    ("imagenet", "transfer"): (3000, 500),
    ("imagenet", "1%"): (30, 500),
    ("imagenet", "10%"): (300, 500),
    ("inat", "transfer"): (1000, 300),
    ("places", "transfer"): (1000, 300),
    ("voc", "detection"): (800, 300),
    ("coco", "detection"): (600, 200),
}
_TRIALS = {"voc07-svm": 3, "imagenet-linear": 3}

PROTOCOLS = tuple(_scaled(paper) for paper in classification.PROTOCOLS + detection.PROTOCOLS)
