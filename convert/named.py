"""Another library's model, as a command line or a suite file names it:

    LIBRARY:NAME=FILE         a file with the weights of that very model
    LIBRARY:NAME=pretrained   the library's own weights, which it downloads
    LIBRARY:NAME=random       random weights, always the same

Without `=` a name is an error: a row that was meant to be somebody's weights must not be random in silence. A file that
is really called `random` or `pretrained` is named as `./random`.

Plans are made with this where neither the library nor torch is installed.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from twinbench.protocols.house import UserError

LIBRARIES = ("timm", "torchvision")
PRETRAINED, RANDOM = "pretrained", "random"  # what may stand for a file
# An origin's network may be a library's with options, `timm:vit_small_patch16_224 num_heads=12=FILE`.
_SPEC = re.compile(
    rf"(?P<library>{'|'.join(LIBRARIES)}):(?P<name>[^\s=]*)(?P<options>(?: \w+=[^\s=]+)*)(?:=(?P<weights>.*))?",
    re.DOTALL,
)


class ModelError(UserError):
    """A model that its library does not have, weights that are not its own, or a use that it is not fit for."""


@dataclass(frozen=True)
class NamedModel:
    """A model of another library, and where its weights come from: a file, PRETRAINED or RANDOM."""

    library: str
    name: str
    weights: str

    def __str__(self) -> str:
        """Return what named it."""
        return f"{self.label}={self.weights}"

    @property
    def label(self) -> str:
        """The model without its weights, LIBRARY:NAME."""
        return f"{self.library}:{self.name}"

    @property
    def file(self) -> Path | None:
        """The file with its weights, if there is one."""
        return None if self.weights in (PRETRAINED, RANDOM) else Path(self.weights)


def named_model(spec: str) -> NamedModel | None:
    """Return the model that `spec` names; None if it is a path, `random` or zoo:NAME. ModelError for half a name."""
    found = _SPEC.fullmatch(spec)
    if found is None:
        return None
    library, name, weights = found["library"], found["name"] + found["options"], found["weights"]
    if not name:
        raise ModelError(f"{spec}: names no model; expected {library}:NAME=FILE, ={PRETRAINED} or ={RANDOM}")
    if not weights:
        label = f"{library}:{name}"
        raise ModelError(
            f"{spec}: names no weights; expected {label}=FILE, {label}={PRETRAINED} for the library's own, or "
            f"{label}={RANDOM} for random ones"
        )
    return NamedModel(library, name, weights)
