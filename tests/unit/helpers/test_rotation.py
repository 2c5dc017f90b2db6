"""Rotation: what the parts hold, put end to end, is what was written, wherever it was broken off."""

from __future__ import annotations

import gzip
import os
import tempfile
import threading
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import PATIENCE

from supervise.helpers import rotation as module
from supervise.helpers.compression import compress
from supervise.helpers.rotation import AT_STARTS, COLLAPSE, PUNCH, NoSpace, Rotation
from supervise.system import file_ranges, log_parts
from supervise.system.file_ranges import Unsupported

BLOCK = 4096
LIMIT = 2 * BLOCK


class Log:
    """A log in a folder of its own, and all that was ever written into it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.fd = os.open(folder, os.O_RDONLY)
        self.written = b""
        self.writer = os.open(folder / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)

    def write(self, size: int) -> None:
        """Write lines of which no two are the same."""
        at = len(self.written)
        data = b"".join(b"%015d\n" % number for number in range(at, at + size, 16))[:size]
        os.write(self.writer, data)
        self.written += data

    def rotate(self, backups: int = 1000, limit: int = LIMIT) -> Rotation:
        rotation = Rotation(self.fd, "log", limit, backups)
        try:
            rotation.run()
        finally:
            rotation.close()
        return rotation

    def parts(self) -> dict[str, bytes]:
        """What there is of older parts, the oldest first."""
        names = [name for name in os.listdir(self.folder) if name != "log"]
        names.sort(key=lambda name: -int(name.split(".")[1]))
        read = {True: gzip.decompress, False: bytes}
        return {name: read[name.endswith(".gz")]((self.folder / name).read_bytes()) for name in names}

    def kept(self, start: int = 0) -> bytes:
        return b"".join(self.parts().values()) + (self.folder / "log").read_bytes()[start:]

    def close(self) -> None:
        os.close(self.fd)
        os.close(self.writer)


@pytest.fixture(params=["disk", "tmpfs"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Log]:
    """On a filesystem that can collapse, if the one of temporary files is one, and on one that only makes holes."""
    if request.param == "disk":
        made = Log(tmp_path)
        yield made
        made.close()
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        made = Log(Path(folder))
        yield made
        made.close()


def test_a_file_within_its_limit_stays_as_it_is(log: Log) -> None:
    log.write(LIMIT)
    assert log.rotate().start == 0
    assert log.parts() == {}
    assert log.kept() == log.written


def test_what_is_too_much_becomes_parts(log: Log) -> None:
    log.write(5 * BLOCK + 100)
    rotation = log.rotate()
    assert {name: len(data) for name, data in log.parts().items()} == {"log.2": LIMIT, "log.1": LIMIT}
    assert log.kept(rotation.start) == log.written
    assert rotation.way in (COLLAPSE, PUNCH)
    assert (rotation.start == 0) == (rotation.way == COLLAPSE)
    assert (log.folder / "log.1").stat().st_mode & 0o777 == 0o640
    log.write(3 * BLOCK)
    rotation = log.rotate()
    assert log.kept(rotation.start) == log.written


def test_space_is_given_back(log: Log) -> None:
    log.write(100 * BLOCK)
    log.rotate(backups=1)
    assert sum((log.folder / name).stat().st_blocks for name in os.listdir(log.folder)) * 512 <= 3 * LIMIT


def test_so_many_parts_are_kept_and_no_more(log: Log) -> None:
    log.write(9 * LIMIT + 1)
    rotation = log.rotate(backups=4)
    assert [*log.parts()] == ["log.4", "log.3", "log.2", "log.1"]
    kept = log.kept(rotation.start)
    assert log.written.endswith(kept) and len(kept) == 4 * LIMIT + LIMIT + 1 - LIMIT
    log.write(LIMIT)
    rotation = log.rotate(backups=2)
    assert [*log.parts()] == ["log.2", "log.1"]
    assert log.written.endswith(log.kept(rotation.start))


def test_none_are_kept(log: Log) -> None:
    log.write(5 * LIMIT)
    rotation = log.rotate(backups=0)
    assert log.parts() == {}
    assert log.written.endswith(log.kept(rotation.start)) and len(log.kept(rotation.start)) <= LIMIT


def test_a_limit_of_less_than_a_block(log: Log) -> None:
    log.write(3 * BLOCK)
    rotation = log.rotate(limit=10)
    assert log.kept(rotation.start) == log.written
    assert [len(data) for data in log.parts().values()] == [BLOCK, BLOCK]


class Crash(BaseException):
    """Nothing more is done."""


class Breaking:
    """Has the n-th step crash, before or after it was done."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int, after: bool) -> None:
        self.left = at
        self.after = after
        for name in ("collapse", "punch", "copy"):
            monkeypatch.setattr(module, name, self.step(getattr(module, name)))
        fake = types.SimpleNamespace(**vars(os))
        for name in ("open", "unlink", "fsync", "fchmod", "rename", "fdatasync"):
            setattr(fake, name, self.step(getattr(os, name)))
        for user in (module, log_parts):
            monkeypatch.setattr(user, "os", fake)

    def step(self, call: Any) -> Any:
        def wrapped(*args: Any, **more: Any) -> Any:
            self.left -= 1
            if self.left < 0:
                raise Crash
            if self.left == 0:
                if not self.after:
                    raise Crash
                call(*args, **more)
                raise Crash
            return call(*args, **more)

        return wrapped


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_it_is_broken_off_anywhere(log: Log, after: bool) -> None:
    """All crash after that, the clean-up too; and the next one finds what is there."""
    at, crashed = 0, True
    while crashed:
        at += 1
        (log.folder / str(at)).mkdir()
        one = Log(log.folder / str(at))
        one.write(2 * LIMIT + 1)
        one.rotate()
        one.write(2 * LIMIT + 700)
        with pytest.MonkeyPatch.context() as patched:
            Breaking(patched, at, after)
            try:
                one.rotate()
                crashed = False
            except Crash:
                pass
        one.write(100)
        rotation = one.rotate()
        assert one.kept(rotation.start) == one.written, f"step {at}"
        assert not [name for name in os.listdir(one.folder) if "next" in name]
        one.close()
    assert at > 25


