"""Following a path, with real watches and the real helper: when it is to be looked at, and what if that fails."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from conftest import PATIENCE
from fakes import FakeLog, FakeTime
from shortage import NO_DESCRIPTORS, few_descriptors

from supervise.config.file import watch_plan
from supervise.runtime import path_follower
from supervise.runtime.inotify_lease import Watch
from supervise.runtime.reactor import Reactor
from supervise.system.spawn import reap


class Subject:
    """A file that has changed when its text has."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.seen = self._text()

    def _text(self) -> str | None:
        try:
            return Path(self.path).read_text()
        except OSError:
            return None

    def changed(self) -> bool:
        return self._text() != self.seen

    def plan(self) -> Any:
        return watch_plan(self.path)


class Follower(path_follower.PathFollower):
    """One that keeps what it has seen, in `found`."""

    def __init__(self, subject: Subject, watch: Watch, reactor: Reactor, log: Any) -> None:
        super().__init__(subject, watch, reactor, log)
        self.subject = subject
        self.found: list[str | None] = []

    def look(self) -> None:
        self._due()
        if self.subject.changed():
            self.subject.seen = self.subject._text()
            self.found.append(self.subject.seen)
        self.rewatch()


class Desk:
    """A follower, and of the loop what it needs."""

    def __init__(self, path: Path) -> None:
        self.log: Any = FakeLog()
        self.reactor = Reactor(self.log)
        self.watch = Watch(os.environb, [])
        self.follower = Follower(Subject(path), self.watch, self.reactor, self.log)

    def turn(self, longest: float) -> None:
        """What the loop does in a turn: poll, reap, look."""
        look_at = self.follower.look_at
        seconds = longest if look_at is None else max(min(longest, look_at - time.monotonic()), 0)
        for fd, events in self.reactor.poll(seconds * 1000):
            self.reactor.readable(fd, events)
        self.reap()
        if self.follower.look_at is not None and time.monotonic() >= self.follower.look_at:
            self.follower.look()

    def reap(self) -> None:
        """Tell of the helper's end, if it has ended."""
        done = reap(self.watch.helper) if self.watch.helper else None
        call = self.reactor.exited(done[0]) if done else None
        if done and call:
            call(done[1])

    def until(self, what: str, true: Callable[[], object]) -> None:
        end = time.monotonic() + PATIENCE
        while not true():
            left = end - time.monotonic()
            assert left > 0, f"waited in vain for: {what}"
            self.turn(min(left, 0.05))  # the end of a helper is no event of poll's

    def wait_watching(self) -> None:
        self.until("the watches", lambda: self.follower.watching and not self.watch.helper)
        self.until("nothing to be due", lambda: self.follower.look_at is None)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    (tmp_path / "conf").write_text("before")
    before = len(os.listdir("/proc/self/fd"))
    made = Desk(tmp_path / "conf")
    yield made
    made.follower.close()
    if made.watch.helper:
        os.kill(made.watch.helper, signal.SIGKILL)
        os.waitpid(made.watch.helper, 0)
    assert made.reactor.poll(0) == []
    assert len(os.listdir("/proc/self/fd")) == before


def watched(desk: Desk) -> Desk:
    desk.follower.rewatch()
    desk.wait_watching()
    return desk


def test_it_is_watched_once_and_by_no_process(desk: Desk) -> None:
    watched(desk)
    fd = desk.follower.fd
    desk.follower.rewatch()
    assert (desk.follower.fd, desk.watch.arming, desk.watch.helper) == (fd, False, 0)
    assert desk.log.lines == []


def test_a_change_is_looked_at_when_an_editor_is_done_with_it(desk: Desk, tmp_path: Path) -> None:
    watched(desk)
    (tmp_path / "conf").write_text("after")
    desk.until("the change", lambda: desk.follower.found)
    assert desk.follower.found == ["after"]


def test_what_changes_while_the_watches_are_set_is_not_missed(desk: Desk, tmp_path: Path) -> None:
    desk.follower.rewatch()
    assert desk.watch.arming and not desk.follower.watching
    (tmp_path / "conf").write_text("after")
    desk.wait_watching()
    assert desk.follower.found == ["after"]


