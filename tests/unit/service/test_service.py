"""One service as the loop has it, with real processes and nobody around it: starts, ends, what is left and said."""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import wait_for
from fakes import FakeLog, FakeMachine, FakeStatusWriter
from starting import Stage, children, descriptors, set_stage

from supervise.config.config import Config
from supervise.protocol import states
from supervise.protocol.exitstatus import ExitStatus
from supervise.protocol.sdnotify import parse
from supervise.runtime.reactor import Reactor
from supervise.service.service import Service

stage = pytest.fixture(set_stage)


class Room:
    """A Service, and those around it."""

    def __init__(self, stage: Stage, *command: str) -> None:
        self.log: Any = FakeLog()
        self.machine: Any = FakeMachine()
        self.machine.pid = 0
        self.status_writer: Any = FakeStatusWriter()
        self.reactor = Reactor(self.log)
        self.launcher = stage.launcher(*command)
        self.service = Service(
            self.machine, self.launcher, self.status_writer, stage.directory, stage.env, [], self.reactor, self.log
        )

    def start(self) -> int:
        """Start the service, and tell the machine so; its pid."""
        event, pid = self.service.start()
        assert event == states.STARTED, pid
        self.machine.pid, self.machine.state = pid, states.RUNNING
        return int(pid)

    def wait_readable(self) -> list[int]:
        ready = wait_for("something to be readable", lambda: self.reactor.poll(1000))
        return [fd for fd, _ in ready]

    def end(self) -> list[tuple[str, Any]]:
        """Wait for its end; the events that come of it."""
        process = self.service.process
        assert process and self.wait_readable() == [process.fd]
        return self.posted(self.service.heard()) + self.posted(self.service.ended(process))

    def posted(self, call: Any) -> list[tuple[str, Any]]:
        """What is posted by a call, in all its steps; it has returned."""
        for _ in call or ():
            pass
        found, self.reactor.posted[:] = self.reactor.posted[:], []
        return found

    def over(self) -> None:
        """The machine has done what there was to do, and so the loop settles things."""
        self.machine.pid, self.machine.state = 0, states.IDLE
        self.service.housekeeping()


@pytest.fixture
def open_before(stage: Stage) -> Iterator[None]:
    """Nothing is open and no child is there afterwards that was not before."""
    before = descriptors(), children()
    yield
    for pid in set(children()) - set(before[1]):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


# Starts and ends.


def test_a_start_is_one_event_and_its_end_another(stage: Stage, open_before: None) -> None:
    room = Room(stage, "/bin/sh", "-c", "exit 3")
    pid = room.start()
    assert room.service.process and room.service.process.pid == pid
    ((event, how),) = room.end()
    assert event == states.EXITED
    assert (how.code, how.signal) == (3, None)


def test_what_cannot_be_started_is_an_event_that_says_why(stage: Stage, open_before: None) -> None:
    room = Room(stage, "/no/such/program")
    event, how = room.service.start()
    assert event == states.FAILED
    assert isinstance(how, ExitStatus) and "No such file or directory" in (how.failure or "")
    assert room.service.process is None


def test_one_that_was_started_ahead_is_not_started_again(stage: Stage, open_before: None) -> None:
    room = Room(stage, "/bin/sleep", "1000")
    before = {*children()}
    room.service.prepare()
    room.service.spawn_ahead()
    room.service.spawn_ahead()
    (ahead,) = {*children()} - before
    assert room.service.start() == (states.STARTED, ahead)
    assert {*children()} - before == {ahead}


def test_its_end_may_come_by_being_reaped(stage: Stage, open_before: None) -> None:
    """Where the kernel has no pidfd, or the loop learns of the child first."""
    room = Room(stage, "/bin/sh", "-c", "kill -9 $$")
    pid = room.start()
    room.wait_readable()
    how = ExitStatus(signal=9)
    assert room.posted(room.service.reaped(pid, how)) == [(states.EXITED, how)]
    os.waitpid(pid, 0)


def test_a_child_that_is_not_it_is_nothing(stage: Stage, open_before: None) -> None:
    room = Room(stage, "/bin/sleep", "1000")
    pid = room.start()
    assert room.posted(room.service.reaped(pid + 1, ExitStatus(code=0))) == []
    assert room.service.process and room.service.process.pid == pid


def test_one_that_has_ended_is_let_go_of(stage: Stage, open_before: None) -> None:
    room = Room(stage, "/bin/true")
    open_then = []
    for _ in range(3):
        room.start()
        room.end()
        room.over()
        assert room.service.process is None
        open_then.append(descriptors())
    assert open_then[0] == open_then[1] == open_then[2]
    assert room.reactor.poll(0) == []
    assert room.status_writer.foretold


