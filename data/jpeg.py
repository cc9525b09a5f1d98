"""JPEG files of few bytes that take minutes: progressive ones of thousands of scans.

Each scan goes over the whole image and may take no more than sixteen bytes. At the largest size that is read, 10 scans
took 1.1 s of one core and 50 took 1.7 s; a file of 100 KB holds 6,000. Encoders write 6 to 18.
"""

import re

from twinbench.data.errors import DataError

MAX_SCANS = 50
SCAN, END = 0xDA, 0xD9  # markers: start of a scan, end of the image
_ALONE = {0x01, *range(0xD0, 0xD9)}  # markers without a length and contents
_MARKER = re.compile(rb"\xff+([^\x00\xff])", re.DOTALL)


def require_few_scans(name: object, content: bytes) -> None:
    """Raise DataError for a JPEG file, `content`, of more than MAX_SCANS scans."""
    if content.count(bytes([0xFF, SCAN])) > MAX_SCANS and scans(content) > MAX_SCANS:
        raise DataError(
            f"{name}: a JPEG of more than {MAX_SCANS} scans; expected the 6 to 18 that encoders write; remove it"
        )


def scans(content: bytes) -> int:
    """Return the number of scans of a JPEG file; what looks like one in its metadata or behind its end is none."""
    count, place = 0, 0
    while found := _MARKER.search(content, place):
        marker, place = found[1][0], found.end()
        if marker == END:
            break
        count += marker == SCAN
        if marker not in _ALONE:
            place += int.from_bytes(content[place : place + 2], "big")
    return count