def test_a_path_that_goes_away_and_comes_back_is_followed(desk: Desk, tmp_path: Path) -> None:
    watched(desk)
    (tmp_path / "conf").unlink()
    desk.until("its absence", lambda: desk.follower.found == [None])
    desk.wait_watching()
    (tmp_path / "conf").write_text("again")
    desk.until("its return", lambda: desk.follower.found == [None, "again"])


def test_where_a_symlink_leads_elsewhere_that_is_watched(desk: Desk, tmp_path: Path) -> None:
    watched(desk)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "conf").write_text("other")
    (tmp_path / "link").symlink_to("other/conf")
    (tmp_path / "link").rename(tmp_path / "conf")
    desk.until("the other", lambda: desk.follower.found == ["other"])
    desk.wait_watching()
    (tmp_path / "other" / "conf").write_text("changed there")
    desk.until("its change", lambda: desk.follower.found == ["other", "changed there"])
    shutil.rmtree(tmp_path / "other")
    desk.until("its absence", lambda: desk.follower.found[-1] is None)


def test_one_that_is_closed_can_begin_again(desk: Desk, tmp_path: Path) -> None:
    watched(desk)
    desk.follower.close()
    assert (desk.follower.fd, desk.follower.look_at, desk.follower.watching) == (-1, None, False)
    (tmp_path / "conf").write_text("meanwhile")
    watched(desk)
    assert desk.follower.found == ["meanwhile"]


# The helper fails.


def test_without_a_helper_there_is_one_warning_and_another_try(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    with few_descriptors():
        desk.follower.rewatch()
        desk.follower.look()
    assert desk.log.warnings == [
        f"changes of {desk.follower.subject.path} may go unnoticed (cannot start the helper that sets the watches: "
        f"{NO_DESCRIPTORS}); it is not looked at again"
    ]
    assert desk.follower.look_at is not None and desk.follower.fd == -1
    desk.follower.look()
    desk.wait_watching()


def test_one_that_is_killed_is_said_with_how_it_ended(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("supervise.runtime.inotify_lease.helper.start", start_silent)
    desk.follower.rewatch()
    os.kill(desk.watch.helper, signal.SIGKILL)
    desk.until("its end", lambda: desk.watch.helper == 0)
    (line,) = desk.log.warnings
    assert "the helper that sets the watches was killed by signal 9 (KILL)" in line


def start_silent(name: str, words: list[str], env: Any, ignored: Any, fd: int) -> int:
    """A helper that has the socket, and never says a word."""
    actions = [(os.POSIX_SPAWN_DUP2, fd, 0)]
    return os.posix_spawn("/bin/sleep", ["sleep", "86399"], os.environb, file_actions=actions, setsid=True)


def test_one_that_does_not_answer_is_ended_and_not_tried_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeTime()
    monkeypatch.setattr(path_follower, "time", clock)
    monkeypatch.setattr("supervise.runtime.inotify_lease.helper.start", start_silent)
    desk.follower.rewatch()
    helper, look_at = desk.watch.helper, desk.follower.look_at
    assert look_at == clock.now + path_follower.PATIENCE
    clock.now = look_at
    desk.follower.look()
    assert os.waitstatus_to_exitcode(os.waitpid(helper, 0)[1]) == -signal.SIGKILL
    desk.watch.helper = 0
    assert "does not answer" in desk.log.warnings[0] and len(desk.log.warnings) == 1
    desk.follower.rewatch()
    assert (desk.follower.fd, desk.follower.look_at, desk.watch.arming) == (-1, None, False)


def test_one_that_has_answered_in_time_is_believed_however_late_that_is_seen(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FakeTime()
    monkeypatch.setattr(path_follower, "time", clock)
    desk.follower.rewatch()
    assert desk.reactor.poll(PATIENCE * 1000)
    clock.now += path_follower.PATIENCE + 1
    desk.follower.look()
    assert desk.follower.watching and desk.log.lines == []
    monkeypatch.undo()
    desk.wait_watching()
