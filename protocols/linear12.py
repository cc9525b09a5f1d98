"""Twelve small data sets: logistic regression on frozen features, and few-shot episodes of their classes.

Of the first there are one name in the literature and at least six procedures.

They share the idea (Kornblith et al., arXiv:1805.08974: frozen features, an L2 penalty chosen on a validation split,
the rest refitted on train and validation) and differ in what the penalty multiplies, which ones are tried, what they
are chosen on, and whether the optimiser is given the time to arrive. On the same features that is up to 15 points.

Sources, abbreviated: BYOL = arXiv:2006.07733, appendices D.1 and D.2; SimCLR = arXiv:2002.05709, appendix B.8; SSLT =
linusericsson/ssl-transfer, linear.py and few_shot.py; DINOv2 = facebookresearch/dinov2, dinov2/eval/log_regression.py;
DINOv3 = facebookresearch/dinov3, dinov3/eval/log_regression.py and data.py; GOOGLE = google-research/google-research,
linear_eval/linear_eval.py; VTAB = google-research/task_adaptation at d7630d3 and arXiv:1910.04867; CLIP =
arXiv:2103.00020, appendix A.3, from memory; sklearn = LogisticRegression of scikit-learn.
"""

from dataclasses import replace

from twinbench.protocols.datasets import PUBLISHED, TWELVE, DataSet
from twinbench.protocols.kinds.base import ImageTransform, Recipe
from twinbench.protocols.kinds.episodes import EpisodesRecipe
from twinbench.protocols.kinds.logistic import FewShotLogisticRecipe, LogisticRecipe, SizedLogisticRecipe
from twinbench.protocols.schema import Protocol

SIDE_224 = ImageTransform(  # BYOL, SSLT: the short side to 224, then the centre
    resize=224, crop=224, shape="center-crop", interpolation="bicubic"
)
FORTY_FIVE = tuple(10 ** (-6 + 11 * step / 44) for step in range(45))  # BYOL D.1: 45 from 1e-6 to 1e5, log-spaced
DECADES = tuple(10.0**power for power in range(-6, 7, 2))  # GOOGLE: 10 ** arange(-6, 7, 2)

