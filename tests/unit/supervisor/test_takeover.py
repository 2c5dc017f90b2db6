"""What is left of a supervise that is gone, with real processes: taken over, or in doubt left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from apart import apart
from conftest import wait_for
from samples import SAMPLE
from shortage import few_descriptors

from supervise.protocol import record, state, state_reader
from supervise.supervisor import takeover
from supervise.supervisor.predecessor import Predecessor
from supervise.system import retry, start_tag
from supervise.system.pidfd import Process
from supervise.system.procfs import boot_id, pid_namespace, stat_of
from supervise.system.statusdir import StatusDir, StatusDirError


class Place:
    """A status directory that a supervise has left."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "status" / "app"
        self.directory = StatusDir(str(self.path))

    def leave(self, service: Process | None, **fields: Any) -> None:
        """Write what it would have written of a service that ran."""
        pid = service.pid if service else 0
        its = {**service.identity(), "start_time": time.time()} if service else None
        here = {"directory": self.directory.identity(), "boot_id": boot_id(), "pid_namespace": pid_namespace()}
        made = {**SAMPLE, **here, "session": os.getsid(0), "service": its, **fields}
        (self.path / "state").write_bytes(state.encode(made))
        self.leave_record(pid)

    def leave_record(self, pid: int, paused: bool = False) -> None:
        (self.path / "status").write_bytes(record.Record(time.time_ns(), paused, "up", True, pid).encode())

    def look(self, user: str = "") -> Predecessor:
        """What the next supervise finds."""
        found = takeover.look(self.directory, boot_id(), user)
        if found.process:
            found.process.close()
        return found


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    os.close(made.directory.fd)


