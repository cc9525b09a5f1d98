"""What the settings of a probe must fulfil, asked before its first step: each error names the setting to change."""

import math

from twinbench.protocols.house import UserError
from twinbench.protocols.kinds.finetuning import TrainedRecipe


class ProbeError(UserError):
    """A probe that cannot be started or resumed as asked."""


class DivergedError(ProbeError):
    """A probe whose loss is no number any more."""


def require_possible(recipe: TrainedRecipe, world: int, *, has_norm: bool = True) -> None:
    """Raise ProbeError for settings that do not go together, on a backbone that has batch norms or not."""
    if recipe.accumulate < 1:
        raise ProbeError(f"setting accumulate={recipe.accumulate}: expected 1 or more parts of a batch")
    if not recipe.train_backbone:
        return
    if recipe.precision == "bf16" and recipe.optimizer == "sgd":
        raise ProbeError(
            "setting precision=bf16: a backbone that is trained by SGD computes in fp32 or tf32; use one of these, or "
            "a protocol on a frozen backbone"
        )
    if recipe.mixes and world > recipe.norm_groups:
        raise ProbeError(
            f"settings mixup={recipe.mixup:g} and cutmix={recipe.cutmix:g}: {world} processes share norm_groups="
            f"{recipe.norm_groups} groups of a batch, within which images are mixed, and no group is one process's; "
            f"start no more processes than groups, or --set norm_groups={world}"
        )
    if recipe.accumulate > 1 and recipe.has_batch_norm:
        raise ProbeError(
            f"setting accumulate={recipe.accumulate}: on a backbone that is trained the batch comes in parts, and the "
            "head's batch norm needs all of it; leave accumulate out, or use --set head=linear"
        )
    if recipe.accumulate > 1 and world > recipe.norm_groups and has_norm:
        raise ProbeError(
            f"setting accumulate={recipe.accumulate}: {world} processes share norm_groups={recipe.norm_groups} groups "
            "of a batch, and no part of a group is one process's; start no more processes than groups, or leave "
            "accumulate out"
        )


def require_variance(recipe: TrainedRecipe, images: int, places: int, *, has_norm: bool = True) -> None:
    """Raise ProbeError if a batch norm would see one number a channel, as it divides by the deviation.

    The head's sees so many `places` of a map of each image of the last batch, a trained trunk's, if it has any, their
    group's, at the least a map of its last stage, which has a 32nd of the crop's sides.
    """
    if recipe.drop_last and images < recipe.batch_size:
        raise ProbeError(
            f"{images} training images in batches of {recipe.batch_size}, of which only whole ones are taken "
            "(drop_last): there is none; use a smaller --set batch_size=N, or --set drop_last=false"
        )
    last = recipe.batch_size if recipe.drop_last else (images - 1) % recipe.batch_size + 1
    if recipe.has_batch_norm and last * places == 1:
        raise ProbeError(
            f"{images} training images in batches of {recipe.batch_size}: the last batch is one image, whose features "
            "have no variance for the head's batch norm; use another --set batch_size=N"
        )
    if recipe.train_backbone and has_norm and recipe.transform.crop <= 32 and _fewest_together(recipe, last) == 1:
        raise ProbeError(
            f"{images} training images in batches of {recipe.batch_size}, norm_groups={recipe.norm_groups}: there is a "
            "group of one image, whose last map of 1 x 1 has no variance for the backbone's batch norm; use another "
            "--set batch_size=N, or a larger transform.crop"
        )


def _fewest_together(recipe: TrainedRecipe, last: int) -> int:
    """Return the fewest images that a trained backbone's batch norm sees together, where the last batch has `last`."""
    groups = recipe.norm_groups
    part = math.ceil(recipe.batch_size / groups / recipe.accumulate)
    shares = {recipe.batch_size // groups, math.ceil(last / groups), max(1, last // groups)}  # a group's of a batch
    last_parts = [share % part or part for share in shares]
    return min(last_parts)
