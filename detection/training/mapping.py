"""From a record to a training or test example, by Detectron2's mapper as the recipe asks for it."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetMapper
from detectron2.data import transforms as T
from detectron2.data.detection_utils import SizeMismatchError, build_augmentation, check_image_size

from twinbench.data.decode import read_upright
from twinbench.data.errors import DataError
from twinbench.data.objects.packed import Record
from twinbench.data.objects.split import KeypointNames


def image_mapper(
    config: CfgNode,
    *,
    train: bool,
    jitter: tuple[float, ...] = (),
    keypoints: KeypointNames | None = None,
) -> Callable[[Record], Record | DataError]:
    """Return Detectron2's reader of images: resized, flipped at random in training, with their objects as tensors.

    With a `jitter`, the least and largest scale, training images are put at a random scale on a square of the largest
    test size (large-scale jitter, as in ViTDet's configuration). A damaged file becomes a DataError as value: raised in
    a loader process it would arrive with a page of traceback.
    """
    mapper: Any = Mapper
    is_jittered = train and bool(jitter)
    settings = {
        "augmentations": _jittered(config, jitter) if is_jittered else build_augmentation(config, train),
        "image_format": config.INPUT.FORMAT,
        "use_instance_mask": config.MODEL.MASK_ON,
        "instance_mask_format": config.INPUT.MASK_FORMAT,
        "use_keypoint": config.MODEL.KEYPOINT_ON,
        "recompute_boxes": is_jittered and config.MODEL.MASK_ON,
    }
    if keypoints:
        settings["keypoint_hflip_indices"] = flipped(keypoints)
    return partial(_read, mapper(train, **settings))


class Mapper(DatasetMapper):
    """Detectron2's mapper on images that are read as everywhere here.

    Detectron2 itself cuts a 16-bit image off at 255: whole data sets turn white, and give a number.
    """

    def __call__(self, record: Record) -> Record:
        """Return the example of a record: `image` (C, H, W) uint8, and in training `instances`."""
        pixels = np.asarray(read_upright(Path(record["file_name"])))
        if self.image_format == "BGR":
            pixels = pixels[:, :, ::-1]
        check_image_size(record, pixels)
        given = T.AugInput(pixels)
        transforms = self.augmentations(given)
        image: Any = given.image
        example = {key: value for key, value in record.items() if key != "annotations"}
        example["image"] = torch.as_tensor(np.ascontiguousarray(image.transpose(2, 0, 1)))
        if self.is_train and "annotations" in record:
            example["annotations"] = [dict(thing) for thing in record["annotations"]]
            self._transform_annotations(example, transforms, image.shape[:2])
        return example


def flipped(keypoints: KeypointNames) -> np.ndarray:
    """Return for each keypoint the number of the one that a mirror puts in its place."""
    pairs = dict(keypoints.flips) | {right: left for left, right in keypoints.flips}
    return np.array([keypoints.names.index(pairs.get(name, name)) for name in keypoints.names])


def _jittered(config: CfgNode, jitter: tuple[float, ...]) -> list[Any]:
    """Return the augmentations of Detectron2's configs/common/coco_loader_lsj.py."""
    side: Any = config.INPUT.MAX_SIZE_TRAIN
    crop: Any = T.FixedSizeCrop
    scale = T.ResizeScale(min_scale=jitter[0], max_scale=jitter[1], target_height=side, target_width=side)
    return [T.RandomFlip(horizontal=True), scale, crop(crop_size=(side, side), pad=False)]


def _read(mapper: Callable[[Record], Record], record: Record) -> Record | DataError:
    """Return what `mapper` makes of a record, or a DataError that names its file."""
    things = [_centred(thing) if "keypoints" in thing else thing for thing in record.get("annotations", ())]
    try:
        return mapper({**record, "annotations": things} if things else record)
    except DataError as error:
        return error
    except (SizeMismatchError, ValueError) as error:
        return DataError(f"{record['file_name']}: not usable ({error}); fetch the file again")


def _centred(thing: Record) -> Record:
    """Return an object whose keypoints x, y, v, ... are places: the centre of a pixel is half a pixel on."""
    points = [value if place % 3 == 2 else value + 0.5 for place, value in enumerate(thing["keypoints"])]
    return {**thing, "keypoints": points}
