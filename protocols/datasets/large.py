"""ImageNet with its subsets and its test-only siblings, iNaturalist 2018, Places205."""

from dataclasses import replace

from twinbench.protocols.datasets.entry import SINGLE, About, DataSet, File

IMAGENET = DataSet(
    "imagenet",
    SINGLE,
    "imagenet",
    "imagenet",
    1000,
    (1_281_167, 50_000),
    about=About(
        title="ImageNet, ILSVRC 2012",
        source="arXiv:1409.0575, table 2",
        splits=(("train", 1_281_167), ("val", 50_000)),
        metric="top-1 on val",
        licence="by agreement, on its page",
        home="https://image-net.org/challenges/LSVRC/2012/2012-downloads.php",
        get="sign up there for the three archives; sort val into class folders",
        archives=(  # torchvision datasets/imagenet.py, ARCHIVE_META
            ("ILSVRC2012_img_train.tar", "md5:1d675b47d978889d74fa0da5fadfb00e"),
            ("ILSVRC2012_img_val.tar", "md5:29b22e2961454d5413ddabcf34fc5622"),
            ("ILSVRC2012_devkit_t12.tar.gz", "md5:fa75699e90414af021442c21a62c3abf"),
        ),
    ),
)
_LISTED = "; `twinbench data lists FOLDER` fetches the list"
IMAGENET_10PCT = replace(
    IMAGENET,
    name="imagenet-10pct",
    images=(128_116, 50_000),
    subset="10%",
    about=replace(
        IMAGENET.about,
        title="ImageNet with 10 % of the labels",
        source="SimCLR's 10percent.txt",
        splits=(("10percent.txt", 128_116), ("val", 50_000)),
        get=IMAGENET.about.get + _LISTED,
    ),
)
IMAGENET_1PCT = replace(
    IMAGENET,
    name="imagenet-1pct",
    images=(12_811, 50_000),
    subset="1%",
    about=replace(
        IMAGENET.about,
        title="ImageNet with 1 % of the labels",
        source="SimCLR's 1percent.txt",
        splits=(("1percent.txt", 12_811), ("val", 50_000)),
        get=IMAGENET.about.get + _LISTED,
    ),
)

