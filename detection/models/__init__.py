"""The networks: heads, norms and backbones that Detectron2 lacks, and the backbone's way into them.

Detectron2 finds them by name once this package is imported. That is all that a saved model needs whose `config.yaml`
names one of ours; the models of a stock head on a ResNet-50 need not even that. The `config.yaml` of any other backbone
has sections of ours, MODEL.TRUNK and MODEL.VIT, and is read so:

    from twinbench.detection.models import add_trunk_config

    cfg = get_cfg()
    add_trunk_config(cfg)
    cfg.merge_from_file("config.yaml")
    model = build_model(cfg)
    DetectionCheckpointer(model).load("model_final.pth")
"""

from twinbench.detection.models import head, trunks, vitdet  # noqa: F401  # they register what configurations name
from twinbench.detection.models.keys import add_trunk_config

__all__ = ["add_trunk_config"]
