"""Trackers: whoever is asked for by `--track` gets the numbers of OUT/log.jsonl, and the result's, as they are written.

    twinbench transfer imagenet-linear resnet50.pth /datasets/imagenet out --track tensorboard,wandb

TensorBoard writes to OUT/tensorboard; W&B, MLflow and trackio go where their own settings and variables say. None is
imported, and nothing leaves the machine, unless it is asked for. What they know a run by stands in OUT/track.json, so
that a run which was killed goes on in the same one; what it had drawn beyond its last checkpoint it draws once more,
to the same numbers. A tracker that fails costs its curves and a line on stderr, never the run.
"""

import dataclasses
import importlib.util
import json
import math
import os
import re
import sys
import uuid
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from twinbench.protocols.house import UserError, replacing, unknown
from twinbench.protocols.text import TextError, parse_json, read_json

LOG = "log.jsonl"  # below OUT: the log whose numbers are shown
FILE = "track.json"  # below OUT
COUNTERS = ("step", "iteration", "training", "epoch", "classes", "draws")  # the first that a line has is its place
PROJECT = "twinbench"  # where the tracker's own variable names none
LEFT_OUT = ("eta_s",)  # says nothing later


class TrackError(UserError):
    """A tracker that is unknown or not installed."""


@dataclass(frozen=True)
class About:
    """The run that is tracked."""

    out: Path
    name: str
    config: Mapping[str, Any]  # texts and numbers
    first: int | None = None  # place of the first line that is shown; None: all were shown before

    def known(self) -> dict[str, str]:
        """Return what OUT/track.json says: `id`, and other programs' own; made where there is none."""
        try:
            found = read_json(self.out / FILE)
        except TextError:
            found = None
        if isinstance(found, dict) and isinstance(found.get("id"), str):
            return found
        return self.remember({"id": uuid.uuid4().hex[:12]})

    def remember(self, known: dict[str, str]) -> dict[str, str]:
        """Keep what a later start goes on with, and return it."""
        with replacing(self.out / FILE) as beside:
            beside.write_text(json.dumps(known) + "\n")
        return known


class Tracker(Protocol):
    """What is done with numbers."""

    def show(self, values: dict[str, float], step: int) -> None:
        """Draw numbers at a place."""

    def finish(self) -> None:
        """End the run, at least for now."""


class TensorBoard:
    """Event files below OUT; what a killed run drew from the first new place on is dropped."""

    def __init__(self, about: About) -> None:
        from torch.utils.tensorboard.writer import SummaryWriter

        self.writer = SummaryWriter(str(about.out / "tensorboard"), purge_step=about.first)

    def show(self, values: dict[str, float], step: int) -> None:
        """Add a scalar for each number."""
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def finish(self) -> None:
        """Write what is left."""
        self.writer.close()


class Wandb:
    """Weights & Biases; WANDB_PROJECT, WANDB_MODE and the like are its own."""

    def __init__(self, about: About) -> None:
        import wandb  # type: ignore[import-not-found]

        project = os.environ.get("WANDB_PROJECT", PROJECT)
        self.run = wandb.init(
            project=project,
            id=about.known()["id"],
            resume="allow",
            name=about.name,
            config=dict(about.config),
            dir=str(about.out),
        )

    def show(self, values: dict[str, float], step: int) -> None:
        """Log numbers."""
        self.run.log(values, step=step)

    def finish(self) -> None:
        """Mark the run as finished."""
        self.run.finish()


class MLflow:
    """MLflow; MLFLOW_TRACKING_URI and MLFLOW_EXPERIMENT_NAME are its own."""

    def __init__(self, about: About) -> None:
        import mlflow  # type: ignore[import-not-found]

        self.mlflow = mlflow
        known = about.known()
        if "mlflow" in known:
            mlflow.start_run(run_id=known["mlflow"])
        else:
            run = mlflow.start_run(run_name=about.name)
            about.remember({**known, "mlflow": run.info.run_id})
            mlflow.log_params(dict(about.config))

    def show(self, values: dict[str, float], step: int) -> None:
        """Log numbers, under names that MLflow takes."""
        self.mlflow.log_metrics({re.sub(r"[^\w./ -]", "_", name): value for name, value in values.items()}, step=step)

    def finish(self) -> None:
        """End the run."""
        self.mlflow.end_run()


class Trackio:
    """trackio, which goes on with a run by its name; TRACKIO_SPACE_ID and the like are its own."""

    def __init__(self, about: About) -> None:
        import trackio  # type: ignore[import-not-found]

        self.trackio = trackio
        name = f"{about.name} {about.known()['id']}"
        trackio.init(project=PROJECT, name=name, config=dict(about.config), resume="allow")

    def show(self, values: dict[str, float], step: int) -> None:
        """Log numbers."""
        self.trackio.log(values, step=step)

    def finish(self) -> None:
        """End the run."""
        self.trackio.finish()