BYOL = LogisticRecipe(
    transform=SIDE_224,  # BYOL D.1
    penalties=FORTY_FIVE,  # BYOL D.1, SimCLR B.8.1
    penalty="lambda/2",  # not said; what the L2 penalty is in scikit-learn, for losses that are summed
    halvings=0,  # BYOL D.1: a grid
    solver="converged",  # BYOL D.1: L-BFGS, where it stops is not said
    tolerance=1e-6,  # ours: |gradient| against that at zero
    max_iterations=0,  # converged
    warm_start=False,  # converged
    validation="official",  # BYOL table 10
    held_out=0.0,  # BYOL table 10: its numbers of images
    draw="trial",  # not said
    binary="logistic",  # not said
    ap="voc",  # BYOL D.1: as VOC2007's own evaluation
    ignored="negative",  # not said
)
SSL_TRANSFER = replace(
    BYOL,
    solver="lbfgs",  # SSLT: LogisticRegression(solver='lbfgs')
    tolerance=1e-4,  # sklearn's default
    max_iterations=100,  # sklearn's default; that it ended before it arrived is not told (ConvergenceWarning ignored)
    warm_start=True,  # SSLT: warm_start=True, on one object for all penalties and the last fit
    held_out=0.2,  # SSLT: valid_size=0.2
    draw="numpy",  # SSLT: np.random.seed(0), shuffle; the first of them
    binary="softmax",  # SSLT: multi_class='multinomial'
    ap="from-1",  # SSLT: voc_ap on sklearn's precision_recall_curve, which ends in a precision of 1
    ignored="negative",  # SSLT datasets/voc2007.py: target == 1
)
DINOV2 = replace(
    BYOL,
    penalty="C",  # DINOv2: 10 ** linspace(-6, 5, 45) is C, not its inverse
    validation="held-out",  # DINOv2: without a fine-tuning set, 10 % of train
    held_out=0.1,  # DINOv2: len(train) // 10
    draw="torch",  # DINOv2: torch.manual_seed(0), randperm; the first of them
)
DINOV3 = replace(
    DINOV2,
    draw="by-class",  # DINOv3: the same share of each class
)
FEW_SHOT_DINOV3 = FewShotLogisticRecipe(
    transform=SIDE_224,  # DINOv3: resize_size and crop_size 224
    penalties=FORTY_FIVE,  # DINOv3: 10 ** linspace(-6, 5, 45)
    penalty="C",  # DINOv3
    halvings=0,  # DINOv3: a grid
    solver="converged",  # DINOv3: tol 1e-12
    tolerance=1e-6,  # ours: |gradient| against that at zero
    max_iterations=0,  # converged
    warm_start=False,  # converged
    validation="held-out",  # DINOv3: without a validation set, a part of train
    held_out=0.01,  # DINOv3: split_percentage 0.01 if few_shot.enable
    draw="by-class",  # DINOv3: the same share of each class
    binary="logistic",  # scikit-learn
    ap="voc",  # of single labels there is none
    ignored="negative",  # of single labels there is none
    shots=(1, 2, 4, 8, 16),  # ours: DINOv3 takes one k; these are CLIP's
    draws=5,  # ours: DINOv3's n_tries is 1
)
# VTAB-1k's own 1,000 images are the first ones of TFDS' files, whose order nothing else has: here they are drawn. The
# networks are fine-tuned there; a linear head is ours, with the search of BYOL above.
VTAB_1K = SizedLogisticRecipe(
    transform=ImageTransform(  # VTAB data_loader.py: 224 a side, bilinear; that it is antialiased is ours
        resize=0, crop=224, shape="squash"
    ),
    penalties=FORTY_FIVE,  # ours: BYOL's grid; VTAB sweeps rates and schedules of SGD
    penalty="lambda/2",  # ours: BYOL's
    halvings=0,  # ours: BYOL's grid
    solver="converged",  # ours: BYOL's
    tolerance=1e-6,  # ours: |gradient| against that at zero
    max_iterations=0,  # converged
    warm_start=False,  # converged
    validation="official",  # VTAB data/dtd.py, oxford_flowers102.py: validation[:200], where TFDS has such a split
    held_out=0.0,  # validation_images says how many
    draw="trial",  # ours: VTAB takes the first of TFDS' files, all classes as they fall
    binary="logistic",  # ours: BYOL's
    ap="voc",  # of single labels there is none
    ignored="negative",  # of single labels there is none
    train_images=800,  # VTAB data/*.py: train800
    validation_images=200,  # VTAB data/*.py: val200; the last fit is on train800val200
    draws=5,  # ours: VTAB has one
)
GOOGLE = replace(
    BYOL,
    penalties=DECADES,  # GOOGLE: DEFAULT_HPARAMS
    penalty="lambda",  # GOOGLE: l2_regularization * sum of squares, without a half, beside summed losses
    halvings=4,  # GOOGLE: num_steps=4
)
CLIP = replace(
    GOOGLE,
    penalty="lambda/2",  # CLIP: scikit-learn's L-BFGS, with its penalty
)
EPISODES = EpisodesRecipe(
    transform=ImageTransform(  # SSLT datasets/few_shot_dataset.py: Scale to int(224 * 1.15) a side, CenterCrop
        resize=257, crop=224, shape="squash-crop"
    ),
    ways=5,  # SSLT few_shot.py: --n-way
    shots=5,  # SSLT few_shot.py: --n-support
    queries=15,  # SSLT few_shot.py: --n-query
    episodes=600,  # SSLT few_shot.py: --iter-num
)
EPISODES_20 = replace(EPISODES, shots=20)  # SSLT: its paper's tables have 5, 20 and 50
EPISODES_50 = replace(EPISODES, shots=50)  # SSLT: its paper's tables have 5, 20 and 50
# SSLT few_shot.py: FEW_SHOT_DATASETS; VOC2007's images have several classes
SINGLE_LABEL = tuple(entry for entry in TWELVE if entry.name not in ("birdsnap", "voc07"))
# VTAB README.md: those of its tasks whose images and labels are here, all of them "natural"
VTAB_NATURAL = tuple(entry for entry in PUBLISHED if "VTAB natural" in entry.about.suites)

