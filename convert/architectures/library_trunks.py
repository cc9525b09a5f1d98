"""What timm's and torchvision's models give: their forward pass in the forms of features that every trunk has."""

import importlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from twinbench.convert.architectures.positions import Positions, at_grid
from twinbench.convert.architectures.trunk import MAPS, POOLED, TOKENS, Tokens, Trunk
from twinbench.convert.named import ModelError


class LibraryTrunk(Trunk):
    """A library's model without its classifier."""

    def __init__(self, model: nn.Module, name: str, positions: Positions | None = None) -> None:
        super().__init__()
        self.model, self.name, self.positions = model, name, positions
        self._original: Tensor | None = None  # position embeddings as the file has them
        self._are_fixed = False

    def forward(self, images: Tensor) -> Tensor:
        """Return what enters the classifier (N, F)."""
        features = self._run(lambda: self.model(images), images)
        fits = isinstance(features, Tensor) and features.ndim > 1 and len(features) == len(images)
        if not fits or not features.is_floating_point():
            raise ModelError(f"{self.name}: gives {_told(features)} for {len(images)} images; expected features (N, F)")
        return features.flatten(1)

    def stem(self) -> nn.Module | None:
        """Return a ResNet's first ReLU, which is called `relu` in torchvision and `act1` in timm."""
        model: Any = self.model
        if MAPS not in self.offers or not hasattr(model, "layer4"):
            return None
        return getattr(model, "act1", None) or getattr(model, "relu", None)

    def _run(self, compute: Callable[[], Any], images: Tensor) -> Any:
        """Compute with position embeddings of the images' size."""
        self._fit_positions(images)
        try:
            return compute()
        except AssertionError as error:  # how both libraries refuse an image size
            side = images.shape[-1]
            raise ModelError(
                f"{self.name}: takes no images of {side} px ({error}); use --set transform.crop=..., or crop= or side= "
                "of a protocol on patches"
            ) from None

    def _fit_positions(self, images: Tensor) -> None:
        """Put position embeddings for the images' grid of patches in place of the file's, as the origin's code does.

        Where there is no rule of an origin's, timm's own is applied inside its forward pass.
        """
        if self.positions is None or self._are_fixed:
            return
        held: Any = self.model.pos_embed
        original = held.detach().clone() if self._original is None else self._original
        self._original = original
        embedding: Any = self.model.get_submodule("patch_embed")
        grid = images.shape[-2] // embedding.patch_size[0], images.shape[-1] // embedding.patch_size[1]
        embedding.grid_size = grid  # timm resamples positions of any other grid
        fitted = at_grid(original.to(held.device), grid, self.positions)
        if fitted.shape != held.shape or not torch.equal(fitted, held):
            self.model.pos_embed = nn.Parameter(fitted, requires_grad=held.requires_grad)

    def fix_positions(self) -> None:
        """Keep position embeddings as they are: fitted anew, they would lose in every step what they have learned."""
        self._are_fixed = True


class TimmTrunk(LibraryTrunk):
    """A model of timm's. Those with `forward_intermediates` say what their blocks or stages give."""

    def __init__(self, model: nn.Module, name: str, positions: Positions | None = None) -> None:
        super().__init__(model, name, positions)
        model_: Any = model
        if hasattr(model, "forward_intermediates"):
            self.offers = frozenset({POOLED, TOKENS if hasattr(model_, "num_prefix_tokens") else MAPS})

    def tokens(self, images: Tensor, last: int = 1, *, normed: bool = True) -> Sequence[Tokens]:
        """Return the tokens after each of the `last` blocks, normalised by the final norm unless told otherwise."""
        if TOKENS not in self.offers:
            return super().tokens(images, last, normed=normed)
        model: Any = self.model
        _require_blocks(self.name, len(model.blocks), last)
        found = self._run(lambda: self._intermediates(images, last, norm=normed, return_prefix_tokens=True), images)
        has_class = getattr(self.model, "cls_token", None) is not None
        pairs = [each if isinstance(each, tuple) else (each, None) for each in found]  # patches alone: no class token
        return [_tokens(patches, prefix, has_class) for patches, prefix in pairs]

    @property
    def grain(self) -> int:
        """The side of a transformer's patches."""
        embedding: Any = getattr(self.model, "patch_embed", None)
        return int(embedding.patch_size[0]) if TOKENS in self.offers and embedding is not None else 1

    def maps(self, images: Tensor, last: int = 4) -> Sequence[Tensor]:
        """Return the maps after each of the `last` stages."""
        if MAPS not in self.offers:
            return super().maps(images, last)
        return self._run(lambda: self._intermediates(images, last), images)

    def stages(self) -> Sequence[nn.Module]:
        """Return the modules that timm says its last four feature maps come from."""
        told: Any = getattr(self.model, "feature_info", ())
        names = [each["module"] for each in told][-4:]
        known = dict(self.model.named_modules())
        found = [known[name] for name in names if name in known]
        return found if MAPS in self.offers and len(found) == 4 else ()

    def _intermediates(self, images: Tensor, last: int, **keywords: Any) -> list[Any]:
        model: Any = self.model
        return model.forward_intermediates(images, indices=last, output_fmt="NCHW", intermediates_only=True, **keywords)


