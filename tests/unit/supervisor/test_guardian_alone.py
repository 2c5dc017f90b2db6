"""The copy that waits for the new version, with real processes: who is the supervise after it, and what is said."""

from __future__ import annotations

import json
import os
import posix
import signal
import traceback
from typing import Any, Callable

import pytest
from apart import apart
from shortage import few_descriptors

from supervise.supervisor import guardian
from supervise.system.procfs import stat_of


class Both:
    """A supervise that makes a copy of itself and then does something, and what the copy has to say of that."""

    def __init__(self, act: Callable[[guardian.Guardian], object], replaced: bool = False) -> None:
        """`replaced`: what the new version has written is in the state."""
        reading, writing = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            try:
                signal.pthread_sigmask(signal.SIG_BLOCK, guardian.HANDLED)
                made = guardian.Guardian()
                if not made.pid:
                    said, signals = made.watch(lambda: replaced)
                    fds = len(os.listdir("/proc/self/fd"))
                    os.write(writing, json.dumps([said, signals, os.getsid(0) == os.getpid(), fds]).encode())
                    os._exit(0)
                os.close(writing)
                act(made)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(0)
        os.close(writing)
        with open(reading) as file:
            text = file.read()  # until the copy has ended, or has said it
        self.found: Any = json.loads(text) if text else None
        self.how = None

    @property
    def said(self) -> str:
        """What became of the new version; the copy goes on."""
        assert self.found, "the copy has ended"
        assert self.found[2], "it does not lead a session"
        return str(self.found[0])


def take(made: guardian.Guardian) -> None:
    """What the new version does when it is about to obey."""
    assert guardian.taken(made.kept["token"])
    os.close(made.kept["alive"])


@apart
def test_where_the_new_version_runs_the_copy_ends_without_a_word() -> None:
    both = Both(take)
    assert both.found is None
    os.waitpid(both.pid, 0)


@apart
@pytest.mark.parametrize(
    ("act", "how"),
    [
        (lambda made: os._exit(3), "exited with status 3"),
        (lambda made: os.kill(os.getpid(), signal.SIGKILL), "was killed by signal 9 (KILL)"),
        (lambda made: (os.write(made.output, b"x\nsupervise: fatal: cannot start: broken\n"), os._exit(111)), "broken"),
    ],
    ids=["status", "signal", "words"],
)
def test_where_it_ends_before_the_copy_goes_on_and_says_how(act: Any, how: str) -> None:
    assert Both(act).said == f"it ended before it supervised ({how})"


@apart
def test_one_that_has_been_reaped_by_somebody_else_is_gone_all_the_same() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for it
    assert Both(lambda made: os._exit(3)).said.startswith("it ended before it supervised (")


@apart
def test_without_a_pidfd_the_copy_goes_on_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that has none, or no descriptor left for it."""

    def refuse(_: int) -> int:
        raise OSError(24, os.strerror(24))

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    monkeypatch.setattr(posix, "pidfd_open", refuse)
    assert Both(lambda made: os._exit(3)).said.startswith("it ended before it supervised (")


@apart
def test_signals_that_it_has_not_obeyed_are_not_lost() -> None:
    def act(made: guardian.Guardian) -> None:
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGCHLD):
            os.kill(os.getpid(), number)
        os.kill(os.getpid(), signal.SIGKILL)

    both = Both(act)
    assert both.said and sorted(both.found[1]) == ["HUP", "TERM"]


@apart
def test_one_that_does_not_get_on_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guardian, "PATIENCE", 0.05)
    both = Both(lambda made: signal.pause())
    assert both.said == "it did not supervise within 0 seconds"
    assert os.waitstatus_to_exitcode(os.waitpid(both.pid, 0)[1]) == -signal.SIGKILL


@apart
def test_one_that_runs_but_has_not_said_so_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Never two: what it has written tells."""
    monkeypatch.setattr(guardian, "PATIENCE", 0.05)
    both = Both(lambda made: signal.pause(), replaced=True)
    assert both.found is None and stat_of(both.pid).running


@apart
def test_where_there_is_no_new_version_the_copy_is_ended_and_nothing_is_open() -> None:
    before, stderr = len(os.listdir("/proc/self/fd")), os.fstat(2)
    made = guardian.Guardian()
    if not made.pid:
        made.watch(lambda: False)
        os._exit(0)
    os.dup2(made.output, 2)
    made.dismiss()
    assert os.path.samestat(os.fstat(2), stderr)
    assert len(os.listdir("/proc/self/fd")) == before
    assert os.waitstatus_to_exitcode(os.waitpid(made.pid, 0)[1]) == 0


@apart
def test_one_that_has_gone_on_by_then_is_killed() -> None:
    made = guardian.Guardian()
    if not made.pid:
        signal.pause()
    assert guardian.taken(made.kept["token"])  # as the copy does
    made.dismiss()
    assert os.waitstatus_to_exitcode(os.waitpid(made.pid, 0)[1]) == -signal.SIGKILL


@apart
def test_without_descriptors_there_is_no_copy_and_nothing_is_open() -> None:
    before = os.listdir("/proc/self/fd")
    for left in range(4):
        with few_descriptors(left), pytest.raises(OSError, match="Too many open files"):
            guardian.Guardian()
        assert os.listdir("/proc/self/fd") == before


def test_the_byte_is_there_once() -> None:
    reading, writing = os.pipe2(os.O_NONBLOCK)
    os.write(writing, b"!")
    assert [guardian.taken(reading) for _ in range(2)] == [True, False]
    os.close(writing)
    assert not guardian.taken(reading)
    os.close(reading)


def test_the_last_words_of_a_process() -> None:
    file = os.memfd_create("output")
    assert guardian.last_line(file) == ""
    os.write(file, b"x" * 100_000 + b"\nfirst\nlast \xff\n\n")
    assert guardian.last_line(file) == "last \ufffd"
    guardian.let_go(file)
    guardian.let_go(file)
    assert guardian.last_line(file) == ""
