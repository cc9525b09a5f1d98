"""The keys of a backbone that is not the ResNet-50 of Detectron2, and what they ask of who reads them."""

from typing import Any

from detectron2.config import CfgNode

from twinbench.convert.architectures.library import LibraryNetwork
from twinbench.convert.architectures.network import Network
from twinbench.detection.models import head, trunks, vitdet
from twinbench.detection.models.keys import add_trunk_config, trunk_keys, vit_keys
from twinbench.protocols.kinds.detector import DetectionRecipe


def backbone_keys(recipe: DetectionRecipe, network: Network) -> dict[str, Any]:
    """Return what `network` changes in a configuration; nothing for a ResNet-50, of whatever width.

    Raises ModelError for a `drop_path` that a ResNet-50 would pass over in silence.
    """
    if network.plain and recipe.takes == "plain":
        keys = vit_keys(network.plain, recipe.max_size, recipe.drop_path)
        return keys | {"MODEL.BACKBONE.NAME": vitdet.NAME, "MODEL.FPN.NORM": "LN"}  # mask_rcnn_vitdet.py: norm="LN"
    if network.is_resnet50:
        if recipe.drop_path > 0:
            raise trunks.no_drop_path(network.name, recipe.drop_path)
        return {}
    assert isinstance(network, LibraryNetwork), network.name
    is_retinanet = recipe.architecture == "retinanet"
    build = trunks.build_retinanet_trunk_fpn_backbone if is_retinanet else trunks.build_trunk_fpn_backbone
    return trunk_keys(network, recipe.norm, recipe.drop_path) | {"MODEL.BACKBONE.NAME": build.__name__}


def make_room(config: CfgNode, network: Network) -> None:
    """Add the sections that `backbone_keys` fills; stock Detectron2 reads a ResNet-50's configuration without them."""
    if not network.is_resnet50:
        add_trunk_config(config)


def yaml_of(config: CfgNode) -> str:
    """Return the text of `config.yaml`; what must be imported before stock Detectron2 can build it is said on top."""
    return f"{_needs(config)}{config.dump()}"


def _needs(config: CfgNode) -> str:
    """Return a line of comment; nothing where Detectron2 has all of it."""
    if "TRUNK" in config.MODEL:
        return (
            "# before merge_from_file: from twinbench.detection.models import add_trunk_config; add_trunk_config(cfg)\n"
        )
    if "SEGMENTER" in config.MODEL:
        return "# before merge_from_file: from twinbench.detection.semantic import with_keys; with_keys(cfg)\n"
    if head.Res5ROIHeadsExtraNorm.__name__ == config.MODEL.ROI_HEADS.NAME:
        return "# before build_model: import twinbench.detection.models\n"
    return ""
