"""Reading and following a log that has blocks taken out of its front: no byte twice, none missing, no hole shown."""

from __future__ import annotations

import gzip
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import wait_for

from supervise.client import partwatch
from supervise.client.inotify import Changes
from supervise.client.kept import kept
from supervise.client.livefile import LiveFile
from supervise.client.logfiles import Found, rotated
from supervise.client.partwatch import PartWatch
from supervise.client.tail import Follower, last_lines
from supervise.helpers import rotation as module
from supervise.helpers.rotation import Rotation

LOG = "__stdout"
BLOCK = 4096


class Rotated:
    """A log that a writer appends to, that our rotation takes blocks out of, and that is followed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.fd = os.open(folder, os.O_RDONLY)
        self.writer = os.open(folder / LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
        self.written = b""
        self.got = b""
        self.lost: list[tuple[int, bool]] = []
        self.changes = Changes()
        self.follower: Follower | None = None

    def write(self, size: int, line: bytes = b"") -> None:
        at = len(self.written)
        data = b"".join(line or b"%07d\n" % number for number in range(at, at + size, len(line) or 8))[:size]
        os.write(self.writer, data)
        self.written += data

    def rotate(self, backups: int = 1000) -> None:
        rotation = Rotation(self.fd, LOG, BLOCK, backups)
        rotation.run()
        rotation.close()

    def follow(self, lines: int = 1 << 30) -> None:
        self.follower = Follower(str(self.folder), LOG, lines, self.changes, lambda *gone: self.lost.append(gone))

    def look(self) -> None:
        assert self.follower
        self.got += b"".join(self.follower.read())

    def close(self) -> None:
        if self.follower:
            self.follower.close()
        self.changes.close()
        os.close(self.fd)
        os.close(self.writer)


@pytest.fixture(params=["disk", "tmpfs"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rotated]:
    """On a filesystem that can collapse, if the one of temporary files is one, and on one that only makes holes."""
    with tempfile.TemporaryDirectory(dir=tmp_path if request.param == "disk" else "/dev/shm") as folder:
        made = Rotated(Path(folder))
        yield made
        made.close()


@pytest.mark.parametrize("line", [b"", b"y\n"], ids=["numbered", "all the same"])
def test_it_is_followed_through_rotations(log: Rotated, line: bytes) -> None:
    log.write(5000, line)
    log.follow()
    log.look()
    for size in (100, 9000, 3 * BLOCK, 1, 20_000, BLOCK):
        log.write(size, line)
        log.rotate()
        log.look()
        assert log.got == log.written
    assert log.lost == []


@pytest.mark.parametrize("line", [b"", b"y\n"], ids=["numbered", "all the same"])
def test_who_is_far_behind_goes_on_with_the_parts(log: Rotated, line: bytes) -> None:
    log.write(100, line)
    log.follow()
    log.look()
    for _ in range(4):
        log.write(3 * BLOCK + 100, line)
        log.rotate()
    for number in (3, 5):
        part = log.folder / f"{LOG}.{number}"
        found = part.stat()
        Path(f"{part}.gz").write_bytes(gzip.compress(part.read_bytes()))
        os.utime(f"{part}.gz", ns=(found.st_atime_ns, found.st_mtime_ns))
        part.unlink()
    log.look()
    assert (log.got == log.written, log.lost) == (True, [])


def test_rotations_while_it_is_being_read(log: Rotated) -> None:
    log.write(300_000)
    log.follow()
    assert log.follower
    for data in log.follower.read():
        log.got += data
        log.write(5000)
        log.rotate()
    log.look()
    assert (log.got == log.written, log.lost) == (True, [])


def test_one_part_is_enough_for_who_keeps_up(log: Rotated) -> None:
    log.follow()
    for _ in range(20):
        log.write(BLOCK + 50)
        log.look()
        log.rotate(1)
        log.write(7)
        log.look()
    assert (log.got == log.written, log.lost) == (True, [])


def test_where_no_parts_are_kept(log: Rotated) -> None:
    log.follow()
    for _ in range(20):
        log.write(BLOCK + 50)
        log.look()
        log.rotate(0)
        log.write(7)
        log.look()
    assert (log.got == log.written, log.lost) == (True, [])


def test_parts_that_went_before_they_were_read_are_said(log: Rotated) -> None:
    log.write(5000)
    log.rotate(3)
    log.follow()
    log.look()
    log.write(2 * BLOCK)
    log.rotate(3)
    log.write(9)
    assert log.follower
    log.look()
    before = len(log.got)
    for _ in range(9):
        log.write(BLOCK)
        log.rotate(3)
    log.look()
    rest = log.got[before:]
    assert log.written.endswith(rest) and 3 * BLOCK < len(rest) < 5 * BLOCK
    assert len(log.lost) == 1 and not log.lost[0][1]
    log.write(10)
    log.look()
    assert log.written.endswith(log.got[before:])


@pytest.mark.parametrize("step", ["copy", "punch", "collapse"])
def test_a_rotation_that_is_broken_off(log: Rotated, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """What is there then, is what was written; and so it is when the next one has gone on."""
    log.write(1000)
    log.follow()
    log.look()
    log.write(4 * BLOCK)
    real = getattr(module, step)

    def broken(*args: int) -> None:
        if step == "punch":
            real(*args)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, step, broken)
    with pytest.raises(KeyboardInterrupt):
        log.rotate()
    monkeypatch.undo()
    assert b"".join(last_lines(str(log.folder), LOG, 1 << 30)) == log.written
    log.look()
    assert log.got == log.written
    log.write(20)
    log.rotate()
    log.look()
    assert (log.got == log.written, log.lost) == (True, [])


@pytest.mark.parametrize("rotations", [1, 3])
@pytest.mark.parametrize("pending", [False, True])
def test_rotations_while_the_older_parts_are_looked_for(
    log: Rotated, monkeypatch: pytest.MonkeyPatch, pending: bool, rotations: int
) -> None:
    """What is newer then is none of them, whatever its number."""
    log.write(2 * BLOCK)
    for _ in range(2):
        log.write(2 * BLOCK)
        log.rotate()
    if pending:
        log.write(2 * BLOCK)
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(module, "collapse", lambda *_: os.kill(os.getpid(), signal.SIGINT))
            log.rotate()
    before = len(log.written)
    older = PartWatch.older

    def beside(watch: PartWatch) -> Iterator[Found]:
        monkeypatch.setattr(partwatch, "rotated", late)
        return older(watch)

    def late(fd: int, name: str) -> Iterator[Found]:
        monkeypatch.setattr(partwatch, "rotated", rotated)
        for _ in range(rotations):
            log.write(2 * BLOCK)
            log.rotate()
        return rotated(fd, name)

    monkeypatch.setattr(PartWatch, "older", beside)
    found = b"".join(last_lines(str(log.folder), LOG, 1 << 30))
    assert log.written.startswith(found) and len(found) >= before


def test_the_last_lines_are_those_of_parts_too(log: Rotated) -> None:
    log.write(30_000)
    log.rotate()
    lines = log.written.splitlines(True)
    for count in (1, 100, 1000, len(lines), len(lines) + 1):
        assert last_lines(str(log.folder), LOG, count) == lines[-count:]
    assert kept(str(log.folder)) == (len(log.written), None)


def test_a_copy_that_is_being_made_is_none_of_its_parts(log: Rotated) -> None:
    """logrotate's copytruncate, looked at in the middle: whole blocks of the beginning are there."""
    log.write(3 * BLOCK)
    log.follow()
    log.look()
    (log.folder / f"{LOG}.1").write_bytes(log.written[: 2 * BLOCK])
    log.look()
    log.write(10)
    log.look()
    assert log.got == log.written
    (log.folder / f"{LOG}.1").write_bytes(log.written)
    os.truncate(log.folder / LOG, 0)
    log.write(100)
    log.look()
    assert log.got == log.written


