"""What Detectron2 calls the data sets, so that a trial's config.yaml says what it is about and runs there, too."""

from twinbench.protocols.datasets import DataSet

Names = tuple[tuple[str, ...], tuple[str, ...]]  # DATASETS.TRAIN and DATASETS.TEST

KNOWN: dict[str, Names] = {  # detectron2/data/datasets/builtin.py
    "voc0712": (("voc_2007_trainval", "voc_2012_trainval"), ("voc_2007_test",)),
    "coco17": (("coco_2017_train",), ("coco_2017_val",)),
    "coco17-keypoints": (("keypoints_coco_2017_train",), ("keypoints_coco_2017_val",)),
    "lvis": (("lvis_v1_train",), ("lvis_v1_val",)),
    "cityscapes-instances": (("cityscapes_fine_instance_seg_train",), ("cityscapes_fine_instance_seg_val",)),
}


def catalogue_names(data_set: DataSet) -> Names:
    """Return the names of the training and the test images in Detectron2's catalogue.

    Data that Detectron2 does not know is called by its own name; a part of COCO is no part that Detectron2 knows, but
    is tested on all of val2017.
    """
    if data_set.name in KNOWN:
        return KNOWN[data_set.name]
    train = (f"{data_set.name}_train",)
    if data_set.name.startswith("coco17-"):
        return train, KNOWN["coco17"][1]
    return train, (f"{data_set.name}_test",)
