"""How long something takes, and how much room, in words."""

SIZES = (("d", 86_400), ("h", 3600), ("min", 60))  # seconds


def duration(seconds: float) -> str:
    """Return a time as people say it: 45 s, 12 min, 3.5 h, 2.1 d."""
    for unit, size in SIZES:
        if unit == "min" and seconds >= 1.5 * size:
            return f"{seconds / size:.0f} min"
        if unit != "min" and seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def disk_space(size: float) -> str:
    """Return a number of bytes as people say it: 17 MB, 1.2 GB."""
    return f"{size / 1e9:.1f} GB" if size >= 0.95e9 else f"{size / 1e6:.0f} MB"
