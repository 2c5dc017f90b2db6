"""The letter `e`: a new version is tried, executed or refused; what is tried and executed here are a shell's lines."""

from __future__ import annotations

import os
import posix
import signal
import sys
from typing import Any

import pytest
from apart import apart
from conftest import wait_for
from fakes import FakeLog, FakeReplaceable
from shortage import NO_DESCRIPTORS, few_descriptors

from supervise.protocol.exitstatus import ExitStatus
from supervise.protocol.options import Options
from supervise.runtime.reactor import Reactor
from supervise.supervisor import upgrade
from supervise.system.spawn import HANDLED, reap

REFUSED = "not replaced by the installed version: "


class Room:
    """An Upgrader, and the lines that the new version consists of."""

    def __init__(self, lines: str = "exit 0") -> None:
        self.lines = lines
        self.log: Any = FakeLog()
        self.reactor = Reactor(self.log)
        self.supervisor = FakeReplaceable(Options("status/app", ["app"]))
        self.upgrader = upgrade.Upgrader(self.supervisor, self.reactor, [], self.log)  # type: ignore[arg-type]

    def try_it(self) -> None:
        """From `e` until the trial has ended and that was told."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(upgrade, "interpreter", lambda *_: ["/bin/sh", "-c", self.lines])
            patch.setattr(sys, "executable", "/bin/sh")
            self.upgrader.attempt()
            while self.upgrader.due is not None:
                pid, how = wait_for("the trial to end", reap)
                call = self.reactor.exited(pid)
                assert call
                call(how)

    @property
    def refusals(self) -> list[str]:
        """Why it was not replaced; each is counted for those who look from outside."""
        assert len(self.log.warnings) == self.supervisor.refusals
        return [line[len(REFUSED) :] for line in self.log.warnings]


# Rule 1: the trial.


@apart
@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ("echo first >&2; echo 'it is broken' >&2; exit 7", "its trial exited with status 7: it is broken"),
        ("kill -9 $$", "its trial was killed by signal 9 (KILL): "),
    ],
)
def test_one_that_fails_its_trial_is_refused_with_its_last_words(lines: str, why: str) -> None:
    room = Room(lines)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(2):
        room.try_it()
    assert room.refusals == [why, why]
    assert room.supervisor.handovers == [(True, {})] * 2
    assert len(os.listdir("/proc/self/fd")) == before and room.upgrader.due is None


@apart
def test_it_is_told_what_it_would_be_told() -> None:
    room = Room("tr '\\000' ' ' >&2; exit 1")
    room.supervisor.options = Options("status/app", ["app"], foreground=True)
    room.try_it()
    said = room.supervisor.options.encode().replace(b"\0", b" ").decode()
    assert room.refusals == [f"its trial exited with status 1: {said.strip()}"]


@apart
def test_another_letter_meanwhile_begins_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upgrade, "interpreter", lambda *_: ["/bin/sleep", "86399"])
    room = Room()
    room.upgrader.attempt()
    room.upgrader.attempt()
    assert room.log.notices == ["an upgrade is being tried already"]
    assert len(room.supervisor.handovers) == 1


@apart
def test_one_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upgrade, "interpreter", lambda *_: ["/bin/sleep", "86399"])
    room = Room()
    room.upgrader.attempt()
    due = room.upgrader.due
    assert due is not None

    def ended() -> bool:
        """What the loop does where the signal that tells of the end was lost, too."""
        room.upgrader.on_time(due)
        return room.upgrader.due is None

    wait_for("its end", ended)
    assert room.refusals == ["its trial was killed by signal 9 (KILL): "]
    room.upgrader.on_time(due)
    assert len(room.refusals) == 1


@apart
def test_without_descriptors_it_cannot_be_tried() -> None:
    room = Room()
    for left in range(2):
        with few_descriptors(left):
            room.try_it()
    assert room.refusals == [f"it cannot be tried: {NO_DESCRIPTORS}"] * 2
    assert room.upgrader.due is None


# Rules 2 to 5: the exec.


@apart
def test_between_two_processes_it_is_refused() -> None:
    room = Room()
    room.supervisor.kept = None
    room.try_it()
    assert room.refusals == ["the service is between two processes just now"]


@apart
def test_where_supervise_ends_nothing_is_replaced() -> None:
    room = Room()
    room.try_it()
    assert room.log.lines == [] and len(room.supervisor.handovers) == 1


@apart
def test_an_exec_that_fails_leaves_everything_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    room = Room()
    kept = os.open(os.devnull, os.O_RDONLY)
    room.supervisor.kept = [kept]
    before, stderr = sorted(os.listdir("/proc/self/fd")), os.fstat(2)

    def refuse(*_: object) -> None:
        assert os.get_inheritable(kept)
        raise OSError(12, os.strerror(12))

    monkeypatch.setattr(posix, "execve", refuse)
    room.try_it()
    assert room.refusals == ["it cannot be executed: Cannot allocate memory"]
    assert sorted(os.listdir("/proc/self/fd")) == before
    assert os.path.samestat(os.fstat(2), stderr) and not os.get_inheritable(kept)
    assert os.path.samestat(os.fstat(0), os.stat(os.devnull))
    assert not set(HANDLED) & signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert room.supervisor.signals is None


@apart
def test_without_descriptors_nothing_is_executed() -> None:
    room = Room()
    room.supervisor.kept = [0]
    before = os.listdir("/proc/self/fd")
    with pytest.MonkeyPatch.context() as patch, few_descriptors(3):
        patch.setattr(upgrade, "Trial", lambda *_: pytest.fail("it is not tried again"))
        room.upgrader.ended(ExitStatus(code=0))
    assert room.refusals == [f"it cannot be executed: {NO_DESCRIPTORS}"]
    assert os.listdir("/proc/self/fd") == before


@apart
@pytest.mark.parametrize(
    ("lines", "how"),
    [
        ("exit 3", "exited with status 3"),
        ("echo supervise: fatal: cannot start: no luck >&2; exit 111", "no luck"),
    ],
)
def test_where_it_ends_too_early_a_copy_goes_on_as_the_old_version(lines: str, how: str) -> None:
    """With the signals that came meanwhile, and as a subreaper."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        room = Room(f"if test -e /proc/self/fd/{writing}; then kill -HUP $$; {lines}; fi")
        room.supervisor.kept = [writing]
        room.try_it()
        said = f"{room.refusals} {room.supervisor.signals} {os.getpid()}"
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    with open(reading) as file:
        text = file.read()
    os.waitpid(pid, 0)
    copy = text.split()[-1]
    assert copy != str(pid)
    assert text == f"['it ended before it supervised ({how}): the old version goes on as pid {copy}'] ['HUP'] {copy}"


@apart
def test_the_new_version_is_in_the_same_process_with_what_is_kept() -> None:
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        room = Room(f"test -e /proc/self/fd/{writing} && echo $$ >/proc/self/fd/{writing}; exit 0")
        room.supervisor.kept = [writing]
        room.try_it()
        os._exit(0)
    os.close(writing)
    with open(reading) as file:
        assert file.readline() == f"{pid}\n"
    os.waitpid(pid, 0)
