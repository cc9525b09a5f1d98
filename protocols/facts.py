"""What is to be known of a protocol besides its recipe, for the command and for the page."""

from twinbench.protocols.schema import Protocol


def facts(protocol: Protocol) -> dict[str, str]:
    """Return what is to be known of a protocol besides its recipe, as name -> text."""
    data, metric = _of_family(protocol) if protocol.sets else _of_one(protocol)
    return {
        "version": str(protocol.version),
        "fingerprint": protocol.fingerprint,
        "kind": protocol.recipe.kind,
        "data": data,
        "metric": metric,
        "selected on": protocol.selected_on,
        "trials": str(protocol.trials),
        "width": f"{protocol.width:g}",
        "source": protocol.source,
    }


def _of_one(protocol: Protocol) -> tuple[str, str]:
    """Return a protocol's data set and metrics in words."""
    data, (train, test) = protocol.data_set, protocol.images
    images = f"{train} training and {test} test images" if train and test else "any number of images"
    classes = f"{data.classes} classes, " if data.classes else ""
    complete = f"{classes}{images}" if data.is_counted else "as it is"
    return f"{data.name}: {', '.join(data.tasks)}; {complete}", ", ".join(
        [f"{protocol.metric} (headline)", *protocol.also]
    )


def _of_family(protocol: Protocol) -> tuple[str, str]:
    """Return a family's data sets, and what is reported on each, in words."""
    by_metric: dict[str, list[str]] = {}
    for name, pair in protocol.members.items():
        by_metric.setdefault(pair.metric, []).append(name)
    metrics = "; ".join(f"{metric} on {', '.join(names)}" for metric, names in by_metric.items())
    return f"each by itself, as {protocol.name}@NAME: {', '.join(protocol.members)}", metrics
