"""Protocol buffers on the wire, without their schema: the numbered fields of one message (protobuf.dev, "Encoding")."""

from collections import defaultdict

FIXED = {1: 8, 5: 4}  # wire type -> bytes

Value = int | bytes
Fields = defaultdict[int, list[Value]]


def fields(data: bytes | bytearray) -> Fields:
    """Return the values of each field: a number, or the bytes of a text or of a message in it.

    Raises ValueError for what is no message.
    """
    found: Fields = defaultdict(list)
    at = 0
    while at < len(data):
        tag, at = varint(data, at)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == 0:
            value, at = varint(data, at)
            found[number].append(value)
            continue
        if wire_type == 2:
            size, at = varint(data, at)
        elif wire_type in FIXED:
            size = FIXED[wire_type]
        else:
            raise ValueError(f"field {number} of wire type {wire_type}")
        value, at = bytes(data[at : at + size]), at + size
        if at > len(data):
            raise ValueError(f"field {number} ends beyond its message")
        found[number].append(value if wire_type == 2 else int.from_bytes(value, "little"))
    return found


def number(message: Fields, field: int) -> int:
    """Return the last value of a number's field, 0 if it is not there."""
    value = message[field][-1] if message.get(field) else 0
    if not isinstance(value, int):
        raise ValueError(f"field {field} is no number")
    return value


def messages(message: Fields, field: int) -> list[bytes]:
    """Return all values of a field of messages or texts."""
    found: list[bytes] = []
    for value in message.get(field, ()):
        if isinstance(value, int):
            raise ValueError(f"field {field} is a number")
        found.append(value)
    return found


def varint(data: bytes | bytearray, at: int) -> tuple[int, int]:
    """Return the number at a place, seven bits a byte and the lowest first, and the place behind it."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at
    raise ValueError("a number without an end")
