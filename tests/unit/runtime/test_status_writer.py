"""The record and the state on the disk: written when they change, and through times when they cannot be."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeLog, FakeTime
from shortage import NO_DESCRIPTORS, NO_ROOM, few_descriptors, no_room

from supervise.config.config import Config
from supervise.config.file import ConfFile
from supervise.machine.machine import Machine
from supervise.protocol import record
from supervise.protocol.exitstatus import ExitStatus, Fault
from supervise.protocol.state import encode
from supervise.protocol.state_reader import decode
from supervise.protocol.states import HUNG, RUNNING
from supervise.runtime import status_writer
from supervise.system import start_tag
from supervise.system.pidfd import Process
from supervise.system.statusdir import StatusDir

BOOT = "8672b627-8f6b-453d-93b4-6e9e06aa1f81"


class Desk:
    """A writer, the machine that it writes of, and time that the test moves."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.status = folder / "status" / "app"
        self.directory = StatusDir(str(self.status))
        self.directory.keep()
        self.clock = FakeTime()
        monkeypatch.setattr(status_writer, "time", self.clock)
        self.machine = Machine(Config())
        self.log: Any = FakeLog()
        self.writer = self.another()

    def another(self) -> status_writer.StatusWriter:
        """One that knows nothing yet, as in the next supervise."""
        return status_writer.StatusWriter(self.directory, self.machine, ["app", "-x"], BOOT, self.log)

    def runs(self, process: Process) -> None:
        """The machine has been told that this is the service."""
        self.machine.state, self.machine.pid = RUNNING, process.pid
        self.machine.totals["starts"] += 1

    @property
    def record(self) -> record.Record:
        return record.decode((self.status / "status").read_bytes())

    @property
    def state(self) -> dict[str, Any]:
        return decode((self.status / "state").read_bytes())

    @property
    def files(self) -> list[str]:
        return sorted(os.listdir(self.status))

    def inodes(self) -> list[int]:
        """What a file that is replaced has another of."""
        return [(self.status / name).stat().st_ino for name in ("status", "state")]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    made = Desk(tmp_path, monkeypatch)
    filter_before = Path("/proc/self/coredump_filter").read_text()
    yield made
    Path("/proc/self/coredump_filter").write_text(f"0x{filter_before.strip()}")
    os.close(made.directory.fd)


@pytest.fixture
def process() -> Iterator[Process]:
    """A child that lives until the test is over."""
    child = subprocess.Popen(["sleep", "86399"])
    made = Process(child.pid)
    yield made
    made.close()
    child.kill()
    child.wait()


# What is written, and when.


def test_both_say_what_the_machine_is(desk: Desk, process: Process) -> None:
    desk.runs(process)
    desk.machine.paused, desk.machine.alarms = True, False
    desk.writer.write(process)
    assert desk.files == ["state", "status"]
    assert (desk.record.pid, desk.record.paused, desk.record.alarms) == (process.pid, True, False)
    found = desk.state
    assert (found["command"], found["boot_id"], found["machine"]) == (["app", "-x"], BOOT, RUNNING)
    assert (found["supervise_pid"], found["session"]) == (os.getpid(), os.getsid(0))
    assert found["directory"] == desk.directory.identity()
    service = found["service"]
    assert {**process.identity(), "start_time": service["start_time"]} == service


def test_the_state_is_what_state_py_makes_of_its_fields(desk: Desk, process: Process) -> None:
    desk.runs(process)
    desk.writer.write(process)
    for _ in range(2):  # what does not change is made once
        assert (desk.status / "state").read_bytes() == encode(desk.writer.fields())
        desk.machine.paused = True
        desk.writer.write(process)


def test_the_state_has_what_tells_whether_a_start_or_a_reload_was_a_success(desk: Desk, tmp_path: Path) -> None:
    desk.machine.config = config = Config()
    config.startsecs = 7
    desk.writer.write(None)
    assert (desk.state["startsecs"], desk.state["config_problems"]) == (7, [])
    desk.writer.conf = ConfFile(str(tmp_path / "supervise.conf"), "app", True)
    for text, problems in (("[app]\nx\n", 1), ("[app]\n", 0)):
        (tmp_path / "supervise.conf").write_text(text)
        desk.writer.conf.read()
        desk.writer.write(None)
        assert desk.state["config_problems"] == desk.writer.conf.problems
        assert len(desk.writer.conf.problems) == problems


