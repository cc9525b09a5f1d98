"""A trained detector or segmenter on anybody's images: pictures of what it finds, and files that COCO's tools read."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from detectron2.data import transforms
from detectron2.data.detection_utils import build_augmentation
from PIL import Image

from twinbench.data.decode import read_upright
from twinbench.data.errors import DataError
from twinbench.detection.drawing import draw, things_of
from twinbench.detection.evaluation.predictions import Detections, detections_of, wide
from twinbench.detection.places import IMAGES, JPEG, MAKER, RESULTS, Planned, PredictError
from twinbench.detection.semantic.areas import areas
from twinbench.detection.trained import Trained, load_trained
from twinbench.protocols.house import replacing
from twinbench.runtime.precision import network_precision
from twinbench.runtime.process import current_process
from twinbench.runtime.progress import bar

SMALLEST = 480  # pixels of the longer side of a picture: letters do not fit on thumbnails, which are drawn larger
LEAST_SCORE = 0.5  # of what is shown of a detector
QUALITY = 90  # of a JPEG
BACKGROUND = "background"  # the class of pixels that are of no other is not painted


def predict_images(
    trial: Path, plan: Sequence[Planned], out: Path, threshold: float | None = None, device: str = "auto"
) -> dict[str, Any]:
    """Draw every image of `plan` into `out` with what the trial's model finds there, and write that.

    Of a detector these are the objects of at least `threshold`, by default LEAST_SCORE; of a segmenter the areas of its
    classes.

    Returns the number of images and objects, those of each class, and one line for each image that is not readable.
    """
    device = current_process(device).device
    with network_precision("fp32", device, exact_products=True):
        least = LEAST_SCORE if threshold is None else threshold
        trained = load_trained(trial, device, least)
        if trained.is_segmenter and threshold is not None:
            raise PredictError(f"{trial}: a trial of a segmenter, whose pixels have no scores; leave --threshold out")
        info: dict[str, Any] = {"made_by": MAKER, "trial": str(trial)}
        if not trained.is_segmenter:
            info["threshold"] = least
        about: dict[str, Any] = {"info": info}
        about["images"] = [{"picture": one.picture} for one in plan]  # ours from now on, whenever a run is killed
        _write_json(out / IMAGES, about)
        images: list[dict[str, Any]] = []
        results: list[dict[str, Any]] = []
        unreadable: list[str] = []
        for one in bar(plan, what="predict", unit="img"):
            try:
                image = read_upright(one.file)
            except DataError as error:
                unreadable.append(str(error))
                continue
            found = found_on(trained, image)
            _save(drawn(image, found, trained.classes), out / one.picture)
            number = len(images) + 1
            about_image = {"id": number, "file_name": one.name, "width": image.width, "height": image.height}
            images.append({**about_image, "picture": one.picture, "path": str(one.file)})
            results += [_result(number, one.name, detection, trained.classes) for detection in found]
    categories = [{"id": number, "name": name} for number, name in enumerate(trained.classes, 1)]
    _write_json(out / IMAGES, {**about, "images": images, "categories": categories})
    _write_json(out / RESULTS, results)
    counts = Counter(result["category"] for result in results)
    return {
        "out": str(out),
        "images": len(images),
        "what": "area" if trained.is_segmenter else "object",
        "detections": len(results),
        "classes": {name: counts[name] for name in trained.classes if counts[name]},
        "unreadable": unreadable,
    }


def found_on(trained: Trained, image: Image.Image) -> Detections:
    """Return what is to be drawn on an RGB image, in its own pixels, the best or the largest first."""
    if trained.is_segmenter:
        return areas(trained.config, trained.model, image)
    return detect(trained, image)


def detect(trained: Trained, image: Image.Image) -> Detections:
    """Return what the detector finds on an RGB image, in the image's own pixels, the best first."""
    config = trained.config
    pixels = np.asarray(image)  # (H, W, 3)
    if config.INPUT.FORMAT == "BGR":
        pixels = pixels[:, :, ::-1]
    resize = transforms.AugmentationList(build_augmentation(config, is_train=False))
    pixels = resize(transforms.AugInput(pixels)).apply_image(pixels)  # (H', W', 3)
    tensor = torch.as_tensor(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
    with torch.inference_mode():
        (found,) = trained.model([{"image": tensor, "height": image.height, "width": image.width}])
    return detections_of(found["instances"].to("cpu"))


def drawn(image: Image.Image, found: Detections, classes: Sequence[str]) -> Image.Image:
    """Return the picture of an image with what is found on it, a small image enlarged."""
    factor = max(1, -(-SMALLEST // max(image.size)))
    larger = image.resize((image.width * factor, image.height * factor), Image.Resampling.BICUBIC)
    shown = larger if factor > 1 else image
    return draw(shown, [thing for thing in things_of(found, classes, shown.size, factor) if thing.label != BACKGROUND])


def _result(image: int, name: str, detection: dict[str, Any], classes: Sequence[str]) -> dict[str, Any]:
    """Return a detection in the form of COCO's results, with its image and class by name."""
    label = detection["category_id"]
    named = {"image_id": image, "file_name": name, "category_id": label + 1, "category": classes[label]}
    return {**named, **detection, "category_id": label + 1, "bbox": wide([detection])[0]}


def _save(picture: Image.Image, path: Path) -> None:
    """Write a picture in the format of its name."""
    with replacing(path) as beside:
        if path.suffix.lower() in JPEG:
            picture.save(beside, format="JPEG", quality=QUALITY)
        else:
            picture.save(beside, format="PNG")


def _write_json(path: Path, content: Any) -> None:
    """Write a file that people may look at, too: a list has a line for each entry."""
    text = json.dumps(content, indent=1, ensure_ascii=False)
    if isinstance(content, list):
        text = "[\n" + ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in cast("list[Any]", content)) + "\n]"
    with replacing(path) as beside:
        beside.write_text(text + "\n")