TRACKERS: dict[str, Callable[[About], Tracker]] = {  # by the name of the package
    "tensorboard": TensorBoard,
    "wandb": Wandb,
    "mlflow": MLflow,
    "trackio": Trackio,
}


@dataclass
class Tracking:
    """The trackers of a run; each begins with its first number."""

    about: About
    waiting: list[str]
    begun: dict[str, Tracker] = field(default_factory=dict)
    last: int | None = None  # place of the last line

    def show(self, line: Mapping[str, Any]) -> None:
        """Draw the numbers of a line of the log; a line without a counter is none of a curve."""
        counter = _counter(line)
        if counter is not None:
            self.last = line[counter]
            if self.waiting:
                self.about = dataclasses.replace(self.about, first=self.last)
            self.draw({name: value for name, value in line.items() if name not in (counter, *LEFT_OUT)})

    def draw(self, values: Mapping[str, Any]) -> None:
        """Draw those of the values that are numbers, at the last place."""
        if self.last is None:
            self.last = _last_place(self.about.out / LOG)
        place = self.last
        numbers = {name: float(value) for name, value in values.items() if _is_number(value)}
        while self.waiting:
            name = self.waiting.pop(0)
            self._try(name, lambda name=name: self.begun.update({name: TRACKERS[name](self.about)}))
        for name, tracker in list(self.begun.items()):
            self._try(name, lambda tracker=tracker: tracker.show(numbers, place))

    def finish(self) -> None:
        """End all that has begun."""
        for name, tracker in list(self.begun.items()):
            self._try(name, tracker.finish)

    def _try(self, name: str, act: Callable[[], object]) -> None:
        """Have a tracker act; where it fails, which may be in any way, go on without it and say so."""
        try:
            act()
        except Exception as error:
            self.begun.pop(name, None)
            reason = str(error).strip().splitlines() or [""]
            print(f"--track {name}: {type(error).__name__}: {reason[0][:200]}; going on without it", file=sys.stderr)


_active: Tracking | None = None  # a process has one OUT


def parse_trackers(text: str) -> tuple[str, ...]:
    """Return the trackers that `NAME[,NAME]` names; TrackError for an unknown one, and for one twice."""
    names = tuple(name.strip() for name in text.split(",")) if text else ()
    for name in names:
        if name not in TRACKERS:
            raise TrackError(f"--track {text}: {unknown('tracker', name, TRACKERS)}")
    if len(set(names)) < len(names):
        raise TrackError(f"--track {text}: names one twice; name each once")
    return names


@contextmanager
def tracked(names: Sequence[str], out: Path, name: str, config: Mapping[str, Any]) -> Generator[None]:
    """Show the numbers of OUT's log, and its result's, to trackers within the block; TrackError for a missing one."""
    global _active
    for package in names:
        if package in sys.modules:
            there = sys.modules[package] is not None
        else:
            spec = importlib.util.find_spec(package)
            there = spec is not None and spec.origin is not None  # a folder of runs called wandb has none
        if not there:
            raise TrackError(f"--track {package}: not installed; run: pip install {package}, or leave it out")
    _active = Tracking(About(out, name, config), list(names)) if names else None
    try:
        yield
    finally:
        if _active:
            _active.finish()
        _active = None


def show(path: Path, line: Mapping[str, Any]) -> None:
    """Show a line that was written to the log `path`, if that is the one of the OUT which is tracked."""
    if _active and path.absolute() == (_active.about.out / LOG).absolute():
        _active.show(line)


def conclude(out: Path, metrics: Mapping[str, float]) -> None:
    """Show the metrics of the result that was written to `out`, if that is tracked, under `result/NAME`."""
    if _active and out.absolute() == _active.about.out.absolute():
        _active.draw({f"result/{name}": value for name, value in metrics.items()})


def _counter(line: Mapping[str, Any]) -> str | None:
    """Return the name of what a line of a log is counted by."""
    return next((name for name in COUNTERS if isinstance(line.get(name), int)), None)


def _last_place(log: Path) -> int:
    """Return where a log ends that an earlier start has written; 0 where there is none."""
    if not log.exists():
        return 0
    for text in reversed(log.read_text(errors="replace").splitlines()):
        try:
            line = parse_json(text, str(log))
        except TextError:  # torn by a kill
            continue
        if isinstance(line, dict) and (counter := _counter(line)):
            return line[counter]
    return 0


def _is_number(value: object) -> bool:
    """Say whether a value can stand in a curve."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