def test_what_has_not_changed_is_not_written(desk: Desk, process: Process) -> None:
    desk.runs(process)
    desk.writer.write(process)
    before = desk.inodes()
    desk.writer.write(process)
    assert desk.inodes() == before
    desk.machine.status_text = "of the state alone"
    desk.writer.write(process)
    assert [now == then for now, then in zip(desk.inodes(), before)] == [True, False]


def test_the_time_in_the_record_is_that_of_the_pid(desk: Desk, process: Process) -> None:
    desk.runs(process)
    desk.writer.write(process)
    before = desk.record.changed_ns
    desk.machine.paused = True
    desk.writer.write(process)
    assert desk.record.changed_ns == before
    desk.machine.pid, desk.machine.paused = 0, False
    desk.writer.write(None)
    assert desk.record.changed_ns > before and desk.record.pid == 0
    assert desk.writer.last() == desk.record


def test_how_it_ended_is_written_for_people(desk: Desk) -> None:
    how = ExitStatus(signal=6, fault=Fault(HUNG, "hung: so it is"))
    assert desk.writer.exit_code is None
    desk.writer.exited(how, 1.23456, planned=False)
    desk.writer.write(None)
    last = desk.state["last_exit"]
    assert (last["signal"], last["fault"], last["fault_kind"]) == (6, "hung: so it is", HUNG)
    assert (last["uptime"], last["planned"]) == (1.235, False)
    desk.writer.amended(ExitStatus(signal=6, core=True))
    desk.writer.write(None)
    assert desk.state["last_exit"] == {**last, "core": True}
    assert desk.writer.exit_code == 134


# What cannot be written.


@pytest.mark.parametrize(("shortage", "why"), [(no_room, NO_ROOM), (few_descriptors, NO_DESCRIPTORS)])
def test_what_cannot_be_written_is_said_once_and_written_later(desk: Desk, shortage: Any, why: str) -> None:
    desk.writer.write(None)
    good = desk.record, desk.state
    desk.machine.paused, desk.machine.status_text = True, "changed"
    with shortage():
        for _ in range(5):
            desk.writer.write(None)
            assert desk.writer.due is not None
            desk.clock.now = desk.writer.due
    assert (desk.record, desk.state) == good  # the last good ones are still whole
    assert desk.files == ["state", "status"]
    assert desk.log.warnings == [f"cannot write {desk.status}/status: {why}; trying again"]
    assert desk.writer.failed_by
    desk.writer.write(None)
    assert desk.record.paused and desk.state["status_text"] == "changed"
    assert len(desk.log.notices) == 1 and desk.log.notices[0].endswith(" is written again")
    assert (desk.writer.due, desk.writer.failed_by) == (None, 0)


def test_it_is_tried_less_and_less_often_but_not_for_longer_than_retry(desk: Desk) -> None:
    pauses = []
    with no_room():
        desk.machine.paused = True
        for _ in range(15):
            desk.writer.write(None)
            assert desk.writer.due is not None
            pauses.append(desk.writer.due - desk.clock.now)
            desk.clock.now = desk.writer.due
    assert pauses == sorted(pauses)
    assert pauses[0] < 0.1 and pauses[-1] == pytest.approx(status_writer.RETRY)


def test_something_that_stands_in_the_way_does_no_harm(desk: Desk, tmp_path: Path) -> None:
    """A planted symlink, or a directory: none of them is supervise's."""
    target = tmp_path / "target"
    target.write_text("mine")
    for name in ("status", "state.new"):
        (desk.status / name).symlink_to(target)
    (desk.status / "state").mkdir()
    desk.writer.write(None)
    assert (desk.record.pid, desk.state["machine"]) == (0, "idle")
    assert target.read_text() == "mine"
    assert desk.files == ["state", "status"]


def test_a_directory_that_has_gone_is_a_disk_that_fails(desk: Desk) -> None:
    shutil.rmtree(desk.status)
    desk.writer.write(None)
    assert desk.writer.problem == f"cannot write {desk.status}/state: No such file or directory"


def test_after_an_error_both_are_written_anew(desk: Desk) -> None:
    desk.writer.write(None)
    for name in ("status", "state"):
        (desk.status / name).write_text("nonsense")
    desk.writer.write(None)
    assert (desk.status / "status").read_text() == "nonsense"
    desk.writer.write_anew()
    desk.writer.write(None)
    assert (desk.record.pid, desk.state["machine"]) == (0, "idle")


