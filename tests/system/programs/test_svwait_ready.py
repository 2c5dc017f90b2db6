"""svwait -U and Service.wait("ready"): until a service is up, and ready if it is one that says so."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from conftest import PATIENCE, Box, wait_for
from pretended import PID, pretended, state
from ready_table import READY
from tools import c_supervise, run_tool, started, watching

from supervise import client
from supervise.client import Service

FAULTY = {"code": None, "signal": 6, "fault": "hung: no WATCHDOG=1 for 10 seconds"}


def test_what_is_ready_is_so_by_the_files(box: Box) -> None:
    """As test_client_status.py has it of values."""
    with pretended(box) as supervise:
        service = Service(box.status)
        for fields, ready in READY:
            supervise.write(**fields)
            assert service.status().ready is ready, fields
        supervise.write(phase="ready")
        supervise.end()
        assert not service.status().ready


@pytest.mark.parametrize("phase", [None, "ready", "reloading"])
def test_what_is_so_already(box: Box, phase: str | None) -> None:
    with pretended(box) as supervise:
        supervise.write(phase=phase)
        assert run_tool(box, "svwait", "-U", "app").returncode == 0


@pytest.mark.parametrize(
    "fields",
    [
        {"phase": "starting"},
        {"phase": "stopping"},
        {"phase": "starting", "machine": "aborting"},
        {"pid": 0, "machine": "delay"},
        {"pid": 0, "want": "down", "machine": "idle"},
        # Not restarted, as its autorestart has it: somebody else may start it.
        {"pid": 0, "machine": "idle", "last_exit": {}},
    ],
)
def test_it_ends_as_soon_as_the_service_is_ready(box: Box, fields: dict[str, Any]) -> None:
    with pretended(box) as supervise:
        supervise.write(**fields)
        with started(box, "svwait", "-U", "app") as process:
            wait_for("svwait to watch", lambda: watching(process.pid))
            supervise.write(PID + 1, phase="starting", status_text="nearly")
            wait_for("svwait to watch again", lambda: watching(process.pid))
            assert process.poll() is None
            supervise.write(PID + 1, phase="ready")
            assert process.wait(PATIENCE) == 0


def test_a_new_process_with_the_state_of_the_old_is_not_ready(box: Box) -> None:
    with pretended(box) as supervise:
        supervise.write(phase="ready")
        supervise.write_record(PID + 1)
        done = run_tool(box, "svwait", "-U", "-t", "0.1", "app")
        assert done.returncode == 99
        assert done.stderr == "svwait: fatal: cannot wait longer for status/app: not so within 0.1 seconds\n"
        assert run_tool(box, "svwait", "-u", "app").returncode == 0


def test_all_of_them_or_one(box: Box) -> None:
    other = Box(box.folder, "other")
    with pretended(box) as supervise, pretended(other) as second:
        supervise.write(phase="starting")
        second.write(phase="starting")
        names = ("app", "other")
        with started(box, "svwait", "-U", "-o", *names) as one, started(box, "svwait", "-U", *names) as both:
            wait_for("both to watch", lambda: watching(one.pid) and watching(both.pid))
            supervise.write(phase="ready")
            assert one.wait(PATIENCE) == 0
            assert both.poll() is None
            second.write(phase="ready")
            assert both.wait(PATIENCE) == 0


@pytest.mark.parametrize(("gave_up", "why"), [(False, "supervise not running"), (True, "supervise has given up")])
def test_without_a_supervise_it_can_not_come_true(box: Box, gave_up: bool, why: str) -> None:
    with pretended(box) as supervise:
        supervise.write(phase="starting")
        with started(box, "svwait", "-U", "app") as process:
            wait_for("svwait to watch", lambda: watching(process.pid))
            supervise.write(0, machine="ended", gave_up=gave_up, last_exit=FAULTY)
            supervise.end()
            assert process.wait(PATIENCE) == 111
            assert process.stderr and process.stderr.read() == f"svwait: fatal: cannot wait for status/app: {why}\n"


def test_a_damaged_state_does_not_tell(box: Box) -> None:
    with pretended(box) as supervise:
        (supervise.path / "state").write_bytes(b"{")
        done = run_tool(box, "svwait", "-U", "app")
        assert done.returncode == 111
        assert done.stderr == "svwait: fatal: cannot read status/app/state: damaged: not JSON\n"
        assert run_tool(box, "svwait", "-u", "app").returncode == 0


def test_a_service_that_does_not_say(box: Box) -> None:
    box.start("sleep", "1000")
    assert run_tool(box, "svwait", "-U", "app").returncode == 0
    box.control("d")
    box.wait_down()
    with started(box, "svwait", "-U", "app") as process:
        wait_for("svwait to watch", lambda: watching(process.pid))
        box.control("u")
        assert process.wait(PATIENCE) == 0


# Says what it is told to say by the names of files, in the protocol of sd_notify.
TALKER = """
import os, socket, time
address = os.environ["NOTIFY_SOCKET"]
speaker = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
speaker.connect("\\0" + address[1:] if address[0] == "@" else address)
speaker.send(b"STATUS=reading \\x1b[2J\\xff")
while not os.path.exists("go"):
    time.sleep(0.01)
