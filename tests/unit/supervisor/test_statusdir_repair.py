"""The status directory as a place: it is where its path leads, or is made anew, or is somebody else's."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeLog, FakeNotifying, FakeTime
from shortage import NO_DESCRIPTORS, few_descriptors

from supervise.config.config import Config
from supervise.machine.machine import Machine
from supervise.protocol import record, state_reader
from supervise.protocol.lockfile import path_of
from supervise.protocol.states import ENDED, RUNNING
from supervise.runtime.status_writer import StatusWriter
from supervise.supervisor import statusdir_repair
from supervise.supervisor.statusdir_watch import DAMAGED, GONE, HERE, OTHER, StatusDirWatch
from supervise.system.descriptors import HeldDescriptors
from supervise.system.procfs import boot_id
from supervise.system.statusdir import StatusDir

PID = 4711


class Place:
    """A supervise's directory, with a service that runs; time is what the test says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "status" / "app"
        self.directory = StatusDir(str(self.path))
        self.kept = HeldDescriptors(self.directory.lock(), *self.directory.open_fifos())
        self.machine = Machine(Config())
        self.machine.state, self.machine.pid = RUNNING, PID
        self.log: Any = FakeLog()
        self.log.flush = lambda: None
        self.writer = StatusWriter(self.directory, self.machine, ["app"], boot_id(), self.log)
        self.writer.write(None)
        self.directory.keep()
        self.service: Any = FakeNotifying()
        self.events: list[tuple[str, Any]] = []  # that were posted
        self.obeyed = bytearray()
        self.home = StatusDirWatch(
            self.directory,
            self.kept,
            os.fsencode(self.path),
            self.machine,
            self.writer,
            self.service,
            self.log,
            lambda event, value: self.events.append((event, value)),
            self.obeyed.extend,
        )
        self.clock = FakeTime()

    def look(self) -> list[tuple[str, Any]]:
        """What a turn of the loop does when something was moved."""
        begins = self.home._repair is None
        away = self.home._away()
        type(away).look.__globals__["time"] = self.clock
        if begins:
            away._since = self.clock.now
        self.events.clear()
        self.home.look()
        return [*self.events]

    def look_on(self, seconds: float = 60.0) -> list[tuple[str, Any]]:
        """Look, and again whenever that is due, for so long or until there are events."""
        end = self.clock.now + seconds
        events = self.look()
        while not events and self.home.due is not None and self.home.due <= end:
            self.clock.now = max(self.clock.now, self.home.due)
            if self.home.found() == HERE and self.home._repair is None:
                break
            events = self.look()
        return events

    def send(self, letters: bytes) -> None:
        """Write letters as somebody who knows the path."""
        fd = os.open(self.path / "control", os.O_WRONLY | os.O_NONBLOCK)
        os.write(fd, letters)
        os.close(fd)

    @property
    def letters(self) -> bytes:
        """What has come to the descriptor that supervise has."""
        os.set_blocking(self.kept.control, False)
        try:
            return os.read(self.kept.control, 100)
        except BlockingIOError:
            return b""

    def check(self) -> None:
        """All is as a start makes it, and the numbers of the descriptors are what they were."""
        assert self.home.found() == HERE
        assert path_of(self.kept.lock) == os.fsencode(self.path)
        assert record.decode((self.path / "status").read_bytes()).pid == PID
        found = state_reader.decode((self.path / "state").read_bytes())
        assert found["directory"] == {"device": self.path.stat().st_dev, "inode": self.path.stat().st_ino}
        self.send(b"u")
        assert self.letters == b"u"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    before = len(os.listdir("/proc/self/fd"))
    made = Place(tmp_path)
    yield made
    for fd in (*made.kept.numbers().values(), made.directory.fd, made.home._source):
        os.close(fd)
    assert len(os.listdir("/proc/self/fd")) == before


# Rule 1: where it is.


def test_it_is_here_as_long_as_the_path_leads_to_what_is_open(place: Place) -> None:
    place.check()
    assert place.look() == [] and place.log.lines == []


