"""The sets of Kornblith's, SimCLR's and BYOL's suite; VTAB's natural ones are among them, but for one.

Splits are those of BYOL's table 10 (arXiv:2006.07733): `images` are training and validation together, which its
protocol refits on, and test. Digests of archives are those of torchvision's sources (datasets/NAME.py), or of TFDS'
where it says so.
"""

from twinbench.protocols.datasets.entry import SINGLE, About, DataSet, File, OtherCopy

_BYOL = "BYOL, table 10"
_VGG = "https://www.robots.ox.ac.uk/~vgg/data/"
_LIKE_SUITE = ("BYOL",)
_LIKE_BOTH = ("BYOL", "VTAB natural")

FOOD101 = DataSet(
    "food101",
    SINGLE,
    classes=101,
    images=(75_750, 25_250),
    about=About(
        title="Food-101",
        source=_BYOL,
        splits=(("train", 68_175), ("val", 7575), ("test", 25_250)),
        metric="top-1",
        suites=_LIKE_SUITE,
        home="https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101/",
        form="torchvision:Food101=FOLDER",
        files=(File("http://data.vision.ee.ethz.ch/cvl/food-101.tar.gz", "md5:85eeb15f3717b99a5da872d97d918f87"),),
        note="val is held out of the official 75,750 training images",
    ),
)
CIFAR10 = DataSet(
    "cifar10",
    SINGLE,
    classes=10,
    images=(50_000, 10_000),
    about=About(
        title="CIFAR-10",
        source=_BYOL,
        splits=(("train", 45_000), ("val", 5000), ("test", 10_000)),
        metric="top-1",
        suites=_LIKE_SUITE,
        home="https://www.cs.toronto.edu/~kriz/cifar.html",
        form="torchvision:CIFAR10=FOLDER",
        files=(
            File(
                "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
                "md5:c58f30108f718f92721af3b95e74349a",
            ),
        ),
        note="val is held out of the official 50,000 training images",
    ),
)
CIFAR100 = DataSet(
    "cifar100",
    SINGLE,
    classes=100,
    images=(50_000, 10_000),
    about=About(
        title="CIFAR-100",
        source=_BYOL,
        splits=(("train", 44_933), ("val", 5067), ("test", 10_000)),
        metric="top-1",
        suites=_LIKE_BOTH,
        home="https://www.cs.toronto.edu/~kriz/cifar.html",
        form="torchvision:CIFAR100=FOLDER",
        files=(
            File(
                "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
                "md5:eb9058c3a382ffc7106e4002c42a8d85",
            ),
        ),
        note="val is held out of the official 50,000 training images",
    ),
)
BIRDSNAP = DataSet(
    "birdsnap",
    SINGLE,
    classes=500,
    images=(47_386, 2443),
    about=About(
        title="Birdsnap",
        source=_BYOL,
        splits=(("train", 42_405), ("val", 4981), ("test", 2443)),
        metric="top-1",
        suites=_LIKE_SUITE,
        get="published as a list of addresses, of which many are dead; ask who has an old copy",
        others=(OtherCopy((0, 1845), "what was left of the test images by 2023, as InternVL reports"),),
    ),
)
SUN397 = DataSet(
    "sun397",
    SINGLE,
    classes=397,
    images=(19_850, 19_850),
    about=About(
        title="SUN397",
        source=_BYOL,
        splits=(("train", 15_880), ("val", 3970), ("test", 19_850)),
        metric="top-1",
        suites=_LIKE_BOTH,
        home="https://vision.princeton.edu/projects/2010/SUN/",
        get="give the images of a partition by lists: list:TRAIN.txt,TEST.txt; the server was reported down in 2025",
        files=(  # digest of the partitions: TFDS url_checksums/sun397.txt
            File("http://vision.princeton.edu/projects/2010/SUN/SUN397.tar.gz", "md5:8ca2778205c41d23104230ba66911c7a"),
            File(
                "https://vision.princeton.edu/projects/2010/SUN/download/Partitions.zip",
                "sha256:e3311ea5f812d4cc6faef194688343d1111f6cd6f70f2c62f393c2b8d6ba1ec9",
                "SUN397/partitions",
            ),
        ),
        others=(OtherCopy((108_754, 0), "all images without a split, as torchvision reads them"),),
        note="the first of ten partitions; VTAB uses TFDS' split of all 108,754 images",
    ),
)
STANFORD_CARS = DataSet(
    "stanford-cars",
    SINGLE,
    classes=196,
    images=(8144, 8041),
    about=About(
        title="Stanford Cars",
        source=_BYOL,
        splits=(("train", 6494), ("val", 1650), ("test", 8041)),
        metric="top-1",
        suites=_LIKE_SUITE,
        get="the authors' page is gone (pytorch/vision#7545); check any copy by its counts and digests",
        form="torchvision:StanfordCars=FOLDER",
        archives=(  # TFDS url_checksums/cars196.txt
            ("cars_train.tgz", "sha256:512b227b30e2f0a8aab9e09485786ab4479582073a144998da74d64b801fd288"),
            ("cars_test.tgz", "sha256:bffea656d6f425cba3c91c6d83336e4c5f86c6cffd8975b0f375d3a10da8e243"),
            ("car_devkit.tgz", "sha256:b97deb463af7d58b6bfaa18b2a4de9829f0f79e8ce663dfa9261bf7810e9accd"),
            (
                "cars_test_annos_withlabels.mat",
                "sha256:790f75be8ea34eeded134cc559332baf23e30e91367e9ddca97d26ed9b895f05",
            ),
        ),
        others=(
            OtherCopy((8143, 8040), "a mirror that lacks one image of each split"),
            OtherCopy((8054, 8131), "the split by classes of metric learning: 98 classes to train, 98 others to test"),
        ),
    ),
)
FGVC_AIRCRAFT = DataSet(
    "fgvc-aircraft",
    SINGLE,
    classes=100,
    images=(6667, 3333),
    validation="val",
    headline="per-class",
    about=About(
        title="FGVC-Aircraft, variants",
        source=_BYOL,
        splits=(("train", 3334), ("val", 3333), ("test", 3333)),
        metric="mean per class",
        suites=_LIKE_SUITE,
        home=f"{_VGG}fgvc-aircraft/",
        form="torchvision:FGVCAircraft=FOLDER?train=trainval",
        files=(  # TFDS url_checksums/fgvc.txt
            File(
                f"{_VGG}fgvc-aircraft/archives/fgvc-aircraft-2013b.tar.gz",
                "sha256:d5f68b1b81d6d7831eb9d5c5517074176b5dfbce6bcb43dc14ed1c66a87b8d75",
            ),
        ),
        others=(OtherCopy((3334, 3333), "train alone, without val"),),
    ),
)
DTD = DataSet(
    "dtd",
    SINGLE,
    classes=47,
    images=(3760, 1880),
    validation="val",
    about=About(
        title="Describable Textures",
        source=_BYOL,
        splits=(("train", 1880), ("val", 1880), ("test", 1880)),
        metric="top-1",
        suites=_LIKE_BOTH,
        home=f"{_VGG}dtd/",
        form="torchvision:DTD=FOLDER?train=train+val",
        files=(File(f"{_VGG}dtd/download/dtd-r1.0.1.tar.gz", "md5:fff73e5086ae6bdbea199a49dfb8a4c1", "dtd"),),
        others=(OtherCopy((1880, 1880), "train alone, without val"),),
        note="the first of ten partitions",
    ),
)
OXFORD_PETS = DataSet(
    "oxford-pets",
    SINGLE,
    classes=37,
    images=(3680, 3669),
    headline="per-class",
    about=About(
        title="Oxford-IIIT Pets",
        source=_BYOL,
        splits=(("train", 2940), ("val", 740), ("test", 3669)),
        metric="mean per class",
        suites=_LIKE_BOTH,
        licence="CC BY-SA",
        home=f"{_VGG}pets/",
        form="torchvision:OxfordIIITPet=FOLDER",
        files=(
            File(f"{_VGG}pets/data/images.tar.gz", "md5:5c4f3ee8e5d25df40f4fd59a7f44e54c", "oxford-iiit-pet"),
            File(f"{_VGG}pets/data/annotations.tar.gz", "md5:95a8c909bbe2e81eed6a22bccdf3f68f", "oxford-iiit-pet"),
        ),
        note="val is held out of the official 3,680 images of trainval",
    ),
)
CALTECH101 = DataSet(
    "caltech101",
    SINGLE,
    classes=102,
    images=(3060, 6084),
    headline="per-class",
    about=About(
        title="Caltech-101",
        source=_BYOL,
        splits=(("train", 2550), ("val", 510), ("test", 6084)),
        metric="mean per class",
        suites=_LIKE_BOTH,
        licence="CC BY",
        home="https://data.caltech.edu/records/mzrjq-6wc02",
        get="unpack the archive of images inside; no split is published: give 30 images a class to train on by lists,"
        " list:TRAIN.txt,TEST.txt",
        files=(
            File(
                "https://data.caltech.edu/records/mzrjq-6wc02/files/caltech-101.zip",
                "md5:3138e1922a9193bfa496528edbbc45d0",
            ),
        ),
        others=(OtherCopy((8677, 0), "all images without BACKGROUND_Google and without a split"),),
        note="30 images of each of 102 classes, BACKGROUND_Google among them, train; each paper draws its own",
    ),
)
FLOWERS102 = DataSet(
    "flowers102",
    SINGLE,
    classes=102,
    images=(2040, 6149),
    validation="val",
    headline="per-class",
    about=About(
        title="Oxford 102 Flowers",
        source=_BYOL,
        splits=(("train", 1020), ("val", 1020), ("test", 6149)),
        metric="mean per class",
        suites=_LIKE_BOTH,
        home=f"{_VGG}flowers/102/",
        form="torchvision:Flowers102=FOLDER?train=train+val",
        files=(
            File(f"{_VGG}flowers/102/102flowers.tgz", "md5:52808999861908f626f3c1f4e79d11fa", "flowers-102"),
            File(f"{_VGG}flowers/102/imagelabels.mat", "md5:e0620be6f572b9609742df49c70aed4d", "flowers-102"),
            File(f"{_VGG}flowers/102/setid.mat", "md5:a5357ecc9cb78c4bef273ce3793fc85c", "flowers-102"),
        ),
        others=(
            OtherCopy((1020, 6149), "train alone, without val"),
            OtherCopy((6149, 1020), "training and test split exchanged"),
        ),
    ),
)
ELEVEN = (  # in BYOL's order, where VOC07 stands between FGVC_AIRCRAFT and DTD
    FOOD101,
    CIFAR10,
    CIFAR100,
    BIRDSNAP,
    SUN397,
    STANFORD_CARS,
    FGVC_AIRCRAFT,
    DTD,
    OXFORD_PETS,
    CALTECH101,
    FLOWERS102,
)
