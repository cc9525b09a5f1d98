"""A trial from its start to its result: what every measuring room says and writes alike."""

import shutil
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from twinbench.protocols.house import UserError, parse_settings
from twinbench.protocols.identity import SAMPLES, Identity, backbone_identity, data_identity
from twinbench.protocols.schema import Protocol
from twinbench.report import provenance
from twinbench.report.result import Result, convention_words, read_result
from twinbench.runtime import tracking

DIGITS = 12  # of a sha256 in a message


class TrialError(UserError):
    """A trial that cannot be started as asked."""


def as_seed(text: str) -> int:
    """Return a seed that every generator takes.

    TrialError unless it is a whole number of 32 bits.
    """
    if not text.isdecimal() or int(text) >= 2**32:
        raise TrialError(f"--seed {text}: expected 0 or more, at most {2**32 - 1}")
    return int(text)


def as_label(text: str) -> str:
    """Return the name of a method; TrialError unless it can be read in a table."""
    if not text.strip() or not text.isprintable():
        raise TrialError(f"method label {ascii(text)}: expected printable characters; name the row with --method LABEL")
    return text


def expected_images(protocol: Protocol) -> dict[str, int]:
    """Return how many images complete data has, by split.

    Nothing for a split of which any number is complete.
    """
    train, test = protocol.images
    train = 0 if protocol.recipe.tests_only else train
    return {split: count for split, count in (("train", train), ("test", test)) if count}


def trial_protocol(protocol: Protocol, settings: list[str]) -> Protocol:
    """Return the protocol with the --set pairs applied."""
    return protocol.with_settings(parse_settings(settings))


@contextmanager
def leaving_nothing(out: Path, *passing: str) -> Generator[None]:
    """Have a call that is refused leave no OUT behind that it has made itself, of which nothing or only files called as
    in `passing` is there: those that are made before any work is done."""
    was_there = out.exists()
    try:
        yield
    except UserError:
        if not was_there and out.is_dir() and {path.name for path in out.iterdir()} <= set(passing):
            shutil.rmtree(out, ignore_errors=True)  # of several processes, each may come to it first
        raise


@dataclass(frozen=True)
class TrialBackbone:
    """What a trial measures: tensors, architecture and input convention, as `convert` tells them."""

    sha256: str  # of the tensors
    architecture: str
    convention: Mapping[str, Any]  # mean, std, order, scale

    @property
    def identity(self) -> str:
        """The sha256 of all three."""
        return backbone_identity(self.sha256, self.architecture, self.convention)


@dataclass(frozen=True)
class TrialData:
    """What a trial measures on: the data set's name, and the identity of the splits that it uses."""

    name: str
    sha256: str  # of protocols.identity.data_identity
    splits: Mapping[str, str] = field(default_factory=dict[str, str])  # what that is made of, where it is known
    limit: int = 0  # the most images of each split; 0: all

    def with_samples(self, sha256: str) -> str:
        """Return the identity of the same images with other low-shot samples; with `""` none come from files."""
        images = {split: found for split, found in self.splits.items() if split != SAMPLES}
        return data_identity(images | ({SAMPLES: sha256} if sha256 else {}))


