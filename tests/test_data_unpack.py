"""Archives are unpacked below one folder and nowhere else, however hostile they are."""

import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from twinbench.data.checking import unpack
from twinbench.data.errors import DataError

CONTENT = os.urandom(3_000_000)  # no compressor makes it smaller


def tar(path: Path, members: dict[str, bytes], mode: str = "w:gz", **changes: object) -> None:
    """Write a tar. `changes` are set on every member."""
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for key, value in changes.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(content))


def below(folder: Path) -> list[str]:
    """Return every file below a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    "name", ["../out.jpg", "/tmp/twinbench-out.jpg", "a/../../out.jpg", "a\nb.jpg", "a\\..\\b.jpg"]
)
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_a_member_that_leads_out_is_refused(name: str, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "archives" / f"hostile.{kind}"
    path.parent.mkdir()
    if kind == "tar":
        tar(path, {name: b"x"}, "w")
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(name, b"x")
    with pytest.raises(DataError, match="which leads out of its folder; expected plain names"):
        unpack.unpack(path, tmp_path / "copy")
    assert below(tmp_path) == [f"archives/hostile.{kind}"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_links_are_left_out_and_counted(kind: bytes, tmp_path: Path) -> None:
    tar(tmp_path / "links.tar", {"link": b""}, "w", type=kind, linkname="/etc")
    assert unpack.unpack(tmp_path / "links.tar", tmp_path / "copy") == 1
    assert not (tmp_path / "copy").exists()


def test_a_link_in_a_zip_is_left_out(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("link")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "links.zip", "w") as archive:
        archive.writestr(info, "/etc")
    assert unpack.unpack(tmp_path / "links.zip", tmp_path / "copy") == 1


def test_a_link_that_is_there_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "outside").write_bytes(b"mine")
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "a").symlink_to(tmp_path / "outside")
    tar(tmp_path / "plain.tar", {"a": b"new"}, "w")
    unpack.unpack(tmp_path / "plain.tar", tmp_path / "copy")
    assert (tmp_path / "outside").read_bytes() == b"mine"


def test_a_device_is_refused(tmp_path: Path) -> None:
    tar(tmp_path / "device.tar", {"null": b""}, "w", type=tarfile.CHRTYPE)
    with pytest.raises(DataError, match="neither file nor folder"):
        unpack.unpack(tmp_path / "device.tar", tmp_path / "copy")


@pytest.mark.parametrize("kind", ["tar.gz", "zip"])
def test_a_bomb_is_stopped(kind: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(unpack, "ALLOWANCE", 0)
    path = tmp_path / f"bomb.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("zeros", bytes(20_000_000))
    else:
        tar(path, {"zeros": bytes(20_000_000)})
    with pytest.raises(DataError, match="becomes more than 50 times its"):
        unpack.unpack(path, tmp_path / "copy")


@pytest.mark.parametrize("name", ["cut.tar.gz", "cut.zip", "cut.tar"])
def test_a_damaged_archive_is_one_line(name: str, tmp_path: Path) -> None:
    whole = tmp_path / name
    if name.endswith("zip"):
        with zipfile.ZipFile(whole, "w") as archive:
            archive.writestr("a", CONTENT)
    else:
        tar(whole, {"a": CONTENT}, "w:gz" if name.endswith("gz") else "w")
    whole.write_bytes(whole.read_bytes()[:2_000_000])
    with pytest.raises(DataError, match=f"{name}: (not a readable archive|cannot be unpacked)"):
        unpack.unpack(whole, tmp_path / "copy")
