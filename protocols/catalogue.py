"""Every protocol by name, and every pair RECIPE@DATA."""

from collections.abc import Iterable
from pathlib import Path

from twinbench.protocols import (
    attentive,
    classification,
    demo,
    dense,
    depth,
    detection,
    finetune12,
    finetuning,
    heads,
    labels,
    linear12,
    nearest_patches,
    neighbors,
    patches_logistic,
    robustness,
    segmentation,
)
from twinbench.protocols.datasets import DATA_SETS, DataSet
from twinbench.protocols.house import nearest
from twinbench.protocols.kinds.base import Task
from twinbench.protocols.kinds.registry import KINDS
from twinbench.protocols.own import Registries
from twinbench.protocols.pretraining import RECIPES
from twinbench.protocols.schema import Protocol, ProtocolError, look_up, registry

PROTOCOLS: dict[str, Protocol] = registry(
    classification.PROTOCOLS
    + neighbors.PROTOCOLS
    + finetuning.PROTOCOLS
    + linear12.PROTOCOLS
    + labels.PROTOCOLS
    + heads.PROTOCOLS
    + attentive.PROTOCOLS
    + finetune12.PROTOCOLS
    + robustness.PROTOCOLS
    + detection.PROTOCOLS
    + segmentation.PROTOCOLS
    + dense.PROTOCOLS
    + nearest_patches.PROTOCOLS
    + patches_logistic.PROTOCOLS
    + depth.PROTOCOLS
    + demo.PROTOCOLS
)

_REGISTRIES = Registries(PROTOCOLS, DATA_SETS, KINDS)


def load_own(files: Iterable[Path | str] = ()) -> None:
    """Make the protocols of users' own files known: those given, and those that $TWINBENCH_PROTOCOLS names."""
    _REGISTRIES.load(files)


def find_protocol(name: str, room: str = "") -> Protocol:
    """Return the protocol called `name`, or the pair of a protocol's recipe and a data set, `RECIPE@DATA`.

    DATA is a data set's name, or any other word: own data, whose classes and counts are what is there. With a `room`
    only its protocols count; ProtocolError names the command of another room's, or lists the known names, or the data
    sets of a family that is called without one.
    """
    found = find_entry(name, room)
    if found.sets:
        sets = ", ".join(data_set.name for data_set in found.sets)
        raise ProtocolError(
            f"{name}: measures {len(found.sets)} data sets, each by itself: {sets}; expected one of them or your own, "
            f"{name}@{found.sets[0].name}; in a suite `{name}: {{}}` runs all"
        )
    return found


def find_entry(name: str, room: str = "") -> Protocol:
    """Return what `find_protocol` does, and a family as it stands: its recipe with all of its data sets."""
    load_own()
    recipe, at, data = name.partition("@")
    if room and recipe in PROTOCOLS and PROTOCOLS[recipe].room != room:
        other = PROTOCOLS[recipe].room
        raise ProtocolError(f"{name} is a {other} protocol; run it with: twinbench {other} {name} ...")
    if room and recipe in RECIPES:
        raise ProtocolError(f"{name} is a pretraining recipe; run it with: twinbench pretrain DATA OUT --recipe {name}")
    known = {key: entry for key, entry in PROTOCOLS.items() if not room or entry.room == room}
    near = nearest(recipe, list(PROTOCOLS))
    is_part = any(recipe in key for key in known)
    if near and near[0] not in known and not is_part:  # a slip in the name of another room's
        other = PROTOCOLS[near[0]].room
        raise ProtocolError(
            f"unknown {room} protocol '{recipe}'. Did you mean '{near[0]}'? That is run with: twinbench {other} "
            f"{near[0]} ..."
        )
    found = look_up(known, recipe, f"{room} protocol".strip(), "twinbench protocols")
    if not at:
        return found
    return found.on(DATA_SETS.get(data) or own_data(data, found.recipe.tasks))


def own_data(name: str, tasks: tuple[Task, ...]) -> DataSet:
    """Return the entry of a user's own data.

    ProtocolError for a name that no folder and no table can bear.
    """
    if not name or not all(letter.isalnum() or letter in "._-" for letter in name) or name.startswith("."):
        raise ProtocolError(f"@{name}: expected a data set's name after @: letters, digits, '.', '_' or '-'")
    return DataSet(name, tasks)
