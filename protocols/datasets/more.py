"""SVHN, which VTAB adds to BYOL's suite, and other small sets that torchvision has."""

from twinbench.protocols.datasets.entry import SINGLE, About, DataSet, File, OtherCopy

SVHN = DataSet(
    "svhn",
    SINGLE,
    classes=10,
    images=(73_257, 26_032),
    about=About(
        title="Street View House Numbers, cropped",
        source="ufldl.stanford.edu/housenumbers",
        splits=(("train", 73_257), ("extra", 531_131), ("test", 26_032)),
        metric="top-1",
        suites=("VTAB natural",),
        home="http://ufldl.stanford.edu/housenumbers/",
        form="torchvision:SVHN=FOLDER",
        files=(
            File("http://ufldl.stanford.edu/housenumbers/train_32x32.mat", "md5:e26dedcc434d2e4c54c9b2d4a06d8373"),
            File("http://ufldl.stanford.edu/housenumbers/test_32x32.mat", "md5:eb5a983be6a315427106f1b164d9cef3"),
        ),
        others=(OtherCopy((604_388, 26_032), "train and extra together"),),
    ),
)
COUNTRY211 = DataSet(
    "country211",
    SINGLE,
    classes=211,
    images=(31_650, 21_100),
    about=About(
        title="Country211",
        source="torchvision datasets/country211.py: 150, 50 and 100 images for each of 211 countries",
        splits=(("train", 31_650), ("valid", 10_550), ("test", 21_100)),
        metric="top-1",
        home="https://github.com/openai/CLIP/blob/main/data/country211.md",
        form="torchvision:Country211=FOLDER",
        files=(
            File("https://openaipublic.azureedge.net/clip/data/country211.tgz", "md5:84988d7644798601126c29e9877aab6a"),
        ),
    ),
)
RENDERED_SST2 = DataSet(
    "rendered-sst2",
    SINGLE,
    classes=2,
    images=(6920, 1821),
    about=About(
        title="Rendered SST2",
        source="torchvision datasets/rendered_sst2.py",
        splits=(("train", 6920), ("val", 872), ("test", 1821)),
        metric="top-1",
        home="https://github.com/openai/CLIP/blob/main/data/rendered-sst2.md",
        form="torchvision:RenderedSST2=FOLDER",
        files=(
            File(
                "https://openaipublic.azureedge.net/clip/data/rendered-sst2.tgz",
                "md5:2384d08e9dcfa4bd55b324e610496ee5",
            ),
        ),
    ),
)

SMALL = (SVHN, COUNTRY211, RENDERED_SST2)
