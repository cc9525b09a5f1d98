"""Batches of a loader whose processes end with it."""

import gc
import multiprocessing
from collections.abc import Iterator

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from twinbench.protocols.house import UserError
from twinbench.runtime import loading
from twinbench.runtime.loading import Pace, batches_of
from twinbench.runtime.stopping import ignore_signals


class Images(Dataset[int]):
    """Numbers from 0; to read one of them is an error."""

    def __init__(self, broken: int) -> None:
        self.broken = broken

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> int:
        if index == self.broken:
            raise UserError(f"{index}: damaged")
        return index


@pytest.fixture
def uncollected() -> Iterator[None]:
    """Nothing but the end of the last reference ends a loader."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("persistent", [False, True])
@pytest.mark.parametrize("broken", [0, 13])
def test_no_process_outlives_an_error_that_somebody_holds(uncollected: None, broken: int, persistent: bool) -> None:
    def read() -> None:
        loader = DataLoader(
            Images(broken), 2, num_workers=2, persistent_workers=persistent, worker_init_fn=ignore_signals
        )
        for _ in batches_of(loader):
            pass

    with pytest.raises(UserError, match=f"{broken}: damaged"):
        read()
    assert multiprocessing.active_children() == []


def test_batches_come_in_their_order() -> None:
    loader = DataLoader(Images(-1), 4, num_workers=2, worker_init_fn=ignore_signals)
    assert torch.cat(list(batches_of(loader))).tolist() == list(range(40))


def test_the_share_of_waiting_is_the_loader_s_part_of_the_time(monkeypatch):
    """Three batches that each take two seconds to come and three to be used, and one second that the end takes."""
    now = [100.0]
    monkeypatch.setattr(loading.time, "monotonic", lambda: now[0])

    def slow() -> Iterator[int]:
        for batch in range(3):
            now[0] += 2
            yield batch

    pace = Pace(slow())
    for _ in pace:
        now[0] += 3
    now[0] += 1
    assert pace.batches == 3
    assert pace.told(48) == {"images_per_s": 3.0, "waiting": 0.375}
