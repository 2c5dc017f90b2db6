"""What a service leaves behind, with real orphans: who is told to end, who is waited for, who is named."""

from __future__ import annotations

import os
import posix
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from apart import apart
from conftest import wait_for
from fakes import FakeLog, FakeMachine, FakeStatusWriter
from shortage import few_descriptors

from supervise.protocol.options import NO_ORPHANS
from supervise.runtime.reactor import Reactor
from supervise.service.leftovers import Leftovers
from supervise.system import start_tag
from supervise.system.members import own_children
from supervise.system.pidfd import Process
from supervise.system.procfs import stat_of
from supervise.system.spawn import HELPERS, reap

SLEEP = "sleep 86399"
DEAF = "trap '' TERM; echo $$ >deaf; while :; do sleep 86399; done"


class Room:
    """What is left of a service that ran the lines of a script; they are done when it is made."""

    def __init__(self, folder: Path, *lines: str, killasgroup: bool | str = True) -> None:
        os.chdir(folder)
        self.log: Any = FakeLog()
        self.machine: Any = FakeMachine()
        self.machine.config.killasgroup = killasgroup
        self.status_writer: Any = FakeStatusWriter()
        self.reactor = Reactor(self.log)
        self.main = 0
        self.leftovers = Leftovers(
            self.machine, self.status_writer, self.reactor, self.log, lambda: self.main, lambda _: None
        )
        self.leftovers.configure(killasgroup)
        self.process = self.end(*lines)
        self.leftovers.after(self.process)

    def end(self, *lines: str) -> Process:
        """A main process that has done this and ended, and was reaped."""
        script = "\n".join([*lines, "exit 0"])
        pid = os.posix_spawn("/bin/sh", ["sh", "-c", script], os.environb, setpgroup=0)
        process = Process(pid)
        os.waitpid(pid, 0)
        return process

    def wait_sleeping(self) -> list[int]:
        """Wait until everybody who is left is a `sleep`, and no shell any more that is about to be one."""

        def names() -> set[str]:
            return {Path(f"/proc/{pid}/comm").read_text() for pid in self.left}

        wait_for("everybody to sleep", lambda: names() == {"sleep\n"})
        return self.left

    @property
    def left(self) -> list[int]:
        return [stat.pid for stat in own_children() if stat.running]

    def wait_gone(self) -> None:
        """Turn as the loop does, until nobody is left."""

        def gone() -> bool:
            self.reactor.poll(10)
            while done := reap():
                HELPERS.pop(done[0], None)
            return self.leftovers.gone()

        wait_for("nobody to be left", gone)
        assert not self.left


@apart
def test_nearly_every_service_leaves_nothing(tmp_path: Path) -> None:
    room = Room(tmp_path)
    assert room.leftovers.clear("TERM")
    room.leftovers.report()
    assert room.log.lines == [] and room.reactor.poll(0) == []


@apart
def test_its_process_group_is_told_and_waited_for(tmp_path: Path) -> None:
    room = Room(tmp_path, f"{SLEEP} &", f"{SLEEP} &")
    pids = " ".join(map(str, sorted(room.left)))
    room.leftovers.clear("TERM")
    assert room.log.notices == [f"sending TERM to what is left of process group {room.process.pid}: pids {pids}"]
    assert room.status_writer.remains == {"group": room.process.group, "session": os.getpid()}
    assert not room.leftovers.unsignalled
    room.wait_gone()


@apart
def test_who_is_paused_goes_on_to_end(tmp_path: Path) -> None:
    room = Room(tmp_path, f"{SLEEP} &")
    (pid,) = room.left
    os.kill(pid, signal.SIGSTOP)
    room.leftovers.clear("TERM")
    room.wait_gone()


@apart
def test_who_does_not_obey_is_there_until_killed(tmp_path: Path) -> None:
    room = Room(tmp_path, f"({DEAF}) & until test -s deaf; do :; done")
    room.leftovers.clear("TERM")
    assert not room.leftovers.gone()
    room.leftovers.clear("KILL")
    room.wait_gone()


@apart
def test_who_is_in_a_session_of_his_own_is_spared_and_reported(tmp_path: Path) -> None:
    executed = "test $(ps -o sid= $!) = $! && test $(ps -o comm= $!) = sleep"
    room = Room(tmp_path, f"setsid {SLEEP} &", f"until {executed}; do :; done")
    (pid,) = room.left
    assert room.leftovers.clear("TERM")
    room.leftovers.report()
    assert room.log.warnings == [f"left of the service: pid {pid} (sleep)"]
    assert stat_of(pid).running


@apart
def test_a_report_tells_nobody_to_end(tmp_path: Path) -> None:
    room = Room(tmp_path, f"{SLEEP} &", f"{SLEEP} &", killasgroup=False)
    pids = room.wait_sleeping()
    room.leftovers.report()
    (line,) = room.log.warnings
    assert line.startswith("left of the service: pid ")
    assert [pid for pid in pids if f"pid {pid} (sleep)" in line] == pids
    assert len(room.left) == 2


