"""Who the main process is after the last one: named, left over, or the one before; and who does not count."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from apart import apart
from conftest import wait_for
from fakes import FakeLog
from shortage import NO_DESCRIPTORS, few_descriptors

from supervise.config.config import Config
from supervise.protocol.exitstatus import ExitStatus
from supervise.runtime.reactor import Reactor
from supervise.service.successor import UNDECIDED, Successor
from supervise.system.pidfd import Process
from supervise.system.procfs import stat_of
from supervise.system.spawn import HELPERS

CLEAN, CRASH = ExitStatus(code=0), ExitStatus(code=1)


class Room:
    """A Successor; its pidfile is `pid` in the folder, if it has one."""

    def __init__(self, folder: Path, pidfile: bool = True) -> None:
        self.folder = folder
        self.log: Any = FakeLog()
        self.reactor = Reactor(self.log)
        self.successor = Successor(os.environb, [], self.reactor, self.log, lambda pid, by: None)
        self.configure("pid" if pidfile else "")

    def configure(self, pidfile: str) -> None:
        config = Config()
        config.pidfile, config.directory = pidfile, str(self.folder) if pidfile else ""
        self.successor.configure(config)

    def writes(self, pid: int) -> None:
        (self.folder / "pid").write_text(f"{pid}\n")

    def after(self, old: Process, how: ExitStatus = CLEAN) -> Any:
        found = self.successor.after(old, how, set(HELPERS), 1)
        return found.pid if isinstance(found, Process) else found

    def named(self, pid: int, main: int) -> Process | None:
        return self.successor.named(pid, "MAINPID", main, set(HELPERS), os.getsid(0))


def sleeper(session: bool = False) -> Process:
    """A process that supervise has started, or an orphan of the service: they look the same."""
    attributes: Any = {"setsid": True} if session else {"setpgroup": 0}
    return Process(os.posix_spawnp("sleep", ["sleep", "86399"], os.environb, **attributes))


def ended(process: Process) -> Process:
    """It has ended and was reaped, as the main process has when somebody is to follow it."""
    os.kill(process.pid, signal.SIGKILL)
    os.waitpid(process.pid, 0)
    return process


# Rule 1: who is named.


@apart
def test_a_process_of_the_service_counts(tmp_path: Path) -> None:
    room, main, other = Room(tmp_path), sleeper(), sleeper()
    found = room.named(other.pid, main.pid)
    assert found and (found.pid, found.alive()) == (other.pid, True)
    assert room.named(main.pid, main.pid) is None
    assert room.log.lines == []


@apart
def test_nobody_elses_does_and_that_is_said_once(tmp_path: Path) -> None:
    room, main, stranger = Room(tmp_path), sleeper(), os.getppid()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        assert room.named(stranger, main.pid) is None
    assert room.log.warnings == [f"ignored pid {stranger}, named by MAINPID: not a process of this service"]
    assert len(os.listdir("/proc/self/fd")) == before
    room.successor.succeed(None)  # after the next change it would be news again
    room.named(stranger, main.pid)
    assert len(room.log.warnings) == 2


@apart
def test_nor_does_a_helper_of_supervises(tmp_path: Path) -> None:
    room, main, helper = Room(tmp_path), sleeper(), sleeper(session=True)
    HELPERS[helper.pid] = b"1"
    assert room.named(helper.pid, main.pid) is None


@apart
def test_nor_one_that_has_ended(tmp_path: Path) -> None:
    room, main, gone = Room(tmp_path), sleeper(), ended(sleeper())
    assert room.named(gone.pid, main.pid) is None


@apart
def test_who_could_not_be_looked_at_is_not_refused(tmp_path: Path) -> None:
    room, main, other = Room(tmp_path), sleeper(), sleeper()
    with few_descriptors():
        try:
            room.named(other.pid, main.pid)
        except OSError as why:
            assert why.strerror == NO_DESCRIPTORS
        else:
            raise AssertionError("it was decided without looking")
    assert room.log.lines == [] and room.named(other.pid, main.pid)


# Rule 2: former ones.


@apart
def test_where_the_new_one_ends_the_former_is_the_main_process_again(tmp_path: Path) -> None:
    room, old, new = Room(tmp_path, pidfile=False), sleeper(), sleeper()
    room.successor.succeed(old)
    assert room.successor.previous_mains() == [old.pid]
    assert [one["pid"] for one in room.successor.identities()] == [old.pid]
    assert room.after(ended(new), CRASH) == old.pid
    assert room.successor.previous_mains() == [] and room.successor.identities() == []


@apart
def test_the_end_of_a_former_one_is_said_and_of_no_importance(tmp_path: Path) -> None:
    room, old, new = Room(tmp_path, pidfile=False), sleeper(), sleeper()
    room.successor.succeed(old)
    ended(old)
    room.successor.reaped(old.pid, ExitStatus(signal=9))
    room.successor.reaped(new.pid, ExitStatus(signal=9))
    assert room.log.notices == [f"former main process was killed by signal 9 (KILL) (pid {old.pid})"]
    assert room.after(ended(new), CRASH) is None


@apart
def test_what_is_forgotten_leaves_no_descriptor(tmp_path: Path) -> None:
    room = Room(tmp_path, pidfile=False)
    before = len(os.listdir("/proc/self/fd"))
    first, second = sleeper(), sleeper()
    room.successor.succeed(first)
    room.successor.restore_previous([Process(second.pid, False)])
    assert room.successor.previous_mains() == [first.pid, second.pid]
    room.successor.forget()
    first.close()
    second.close()
    assert room.successor.previous_mains() == []
    assert len(os.listdir("/proc/self/fd")) == before


# Rules 3 to 5: the main process has ended.


@apart
def test_whom_the_pidfile_names_it_is(tmp_path: Path) -> None:
    room, old, first, second = Room(tmp_path), sleeper(), sleeper(), sleeper()
    room.writes(second.pid)
    assert room.after(ended(old), CRASH) == second.pid
    assert stat_of(first.pid).running


@apart
def test_a_pidfile_that_names_a_stranger_names_nobody(tmp_path: Path) -> None:
    room, old = Room(tmp_path), sleeper()
    room.writes(os.getppid())
    assert room.after(ended(old), CRASH) is None


@apart
def test_nor_does_a_symlink_to_something_that_is_no_file(tmp_path: Path) -> None:
    room, old = Room(tmp_path), sleeper()
    (tmp_path / "pid").symlink_to("/dev/zero")
    assert room.after(ended(old)) is None


@apart
def test_a_program_that_has_forked_is_followed_by_its_only_child(tmp_path: Path) -> None:
    room, old, child = Room(tmp_path), sleeper(), sleeper()
    assert room.after(ended(old)) == child.pid


@apart
def test_of_several_the_pidfile_has_to_tell(tmp_path: Path) -> None:
    room, old, child, other = Room(tmp_path), sleeper(), sleeper(), sleeper()
    assert room.after(ended(old)) == UNDECIDED
    assert room.successor.follower and room.successor.follower.look_at is not None
    room.writes(other.pid)
    assert room.after(old) == other.pid
    assert stat_of(child.pid).running


@apart
def test_of_one_whose_end_is_unknown_it_has_to_tell_too(tmp_path: Path) -> None:
    room, old, _ = Room(tmp_path), sleeper(), sleeper()
    assert room.after(ended(old), ExitStatus()) == UNDECIDED


@apart
def test_a_crash_without_a_pid_is_the_end(tmp_path: Path) -> None:
    room, old, _ = Room(tmp_path), sleeper(), sleeper()
    assert room.after(ended(old), CRASH) is None


@apart
def test_without_a_pidfile_it_is_the_end(tmp_path: Path) -> None:
    room, old, _ = Room(tmp_path, pidfile=False), sleeper(), sleeper()
    assert room.after(ended(old)) is None


@apart
def test_where_nobody_could_look_it_is_looked_again(tmp_path: Path) -> None:
    room, old, _ = Room(tmp_path), ended(sleeper()), sleeper()
    with few_descriptors():
        assert room.after(old) == UNDECIDED
    assert room.log.warnings == [f"cannot look for the successor of pid {old.pid}: {NO_DESCRIPTORS}; looking again"]
    assert room.successor.follower and room.successor.follower.look_at is not None


# The configuration.


@apart
def test_another_pidfile_is_another_follower_and_the_same_is_the_same(tmp_path: Path) -> None:
    room = Room(tmp_path)
    first = room.successor.follower
    assert first and first.look_at is not None
    room.configure("pid")
    assert room.successor.follower is first
    first.rewatch()
    wait_for("the helper", lambda: room.reactor.poll(100))
    room.configure("another")
    assert room.successor.follower is not first
    assert (first.fd, first.look_at) == (-1, None)
    room.configure("")
    assert room.successor.follower is None and room.reactor.poll(0) == []
