"""Data sets with boxes, masks or a class a pixel: VOC, COCO, LVIS; Cityscapes, ADE20K, COCO-Stuff, NYUv2."""

from dataclasses import replace

from twinbench.protocols.datasets.entry import BOXES, KEYPOINTS, MASKS, MULTI, PIXELS, About, DataSet, File
from twinbench.protocols.datasets.nyu import NYUV2, NYUV2_DEPTH

_VOC = "https://thor.robots.ox.ac.uk/pascal/VOC/"  # digests: torchvision datasets/voc.py
_VOC07_FILES = (
    File(f"{_VOC}voc2007/VOCtrainval_06-Nov-2007.tar", "md5:c52e279531787c972589f7e41ab4ae64"),
    File(f"{_VOC}voc2007/VOCtest_06-Nov-2007.tar", "md5:b6e924de25625d8de591ea690078ad9f"),
)
_VOC12_FILE = File(f"{_VOC}voc2012/VOCtrainval_11-May-2012.tar", "md5:6cd6e144f989b92b3379bac3b3de84fd")

VOC07 = DataSet(
    "voc07",
    MULTI,
    "voc",
    "voc",
    20,
    (5011, 4952),  # trainval, test
    validation="val",
    about=About(
        title="PASCAL VOC 2007, classification",
        source="VOC2007's lists; BYOL, table 10: 2501 / 2510 / 4952",
        splits=(("train", 2501), ("val", 2510), ("test", 4952)),
        metric="mAP: area under the envelope (VISSL) or 11 points (BYOL, Kornblith)",
        suites=("BYOL",),
        home="http://host.robots.ox.ac.uk/pascal/VOC/voc2007/",
        files=_VOC07_FILES,
        note="class lists say 1, -1 and 0 for difficult; copies with lists of 1 and 0 are about",
    ),
)
VOC0712 = DataSet(
    "voc0712",
    BOXES,
    "voc",
    "voc",
    20,
    (16_551, 4952),  # VOC2007 + VOC2012 trainval, VOC2007 test
    about=About(
        title="PASCAL VOC 2007 and 2012, detection",
        source="the lists of VOC2007 and VOC2012",
        splits=(("2007-trainval", 5011), ("2012-trainval", 11_540), ("2007-test", 4952)),
        metric="AP, AP50, AP75",
        home="http://host.robots.ox.ac.uk/pascal/VOC/",
        files=(*_VOC07_FILES, _VOC12_FILE),
    ),
)

_COCO = "http://images.cocodataset.org/"  # digests: TFDS url_checksums/coco.txt
_COCO_IMAGES = (
    File(f"{_COCO}zips/train2017.zip", "sha256:69a8bb58ea5f8f99d24875f21416de2e9ded3178e903f1f7603e283b9e06d929"),
    File(f"{_COCO}zips/val2017.zip", "sha256:4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05"),
)
COCO17 = DataSet(
    "coco17",
    MASKS,
    "coco",
    "coco",
    80,
    (118_287, 5000),
    about=About(
        title="COCO 2017",
        source="the lists of instances_train2017.json and instances_val2017.json",
        splits=(("train", 118_287), ("val", 5000)),
        metric="AP of boxes and of masks",
        home="https://cocodataset.org",
        files=(
            *_COCO_IMAGES,
            File(
                f"{_COCO}annotations/annotations_trainval2017.zip",
                "sha256:113a836d90195ee1f884e704da6304dfaaecff1f023f49b6ca93c4aaae470268",
            ),
        ),
    ),
)
COCO17_KEYPOINTS = DataSet(
    "coco17-keypoints",
    KEYPOINTS,
    "coco-keypoints",
    "coco",
    1,  # persons
    (118_287, 5000),  # with those that show nobody
    about=replace(
        COCO17.about,
        title="COCO 2017, keypoints of persons",
        source="the lists of person_keypoints_train2017.json and person_keypoints_val2017.json",
        metric="AP of keypoints, by OKS",
        note="trained on the images that show a keypoint",
    ),
)


def _part_of_coco(percent: int, images: int) -> DataSet:
    """Return the part of COCO that Unbiased Teacher trains on as `percent` of the labels."""
    return replace(
        COCO17,
        name=f"coco17-{percent}pct",
        images=(images, 5000),
        subset=f"{percent}%",  # type: ignore[arg-type]  # one of Subset's
        about=replace(
            COCO17.about,
            title=f"COCO 2017, {percent} % of the labels",
            source="facebookresearch/unbiased-teacher, dataseed/COCO_supervision.txt",
            splits=((f"{percent} %", images), ("val", 5000)),
            get="beside the annotations: dataseed/COCO_supervision.txt of github.com/facebookresearch/unbiased-teacher",
            note="images are drawn from the 117,266 that show an object; the draw is run1's",
        ),
    )


COCO17_1PCT = _part_of_coco(1, 1172)
COCO17_2PCT = _part_of_coco(2, 2345)
COCO17_5PCT = _part_of_coco(5, 5863)
COCO17_10PCT = _part_of_coco(10, 11_726)

