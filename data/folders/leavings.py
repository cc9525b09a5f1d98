"""What file managers, notebooks and disks leave in folders: neither classes nor images, whatever it looks like."""

import re
from fnmatch import translate

# pattern of a file's or folder's name: who leaves it
LEAVINGS = {
    ".*": "hidden: .ipynb_checkpoints (Jupyter; was counted as an eleventh class), ._x.jpg, .DS_Store, .git, .nfs0000",
    "__MACOSX": "macOS's archives: one ._x.jpg for each x.jpg",
    "Icon\r": "macOS's Finder, for a folder with an icon of its own",
    "Thumbs.db": "Windows' Explorer",
    "ehthumbs*.db": "Windows' Media Center",
    "desktop.ini": "Windows' Explorer",
    "$RECYCLE.BIN": "Windows, on each drive",
    "System Volume Information": "Windows, on each drive",
    "@eaDir": "Synology: a folder of thumbnails, SYNOPHOTO_THUMB_M.jpg, in each folder",
    "#recycle": "Synology",
    "@Recycle": "QNAP",
    "@__thumb": "QNAP: thumbnails named like their images",
    "lost+found": "ext4, in the root of each disk",
    "__pycache__": "Python",
    "~$*": "Office, beside a table that is open",
}
_KNOWN = re.compile("|".join(map(translate, LEAVINGS)))


def is_leaving(name: str) -> bool:
    """Say whether the last part of a path is a leaving."""
    return _KNOWN.match(name) is not None
