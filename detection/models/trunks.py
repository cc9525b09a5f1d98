"""Any network with maps of strides 4, 8, 16 and 32 under Detectron2's feature pyramid.

The network is timm's or torchvision's own module with its own names, called as everywhere else (`Trunk.maps`). Its maps
are taken as it gives them: what some papers' code puts in between, a LayerNorm on each map of a Swin or a ConvNeXt, is
no part of the pretrained network, and the pyramid's own norms stand there.

A ResNet-50 never comes here: Detectron2 has it, and recipes and files of others name its tensors.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone import FPN, Backbone
from detectron2.modeling.backbone.fpn import LastLevelMaxPool, LastLevelP6P7
from torch import Tensor, nn

from twinbench.convert.architectures.library import LibraryNetwork, timm_library
from twinbench.convert.architectures.trunk import Trunk
from twinbench.convert.named import ModelError
from twinbench.detection.models.keys import named_network
from twinbench.detection.models.norms import convert_norms

STRIDES = {"res2": 4, "res3": 8, "res4": 16, "res5": 32}
PROBE = (64, 96)  # pixels of a try: no square, no multiple of a window of 7, as the images of a detector are
WANTED = (
    "a feature pyramid stands on four of strides 4, 8, 16 and 32; choose a network with such stages, or for a plain "
    "vision transformer a protocol of ViTDet"
)
ALL = 5  # of freeze_at: the stem and four stages


class TrunkBackbone(Backbone):
    """A network's four maps, called `res2` to `res5` as a ResNet's are.

    `norm` is what its batch norms become. Frozen are what no map depends on (a final norm, say), and of the rest the
    stem and the first `freeze_at` - 1 stages. Raises ModelError for a network whose maps make no pyramid.
    """

    def __init__(self, trunk: Trunk, norm: str = "BN", freeze_at: int = 0) -> None:
        super().__init__()
        maps, unused = _tried(trunk)
        frozen = unused | _first_stages(trunk, freeze_at)
        for name, parameter in trunk.named_parameters():
            parameter.requires_grad_(name not in frozen)
        convert_norms(trunk, norm, frozen)
        self.trunk = trunk
        self._out_features = list(STRIDES)
        self._out_feature_strides = dict(STRIDES)
        self._out_feature_channels = dict(zip(STRIDES, (each.shape[1] for each in maps), strict=True))

    def forward(self, x: Tensor) -> dict[str, Tensor]:  # type: ignore[override]  # Detectron2 declares no argument
        """Map images (N, 3, H, W) of sides that 32 divides to {name: (N, C, H / stride, W / stride)}."""
        return dict(zip(STRIDES, self.trunk.maps(x, len(STRIDES)), strict=True))

    @property
    def size_divisibility(self) -> int:
        """The sides of images are multiples of the largest stride."""
        return max(STRIDES.values())


def build_trunk(cfg: Any) -> TrunkBackbone:
    """Return the network of MODEL.TRUNK, freshly initialised."""
    section = cfg.MODEL.TRUNK
    network = named_network(section)
    trunk = _any_size(network, section.DROP_PATH)
    return TrunkBackbone(trunk, section.NORM, cfg.MODEL.BACKBONE.FREEZE_AT)


def build_trunk_fpn_backbone(cfg: Any, _: Any = None) -> FPN:
    """Return the network under the pyramid of R-CNNs: p2 to p5, and p6 by pooling."""
    return _pyramid(cfg, build_trunk(cfg), LastLevelMaxPool())


def build_retinanet_trunk_fpn_backbone(cfg: Any, _: Any = None) -> FPN:
    """Return the network under RetinaNet's pyramid: p3 to p5, and p6 and p7 by convolutions of the last map."""
    trunk = build_trunk(cfg)
    channels = trunk.output_shape()["res5"].channels
    return _pyramid(cfg, trunk, LastLevelP6P7(channels, cfg.MODEL.FPN.OUT_CHANNELS))


def _pyramid(cfg: Any, trunk: TrunkBackbone, top: nn.Module) -> FPN:
    return FPN(
        bottom_up=trunk,
        in_features=cfg.MODEL.FPN.IN_FEATURES,
        out_channels=cfg.MODEL.FPN.OUT_CHANNELS,
        norm=cfg.MODEL.FPN.NORM,
        top_block=top,
        fuse_type=cfg.MODEL.FPN.FUSE_TYPE,
    )