@dataclass(frozen=True)
class Trial:
    """One seed of one protocol on one method and one data set, and where its result goes."""

    protocol: Protocol
    method: str
    seed: int
    backbone: TrialBackbone
    data: TrialData
    device: str
    out: Path
    started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        """Refuse a checkpoint's file name that cannot be the row's."""
        as_label(self.method)

    @property
    def identity(self) -> Identity:
        """What the trial's numbers will be numbers of."""
        return Identity(self.protocol.fingerprint, self.backbone.identity, self.data.sha256, self.seed)

    @property
    def description(self) -> str:
        """The trial in one line, identities included: what it keeps to go on from says whose it is by this."""
        recipe, backbone, data = self.protocol.fingerprint, self.backbone.identity, self.data.sha256
        return (
            f"{self.method} on {self.protocol.name} ({recipe}), seed {self.seed}, "
            f"backbone {backbone[:DIGITS]}, data {data[:DIGITS]}"
        )

    def finished(self) -> Result | None:
        """Return the result if this very trial is already measured.

        Refuse a folder that holds another one.
        """
        path = self.out / "result.json"
        if not path.exists():
            return None
        found = read_result(path)
        differences = self._differences(found)
        if differences:
            raise TrialError(
                f"{path}: holds {found.protocol} of {found.method}, seed {found.seed}, {', '.join(differences)}; "
                "choose another OUT or remove it"
            )
        return found

    def _differences(self, found: Result) -> list[str]:
        """Return in words what tells a result from this trial's.

        Nothing where it is this trial's.
        """
        differing = found.identity.differences(self.identity)
        words: list[str] = []
        if found.protocol != self.protocol.name:
            words.append(f"another protocol than {self.protocol.name}")
        elif "recipe" in differing:
            words.append(f"by another recipe ({found.fingerprint} instead of {self.protocol.fingerprint})")
        if found.method != self.method:
            words.append(f"another method than {self.method}")
        if found.version != self.protocol.version and found.protocol == self.protocol.name:
            words.append(f"by version {found.version} of the protocol instead of {self.protocol.version}")
        if "seed" in differing:
            words.append(f"another seed than {self.seed}")
        if "backbone" in differing:
            words += self._backbone_differences(found)
        if "data" in differing and found.data_sha256:
            words.append(self._data_difference(found))
        if found.imported:
            words.append(f"imported from a log of {found.imported}")
        elif not found.data_sha256:
            words.append("made by an older twinbench that did not record its data")
        return words

    def _data_difference(self, found: Result) -> str:
        """Return in words whether other images or only other low-shot samples tell the data apart."""
        theirs, ours = _samples_from_files(found), self.data.splits.get(SAMPLES, "")
        if theirs != ours and self.data.with_samples(theirs) == found.data_sha256:
            return f"with other low-shot samples ({_samples_words(theirs)} instead of {_samples_words(ours)})"
        digits = f"{found.data} {found.data_sha256[:DIGITS]} instead of {self.data.name} {self.data.sha256[:DIGITS]}"
        what = "data or with other low-shot samples" if theirs or ours else "data"
        return f"on other {what} ({digits})"

    def _backbone_differences(self, found: Result) -> list[str]:
        """Return in words which parts of the backbone differ.

        Of parts that were not recorded, it says that they were not.
        """
        ours = self.backbone
        words: list[str] = []
        if found.backbone_sha256 != ours.sha256:
            words.append(f"of another backbone ({found.backbone_sha256[:DIGITS]} instead of {ours.sha256[:DIGITS]})")
        if not found.convention:
            if found.data_sha256:  # else one sentence says it for both
                words.append("without a record of the backbone's input convention")
            return words
        if found.architecture != ours.architecture:
            words.append(f"of another architecture ({found.architecture} instead of {ours.architecture})")
        if found.convention != dict(ours.convention):
            theirs, mine = convention_words(found.convention), convention_words(ours.convention)
            words.append(f"under another input convention ({theirs} instead of {mine})")
        return words

    def finish(self, metrics: dict[str, float], images: dict[str, int], **more: Any) -> Result:
        """Write result.json, which ends the trial, and return it.

        `metrics` are numbers by name, see protocols/metrics.py, and hold the protocol's headline; `images` counts what
        was used, by split (`train`, `test`); `more` fills further fields of `Result`.
        """
        protocol = self.protocol
        more.setdefault("precision", getattr(protocol.recipe, "precision", ""))
        result = Result(
            protocol=protocol.name,
            version=protocol.version,
            fingerprint=protocol.fingerprint,
            method=self.method,
            seed=self.seed,
            metrics=metrics,
            headline=protocol.metric,
            backbone_sha256=self.backbone.sha256,
            architecture=self.backbone.architecture,
            convention=dict(self.backbone.convention),
            data=self.data.name,
            data_sha256=self.data.sha256,
            overrides=dict(protocol.overrides),
            images=images,
            images_expected=expected_images(protocol),
            limit=self.data.limit,
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
        tracking.conclude(self.out, result.metrics)
        return result


def _samples_from_files(result: Result) -> str:
    """Return the sha256 of the low-shot samples that a result was given; empty where it had none or drew them."""
    is_given = result.details.get("samples") in ("published", "from a file")
    return str(result.details.get("samples_sha256", "")) if is_given else ""


def _samples_words(sha256: str) -> str:
    """Tell where low-shot samples come from."""
    return f"those of files, {sha256[:DIGITS]}" if sha256 else "drawn from the seed"
