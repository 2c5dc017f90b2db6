"""svstat says what is amiss: --failed, checks that fail, processes that a signal has stopped; how wide its table is."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess

import pexpect
from conftest import PATIENCE, Box, wait_for
from pretended import pretended
from tools import BIN, run_tool, svstat

from supervise.protocol.record import Record


def test_the_table_is_as_wide_as_the_terminal_and_whole_in_a_pipe(box: Box) -> None:
    path = box.folder / "status" / ("long-" * 30)
    path.mkdir(parents=True)
    (path / "status").write_bytes(Record(0, False, "up", True, 0).encode())
    assert "long-" * 30 in run_tool(box, "svstat", "--long", COLUMNS="60").stdout
    env = {**box.env, "TERM": "dumb"}
    said = pexpect.run(f"{BIN / 'svstat'} --long", cwd=str(box.folder), env=env, dimensions=(24, 80), timeout=PATIENCE)
    assert max(map(len, said.decode().splitlines())) <= 80 and b"..." in said


def test_only_those_that_fail(box: Box) -> None:
    box.start("sleep", "1000")
    done = run_tool(box, "svstat", "--failed")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert run_tool(box, "svstat", "--failed", "--long").stdout == ""
    assert json.loads(run_tool(box, "svstat", "--failed", "--json").stdout)["services"] == []
    bad = Box(box.folder, "bad")
    bad.conf("[bad]\nautorestart : no\n")
    bad.start("sh", "-c", "exit 3")
    bad.wait_log("not restarted")
    done = run_tool(box, "svstat", "--failed")
    assert (done.returncode, done.stderr) == (1, "") and done.stdout.startswith("status/bad: down ")
    done = run_tool(box, "svstat", "--failed", "--long", "app", "bad")
    assert done.returncode == 1 and [text.split()[0] for text in done.stdout.splitlines()] == ["SERVICE", "bad"]
    (service,) = json.loads(run_tool(box, "svstat", "--failed", "--json").stdout)["services"]
    assert (service["name"], service["failing"], service["last_exit"]["expected"]) == ("bad", True, False)
    assert run_tool(box, "svstat", "--failed", "app").returncode == 0
    assert run_tool(box, "svstat", "--failed", "nope", "bad").returncode == 100


def test_an_exit_code_that_is_expected_is_no_failure(box: Box) -> None:
    box.conf("[app]\nautorestart : unexpected\nexitcodes : 3\n")
    box.start("sh", "-c", "exit 3")
    box.wait_log("not restarted")
    assert run_tool(box, "svstat", "--failed").returncode == 0
    assert json.loads(svstat(box, "--json"))["services"][0]["last_exit"]["expected"] is True


def test_a_run_that_failed(box: Box) -> None:
    box.start("sh", "-c", "test -e bad && exit 3; exec sleep 1000")
    assert run_tool(box, "svc", "stop", "app").returncode == 0
    (box.folder / "bad").touch()
    box.control("o")
    wait_for("its end", lambda: "ended, not restarted" in run_tool(box, "svstat").stdout)
    done = run_tool(box, "svstat", "--failed")
    assert (done.returncode, done.stderr) == (1, "") and done.stdout.startswith("status/app: down ")
    (box.folder / "bad").unlink()
    box.control("o")
    box.wait_new_pid(0)
    wait_for("the run", lambda: run_tool(box, "svstat", "--failed").returncode == 0)
    assert run_tool(box, "svc", "stop", "app").returncode == 0
    assert run_tool(box, "svstat", "--failed").returncode == 0
    box.control("o")
    box.wait_new_pid(0)
    box.control("k")
    box.wait_down()
    assert wait_for("its end", lambda: run_tool(box, "svstat", "--failed").stdout).startswith("status/app: down ")


# Stopped by a signal.


def test_one_that_a_signal_has_stopped_is_not_plainly_up(box: Box) -> None:
    pid = box.start("sleep", "1000")
    os.kill(pid, signal.SIGSTOP)
    assert wait_for("it to stop", lambda: ", stopped by a signal, 0 restarts" in svstat(box))
    assert "stopped by a signal" in svstat(box, "--long")
    found = json.loads(svstat(box, "--json"))["services"][0]
    assert (found["stopped"], found["paused"], found["failing"]) == (True, False, True)
    os.kill(pid, signal.SIGCONT)
    wait_for("it to go on", lambda: "stopped" not in svstat(box))
    box.control("p")
    wait_for("the pause", lambda: ", paused, 0 restarts" in svstat(box))
    found = json.loads(svstat(box, "--json"))["services"][0]
    assert (found["stopped"], found["paused"], found["failing"]) == (False, True, False)
    box.control("c")
    wait_for("it to go on", lambda: "paused" not in svstat(box))


def test_another_process_of_that_number_is_not_taken_for_it(box: Box) -> None:
    with pretended(box) as supervise:
        sleeper = subprocess.Popen(["sleep", "1000"])
        try:
            os.kill(sleeper.pid, signal.SIGSTOP)
            supervise.write(sleeper.pid)
            assert json.loads(svstat(box, "--json"))["services"][0]["stopped"] is None, "nobody knows"
            assert "stopped" not in svstat(box)
        finally:
            sleeper.kill()
            sleeper.wait()


def test_a_check_that_fails_is_seen(box: Box) -> None:
    box.conf("[app]\ncheck_command : sh -c 'echo it is sick; exit 3'\ncheck_interval : 1\ncheck_failures : 1000\n")
    box.start("sleep", "1000")
    said = wait_for("a failure", lambda: re.search(r"check failing.*", svstat(box)))[0]
    assert re.fullmatch(
        r"check failing for \d+ seconds? \(while it starts\): exited with status 3, 0 restarts, "
        r'check says "it is sick"', said
    )  # fmt: skip
    assert run_tool(box, "svstat", "--failed").returncode == 0
    found = json.loads(svstat(box, "--json"))["services"][0]["health"]
    assert (found["healthy"], found["starting"], found["failure"]) == (False, True, "exited with status 3")
    assert found["output"] == "it is sick" and 0 <= found["seconds"] < PATIENCE
    box.conf("[app]\ncheck_command : sh -c 'exit 3'\ncheck_delay : 0\ncheck_interval : 1\ncheck_failures : 1000\n")
    wait_for("failures that count", lambda: " of 1000): exited with status 3, 0 restarts\n" in svstat(box))
    assert run_tool(box, "svstat", "--failed").returncode == 1
    assert "up, failing" in svstat(box, "--long") and "check: exited with status 3 (" in svstat(box, "--long")
    box.conf("[app]\ncheck_command : true\ncheck_interval : 1\n")
    wait_for("a success", lambda: (json.loads(svstat(box, "--json"))["services"][0]["health"] or {}).get("healthy"))
    assert "check" not in svstat(box)
