"""What is to be known of a protocol besides its recipe, for the command and for the page."""

from twinbench.protocols.schema import Protocol


def facts(protocol: Protocol) -> dict[str, str]:
    """Return what is to be known of a protocol besides its recipe, as name -> text."""
    data, (train, test) = protocol.data_set, protocol.images
    if protocol.sets:
        return _of_family(protocol)
    images = f"{train} training and {test} test images" if train and test else "any number of images"
    complete = f"{data.classes} classes, {images}" if data.is_counted else "as it is"
    return {
        "version": str(protocol.version),
        "fingerprint": protocol.fingerprint,
        "kind": protocol.recipe.kind,
        "data": f"{data.name}: {', '.join(data.tasks)}; {complete}",
        "metric": ", ".join([f"{protocol.metric} (headline)", *protocol.also]),
        "selected on": protocol.selected_on,
        "trials": str(protocol.trials),
        "width": f"{protocol.width:g}",
        "source": protocol.source,
    }


def _of_family(protocol: Protocol) -> dict[str, str]:
    """Return what is to be known of a family: its data sets, and what is reported on each."""
    by_metric: dict[str, list[str]] = {}
    for pair in protocol.pairs():
        by_metric.setdefault(pair.metric, []).append(pair.data_set.name)
    return {
        "version": str(protocol.version),
        "fingerprint": protocol.fingerprint,
        "kind": protocol.recipe.kind,
        "data": f"each by itself, as {protocol.name}@NAME: {', '.join(data_set.name for data_set in protocol.sets)}",
        "metric": "; ".join(f"{metric} on {', '.join(names)}" for metric, names in by_metric.items()),
        "selected on": protocol.selected_on,
        "trials": str(protocol.trials),
        "width": f"{protocol.width:g}",
        "source": protocol.source,
    }
