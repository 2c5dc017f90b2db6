"""The pidfile is followed: nothing that happens to it goes unnoticed, and no helper stands between it and the loop."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from conftest import PATIENCE, rounds
from fakes import FakeLog, FakeTime

from supervise.runtime import path_follower
from supervise.runtime.inotify_lease import Watch
from supervise.runtime.reactor import Reactor
from supervise.service import pidfile
from supervise.service.pidfile import PidFile, PidFollower


class CountedWatch(Watch):
    """Real watches, set by the real helper; `armed` is how often.  `broken`: no helper can be started."""

    armed = 0
    broken = False

    def arm(self, plan: Any) -> None:
        if self.broken:
            self.close()
            raise BlockingIOError(11, os.strerror(11))
        super().arm(plan)
        self.armed += 1

    def answer(self) -> str | None:
        answer = super().answer()
        os.waitpid(self.helper, 0)
        return answer


class Following:
    """A pidfile, and of the loop what following it needs.  `found` is what the loop would have been told."""

    def __init__(self, path: Path) -> None:
        self.log: Any = FakeLog()
        self.reactor = Reactor(self.log)
        self.watch = CountedWatch(os.environb, [])
        self.file = PidFile(str(path))
        self.follower = PidFollower(self.file, self.watch, self.reactor, self.log)
        self.found: list[int] = []

    def turn(self, longest: float) -> None:
        """Wait until something happens or is due, and do what the loop does then."""
        follower = self.follower
        now = time.monotonic()
        waits = [longest] if follower.look_at is None else [longest, max(follower.look_at - now, 0)]
        for fd, events in self.reactor.poll(min(waits) * 1000):
            assert fd == follower.fd
            self.reactor.readable(fd, events)
        if follower.look_at is not None and time.monotonic() >= follower.look_at:
            pid = follower.look()
            if pid is not None:
                self.found.append(pid)

    def until(self, what: str, true: Callable[[], bool], patience: float = PATIENCE) -> None:
        end = time.monotonic() + patience
        while not true():
            left = end - time.monotonic()
            if left <= 0:
                pytest.fail(f"waited in vain for: {what}")
            self.turn(left)

    def wait_pid(self, pid: int) -> None:
        self.until(f"pid {pid}, beside {self.found}", lambda: pid in self.found)

    def wait_watching(self) -> None:
        """Wait until the watches are where the path leads, and there is nothing more to do."""
        self.until(
            "the watches to be set",
            lambda: self.watch.plan == self.file.plan() and not self.watch.arming and self.follower.look_at is None,
        )


@pytest.fixture
def following(tmp_path: Path) -> Iterator[Callable[[str], Following]]:
    before = len(os.listdir("/proc/self/fd"))
    made: list[Following] = []

    def follow(path: str) -> Following:
        made.append(Following(tmp_path / path))
        made[-1].follower.rewatch()
        made[-1].wait_watching()
        return made[-1]

    yield follow
    for each in made:
        if each.watch.arming:
            each.until("the helper to answer", lambda each=each: not each.watch.arming)  # type: ignore[misc]
        each.follower.close()
        assert each.follower.fd == -1 and each.follower.look_at is None and each.reactor.poll(0) == []
    assert len(os.listdir("/proc/self/fd")) == before


Follow = Callable[[str], Following]


def replace(path: Path, text: str) -> None:
    new = path.with_name(path.name + ".new")
    new.write_text(text)
    new.rename(path)


def test_a_file_that_was_there_before(following: Follow, tmp_path: Path) -> None:
    (tmp_path / "pid").write_text("100\n")
    assert following("pid").found == [100]


def test_no_helper_stands_between_a_change_and_the_loop(following: Follow, tmp_path: Path) -> None:
    """However the file changes, as long as its directory stays."""
    path = tmp_path / "pid"
    here = following("pid")
    path.write_text("100\n")  # made, then written
    here.wait_pid(100)
    path.write_text("101\n")  # in place
    here.wait_pid(101)
    replace(path, "102\n")
    here.wait_pid(102)
    # What nginx does: the old one's file gets another name, and the new one makes its own.
    path.rename(tmp_path / "pid.oldbin")
    path.write_text("103\n")
    here.wait_pid(103)
    path.unlink()
    here.until("its absence to be seen", lambda: not here.file.present)
    (tmp_path / "beside").write_text("104\n")
    path.symlink_to("beside")
    here.wait_pid(104)
    path.unlink()
    path.write_text("105\n")
    here.wait_pid(105)
    assert here.found == [100, 101, 102, 103, 104, 105]
    assert here.watch.armed == 1
    assert here.log.lines == []


def test_what_is_written_in_two_parts_is_read_when_it_is_closed(following: Follow, tmp_path: Path) -> None:
    here = following("pid")
    with (tmp_path / "pid").open("w") as file:
        here.until("the empty file to be seen", lambda: here.file.present)
        assert here.found == []
        file.write("100\n")
    here.wait_pid(100)


def test_a_writer_that_keeps_a_new_file_open(following: Follow, tmp_path: Path) -> None:
    """To hold a lock on it: no event tells of the write."""
    here = following("pid")
    with (tmp_path / "pid").open("w") as file:
        here.until("the empty file to be seen", lambda: here.file.present)
        file.write("100\n")
        file.flush()
        here.wait_pid(100)
        assert here.follower.look_at is None


def test_a_writer_that_keeps_an_old_file_open(following: Follow, tmp_path: Path) -> None:
    """Not even that the file was opened is told; but a new pid is expected."""
    (tmp_path / "pid").write_text("100\n")
    here = following("pid")
    here.follower.expect()
    here.turn(PATIENCE)
    assert here.found == [100]
    with (tmp_path / "pid").open("r+") as file:
        file.write("101\n")
        file.flush()
        here.wait_pid(101)
        assert here.follower.look_at is None


@pytest.mark.parametrize("text", [None, ""])
def test_what_does_not_come_is_given_up(
    following: Follow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None
) -> None:
    """A file that stays empty, and an expectation that nothing comes of."""
    here = following("pid")
    if text is None:
        here.follower.expect()
    else:
        (tmp_path / "pid").write_text(text)
        here.until("the empty file to be seen", lambda: here.file.present)
    clock = FakeTime()
    for module in (path_follower, pidfile):
        monkeypatch.setattr(module, "time", clock)
    pauses = []
    while here.follower.look_at is not None:
        pauses.append(here.follower.look_at - clock.now)
        assert here.follower.look() is None  # without waiting until it is due
        assert len(pauses) < 15
    assert pauses[1:] == sorted(pauses[1:]) and len(pauses) > 5
    assert 2 < sum(pauses[1:]) < 4  # seconds, after the look that was due


def test_a_directory_that_is_made_later(following: Follow, tmp_path: Path) -> None:
    here = following("run/app/pid")
    (tmp_path / "run" / "app").mkdir(parents=True)
    (tmp_path / "run" / "app" / "pid").write_text("100\n")
    here.wait_pid(100)
    here.wait_watching()
    shutil.rmtree(tmp_path / "run")
    here.until("its absence to be seen", lambda: not here.file.present)
    here.wait_watching()
    (tmp_path / "run" / "app").mkdir(parents=True)
    here.wait_watching()
    (tmp_path / "run" / "app" / "pid").write_text("101\n")
    here.wait_pid(101)


def test_through_symlinks(following: Follow, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "var").mkdir()
    (tmp_path / "srv").mkdir()
    (tmp_path / "var" / "run").symlink_to("../run")
    (tmp_path / "run" / "pid").symlink_to(tmp_path / "srv" / "real")
    here = following("var/run/pid")
    armed = here.watch.armed
    (tmp_path / "srv" / "real").write_text("100\n")
    here.wait_pid(100)
    replace(tmp_path / "srv" / "real", "101\n")
    here.wait_pid(101)
    assert here.watch.armed == armed
    replace(tmp_path / "run" / "pid", "102\n")  # where the symlink was
    here.wait_pid(102)
    here.wait_watching()
    (tmp_path / "run" / "pid").write_text("103\n")
    here.wait_pid(103)


def test_changes_while_the_watches_are_being_set(tmp_path: Path, following: Follow) -> None:
    """None of many may be the last one that goes unnoticed, whatever phase it falls in."""
    for number in range(100, 100 + rounds(10, 20)):
        folder = tmp_path / str(number)
        here = Following(folder / "pid")
        here.follower.rewatch()
        folder.mkdir()
        for _ in range(number % 5):
            here.turn(0.01)
        (folder / "pid").write_text(f"{number}\n")
        here.wait_pid(number)
        here.wait_watching()
        here.follower.close()


def test_a_pid_that_the_loop_has_read_by_itself_is_not_told_again(following: Follow, tmp_path: Path) -> None:
    here = following("pid")
    (tmp_path / "pid").write_text("100\n")
    assert here.file.read() == 100
    here.turn(PATIENCE)
    here.wait_watching()
    assert here.found == []


def test_a_busy_directory_is_not_looked_at_with_each_event(
    following: Follow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = following("pid")
    looks: list[float] = []
    look = here.follower.look
    monkeypatch.setattr(here.follower, "look", lambda: looks.append(0.0) or look())
    began = time.monotonic()
    for number in range(1000):
        (tmp_path / "other").write_text(str(number))
        here.turn(0)
    took = time.monotonic() - began
    # At once twenty times a second, else one look in 50 ms.
    assert len(looks) <= (20 + 20) * (took + 1)
    (tmp_path / "pid").write_text("100\n")
    here.wait_pid(100)


def test_nothing_is_done_where_nothing_happens(following: Follow, tmp_path: Path) -> None:
    (tmp_path / "pid").write_text("100\n")
    here = following("pid")
    assert here.follower.look_at is None
    assert here.reactor.poll(300) == []


def test_without_watches_there_is_one_warning(
    following: Follow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And another try later; the file can be read all the while."""
    here = Following(tmp_path / "pid")
    here.watch.broken = True
    for _ in range(2):
        here.follower.rewatch()
        assert here.follower.fd == -1
        assert here.follower.look_at is not None and here.follower.look_at > time.monotonic()
    assert here.log.warnings == [
        f"changes of {tmp_path}/pid may go unnoticed (cannot start the helper that sets the watches: "
        "Resource temporarily unavailable); it is still read when the main process ends"
    ]
    here.watch.broken = False
    (tmp_path / "pid").write_text("100\n")
    assert here.follower.look() == 100
    here.wait_watching()
    (tmp_path / "pid").write_text("101\n")
    here.wait_pid(101)
    assert len(here.log.warnings) == 1
    here.follower.close()


