"""Rotation: what the parts hold, put end to end, is what was written, wherever it was broken off."""

from __future__ import annotations

import gzip
import os
import tempfile
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from supervise.helpers import rotation as module
from supervise.helpers.compression import compress
from supervise.helpers.rotation import AT_STARTS, COLLAPSE, PUNCH, NoSpace, Rotation
from supervise.system import log_parts
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


def test_another_file_has_come_in_its_place(log: Log) -> None:
    """What was being copied of a file that is no more is of no use."""
    log.write(LIMIT)
    (log.folder / f"log.next-{os.stat(log.folder).st_ino}-0").write_text("old")
    rotation = log.rotate()
    assert log.kept(rotation.start) == log.written


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