speaker.send(b"READY=1\\nSTATUS=serving")
time.sleep(1000)
"""


def test_a_service_that_says_so(box: Box) -> None:
    box.conf("[global]\nnotify : yes\n")
    pid = box.start(sys.executable, "-c", TALKER)
    wait_for("what it says", lambda: "says" in run_tool(box, "svstat").stdout)
    said = run_tool(box, "svstat").stdout
    assert said.startswith(f"status/app: up (pid {pid}) ") and said.rstrip("\n").isprintable()
    assert ' seconds, starting, 0 restarts, says "reading ' in said
    assert run_tool(box, "svwait", "-u", "app").returncode == 0
    with started(box, "svwait", "-U", "app") as process:
        wait_for("svwait to watch", lambda: watching(process.pid))
        assert process.poll() is None
        (box.folder / "go").touch()
        assert process.wait(PATIENCE) == 0
    said = run_tool(box, "svstat").stdout
    assert ' seconds, ready, 0 restarts, says "serving"' in said
    done = run_tool(box, "svc", "restart", "app")
    assert (done.stdout, done.stderr) == (f"status/app: restarted (pid {pid}, now {box.pid}), ready\n", "")


def test_the_c_implementation(box: Box) -> None:
    with c_supervise(box):
        assert run_tool(box, "svwait", "-U", "app").returncode == 0
        box.control("d")
        box.wait_down()
        assert run_tool(box, "svwait", "-U", "-t", "0.1", "app").returncode == 99


def test_an_older_release(box: Box) -> None:
    with pretended(box) as supervise:
        fields = state()
        for name in ("phase", "phase_time", "status_text", "quick_exits", "watchdog", "fault", "notify_address"):
            del fields[name]
        del fields["totals"]["expected"], fields["totals"]["hangs"]
        supervise.write_state(fields)
        assert run_tool(box, "svwait", "-U", "app").returncode == 0


@pytest.mark.parametrize("args", [("-U",), ("-U", "-u", "app"), ("-Ud", "app")])
def test_wrong_usage(box: Box, args: tuple[str, ...]) -> None:
    with pretended(box):
        done = run_tool(box, "svwait", *args)
    assert done.returncode == 100 and done.stderr.startswith("svwait: fatal: wrong usage")


def test_the_python_interface(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(box.folder)
    with pretended(box) as supervise:
        supervise.write(phase="starting", phase_time=1e9, status_text="reading\33[2J")
        service = Service("app")
        status = service.status()
        assert (status.running, status.ready, status.phase, status.machine) == (True, False, "starting", "running")
        assert status.phase_seconds is not None and status.phase_seconds > 1e6
        assert status.status_text == "reading\33[2J"
        with pytest.raises(client.TimeLimit) as caught:
            service.wait("ready", 0.01)
        assert caught.value.status and caught.value.status.phase == "starting"
        supervise.write(phase="ready")
        assert service.wait("ready", PATIENCE).phase == "ready"
        supervise.write(phase="ready", machine="aborting", fault="hung")
        assert (service.status().ready, service.status().fault) == (False, "hung")
        old = {"phase": "ready", "fault": "hung"}
        supervise.write(0, machine="idle", last_exit=FAULTY, quick_exits=3, totals={"hangs": 2}, **old)
        status = service.status()
        assert (status.ready, status.phase, status.phase_seconds, status.status_text) == (False, None, None, None)
        assert status.fault is None
        assert (status.finished, status.quick_exits, status.hangs) == (True, 3, 2)
        assert status.last_exit and status.last_exit.fault == FAULTY["fault"]
        assert str(status.last_exit) == (
            "was killed by signal 6 (ABRT), ended by supervise: hung: no WATCHDOG=1 for 10 seconds"
        )
        supervise.end()
        with pytest.raises(client.CannotComeTrue):
            service.wait("ready")


def test_the_python_interface_without_a_state(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(box.folder)
    with c_supervise(box):
        status = Service("app").wait("ready", PATIENCE)
    assert (status.phase, status.phase_seconds, status.status_text, status.machine) == (None,) * 4
    assert (status.next_start_seconds, status.hangs, status.quick_exits, status.finished) == (None, None, None, False)
