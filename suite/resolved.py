"""A suite as it was understood, with absolute paths: what jobs read that go on without the user's file."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from twinbench.protocols.house import replacing
from twinbench.suite.cluster import MAPS, Cluster, report_cluster
from twinbench.suite.measurements import Measurement
from twinbench.suite.methods import Method, Series
from twinbench.suite.suite import Suite

FILE = "submitted.yaml"


def write_resolved(suite: Suite) -> Path:
    """Write the suite into its root, and return the file; read again, it is the same suite."""
    methods = {method.name: _method(method, suite.cluster) for method in suite.methods if not method.series}
    methods |= {each.common.name: _series(each, suite.cluster) for each in suite.series}
    protocols = {entry.protocol.name: _measurement(entry, suite.cluster) for entry in suite.measurements}
    roots = {data_set: str(root) for data_set, root in suite.data.items()}
    content: dict[str, Any] = {
        "name": suite.name,
        "root": str(suite.root),
        "methods": methods,
        "protocols": protocols,
        "data": roots,
        "protocol_files": [str(path) for path in suite.protocol_files],
        "site": False,  # `cluster` is all there is to say
        "cluster": _differing(suite.cluster, Cluster()),
        "report": _differing(suite.report, report_cluster(suite.cluster)),
    }
    path = suite.root / FILE
    with replacing(path) as beside:
        beside.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def _method(method: Method, cluster: Cluster) -> dict[str, Any]:
    """Return a method as a suite file says it."""
    entry = {"protocols": list(method.protocols), "cluster": _differing(method.cluster, cluster)}
    if not method.pretrain:
        told = {"checkpoint": method.checkpoint, "input": method.input, "layout": method.layout}
        return {key: value for key, value in (told | entry).items() if value}
    plan = method.pretrain
    trained = {"data": plan.data, "recipe": plan.recipe, "seed": plan.seed, "set": dict(plan.settings)}
    trained |= {"keep_every": plan.keep_every} if plan.keep_every else {}
    return {"pretrain": trained, **{key: value for key, value in entry.items() if value}}


def _series(series: Series, cluster: Cluster) -> dict[str, Any]:
    """Return a series as a suite file says it: by its glob, so that whoever reads it finds what has come since."""
    entry = _method(series.common, cluster)
    return {"checkpoints": entry.pop("checkpoint"), "until": series.until, **entry}


def _differing(cluster: Cluster, over: Cluster) -> dict[str, Any]:
    """Return the options in which a cluster differs from the one that it stands over, as a suite file says them."""
    ours, theirs = asdict(cluster), asdict(over)
    options = {key: value for key, value in ours.items() if value != theirs[key]}
    for key, value in options.items():
        if key in MAPS:
            removed = dict.fromkeys(name for name in theirs[key] if name not in value)
            options[key] = removed | {name: entry for name, entry in value.items() if entry != theirs[key].get(name)}
        elif isinstance(value, tuple):
            options[key] = list(value)
    return options


def _measurement(entry: Measurement, cluster: Cluster) -> dict[str, Any]:
    """Return a protocol as a suite file says it."""
    counted = entry.seeds == tuple(range(len(entry.seeds)))
    return {
        "seeds": len(entry.seeds) if counted else list(entry.seeds),  # thousands, one a line, are too long a file
        "set": dict(entry.protocol.overrides),
        "gpus": entry.gpus,
        "minutes": entry.minutes,
        "partial": entry.partial,
        "cluster": _differing(entry.cluster, cluster),
        **entry.inputs.named,
    }
