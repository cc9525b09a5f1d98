"""Features of a frozen backbone: images in, one row of numbers an image out."""

import ctypes
import hashlib
import logging
from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader

from twinbench.convert.architectures.trunk import TOKENS, Tokens, Trunk
from twinbench.convert.backbone import Backbone
from twinbench.convert.inputs import Inputs
from twinbench.data.images import ImageDataset
from twinbench.data.items import ImageFile
from twinbench.protocols.house import UserError
from twinbench.protocols.kinds.base import Features, ImageTransform
from twinbench.protocols.kinds.forms import FEATURE, GAP, RES5_AVG6, form
from twinbench.runtime.loading import batches_of
from twinbench.runtime.precision import network_precision
from twinbench.runtime.progress import bar
from twinbench.runtime.stopping import ignore_signals
from twinbench.transfer.transforms import evaluation_transform

_log = logging.getLogger(__name__)
BATCH, CPU_BATCH = 64, 16  # images a forward pass; a processor's is small, so that activations stay near its caches
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h

SAME = 1e-6  # of the largest feature: float32's rounding over a network's sums


class FeatureError(UserError):
    """Features that cannot be computed as asked."""


def pooled(model: Trunk, images: Tensor, name: str) -> Tensor:
    """Map images (N, 3, H, W) to their features of this name (N, C, h, w); but for `res5-avg6` one row, h = w = 1.

    VISSL's res5 AvgPool2d(6, stride 1) is of a ResNet-50 2 x 2 at 224 px, hence 8192 numbers.
    """
    [found] = all_pooled(model, images, [name])
    return found


def all_pooled(model: Trunk, images: Tensor, names: Sequence[str]) -> list[Tensor]:
    """Map images (N, 3, H, W) to their features of each of these names, as `pooled`, by one pass of each kind.

    FeatureError for names that no features have, or that this backbone has not.
    """
    seen = Seen(model, images, names)
    return [seen.features(name) for name in names]


class Seen:
    """What a backbone gives for some images; each pass is made when something first asks for it, and once."""

    def __init__(self, model: Trunk, images: Tensor, names: Sequence[str]) -> None:
        """Take images (N, 3, H, W) and the names of all features that will be asked for."""
        self.model, self.images = model, images
        self.blocks = max((found.blocks for name in names if (found := form(name))), default=1) or 1

    def features(self, name: str) -> Tensor:
        """Return the features of this name (N, C, h, w)."""
        wanted = form(name)
        if wanted is None:
            raise FeatureError(f"features {name}: expected {FEATURE.words}")
        if name == GAP:
            return self.model(self.images)[:, :, None, None]
        if name == RES5_AVG6:
            return _six_by_six(self.maps[-1])
        if wanted.stage:
            if len(self.maps) < 4:
                raise FeatureError(
                    f"features {name} of {self.model.name}: it has {len(self.maps)} stages; expected four"
                )
            return functional.adaptive_avg_pool2d(self.maps[wanted.stage - 6], 1)  # res5 is the last
        if not wanted.norm:
            return self.model.tokens(self.images, normed=False)[-1].patches.mean((2, 3), keepdim=True)
        rows = [_class_token(self.model, each) for each in self.tokens[-wanted.blocks :]] if wanted.blocks else []
        if wanted.patches:
            rows.append(self.patches.mean((2, 3)))
        return torch.cat(rows, 1)[:, :, None, None]

    def sequence(self, *, with_class: bool, normed: bool = True) -> Tensor:
        """Return the patches, or the places of the last map, as (N, T, C), and the class token before them if asked.

        Those of a transformer's last block by its last norm, unless `normed` is false.
        """
        if TOKENS not in self.model.offers:
            if with_class:
                raise FeatureError(f"{self.model.name}: has no class token; use --set tokens=patches")
            return self.maps[-1].flatten(2).mT
        last = self.tokens[-1] if normed else self.model.tokens(self.images, normed=False)[-1]
        places = last.patches.flatten(2).mT
        return torch.cat([_class_token(self.model, last)[:, None], places], 1) if with_class else places

    @cached_property
    def maps(self) -> Sequence[Tensor]:
        """The maps of the last stages, four if it has so many."""
        return self.model.maps(self.images)

    @cached_property
    def tokens(self) -> Sequence[Tokens]:
        """The tokens of the last blocks."""
        return self.model.tokens(self.images, self.blocks)

    @property
    def patches(self) -> Tensor:
        """The last block's patches, or the last map."""
        return self.tokens[-1].patches if TOKENS in self.model.offers else self.maps[-1]


