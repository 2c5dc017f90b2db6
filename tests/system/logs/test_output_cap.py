"""The limit of what is kept of a service's output: services that write, and supervises and helpers that are killed."""

from __future__ import annotations

import os
import random
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import Box, alive, boxed, wait_for
from heirs import upgrade
from quota import quota
from system import children

from supervise.system.file_ranges import data_from, punch

BLOCK = 4096
LIMIT = 64 * 1024
# Numbered lines, as many as it is told in the file `quota`, which may grow.
WRITER = """
import os, time
number = 0
while True:
    while number < int(open("quota").read()):
        os.write(1, b"".join(b"%015d\\n" % one for one in range(number, number + 100)))
        number += 100
    time.sleep(0.01)
"""


def conf(box: Box, text: str = "", limit: str = "64KB", backups: int = 999) -> None:
    box.conf(f"[app]\nstdout_logfile_maxbytes : {limit}\nstdout_logfile_backups : {backups}\n{text}")


def writing(box: Box, lines: int) -> None:
    quota(box, lines)
    box.start("python3", "-S", "-c", WRITER)


def parts(box: Box) -> list[Path]:
    """What there is of older parts, the oldest first."""
    return sorted(box.status.glob("__stdout.[0-9]*"), key=lambda path: -int(path.name.split(".")[1]))


def size(box: Box) -> int:
    """Of the live file, without a hole at its beginning."""
    found = os.stat(box.status / "__stdout")
    return min(found.st_size, found.st_blocks * 512)


def kept(box: Box) -> bytes:
    """What there is of the output, without the holes that parts have at their beginning."""

    def found() -> list[tuple[Path, int]]:
        return [(path, path.stat().st_ino) for path in [*parts(box), box.status / "__stdout"]]

    while True:
        with suppress(FileNotFoundError):  # while they are renamed
            before = found()
            data = b"".join(path.read_bytes().lstrip(b"\0") for path, _ in before)
            if found() == before:
                return data


def all_written(lines: int) -> bytes:
    return b"".join(b"%015d\n" % number for number in range(lines))


def wait_within(box: Box, lines: int) -> None:
    """Wait until all is written, and the file is within its limit."""
    total = 16 * lines
    wait_for("all to be written", lambda: not list(box.status.glob("*.next-*")) and len(kept(box)) >= total)
    wait_for("the file to be within its limit", lambda: size(box) <= LIMIT + BLOCK)


@pytest.fixture
def tmpfs_box() -> Iterator[Box]:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder, boxed(Path(folder)) as made:
        yield made


def test_every_byte_once_whoever_is_killed(box: Box) -> None:
    conf(box)
    writing(box, 0)
    lines = 0
    for _ in range(6):
        lines += 20_000
        quota(box, lines)
        wait_for("a part", lambda: parts(box))
        time.sleep(random.random())
        supervisor = box.supervisor
        assert supervisor
        for pid in children(supervisor):
            if pid != box.pid and random.random() < 0.5:
                os.kill(pid, signal.SIGKILL)
        os.kill(supervisor, signal.SIGKILL)
        wait_for("it to be gone", lambda gone=supervisor: not alive(gone))
        done = box.run("--resume", "-p", "status/app")
        assert done.returncode == 0, done.stderr
    wait_within(box, lines)
    assert kept(box) == all_written(lines)


def test_one_that_is_idle_is_noticed_when_it_writes_again(box: Box) -> None:
    """And until then nobody looks at it."""
    conf(box)
    writing(box, 10_000)
    wait_within(box, 10_000)
    quiet = Path(f"/proc/{box.supervisor}/status")

    def switches() -> list[str]:
        return [line for line in quiet.read_text().splitlines() if "ctxt" in line]

    def idle() -> bool:
        before = switches()
        time.sleep(1.5)
        return switches() == before

    wait_for("supervise to be idle", idle)
    quota(box, 30_000)
    wait_within(box, 30_000)
    assert kept(box) == all_written(30_000)


def test_a_limit_that_comes_later_and_an_upgrade(box: Box) -> None:
    writing(box, 10_000)
    wait_for("all of it", lambda: size(box) >= 160_000)
    conf(box)
    wait_within(box, 10_000)
    before = box.pid
    upgrade(box)
    quota(box, 20_000)
    wait_within(box, 20_000)
    assert box.pid == before
    assert kept(box) == all_written(20_000)
    conf(box, backups=2)
    quota(box, 30_000)
    wait_for("no more than two", lambda: len(parts(box)) == 2)


def with_a_hole(box: Box) -> Path:
    """A log that is within its limit, behind the hole that it keeps; its file."""
    conf(box)
    writing(box, 20_000)
    wait_within(box, 20_000)
    box.wait_log("it seems large until the next start")
    return box.status / "__stdout"


def test_where_a_hole_stays(tmpfs_box: Box) -> None:
    """A start begins a new file."""
    box = tmpfs_box
    live = with_a_hole(box)
    assert live.stat().st_size == 320_000
    inode = live.stat().st_ino
    quota(box, 0)
    box.control("t")
    wait_for("a new file", lambda: live.exists() and live.stat().st_ino != inode)
    assert kept(box) == all_written(20_000)


def test_what_a_helper_has_left_half_done_is_finished_before_a_new_file_is_begun(tmpfs_box: Box) -> None:
    """It is known by the file that it is of."""
    box = tmpfs_box
    live = with_a_hole(box)
    wait_for("the helper to have ended", lambda: [*children(box.supervisor)] == [box.pid])
    fd = os.open(live, os.O_RDWR)
    start = data_from(fd, 0)
    copy = box.status / f"__stdout.next-{os.fstat(fd).st_ino}-{start}"
    copy.write_bytes(os.pread(fd, BLOCK, start))
    punch(fd, start, BLOCK)  # and there it was killed
    os.close(fd)
    before = box.pid
    box.control("t")
    box.wait_new_pid(before)
    wait_for("the copy to be kept", lambda: not copy.exists())
    wait_within(box, 40_000)
    assert kept(box) == all_written(20_000) * 2


def test_older_parts_are_compressed(box: Box) -> None:
    import gzip

    conf(box, "logfile_compress : gzip\n")
    writing(box, 20_000)
    wait_for("parts to be compressed", lambda: len(list(box.status.glob("__stdout.*.gz"))) >= 3)
    wait_for("all but the newest", lambda: [path.suffix for path in parts(box)].count(".gz") == len(parts(box)) - 1)
    read = {True: gzip.decompress, False: bytes}
    data = b"".join(read[path.suffix == ".gz"](path.read_bytes()) for path in parts(box))
    assert data + (box.status / "__stdout").read_bytes() == all_written(20_000)


def test_one_that_cuts_its_own_log_short_is_warned_of_once(box: Box) -> None:
    conf(box)
    box.start("sh", "-c", "seq 9999; sleep 2; : >/dev/stdout; seq 999; sleep 2; : >/dev/stdout; seq 99; sleep 1000")
    box.wait_warning("__stdout was cut short by somebody else")
    wait_for("the last lines", lambda: box.stdout().endswith("\n99\n") and len(box.stdout()) < 300)
    time.sleep(1.5)
    assert box.warnings.count("cut short") == 1
