"""What a service says, through real sockets and pipes: whom supervise believes, what it drops, and when it is deaf."""

from __future__ import annotations

import os
import select
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeLog, FakeTime
from shortage import NO_DESCRIPTORS, few_descriptors

from supervise.config.config import Config
from supervise.protocol.states import MAIN, SAYS_READY, SAYS_STOPPING, SAYS_TEXT
from supervise.runtime.reactor import Reactor
from supervise.service import notify_access, readiness
from supervise.system.statusdir import StatusDir

ME = os.getpid


class Room:
    """The ears of a supervise.  `members` and `formers`: the processes that the service has, and had as main ones."""

    def __init__(self, folder: Path) -> None:
        self.status = folder / "status" / "app"
        self.directory = StatusDir(str(self.status))
        self.log: Any = FakeLog()
        self.reactor = Reactor(self.log)
        self.readiness = self.another()
        self.members = {ME()}
        self.formers: set[int] = set()

    def another(self) -> readiness.Readiness:
        env = {b"SUPERVISE_STATUS_DIR": os.fsencode(self.status)}
        nobody: Any = None  # whoever is told of another configuration
        return readiness.Readiness(self.directory, env, nobody, nobody, self.reactor, self.log, lambda _: None)

    def listen(self, address: str | None = None) -> str:
        return self.readiness.listen(Config(), os.fsencode(self.status), address)

    def heard(self, all: bool = False) -> list[tuple[str, Any, int]]:
        """What the loop would be told now."""
        messages = self.readiness.heard(lambda: 1, self.members.__contains__, self.formers.__contains__, all)
        return [event for message in messages for event in message]

    def piped(self, which: readiness.Readiness | None = None) -> list[tuple[str, Any]]:
        """What is posted when the pipe is read now."""
        (which or self.readiness).pipe_readable()
        posted = self.reactor.posted[:]
        self.reactor.posted.clear()
        return posted

    def old_sockets(self) -> int:
        """How many earlier sockets the version that replaces it would be handed over."""
        return len([name for name in self.readiness.handover() if name.startswith("notify_former")])


@pytest.fixture(params=["path", "abstract"])
def room(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Room]:
    """By path, as for a service of supervise's own user; or abstract, as where root may become anybody."""
    before = len(os.listdir("/proc/self/fd"))
    made = Room(tmp_path)
    monkeypatch.setattr(readiness.os, "geteuid", lambda: 4711 if request.param == "path" else 0)
    yield made
    made.readiness.close(leaving=False)
    os.close(made.directory.fd)
    assert made.reactor.poll(0) == []
    assert len(os.listdir("/proc/self/fd")) == before


def connected(address: str) -> socket.socket:
    sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sender.connect("\0" + address[1:] if address[0] == "@" else address)
    sender.setblocking(False)
    return sender


def say(address: str, *said: bytes) -> None:
    with connected(address) as sender:
        for data in said:
            sender.send(data)


# The socket.


def test_what_a_process_of_the_service_says_is_events_in_their_order(room: Room) -> None:
    address = room.listen()
    say(address, b"STATUS=loading", b"READY=1", b"STOPPING=1")
    assert [fd for fd, _ in room.reactor.poll(1000)] == [room.readiness.socket]
    assert room.heard() == [(SAYS_TEXT, "loading", ME()), (SAYS_READY, None, ME()), (SAYS_STOPPING, None, ME())]
    assert room.heard() == [] and room.log.lines == []


def test_it_is_the_same_socket_as_long_as_it_will_do(room: Room) -> None:
    address = room.listen()
    fd = room.readiness.socket
    assert (room.listen(), room.readiness.socket) == (address, fd)


