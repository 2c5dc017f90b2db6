"""A supervise is killed while nothing could be written for some time: its successor finds the service all the same."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from conftest import SUPERVISE, Box, alive, wait_for
from heirs import SLEEP, adopted, copies, kill_supervise, start, state, succeed
from test_adopt_doubt import FORKER, child_of

from supervise.system import start_tag

QUICK = "[global]\nrestart_delay : 0\n"


def nothing_can_be_written(box: Box, most: int = 0) -> None:
    """As on a full disk: no file of supervise's may have more bytes than that."""
    resource.prlimit(box.supervisor, resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))


def runs(box: Box, command: bytes) -> int:
    """The child of supervise that has this command line and leads a process group; 0 if there is none."""
    found = []
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            try:
                fields = (place / "stat").read_text().rpartition(")")[2].split()
                if (place / "cmdline").read_bytes() != command:
                    continue
            except OSError:
                continue
            if int(fields[1]) == box.supervisor and fields[2] == place.name and fields[0] != "Z":
                found.append(int(place.name))
    return found[0] if found else 0


def restart(box: Box, pid: int) -> int:
    """Kill the service; the next one."""
    command = Path(f"/proc/{pid}/cmdline").read_bytes()
    os.kill(pid, signal.SIGKILL)
    wait_for("its end", lambda: not alive(pid))
    return wait_for("another service", lambda: runs(box, command))


def child_that_leads(pid: int) -> int:
    """The child of a FORKER, once it has become what it is to be."""
    child = child_of(pid)
    return child if child and Path(f"/proc/{child}/comm").read_text() == "sleep\n" else 0


@pytest.mark.parametrize("restarts", [1, 2, 3])
def test_the_service_was_restarted_meanwhile(box: Box, restarts: int) -> None:
    box.conf(QUICK)
    pid = start(box, *SLEEP)
    before = (box.status / "state").read_bytes()
    nothing_can_be_written(box)
    for _ in range(restarts):
        pid = restart(box, pid)
    kill_supervise(box)
    assert (box.status / "state").read_bytes() == before
    succeed(box, *SLEEP)
    adopted(box, pid)
    assert copies(box) == [pid]


def test_what_it_left_behind_meanwhile_is_not_the_service(box: Box) -> None:
    box.conf(QUICK)
    command = (sys.executable, "-S", "-E", "-c", FORKER, "exec")
    pid = start(box, *command)
    nothing_can_be_written(box)
    left = []
    for _ in range(3):
        left.append(wait_for("its child", partial(child_that_leads, pid)))
        pid = restart(box, pid)
    left.append(wait_for("its child", partial(child_that_leads, pid)))
    kill_supervise(box)
    succeed(box, *command)
    adopted(box, pid)
    assert all(alive(child) for child in left)


def test_the_marks_go_on_when_it_can_be_written_again(box: Box) -> None:
    box.conf(QUICK)
    pid = start(box, *SLEEP)
    nothing_can_be_written(box)
    for _ in range(2):
        pid = restart(box, pid)
    repeated = start_tag.of(pid)
    nothing_can_be_written(box, resource.RLIM_INFINITY)
    wait_for("the state", lambda: (state(box)["service"] or {}).get("pid") == pid)
    box.control("s")
    wait_for("another mark", lambda: state(box)["next_mark"] != repeated)
    assert start_tag.of(box.supervisor) == state(box)["next_mark"]
    pid = restart(box, pid)
    assert start_tag.of(pid) != repeated
    wait_for("the state", lambda: (state(box)["service"] or {}).get("pid") == pid)
    kill_supervise(box)
    succeed(box, *SLEEP)
    adopted(box, pid)
    assert copies(box) == [pid]


@pytest.mark.parametrize("older", [False, True])
def test_a_start_that_can_write_no_state_is_refused(box: Box, older: bool) -> None:
    before = {}
    if older:
        start(box, *SLEEP)
        box.control("dx")
        box.wait_gone()
        before = {name: (box.status / name).read_bytes() for name in ("status", "state", "lock")}
    command = ["sh", "-c", 'ulimit -f 1; exec "$@"', "sh", SUPERVISE, "-u", f"status/{box.name}", *SLEEP]  # 512 bytes
    done = subprocess.run(
        command, cwd=box.folder, env=box.env, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 111
    assert "fatal: cannot write status/app/state: No space left on device\n" in done.stderr
    assert copies(box) == []
    if older:
        assert {name: (box.status / name).read_bytes() for name in before} == before
    else:
        assert not box.status.exists()
