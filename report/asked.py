"""A trial as it was asked for, from the command line or from Python: what every measuring room takes alike."""

import argparse
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar, cast, get_args, get_type_hints

from twinbench.protocols.catalogue import find_protocol, load_own
from twinbench.protocols.house import unknown
from twinbench.protocols.kinds.base import Room
from twinbench.protocols.schema import Protocol
from twinbench.report.trial import TrialError, as_label, as_seed, trial_protocol
from twinbench.runtime.tracking import TRACKERS, parse_trackers, tracked

OptionsT = TypeVar("OptionsT")


def as_limit(text: str) -> int:
    """Return a number of images; TrialError unless it is a whole one from 1."""
    if not text.isdecimal() or not int(text):
        raise TrialError(f"--limit {text}: expected a number of images from 1")
    return int(text)


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
    track: tuple[str, ...] = ()  # trackers that are shown the trial's numbers

    @classmethod
    def of(cls, protocol: Protocol, arguments: argparse.Namespace) -> "Asked":
        """Return what a command line asks for; its arguments have the names of the fields."""
        given: dict[str, Any] = {**vars(arguments), "protocol": protocol}
        if arguments.limit:
            given["data"] = f"{arguments.data}{'&' if '?' in arguments.data else '?'}limit={arguments.limit}"
        return cls(**{field.name: given[field.name] for field in fields(cls) if field.name in given})


def add_trial_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `twinbench transfer`, `twinbench dense` and `twinbench detection` take."""
    parser.add_argument(
        "protocol", metavar="PROTOCOL", help="its name, see: twinbench protocols; or RECIPE@DATA for data of your own"
    )
    parser.add_argument(
        "--protocols", action="append", default=[], metavar="FILE", help="own protocols, as YAML or Python"
    )
    parser.add_argument(
        "backbone",
        metavar="BACKBONE",
        help="a checkpoint of any network, a file or a folder; zoo:NAME; hf:ORG/MODEL; `random`; or a library's model "
        "by its name: timm:NAME=FILE, =pretrained or =random, torchvision:NAME=...",
    )
    parser.add_argument(
        "--input",
        dest="convention",
        metavar="NAME",
        help="how images are normalised for the backbone, where its file does not say or is wrong: imagenet, half, "
        "clip, unit, imagenet-bgr, or MEAN/STD as 0.5,0.5,0.5/0.5,0.5,0.5",
    )
    parser.add_argument(
        "--layout", metavar="NAME", help="which backbone of a file that holds several, see: twinbench inspect"
    )
    parser.add_argument(
        "data",
        metavar="DATA",
        help="the data set's usual root folder, or a source such as list:FILE where images are classified",
    )
    parser.add_argument("out", metavar="OUT", type=Path, help="folder for result.json and what it rests on")
    parser.add_argument(
        "--method", type=as_label, metavar="LABEL", help="row of the table (default: the checkpoint's file name)"
    )
    parser.add_argument("--seed", type=as_seed, default=0, metavar="N", help="default 0")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change a setting of the recipe; is recorded"
    )
    parser.add_argument(
        "--limit",
        type=as_limit,
        metavar="N",
        help="a trial run on N images of each split, spread evenly; steps and epochs stay the recipe's. The result is "
        "marked and never that of the whole data (the same: DATA?limit=N)",
    )
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda or cuda:1")
    parser.add_argument(
        "--track",
        type=parse_trackers,
        default=(),
        metavar="NAME[,NAME]",
        help=f"show the log's numbers to trackers, too: {', '.join(TRACKERS)}",
    )
    parser.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="loader processes (default: beside a GPU the cores that this process may use, at most 16; else 2)",
    )


def asked_protocol(arguments: argparse.Namespace, room: Room) -> Protocol:
    """Return the protocol that a command line asks for, own files read and --set applied."""
    load_own(arguments.protocols)
    return trial_protocol(find_protocol(arguments.protocol, room), arguments.set)


def options_of(options: type[OptionsT], given: Mapping[str, Any]) -> OptionsT:
    """Return a room's options with those `given`, paths as texts, too; TrialError for one that it does not have."""
    known = [field.name for field in fields(cast("Any", options))]
    hints = get_type_hints(options)
    values = dict(given)
    for name, value in given.items():
        if name not in known:
            raise TrialError(unknown("option", name, known))
        if isinstance(value, str) and Path in get_args(hints[name]):
            values[name] = Path(value)
    return options(**values)


def tracked_trial(asked: Asked) -> AbstractContextManager[None]:
    """Return the block in which a trial is shown to its trackers."""
    protocol = asked.protocol
    backbone = asked.backbone if isinstance(asked.backbone, str) else type(asked.backbone).__name__
    told = {"backbone": backbone, "data": asked.data, "method": asked.method, "seed": asked.seed}
    config = {"protocol": protocol.name, "fingerprint": protocol.fingerprint, **told, **dict(protocol.overrides)}
    return tracked(asked.track, asked.out, f"{asked.method or backbone} {protocol.name} seed{asked.seed}", config)
