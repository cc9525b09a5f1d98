"""Twelve small data sets: fine-tuning of the whole network, at a rate and a weight decay found by a grid of trainings.

BYOL's text names everything but how the rate falls, how the head begins, and the loss of several classes an image.
SimCLR's, which it follows, is silent on the same; read in stored full texts of both papers. Kornblith et al.
(arXiv:1805.08974), whom both follow, was not at hand in full.

Sources, abbreviated: BYOL = arXiv:2006.07733, appendix D.3 and table 10; SimCLR = arXiv:2002.05709, appendix B.8.1, and
its code, google-research/simclr, model_util.py; SSLT = linusericsson/ssl-transfer, finetune.py, the same search over
fewer values and steps.
"""

from twinbench.protocols.datasets import TWELVE
from twinbench.protocols.kinds.base import ImageTransform
from twinbench.protocols.kinds.search import FineTuningSearchRecipe
from twinbench.protocols.linear12 import ON_VALIDATION
from twinbench.protocols.schema import Protocol

SEVEN_RATES = tuple(10 ** (-4 + step / 2) for step in range(7))  # BYOL D.3: seven from 1e-4 to 0.1, log-spaced
SEVEN_DECAYS = tuple(10 ** (-6 + step / 2) for step in range(7))  # BYOL D.3: seven from 1e-6 to 1e-3, log-spaced

BYOL = FineTuningSearchRecipe(
    transform=ImageTransform(
        resize=256,  # BYOL D.3: the shorter side
        crop=224,  # BYOL D.3: of the centre; in training a random crop, resized, and a flip
        shape="center-crop",  # BYOL D.3
        interpolation="bicubic",  # BYOL D.3, of test images
    ),
    steps=20_000,  # BYOL D.3
    batch_size=256,  # BYOL D.3
    lrs=SEVEN_RATES,  # BYOL D.3
    weight_decays=(0.0, *SEVEN_DECAYS),  # BYOL D.3: seven, and none
    decays_are="lr*decay",  # BYOL D.3: divided by the learning rate
    momentum=0.9,  # BYOL D.3
    nesterov=True,  # BYOL D.3
    schedule="cosine",  # not said, in SimCLR's text neither; SSLT and SimCLR's code: a cosine over all steps, to 0
    head_init_std=0.01,  # not said; SimCLR's code: a normal distribution of 0.01, bias 0
    norm_momentum="by-epoch",  # BYOL D.3: max(1 - 10 / s, 0.9) of the old ones, s steps an epoch
    class_losses="mean",  # not said; SSLT: BCEWithLogitsLoss
    ignored="negative",  # not said
    validation="official",  # BYOL table 10
    held_out=0.0,  # BYOL table 10: its numbers of images
    draw="trial",  # not said
    norm_groups=1,  # not said
)

PROTOCOLS = (
    Protocol(
        name="finetune12-byol",
        version=1,
        title="Twelve data sets, fine-tuning at the best of 56 pairs of rate and decay, BYOL's procedure",
        recipe=BYOL,
        data_set=TWELVE[0],
        metric="top1",
        selected_on=ON_VALIDATION,
        trials=1,
        source="BYOL D.3",
        published_as="finetune12",
        sets=TWELVE,
    ),
)
