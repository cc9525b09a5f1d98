"""A trial as it was asked for, from the command line or from Python: what every measuring room takes alike."""

import argparse
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar, cast

from twinbench.protocols.house import unknown
from twinbench.protocols.schema import Protocol
from twinbench.report.trial import TrialError
from twinbench.runtime.tracking import tracked

OptionsT = TypeVar("OptionsT")


@dataclass(frozen=True)
class Asked:
    """A protocol, settings applied, on a backbone and data, into a folder."""

    protocol: Protocol
    backbone: Any  # as the command line names it, or a torch.nn.Module
    data: str  # a folder, or FORM:PLACE, see data/source.py
    out: Path
    method: str | None = None  # None: where the backbone comes from
    seed: int = 0
    device: str = "auto"
    workers: int | None = None  # None: what suits the machine
    convention: Any = None  # of the backbone's input; None: what is known of it
    layout: str | None = None  # which backbone of a file that holds several

    @classmethod
    def of(cls, protocol: Protocol, arguments: argparse.Namespace) -> "Asked":
        """Return what a command line asks for; its arguments have the names of the fields."""
        given: dict[str, Any] = {**vars(arguments), "protocol": protocol}
        if arguments.limit:
            given["data"] = f"{arguments.data}{'&' if '?' in arguments.data else '?'}limit={arguments.limit}"
        return cls(**{field.name: given[field.name] for field in fields(cls) if field.name in given})


def options_of(options: type[OptionsT], given: Mapping[str, Any]) -> OptionsT:
    """Return a room's options with those that were `given`; TrialError for one that it does not have."""
    known = [field.name for field in fields(cast("Any", options))]
    for name in given:
        if name not in known:
            raise TrialError(unknown("option", name, known))
    return options(**given)


def tracked_trial(protocol: Protocol, arguments: argparse.Namespace) -> AbstractContextManager[None]:
    """Return the block in which a trial is shown to the trackers that its command line names."""
    told = {name: getattr(arguments, name) for name in ("backbone", "data", "method", "seed")}
    config = {"protocol": protocol.name, "fingerprint": protocol.fingerprint, **told, **dict(protocol.overrides)}
    name = f"{arguments.method or arguments.backbone} {protocol.name} seed{arguments.seed}"
    return tracked(arguments.track, arguments.out, name, config)