def test_another_main_process_takes_the_place_of_the_first(stage: Stage, open_before: None) -> None:
    room = Room(stage, "/bin/sleep", "1000")
    first = room.start()
    second = room.start()
    assert room.service.process and room.service.process.pid == second != first
    os.kill(first, signal.SIGKILL)
    assert os.waitpid(first, 0)[0] == first
    assert room.reactor.poll(0) == []


# What is left.


def test_nothing_left_is_an_event_in_cleanup_alone(stage: Stage, open_before: None) -> None:
    room = Room(stage, "/bin/true")
    room.start()
    room.end()
    assert room.service.clear("TERM") == []
    room.machine.state = states.CLEANUP
    assert room.service.clear("TERM") == [(states.CLEARED, None)]


def test_what_is_left_in_its_group_is_told_and_waited_for(stage: Stage, open_before: None) -> None:
    room = Room(stage, "/bin/sh", "-c", "sleep 1000 & exit 0")
    room.start()
    room.end()
    room.machine.state = states.CLEANUP

    def gone() -> list[tuple[str, Any]]:
        return room.posted(room.service.children_gone())

    events = room.service.clear("KILL") or wait_for("nobody to be left", gone)
    assert events == [(states.CLEARED, None)]
    assert any("sending KILL to what is left of process group" in line for line in room.log.notices)


def test_what_cannot_be_looked_at_is_not_gone(
    stage: Stage, open_before: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said, and looked at again."""
    room = Room(stage, "/bin/true")
    room.start()
    room.end()
    room.machine.state = states.CLEANUP

    def refused(_: str) -> bool:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patch:
        patch.setattr(room.service.leftovers, "clear", refused)
        assert room.service.clear("TERM") == []
    assert room.log.warnings == ["cannot look at what is left of the service: Too many open files; looking again"]
    due = room.service.rechecks.due
    assert due is not None
    assert room.posted(room.service.rechecks.on_time(due)) == [(states.CLEARED, None)]
    assert room.service.rechecks.due is None


# What it says.


def test_no_parts_where_none_are_configured(stage: Stage, open_before: None) -> None:
    room = Room(stage, "/bin/sleep", "1000")
    room.start()
    parts = room.service.parts
    assert (parts.readiness, parts.successor, parts.checks) == (None, None, None)
    assert room.posted(room.service.heard()) == []
    assert "notify" not in room.service.descriptors()


def test_what_it_says_becomes_events(stage: Stage, open_before: None) -> None:
    said = b"READY=1\nSTATUS=serving"
    room = Room(stage, "/bin/sleep", "1000")
    config = Config()
    config.notify = True
    room.machine.config = config
    room.start()
    room.machine.pid = os.getpid()  # the test is its main process, and may speak
    address = room.status_writer.notify_address
    assert address
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.connect("\0" + address[1:] if address[0] == "@" else address)
        sender.send(said)
    fd = room.service.descriptors()["notify"]
    assert fd in room.wait_readable()
    assert room.posted(room.reactor.readable(fd, select.POLLIN)) == parse(said)[0]
    room.service.close()


def test_a_stranger_is_not_believed(stage: Stage, open_before: None) -> None:
    room = Room(stage, "/bin/sleep", "1000")
    config = Config()
    config.notify = True
    room.machine.config = config
    room.start()
    address = room.status_writer.notify_address
    assert address
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.connect("\0" + address[1:] if address[0] == "@" else address)
        sender.send(b"READY=1")
    assert room.posted(room.service.heard()) == []
    (line,) = room.log.warnings
    assert line.startswith(f"dropped a notification of pid {os.getpid()} ")
    room.service.close()


@pytest.mark.parametrize("text, events", [(b"\n", [(states.SAYS_READY, None)]), (b"x", []), (b"", [])])
def test_a_line_on_the_descriptor_is_readiness(
    stage: Stage, open_before: None, text: bytes, events: list[tuple[str, Any]]
) -> None:
    room = Room(stage, "/bin/sleep", "1000")
    config = Config()
    config.notification_fd = 5
    room.machine.config = config
    room.service.prepare()
    readiness = room.service.parts.readiness
    assert readiness
    writing = readiness.open_pipe()
    os.write(writing, text)
    if not text:
        os.close(writing)
    assert room.posted(room.reactor.readable(readiness.pipe, select.POLLIN)) == events
    assert (readiness.pipe < 0) == (text != b"x")
    if text:
        os.close(writing)
    room.service.close()


def test_where_it_could_not_be_heard_it_is_not_ended_for_saying_nothing(stage: Stage, open_before: None) -> None:
    room = Room(stage, "/bin/sleep", "1000")
    room.start()
    room.machine.watchdog = 5.0
    assert room.posted(room.service.heard()) == [(states.KICK, None)]