ON_VALIDATION = "a validation split, official or held out of the training images; then all of them"


def _family(
    name: str,
    title: str,
    recipe: Recipe,
    sets: tuple[DataSet, ...],
    selected_on: str,
    source: str,
    published_as: str = "",
) -> Protocol:
    """Return a recipe on several sets, with the metric that is reported on the first of them."""
    first = sets[0]
    metric = recipe.metric_on(first.tasks, first.headline) or recipe.metrics()[-1]
    return Protocol(name, 1, title, recipe, first, metric, selected_on, 1, source, published_as, sets=sets)


def _episodes_title(shots: int) -> str:
    return f"Few-shot episodes of five classes, {shots} images each, nearest class mean on frozen features"


PROTOCOLS = (
    _family(
        "linear12-byol",
        "Twelve data sets, logistic regression on frozen features, BYOL's procedure, converged",
        BYOL,
        TWELVE,
        ON_VALIDATION,
        "BYOL D.1, D.2",
        published_as="linear12",
    ),
    _family(
        "linear12-ssl-transfer",
        "Eleven data sets, logistic regression on frozen features, as ssl-transfer runs it: 100 iterations",
        SSL_TRANSFER,
        tuple(entry for entry in TWELVE if entry.name != "birdsnap"),  # SSLT: LINEAR_DATASETS
        "a validation split, official or 20 % of the training images; then all of them",
        "SSLT",
    ),
    _family(
        "linear12-dinov2",
        "Twelve data sets, logistic regression on frozen features, DINOv2's procedure",
        DINOV2,
        TWELVE,
        "10 % of the training images; then all of them",
        "DINOv2",
    ),
    _family(
        "linear12-dinov3",
        "Twelve data sets, logistic regression on frozen features, DINOv3's procedure",
        DINOV3,
        TWELVE,
        "10 % of the training images of each class; then all of them",
        "DINOv3",
    ),
    _family(
        "linear12-clip",
        "Twelve data sets, logistic regression on frozen features, CLIP's search",
        CLIP,
        TWELVE,
        ON_VALIDATION,
        "CLIP A.3",
    ),
    _family(
        "linear12-google",
        "Twelve data sets, logistic regression on frozen features, by the search of Google's linear_eval",
        GOOGLE,
        TWELVE,
        ON_VALIDATION,
        "GOOGLE",
    ),
    _family(
        "few-shot-dinov3",
        "Logistic regression on 1 to 16 images a class of frozen features, five draws, DINOv3's procedure",
        FEW_SHOT_DINOV3,
        SINGLE_LABEL,
        "1 % of the training images of each class, which train nothing",
        "DINOv3, with ours of what it leaves open",
    ),
    _family(
        "few-shot-vtab1k",
        "Logistic regression on 1,000 images of frozen features, VTAB-1k's 800 and 200, five draws",
        VTAB_1K,
        VTAB_NATURAL,
        "200 images of each draw; then all 1,000",
        "VTAB's sizes, drawn; BYOL D.1's head",
    ),
    _family("few-shot-5way-5shot", _episodes_title(5), EPISODES, SINGLE_LABEL, "nothing", "SSLT few_shot.py"),
    _family("few-shot-5way-20shot", _episodes_title(20), EPISODES_20, SINGLE_LABEL, "nothing", "SSLT few_shot.py"),
    _family("few-shot-5way-50shot", _episodes_title(50), EPISODES_50, SINGLE_LABEL, "nothing", "SSLT few_shot.py"),
)
