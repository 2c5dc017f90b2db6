"""Z in /proc/PID/stat is the state of a process's first thread; the process ends with its last."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import PATIENCE, Box, alive, wait_for
from heirs import adopted, kill_supervise, stat, state, succeed
from leaderless import COMMAND, start, wait_leaderless
from tools import run_tool

from supervise.system import start_tag
from supervise.system.members import belongs, children, group_members
from supervise.system.pidfd import Process
from supervise.system.procfs import read_of, stat_of


@pytest.fixture
def leaderless() -> Iterator[int]:
    """Such a process as a child of the test, in a session of its own."""
    process = subprocess.Popen([*COMMAND, "word"], start_new_session=True, stdout=subprocess.DEVNULL)
    wait_leaderless(process.pid)
    yield process.pid
    process.kill()
    process.wait()


def test_it_is_alive_to_all_who_look(leaderless: int) -> None:
    assert stat(leaderless)[0] == "Z"
    assert stat_of(leaderless).running
    assert belongs(leaderless, 0, set())
    assert leaderless in children(set())
    assert group_members(leaderless, leaderless) == [leaderless]
    process = Process(leaderless, False)
    assert process.alive()
    process.close()


def test_what_belongs_to_its_memory_is_read_through_a_thread(leaderless: int) -> None:
    with pytest.raises(ProcessLookupError):
        Path(f"/proc/{leaderless}/environ").read_bytes()
    assert b"PATH=" + os.environb[b"PATH"] in read_of(leaderless, "environ").split(b"\0")
    assert read_of(leaderless, "cmdline").split(b"\0")[-2] == b"word"
    assert start_tag.of(leaderless) == start_tag.of(os.getpid()) is not None


def test_a_zombie_is_dead_and_has_nothing_to_read() -> None:
    process = subprocess.Popen(["true"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not stat_of(process.pid).running
    assert read_of(process.pid, "environ") == b""
    assert start_tag.of(process.pid) is None
    process.wait()
    assert read_of(process.pid, "environ") == b""


def test_it_is_taken_over(box: Box) -> None:
    pid = start(box)
    kill_supervise(box)
    succeed(box, *COMMAND)
    adopted(box, pid)
    assert box.stdout().count("ready\n") == 1, "there is a second copy"
    box.control("d")
    box.wait_down()
    assert not alive(pid)


def test_it_is_taken_over_where_the_state_does_not_name_it_yet(box: Box) -> None:
    first = start(box)
    before = (box.status / "state").read_bytes()
    box.control("k")
    pid = box.wait_new_pid(first)
    wait_for("the state to name it", lambda: (state(box)["service"] or {}).get("pid") == pid)
    wait_leaderless(pid)
    kill_supervise(box)
    (box.status / "state").write_bytes(before)
    succeed(box, *COMMAND)
    adopted(box, pid)
    box.wait_stdout("ready\n", 2)


def test_letters_and_programs(box: Box) -> None:
    pid = start(box)
    assert run_tool(box, "svwait", "-u", "-t", "20", "app").returncode == 0
    assert run_tool(box, "svok", "app").returncode == 0
    box.control("1")
    box.wait_log("command 1:")
    assert (box.pid, alive(pid)) == (pid, True)
    kill_supervise(box)
    assert f"the service runs on (pid {pid})" in run_tool(box, "svstat", "app").stdout
    succeed(box, *COMMAND)
    adopted(box, pid)
    assert run_tool(box, "svc", "stop", "app").returncode == 0
    assert run_tool(box, "svwait", "-d", "-t", "20", "app").returncode == 0
    assert not alive(pid)


def test_its_figures(box: Box) -> None:
    start(box)
    (found,) = json.loads(run_tool(box, "svstat", "--json", "app").stdout)["services"]
    assert found["memory"] > 8 << 20
    assert found["processes"] == 1


def test_killasgroup_ends_it(box: Box) -> None:
    """The main process and a child, both without their first threads; only the child is left when the former ends."""
    box.conf("[app]\nkillasgroup : yes\nstopwaitsecs : 10\n")
    pid = start(box, "child")
    child = wait_for("a child", lambda: next((one for one in group_members(pid, box.supervisor) if one != pid), 0))
    wait_leaderless(child)
    box.wait_stdout("ready\n", 2)
    os.kill(pid, signal.SIGKILL)
    box.wait_new_pid(pid)
    assert f"sending TERM to what is left of process group {pid}: pids {child}" in box.wait_log("what is left")
    wait_for("the child to be gone", lambda: not alive(child), PATIENCE)


def test_without_killasgroup_it_is_reported(box: Box) -> None:
    pid = start(box, "child")
    child = wait_for("a child", lambda: next((one for one in group_members(pid, box.supervisor) if one != pid), 0))
    wait_leaderless(child)
    os.kill(pid, signal.SIGKILL)
    box.wait_new_pid(pid)
    box.wait_warning(f"left of the service: pid {child} (")
    os.kill(child, signal.SIGKILL)
