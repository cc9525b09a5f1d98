"""What is to be known of a protocol besides its recipe, for the command and for the page."""

from twinbench.protocols.schema import Protocol


def facts(protocol: Protocol) -> dict[str, str]:
    """Return what is to be known of a protocol besides its recipe, as name -> text."""
    data, (train, test) = protocol.data_set, protocol.images
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
