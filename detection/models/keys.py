"""The keys of Detectron2's configuration that are ours: which network of another library the backbone is.

They are in no configuration of a ResNet-50, which stock Detectron2 reads as it stands.
"""

from collections.abc import Mapping
from typing import Any

from detectron2.config import CfgNode

from twinbench.convert.architectures.library import LibraryNetwork
from twinbench.convert.architectures.plain import PATCH, PlainVit

TRUNK: dict[str, Any] = {
    "LIBRARY": "",  # timm or torchvision
    "MODEL": "",  # its name there
    "OPTIONS": [],  # of its constructor: pairs of a name and a value
    "POSITIONS": "",  # how its position embeddings are resampled, where not as the library does
    "NORM": "BN",  # what its batch norms become; other norms stay what they are
    "DROP_PATH": 0.0,  # the rate at which its last block is left out; rises linearly from 0 at the first
}
VIT: dict[str, Any] = {  # arguments of detectron2.modeling.ViT and of its SimpleFeaturePyramid
    "EMBED_DIM": 768,
    "DEPTH": 12,
    "NUM_HEADS": 12,
    "MLP_DIM": 3072,
    "PRETRAIN_IMG_SIZE": 224,
    "PRETRAIN_USE_CLS_TOKEN": True,
    "IMG_SIZE": 1024,  # images are padded to squares of this side
    "WINDOW_SIZE": 14,  # patches; 0: every block sees the whole image
    "GLOBAL_BLOCKS": 4,  # how many blocks, at even distances, see the whole image, the last one among them
    "USE_REL_POS": True,
    "DROP_PATH": 0.0,
}


def add_trunk_config(config: CfgNode) -> None:
    """Add the sections MODEL.TRUNK and MODEL.VIT, with which a `config.yaml` of such a backbone can be read."""
    config.MODEL.TRUNK = CfgNode(dict(TRUNK))
    config.MODEL.VIT = CfgNode(dict(VIT))


def trunk_keys(network: LibraryNetwork, norm: str, drop_path: float) -> dict[str, Any]:
    """Return the keys that name a network with maps."""
    told = network.as_dict()
    return {
        "MODEL.TRUNK.LIBRARY": told["library"],
        "MODEL.TRUNK.MODEL": told["model"],
        "MODEL.TRUNK.OPTIONS": [[name, value] for name, value in told["options"].items()],
        "MODEL.TRUNK.POSITIONS": told["positions"] or "",
        "MODEL.TRUNK.NORM": norm,
        "MODEL.TRUNK.DROP_PATH": drop_path,
    }


def named_network(section: Mapping[str, Any]) -> LibraryNetwork:
    """Return the network that a section MODEL.TRUNK names."""
    return LibraryNetwork.from_dict(
        {
            "library": section["LIBRARY"],
            "model": section["MODEL"],
            "options": {name: value for name, value in section["OPTIONS"]},
            "positions": section["POSITIONS"] or None,
        }
    )


def vit_keys(plain: PlainVit, max_size: int, drop_path: float) -> dict[str, Any]:
    """Return the keys of a plain vision transformer for images of sides up to `max_size` px.

    The smallest map has a stride of 32, so the images' common side is the next multiple of that.
    """
    return {
        "MODEL.VIT.EMBED_DIM": plain.width,
        "MODEL.VIT.DEPTH": plain.depth,
        "MODEL.VIT.NUM_HEADS": plain.heads,
        "MODEL.VIT.MLP_DIM": plain.mlp,
        "MODEL.VIT.PRETRAIN_IMG_SIZE": PATCH * plain.side,
        "MODEL.VIT.PRETRAIN_USE_CLS_TOKEN": plain.has_class,
        "MODEL.VIT.IMG_SIZE": -(-max_size // (2 * PATCH)) * 2 * PATCH,
        "MODEL.VIT.DROP_PATH": drop_path,
    }