@pytest.mark.parametrize("name", ["lock", "control", "ok"])
def test_without_one_of_the_three_it_is_damaged(place: Place, name: str) -> None:
    (place.path / name).unlink()
    assert place.home.found() == DAMAGED


def test_without_the_name_of_the_socket_too(place: Place) -> None:
    place.service.named = False
    assert place.home.found() == DAMAGED


def test_gone_or_another(place: Place) -> None:
    place.path.rename(place.folder / "elsewhere")
    assert place.home.found() == GONE
    place.path.mkdir()
    assert place.home.found() == OTHER
    place.path.rmdir()
    place.path.parent.rmdir()
    place.path.parent.touch()
    assert place.home.found() == GONE


def test_what_cannot_be_looked_at_is_not_gone(place: Place) -> None:
    place.path.rename(place.folder / "elsewhere")
    place.path.touch()
    with pytest.raises(NotADirectoryError):
        place.home.found()
    place.path.unlink()
    place.path.symlink_to("app")
    with pytest.raises(OSError, match="symbolic links"):
        place.home.found()


def test_all_that_leads_there_is_watched(place: Place) -> None:
    watched = [os.fsdecode(step[0]) if isinstance(step[0], bytes) else step[0] for step in place.home.plan()]
    for name in ("lock", "control", "ok"):
        assert f"{place.path}/{name}" in watched
    assert str(place.path.parent) in watched


def test_a_relative_path_holds_when_the_working_directory_is_gone(place: Place, tmp_path: Path) -> None:
    here = os.getcwd()
    (tmp_path / "gone").mkdir()
    os.chdir(tmp_path / "gone")
    try:
        place.directory.path = "status/app"
        assert place.home.path == "status/app"
        (tmp_path / "gone").rmdir()
        assert place.home.path == str(place.path)
    finally:
        os.chdir(here)


# Made anew.


def test_one_that_was_removed_is_made_anew_when_that_is_sure(place: Place) -> None:
    numbers = place.kept.numbers()
    place.send(b"d")
    shutil.rmtree(place.path)
    assert place.look() == [] and not place.path.exists()
    assert place.home.due is not None  # `rm -r` takes its time
    assert place.look_on() == []
    assert place.kept.numbers() == numbers
    assert place.obeyed == b"d"
    place.check()
    assert place.log.warnings == [f"{place.path} made anew: the directory before it was removed"]
    assert len(place.service.moves) == 1


def test_one_that_was_moved_away_is_left_as_by_a_supervise_that_has_ended(place: Place) -> None:
    place.path.rename(place.folder / "elsewhere")
    place.look_on()
    place.check()
    left = state_reader.decode((place.folder / "elsewhere" / "state").read_bytes())
    assert (left["machine"], left["service"]) == (ENDED, None)
    assert record.decode((place.folder / "elsewhere" / "status").read_bytes()).pid == 0
    there = StatusDir(str(place.folder / "elsewhere"))
    os.close(there.lock())  # nobody holds it
    os.close(there.fd)


def test_one_that_comes_back_in_time_is_here(place: Place) -> None:
    place.path.rename(place.folder / "elsewhere")
    place.look()
    (place.folder / "elsewhere").rename(place.path)
    assert place.look_on() == []
    assert place.log.lines == [] and place.home._repair is None
    place.check()


def test_where_something_is_to_be_written_it_is_made_at_once(place: Place) -> None:
    shutil.rmtree(place.path)
    place.machine.paused = True
    place.writer.write(None)
    assert record.decode((place.path / "status").read_bytes()).paused
    place.check()


