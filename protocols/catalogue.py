"""Every protocol by name."""

from twinbench.protocols import classification, demo, detection
from twinbench.protocols.schema import Protocol, look_up, registry

PROTOCOLS: dict[str, Protocol] = registry(classification.PROTOCOLS + detection.PROTOCOLS + demo.PROTOCOLS)


def find_protocol(name: str, room: str = "") -> Protocol:
    """Return the protocol called `name` (of `room`, if given); ProtocolError lists the known names."""
    known = {key: entry for key, entry in PROTOCOLS.items() if not room or entry.room == room}
    return look_up(known, name, f"{room} protocol".strip())
