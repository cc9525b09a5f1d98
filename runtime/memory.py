"""How much memory is free: of a GPU, or of the machine as far as this process may use it."""

from collections.abc import Iterator
from pathlib import Path

MACHINE, OWN, GROUPS = Path("/proc/meminfo"), Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")


def free_memory(device: str) -> int | None:
    """Return the free bytes of a device; None where the machine does not tell.

    A scheduler or a container may allow less than is there: of what its control group has, files that were read can be
    forgotten, so only the processes' own memory counts as taken.
    """
    if device.startswith("cuda"):
        import torch

        torch.cuda.empty_cache()  # what torch keeps for itself can be had again
        return torch.cuda.mem_get_info(device)[0]
    there = _numbers(MACHINE).get("MemAvailable:")
    return None if there is None else min([there * 1024, *_allowed()])


def _allowed() -> Iterator[int]:
    """Yield what each control group around this process leaves."""
    line = next((line for line in _lines(OWN) if line.startswith("0::")), "")
    group = GROUPS / line.removeprefix("0::").strip("/")
    while group.is_relative_to(GROUPS):
        limit = "".join(_lines(group / "memory.max"))
        if limit.isdecimal():
            yield max(0, int(limit) - _numbers(group / "memory.stat").get("anon", 0))
        group = group.parent


def _numbers(path: Path) -> dict[str, int]:
    """Return the numbers of a file by the words before them."""
    parts = [line.split() for line in _lines(path)]
    return {part[0]: int(part[1]) for part in parts if len(part) > 1 and part[1].isdecimal()}


def _lines(path: Path) -> list[str]:
    """Return the lines of a file; none of one that is not there or may not be read."""
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
