"""svstat: daemontools' line and what follows it, the table, the document, and what cannot be read."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from typing import Any

import pexpect
import pytest
from conftest import PATIENCE, Box
from pretended import HEALTHY, SICK, pretended, status_of
from tools import BIN, c_supervise, closed, run_tool, svstat

from supervise.client import Status
from supervise.programs.svstat.line import beginning, line
from supervise.protocol.record import Record


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (Record(0, False, "up", True, 4711), "up (pid 4711) 86400 seconds"),
        (Record(0, True, "up", True, 4711), "up (pid 4711) 86400 seconds, paused"),
        (Record(0, False, "down", True, 4711), "up (pid 4711) 86400 seconds, want down"),
        (Record(0, False, "once", True, 4711), "up (pid 4711) 86400 seconds"),
        (Record(0, False, "up", True, 0), "down 86400 seconds, normally up, want up"),
        (Record(0, False, "down", True, 0), "down 86400 seconds, normally up"),
    ],
)
def test_it_begins_as_daemontools(record: Record, said: str) -> None:
    status = Status(True, record, None)
    status.seconds = 86400.9
    assert beginning(status) == said
    status.supervised = False
    assert beginning(status) == "supervise not running"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "up (pid 1000001) 7 seconds, 0 restarts"),
        ({"phase": "starting"}, "up (pid 1000001) 7 seconds, starting, 0 restarts"),
        ({"phase": "ready"}, "up (pid 1000001) 7 seconds, ready, 0 restarts"),
        ({"phase": "reloading"}, "up (pid 1000001) 7 seconds, reloading, 0 restarts"),
        ({"phase": "stopping"}, "up (pid 1000001) 7 seconds, stopping, 0 restarts"),
        ({"phase": "\33[1m"}, "up (pid 1000001) 7 seconds, 0 restarts"),
        ({"phase": "ready", "service": None}, "up (pid 1000001) 7 seconds, 0 restarts"),
        ({"want": "down", "machine": "stopping"}, "up (pid 1000001) 7 seconds, want down, 0 restarts"),
        (
            {"want": "down", "machine": "stopping", "phase": "ready"},
            "up (pid 1000001) 7 seconds, want down, stopping, 0 restarts",
        ),
        ({"machine": "stopping"}, "up (pid 1000001) 7 seconds, stopping, 0 restarts"),
        (
            {"machine": "aborting", "phase": "starting", "fault": "not ready within 30 seconds\n"},
            "up (pid 1000001) 7 seconds, being ended: not ready within 30 seconds\\n, 0 restarts",
        ),
        (
            {"machine": "aborting", "phase": "ready", "totals": {"hangs": 1}},
            "up (pid 1000001) 7 seconds, being ended, 0 restarts, 1 hang",
        ),
        ({"health": HEALTHY}, "up (pid 1000001) 7 seconds, 0 restarts"),
        (
            {"health": SICK, "phase": "ready", "status_text": "fine"},
            "up (pid 1000001) 7 seconds, ready, check failing for 0 seconds (2 of 3): exited with status 3, "
            '0 restarts, check says "it is sick\\n", says "fine"',
        ),
        (
            {"health": {**SICK, "starting": True, "output": "\33[2J", "failure": "\33"}},
            "up (pid 1000001) 7 seconds, check failing for 0 seconds (while it starts): \\x1b, 0 restarts, "
            'check says "\\x1b[2J"',
        ),
        (
            {"health": {**HEALTHY, "problem": "./check: No such file or directory"}},
            "up (pid 1000001) 7 seconds, not checked: ./check: No such file or directory, 0 restarts",
        ),
        ({"health": SICK, "pid": 0, "machine": "script"}, "down 7 seconds, normally up, want up, 0 restarts"),
        ({"quick_exits": 2}, "up (pid 1000001) 7 seconds, unsteady, 0 restarts"),
        (
            {"pid": 0, "machine": "delay", "deadline_at": time.monotonic() - 1, "totals": {"starts": 3, "hangs": 2}},
            "down 7 seconds, normally up, want up, next start in 0 seconds, 2 restarts, 2 hangs",
        ),
        (
            {"pid": 0, "machine": "cleanup"},
            "down 7 seconds, normally up, want up, what is left of it is being ended, 0 restarts",
        ),
        (
            {"pid": 0, "machine": "succession"},
            "down 7 seconds, normally up, want up, its next main process is awaited, 0 restarts",
        ),
        (
            {"pid": 0, "machine": "idle", "last_exit": {}},
            "down 7 seconds, normally up, want up, finished, not restarted, 0 restarts, "
            "last exit 2001-09-09 01:46:40: exited with status 0",
        ),
        (
            {"pid": 0, "machine": "idle", "last_exit": {"code": 2}},
            "down 7 seconds, normally up, want up, ended, not restarted, 0 restarts, "
            "last exit 2001-09-09 01:46:40: exited with status 2",
        ),
        (
            {
                "pid": 0,
                "machine": "idle",
                "last_exit": {"code": None, "signal": 15, "fault": "not ready within 9 seconds"},
            },
            "down 7 seconds, normally up, want up, failed, not restarted, 0 restarts, last exit 2001-09-09 01:46:40: "
            "was killed by signal 15 (TERM), ended by supervise: not ready within 9 seconds",
        ),
        (
            {"pid": 0, "want": "down", "machine": "idle", "last_exit": {"planned": True}},
            "down 7 seconds, normally up, 0 restarts, last exit 2001-09-09 01:46:40: exited with status 0, as asked",
        ),
    ],
)  # fmt: skip
def test_how_far_a_service_is(fields: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    try:
        assert line(status_of(**fields)) == said
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("loading, 40%", '"loading, 40%"'),
        ('", 7 restarts', r'"\", 7 restarts"'),
        ("\\", r'"\\"'),
        ("\33]0;x\7\n\x9b2J\u202e", r'"\x1b]0;x\x07\n\u009b2J\u202e"'),
        ("\udcff", r'"\xff"'),
        ("x" * 80, f'"{"x" * 80}"'),
        ("x" * 81, f'"{"x" * 77}..."'),
        ("\n" * 10**6, '"' + "\\n" * 38 + '\\..."'),
        ("\u00fc\u4e2d", '"\u00fc\u4e2d"'),
    ],
)  # fmt: skip
def test_what_a_service_says_of_itself(text: str, said: str) -> None:
    shown = line(status_of(phase="ready", status_text=text))
    assert shown == f"up (pid 1000001) 7 seconds, ready, 0 restarts, says {said}"
    assert shown.isprintable()


def test_what_it_said_is_of_no_interest_when_it_is_down() -> None:
    assert "says" not in line(status_of(0, machine="succession", status_text="fine"))
    assert "says" not in line(status_of(status_text=""))


def test_a_clock_that_was_set_back() -> None:
    assert Status(True, Record(2**62, False, "up", True, 1), None).seconds == 0


def test_a_service_that_runs(box: Box) -> None:
    pid = box.start("sleep", "1000")
    said = svstat(box, "app")
    assert re.fullmatch(rf"status/app: up \(pid {pid}\) \d+ seconds, 0 restarts\n", said)
    assert [re.sub(r"\d+ seconds", "", svstat(box, *args)) for args in ((), ("status/app/",))] == [
        re.sub(r"\d+ seconds", "", said)
    ] * 2


def test_what_follows(box: Box) -> None:
    first = box.start("sleep", "1000")
    os.kill(first, signal.SIGKILL)
    box.wait_new_pid(first)
    box.control("s")
    box.wait_log("alarms off")
    assert re.fullmatch(
        rf"status/app: up \(pid {box.pid}\) \d+ seconds, 1 restart, "
        r"last exit \d{4}-\d\d-\d\d \d\d:\d\d:\d\d: was killed by signal 9 \(KILL\), alarms off\n",
        svstat(box),
    )
    box.control("dx")
    box.wait_gone()
    assert svstat(box).startswith("status/app: supervise not running, 1 restart, last exit ")


def test_a_service_that_outlives_its_supervise(box: Box) -> None:
    pid = box.start("sleep", "1000")
    os.kill(box.supervisor, signal.SIGKILL)
    assert run_tool(box, "svwait", "-x", "app").returncode == 0
    assert svstat(box).startswith(f"status/app: supervise not running, the service runs on (pid {pid})")


def test_a_supervise_that_gave_up(box: Box) -> None:
    box.conf("[global]\nalarm_interval : 60\nmax_tries : 1\n")
    box.start("sh", "-c", "exit 3")
    box.wait_gone()
    assert run_tool(box, "svwait", "-x", "app").returncode == 0
    assert svstat(box).startswith("status/app: supervise not running, gave up, 1 restart, last exit ")


def test_several_and_the_order_of_the_command_line(box: Box) -> None:
    other = Box(box.folder, "other")
    box.start("sleep", "1000")
    other.start("sleep", "1000")
    assert [text.split(":")[0] for text in svstat(box, "other", "app").splitlines()] == ["status/other", "status/app"]
    assert [text.split(":")[0] for text in svstat(box).splitlines()] == ["status/app", "status/other"]


def test_damage_is_said_and_the_others_are_shown(box: Box) -> None:
    for name in ("broken", "halfbroken"):
        Box(box.folder, name).start("sleep", "1000")
    box.start("sleep", "1000")
    (box.folder / "status/broken/status").write_bytes(b"short")
    (box.folder / "status/halfbroken/state").write_bytes(b"{")
    for mode in ((), ("--long",), ("--json",)):
        done = run_tool(box, "svstat", *mode)
        assert done.returncode == 111
        assert done.stderr == (
            "svstat: fatal: cannot read status/broken/status: damaged: 5 bytes long, not 20\n"
            "svstat: fatal: cannot read status/halfbroken/state: damaged: not JSON\n"
        )
        assert "app" in done.stdout and "halfbroken" in done.stdout
    assert f"(pid {Box(box.folder, 'halfbroken').pid})" in run_tool(box, "svstat").stdout


def test_an_unknown_name(box: Box) -> None:
    box.start("sleep", "1000")
    done = run_tool(box, "svstat", "ap", "app")
    assert done.returncode == 100 and done.stdout.startswith("status/app: up ")
    assert done.stderr == "svstat: fatal: cannot find a service named 'ap'; the services in status are: app\n"


def test_no_services_at_all(box: Box) -> None:
    done = run_tool(box, "svstat")
    assert done.returncode == 100
    assert done.stderr == "svstat: fatal: cannot list services: there is no directory status\n"


def test_no_permission(box: Box) -> None:
    box.start("sleep", "1000")
    with closed(box.status):
        done = run_tool(box, "svstat", plain=True)
    assert (done.returncode, done.stdout) == (111, "")
    assert done.stderr == "svstat: fatal: cannot open status/app/ok: Permission denied\n"


def test_the_c_implementation(box: Box) -> None:
    with c_supervise(box):
        assert re.fullmatch(r"status/app: up \(pid 1000001\) \d+ seconds\n", svstat(box))
        assert "1000001" in svstat(box, "--long")
        found = json.loads(svstat(box, "--json"))["services"][0]
        assert (found["up"], found["pid"], found["restarts"], found["supervise_pid"]) == (True, 1000001, None, None)
    assert svstat(box) == "status/app: supervise not running\n"


def test_the_table(box: Box) -> None:
    pid = box.start("sh", "-c", "sleep 1000 & wait")
    said = svstat(box, "--long")
    head, row = said.splitlines()
    assert head.split()[:7] == ["SERVICE", "STATE", "PID", "UPTIME", "MEMORY", "CPU", "RESTARTS"]
    assert row.split()[:3] == ["app", "up", str(pid)] and "MiB" in row and "%" in row
    assert "\033" not in said


def test_colour_only_on_a_terminal_and_not_with_no_color(box: Box) -> None:
    box.start("sleep", "1000")
    for env, coloured in (({"NO_COLOR": ""}, True), ({"NO_COLOR": "1"}, False)):
        said = pexpect.run(
            f"{BIN / 'svstat'} --long", cwd=str(box.folder), env={**box.env, "TERM": "xterm", **env}, timeout=PATIENCE
        )
        assert b"app" in said and (b"\033[32mup" in said) is coloured


def test_the_document(box: Box) -> None:
    first = box.start("sh", "-c", "sleep 1000 & wait")
    os.kill(first, signal.SIGKILL)
    box.wait_new_pid(first)
    found = json.loads(svstat(box, "--json", "app"))
    assert found["version"] == 1 and set(found) == {"version", "time", "services"}
    service = found["services"][0]
    assert list(service) == [
        *("name", "path", "path_hex", "error"),
        *("supervised", "supervise_pid", "supervise_version", "gave_up", "machine", "up"),
        *("ready", "phase", "phase_seconds", "status_text", "fault", "health", "loggers", "pid", "changed", "seconds"),
        *("want", "paused", "stopped", "alarms", "command", "groups", "failing", "finished", "next_start_seconds"),
        *("quick_exits", "hangs", "restarts", "last_exit", "processes", "memory", "cpu", "cpu_percent"),
        *("stdout_bytes", "stderr_bytes"),
    ]
    assert (service["name"], service["path"], service["error"]) == ("app", "status/app", None)
    assert (service["up"], service["pid"], service["supervise_pid"]) == (True, box.pid, box.supervisor)
    assert service["last_exit"]["signal"] == 9 and service["last_exit"]["text"] == "was killed by signal 9 (KILL)"
    assert service["processes"] in (1, 2) and service["memory"] > 0
    assert service["command"] == ["sh", "-c", "sleep 1000 & wait"]


def test_the_document_says_how_far_services_are(box: Box) -> None:
    with pretended(box) as supervise:
        text = "\33[31m\udcff\n"
        supervise.write(phase="starting", phase_time=1e9, status_text=text, totals={"hangs": 2}, quick_exits=3)
        said = svstat(box, "--json", "app")
        assert said.isascii() and "\33" not in said
        found = json.loads(said)["services"][0]
        assert (found["machine"], found["up"], found["ready"], found["phase"]) == ("running", True, False, "starting")
        assert (found["status_text"], found["hangs"], found["quick_exits"]) == ("\33[31m\\xff\n", 2, 3)
        assert found["phase_seconds"] > 1e6 and (found["finished"], found["next_start_seconds"]) == (False, None)
        supervise.write(0, machine="delay", deadline_at=time.monotonic() + 1000, last_exit={"fault": "hung"})
        found = json.loads(svstat(box, "--json", "app"))["services"][0]
        assert 0 < found["next_start_seconds"] < 1000 and found["last_exit"]["fault"] == "hung"
        assert (found["up"], found["ready"], found["phase"], found["status_text"]) == (False, False, None, None)
        supervise.write(0, machine="idle", last_exit={})
        assert json.loads(svstat(box, "--json", "app"))["services"][0]["finished"] is True
        supervise.end()
        found = json.loads(svstat(box, "--json", "app"))["services"][0]
        assert (found["machine"], found["ready"], found["finished"]) == (None, None, False)


def test_the_document_has_all_fields_of_what_cannot_be_read(box: Box) -> None:
    box.start("sleep", "1000")
    done = run_tool(box, "svstat", "--json", "nope", "app")
    bad, good = json.loads(done.stdout)["services"]
    assert done.returncode == 100 and list(bad) == list(good)
    assert bad["error"].startswith("cannot find") and bad["up"] is None


@pytest.mark.parametrize("mode", ["", "--long", "--json"])
def test_a_reader_that_leaves_early(box: Box, mode: str) -> None:
    for number in range(5):
        (box.folder / f"status/app{number}").mkdir(parents=True)
        (box.folder / f"status/app{number}/status").write_bytes(Record(0, False, "up", True, 0).encode())
    names = " ".join(f"status/app{number % 5}" for number in range(5000))
    for reader in ("head -1", "true"):
        done = subprocess.run(
            ["sh", "-c", f"{BIN / 'svstat'} {mode} {names} | {reader}"],
            cwd=box.folder, capture_output=True, text=True, timeout=PATIENCE * 2,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")


def test_names_that_disturb_a_terminal(box: Box) -> None:
    for name in ("new\nline", "\033[31m", "\udcff", "\u4e2d"):
        path = box.folder / "status" / name
        path.mkdir(parents=True)
        (path / "status").write_bytes(Record(0, False, "up", True, 0).encode())
    for mode in ((), ("--long",)):
        said = svstat(box, *mode)
        assert len(said.splitlines()) == 4 + len(mode) and "\033" not in said
    assert run_tool(box, "svstat", LC_ALL="C", PYTHONCOERCECLOCALE="0", PYTHONUTF8="0").returncode == 0


@pytest.mark.parametrize("args", [("--nope",), ("--long", "--json")])
def test_wrong_usage(box: Box, args: tuple[str, ...]) -> None:
    done = run_tool(box, "svstat", *args)
    assert done.returncode == 100 and done.stderr.startswith("svstat: fatal: wrong usage")