_V2 = "https://s3-us-west-2.amazonaws.com/imagenetv2public/"
_HENDRYCKS = "https://people.eecs.berkeley.edu/~hendrycks/"
IMAGENET_V2 = DataSet(
    "imagenet-v2",
    SINGLE,
    "test-numbers",
    classes=1000,
    images=(0, 10_000),
    trains_on="imagenet",
    about=About(
        title="ImageNetV2, matched frequency",
        source="modestyachts/ImageNetV2, README.md",
        splits=(("matched-frequency", 10_000), ("threshold-0.7", 10_000), ("top-images", 10_000)),
        metric="top-1 of a head trained on ImageNet",
        licence="as ImageNet; the images are Flickr's",
        home="https://github.com/modestyachts/ImageNetV2",
        files=(  # TFDS url_checksums/imagenet_v2.txt
            File(
                f"{_V2}imagenetv2-matched-frequency.tar.gz",
                "sha256:a32004f9e773279307499059d320336a23ccdc62cb32063da29bae9bd04c122c",
            ),
        ),
        note="its class folders are numbers, 0 to 999: sorted as text they are in another order than ImageNet's",
    ),
)
IMAGENET_REAL = DataSet(
    "imagenet-real",
    ("multi-label",),
    "imagenet-real",
    "imagenet",
    classes=1000,
    images=(0, 46_837),
    trains_on="imagenet",
    about=About(
        title="ImageNet's val with reassessed labels",
        source="google-research/reassessed-imagenet, README.md; the labels counted in real.json",
        splits=(("val", 50_000), ("labelled", 46_837)),
        metric="top-1 among an image's labels; images without a label are left out",
        home="https://github.com/google-research/reassessed-imagenet",
        get="the images are ImageNet's val; real.json lies beside it, or is named: FOLDER?labels=FILE",
        files=(  # TFDS url_checksums/imagenet2012_real.txt
            File(
                "https://raw.githubusercontent.com/google-research/reassessed-imagenet/master/real.json",
                "sha256:d83e9bff374c631aae8439eb064c7019acc56e1b3bc3f56b8380c2a710b0220b",
            ),
        ),
    ),
)
IMAGENET_A = DataSet(
    "imagenet-a",
    SINGLE,
    "test-classes",
    classes=200,
    images=(0, 7500),
    trains_on="imagenet",
    about=About(
        title="ImageNet-A, natural adversarial examples",
        source="arXiv:1907.07174",
        splits=(("test", 7500),),
        metric="top-1 among 200 of ImageNet's classes",
        home="https://github.com/hendrycks/natural-adv-examples",
        files=(  # TFDS url_checksums/imagenet_a.txt
            File(
                f"{_HENDRYCKS}imagenet-a.tar",
                "sha256:3bb3632277e6ba6392ea64c02ddbf4dd2266c9caffd6bc09c9656d28f012589e",
            ),
        ),
    ),
)
IMAGENET_R = DataSet(
    "imagenet-r",
    SINGLE,
    "test-classes",
    classes=200,
    images=(0, 30_000),
    trains_on="imagenet",
    about=About(
        title="ImageNet-R, renditions",
        source="hendrycks/imagenet-r, README.md",
        splits=(("test", 30_000),),
        metric="top-1 among 200 of ImageNet's classes",
        home="https://github.com/hendrycks/imagenet-r",
        files=(  # TFDS url_checksums/imagenet_r.txt
            File(
                f"{_HENDRYCKS}imagenet-r.tar",
                "sha256:18c6bf493b39a0d975d48e587437f562caab9c52ae6327dcfa9dd8eb54aa1b52",
            ),
        ),
    ),
)
IMAGENET_SKETCH = DataSet(
    "imagenet-sketch",
    SINGLE,
    "test-classes",
    classes=1000,
    images=(0, 50_000),
    trains_on="imagenet",
    about=About(
        title="ImageNet-Sketch",
        source="HaohanWang/ImageNet-Sketch, README.md: 50 for each of 1000 classes",
        splits=(("test", 50_000),),
        metric="top-1 of a head trained on ImageNet",
        home="https://github.com/HaohanWang/ImageNet-Sketch",
        get="a Google Drive link there, 7.8 GB",
    ),
)
IMAGENET_C = DataSet(
    "imagenet-c",
    SINGLE,
    "corruptions",
    classes=1000,
    images=(0, 3_750_000),
    trains_on="imagenet",
    about=About(
        title="ImageNet-C, common corruptions",
        source="arXiv:1903.12261, section 4.1: 15 corruptions, 5 severities each, of ImageNet's val",
        splits=(("test", 3_750_000),),
        metric="top-1, mean over 15 corruptions by 5 severities",
        home="https://github.com/hendrycks/robustness",
        get="blur.tar, digital.tar, noise.tar and weather.tar from zenodo.org/records/2235448, unpacked in one folder; "
        "the four corruptions of extra.tar are left out",
        note="its JPEGs are 224 pixels a side and are shown as they are",
    ),
)

_INAT = "https://ml-inat-competition-datasets.s3.amazonaws.com/2018/"
INAT18 = DataSet(
    "inat18",
    SINGLE,
    "inat",
    "inat",
    8142,
    (437_513, 24_426),
    about=About(
        title="iNaturalist 2018",
        source="visipedia/inat_comp, 2018/README.md, table of super categories",
        splits=(("train", 437_513), ("val", 24_426)),
        metric="top-1 on val",
        licence="non-commercial research and education; do not hand on the images",
        home="https://github.com/visipedia/inat_comp/tree/master/2018",
        files=(  # digests: the same README
            File(f"{_INAT}train_val2018.tar.gz", "md5:b1c6952ce38f31868cc50ea72d066cc3"),
            File(f"{_INAT}train2018.json.tar.gz", "md5:bfa29d89d629cbf04d826a720c0a68b0"),
            File(f"{_INAT}val2018.json.tar.gz", "md5:f2ed8bfe3e9901cdefceb4e53cd3775d"),
        ),
    ),
)
PLACES205 = DataSet(
    "places205",
    SINGLE,
    "places",
    "places",
    205,
    (2_448_873, 20_500),
    about=About(
        title="Places205",
        source="Zhou et al., NIPS 2014: the training set of Places-CNN; 100 a category to validate on",
        splits=(("train", 2_448_873), ("val", 20_500)),
        metric="top-1 on val",
        home="http://places.csail.mit.edu",
        get="ask there for the images of 256 pixels and for trainvalsplit_places205",
        note="Places365 is another data set, not a later copy",
    ),
)

PAPER = (IMAGENET, IMAGENET_10PCT, IMAGENET_1PCT, INAT18, PLACES205)
SIBLINGS = (IMAGENET_V2, IMAGENET_REAL, IMAGENET_A, IMAGENET_R, IMAGENET_SKETCH, IMAGENET_C)
