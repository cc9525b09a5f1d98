"""Another library's model, as a command line or a suite file names it:

    LIBRARY:NAME              random weights, always the same
    LIBRARY:NAME=FILE         a file with the weights of that very model
    LIBRARY:NAME=pretrained   the library's own weights, which it downloads

Plans are made with this where neither the library nor torch is installed.
"""

from dataclasses import dataclass
from pathlib import Path

from twinbench.protocols.house import UserError

LIBRARIES = ("timm", "torchvision")
PRETRAINED = "pretrained"


class ModelError(UserError):
    """A model that its library does not have, weights that are not its own, or a use that it is not fit for."""


@dataclass(frozen=True)
class NamedModel:
    """A model of another library, and where its weights come from: a file, PRETRAINED, or nowhere."""

    library: str
    name: str
    weights: str = ""

    def __str__(self) -> str:
        """Return what named it."""
        return f"{self.label}={self.weights}" if self.weights else self.label

    @property
    def label(self) -> str:
        """The model without its weights, LIBRARY:NAME."""
        return f"{self.library}:{self.name}"

    @property
    def file(self) -> Path | None:
        """The file with its weights, if there is one."""
        return None if self.weights in ("", PRETRAINED) else Path(self.weights)

    @property
    def identity(self) -> str:
        """Tell the model with its weights from others, by what `stamp` sees of the file."""
        return f"{self.label}={stamp(self.file)}" if self.file else str(self)


def named_model(spec: str) -> NamedModel | None:
    """Return the model that `spec` names; None if it is a path, `random` or zoo:NAME. ModelError for half a name."""
    label, equals, weights = spec.partition("=")
    library, colon, name = label.partition(":")
    if library not in LIBRARIES or not colon:
        return None
    if not name or (equals and not weights):
        raise ModelError(
            f"{spec}: {'names no weights' if name else 'names no model'}; expected LIBRARY:NAME=FILE, "
            f"LIBRARY:NAME={PRETRAINED}, or LIBRARY:NAME for random weights"
        )
    return NamedModel(library, name, weights)


def stamp(file: Path) -> str:
    """Tell a file from another one of the same name, without reading its gigabytes."""
    seen = file.stat()
    return f"{file.name} ({seen.st_size} bytes, changed {seen.st_mtime_ns})"
