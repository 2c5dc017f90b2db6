"""The pidfile: what it says, and what must be watched for it."""

from __future__ import annotations

import errno
import os
import posix
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from system import needs_root
from watched import kinds

from supervise.config.file import DIR, NAMES, WRITES, watch_plan
from supervise.service.pidfile import PidFile, pid_in

# What it says.


@pytest.mark.parametrize(
    ("data", "pid"),
    [
        (b"4711\n", 4711),
        (b"4711", 4711),
        (b"   4711 \r\n", 4711),
        (b"4711\n/var/lib/db\n1700000000\n", 4711),
        (b"4711\n" + b"x" * 100, 4711),
        (b"4194304\n", 4194304),
        (b"2", 2),
        (b"4194305\n", None),
        (b"1\n", None),
        (b"0\n", None),
        (b"-4711\n", None),
        (b"+4711\n", None),
        (b"47 11\n", None),
        (b"0x10\n", None),
        (b"4711\0\n", None),
        (b"\xd9\xa1\xd9\xa2\n", None),  # digits, of another script
        (b"\n4711\n", None),
        (b"", None),
        (b"\n", None),
        (b"pid: 4711\n", None),
        (b" " * 62 + b"12", None),  # it may go on
    ],
)
def test_the_first_line_is_a_number_or_nothing(tmp_path: Path, data: bytes, pid: int | None) -> None:
    path = tmp_path / "pid"
    path.write_bytes(data)
    file = PidFile(str(path))
    assert file.read() == pid
    assert file.present


@given(st.binary(max_size=64))
def test_anything_is_a_pid_or_is_not(data: bytes) -> None:
    pid = pid_in(data)
    assert pid is None or (2 <= pid <= 4194304 and int(data.split()[0]) == pid)


def test_a_file_that_is_absent_says_nothing(tmp_path: Path) -> None:
    file = PidFile(str(tmp_path / "none" / "pid"))
    assert file.read() is None
    assert not file.present


def test_what_is_no_file_says_nothing_and_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to("loop")
    for path in (tmp_path, tmp_path / "fifo", tmp_path / "loop", "/dev/zero"):
        file = PidFile(str(path))
        assert file.read() is None
        assert not file.present


def test_who_cannot_look_does_not_say_that_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "pid"
    path.write_text("4711\n")
    file = PidFile(str(path))
    opened = os.open
    for number in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO):

        def fail(*args: object, number: int = number, **kwargs: object) -> int:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(posix, "open", fail)
        with pytest.raises(OSError):
            file.read()
        with pytest.raises(OSError):
            file.changed()
        monkeypatch.setattr(posix, "open", opened)
    assert file.read() == 4711


def test_no_device_is_opened_that_a_service_points_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root's opening a device may set it off; O_PATH does not."""
    needs_root()
    (tmp_path / "pid").symlink_to("/dev/zero")
    opened = os.open
    flags: list[int] = []

    def note(path: str, how: int, *args: int) -> int:
        flags.append(how)
        return opened(path, how, *args)

    monkeypatch.setattr(posix, "open", note)
    assert PidFile(str(tmp_path / "pid")).read() is None
    assert flags and all(how & os.O_PATH for how in flags)


def test_of_a_huge_file_a_little_is_read(tmp_path: Path) -> None:
    with (tmp_path / "pid").open("wb") as file:
        file.write(b"4711\n")
        file.truncate(1 << 40)
    assert PidFile(str(tmp_path / "pid")).read() == 4711


def test_reading_leaves_no_descriptor_open(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    path.write_text("4711\n")
    before = os.listdir("/proc/self/fd")
    for file in (PidFile(str(path)), PidFile(str(tmp_path)), PidFile("/nowhere")):
        file.read()
        file.changed()
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize(("path", "base"), [("pid", ""), ("run/pid", ""), ("pid", "run"), ("pid", "{}/run")])
def test_a_relative_path_begins_at_its_base(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, base: str
) -> None:
    monkeypatch.chdir(tmp_path)
    base = base.format(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / base / path).write_text("4711\n")
    file = PidFile(path, base)
    assert file.read() == 4711
    assert (str((tmp_path / base / path).parent), WRITES) in [(where, kind) for where, kind, _, _ in file.plan()]


def test_an_absolute_path_has_no_base(tmp_path: Path) -> None:
    path = str(tmp_path / "pid")
    assert PidFile(path, "/somewhere").path == path


def test_a_file_has_changed_when_its_content_has(tmp_path: Path) -> None:
    """Two writes within a tick of the kernel's clock leave the same times."""
    path = tmp_path / "pid"
    file = PidFile(str(path))
    assert not file.changed()
    path.write_text("4711\n")
    assert file.changed()
    assert file.read() == 4711
    assert not file.changed()
    found = path.stat()
    path.write_text("4712\n")
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert file.changed()
    assert file.read() == 4712
    path.unlink()
    assert file.changed()
    assert file.read() is None
    assert not file.changed()


# What to watch.


def test_the_plan_is_the_same_whatever_happens_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    path = tmp_path / "run" / "pid"
    file = PidFile(str(path))
    plan = file.plan()
    assert kinds(tmp_path, plan) == {".": DIR, "run": WRITES}
    path.write_text("4711\n")
    assert file.plan() == plan
    (tmp_path / "run" / "new").write_text("4712\n")
    (tmp_path / "run" / "new").rename(path)
    assert file.plan() == plan
    path.unlink()
    path.mkdir()
    assert file.plan() == plan


def test_the_plan_leads_through_symlinks_and_to_what_is_missing(tmp_path: Path) -> None:
    path = str(tmp_path / "var" / "run" / "app" / "pid")
    assert kinds(tmp_path, watch_plan(path, True)) == {".": NAMES}
    (tmp_path / "var").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "var" / "run").symlink_to("../run")
    assert kinds(tmp_path, watch_plan(path, True)) == {".": DIR, "var": NAMES, "run": NAMES}
    (tmp_path / "run" / "app").mkdir()
    assert kinds(tmp_path, watch_plan(path, True)) == {".": DIR, "var": NAMES, "run": DIR, "run/app": WRITES}
    # The file may be a symlink itself, even one that leads back through its own directory.
    (tmp_path / "run" / "app" / "back").symlink_to("../../var")
    (tmp_path / "run" / "app" / "pid").symlink_to("back/real")
    assert kinds(tmp_path, watch_plan(path, True))["run/app"] == WRITES
    assert kinds(tmp_path, watch_plan(path, True))["var"] == WRITES