def _any_size(network: LibraryNetwork, drop_path: float) -> Trunk:
    """Return a fresh network that takes images of any size and leaves out blocks at the rate `drop_path`.

    The libraries have rates of their own, 0.1 and 0.2 in Swins: a recipe's number goes before them, 0 as well.
    """
    options = dict(network.options)
    if network.library == "timm":
        if _is_swin(network):  # windows of one size at any image's, shifted in every second block, as in a detector
            options |= {"strict_img_size": False, "always_partition": True}
        if drop_path > 0:
            options["drop_path_rate"] = drop_path
    try:
        trunk = replace(network, options=tuple(sorted(options.items()))).make()
    except TypeError:  # a model of timm's whose class has no such option
        raise no_drop_path(network.name, drop_path) from None
    trunk.name = network.name
    droppers = [part for part in trunk.modules() if type(part).__name__ in ("DropPath", "StochasticDepth")]
    if drop_path > 0 and not droppers:
        raise no_drop_path(network.name, drop_path)
    for number, part in enumerate(droppers):
        if network.library == "torchvision":
            vars(part)["p"] = drop_path * number / max(len(droppers) - 1, 1)
        elif drop_path == 0:
            vars(part)["drop_prob"] = 0.0
    return trunk


def _is_swin(network: LibraryNetwork) -> bool:
    """Say whether a model of timm's is a Swin, of version 1 or 2."""
    module = timm_library(network.model).model_entrypoint(network.model).__module__
    return module.rpartition(".")[2] in ("swin_transformer", "swin_transformer_v2")


def no_drop_path(name: str, drop_path: float) -> ModelError:
    """Return the error of who asks for it on a network that has none."""
    return ModelError(f"drop_path={drop_path}: {name} has no blocks that can be left out; expected drop_path=0")


def _tried(trunk: Trunk) -> tuple[Sequence[Tensor], set[str]]:
    """Return the maps of a small image, and the names of the parameters that none of them depends on.

    Such a parameter has no gradient, which DistributedDataParallel waits for in vain.
    """
    images = torch.zeros(1, 3, *PROBE)
    parameters = dict(trunk.named_parameters())
    trunk.eval()
    try:
        with torch.enable_grad():
            maps = trunk.maps(images, len(STRIDES))
            _require_pyramid(trunk, maps)
            total = torch.stack([each.sum() for each in maps]).sum()
            gradients = torch.autograd.grad(total, list(parameters.values()), allow_unused=True)
    except (RuntimeError, ValueError, AssertionError, TypeError) as error:
        raise _refused(trunk, str(error)) from None
    except ModelError as error:
        if not isinstance(error.__context__, AssertionError):  # how the libraries refuse a size
            raise
        raise _refused(trunk, str(error.__context__)) from None
    trunk.train()
    return maps, {name for name, gradient in zip(parameters, gradients, strict=True) if gradient is None}


def _refused(trunk: Trunk, why: str) -> ModelError:
    """Return the error of a network that gave no four maps of the try's size: it has less, or takes no such image."""
    height, width = PROBE
    if _has_a_map(trunk):
        return ModelError(f"{trunk.name}: has fewer than {len(STRIDES)} maps; {WANTED}")
    return ModelError(
        f"{trunk.name}: takes no image of {width} x {height} px ({(why.splitlines() or [''])[0][:120]}), and a "
        "detector's images have many sizes; choose a network that takes any, such as torchvision:convnext_tiny"
    )


def _has_a_map(trunk: Trunk) -> bool:
    """Say whether the network gives the last map of the try."""
    try:
        return len(trunk.maps(torch.zeros(1, 3, *PROBE), 1)) == 1
    except (RuntimeError, ValueError, AssertionError, TypeError, ModelError):
        return False


def _require_pyramid(trunk: Trunk, maps: Sequence[Tensor]) -> None:
    """Raise ModelError unless the maps have the strides of STRIDES."""
    wanted = [(PROBE[0] // stride, PROBE[1] // stride) for stride in STRIDES.values()]
    if [tuple(each.shape[2:]) for each in maps] != wanted:
        found = ", ".join(f"{PROBE[0] / each.shape[2]:.3g}" for each in maps)
        raise ModelError(f"{trunk.name}: its maps have strides {found}; {WANTED}")


def _first_stages(trunk: Trunk, freeze_at: int) -> set[str]:
    """Return the names of the parameters of the stem and the first `freeze_at` - 1 stages; of 0 none, of 5 all.

    Both libraries register modules in the order in which they are called. Raises ModelError where the stages are not
    known.
    """
    names = [name for name, _ in trunk.named_parameters()]
    if freeze_at in (0, ALL):
        return set(names) if freeze_at else set()
    stages = trunk.stages()
    if len(stages) != len(STRIDES):
        raise ModelError(
            f"freeze_at={freeze_at}: which parts of {trunk.name} are its stages is not known; expected 0, all is "
            f"trained, or {ALL}, all of it is frozen"
        )
    paths = [path for stage in stages for path, module in trunk.named_modules() if module is stage]
    inside = [[number for number, name in enumerate(names) if name.startswith(f"{path}.")] for path in paths]
    end = inside[0][0] if freeze_at == 1 else inside[freeze_at - 2][-1] + 1
    return set(names[:end])


for _build in (build_trunk_fpn_backbone, build_retinanet_trunk_fpn_backbone):
    if _build.__name__ not in BACKBONE_REGISTRY:
        BACKBONE_REGISTRY.register(_build)
