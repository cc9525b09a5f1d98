"""Which input convention a backbone has, and how that is known. It is never guessed where files come with several."""

from collections.abc import Mapping
from typing import Any

from twinbench.convert.architectures.network import Network, ResNet50Network
from twinbench.convert.convention import CONVENTIONS, IMAGENET, InputConvention
from twinbench.convert.files import CheckpointError
from twinbench.convert.finding.find import Found
from twinbench.convert.note import noted
from twinbench.convert.reading.contents import Contents

ASKED = "asked for"


def convention_of(contents: Contents, found: Found, asked: InputConvention | None) -> tuple[InputConvention, str]:
    """Return the input convention and where it is known from.

    In this order: what was asked for, twinbench's note in the file, what the zoo's entry says, the settings of the
    image processor beside the file, what is usual for the layout, and what all files of such a network have. Raises
    CheckpointError if these differ from file to file and nothing says which it is.
    """
    if asked is not None:
        return asked, ASKED
    own = noted(contents).convention
    if own is not None:
        return own, "noted in the file"
    if contents.hints.get("zoo"):
        return CONVENTIONS[contents.hints["zoo"]], "the zoo's entry"
    beside = _beside(contents.hints)
    if beside is not None:
        return beside
    if found.layout.convention is not None and found.layout.name:
        return found.layout.convention, f"usual for {found.layout.label}"
    return usual(found.network, contents.name)


def usual(network: Network, name: str) -> tuple[InputConvention, str]:
    """Return the convention that all weights of a network come with; CheckpointError if there are several."""
    if isinstance(network, ResNet50Network):
        return IMAGENET, "assumed: the file does not say"
    from twinbench.convert.architectures.library import LibraryNetwork, conventions

    if not isinstance(network, LibraryNetwork):
        return IMAGENET, "assumed: nothing says"
    known = conventions(network)
    if len(known) == 1:
        return next(iter(known)), f"usual for {network.name}"
    words = {convention: word for word, convention in CONVENTIONS.items()}
    told = " or ".join(f"--input {words.get(each, str(each))} ({origins})" for each, origins in known.items())
    raise CheckpointError(
        f"{name}: the file does not say how images are normalised for it, and weights of {network.name} come in "
        f"{len(known) or 'unknown'} ways; say {told or '--input NAME'}"
    )


def _beside(hints: Mapping[str, Any]) -> tuple[InputConvention, str] | None:
    """Return what lies beside the weights: an image processor's settings, or timm's own in its config."""
    config = hints.get("config")
    places = {
        "preprocessor_config.json": (hints.get("preprocessor"), "image_mean", "image_std"),
        "config.json": (config.get("pretrained_cfg") if isinstance(config, dict) else None, "mean", "std"),
    }
    for file, (settings, mean, std) in places.items():
        if isinstance(settings, dict) and mean in settings:
            try:
                given = {"mean": settings[mean], "std": settings.get(std), "order": "rgb", "scale": 1.0}
                return InputConvention.from_dict(given), file
            except ValueError:
                raise CheckpointError(f"{file}: {mean} and {std} are no input convention; say --input NAME") from None
    return None
