"""Protocols that test a head which another protocol of the suite trains: whose it is, and for which seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

from twinbench.protocols.kinds.tested import RELEASED, HeadTestRecipe, head_label
from twinbench.suite.entries import SuiteError
from twinbench.suite.measurements import Measurement
from twinbench.suite.methods import Method


def with_heads(
    file: Path, found: Sequence[Measurement], entries: Mapping[str, object], methods: Sequence[Method]
) -> tuple[Measurement, ...]:
    """Return the measurements, each test of a head with the recipe and the seeds that train it here.

    A test says no seeds of its own, or some of its head's. SuiteError where the suite, or a method that is tested,
    trains no such head, and for a released classifier of a method that keeps none.
    """
    by_name = {each.protocol.name: each for each in found}
    fitted: list[Measurement] = []
    for each in found:
        if isinstance(each.protocol.recipe, HeadTestRecipe):
            where = f"{file}: protocols.{each.protocol.name}"
            _require_heads(where, each, methods)
            if each.protocol.recipe.trained_by:
                entry = entries.get(each.protocol.name)
                says_seeds = isinstance(entry, dict) and "seeds" in cast("dict[str, object]", entry)
                each = _fitted(where, each, by_name, says_seeds=says_seeds)
        fitted.append(each)
    return tuple(fitted)


def _fitted(where: str, test: Measurement, by_name: Mapping[str, Measurement], *, says_seeds: bool) -> Measurement:
    """Return a test with the head that the suite trains."""
    protocol = test.protocol
    name = protocol.recipe.trained_by
    head = by_name.get(name)
    if head is None:
        raise SuiteError(f"{where}: tests the head of {name}, which the suite does not train; add it: {name}: {{}}")
    if not head.protocol.recipe.leaves_head:
        raise SuiteError(
            f"{where}: tests the head of {name}, which leaves none (kind {head.protocol.recipe.kind}); expected a "
            "probe or a fine-tuning; name one: head: imagenet-linear"
        )
    seeds = test.seeds if says_seeds else head.seeds
    if not set(seeds) <= set(head.seeds):
        odd = sorted(set(seeds) - set(head.seeds))[0]
        raise SuiteError(
            f"{where}.seeds: {odd} is no seed of {name}; expected some of {list(head.seeds)}, or none said"
        )
    label = head_label(name, head.protocol.fingerprint)
    if label != cast("HeadTestRecipe", protocol.recipe).head:
        protocol = protocol.with_settings({**dict(protocol.overrides), "head": label})
    return replace(test, protocol=protocol, seeds=seeds)


def _require_heads(where: str, test: Measurement, methods: Sequence[Method]) -> None:
    """Raise SuiteError for a method that is to be tested and has no such head."""
    recipe = cast("HeadTestRecipe", test.protocol.recipe)
    for method in methods:
        if not method.wants(test.protocol):
            continue
        if recipe.head == RELEASED and not method.model:
            raise SuiteError(
                f"{where}: tests released classifiers, and what a suite keeps of methods.{method.name} has none; name "
                "the model with its file, such as timm:resnet50=FILE, or give that method other protocols"
            )
        if recipe.trained_by and method.protocols and recipe.trained_by not in method.protocols:
            raise SuiteError(
                f"{where}: tests the head of {recipe.trained_by}, which methods.{method.name} leaves out; add it to "
                f"methods.{method.name}.protocols"
            )