def test_lines_that_are_all_the_same(log: Log) -> None:
    """To compare the copy with what is there would not tell."""
    os.write(log.writer, b"y\n" * (3 * LIMIT // 2))
    with pytest.MonkeyPatch.context() as patched:
        Breaking(patched, 9, True)
        with pytest.raises(Crash):
            log.rotate()
    rotation = log.rotate()
    assert len(log.kept(rotation.start)) == 3 * LIMIT


@pytest.mark.parametrize("punched", [0, BLOCK, LIMIT])
@pytest.mark.parametrize("where", ["beside", "elsewhere"])
def test_another_file_has_come_in_its_place(log: Log, where: str, punched: int) -> None:
    """What was taken out is in the copy alone; what was not, in the file that somebody has renamed, if it is there."""
    log.write(3 * LIMIT)
    old = log.folder / "old" if where == "beside" else Path(f"{log.folder}.old")
    (log.folder / f"log.next-{os.stat(log.folder / 'log').st_ino}-0").write_bytes(log.written[:LIMIT])
    if punched:
        file_ranges.punch(log.writer, 0, punched)
    os.rename(log.folder / "log", old)
    try:
        other = Log(log.folder)
        other.write(LIMIT + BLOCK)
        rotation = other.rotate()
        first, rest = log.written[:LIMIT], log.written[LIMIT:]
        assert old.read_bytes()[LIMIT:] == rest
        there = [path.read_bytes() for path in [log.folder / "log.2"] if path.exists()]
        if punched or where == "elsewhere":
            assert there == [first]
        else:
            assert (there, old.read_bytes()[:LIMIT]) == ([], first)
        if punched and where == "beside":
            assert old.read_bytes()[:LIMIT] == bytes(LIMIT)
        live = (log.folder / "log").read_bytes()[rotation.start :]
        assert (log.folder / "log.1").read_bytes() + live == other.written
        assert not [name for name in os.listdir(log.folder) if "next" in name]
        other.close()
    finally:
        old.unlink()


def test_a_hole_in_between_is_closed(log: Log) -> None:
    """A filesystem that collapses in several steps may have been broken off between two."""
    log.write(2 * BLOCK)
    os.ftruncate(log.writer, 5 * BLOCK)
    log.write(BLOCK)
    rotation = log.rotate(limit=100 * BLOCK)
    if rotation.way == COLLAPSE and (log.folder / "log").stat().st_size == 3 * BLOCK:
        assert log.kept() == log.written
    else:
        assert log.folder.parts[1] == "dev"


def test_where_nothing_can_be_taken_out(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise Unsupported

    monkeypatch.setattr(module, "punch", refuse)
    monkeypatch.setattr(module, "collapse", refuse)
    log.write(3 * LIMIT)
    assert log.rotate().way == AT_STARTS
    assert log.rotate(backups=0).way == AT_STARTS
    assert (log.parts(), log.kept()) == ({}, log.written)


def test_what_cannot_be_taken_out_costs_no_part(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though there is more than so many parts could hold."""
    log.write(3 * LIMIT)
    log.rotate()

    def refuse(*args: object) -> None:
        raise Unsupported

    monkeypatch.setattr(module, "punch", refuse)
    before = log.parts()
    log.write(9 * LIMIT)
    assert log.rotate(backups=3).way == AT_STARTS
    assert log.parts() == before


# A writer that is faster than the disk.


class SlowDisk:
    """fsync() that waits until it is told to go on; more is printed, before it and with each look meanwhile."""

    def __init__(self, log: Log, monkeypatch: pytest.MonkeyPatch, meanwhile: int) -> None:
        self.log = log
        self.on = threading.Event()
        self.asked: list[str] = []
        fake = types.SimpleNamespace(**vars(os))
        fake.fsync, fake.fdatasync = self.of("fsync", os.fsync), self.of("fdatasync", os.fdatasync)
        monkeypatch.setattr(module, "os", fake)
        self.meanwhile = meanwhile

    def of(self, name: str, real: Any) -> Any:
        def slow(fd: int) -> None:
            self.asked.append(name)
            self.log.write(self.meanwhile)
            self.on.wait(PATIENCE)
            real(fd)

        return slow


@pytest.fixture
def kept_open(log: Log) -> Iterator[Rotation]:
    log.write(2 * LIMIT)
    log.rotate(backups=2)
    rotation = Rotation(log.fd, "log", LIMIT, 2)
    yield rotation
    rotation.close()


def test_a_copy_that_would_be_dropped_is_given_up(
    log: Log, kept_open: Rotation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And none is made, until the writer is slower; then all is as if nothing had been."""
    disk = SlowDisk(log, monkeypatch, 8 * LIMIT)
    log.write(LIMIT)
    kept_open.run()
    assert (kept_open.behind, kept_open.unfinished, disk.asked, log.parts()) == (True, True, ["fsync"], {})
    log.write(5 * LIMIT)
    kept_open.run()
    assert (kept_open.behind, disk.asked, log.parts()) == (True, ["fsync"], {})
    there = log.kept(kept_open.start)
    assert log.written.endswith(there) and 3 * LIMIT <= len(there) < 4 * LIMIT
    disk.meanwhile = 0
    disk.on.set()
    kept_open.run()
    assert (kept_open.behind, kept_open.exceeded, len(log.parts())) == (False, False, 2)
    assert log.written.endswith(log.kept(kept_open.start))
    assert (kept_open.start == 0) == (kept_open.way == COLLAPSE)


def test_the_hole_is_closed_when_there_is_time(log: Log, kept_open: Rotation, monkeypatch: pytest.MonkeyPatch) -> None:
    """To collapse takes all of the file to be on the disk."""
    log.write(LIMIT)
    disk = SlowDisk(log, monkeypatch, 0)
    real = module.collapse

    def late(*args: int) -> None:
        assert disk.asked[-1] == "fdatasync"
        real(*args)

    monkeypatch.setattr(module, "collapse", late)
    real_flush = module.flush

    def flush(call: Any, fd: int) -> Any:
        disk.meanwhile = 9 * LIMIT if fd == kept_open.fd else 0
        disk.on.clear() if fd == kept_open.fd else disk.on.set()
        return real_flush(call, fd)

    monkeypatch.setattr(module, "flush", flush)
    kept_open.run()
    assert (kept_open.behind, kept_open.start > 0, disk.asked[-1]) == (True, True, "fdatasync")
    disk.on.set()
    monkeypatch.setattr(module, "flush", real_flush)
    disk.meanwhile = 0
    while kept_open.unfinished and kept_open.way == COLLAPSE:
        kept_open.run()
    assert log.written.endswith(log.kept(kept_open.start))


def test_a_disk_that_fails_is_said(log: Log, kept_open: Rotation, monkeypatch: pytest.MonkeyPatch) -> None:
    log.write(LIMIT)
    before = log.parts()

    def broken(fd: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(module.os, "fsync", broken)
        with pytest.raises(OSError, match="Input/output"):
            kept_open.run()
    assert log.parts() == before
    kept_open.run()
    assert log.written.endswith(log.kept(kept_open.start)) and not kept_open.exceeded


def test_parts_that_will_go_are_gone_before(log: Log, kept_open: Rotation, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once it is known that what is copied can be taken out."""
    seen = []
    real = module.copy

    def counted(*args: Any) -> None:
        seen.append(sorted(name for name in os.listdir(log.folder) if name[4:].isdigit()))
        real(*args)

    monkeypatch.setattr(module, "copy", counted)
    for size in (1, 1, 2):
        log.write(size * LIMIT)
        kept_open.run()
    assert seen == [["log.1"], ["log.1"], [], ["log.1"]]


def test_where_there_is_no_space_the_oldest_goes(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    log.write(4 * LIMIT + 1)
    log.rotate()
    log.write(LIMIT)
    real, refused = module.copy, [28, 28]

    def full(*args: Any) -> None:
        if refused:
            raise OSError(refused.pop(), "No space left on device")
        real(*args)

    monkeypatch.setattr(module, "copy", full)
    rotation = log.rotate()
    assert rotation.removed == 2
    assert [*log.parts()] == ["log.3", "log.2", "log.1"]
    assert log.written.endswith(log.kept(rotation.start))
    refused[:] = [28] * 9
    log.write(LIMIT)
    with pytest.raises(NoSpace):
        log.rotate()
    assert log.parts() == {}
    assert not [name for name in os.listdir(log.folder) if "next" in name]


def test_older_parts_are_compressed(log: Log) -> None:
    log.write(3 * LIMIT + 1)
    log.rotate()
    (log.folder / "log.3.gz").write_bytes(b"not to its end")
    assert compress_parts(log)
    assert [*log.parts()] == ["log.3.gz", "log.2.gz", "log.1"]
    log.write(LIMIT)
    rotation = log.rotate()
    assert log.kept(rotation.start) == log.written
    (log.folder / "log.2.gz").write_bytes(b"not to its end")
    log.write(LIMIT)
    rotation = log.rotate()
    assert log.kept(rotation.start) == log.written


def test_compression_waits_for_what_is_pressing(log: Log) -> None:
    log.write(3 * LIMIT + 1)
    log.rotate()
    assert not compress_parts(log, pressing=True)
    assert [*log.parts()] == ["log.3", "log.2", "log.1"]


def compress_parts(log: Log, pressing: bool = False) -> bool:
    """In a process of its own, for it lowers its priority."""
    pid = os.fork()
    if not pid:
        os._exit(not compress(log.fd, "log", lambda: pressing))
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.parametrize("kind", ["a symlink", "a FIFO", "two links"])
def test_what_is_no_file_of_its_own_is_refused(tmp_path: Path, kind: str) -> None:
    (tmp_path / "other").write_bytes(bytes(100_000))
    place = tmp_path / "log"
    if kind == "a symlink":
        place.symlink_to("other")
    elif kind == "a FIFO":
        os.mkfifo(place)
    else:
        os.link(tmp_path / "other", place)
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(OSError):
            Rotation(fd, "log", LIMIT, 3)
    finally:
        os.close(fd)
    assert (tmp_path / "other").stat().st_size == 100_000
