"""A successor whose system calls fail while it looks: it adopts, or it refuses, and never starts a second copy.

tests/chaos.py fails all of them; here is one of each kind.
"""

from __future__ import annotations

import errno
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from conftest import PATIENCE, Box, alive, wait_for
from heirs import (
    SLEEP,
    adopted,
    copies,
    edit_state,
    kill_both,
    kill_supervise,
    leave_unnamed,
    started_refused,
    stat,
    state,
    succeed,
)
from injecting import begin
from system import needs

from supervise.supervisor import takeover
from supervise.system import identity, retry
from supervise.system.pidfd import Process
from supervise.system.procfs import boot_id
from supervise.system.statusdir import StatusDir, StatusDirError

BOOT = "/proc/sys/kernel/random/boot_id"


def with_fault(box: Box, path: str, inject: str) -> tuple[int, str]:
    """The same; its exit code, 0 if it runs, and what it said."""
    process = begin(box, path, inject)
    wait_for("an answer", lambda: process.poll() is not None or "taken over" in box.log() or len(copies(box)) != 1)
    assert "INJECTED" in (box.folder / "trace").read_text()
    lines = [line for line in (box.folder / "said").read_text().splitlines() if line.startswith("supervise: ")]
    return process.poll() or 0, "\n".join(lines)


@pytest.mark.parametrize(
    "path, inject",
    [
        ("", "flock:error=ENOLCK:when=1"),
        (BOOT, "openat:error=EMFILE:when=1"),
        ("state", "newfstatat:error=EIO:when=1"),
        ("state", "openat:error=ENFILE:when=1"),
        ("{status}/state", "read:error=EIO:when=1"),
        ("status", "openat:error=EMFILE:when=1"),
        ("", "pidfd_open:error=ENOMEM:when=1"),
        ("", "pidfd_open:error=EMFILE:when=2"),
        ("/proc/self", "readlink:error=ENOMEM:when=1"),
        ("/proc/{pid}/stat", "openat:error=EMFILE:when=1"),
    ],
)
def test_a_fault_in_passing(box: Box, path: str, inject: str) -> None:
    """It looks again, and takes the service over."""
    pid = box.start(*SLEEP)
    kill_supervise(box)
    assert with_fault(box, path, inject) == (0, "")
    adopted(box, pid)
    assert copies(box) == [pid]


@pytest.mark.parametrize(
    "path, inject, says",
    [
        (BOOT, "openat:error=EACCES", "cannot read this system's boot id: Permission denied"),
        ("state", "openat:error=EACCES", "cannot open status/app/state: Permission denied"),
        ("/proc/{pid}/stat", "openat:error=EPERM", "/stat: Operation not permitted"),
        ("", "pidfd_open:error=ENOSYS", "which still runs: pidfd_open: Function not implemented"),
        (BOOT, "openat:error=ENOENT", "runs, and this system's boot id cannot be read"),
        ("/proc/self", "readlink:error=ENOENT", "there is none of this PID namespace"),
        ("", "pidfd_open:error=EMFILE", "pidfd_open: Too many open files"),
    ],
)
def test_a_fault_that_lasts(box: Box, path: str, inject: str, says: str) -> None:
    """One line, nothing touched, and the next one takes the service over."""
    pid = box.start(*SLEEP)
    kill_supervise(box)
    before = {place.name: place.stat().st_mtime_ns for place in box.status.iterdir() if "log" not in place.name}
    if path == "/proc/self":
        edit_state(box, service={**state(box)["service"], "pidfd_inode": None})
        before["state"] = (box.status / "state").stat().st_mtime_ns
    code, said = with_fault(box, path, inject)
    assert code == 111
    assert said.startswith("supervise: fatal: ") and says in said and "\n" not in said, said
    after = {place.name: place.stat().st_mtime_ns for place in box.status.iterdir() if "log" not in place.name}
    assert after == before
    assert copies(box) == [pid]
    succeed(box, *SLEEP)
    adopted(box, pid)


@pytest.mark.parametrize(
    "path, inject",
    [
        ("", "pidfd_open:error=ENOSYS"),
        (BOOT, "openat:error=ENOENT"),
        ("/proc/self", "readlink:error=ENOENT"),
    ],
)
def test_what_cannot_be_had_matters_only_while_the_process_lives(box: Box, path: str, inject: str) -> None:
    """An old kernel, no /proc, or another PID namespace's: what is certainly gone is started."""
    old = box.start(*SLEEP)
    kill_both(box)
    begin(box, path, inject)
    wait_for("a second process", lambda: len(copies(box)) == 1)
    wait_for("the record", lambda: box.pid == copies(box)[0])
    assert box.pid != old


# Patience.


def test_it_is_tried_for_some_seconds_where_that_may_help(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "SECONDS", 0.2)
    tried: list[int] = []

    def fail(number: int) -> None:
        tried.append(number)
        raise OSError(number, os.strerror(number))

    for number, again in ((errno.EMFILE, True), (errno.EIO, True), (errno.EACCES, False), (errno.ENOSYS, False)):
        tried.clear()
        with pytest.raises(OSError) as why:
            retry.retried(fail, number)
        assert why.value.errno == number
        assert (len(tried) > 2) == again