def _six_by_six(res5: Tensor) -> Tensor:
    """Return VISSL's averages of a map (N, C, h, w)."""
    if min(res5.shape[2:]) < 6:
        raise FeatureError(
            f"pooling res5-avg6 on a {res5.shape[2]} x {res5.shape[3]} map: expected at least 6 x 6; "
            "this needs inputs of 192 px or more; use --set pooling=gap for smaller ones"
        )
    return functional.avg_pool2d(res5, kernel_size=6, stride=1)


def _class_token(model: Trunk, tokens: Tokens) -> Tensor:
    """Return the class token (N, C) of a block."""
    if tokens.image is None:
        raise FeatureError(f"{model.name}: has no class token; use features `patches`, or `gap`, its own")
    return tokens.image


def batches(places: Sequence[int], device: str) -> list[Sequence[int]]:
    """Return places of images in the batches that a device takes."""
    size = BATCH if device.startswith("cuda") else CPU_BATCH
    return [places[start : start + size] for start in range(0, len(places), size)]


def feature_loader(
    paths: Sequence[ImageFile],
    transform: ImageTransform,
    device: str,
    workers: int,
    order: Sequence[Sequence[int]] | None = None,
) -> DataLoader[tuple[Tensor, int]]:
    """Return batches of (uint8 images (B, 3, H, W), their places among `paths` (B,)): all, or those of `order`."""
    # The evaluation of a probe must outlive a scheduler's signal, which loader processes get, too.
    return DataLoader(
        ImageDataset(paths, evaluation_transform(transform)),
        batch_sampler=batches(range(len(paths)), device) if order is None else order,  # type: ignore[arg-type]
        num_workers=workers,
        pin_memory=device.startswith("cuda"),
        worker_init_fn=ignore_signals,
    )


def network_on(backbone: Backbone, device: str) -> Trunk:
    """Return a backbone's network as features are extracted by it."""
    if device == "cpu":
        _reuse_freed_memory()
    return backbone.build().to(device).to(memory_format=torch.channels_last)


Rows = Callable[[Trunk, Tensor], Tensor]  # maps images (B, 3, H, W) to what is kept of them (B, F)


@torch.inference_mode()
def extract(
    backbone: Backbone,
    paths: Sequence[ImageFile],
    features: Features,
    *,
    device: str = "cpu",
    workers: int = 0,
    what: str = "features",
    rows_of: Rows | None = None,
    model: Trunk | None = None,
) -> np.ndarray:
    """Return the `features` (N, F), float32, of the images at `paths` in their order, in eval mode.

    Their precision is the network's, see `network_precision`. What has no name of kinds/forms.py is got by `rows_of`.
    `model` is the backbone's `network_on` the device, for who extracts several times.
    """
    model = model or network_on(backbone, device)
    loader, inputs = feature_loader(paths, features.transform, device, workers), Inputs(backbone.convention, device)
    found: np.ndarray | None = None
    flat = 0
    progress = bar(batches_of(loader), total=len(loader), what=what, unit="batch")
    with progress as batches, network_precision(features.precision, device):
        for images, index in batches:
            given = inputs(images)
            kept = rows_of(model, given) if rows_of else pooled(model, given, features.pooling)
            rows = kept.flatten(1).float().cpu().numpy()  # (B, F)
            if found is None:
                found = np.empty((len(paths), rows.shape[1]), dtype=np.float32)
            found[index.numpy()] = rows
            flat += int((images.flatten(2).amin(2) == images.flatten(2).amax(2)).all(1).sum())
    if found is None:
        raise FeatureError("no images to extract features from; expected at least one")
    if flat:
        _log.warning("%s: %d of %d images are one colour all over where the network sees them", what, flat, len(paths))
    if not np.isfinite(found).all():
        raise FeatureError("the backbone's features are not finite; expected numbers: is the checkpoint damaged?")
    return found


def require_spread(features: np.ndarray, what: str) -> None:
    """Raise FeatureError if all rows (N, F), features of `what`, are the same: no label can be told from them.

    The same but for rounding, which differs with the size of a batch. The first block that differs ends the search.
    """
    if len(features) < 2:
        return
    rounding = SAME * float(np.abs(features[0]).max())
    for start in range(0, len(features), CPU_BATCH):
        if np.abs(features[start : start + CPU_BATCH] - features[0]).max() > rounding:
            return
    raise FeatureError(
        f"{what}: the same numbers for each of {len(features)} images; expected features that differ: does the backbone"
        " look at its input, and do the images show anything?"
    )


def _reuse_freed_memory() -> None:
    """Have glibc keep what is freed: else the kernel maps and clears every layer's output anew, a third of the time.

    Elsewhere (musl, macOS) there is no `mallopt`, and nothing is done.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)
        mallopt(M_MMAP_THRESHOLD, 1 << 30)


def digest(model: nn.Module) -> str:
    """Hash every parameter and buffer of `model`; equal digests, bit-identical networks."""
    found = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        found.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()
