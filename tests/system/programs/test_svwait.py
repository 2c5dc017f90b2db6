"""svwait: until services are as somebody wants them, and not a moment of polling."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from conftest import PATIENCE, Box, wait_for
from tools import c_supervise, run_tool, started, watching


def test_what_is_so_already(box: Box) -> None:
    box.start("sleep", "1000")
    assert run_tool(box, "svwait", "-u", "app").returncode == 0
    box.control("d")
    box.wait_down()
    assert run_tool(box, "svwait", "-d", "app").returncode == 0
    box.control("x")
    box.wait_gone()
    assert run_tool(box, "svwait", "-x", "app").returncode == 0


@pytest.mark.parametrize(
    ("option", "before", "letters"),
    [("-u", "d", "u"), ("-d", "", "d"), ("-r", "", "R"), ("-r", "", "k"), ("-x", "", "dx")],
)
def test_it_ends_when_it_comes_true(box: Box, option: str, before: str, letters: str) -> None:
    box.start("sleep", "1000")
    if before:
        box.control(before)
        box.wait_down()
    with started(box, "svwait", option, "app") as process:
        wait_for("svwait to watch", lambda: watching(process.pid))
        assert process.poll() is None
        box.control(letters)
        assert process.wait(PATIENCE) == 0


def test_all_of_them_or_one(box: Box) -> None:
    other = Box(box.folder, "other")
    box.start("sleep", "1000")
    other.start("sleep", "1000")
    names = ("app", "other")
    with started(box, "svwait", "-d", "-o", *names) as one, started(box, "svwait", "-d", *names) as both:
        wait_for("both to watch", lambda: watching(one.pid) and watching(both.pid))
        box.control("d")
        assert one.wait(PATIENCE) == 0
        assert both.poll() is None
        other.control("d")
        assert both.wait(PATIENCE) == 0


def test_the_time_limit(box: Box) -> None:
    box.start("sleep", "1000")
    done = run_tool(box, "svwait", "-d", "-t", "0.1", "app")
    assert done.returncode == 99
    assert done.stderr == "svwait: fatal: cannot wait longer for status/app: not so within 0.1 seconds\n"


@pytest.mark.parametrize("option", ["-u", "-r"])
def test_without_a_supervise_it_can_not_come_true(box: Box, option: str) -> None:
    box.start("sleep", "1000")
    box.control("dx")
    box.wait_gone()
    done = run_tool(box, "svwait", option, "app")
    assert (done.returncode, done.stderr) == (111, "svwait: fatal: cannot wait for status/app: supervise not running\n")


def test_a_supervise_that_is_killed_is_noticed(box: Box) -> None:
    box.start("sleep", "1000")
    with started(box, "svwait", "-x", "app") as gone, started(box, "svwait", "-d", "app") as down:
        wait_for("both to watch", lambda: watching(gone.pid) and watching(down.pid))
        os.kill(box.supervisor, signal.SIGKILL)
        assert gone.wait(PATIENCE) == 0
        assert down.wait(PATIENCE) == 111


def test_a_supervise_that_gives_up(box: Box) -> None:
    box.conf("[global]\nalarm_interval : 60\nmax_tries : 1\n")
    box.start("sh", "-c", "exit 1")
    with started(box, "svwait", "-x", "app") as process:
        assert process.wait(PATIENCE) == 0
    done = run_tool(box, "svwait", "-u", "app")
    assert done.returncode == 111
    assert done.stderr == "svwait: fatal: cannot wait for status/app: supervise has given up\n"


def test_it_sleeps_while_nothing_happens(box: Box) -> None:
    box.start("sleep", "1000")
    with started(box, "svwait", "-d", "app") as process:
        wait_for("svwait to watch", lambda: watching(process.pid))
        switches = Path(f"/proc/{process.pid}/status")
        before = [line for line in switches.read_text().splitlines() if line.startswith("voluntary")]
        assert run_tool(box, "svwait", "-d", "-t", "0.5", "app").returncode == 99
        after = [line for line in switches.read_text().splitlines() if line.startswith("voluntary")]
        # What the other one opens and closes may wake it a few times; it does not wake itself.
        assert int(after[0].split()[1]) - int(before[0].split()[1]) < 20
        assert process.poll() is None


def test_the_same_service_by_two_paths(box: Box) -> None:
    box.start("sleep", "1000")
    with started(box, "svwait", "-d", "app", f"{box.status}") as process:
        wait_for("svwait to watch", lambda: watching(process.pid))
        box.control("d")
        assert process.wait(PATIENCE) == 0


def test_the_c_implementation(box: Box) -> None:
    with c_supervise(box) as supervise:
        with started(box, "svwait", "-r", "app") as process:
            wait_for("svwait to watch", lambda: watching(process.pid))
            box.control("R")
            assert process.wait(PATIENCE) == 0
        with started(box, "svwait", "-x", "app") as process:
            wait_for("svwait to watch", lambda: watching(process.pid))
            supervise.kill()
            assert process.wait(PATIENCE) == 0


@pytest.mark.parametrize(
    "args", [(), ("-u",), ("app",), ("-u", "-d", "app"), ("-u", "-t", "soon", "app"), ("-u", "-t", "-1", "app")]
)
def test_wrong_usage(box: Box, args: tuple[str, ...]) -> None:
    box.start("sleep", "1000")
    done = run_tool(box, "svwait", *args)
    assert done.returncode == 100 and done.stderr.startswith("svwait: fatal: ") and done.stderr.count("\n") == 1


def test_an_unknown_name(box: Box) -> None:
    box.start("sleep", "1000")
    done = run_tool(box, "svwait", "-u", "ap")
    assert done.returncode == 100
    assert done.stderr == "svwait: fatal: cannot find a service named 'ap'; the services in status are: app\n"
