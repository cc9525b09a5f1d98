"""`twinbench.evaluate`: one trial from Python, by the same code and into the same result.json as the command."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twinbench.protocols.catalogue import find_protocol
from twinbench.protocols.house import resolved
from twinbench.protocols.schema import Protocol

if TYPE_CHECKING:
    from torch import nn

    from twinbench.convert.convention import InputConvention
    from twinbench.report.result import Result

EVALUATORS = {  # by room
    "transfer": "transfer.measure:evaluate",
    "dense": "dense.trial:evaluate",
    "detection": "detection.trial:evaluate_protocol",
}


def evaluate(
    backbone: "str | Path | nn.Module",
    protocol: str | Protocol,
    data: str | Path,
    out: str | Path,
    *,
    method: str | None = None,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    convention: "InputConvention | Mapping[str, Any] | str | None" = None,
    layout: str | None = None,
    device: str = "auto",
    workers: int | None = None,
    track: str | Sequence[str] = (),
    **options: Any,
) -> "Result":
    """Measure one protocol on one backbone, write OUT/result.json and return it; a finished trial is not run again.

    `backbone` is what the command takes (a checkpoint's path, `zoo:NAME`, `timm:NAME=FILE`, `random`, ...), or a module
    that maps normalised images (N, 3, H, W) to features (N, F). `convention` is that of its input: mean and std, or a
    name such as `imagenet` (the default of a module) or `unit`; `layout` says which backbone of a file that holds
    several, as --input and --layout do. `protocol` is a name, `RECIPE@DATA`, or a Protocol; `settings`
    change its recipe as --set does. `track` names trackers that are shown its numbers, as --track does:
    "tensorboard,wandb", or a list. `options` are further ones of the command, `partial=True` for example. Mistakes
    raise a UserError whose message is the command's one line.
    """
    chosen = find_protocol(protocol) if isinstance(protocol, str) else protocol
    chosen = chosen.with_settings(settings or {})
    source = str(backbone) if isinstance(backbone, Path) else backbone
    make_asked, tracked_trial = resolved("report.asked:Asked"), resolved("report.asked:tracked_trial")
    trackers = resolved("runtime.tracking:parse_trackers")(track if isinstance(track, str) else ",".join(track))
    asked = make_asked(
        chosen, source, str(data), Path(out), method, seed, device, workers, convention, layout, trackers
    )
    with tracked_trial(asked):
        return resolved(EVALUATORS[chosen.room])(asked, options)