# An identity that cannot be read, and the mark that stands for it.


def test_the_state_waits_for_an_identity_and_is_written_without_if_it_must(
    desk: Desk, process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.writer.write(None)
    before = desk.state

    def refuse(_: object) -> None:
        raise PermissionError(13, os.strerror(13))

    monkeypatch.setattr(Process, "identity", refuse)
    desk.runs(process)
    tries = 0
    while desk.state == before:
        desk.writer.write(process)
        assert desk.record.pid == process.pid
        desk.clock.now += status_writer.RETRY
        tries += 1
        assert tries < 30
    assert tries > 3
    assert desk.state["service"]["pid"] == process.pid and desk.state["service"]["start_ticks"] == 0


def test_the_state_foretells_the_mark_of_the_next_start(desk: Desk, process: Process) -> None:
    desk.writer.foretell()
    desk.writer.write(None)
    foretold = desk.state["next_mark"]
    if foretold is None:
        pytest.skip("this kernel has no coredump_filter to mark processes by, or both of its bits are in use")
    assert start_tag.of(os.getpid()) == foretold
    desk.runs(process)
    desk.writer.foretell()
    desk.writer.write(process)
    assert desk.state["next_mark"] == start_tag.of(os.getpid()) != foretold


def test_while_the_state_cannot_be_written_all_starts_bear_the_mark_that_it_foretells(
    desk: Desk, process: Process
) -> None:
    desk.writer.foretell()
    desk.writer.write(None)
    foretold = desk.state["next_mark"]
    if foretold is None:
        pytest.skip("this kernel has no coredump_filter to mark processes by, or both of its bits are in use")
    desk.runs(process)
    desk.writer.foretell()
    with no_room():
        desk.writer.write(process)
        assert start_tag.of(os.getpid()) == foretold


# One that goes on where another was.


def test_the_next_goes_on_with_what_was_written(desk: Desk, process: Process) -> None:
    desk.runs(process)
    desk.writer.exited(ExitStatus(code=3), 1.0, planned=True)
    desk.writer.control_obeyed, desk.writer.notify_address = 17, "@app"
    desk.writer.write(process)
    then, fields = desk.record, desk.state
    following = desk.another()
    following.restore(fields, process.pid)
    following.write(process)
    assert desk.record == then
    kept = ("service", "last_exit", "control_obeyed", "notify_address")
    assert [desk.state[name] for name in kept] == [fields[name] for name in kept]


@pytest.mark.parametrize("damage", ["removed", "damaged", "symlink"])
def test_where_the_record_is_damaged_the_pid_is_a_new_one(desk: Desk, process: Process, damage: str) -> None:
    desk.runs(process)
    desk.writer.write(process)
    fields, path = desk.state, desk.status / "status"
    path.unlink()
    if damage == "damaged":
        path.write_text("nonsense")
    elif damage == "symlink":
        path.symlink_to("state")
    following = desk.another()
    following.restore(fields, process.pid)
    following.write(process)
    assert desk.record.pid == process.pid and not path.is_symlink()


def test_a_copy_writes_as_itself(desk: Desk) -> None:
    """After a fork (guardian.py): the test looks at what the child has written."""
    desk.writer.write(None)
    pid = os.fork()
    if not pid:
        try:
            desk.writer.move()
            desk.writer.write(None)
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    assert desk.state["supervise_pid"] == pid


def test_what_the_next_version_has_written_in_the_same_process_is_known(desk: Desk) -> None:
    desk.writer.write(None)
    assert not desk.writer.superseded()
    following = desk.another()
    following.upgrades = desk.writer.upgrades + 1
    following.write(None)
    assert desk.writer.superseded()
    (desk.status / "state").unlink()
    assert not desk.writer.superseded()


def test_in_another_directory_all_is_written_again(desk: Desk, tmp_path: Path) -> None:
    desk.writer.write(None)
    there = tmp_path / "there"
    there.mkdir()
    fd = os.open(there, os.O_RDONLY | os.O_DIRECTORY)
    os.dup2(fd, desk.directory.fd, inheritable=False)
    os.close(fd)
    desk.writer.moved()
    desk.writer.write(None)
    assert sorted(os.listdir(there)) == ["state", "status"]
    assert decode((there / "state").read_bytes())["directory"]["inode"] == there.stat().st_ino