def test_nothing_stays_open(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """However far the look has come when it fails."""
    pid = box.start(*SLEEP)
    kill_supervise(box)
    monkeypatch.chdir(box.folder)
    monkeypatch.setattr(retry, "SECONDS", 0.1)
    directory = StatusDir("status/app")
    before = sorted(os.listdir("/proc/self/fd"))
    for module, name in ((takeover, "heed_record"), (identity, "is_same"), (identity, "stat_of")):

        def fail(*_: Any) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        with monkeypatch.context() as context:
            context.setattr(module, name, fail)
            with pytest.raises(StatusDirError, match="cannot tell whether the service of status/app still runs: "):
                takeover.look(directory, boot_id(), "")
        assert sorted(os.listdir("/proc/self/fd")) == before, name
    predecessor = takeover.look(directory, boot_id(), "")
    assert predecessor.process and predecessor.process.pid == pid
    predecessor.process.close()
    os.close(directory.fd)


# What is written down.


def test_a_process_that_cannot_be_looked_at_is_not_written_down_wrongly(box: Box) -> None:
    """The state that is there stays, and leads the next supervise to the process; it is written when that can be."""
    needs("strace")
    first = box.start(*SLEEP)
    wait_for("the state", lambda: state(box)["service"])
    supervisor = box.supervisor
    inject = ["-e", "trace=readlink", "-P", "/proc/self", "--inject=readlink:error=ENOMEM"]
    tracer = subprocess.Popen(
        ["strace", "-o", "/dev/null", *inject, "-p", str(supervisor)], stderr=subprocess.PIPE, text=True
    )
    try:
        assert tracer.stderr
        wait_for("strace", lambda: "attached" in str(tracer.stderr and tracer.stderr.readline()))
        box.control("k")
        pid = box.wait_new_pid(first)
        box.wait_warning("cannot write status/app/state: Cannot allocate memory; trying again")
        assert (state(box)["service"] or {}).get("pid") != pid
        before = (box.status / "state").read_bytes()
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.wait()
        if tracer.stderr:
            tracer.stderr.close()
    wait_for("the state to name it", lambda: (state(box)["service"] or {}).get("pid") == pid, PATIENCE)
    assert state(box)["service"]["start_ticks"] == int(stat(pid)[19])
    kill_supervise(box)
    (box.status / "state").write_bytes(before)
    succeed(box, *SLEEP)
    adopted(box, pid)
    assert copies(box) == [pid]


def test_identity_raises_where_nobody_can_look(monkeypatch: pytest.MonkeyPatch) -> None:
    own = Process(os.getpid(), False)

    def fail(*_: Any) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    for name in ("stat_of", "unique_inode", "proc_is_ours"):
        with monkeypatch.context() as context:
            context.setattr(f"supervise.system.pidfd.{name}", fail)
            with pytest.raises(OSError, match="Too many open files"):
                own.identity()
    own.close()


# Whose process it is that no state names.


def test_none_that_is_older_than_the_last_that_was_counted(box: Box) -> None:
    pid = leave_unnamed(box)
    service = state(box)["service"]
    edit_state(box, service={**service, "start_ticks": int(stat(pid)[19]) + 1})
    box.start(*SLEEP)
    assert box.pid != pid
    os.kill(pid, signal.SIGKILL)


def test_a_look_that_fails_among_those_that_no_state_names(box: Box) -> None:
    pid = leave_unnamed(box)
    code, said = with_fault(box, "/proc/{pid}/coredump_filter", "openat:error=EACCES")
    assert (code, "Permission denied" in said) == (111, True)
    assert copies(box) == [pid]
    assert "cannot tell whether the service of status/app still runs" in said
    assert with_fault(box, "/proc/{pid}/environ", "openat:error=EMFILE:when=1") == (0, "")
    adopted(box, pid)


def test_a_state_that_does_not_tell_its_process_from_others(box: Box) -> None:
    """Written where nobody could look for long (status_writer.py)."""
    pid = box.start(*SLEEP)
    kill_supervise(box)
    before = state(box)["service"]
    edit_state(box, service={**before, "start_ticks": 0, "pidfd_inode": None})
    assert f"pid {pid} runs: the state does not say what tells it from others" in started_refused(box)
    if before["pidfd_inode"] is not None:
        edit_state(box, service={**before, "start_ticks": 0})
        succeed(box, *SLEEP)
        adopted(box, pid)
    os.kill(pid, signal.SIGKILL)


def test_a_damaged_state_is_another_matter(box: Box) -> None:
    """That is known."""
    pid = box.start(*SLEEP)
    kill_supervise(box)
    Path(box.status / "state").write_bytes(b"{}\n")
    done = box.run("-u", "status/app", *SLEEP)
    assert done.returncode == 0 and "nothing is taken over" in done.stderr
    assert alive(pid)
    assert "held by pid" in started_refused(box)
    os.kill(pid, signal.SIGKILL)
