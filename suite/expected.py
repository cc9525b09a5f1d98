"""What each job of a suite must be made of, as the suite says now: the parts of its identity.

They are plain texts by name, so that they go into a job's record and out again. What takes time to tell (a million
images, the bytes of a checkpoint) is asked when somebody needs it, once. A part that cannot be told is empty: nothing
differs from it.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from functools import cache

from twinbench.data.folders.own import layout_of, layout_of_tested
from twinbench.data.identity import identify
from twinbench.data.objects.find import objects_layout
from twinbench.data.pixels.read import task_of
from twinbench.data.required import require_fit
from twinbench.data.samples import read_samples, samples_sha256
from twinbench.data.source import VALIDATION, Source
from twinbench.data.validation import with_validation
from twinbench.protocols.datasets import DataSet
from twinbench.protocols.house import UserError
from twinbench.protocols.identity import NOT_RECORDED, SAMPLES, TRAINED_ON, data_identity
from twinbench.protocols.pretraining import PretrainRecipe
from twinbench.protocols.schema import Protocol
from twinbench.suite.content import content_sha256
from twinbench.suite.inputs import Inputs
from twinbench.suite.measurements import Measurement
from twinbench.suite.methods import Method
from twinbench.suite.suite import Suite

Parts = dict[str, str]


class Expected:
    """What the jobs of one suite must be made of."""

    def __init__(self, suite: Suite):
        """Ask nothing yet."""
        self.suite = suite
        self._data: dict[tuple[object, ...], str] = {}
        self._sha256 = cache(content_sha256)

    def trials(self, method: Method, measurement: Measurement) -> Parts:
        """Return the parts that the trials of a method and protocol have in common: all but the seed."""
        return {
            "recipe": measurement.protocol.fingerprint,
            "data": self._trial_data(measurement),
            "checkpoint": self._source(method),
        }

    def _trial_data(self, measurement: Measurement) -> str:
        """Return the identity of a protocol's data; of a test of a head with what the head is trained on."""
        protocol = measurement.protocol
        read = TrialData.of(protocol, measurement.inputs.files)
        if protocol.recipe.trained_by:
            [head] = [each for each in self.suite.measurements if each.protocol.name == protocol.recipe.trained_by]
            trained_on = self._trial_data(head)
            if trained_on == NOT_RECORDED:
                return NOT_RECORDED
            read = replace(read, trained_on=trained_on)
        return self._identified(self.suite.data[protocol.data_set.folder], read)

    def pretraining(self, method: Method, recipe: PretrainRecipe) -> Parts:
        """Return the parts of a pretraining."""
        plan = method.pretrain
        assert plan
        data = self._identified(self.suite.data[plan.data], pretraining_data)
        return {"recipe": recipe.fingerprint, "data": data, "seed": str(plan.seed)}

    def conversion(self, method: Method) -> Parts:
        """Return the parts of a converted backbone: the checkpoint's bytes, or the zoo's name of it."""
        told = self._sha256(method.file) if method.file else method.checkpoint
        return {"checkpoint": " ".join((told, *method.flags)) if told else ""}

    def _source(self, method: Method) -> str:
        """Return what a trial's backbone comes from: a job that answers for it, or what is opened as it is."""
        if method.pretrain:
            return f"{method.name}/pretrain"
        if method.model:
            told = method.model.weights
            if method.model.file:
                found = self._sha256(method.model.file)
                if not found:
                    return ""
                told = f"sha256 {found}"
            return " ".join((f"{method.model.label}={told}", *method.flags))
        return "random" if method.checkpoint == "random" else f"{method.name}/backbone"

    def _identified(self, source: Source, read: Callable[[Source], str]) -> str:
        """Return the identity of the data at `source` as `read` tells it, asked once."""
        question = source, read
        if question not in self._data:
            try:
                self._data[question] = read(source)
            except (UserError, OSError):  # whoever reads the data will say so; what was measured on it stays as it is
                self._data[question] = NOT_RECORDED
        return self._data[question]


@dataclass(frozen=True)
class TrialData:
    """The data of a protocol's trials, read as the worker of that room reads them."""

    data_set: DataSet
    room: str
    inputs: Inputs
    validated: bool = False  # a part of the training images chooses a setting
    tested: bool = False  # nothing is trained
    own_layout: str = ""  # of data that are tested and known by no name
    trained_on: str = ""  # of a head that is tested: the identity of its data

    @classmethod
    def of(cls, protocol: Protocol, inputs: Inputs) -> "TrialData":
        """Return how a protocol's trials read their data."""
        recipe = protocol.recipe
        return cls(
            protocol.data_set, protocol.room, inputs, recipe.takes_validation, recipe.tests_only, recipe.own_layout
        )

    def __call__(self, source: Source) -> str:
        """Return the identity of the splits at `source`, and of samples that come from a file."""
        if self.tested:
            layout = layout_of_tested(self.data_set.layout, source, self.own_layout)
            splits = identify(layout, source, task="tested")
            return data_identity(splits | ({TRAINED_ON: self.trained_on} if self.trained_on else {}))
        source = with_validation(source, self.data_set, wanted=self.validated)
        task, layout = _read_as(self.data_set, self.room, source)
        splits = identify(layout, source, fraction=self.data_set.subset, subset=self.inputs.list, task=task)
        if self.inputs.targets:
            splits[SAMPLES] = samples_sha256(read_samples(self.inputs.targets))
        return data_identity(splits)


def _read_as(data_set: DataSet, room: str, source: Source) -> tuple[str, str]:
    """Return what a worker reads the data as (a key of TASKS in data/identity.py), and in which layout."""
    if task := task_of(data_set):
        return task, data_set.layout
    if room == "detection":
        return "detection", objects_layout(data_set.layout, source)
    task = "validated" if source.named(VALIDATION) else "classification"
    return task, layout_of(data_set.layout, source)


def pretraining_data(source: Source) -> str:
    """Return the identity of the images that a pretraining at `source` trains on; their labels are not looked at."""
    return data_identity(identify("imagenet", source, task="pretraining"))


@dataclass(frozen=True)
class FittingData:
    """The data of a protocol's trials, read as above and found to be what their worker asks of them."""

    protocol: Protocol
    inputs: Inputs
    partial: bool

    def __call__(self, source: Source) -> str:
        """Return the identity; DataError for what does not fit the protocol."""
        identity = TrialData.of(self.protocol, self.inputs)(source)
        require_fit(self.protocol, source, identity, self.inputs.list, partial=self.partial)
        return identity


def data_of(
    suite: Suite, jobs: Collection[str], *, checked: bool = True
) -> Iterator[tuple[str, Source, Callable[[Source], str]]]:
    """Yield for some jobs of a suite, given by name, what their data are called, where they lie, and how they are read.

    What several jobs read alike comes once. If `checked`, the data must fit the protocols, too.
    """
    for method in suite.methods:
        plan = method.pretrain
        if plan and f"{method.name}/pretrain" in jobs:
            yield plan.data, suite.data[plan.data], pretraining_data
    wanted = {name.split("/")[1] for name in jobs if name.count("/") > 1}
    asked: set[Callable[[Source], str]] = set()
    for entry in suite.measurements:
        protocol = entry.protocol
        if checked:
            read = FittingData(protocol, entry.inputs.files, entry.partial)
        else:
            read = TrialData.of(protocol, entry.inputs.files)
        if protocol.name in wanted and read not in asked:
            asked.add(read)
            yield protocol.data_set.folder, suite.data[protocol.data_set.folder], read
