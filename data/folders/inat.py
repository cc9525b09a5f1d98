"""iNaturalist 2018: train2018.json and val2018.json beside train_val2018/<supercategory>/<category id>/*.jpg.

Any data set with two such files is read: train*.json and val*.json or test*.json, image names relative to the root.
"""

from twinbench.data.errors import DataError, require_folder
from twinbench.data.folders.json_lists import by_id, is_known, read_json_lists
from twinbench.data.folders.own import split_file
from twinbench.data.labelled import LabelledImages, as_targets
from twinbench.data.paths import PathList
from twinbench.data.source import Source

FILES = {"train": "train2018.json", "test": "val2018.json"}
HOLDS = "train2018.json, val2018.json and train_val2018/"


def read_inat(source: Source, split: str) -> LabelledImages:
    """Return one split in the order of the image ids; class index = rank of the category id."""
    root = source.path
    path = split_file(source, split, FILES[split])
    if not path.exists():
        require_folder(root, FILES[split], HOLDS)
    lists = read_json_lists(path)
    images = by_id(path, lists["images"], "images")
    categories = by_id(path, lists["categories"], "categories")
    label_of = {category: label for label, category in enumerate(sorted(categories))}
    labels: dict[int, int] = {}
    for annotation in lists["annotations"]:
        image, category = annotation.get("image_id"), annotation.get("category_id")
        if not is_known(image, images) or not is_known(category, categories) or image in labels:
            raise DataError(
                f"{path}: an annotation of image {image} as category {category}; expected each image once, with a"
                " category of the list; fetch the file again, or if images have several give coco:TRAIN.json,TEST.json"
            )
        labels[image] = label_of[category]
    if len(labels) != len(images):
        image = min(set(images) - set(labels))
        raise DataError(f"{path}: image {image} has no annotation; expected one for each of {len(images)} images")
    order = sorted(images)
    names = [images[image].get("file_name") for image in order]
    if odd := [image for image, name in zip(order, names, strict=True) if not isinstance(name, str)]:
        raise DataError(f"{path}: image {odd[0]} has no file_name; expected train_val2018/...; fetch the file again")
    return LabelledImages(
        PathList(root, map(str, names)),
        as_targets([labels[image] for image in order]),
        tuple(str(categories[category].get("name", category)) for category in sorted(categories)),
        root=root,
        sources=(path,),
    )