@pytest.fixture
def service() -> Iterator[Process]:
    child = subprocess.Popen(["sleep", "86399"])
    made = Process(child.pid, False)
    yield made
    made.close()
    child.kill()
    child.wait()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be looked at now will not be in a moment."""
    monkeypatch.setattr(retry, "SECONDS", 0.0)


def ended(service: Process) -> Process:
    os.kill(service.pid, signal.SIGKILL)
    os.waitid(os.P_PID, service.pid, os.WEXITED | os.WNOWAIT)
    return service


# Rule 2: the one that the state names.


def test_the_service_that_still_runs_is_taken_over(place: Place, service: Process) -> None:
    place.leave(service, restrictions={"user": "nobody"})
    found = place.look()
    assert found.process and found.process.pid == service.pid and not found.process.child
    assert found.fields and found.fields["command"] == SAMPLE["command"]
    assert found.restrictions == {"user": "nobody"}
    assert (found.leftover_group, found.notices, found.warnings) == (None, [], [])


def test_the_record_has_the_last_word_of_the_same_process(place: Place, service: Process) -> None:
    place.leave(service)
    place.leave_record(service.pid, paused=True)
    fields = place.look().fields
    assert fields and fields["paused"]
    place.leave_record(service.pid + 1, paused=True)
    fields = place.look().fields
    assert fields and not fields["paused"]


def test_a_record_that_is_a_symlink_says_nothing(place: Place, service: Process, tmp_path: Path) -> None:
    place.leave(service)
    (place.path / "status").rename(tmp_path / "record")
    (place.path / "status").symlink_to(tmp_path / "record")
    found = place.look()
    assert found.process and "is a symlink, not a regular file; it is replaced" in found.warnings[0]


def test_one_that_has_ended_is_said_to_have(place: Place, service: Process) -> None:
    place.leave(service)
    ended(service)
    found = place.look()
    assert found.process is None
    assert found.notices == [f"the service (pid {service.pid}) has ended while no supervise was here"]


def test_another_that_has_its_number_is_not_it(place: Place, service: Process) -> None:
    place.leave(service)
    fields = state_reader.decode((place.path / "state").read_bytes())
    fields["service"]["start_ticks"] -= 1
    (place.path / "state").write_bytes(state.encode(fields))
    assert place.look().process is None


def test_after_a_supervise_that_ended_as_asked_nobody_is_looked_for(place: Place, service: Process) -> None:
    place.leave(service, machine="ended")
    found = place.look()
    assert found.process is None and found.fields and found.notices == []


# Where nothing is taken over.


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"boot_id": "00000000-0000-0000-0000-000000000000"}, "is from before a reboot, or from another host"),
        ({"directory": {"device": 1, "inode": 2}}, "is from another directory"),
    ],
)
def test_a_state_of_another_boot_or_directory(place: Place, service: Process, fields: Any, words: str) -> None:
    place.leave(service, restrictions={"umask": "077"}, **fields)
    found = place.look()
    assert (found.process, found.fields) == (None, None)
    assert found.notices == [f"{place.path}/state {words}; nothing is taken over"]
    assert found.restrictions == {"umask": "077"}  # which hold all the same


def test_a_state_of_another_pid_namespace_is_a_warning(place: Place, service: Process) -> None:
    place.leave(service, pid_namespace={"device": 1, "inode": 2})
    found = place.look()
    assert found.process is None and "is of another PID namespace" in found.warnings[0]
    assert found.warnings[0].endswith("may be a second copy")


@pytest.mark.parametrize("kind", ["nonsense", "symlink", "directory", "fifo"])
def test_a_state_that_is_none_is_said(place: Place, tmp_path: Path, kind: str) -> None:
    path = place.path / "state"
    if kind == "nonsense":
        path.write_text("nonsense")
    elif kind == "symlink":
        (tmp_path / "target").write_bytes(state.encode(SAMPLE))
        path.symlink_to(tmp_path / "target")
    elif kind == "directory":
        path.mkdir()
    else:
        os.mkfifo(path)
    found = place.look()
    assert found.fields is None
    (line,) = found.warnings
    assert line.startswith(f"cannot use {path}: ") and line.endswith("; nothing is taken over")


def test_no_state_is_nothing(place: Place) -> None:
    found = place.look()
    assert (found.process, found.fields, found.warnings, found.notices) == (None, None, [], [])


# Rule 5: a state that others can have written.


def test_one_that_others_can_have_written_only_keeps_from_starting(place: Place, service: Process) -> None:
    place.leave(service)
    (place.path / "state").chmod(0o666)
    with pytest.raises(StatusDirError, match=f"pid {service.pid}, which it calls the service, runs"):
        place.look()
    ended(service)
    found = place.look()
    assert (found.process, found.fields) == (None, None)
    assert "can be written to by everybody" in found.warnings[0]


# Rule 4: doubt.


def test_who_could_not_look_starts_nothing(place: Place, service: Process) -> None:
    place.leave(service)
    boot, refusals = boot_id(), 0
    for left in range(5):
        try:
            with few_descriptors(left):
                found = takeover.look(place.directory, boot, "")
        except StatusDirError:
            refusals += 1
            continue
        assert found.process and found.process.pid == service.pid
        found.process.close()
    assert 0 < refusals < 5


# Without a state.


def test_without_a_state_a_process_that_may_be_the_service_keeps_from_starting(place: Place, service: Process) -> None:
    place.leave_record(service.pid)
    with pytest.raises(StatusDirError, match=f"pid {service.pid}, which .*/status calls the service, runs"):
        takeover.look_without_state(place.directory)
    ended(service)
    takeover.look_without_state(place.directory)


def test_one_that_started_at_another_time_is_another(place: Place, service: Process) -> None:
    """The record tells when its process came."""
    hour = 3600 * 10**9
    data = record.Record(time.time_ns() - hour, False, "up", True, service.pid).encode()
    (place.path / "status").write_bytes(data)
    takeover.look_without_state(place.directory)


def test_one_that_was_there_before_the_record_named_it_is_meant(place: Place, service: Process) -> None:
    """Or the clock was set back since: nobody knows."""
    hour = 3600 * 10**9
    data = record.Record(time.time_ns() + hour, False, "up", True, service.pid).encode()
    (place.path / "status").write_bytes(data)
    with pytest.raises(StatusDirError, match=f"pid {service.pid}, which .*/status calls the service, runs"):
        takeover.look_without_state(place.directory)


@pytest.mark.parametrize("name", ["__stdout", "__stderr"])
def test_one_that_prints_here_is_meant_whatever_was_done_to_the_clock(place: Place, name: str) -> None:
    log = place.path / name
    with log.open("ab") as file, subprocess.Popen(
        ["sleep", "1000"], env={}, **{name.strip("_"): file}  # type: ignore[call-overload]
    ) as process:
        try:
            log.rename(place.path / f"{name}.1")
            data = record.Record(time.time_ns() - 3600 * 10**9, False, "up", True, process.pid).encode()
            (place.path / "status").write_bytes(data)
            with pytest.raises(StatusDirError, match=f"pid {process.pid}, which .*/status calls the service, runs"):
                takeover.look_without_state(place.directory)
        finally:
            process.kill()


@pytest.mark.parametrize("data", [b"", b"nonsense" * 3])
def test_without_a_record_there_is_nothing_to_doubt(place: Place, data: bytes) -> None:
    (place.path / "status").write_bytes(data)
    takeover.look_without_state(place.directory)


# Rule 3: the one that was started last, before the state could name it.


class Dead:
    """A supervise that was killed, and has left a process that leads a group in its session."""

    def __init__(self, path: Path | None, mark: int = 1) -> None:
        reading, writing = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            os.setsid()
            start_tag.give(mark - 1)
            env = {b"PATH": os.environb[b"PATH"]}
            if path:
                env[b"SUPERVISE_STATUS_DIR"] = os.fsencode(path)
            service = os.posix_spawnp("sleep", ["sleep", "86399"], env, setpgroup=0)
            os.write(writing, str(service).encode())
            os._exit(0)
        os.waitpid(self.pid, 0)
        self.service = int(os.read(reading, 20))
        os.close(reading)
        os.close(writing)
        wait_for("the program", lambda: stat_of(self.service).parent == os.getpid())
        wait_for("its environment", lambda: b"PATH" in Path(f"/proc/{self.service}/environ").read_bytes())

    @property
    def fields(self) -> dict[str, Any]:
        return {"supervise_pid": self.pid, "session": self.pid}


@apart
def test_a_process_that_comes_from_the_next_start_is_the_service(tmp_path: Path) -> None:
    place = Place(tmp_path)
    dead = Dead(place.path)
    place.leave(None, **dead.fields, machine="spawning", next_mark=start_tag.of(dead.service))
    found = place.look()
    assert found.process and found.process.pid == dead.service


@apart
def test_one_of_another_directory_is_not(tmp_path: Path) -> None:
    place = Place(tmp_path)
    dead = Dead(tmp_path)
    place.leave(None, **dead.fields, machine="spawning", next_mark=start_tag.of(dead.service))
    assert place.look().process is None


@apart
def test_nor_is_one_of_an_earlier_start(tmp_path: Path) -> None:
    place = Place(tmp_path)
    dead = Dead(place.path, mark=1)
    mark = start_tag.of(dead.service)
    if mark != start_tag.tag_of_start(1):
        pytest.skip("this kernel has no coredump_filter to mark processes by, or both of its bits are in use")
    place.leave(None, **dead.fields, machine="spawning", next_mark=start_tag.tag_of_start(2))
    assert place.look().process is None


@apart
def test_nor_is_one_of_another_session(tmp_path: Path) -> None:
    place = Place(tmp_path)
    dead = Dead(place.path)
    place.leave(None, **{**dead.fields, "session": os.getsid(0)}, machine="spawning")
    assert place.look().process is None


@apart
def test_what_the_service_has_left_of_its_group_is_told(tmp_path: Path) -> None:
    place = Place(tmp_path)
    lines = "sleep 86399 & exit 0"
    leader = os.posix_spawn("/bin/sh", ["sh", "-c", lines], os.environb, setpgroup=0)
    gone = Process(leader, False)
    os.waitid(os.P_PID, leader, os.WEXITED | os.WNOWAIT)
    place.leave(gone)
    os.waitpid(leader, 0)
    found = place.look()
    assert found.process is None and found.leftover_group == (leader, os.getsid(0))
    assert found.leftover_line.startswith(f"left of the service's process group {leader}: pids ")
