"""What the loop cannot look at is not gone: it is said, and looked at again (recheck.py)."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import Box, alive, wait_for
from system import needs

from supervise.runtime.event_log import Log
from supervise.service.recheck import Rechecks
from supervise.system.members import in_group
from supervise.system.statusdir import StatusDir

FAMILY = ("sh", "-c", "sleep 86398 & echo $!; exec sleep 86399")


@contextmanager
def fault(pid: int, path: str, inject: str) -> Iterator[None]:
    """A system call of a process fails, on this path, for as long as this lasts."""
    needs("strace")
    command = ["strace", "-o", "/dev/null", "-P", path, f"--inject={inject}", "-p", str(pid)]
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert tracer.stderr
    said = tracer.stderr
    wait_for("strace", lambda: "attached" in said.readline())
    try:
        yield
    finally:
        tracer.terminate()
        tracer.communicate()


def family(box: Box, conf: str = "") -> tuple[int, int]:
    """A service with a child in its process group, which outlives it."""
    box.conf(f"[app]\n{conf}")
    pid = box.start(*FAMILY)
    return pid, int(box.wait_stdout("\n"))


def test_what_is_left_is_ended_when_it_can_be_seen_again(box: Box) -> None:
    pid, child = family(box, "killasgroup : yes\nstopwaitsecs : 60\n")
    with fault(box.supervisor, f"/proc/{child}/stat", "openat:error=EMFILE"):
        os.kill(pid, 9)
        box.wait_warning("cannot look at what is left of the service: Too many open files; looking again")
        assert alive(child)
        assert box.pid == 0, "the next is not started before that"
    box.wait_new_pid(pid)
    assert not alive(child)
    box.wait_log(f"pids {child}")
    assert box.warnings.count("cannot look at") == 1


def test_what_is_left_is_reported_when_it_can_be_seen_again(box: Box) -> None:
    pid, child = family(box)
    with fault(box.supervisor, f"/proc/{child}/stat", "openat:error=ENOMEM"):
        os.kill(pid, 9)
        box.wait_warning("cannot look at what is left of the service: Cannot allocate memory")
        box.wait_new_pid(pid)
    box.wait_warning(f"left of the service: pid {child} (")
    os.kill(child, 9)


def test_a_pidfile_names_a_process_that_cannot_be_looked_at(box: Box) -> None:
    pid, child = family(box, "pidfile : app.pid\n")
    with fault(box.supervisor, f"/proc/{child}/stat", "openat:error=EMFILE"):
        (box.folder / "app.pid").write_text(f"{child}\n")
        box.wait_warning(f"cannot look at pid {child}, named by the pidfile: Too many open files")
        assert box.pid == pid
    wait_for("another main process", lambda: box.pid == child)
    assert "ignored pid" not in box.warnings


def test_who_is_in_its_process_group_is_known_without_a_descriptor() -> None:
    process = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    try:
        assert in_group(process.pid, process.pid, process.pid)
        assert not in_group(process.pid, process.pid, os.getsid(0))
        assert not in_group(os.getpid(), process.pid, process.pid)
        assert not in_group(-1, process.pid, process.pid) and not in_group(1 << 70, 1, 1)
    finally:
        process.kill()
        process.wait()


def test_it_is_said_once_and_asked_until_it_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = StatusDir(str(tmp_path / "status/app"))
    log = Log(directory)
    rechecks = Rechecks(log)
    asked: list[str] = []

    def ask(word: str) -> None:
        asked.append(word)
        if len(asked) < 4:
            rechecks.add("it", OSError(errno.EIO, os.strerror(errno.EIO)), ask, word)

    assert rechecks.due is None
    ask("word")
    pauses = []
    while rechecks.due is not None:
        now = rechecks.due
        rechecks.on_time(now)
        pauses.append((rechecks.due or now) - now)
    assert asked == ["word"] * 4
    assert pauses[0] < pauses[1], "less and less often"
    log.flush()
    assert (tmp_path / "status/app/supervise.log.wf").read_text().count("cannot look at it: Input/output error") == 1
    os.close(directory.fd)
