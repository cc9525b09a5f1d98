"""Label efficiency on ImageNet: accuracy by how many labels a head is given.

The idea is torchgeo-bench's (its issues 171 and 177: 1, 5, 10, 25 and 100 % of the training images, 1 to 20 images a
class, its linear probe on embeddings that are extracted once), SSL-Risk's (arXiv:2302.03068, few-shot columns) and
older than both. TORCHGEO leaves the draws, the head's penalty and the area under the curve open; they are ours here.

Sources, abbreviated: TORCHGEO = torchgeo/torchgeo-bench, issues 171 and 177; BYOL = arXiv:2006.07733, appendix D.1;
RISK = YannDubs/SSL-Risk-Decomposition at e09046d, main_fewshot.py with scripts_sk/ and config/; sklearn =
LogisticRegression of scikit-learn.
"""

from twinbench.protocols.datasets import IMAGENET
from twinbench.protocols.kinds.base import ImageTransform
from twinbench.protocols.kinds.labels import LabelsRecipe
from twinbench.protocols.schema import Protocol

CENTER_CROP = ImageTransform(resize=256, crop=224, shape="center-crop")  # RISK hub/augmentations.py
DECADES = tuple(10.0**power for power in range(5, -7, -1))  # BYOL's range, a quarter of its values, strongest first
# RISK utils/tune_hyperparam.py: RandomizedSearchCV over loguniform(1e-6, 100), whose state is the run's seed, 123. They
# are 1e-6 * 1e8 ** u for numpy's first 30 uniform numbers of that seed.
THIRTY = (
    0.37303835281437336,
    0.0001945873840348014,
    6.528473243309118e-05,
    0.025734643279726934,
    0.569838460834569,
    0.002425781507667602,
    70.16387837751607,
    0.30104949891579713,
    0.007038096413827085,
    0.0013706928443177706,
    0.0005564474149833972,
    0.6798258260580087,
    0.003225358230874418,
    3.0020863018484523e-06,
    0.0015288118581527272,
    0.8016102206099962,
    2.8835922101179576e-05,
    2.5328767014880756e-05,
    0.017881790017458137,
    0.017973005068132524,
    0.11890706744202367,
    6.243877193292779,
    0.6246584207473327,
    0.07730152921514676,
    0.6019314852321076,
    0.0003834169523641594,
    0.0007839876925917462,
    6.700478947947475e-05,
    0.0002237238946835779,
    0.1116372142740001,
)

LABELS = LabelsRecipe(
    transform=CENTER_CROP,  # ours, as SSL-Risk's
    penalties=DECADES,  # ours: BYOL's range in whole decades; of equal ones the strongest, which few images leave often
    penalty="lambda/2",  # ours, as linear12-byol
    halvings=0,  # ours: a grid
    solver="converged",  # ours, as linear12-byol
    tolerance=1e-6,  # ours: |gradient| against that at zero
    max_iterations=0,  # converged
    warm_start=False,  # converged
    validation="held-out",  # ours: of each draw
    held_out=0.2,  # ours: a fifth of each class of the draw
    draw="trial",  # ours
    binary="logistic",  # sklearn
    ap="voc",  # of single labels there is none
    ignored="negative",  # of single labels there is none
    shots=(1, 2, 5, 10, 20, 30),  # TORCHGEO 177: 1, 5, 10 and 20; 30 is SSL-Risk's, 2 ours
    shares=(1.0, 5.0, 10.0, 25.0, 100.0),  # TORCHGEO 171
    share_of="each-class",  # TORCHGEO 171: stratified subsets
    draws=5,  # ours; TORCHGEO 177: several seeds
    chosen_on="draw",  # ours: nothing that is not among the labels of the draw chooses
    alone=1.0,  # ours: sklearn's default
    scaling="none",  # ours
)
RISK = LabelsRecipe(
    transform=CENTER_CROP,  # RISK hub/augmentations.py: Resize(256), CenterCrop(224)
    penalties=THIRTY,  # RISK tune_hyperparam.py: 30 of loguniform(1e-6, 100), seed 123
    penalty="C",  # RISK sk_logistic.yaml
    halvings=0,  # RISK: a random search
    solver="converged",  # ours: RISK's is sklearn's lbfgs or sklearnex's, 1,000 iterations at a tolerance of 1e-4
    tolerance=1e-6,  # ours: |gradient| against that at zero
    max_iterations=0,  # converged
    warm_start=False,  # converged
    validation="held-out",  # RISK main_fewshot.py: among the training images
    held_out=0.0,  # RISK: as many as there are test images, see chosen_on
    draw="trial",  # ours: RISK's is that of Python's generator, seed 123
    binary="logistic",  # sklearn
    ap="voc",  # of single labels there is none
    ignored="negative",  # of single labels there is none
    shots=(3, 5, 30),  # RISK run_all.sh: data.n_per_class
    shares=(1.0,),  # RISK run_all.sh: data.subset
    share_of="all",  # RISK utils/data.py: balanced_subset
    draws=5,  # ours; RISK: one
    chosen_on="training",  # RISK main_fewshot.py: train-balsbst-ntest-11, of which some are trained on, too
    alone=1.0,  # of its draws none is
    scaling="min-max",  # RISK base_sklearn.yaml: MinMaxScaler, by what is fitted
)

PROTOCOLS = (
    Protocol(
        name="imagenet-labels",
        version=1,
        title="ImageNet, logistic regression on 1 to 100 % of the labels and on 1 to 30 images a class",
        recipe=LABELS,
        data_set=IMAGENET,
        metric="top1-1pct",
        also=("top1-10pct", "top1-100pct", "top1-area-shares", "top1-area-shots"),
        selected_on="a fifth of each draw; then all of it: the penalty",
        trials=1,
        source="TORCHGEO; ours of what it leaves open",
    ),
    Protocol(
        name="imagenet-labels-ssl-risk",
        version=1,
        title="ImageNet, logistic regression on 3, 5 and 30 images a class and on 1 % of the labels, as SSL-Risk",
        recipe=RISK,
        data_set=IMAGENET,
        metric="top1-1pct",
        also=("top1-k3", "top1-k5", "top1-k30"),
        selected_on="training images, as many as there are test images: the penalty",
        trials=1,
        source="RISK",
        published_as="imagenet_labels_ssl_risk",
    ),
)
