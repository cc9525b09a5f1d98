"""Files and facts that all processes of a run must see alike: late writes, old copies, nodes with other data."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from twinbench.protocols.house import UserError
from twinbench.runtime import shared
from twinbench.runtime.distributed import require_equal
from twinbench.runtime.process import Process, ProcessError
from twinbench.runtime.shared import SharedFileError, is_there

OTHER = Process(1, 2, 1)


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "PATIENCE", 1.0)
    monkeypatch.setattr(shared, "POLL", 0.01)


def main_sees(monkeypatch: pytest.MonkeyPatch, stamp: object) -> None:
    """Have the main process tell `stamp`."""

    def told(process: Process, make: Callable[[], Any]) -> Any:
        return stamp

    monkeypatch.setattr(shared, "from_main", told)


def written(path: Path, text: str, second: int = 1_700_000_000) -> tuple[int, int]:
    """Write a file, dated; return its stamp."""
    path.write_text(text)
    os.utime(path, (second, second))
    return len(text), second


def test_one_process_looks_for_itself(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("1")
    assert [is_there(tmp_path / name, Process()) for name in ("state", "other")] == [True, False]


def test_a_file_that_the_main_process_does_not_see_is_nobodys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has been removed, and this machine has not heard of that."""
    written(tmp_path / "state", "old")
    main_sees(monkeypatch, None)
    assert not is_there(tmp_path / "state", OTHER)


@pytest.mark.parametrize("before", ["", "old"])
def test_a_late_write_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str) -> None:
    """Of a new file, or of one in the place of an older one."""
    path, second = tmp_path / "state", 1_700_000_009
    if before:
        written(path, before)
    main_sees(monkeypatch, (3, second))
    late = threading.Timer(0.3, written, (path, "new", second))
    late.start()
    began = time.monotonic()
    assert is_there(path, OTHER)
    assert time.monotonic() - began > 0.2
    late.join()


def test_a_folder_of_one_machine_alone_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    main_sees(monkeypatch, (3, 1_700_000_000))
    with pytest.raises(
        SharedFileError, match="state: process 0 sees it, but process 1 on .* no such file for 1 s; exp"
    ):
        is_there(tmp_path / "state", OTHER)


def test_an_older_file_that_stays_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path / "state", "old!")
    main_sees(monkeypatch, (3, 1_700_000_000))
    with pytest.raises(SharedFileError, match="found another one, of 4 bytes instead of 3 for 1 s"):
        is_there(tmp_path / "state", OTHER)


def test_what_all_find_alike_is_fine() -> None:
    require_equal(Process(), images=3)


def test_a_node_with_other_files_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twinbench.runtime.distributed.from_main", lambda process, make: {"training_images": 4})
    with pytest.raises(
        ProcessError, match="process 1 on .* finds training images 3, process 0 finds 4; expected the s"
    ):
        require_equal(OTHER, training_images=3)


def test_these_are_the_users_to_mend() -> None:
    assert issubclass(SharedFileError, UserError)