@apart
def test_where_the_service_had_ended_before_its_group_is_known_by_number(tmp_path: Path) -> None:
    room = Room(tmp_path, f"{SLEEP} &")
    room.leftovers.of(room.process.group, os.getpid())
    room.leftovers.clear("TERM")
    room.wait_gone()


@apart
def test_a_group_of_that_number_in_another_session_is_somebody_elses(tmp_path: Path) -> None:
    room = Room(tmp_path, f"{SLEEP} &")
    room.leftovers.of(room.process.group, os.getppid())
    room.leftovers.clear("TERM")
    assert room.log.lines == [] and room.left


# Rule 2.


@apart
def test_of_what_other_starts_have_left_nothing_is_reported(tmp_path: Path) -> None:
    if start_tag.give(0) is None:
        pytest.skip("this kernel has no coredump_filter to mark processes by, or both of its bits are in use")
    room = Room(tmp_path, f"{SLEEP} &", killasgroup=False)
    (of_first,) = room.wait_sleeping()
    start_tag.give(1)
    room.end(f"{SLEEP} &")
    start_tag.give(2)
    room.machine.totals["starts"] = 2
    room.leftovers.report()
    assert room.log.warnings == [f"left of the service: pid {of_first} (sleep)"]


# Rule 3: killasgroup : all.


@apart
def test_with_all_nobody_is_left_whatever_his_session(tmp_path: Path) -> None:
    room = Room(tmp_path, f"setsid {SLEEP} &", f"{SLEEP} &", killasgroup="all")
    room.leftovers.clear("TERM")
    assert room.log.notices[0].startswith("sending TERM to what is left of the service: pid ")
    room.wait_gone()


@apart
def test_with_all_who_is_born_meanwhile_is_ended_too(tmp_path: Path) -> None:
    # Not of a shell: what it has forked may lose a signal as long as it still is that shell.
    (tmp_path / "bearing").write_text(
        "import os, signal\n"
        "def bear(*_):\n"
        "    os.posix_spawn('/bin/sleep', ['sleep', '86399'], os.environ)\n"
        "    os._exit(0)\n"
        "signal.signal(signal.SIGTERM, bear)\n"
        "open('ready', 'w').close()\n"
        "while True:\n"
        "    signal.pause()\n"
    )
    room = Room(tmp_path, f"{sys.executable} -S -E bearing & until test -e ready; do :; done", killasgroup="all")
    room.leftovers.clear("TERM")
    room.wait_gone()


@apart
def test_with_all_helpers_and_the_main_process_are_spared(tmp_path: Path) -> None:
    room = Room(tmp_path, killasgroup="all")
    helper, main = (os.posix_spawnp("sleep", ["sleep", "86399"], os.environb, setsid=True) for _ in range(2))
    HELPERS[helper] = b"1"
    room.main = main
    assert room.leftovers.clear("KILL")
    assert sorted(room.left) == sorted([helper, main])


def test_what_it_cannot_promise_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: Any = FakeLog()
    leftovers = Leftovers(FakeMachine(), FakeStatusWriter(), Reactor(made), made, lambda: 0, lambda _: None)  # type: ignore[arg-type]
    monkeypatch.setitem(sys._xoptions, NO_ORPHANS, True)
    for said in (True, "all", "all"):
        leftovers.configure(said)
    assert len(made.warnings) == 1 and "supervise is no subreaper" in made.warnings[0]


# What cannot be looked at.


@apart
def test_without_descriptors_nobody_knows_and_later_it_is_known(tmp_path: Path) -> None:
    """Not knowing is never taken for "nobody"."""
    room = Room(tmp_path, f"{SLEEP} &")
    with few_descriptors():
        with pytest.raises(OSError, match="Too many open files"):
            room.leftovers.clear("TERM")
        with pytest.raises(OSError, match="Too many open files"):
            room.leftovers.gone()
    assert room.reactor.poll(0) == []
    room.leftovers.clear("TERM")
    room.wait_gone()


@apart
def test_who_cannot_be_told_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = Room(tmp_path, f"{SLEEP} &")

    def refuse(*_: object) -> None:
        raise PermissionError(1, os.strerror(1))

    with monkeypatch.context() as patch:
        patch.setattr(posix, "killpg", refuse)
        room.leftovers.clear("TERM")
    assert room.leftovers.unsignalled
    assert "Operation not permitted" in room.log.warnings[0]
    assert room.left


@apart
def test_who_is_let_go_of_is_waited_for_no_more(tmp_path: Path) -> None:
    room = Room(tmp_path, f"{SLEEP} &")
    room.leftovers.clear("CONT")
    before = len(os.listdir("/proc/self/fd"))
    room.leftovers.let_go()
    room.leftovers.let_go()
    assert len(os.listdir("/proc/self/fd")) == before - 1
    os.kill(room.left[0], signal.SIGKILL)
    assert room.reactor.poll(100) == []
