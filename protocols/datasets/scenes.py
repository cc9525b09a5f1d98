"""The demo's version of each published data set: ten digits, with the counts that `twinbench data make` writes."""

from twinbench.protocols.datasets.detection import CITYSCAPES, COCO17, VOC07, VOC0712, VOC12AUG_SEG
from twinbench.protocols.datasets.entry import BOXES, MASKS, MULTI, PIXELS, SINGLE, DataSet
from twinbench.protocols.datasets.large import IMAGENET, IMAGENET_1PCT, IMAGENET_10PCT, INAT18, PLACES205

SCENES = {
    VOC07: DataSet("scenes-voc07", MULTI, "voc", "voc", 10, (600, 300)),
    VOC0712: DataSet("scenes-voc0712", BOXES, "voc", "voc", 10, (800, 300)),
    COCO17: DataSet("scenes-coco17", MASKS, "coco", "coco", 10, (600, 200)),
    VOC12AUG_SEG: DataSet("scenes-voc12aug-seg", PIXELS, "voc-pixels", "masks", 11, (600, 200)),
    CITYSCAPES: DataSet("scenes-cityscapes", PIXELS, "voc-pixels", "masks", 11, (600, 200)),
    IMAGENET: DataSet("scenes-imagenet", SINGLE, "imagenet", "imagenet", 10, (3000, 500)),
    IMAGENET_10PCT: DataSet("scenes-imagenet-10pct", SINGLE, "imagenet", "imagenet", 10, (300, 500), "10%"),
    IMAGENET_1PCT: DataSet("scenes-imagenet-1pct", SINGLE, "imagenet", "imagenet", 10, (30, 500), "1%"),
    INAT18: DataSet("scenes-inat18", SINGLE, "inat", "inat", 10, (1000, 300)),
    PLACES205: DataSet("scenes-places205", SINGLE, "places", "places", 10, (1000, 300)),
}
