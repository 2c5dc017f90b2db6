"""What came after a mark is found, whatever rotations have done since."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervise.client.mark import NOTHING, Mark, mark, parts_since
from supervise.client.wholelog import open_files
from supervise.helpers.rotation import Rotation


class Log:
    """A log in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        self.count = 0

    def write(self, lines: int) -> bytes:
        """Append lines of 20 bytes, no two of which are the same."""
        data = b"".join(b"%019d\n" % number for number in range(self.count, self.count + lines))
        self.count += lines
        with (self.folder / "log").open("ab") as file:
            file.write(data)
        return data

    def rotate(self, backups: int = 100) -> None:
        rotation = Rotation(self.fd, "log", 8192, backups)
        try:
            rotation.run()
        finally:
            rotation.close()

    def mark(self) -> Mark:
        """As another process is told of it."""
        return Mark.of(list(mark(str(self.folder), "log").numbers()))

    def since(self, wanted: Mark) -> bytes:
        found = parts_since(open_files(str(self.folder), self.fd, "log"), wanted)
        try:
            return b"".join(data for file, start in found for data in file.blocks(start))
        finally:
            for file, _ in found:
                file.close()


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    made = Log(tmp_path)
    yield made
    os.close(made.fd)


@pytest.mark.parametrize("before", [False, True], ids=["no parts", "parts"])
def test_what_rotations_took_out_since(log: Log, before: bool) -> None:
    log.write(2000)
    if before:
        log.rotate()
    at = log.mark()
    assert log.since(at) == b""
    new = log.write(1)
    assert log.since(at) == new
    log.rotate()
    new += log.write(3000)
    assert log.since(at) == new
    log.rotate()
    assert log.since(at) == new
    new += log.write(5)
    assert log.since(at) == new


def test_its_part_was_compressed(log: Log) -> None:
    log.write(1000)
    log.rotate()
    at = log.mark()
    new = log.write(1000)
    log.rotate()
    number = next(n for n in range(1, 9) if os.stat(log.folder / f"log.{n}").st_ino == at.part[1])
    subprocess.run(["gzip", log.folder / f"log.{number}"], check=True)
    assert log.since(at) == new


@pytest.mark.parametrize("rotated", [False, True])
def test_it_was_renamed(log: Log, rotated: bool) -> None:
    log.write(1000)
    if rotated:
        log.rotate()
    at = log.mark()
    new = log.write(1000)
    parts = sorted(log.folder.glob("log.*"), key=lambda path: int(path.suffix[1:]), reverse=True)
    for path in parts:
        path.rename(path.with_suffix(f".{int(path.suffix[1:]) + 1}"))
    (log.folder / "log").rename(log.folder / "log.1")
    assert log.since(at) == new
    new += log.write(10)
    assert log.since(at) == new


def test_nothing_was_there(log: Log) -> None:
    assert log.mark().numbers() == NOTHING.numbers()
    assert log.since(log.mark()) == b""
    new = log.write(3000)
    log.rotate()
    assert log.since(Mark.of([0] * 6)) == new


def test_another_has_taken_its_place(log: Log) -> None:
    """The others are older, for all that is known; so is what it does not hold any more."""
    log.write(1000)
    at = log.mark()
    (log.folder / "log").rename(log.folder / "elsewhere")
    new = log.write(5)
    assert log.since(at) == new


def test_its_part_is_gone(log: Log) -> None:
    log.write(1000)
    log.rotate(1)
    at = log.mark()
    log.write(3000)
    log.rotate(1)
    assert log.since(at).endswith(b"%019d\n" % (log.count - 1))
