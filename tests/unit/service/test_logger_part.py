"""Loggers: when they are started, again or no more, and the pipe that they read."""

from __future__ import annotations

import os
import posix
import stat
from typing import Any

import pytest
from conftest import wait_for
from fakes import FakeLog, FakeMachine, FakeStatusWriter, FakeTime
from starting import Stage, configuration, set_stage

from supervise.protocol.states import IDLE, RUNNING
from supervise.runtime.reactor import Reactor
from supervise.service import logger
from supervise.service.logger import Loggers
from supervise.system.log_pipe import LogPipe, is_read
from supervise.system.spawn import reap
from supervise.system.statusdir import StatusDirError

stage = pytest.fixture(set_stage)
NAME = "__stdout.pipe"


class Room:
    """The loggers of a service that does not run; `time` stands still."""

    def __init__(self, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        self.time = FakeTime()
        monkeypatch.setattr(logger, "time", self.time)
        self.log: Any = FakeLog()
        self.machine: Any = FakeMachine()
        self.reactor = Reactor(self.log)
        self.status_writer: Any = FakeStatusWriter()
        self.launcher = stage.launcher("/bin/true")
        around = self.launcher, self.status_writer, self.reactor, self.log
        self.loggers = Loggers(stage.directory, *around)

    def use(self, *command: str, **more: object) -> None:
        self.loggers.configure(configuration(stdout_command=command, **more))

    def settle(self, state: str = RUNNING, pid: int = 4711) -> None:
        self.machine.state, self.machine.pid = state, pid
        self.loggers.housekeeping(self.machine)

    def at_due(self) -> None:
        """The time comes when something is due."""
        assert self.loggers.due is not None
        self.time.now = self.loggers.due
        self.loggers.on_time(self.time.now)

    @property
    def described(self) -> dict[str, Any]:
        self.settle(self.machine.state, self.machine.pid)
        (one,) = self.status_writer.loggers
        assert isinstance(one, dict)
        return one

    def reaped(self) -> None:
        """The logger has ended."""
        pid, how = wait_for("a child to end", reap)
        call = self.reactor.exited(pid)
        assert call
        call(how)


@pytest.fixture
def room(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Room:
    return Room(stage, monkeypatch)


def test_one_that_keeps_ending_is_started_less_and_less_often(room: Room) -> None:
    room.use("/bin/false")
    assert room.loggers.prepare_start() == ""
    room.settle()
    pauses = []
    for _ in range(6):
        begun = room.time.now
        room.reaped()
        assert room.loggers.due
        pauses.append(room.loggers.due - begun)
        room.at_due()
    assert pauses == [1, 2, 4, 8, 10, 10]
    room.reaped()
    assert room.described["ends"] == 7
    assert room.described["failure"] == "exited with status 1"
    assert room.log.warnings[0].endswith("exited with status 1; it is started again")
    assert room.loggers.prepare_start() == "", "a start of the service is none of it before its time"
    assert room.described["process"] is None


def test_one_that_ran_for_long_is_started_at_once(room: Room) -> None:
    room.use("/bin/sh", "-c", "read line; exit 1")
    assert room.loggers.prepare_start() == ""
    room.settle()
    room.time.now += 100
    with open(f"/proc/self/fd/{room.launcher.pipes[1]}", "wb", buffering=0) as pipe:
        pipe.write(b"a line\n")
    room.reaped()
    assert room.loggers.due == room.time.now
    room.at_due()
    assert room.described["process"]
    room.settle(IDLE, 0)
    room.reaped()
    room.settle(IDLE, 0)
    assert room.status_writer.loggers is None, "it has read all that there was"
    assert not room.loggers.lingers


def test_one_that_cannot_be_started_is_said_once(room: Room, stage: Stage) -> None:
    room.use("./missing")
    assert room.loggers.prepare_start() == ""
    room.settle()
    with open(f"/proc/self/fd/{room.launcher.pipes[1]}", "wb", buffering=0) as pipe:
        pipe.write(b"kept")
    for _ in range(3):
        room.at_due()
    assert len(room.log.warnings) == 1
    assert (room.described["waiting"], room.described["failure"]) == (4, "./missing: No such file or directory")
    room.settle(IDLE, 0)
    assert room.loggers.due, "there is something to be read"
    assert room.loggers.lingers
    room.use("/bin/cat")
    room.at_due()
    room.reaped()
    room.settle(IDLE, 0)
    assert not room.loggers.lingers
    assert stage.output("__stderr") == "kept", "where what it prints itself goes"


def test_the_descriptors_that_a_service_has_more(room: Room) -> None:
    room.use("/bin/cat", stderr_command=("/bin/cat",), notification_fd=250)
    assert room.loggers.prepare_start() == ""
    first, second = (number for _, _, number in room.launcher.guards)
    assert 250 < first < second, "beyond those that are taken"
    room.settle()
    room.settle(IDLE, 0)
    room.reaped()
    room.reaped()
    room.settle(IDLE, 0)
    assert room.status_writer.loggers is None


def test_the_pipe(stage: Stage) -> None:
    directory = stage.directory
    assert not is_read(directory, NAME)
    pipe = LogPipe.open(directory, NAME)
    found = os.stat(NAME, dir_fd=directory.fd)
    assert stat.S_ISFIFO(found.st_mode) and stat.S_IMODE(found.st_mode) == 0o600
    assert is_read(directory, NAME) and pipe.is_named(directory, NAME)
    assert not pipe.read_before
    os.write(pipe.writing, b"x" * 4096)
    other = LogPipe.open(directory, NAME)
    assert other.read_before
    pipe.close()
    assert other.waiting() == 4096, "it is there as long as anybody has it open"
    other.release()
    assert not other.ended()
    assert os.read(other.reading, 10000) == b"x" * 4096
    assert other.ended()
    other.hold(directory, NAME)
    assert not other.ended()
    os.unlink(NAME, dir_fd=directory.fd)
    assert not other.is_named(directory, NAME)
    other.close()


def test_one_that_others_could_read_is_closed_to_them(stage: Stage) -> None:
    os.mkfifo(NAME, dir_fd=stage.directory.fd)
    os.chmod(NAME, 0o666, dir_fd=stage.directory.fd)
    LogPipe.open(stage.directory, NAME).close()
    assert stat.S_IMODE(os.stat(NAME, dir_fd=stage.directory.fd).st_mode) == 0o600


def test_in_a_directory_of_another_users_it_must_be_ours(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.directory.foreign = True
    LogPipe.open(stage.directory, NAME).close()
    os.link(NAME, "other", src_dir_fd=stage.directory.fd, dst_dir_fd=stage.directory.fd)
    with pytest.raises(StatusDirError, match="it has 2 links"):
        LogPipe.open(stage.directory, NAME)
    os.unlink("other", dir_fd=stage.directory.fd)
    monkeypatch.setattr(posix, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(StatusDirError, match="it belongs to user"):
        LogPipe.open(stage.directory, NAME)


def test_a_fifo_that_may_not_be_that_large_is_used(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    real = fcntl.fcntl

    def refused(fd: int, command: int, value: int = 0) -> int:
        if command == 1031:
            raise PermissionError
        return int(real(fd, command, value))

    monkeypatch.setattr(fcntl, "fcntl", refused)
    pipe = LogPipe.open(stage.directory, NAME)
    assert real(pipe.reading, 1032) < 1 << 20
    pipe.close()