@pytest.mark.parametrize("name", ["lock", "control", "ok"])
@pytest.mark.parametrize("planted", [None, "file", "symlink", "fifo"])
def test_what_is_missing_in_it_is_made_anew_whatever_is_in_its_place(
    place: Place, tmp_path: Path, name: str, planted: str | None
) -> None:
    path, target = place.path / name, tmp_path / "target"
    target.write_text("mine")
    path.unlink()
    if planted == "file":
        path.write_text("u\n")
    elif planted == "symlink":
        path.symlink_to(target)
    elif planted == "fifo":
        os.mkfifo(path)
    if name == "lock" and planted in ("symlink", "fifo"):
        place.look_on(10)  # what no supervise can have made is not removed: it is said
        assert any(f"cannot use {path}" in line for line in place.log.warnings)
        path.unlink()
    place.look_on()
    place.check()
    assert target.read_text() == "mine"
    assert f"{path} had been removed or replaced: made anew" in place.log.warnings


def test_the_socket_gets_its_name_back(place: Place) -> None:
    place.service.named = False
    place.look_on()
    assert place.service.moves == [None]


def test_what_cannot_be_made_is_said_once_and_tried_less_and_less_often(place: Place) -> None:
    place.path.rename(place.folder / "elsewhere")
    place.path.parent.rmdir()
    place.path.parent.write_text("in the way")
    pauses = []
    for _ in range(10):
        assert place.look() == [] and place.home.due is not None
        pauses.append(place.home.due - place.clock.now)
        place.clock.now = place.home.due
    assert pauses == sorted(pauses) and pauses[-1] <= 5.0
    (line,) = place.log.warnings
    assert line.startswith("the status directory is not in its place, trying again: ")
    place.path.parent.unlink()
    place.look_on()
    place.check()
    assert "the status directory is in its place again" in place.log.notices


def test_without_descriptors_it_is_made_when_there_are_some(place: Place) -> None:
    shutil.rmtree(place.path)
    place.look()
    before = len(os.listdir("/proc/self/fd"))
    for left in range(12):
        with few_descriptors(left):
            place.look_on(2)
        if place.path.exists() and place.home.found() == HERE:
            break
        assert len(os.listdir("/proc/self/fd")) <= before + 1  # the directory, if there is one already
    assert left > 4, place.log.lines
    assert not place.home.lost, place.log.lines
    place.check()
    assert NO_DESCRIPTORS in "".join(place.log.warnings)


# Somebody else's.


def test_another_directory_that_stays_is_somebody_elses(place: Place) -> None:
    place.path.rename(place.folder / "elsewhere")
    place.path.mkdir()
    assert place.look_on() == [("d", False), ("x", False)]
    assert place.home.lost
    assert f"{place.path} is another directory now" in place.log.errors[0]
    assert f"(pid {PID})" in (place.path / "supervise.log.wf").read_text()
    assert place.look() == []  # once is enough


def test_in_one_that_others_may_write_in_nothing_is_said(place: Place) -> None:
    place.path.rename(place.folder / "elsewhere")
    place.path.mkdir()
    place.path.chmod(0o777)
    place.look_on()
    assert place.home.lost and os.listdir(place.path) == []


def test_another_that_goes_away_again_was_that_of_a_start_that_was_refused(place: Place) -> None:
    place.path.rename(place.folder / "elsewhere")
    place.path.mkdir()
    assert place.look_on(statusdir_repair.STAYS / 2) == []
    place.path.rmdir()
    (place.folder / "elsewhere").rename(place.path)
    assert place.look_on() == [] and not place.home.lost
    place.check()


def test_one_that_another_supervise_has_locked_is_its(place: Place) -> None:
    place.path.rename(place.folder / "elsewhere")
    other = StatusDir(str(place.path))
    lock = other.lock()
    assert place.look_on() == [("d", False), ("x", False)]
    os.close(lock)
    os.close(other.fd)


def test_one_that_this_supervise_has_left_is_its_own(place: Place) -> None:
    """Moved away, made anew, and moved back over that."""
    place.path.rename(place.folder / "first")
    place.look_on()
    place.path.rename(place.folder / "second")
    (place.folder / "first").rename(place.path)
    assert place.look_on() == [] and not place.home.lost
    place.check()