def test_it_is_put_aside_with_its_hole(log: Rotated) -> None:
    """A fresh file at the next start."""
    log.write(20_000)
    log.rotate()
    log.follow()
    log.look()
    log.write(5000)
    log.rotate()
    log.write(100)
    os.rename(log.folder / LOG, log.folder / f"{LOG}.aside")
    names = [name for name in os.listdir(log.folder) if name[len(LOG) + 1 :].isdigit()]
    for name in sorted(names, key=lambda name: -int(name.rpartition(".")[2])):
        stem, _, number = name.rpartition(".")
        os.rename(log.folder / name, log.folder / f"{stem}.{int(number) + 1}")
    os.rename(log.folder / f"{LOG}.aside", log.folder / f"{LOG}.1")
    os.close(log.writer)
    log.writer = os.open(log.folder / LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
    log.write(12_000)
    log.rotate()
    log.look()
    assert (log.got == log.written, log.lost) == (True, [])
    assert b"".join(last_lines(str(log.folder), LOG, 1 << 30)) == log.written


def test_a_new_file_has_the_inode_of_a_part_that_is_gone(log: Rotated) -> None:
    """Which is soon given away again on ext4, but not at will."""
    log.write(20_000)
    log.rotate()
    log.follow()
    log.look()
    assert log.follower
    live = log.follower._places[-1].file
    assert isinstance(live, LiveFile) and live._partwatch.times
    os.rename(log.folder / LOG, log.folder / "elsewhere")
    os.close(log.writer)
    log.writer = os.open(log.folder / LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
    found = os.fstat(log.writer)
    live._partwatch.times[found.st_dev, found.st_ino] = found.st_mtime_ns - 1
    log.write(100)
    log.look()
    assert (log.got == log.written, log.lost) == (True, [])


def test_a_writer_at_full_speed(log: Rotated) -> None:
    """All at the same time, in processes of their own."""
    reading, writing = os.pipe()
    log.follow()
    writer = os.fork()
    if not writer:
        for number in range(0, 40_000, 20):
            os.write(log.writer, b"".join(b"%d %s\n" % (n, b"x" * (n % 37)) for n in range(number, number + 20)))
        os._exit(0)
    rotator = os.fork()
    if not rotator:
        os.set_blocking(reading, False)
        os.close(writing)
        while True:
            log.rotate()
            try:
                os.read(reading, 1)
                os._exit(0)
            except BlockingIOError:
                pass
    os.close(reading)
    expected = b"".join(b"%d %s\n" % (n, b"x" * (n % 37)) for n in range(40_000))
    wait_for("all of it", lambda: log.look() or len(log.got) >= len(expected))
    os.close(writing)
    assert [os.waitpid(pid, 0)[1] for pid in (writer, rotator)] == [0, 0]
    log.look()
    assert (log.got == expected, log.lost) == (True, [])
