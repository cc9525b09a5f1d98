"""NYU Depth v2: 40 classes on the labelled frames, depth on many more."""

from twinbench.protocols.datasets.entry import DEPTH, PIXELS, About, DataSet, File

NYUV2 = DataSet(
    "nyuv2",
    PIXELS,
    "nyuv2-pixels",
    classes=40,
    images=(795, 654),
    about=About(
        title="NYU Depth v2, labelled",
        source="FCN, arXiv:1411.4038, section 5",
        splits=(("train", 795), ("test", 654)),
        metric="mIoU of 40 classes, or RMSE of depth",
        home="https://cs.nyu.edu/~silberman/datasets/nyu_depth_v2.html",
        files=(File("http://horatio.cs.nyu.edu/mit/silberman/nyu_depth_v2/nyu_depth_v2_labeled.mat"),),
        get="DFormer's copy, or the .mat converted by ESANet's src/datasets/nyuv2/prepare_dataset.py",
        note="one .mat of 2.8 GB; the split and the 40 classes come from files of their own; 0 in a mask is no class",
    ),
)
NYUV2_DEPTH = DataSet(
    "nyuv2-depth",
    DEPTH,
    "nyuv2-depth",
    images=(24_231, 654),
    about=About(
        title="NYU Depth v2, depth of BTS's frames",
        source="cleinc/bts, train_test_inputs/nyudepthv2_{train,test}_files_with_gt.txt",
        splits=(("train", 24_231), ("test", 654)),
        metric="RMSE in metres",
        home="https://cs.nyu.edu/~silberman/datasets/nyu_depth_v2.html",
        get="BTS's or BinsFormer's copy, with its lists as nyu_train.txt and nyu_test.txt: DINOv3's DATASETS.md",
        note="training frames are of the raw videos, with synchronised depth; the tests are those of the 654 labelled",
    ),
)