def test_a_stranger_is_dropped_and_said_so_and_then_only_counted(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeTime()
    monkeypatch.setattr(readiness, "time", clock)
    address, room.members = room.listen(), set()
    for _ in range(4):
        say(address, b"READY=1")
        assert room.heard() == []
    who = f"of pid {ME()} (uid {os.getuid()}): not a process of this service"
    assert room.log.warnings == [f"dropped a notification {who}"]
    clock.now += 3600
    say(address, b"READY=1")
    room.heard()
    assert room.log.warnings[1:] == [f"dropped a notification {who} (and 3 more since the last)"]


def test_what_is_malformed_is_said_and_the_rest_counts(room: Room) -> None:
    say(room.listen(), b"WATCHDOG_USEC=soon\nREADY=1")
    assert room.heard() == [(SAYS_READY, None, ME())]
    (line,) = room.log.warnings
    assert line.startswith(f"notification of pid {ME()}: WATCHDOG_USEC=soon: ")


def test_a_former_main_process_may_only_say_who_succeeds_it(room: Room) -> None:
    room.formers = {ME()}
    say(room.listen(), b"READY=1\nMAINPID=4711", b"STOPPING=1")
    assert room.heard() == [(MAIN, 4711, ME())]


def test_after_a_burst_of_strangers_it_is_deaf_for_a_moment_and_then_hears_what_has_come(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FakeTime()
    for module in (readiness, notify_access):
        monkeypatch.setattr(module, "time", clock)
    address, room.members = room.listen(), set()
    pauses = []
    for _ in range(3):
        say(address, *[b"READY=1"] * 9)
        room.heard(all=True)
        assert room.readiness.resume_at is not None
        pauses.append(room.readiness.resume_at - clock.now)
        clock.now = room.readiness.resume_at
    assert pauses == sorted(pauses) and pauses[0] < pauses[-1] < 1
    room.members = {ME()}
    clock.now += 10
    say(address, b"READY=1")
    assert room.reactor.poll(0) == []  # the socket is left alone: the loop comes at `resume_at`
    assert room.heard() == [(SAYS_READY, None, ME())]
    assert room.readiness.resume_at is None
    say(address, b"READY=1")
    assert room.reactor.poll(1000)


def test_only_a_portion_is_heard_in_a_turn_unless_it_is_the_last(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "_AT_ONCE", 3 * readiness._OWN)  # the queue may hold as few as ten
    address = room.listen()
    for all, heard in ((False, 3), (True, 5)):
        say(address, *[b"READY=1"] * 4)
        assert len(room.heard(all)) == heard


# Where it cannot be had, or has lost its name.


def test_without_descriptors_it_cannot_be_had_and_that_is_said(room: Room) -> None:
    with few_descriptors():
        assert room.listen() == ""
        assert room.readiness.open_pipe() == -1
    assert room.log.warnings == [
        f"notifications of the service cannot be received: cannot make a notify socket: {NO_DESCRIPTORS}",
        f"cannot make a pipe for notification_fd: {NO_DESCRIPTORS}",
    ]
    assert room.heard() == [] and room.readiness.is_named()
    say(room.listen(), b"READY=1")
    assert room.heard() == [(SAYS_READY, None, ME())]


@pytest.mark.parametrize("room", ["path"], indirect=True)
@pytest.mark.parametrize("kind", ["symlink", "directory"])
def test_what_stands_in_its_place_is_not_touched(room: Room, tmp_path: Path, kind: str) -> None:
    target = tmp_path / "target"
    target.write_text("mine")
    path = room.status / "notify"
    path.mkdir() if kind == "directory" else path.symlink_to(target)
    assert room.listen() == ""
    assert room.log.warnings == [
        f"notifications of the service cannot be received: cannot use {path}: is a {kind}, not a socket"
    ]
    assert target.read_text() == "mine" and os.path.lexists(path)


@pytest.mark.parametrize("room", ["path"], indirect=True)
def test_one_that_has_lost_its_name_is_made_anew_and_the_old_is_heard_as_well(room: Room) -> None:
    address = room.listen()
    with connected(address) as old:
        (room.status / "notify").unlink()
        assert not room.readiness.is_named()
        room.readiness.moved(None)
        assert room.readiness.is_named() and room.old_sockets() == 1
        say(address, b"READY=1")
        old.send(b"STOPPING=1")
        assert room.heard() == [(SAYS_STOPPING, None, ME()), (SAYS_READY, None, ME())]
    room.readiness.close_old_sockets()
    assert room.old_sockets() == 0


@pytest.mark.parametrize("room", ["path"], indirect=True)
def test_in_another_directory_it_stays_the_one_that_senders_are_connected_to(room: Room, tmp_path: Path) -> None:
    address = room.listen()
    there, old = tmp_path / "there", os.dup(room.directory.fd)
    there.mkdir()
    new = os.open(there, os.O_RDONLY | os.O_DIRECTORY)
    os.dup2(new, room.directory.fd, inheritable=False)
    with connected(address) as sender:
        room.readiness.moved(old)
        sender.send(b"READY=1")
        assert room.heard() == [(SAYS_READY, None, ME())]
    assert (there / "notify").is_socket() and not (room.status / "notify").exists()
    assert room.old_sockets() == 0
    os.close(old)
    os.close(new)


def test_an_abstract_one_has_no_name_to_lose(room: Room) -> None:
    address = room.listen()
    shutil.rmtree(room.status)
    assert room.readiness.is_named() == (address[0] == "@")


def test_the_version_that_replaces_it_listens_on_the_same_descriptors(room: Room) -> None:
    address = room.listen()
    say(address, b"READY=1")
    writing = room.readiness.open_pipe()
    replaced, following = room.readiness, room.another()
    kept = {"notify": replaced.socket, "notification": replaced.pipe}
    descriptors = {**{name: os.dup(fd) for name, fd in kept.items()}, "other": -1}
    following.restore({"descriptors": descriptors, "notify_address": address})
    for fd in kept.values():  # the exec keeps them open, and nothing of what was in memory
        room.reactor.unregister(fd)
    room.readiness = following
    assert room.heard() == [(SAYS_READY, None, ME())]
    os.write(writing, b"\n")
    assert room.piped(following) == [(SAYS_READY, None)]
    os.close(writing)
    os.close(replaced.pipe)


# The pipe.


def test_a_line_is_ready_and_what_follows_is_not_read(room: Room) -> None:
    writing = room.readiness.open_pipe()
    fd = room.readiness.pipe
    assert room.piped() == []  # nothing yet
    os.write(writing, b"loading")
    room.reactor.readable(fd, select.POLLIN)
    assert room.reactor.posted == [] and room.readiness.pipe == fd
    os.write(writing, b" ready\nmore")
    room.reactor.readable(fd, select.POLLIN)
    assert room.readiness.pipe == -1 and room.piped() == [(SAYS_READY, None)]
    os.close(writing)


def test_one_that_closes_it_is_not_ready(room: Room) -> None:
    os.close(room.readiness.open_pipe())
    assert room.piped() == []
    assert room.readiness.pipe == -1 and room.reactor.poll(0) == []


def test_each_start_has_a_pipe_of_its_own(room: Room) -> None:
    first = room.readiness.open_pipe()
    second = room.readiness.open_pipe()
    with pytest.raises(BrokenPipeError):
        os.write(first, b"\n")  # what the process before it says is about that
    os.write(second, b"\n")
    assert room.piped() == [(SAYS_READY, None)]
    os.close(first)
    os.close(second)
