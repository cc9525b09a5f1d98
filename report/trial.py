"""A trial from its command line to its result: what every measuring room says and writes alike."""

import argparse
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from twinbench.protocols.house import UserError, parse_settings
from twinbench.protocols.schema import Protocol
from twinbench.report import provenance
from twinbench.report.result import Result, read_result


class TrialError(UserError):
    """A trial that cannot be started as asked."""


def as_seed(text: str) -> int:
    """Return a seed that every generator takes; TrialError unless it is a whole number of 32 bits."""
    if not text.isdecimal() or int(text) >= 2**32:
        raise TrialError(f"--seed {text}: expected 0 or more, at most {2**32 - 1}")
    return int(text)


def as_label(text: str) -> str:
    """Return the name of a method; TrialError unless it can be read in a table."""
    if not text.strip() or not text.isprintable():
        raise TrialError(f"method label {ascii(text)}: expected printable characters; name the row with --method LABEL")
    return text


def add_trial_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `twinbench transfer` and `twinbench detection` take."""
    parser.add_argument("protocol", metavar="PROTOCOL", help="its name, see: twinbench protocols")
    parser.add_argument(
        "backbone",
        metavar="BACKBONE",
        help="a checkpoint in any known layout, zoo:NAME, `random`, or another library's model: timm:NAME=FILE, "
        "=pretrained or =random, torchvision:NAME=...",
    )
    parser.add_argument("data", metavar="DATA", type=Path, help="the data set's usual root folder")
    parser.add_argument("out", metavar="OUT", type=Path, help="folder for result.json and what it rests on")
    parser.add_argument(
        "--method", type=as_label, metavar="LABEL", help="row of the table (default: the checkpoint's file name)"
    )
    parser.add_argument("--seed", type=as_seed, default=0, metavar="N", help="default 0")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change a setting of the recipe; is recorded"
    )
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda or cuda:1")
    parser.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="loader processes (default: beside a GPU the cores that this process may use, at most 16; else 2)",
    )


def trial_protocol(protocol: Protocol, settings: list[str]) -> Protocol:
    """Return the protocol with the --set pairs applied."""
    return protocol.with_settings(parse_settings(settings))


@dataclass(frozen=True)
class Trial:
    """One seed of one protocol on one method, and where its result goes."""

    protocol: Protocol
    method: str
    seed: int
    backbone_sha256: str
    device: str
    out: Path
    started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        """Refuse a checkpoint's file name that cannot be the row's."""
        as_label(self.method)

    @property
    def identity(self) -> str:
        """Name the trial, in a message and in what it keeps to go on from."""
        return describe(*self._key)

    @property
    def _key(self) -> tuple[str, str, str, int, str]:
        return self.protocol.name, self.protocol.fingerprint, self.method, self.seed, self.backbone_sha256

    def finished(self) -> Result | None:
        """Return the result if this very trial is already measured; refuse a folder that holds another one."""
        path = self.out / "result.json"
        if not path.exists():
            return None
        found = read_result(path)
        theirs = (found.protocol, found.fingerprint, found.method, found.seed, found.backbone_sha256)
        if theirs != self._key:
            raise TrialError(
                f"{path}: holds {describe(*theirs)}, but this is {self.identity}; choose another OUT or remove it"
            )
        return found

    def finish(self, metrics: dict[str, float], images: dict[str, int], **more: Any) -> Result:
        """Write result.json, which ends the trial, and return it.

        `metrics` are percents by name and hold the protocol's headline; `images` counts what was used, by split
        (`train`, `test`); `more` fills further fields of `Result`.
        """
        protocol = self.protocol
        result = Result(
            protocol=protocol.name,
            version=protocol.version,
            fingerprint=protocol.fingerprint,
            method=self.method,
            seed=self.seed,
            metrics=metrics,
            headline=protocol.metric,
            backbone_sha256=self.backbone_sha256,
            overrides=dict(protocol.overrides),
            images=images,
            images_expected=dict(zip(("train", "test"), protocol.images, strict=True)),
            selected_on=protocol.selected_on,
            wall_seconds=round(time.monotonic() - self.started, 3),
            device=self.device,
            command=provenance.command(),
            code=provenance.code(),
            versions=provenance.versions(),
            finished=provenance.now(),
            **more,
        )
        result.write(self.out)
        return result


def describe(protocol: str, fingerprint: str, method: str, seed: int, sha256: str) -> str:
    """Name a trial in a message."""
    return f"{method} on {protocol} ({fingerprint}), seed {seed}, backbone {sha256[:12]}"
