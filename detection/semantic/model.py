"""FCN for Detectron2: a dilated ResNet, a head of convolutions on res5, and in training a second one on res4.

The head is MMSegmentation's FCNHead in its settings: 3 x 3 convolutions with norm and ReLU, perhaps one more over input
and output side by side, dropout of whole channels, and a 1 x 1 that scores each class.
Letters: N images, C classes, H x W pixels, h x w places of a feature map.
"""

from typing import Any

import torch
from detectron2.layers import Conv2d, get_norm
from detectron2.modeling import META_ARCH_REGISTRY, build_backbone
from torch import Tensor, nn
from torch.nn import functional

from twinbench.data.pixels.pairs import UNLABELLED
from twinbench.runtime.windows import Inference


class FcnHead(nn.Module):
    """Scores (N, C, h, w) of features (N, F, h, w)."""

    def __init__(
        self,
        features: int,
        channels: int,
        classes: int,
        *,
        convs: int,
        dilation: int,
        concat: bool,
        dropout: float,
        norm: str,
    ) -> None:
        super().__init__()
        widths = [features] + [channels] * convs
        blocks = [_block(before, after, dilation, norm) for before, after in zip(widths, widths[1:], strict=False)]
        self.convs = nn.Sequential(*blocks)
        self.concat = _block(features + channels, channels, 1, norm) if concat else None
        self.dropout = nn.Dropout2d(dropout)
        self.predictor = nn.Conv2d(channels, classes, 1)
        nn.init.normal_(self.predictor.weight, std=0.01)
        nn.init.zeros_(self.predictor.bias)  # type: ignore[arg-type]

    def forward(self, features: Tensor) -> Tensor:
        """Return the scores."""
        found = self.convs(features)
        if self.concat is not None:
            found = self.concat(torch.cat([features, found], dim=1))
        return self.predictor(self.dropout(found))


def _block(before: int, after: int, dilation: int, norm: str) -> Conv2d:
    """Return a 3 x 3 convolution with norm and ReLU that keeps the size, initialised after He et al. by its outputs."""
    conv = Conv2d(
        before,
        after,
        3,
        padding=dilation,
        dilation=dilation,
        bias=False,
        norm=get_norm(norm, after),
        activation=functional.relu,
    )
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv


@META_ARCH_REGISTRY.register()
class Segmenter(nn.Module):
    """Detectron2's form of a network: lists of images in; losses by name, or scores a pixel, out."""

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, config: Any) -> None:
        super().__init__()
        keys = config.MODEL.SEGMENTER
        self.backbone = build_backbone(config)
        channels = {name: shape.channels or 0 for name, shape in self.backbone.output_shape().items()}
        head = {"classes": keys.NUM_CLASSES, "dropout": keys.DROPOUT, "norm": config.MODEL.RESNETS.NORM}
        self.head = FcnHead(
            channels["res5"], keys.CHANNELS, convs=keys.CONVS, dilation=keys.DILATION, concat=keys.CONCAT, **head
        )
        self.aux_head = None
        if keys.AUX_WEIGHT > 0:
            self.aux_head = FcnHead(channels["res4"], keys.AUX_CHANNELS, convs=1, dilation=1, concat=False, **head)
        self.aux_weight, self.align_corners, self.loss_mean = keys.AUX_WEIGHT, keys.ALIGN_CORNERS, keys.LOSS_MEAN
        self.inference = Inference(keys.TEST_MODE, keys.TEST_CROP, keys.TEST_STRIDE, keys.ALIGN_CORNERS)
        self.crop: int = config.INPUT.SEGMENTER.CROP
        self.register_buffer("pixel_mean", torch.tensor(config.MODEL.PIXEL_MEAN).view(-1, 1, 1), False)
        self.register_buffer("pixel_std", torch.tensor(config.MODEL.PIXEL_STD).view(-1, 1, 1), False)
        self.to(config.MODEL.DEVICE)

    @property
    def device(self) -> torch.device:
        """Where the network computes."""
        return self.pixel_mean.device

    def forward(self, batch: list[dict[str, Any]]) -> Any:
        """Return, in training, the losses of images with `sem_seg` (H, W) class numbers, UNLABELLED where there is
        none; else for each image of `height` and `width` its `sem_seg` scores (C, H, W) and their `region`.
        """
        if self.training:
            return self._losses(batch)
        return [self._scored(image) for image in batch]

    def _normalised(self, image: Tensor) -> Tensor:
        """Return pixels (3, H, W) in 0..255 as the backbone expects them."""
        return (image.to(self.device, torch.float32) - self.pixel_mean) / self.pixel_std

    def _losses(self, batch: list[dict[str, Any]]) -> dict[str, Tensor]:
        """Return the losses of a batch, whose images are padded to the crop's size, below and to the right."""
        images = torch.stack([_padded(self._normalised(image["image"]), self.crop, 0.0) for image in batch])
        labels = torch.stack([_padded(image["sem_seg"].to(self.device), self.crop, UNLABELLED) for image in batch])
        features = self.backbone(images)
        losses = {"loss_seg": self._loss(self.head(features["res5"]), labels)}
        if self.aux_head is not None:
            losses["loss_aux"] = self.aux_weight * self._loss(self.aux_head(features["res4"]), labels)
        return losses

    def _loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Return the cross-entropy of scores (N, C, h, w), resized to the size of labels (N, H, W)."""
        scores = functional.interpolate(
            scores.float(), labels.shape[1:], mode="bilinear", align_corners=self.align_corners
        )
        return pixel_loss(scores, labels, self.loss_mean)

    def _scored(self, image: dict[str, Any]) -> dict[str, Any]:
        """Return one image's scores."""
        pixels = self._normalised(image["image"])[None]
        scores, region = self.inference(self._scores, pixels, (image["height"], image["width"]))
        return {"sem_seg": scores[0], "region": region}

    def _scores(self, pixels: Tensor) -> Tensor:
        """Return scores (N, C, H, W) of normalised pixels (N, 3, H, W)."""
        scores = self.head(self.backbone(pixels)["res5"])
        return functional.interpolate(
            scores.float(), pixels.shape[2:], mode="bilinear", align_corners=self.align_corners
        )


def pixel_loss(scores: Tensor, labels: Tensor, mean: str) -> Tensor:
    """Return the summed cross-entropy of scores (N, C, H, W) over the number of pixels: `all`, or the `labelled` ones.

    MMSegmentation divides by all of them: where much is padded or unlabelled, a step is smaller.
    """
    total = functional.cross_entropy(scores, labels, ignore_index=UNLABELLED, reduction="sum")
    if mean == "all":
        return total / labels.numel()
    return total / (labels != UNLABELLED).sum().clamp(min=1)


def _padded(values: Tensor, side: int, value: float) -> Tensor:
    """Return (..., H, W) as (..., side, side), `value` below and to the right."""
    height, width = values.shape[-2:]
    return functional.pad(values, (0, side - width, 0, side - height), value=value)
