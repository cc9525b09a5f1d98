"""A suite as it was understood, with absolute paths: what jobs read that go on without the user's file."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from twinbench.protocols.house import replacing
from twinbench.suite.suite import Measurement, Method, Suite

FILE = "submitted.yaml"


def write_resolved(suite: Suite) -> Path:
    """Write the suite into its root, and return the file; read again, it is the same suite."""
    methods = {method.name: _method(method) for method in suite.methods}
    protocols = {entry.protocol.name: _measurement(entry) for entry in suite.measurements}
    roots = {data_set: str(root) for data_set, root in suite.data.items()}
    cluster = asdict(suite.cluster) | {"setup": list(suite.cluster.setup)}
    content: dict[str, Any] = {
        "name": suite.name,
        "root": str(suite.root),
        "methods": methods,
        "protocols": protocols,
        "data": roots,
        "protocol_files": [str(path) for path in suite.protocol_files],
        "cluster": cluster,
    }
    path = suite.root / FILE
    with replacing(path) as beside:
        beside.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def _method(method: Method) -> dict[str, Any]:
    """Return a method as a suite file says it."""
    if not method.pretrain:
        return {"checkpoint": method.checkpoint}
    plan = method.pretrain
    trained = {"data": plan.data, "recipe": plan.recipe, "seed": plan.seed, "set": dict(plan.settings)}
    return {"pretrain": trained}


def _measurement(entry: Measurement) -> dict[str, Any]:
    """Return a protocol as a suite file says it."""
    counted = entry.seeds == tuple(range(len(entry.seeds)))
    return {
        "seeds": len(entry.seeds) if counted else list(entry.seeds),  # thousands, one a line, are too long a file
        "set": dict(entry.protocol.overrides),
        "gpus": entry.gpus,
        "minutes": entry.minutes,
        "partial": entry.partial,
        **entry.inputs.named,
    }