LVIS = DataSet(
    "lvis",
    MASKS,
    "lvis",
    "lvis",
    1203,
    (100_170, 19_809),
    about=About(
        title="LVIS 1.0",
        source="lvisdataset.org, download page; classes: TFDS object_detection/lvis/lvis.py",
        splits=(("train", 100_170), ("val", 19_809)),
        metric="AP of masks, and of rare, common and frequent classes",
        home="https://www.lvisdataset.org",
        files=(
            *_COCO_IMAGES,
            File("https://dl.fbaipublicfiles.com/LVIS/lvis_v1_train.json.zip"),
            File("https://dl.fbaipublicfiles.com/LVIS/lvis_v1_val.json.zip"),
        ),
        note="val has 15,000 of its images in COCO's train2017",
    ),
)

CITYSCAPES = DataSet(
    "cityscapes",
    PIXELS,
    "cityscapes-pixels",
    "cityscapes",
    19,
    (2975, 500),
    about=About(
        title="Cityscapes, fine annotations",
        source="mcordts/cityscapesScripts, README.md; classes: those it evaluates",
        splits=(("train", 2975), ("val", 500), ("test", 1525)),
        metric="mIoU on val",
        home="https://www.cityscapes-dataset.com",
        get="sign up there for leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip",
    ),
)
ADE20K = DataSet(
    "ade20k",
    PIXELS,
    "ade20k-pixels",
    "ade20k",
    150,
    (20_210, 2000),
    about=About(
        title="ADE20K, scene parsing 2016",
        source="CSAILVision/sceneparsing, README.md",
        splits=(("training", 20_210), ("validation", 2000)),
        metric="mIoU on validation",
        home="http://sceneparsing.csail.mit.edu",
        files=(  # TFDS url_checksums/ade20k.txt
            File(
                "http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip",
                "sha256:7ff1be44964418441f542a7cc1e1a650e7dc0fc275f5d23252bc9bbdbc977b29",
            ),
        ),
        note="0 in a mask is no class; the full ADE20K is another data set",
    ),
)
COCO_STUFF = DataSet(
    "coco-stuff",
    PIXELS,
    "coco-stuff-pixels",
    "coco-stuff",
    171,
    (118_287, 5000),
    about=About(
        title="COCO-Stuff, 164k",
        source="nightrome/cocostuff, README.md and labels.txt; images: COCO 2017's lists",
        splits=(("train2017", 118_287), ("val2017", 5000)),
        metric="mIoU on val2017",
        home="https://github.com/nightrome/cocostuff",
        files=(
            *(replace(file, folder="images") for file in _COCO_IMAGES),
            File(
                "http://calvin.inf.ed.ac.uk/wp-content/uploads/data/cocostuffdataset/stuffthingmaps_trainval2017.zip",
                folder="annotations",
            ),
        ),
        note="80 classes of things and 91 of stuff; the 10k release and the stuff challenge are other data sets",
    ),
)
COCO_STUFF27 = replace(
    COCO_STUFF,
    name="coco-stuff27",
    layout="coco-stuff27-pixels",
    classes=27,
    about=replace(
        COCO_STUFF.about,
        title="COCO-Stuff, 27 groups",
        source="janghyuncho/PiCIE, fine_to_coarse_dict.pickle; images: COCO 2017's lists",
        note="published numbers of unsupervised segmentation are of PiCIE's lists of its images, cropped to squares",
    ),
)
CITYSCAPES_INSTANCES = replace(
    CITYSCAPES,
    name="cityscapes-instances",
    tasks=MASKS,
    layout="cityscapes",
    classes=8,
    about=replace(
        CITYSCAPES.about,
        title="Cityscapes, instances of the fine annotations",
        source="mcordts/cityscapesScripts, README.md; classes: those with instances that it evaluates",
        metric="AP and AP50 of masks on val",
    ),
)
VOC12_SEG = DataSet(
    "voc12-seg",
    PIXELS,
    "voc-pixels",
    "voc",
    21,  # with the background
    (1464, 1449),
    about=replace(
        VOC0712.about,
        title="PASCAL VOC 2012, segmentation",
        source="VOC2012, ImageSets/Segmentation",
        splits=(("train", 1464), ("val", 1449)),
        metric="mIoU on val",
        files=(_VOC12_FILE,),
        note="VOC12aug adds SBD's masks to train: another data set",
    ),
)

VOC12AUG_SEG = replace(
    VOC12_SEG,
    name="voc12aug-seg",
    layout="voc-pixels-aug",
    images=(10_582, 1449),
    about=replace(
        VOC12_SEG.about,
        title="PASCAL VOC 2012, segmentation, with the masks of SBD",
        source="MMSegmentation, docs/en/user_guides/2_dataset_prepare.md: 10,582 images to train on",
        splits=(("train and aug", 10_582), ("val", 1449)),
        get="SBD (Hariharan et al., ICCV 2011) as SegmentationClassAug/*.png and ImageSets/Segmentation/aug.txt",
        note="images of VOC's own train keep VOC's masks; SBD's have no unlabelled borders",
    ),
)

PAPER = (VOC07, VOC0712, COCO17)
PARTS = (COCO17_1PCT, COCO17_2PCT, COCO17_5PCT, COCO17_10PCT)
DENSE = (
    COCO17_KEYPOINTS,
    *PARTS,
    LVIS,
    CITYSCAPES,
    CITYSCAPES_INSTANCES,
    ADE20K,
    COCO_STUFF,
    COCO_STUFF27,
    NYUV2,
    NYUV2_DEPTH,
    VOC12_SEG,
    VOC12AUG_SEG,
)
