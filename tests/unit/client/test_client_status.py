"""What record and state mean together, also where they are of different moments, supervises or boots."""

from __future__ import annotations

import os
import subprocess
import time
from typing import Any

import pytest
from pretended import EXIT, PID, state
from ready_table import READY
from shortage import few_descriptors

from supervise.client.errors import SystemRefused
from supervise.client.status import Status
from supervise.protocol.record import Record
from supervise.system.procfs import stat_of


def status(supervised: bool = True, pid: int = PID, want: str = "up", **fields: Any) -> Status:
    """A status; the state is of the same moment as the record."""
    return Status(supervised, Record(time.time_ns(), False, want, True, pid), state(pid, **fields))


def of_c(pid: int = PID, supervised: bool = True) -> Status:
    """The same without a state, as with the C implementation."""
    return Status(supervised, Record(time.time_ns(), False, "up", True, pid), None)


@pytest.mark.parametrize(("fields", "ready"), READY)
def test_what_is_ready(fields: dict[str, Any], ready: bool) -> None:
    assert status(**fields).ready is ready
    assert not status(supervised=False, **fields).ready


def test_what_a_later_version_says_is_not_taken_for_ready() -> None:
    assert not status(phase="of a later version").ready


def test_of_a_supervise_that_does_not_say_running_is_all_there_is_to_know() -> None:
    found = of_c()
    assert (found.running, found.ready) == (True, True)
    assert not of_c(0).ready and not of_c(supervised=False).ready
    for name in ("machine", "phase", "phase_seconds", "status_text", "fault", "supervise_pid", "restarts"):
        assert getattr(found, name) is None
    for name in ("last_exit", "gave_up", "hangs", "quick_exits", "next_start_seconds"):
        assert getattr(found, name) is None
    assert not found.finished and not found.outlived


def test_a_state_of_the_process_before_says_nothing_of_this_one() -> None:
    """supervise replaces the record first."""
    found = Status(
        True, Record(time.time_ns(), False, "up", True, PID + 1), state(PID, phase="ready", status_text="old")
    )
    assert not found.current and not found.ready
    assert (found.machine, found.phase, found.status_text) == (None, None, None)


def test_what_it_is_waiting_for() -> None:
    due = time.monotonic() + 60
    found = status(pid=0, machine="delay", deadline_at=due)
    assert found.next_start_seconds == pytest.approx(60, abs=30)
    assert status(pid=0, machine="delay", deadline_at=due - 3600).next_start_seconds == 0
    for machine in ("idle", "running"):  # which have other deadlines
        assert status(pid=0, machine=machine, deadline_at=due).next_start_seconds is None
    assert status(pid=0, machine="delay", deadline_at=None).next_start_seconds is None
    assert status(False, pid=0, machine="delay", deadline_at=due).next_start_seconds is None
    other_boot = "00000000-0000-0000-0000-000000000000"
    assert status(pid=0, machine="delay", deadline_at=due, boot_id=other_boot).next_start_seconds is None


def test_why_it_is_being_ended() -> None:
    assert status(machine="aborting", fault="hung: so").fault == "hung: so"
    assert status(machine="stopping", fault="late: so").fault is None


def test_one_that_has_ended_for_good() -> None:
    ended: dict[str, Any] = {"pid": 0, "machine": "idle", "last_exit": {}}
    assert status(**ended).finished
    assert not status(**{**ended, "last_exit": None}).finished  # it was never started
    assert not status(**ended, want="down", wanted="down").finished
    assert not status(**ended, wanted="down").finished  # the two files are of different moments
    assert not status(**{**ended, "machine": "delay"}).finished


def test_how_it_last_ended_is_said_in_words() -> None:
    assert str(status(last_exit={"code": 3}).last_exit) == "exited with status 3"
    assert str(status(last_exit={**EXIT, "code": None, "signal": 15, "planned": True}).last_exit) == (
        "was killed by signal 15 (TERM), as asked"
    )


def test_counts() -> None:
    found = status(totals={"starts": 5, "hangs": 2}, quick_exits=3, gave_up=True)
    assert (found.restarts, found.hangs, found.quick_exits, found.gave_up) == (4, 2, 3, True)
    assert status(totals={"starts": 0}).restarts == 0


# A service that has outlived its supervise.


def test_one_that_lives_without_a_supervise_runs() -> None:
    child = subprocess.Popen(["sleep", "86399"])
    try:
        ticks = stat_of(child.pid).start_ticks
        service = {"pid": child.pid, "start_ticks": ticks, "pidfd_inode": None, "start_time": 1.0}
        found = status(False, child.pid, service=service)
        assert found.outlived and found.running and not found.ready
        assert found.supervise_pid is None
        assert not status(False, child.pid, service={**service, "start_ticks": ticks + 1}).outlived
        assert not status(False, child.pid, service=service, boot_id="another").outlived
        assert not status(True, child.pid, service=service).outlived
    finally:
        child.kill()
        child.wait()
    assert not status(False, child.pid, service=service).outlived


def test_where_nobody_could_look_it_is_not_dead() -> None:
    own = {"pid": os.getpid(), "start_ticks": 1, "pidfd_inode": None, "start_time": 1.0}
    found = status(False, os.getpid(), service=own)
    with few_descriptors(), pytest.raises(SystemRefused, match="cannot look at process"):
        assert found.running
