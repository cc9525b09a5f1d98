"""A kill of a probe right after one of its states is saved."""

from collections.abc import Iterator

import pytest

from twinbench.transfer import probe as probes
from twinbench.transfer.probe import Probe


def interrupt_after(monkeypatch: pytest.MonkeyPatch, saves: int) -> Iterator[int]:
    """Have probes save after every step and be interrupted after so many saves; return the numbers of later saves."""
    monkeypatch.setattr(probes, "SAVE_SECONDS", -1)
    save, count = Probe._save, iter(range(1, 100))

    def stop_after_some(self: Probe) -> None:
        save(self)
        if next(count) == saves:
            raise KeyboardInterrupt

    monkeypatch.setattr(Probe, "_save", stop_after_some)
    return count
