"""How RegNets name their tensors. Ours are torchvision's names.

Sources: ClassyVision classy_vision/models/anynet.py, of which VISSL's trunks/regnet.py makes feature blocks (SEER), and
transformers' modeling_regnet.py.
"""

from collections.abc import Mapping

from twinbench.convert.finding.naming import Naming, Spelled
from twinbench.convert.finding.tables import speller

_MARKS = ("trunk_output.block1.block1-0.f.b.0.weight", "stem.0.weight")


def _table(stem: tuple[str, str], stage: str, words: Mapping[str, str]) -> dict[str, Spelled]:
    """Return a table; in the name of a `stage` [s] stands for its number from 0, [s+1] and [s+2] for those after."""
    found: dict[str, Spelled] = {"stem.0.*": f"{stem[0]}.*", "stem.1.*": f"{stem[1]}.*"}
    for number in range(4):
        ours = f"trunk_output.block{number + 1}.block{number + 1}-N"
        theirs = stage.replace("[s]", str(number)).replace("[s+1]", str(number + 1)).replace("[s+2]", str(number + 2))
        found |= {f"{ours}.{mine}.*": f"{theirs}.{word}.*" for mine, word in words.items()}
    return found


def _transformers(last: int) -> dict[str, Spelled]:
    """Return transformers' table; `last` is the number of a block's last convolution, before which Y has attention."""
    words = {
        "proj.0": "shortcut.convolution",
        "proj.1": "shortcut.normalization",
        "f.a.0": "layer.0.convolution",
        "f.a.1": "layer.0.normalization",
        "f.b.0": "layer.1.convolution",
        "f.b.1": "layer.1.normalization",
        "f.se.fc1": "layer.2.attention.0",
        "f.se.fc2": "layer.2.attention.2",
        "f.c.0": f"layer.{last}.convolution",
        "f.c.1": f"layer.{last}.normalization",
    }
    stem = "embedder.embedder"
    return _table((f"{stem}.convolution", f"{stem}.normalization"), "encoder.stages.[s].layers.N", words)


REGNET = Naming("torchvision's RegNet", _MARKS)
REGNET_VISSL = Naming(
    "VISSL's RegNet",
    _MARKS,
    speller(
        _table(
            ("conv1.stem.0", "conv1.stem.1"),
            "res[s+2].block[s+1]-N",
            {
                "proj.0": "proj",
                "proj.1": "bn",
                "f.a.0": "f.a.0",
                "f.a.1": "f.a.1",
                "f.b.0": "f.b.0",
                "f.b.1": "f.b.1",
                "f.se.fc1": "f.se.excitation.0",
                "f.se.fc2": "f.se.excitation.2",
                "f.c.0": "f.c",
                "f.c.1": "f.final_bn",
            },
        )
    ),
)
REGNETS_TRANSFORMERS = (
    Naming("transformers' RegNetX", _MARKS, speller(_transformers(2))),
    Naming("transformers' RegNetY", _MARKS, speller(_transformers(3))),
)
REGNETS = (REGNET, REGNET_VISSL, *REGNETS_TRANSFORMERS)