def test_a_helper_that_does_not_answer_is_ended(
    following: Follow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Following(tmp_path / "pid")
    monkeypatch.setattr("supervise.runtime.path_follower.PATIENCE", 0.2)
    monkeypatch.setattr("supervise.system.helper.script", lambda name: str(tmp_path / "slow.py"))
    (tmp_path / "slow.py").write_text("import signal\nsignal.pause()\n")
    here.follower.rewatch()
    # A look meanwhile, for another reason, does not let it off.
    here.follower.expect()
    here.until("the warning", lambda: bool(here.log.warnings))
    assert "does not answer" in here.log.warnings[0]
    assert not here.watch.arming and here.follower.fd == -1
    os.waitpid(here.watch.helper, 0)
    here.follower.rewatch()  # not with the same plan
    assert not here.watch.arming
    here.follower.close()


def test_closing_while_the_watches_are_being_set(following: Follow, tmp_path: Path) -> None:
    here = Following(tmp_path / "pid")
    here.follower.rewatch()
    here.follower.close()
    assert here.follower.fd == -1 and here.follower.look_at is None
    os.waitpid(here.watch.helper, 0)
    here.follower.rewatch()  # and again
    here.wait_watching()
    (tmp_path / "pid").write_text("100\n")
    here.wait_pid(100)
    here.follower.close()
