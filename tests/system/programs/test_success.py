"""svc and svwait say 0 where what was asked for has come of it, and how it went wrong where not."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from conftest import PATIENCE, Box, wait_for
from tools import run_tool, started, watching

# Ends at once as long as there is a file `die`.
MORTAL = ("sh", "-c", "if test -e die; then echo no such port >&2; exit 3; fi; exec sleep 1000")
LAST = "; the last line of its stderr: no such port\n"
AGAIN = "it exited with status 3 after 0."


def failed(done: Any, program: str, said: str, end: str) -> None:
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done
    assert done.stderr.startswith(f"{program}: fatal: {said}"), done
    assert done.stderr.endswith(end), done


def test_a_service_that_dies_at_once(box: Box) -> None:
    box.start(*MORTAL)
    (box.folder / "die").touch()
    for verb in ("restart", "start"):
        done = run_tool(box, "svc", verb, "app")
        failed(done, "svc", f"cannot {verb} status/app: {AGAIN}", f" seconds, and is started again{LAST}")
    failed(run_tool(box, "svwait", "-s", "app"), "svwait", f"cannot wait for status/app: {AGAIN}", LAST)
    (box.folder / "die").unlink()
    assert run_tool(box, "svc", "start", "app").returncode == 0
    assert run_tool(box, "svwait", "-s", "app").returncode == 0


def test_it_is_not_waited_for_when_only_sent(box: Box) -> None:
    box.start(*MORTAL)
    (box.folder / "die").touch()
    assert run_tool(box, "svc", "restart", "--no-wait", "app").returncode == 0


def test_a_service_that_is_not_restarted(box: Box) -> None:
    box.conf("[global]\nautorestart : never\n")
    box.start(*MORTAL)
    (box.folder / "die").touch()
    done = run_tool(box, "svc", "restart", "app")
    failed(done, "svc", f"cannot restart status/app: {AGAIN}", f" seconds, and is not restarted{LAST}")


def test_a_supervise_that_gives_up(box: Box) -> None:
    box.conf("[global]\nalarm_interval : 60\nmax_tries_if_coredumped : 0\nmax_tries : 1\n")
    box.start(*MORTAL)
    (box.folder / "die").touch()
    with started(box, "svwait", "-x", "app") as gone:
        wait_for("svwait to watch", lambda: watching(gone.pid))
        said = [run_tool(box, "svc", "restart", "app").stderr]
        assert gone.wait(PATIENCE) == 0
    assert said[0].startswith(f"svc: fatal: cannot restart status/app: {AGAIN}")


def test_a_service_that_ends_a_little_later(box: Box) -> None:
    """It is waited for as long as startsecs says, and fails within that."""
    box.conf("[app]\nstartsecs : 20\n")
    box.start("sh", "-c", "test -e slow && { sleep 0.5; echo lost the database; exit 1; }; exec sleep 1000")
    (box.folder / "slow").touch()
    done = run_tool(box, "svc", "restart", "app")
    said = "cannot restart status/app: it exited with status 1 after 0."
    failed(done, "svc", said, "the last line of its stdout: lost the database\n")


def test_a_limit_that_is_shorter_than_startsecs(box: Box) -> None:
    box.conf("[app]\nstartsecs : 1000\n")
    pid = box.start("sleep", "1000")
    done = run_tool(box, "svc", "start", "--wait", "0.3", "app")
    assert done.returncode == 99
    assert done.stderr.startswith(f"svc: fatal: cannot start status/app within 0.3 seconds: it is up (pid {pid}) ")
    assert run_tool(box, "svwait", "-s", "-t", "0.3", "app").returncode == 99


def test_a_service_that_does_not_get_ready(box: Box) -> None:
    box.conf("[app]\nnotify : yes\nstarttimeoutsecs : 1\n")
    box.start(sys.executable, "-c", "import time; print('connecting', flush=True); time.sleep(1000)")
    done = run_tool(box, "svc", "restart", "app")
    said = "cannot restart status/app: it was killed by signal 15 (TERM), ended by supervise: not ready within 1 "
    failed(done, "svc", said, "the last line of its stdout: connecting\n")


def test_a_program_that_is_gone(box: Box) -> None:
    (box.folder / "app").write_text("#!/bin/sh\nexec sleep 1000\n")
    (box.folder / "app").chmod(0o755)
    box.start("./app")
    (box.folder / "app").unlink()
    done = run_tool(box, "svc", "restart", "app")
    failed(done, "svc", "cannot restart status/app: it could not be started: ", "and is started again\n")


def test_a_service_that_runs_once(box: Box) -> None:
    box.start("sh", "-c", "test -e code && exit $(cat code); exec sleep 1000")
    run_tool(box, "svc", "stop", "app")
    (box.folder / "code").write_text("0")
    done = run_tool(box, "svc", "once", "app")
    assert (done.returncode, done.stdout, done.stderr) == (0, "status/app: has run once and is down\n", "")
    (box.folder / "code").write_text("4")
    done = run_tool(box, "svc", "once", "app")
    failed(done, "svc", "cannot run status/app once: it exited with status 4 after 0.", ", and is not restarted\n")


def test_a_configuration_with_problems(box: Box) -> None:
    box.start("sleep", "1000")
    box.conf("[app]\nmax_tries : many\nstartsecs : 2\nfrob : 1\n")
    done = run_tool(box, "svc", "reload", "app")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        "svc: fatal: cannot reload all of status/app: supervise.conf:2: max_tries: 'many' is not a whole number",
        "svc: fatal: cannot reload all of status/app: supervise.conf:4: unknown key 'frob': probably a typo",
    ]
    assert run_tool(box, "svc", "app", "reconf").returncode == 1
    box.conf("[app]\nmax_tries : 4\n")
    done = run_tool(box, "svc", "reload", "app")
    assert (done.returncode, done.stdout, done.stderr) == (0, "status/app: read the configuration again\n", "")


def test_a_configuration_that_cannot_be_read_or_is_gone(box: Box) -> None:
    box.conf("")
    box.start("sleep", "1000", options=("-F", "supervise.conf"))
    (box.folder / "supervise.conf").unlink()
    (box.folder / "supervise.conf").mkdir()
    done = run_tool(box, "svc", "reload", "app")
    assert done.returncode == 1 and "supervise.conf: cannot be read: Is a directory" in done.stderr
    (box.folder / "supervise.conf").rmdir()
    done = run_tool(box, "svc", "reload", "app")
    assert done.returncode == 1 and done.stderr.endswith("supervise.conf does not exist: no policy\n")


@pytest.mark.parametrize("name", ["bad", "good"])
def test_the_gravest_of_several(box: Box, name: str) -> None:
    other = Box(box.folder, "other")
    other.start("sleep", "1000")
    box.start(*MORTAL)
    if name == "bad":
        (box.folder / "die").touch()
    done = run_tool(box, "svc", "restart", "app", "other")
    assert done.returncode == (name == "bad")
    assert "status/other: restarted" in done.stdout