def _require_blocks(name: str, blocks: int, last: int) -> None:
    """Raise ModelError unless a network has that many blocks."""
    if last > blocks:
        raise ModelError(f"{name}: has {blocks} blocks; expected at least the {last} asked for")


def _tokens(patches: Tensor, prefix: Tensor | None, has_class: bool) -> Tokens:
    """Sort what stands before the patches into the class token and the registers."""
    if prefix is None:
        prefix = patches.new_empty(len(patches), 0, patches.shape[1])
    image = prefix[:, 0] if has_class else None
    return Tokens(image, prefix[:, int(has_class) :], patches)


class TorchvisionTrunk(LibraryTrunk):
    """A model of torchvision's.

    Of its ResNets, RegNets, ConvNeXts and Swins the four stages' maps are known, of its vision transformers the tokens.
    """

    def __init__(self, model: nn.Module, name: str, positions: Positions | None = None) -> None:
        super().__init__(model, name, positions)
        if self._steps():
            self.offers = frozenset({POOLED, MAPS})
        elif type(model).__name__ == "VisionTransformer":
            self.offers = frozenset({POOLED, TOKENS})

    def tokens(self, images: Tensor, last: int = 1, *, normed: bool = True) -> Sequence[Tokens]:
        """Return the tokens after each of the `last` blocks, normalised by the final norm unless told otherwise."""
        if TOKENS not in self.offers:
            return super().tokens(images, last)
        model: Any = self.model
        _require_blocks(self.name, len(model.encoder.layers), last)
        found = self._run(lambda: self._blocks(images), images)[-last:]
        normalised = [model.encoder.ln(x) if normed else x for x in found]
        grid = [side // model.patch_size for side in images.shape[-2:]]
        return [_tokens(x[:, 1:].mT.unflatten(2, grid), x[:, :1], has_class=True) for x in normalised]

    def _blocks(self, images: Tensor) -> list[Tensor]:
        """Return what each block gives: the class token, then the patches row by row, (N, 1 + P, C)."""
        model: Any = self.model
        patches = model._process_input(images)  # (N, P, C); it refuses other sides than the model's
        x = torch.cat([model.class_token.expand(len(images), -1, -1), patches], 1) + model.encoder.pos_embedding
        kept: list[Tensor] = []
        for block in model.encoder.layers:
            x = block(x)
            kept.append(x)
        return kept

    def maps(self, images: Tensor, last: int = 4) -> Sequence[Tensor]:
        """Return the maps after each of the `last` stages."""
        if MAPS not in self.offers:
            return super().maps(images, last)
        kept: list[Tensor] = []
        x = images
        for step, is_stage in self._steps():
            x = step(x)
            if is_stage:
                kept.append(x)
        is_channels_last = hasattr(self.model, "permute")  # Swin's stages give (N, h, w, C)
        return [x.permute(0, 3, 1, 2) if is_channels_last else x for x in kept[-last:]]

    def stages(self) -> Sequence[nn.Module]:
        """Return the four stages."""
        return [step for step, is_stage in self._steps() if is_stage][-4:]

    def _steps(self) -> list[tuple[nn.Module, bool]]:
        """Return what the model applies one after the other up to its last map, and which of it are stages."""
        model: Any = self.model
        if hasattr(model, "layer4"):
            stem = [(step, False) for step in (model.conv1, model.bn1, model.relu, model.maxpool)]
            return stem + [(model.get_submodule(f"layer{number}"), True) for number in range(1, 5)]
        if type(model).__name__ == "RegNet":
            return [(model.stem, False)] + [(block, True) for block in model.trunk_output]
        if type(model).__name__ in ("ConvNeXt", "SwinTransformer"):  # the stem, then stages and what halves their maps
            return [(step, number % 2 == 1) for number, step in enumerate(model.features)]
        return []


def leave_out_blocks(model: Any, rate: float) -> None:
    """Have both branches of the blocks of torchvision's vision transformer be left out as timm's are, which has it not.

    The rate rises linearly from 0, of the first block, to that of the last. No tensor's name changes.
    """
    ops = importlib.import_module("torchvision.ops")
    blocks = list(model.encoder.layers)
    for number, block in enumerate(blocks[1:], 1):
        own = rate * number / (len(blocks) - 1)
        block.dropout = nn.Sequential(block.dropout, ops.StochasticDepth(own, "row"))
        block.mlp[-1] = nn.Sequential(block.mlp[-1], ops.StochasticDepth(own, "row"))


def _told(found: Any) -> str:
    return f"{found.dtype} {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
