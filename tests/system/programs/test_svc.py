"""svc: letters, verbs in both orders, waiting, and services that cannot be commanded."""

from __future__ import annotations

import os
import signal
from typing import Any

import pexpect
import pytest
from conftest import PATIENCE, Box, wait_for
from pretended import PID, pretended
from tools import BIN, answer, c_supervise, closed, run_tool, started, watching

from supervise.client import Service

STUBBORN = ("sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done")


def letters_sent(box: Box, *args: str) -> tuple[bytes, str]:
    """What `svc ARGS` writes to `control`, and what it says, where nobody obeys."""
    box.status.mkdir(parents=True, exist_ok=True)
    control = box.status / "control"
    if not control.exists():
        os.mkfifo(control)
    fd = os.open(control, os.O_RDWR | os.O_NONBLOCK)
    try:
        done = run_tool(box, "svc", *args)
        try:
            return os.read(fd, 4096), done.stdout + done.stderr
        except BlockingIOError:
            return b"", done.stdout + done.stderr
    finally:
        os.close(fd)


@pytest.mark.parametrize("letter", "udoxRpctkhaiq12wsnre")
def test_every_letter(box: Box, letter: str) -> None:
    assert letters_sent(box, f"-{letter}", "app") == (letter.encode() + b"\n", "")


@pytest.mark.parametrize(
    ("args", "sent"), [(["-dx"], b"dx\n"), (["-d", "-x"], b"dx\n"), (["-+k=t"], b"+k=t\n"), (["-d", "--"], b"d\n")]
)
def test_letters_are_sent_in_order_in_one_write(box: Box, args: list[str], sent: bytes) -> None:
    assert letters_sent(box, *args, "app") == (sent, "")


@pytest.mark.parametrize(
    ("words", "sent"),
    [
        (["start", "app"], b"u\n"),
        (["stop", "app"], b"d\n"),
        (["restart", "app"], b"R\n"),
        (["once", "app"], b"o\n"),
        (["exit", "app"], b"dx\n"),
        (["pause", "app"], b"p\n"),
        (["resume", "app"], b"c\n"),
        (["reload", "app"], b"r\n"),
        (["upgrade", "app"], b"e\n"),
        (["kill", "app"], b"k\n"),
        (["signal", "HUP", "app"], b"h\n"),
        (["signal", "sigusr1", "app"], b"1\n"),
        (["alarm", "off", "app"], b"s\n"),
        (["alarm", "on", "app"], b"n\n"),
        (["app", "start"], b"u\n"),
        (["app", "stop"], b"d\n"),
        (["app", "restart"], b"R\n"),
        (["app", "exit"], b"dx\n"),
        (["app", "reconf"], b"r\n"),
        (["app", "alarm", "off"], b"s\n"),
        (["status/app", "alarm", "on"], b"n\n"),
    ],
)
def test_the_letters_of_verbs(box: Box, words: list[str], sent: bytes) -> None:
    found, said = letters_sent(box, *words, "--no-wait")
    assert found == sent and said.startswith("status/app: ") and said.endswith(": sent\n")


def test_verbs_wait_and_say_what_happened(box: Box) -> None:
    first = box.start("sleep", "1000")

    def said(*args: str) -> str:
        done = run_tool(box, "svc", *args)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    assert said("start", "app") == f"status/app: up already (pid {first})\n"
    assert said("restart", "app") == f"status/app: restarted (pid {first}, now {box.pid})\n"
    assert box.pid not in (0, first)
    assert said("pause", "app") == f"status/app: paused (pid {box.pid})\n"
    assert box.record.paused
    assert said("resume", "app") == f"status/app: not paused (pid {box.pid})\n"
    assert said("alarm", "off", "app") == "status/app: alarms off\n"
    assert not box.record.alarms
    assert said("app", "alarm", "on") == "status/app: alarms on\n"
    assert said("reload", "app") == "status/app: read the configuration again\n"
    assert said("signal", "WINCH", "app") == (
        f"status/app: send WINCH to the service (pid {box.pid})\n"
    )
    assert said("once", "app") == f"status/app: up, not to be restarted (pid {box.pid})\n"
    assert said("stop", "app") == "status/app: down\n"
    assert (box.pid, box.record.want) == (0, "down")
    assert said("stop", "app") == "status/app: down already\n"
    assert said("kill", "app") == "status/app: down already\n"
    assert said("app", "start") == f"status/app: up (pid {box.pid})\n"
    assert said("app", "status").startswith(f"status/app: up (pid {box.pid}) ")
    assert said("app", "exit") == "status/app: supervise has ended\n"
    assert box.supervisor == 0


def test_a_restart_raises_no_alarm(box: Box) -> None:
    box.conf("[global]\nalarm_interval : 60\nmax_tries : 1\n")
    box.start("sleep", "1000")
    for _ in range(3):
        assert run_tool(box, "svc", "restart", "app").returncode == 0
    assert "alarm: " not in box.log()


def test_kill_says_what_follows(box: Box) -> None:
    first = box.start("sleep", "1000")
    done = run_tool(box, "svc", "kill", "app")
    assert done.stdout.startswith(f"status/app: killed (pid {first}), ")
    box.wait_new_pid(first)


def test_upgrade(box: Box) -> None:
    service = box.start("sleep", "1000")
    supervisor = box.supervisor
    done = run_tool(box, "svc", "upgrade", "app")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("status/app: supervise is version ")
    assert (box.supervisor, box.pid) == (supervisor, service)


def test_the_time_limit_says_how_it_is_instead(box: Box) -> None:
    pid = box.start(*STUBBORN)
    box.wait_stdout("ready")
    done = run_tool(box, "svc", "stop", "app", "--wait", "0.2")
    assert done.returncode == 99
    assert done.stderr.startswith(f"svc: fatal: cannot stop status/app within 0.2 seconds: it is up (pid {pid}) ")
    assert done.stderr.endswith(", want down\n")


@pytest.mark.parametrize(
    ("args", "letters", "said"),
    [
        (("start", "app"), "u", f"up (pid {PID + 1}), ready"),
        (("restart", "app"), "R", f"restarted (pid {PID}, now {PID + 1}), ready"),
        (("app", "restart"), "R", f"restarted (pid {PID}, now {PID + 1}), ready"),
        (("once", "app"), "o", f"up, not to be restarted (pid {PID + 1})"),
    ],
)
def test_a_service_that_says_when_it_is_ready(box: Box, args: tuple[str, ...], letters: str, said: str) -> None:
    want = "once" if letters == "o" else "up"
    with pretended(box) as supervise:
        # Still up, but told to end.
        supervise.write(want="down", machine="stopping", phase="ready")
        if letters == "o":
            supervise.write(0, want="down", machine="idle")
        with started(box, "svc", *args) as process:
            supervise.wait_letters(letters)
            wait_for("svc to watch", lambda: watching(process.pid))
            supervise.write_record(PID + 1, want)  # the state is that of the one before
            wait_for("svc to watch again", lambda: watching(process.pid))
            supervise.write(PID + 1, want, phase="starting", totals={"starts": 2})
            wait_for("svc to watch again", lambda: watching(process.pid))
            assert process.poll() is None
            supervise.write(PID + 1, want, phase="ready", totals={"starts": 2})
            assert answer(process) == (0, f"status/app: {said}\n", "")


def test_one_that_is_ready_already(box: Box) -> None:
    with pretended(box) as supervise:
        supervise.write(phase="ready")
        done = run_tool(box, "svc", "start", "app")
        assert (done.returncode, done.stdout) == (0, f"status/app: up already (pid {PID}), ready\n")


def test_one_that_does_not_get_ready_in_time(box: Box) -> None:
    with pretended(box) as supervise:
        supervise.write(phase="starting")
        done = run_tool(box, "svc", "start", "app", "--wait", "0.2")
        assert done.returncode == 99
        assert done.stderr.startswith(f"svc: fatal: cannot start status/app within 0.2 seconds: it is up (pid {PID}) ")
        assert done.stderr.endswith(" seconds, starting\n")


@pytest.mark.parametrize("verb", ["start", "restart"])
@pytest.mark.parametrize(
    ("total", "last_exit", "code", "said"),
    [
        ("expected", {"code": 2}, 0, "status/app: has run and is not restarted: it exited with status 2\n"),
        (
            "crashes",
            {"code": 1},
            1,
            "svc: fatal: cannot {} status/app: it exited with status 1 after 2.5 seconds, and is not restarted\n",
        ),
        (
            "failures",
            {"code": None, "failure": "cannot execute 'x': No such file or directory"},
            1,
            "svc: fatal: cannot {} status/app: it could not be started: cannot execute 'x': No such file or directory, "
            "and is not restarted\n",
        ),
    ],
)
def test_one_that_has_ended_and_is_not_restarted(
    box: Box, verb: str, total: str, last_exit: dict[str, Any], code: int, said: str
) -> None:
    with pretended(box) as supervise:
        # As its autorestart has it; and so it was before.
        supervise.write(0, machine="idle", last_exit={}, totals={"exits": 1, "expected": 1})
        with started(box, "svc", verb, "app") as process:
            supervise.wait_letters("u" if verb == "start" else "R")
            wait_for("svc to watch", lambda: watching(process.pid))
            supervise.write(0, machine="spawning", last_exit={}, totals={"exits": 1, "expected": 1})
            totals = {"starts": 1 + (total != "failures"), "exits": 2, "expected": 1}
            totals[total] = totals.get(total, 0) + 1
            supervise.write(0, machine="idle", last_exit=last_exit, totals=totals)
            assert answer(process) == (code, "" if code else said, said.format(verb) if code else "")


def test_a_job_that_is_not_restarted(box: Box) -> None:
    box.conf("[global]\nautorestart : unexpected\nexitcodes : 3\n")
    box.start("sh", "-c", "test -e stay && exec sleep 1000; exit 3")
    box.wait_log("autorestart is unexpected")
    said = run_tool(box, "svc", "app", "status").stdout
    assert ", normally up, want up, ended, not restarted, 0 restarts, last exit " in said
    # Whichever it is first seen to be; it is started again and again.
    for verb in ("start", "restart"):
        done = run_tool(box, "svc", verb, "app")
        assert (done.returncode, done.stderr) == (0, "")
    wait_for("its end", lambda: Service(str(box.status)).status().finished)
    (box.folder / "stay").touch()
    assert run_tool(box, "svc", "start", "app").stdout == f"status/app: up (pid {box.pid})\n"
    assert run_tool(box, "svc", "stop", "app").stdout == "status/app: down\n"


def test_a_stop_waits_for_what_is_left_of_the_service(box: Box) -> None:
    with pretended(box) as supervise, started(box, "svc", "stop", "app") as process:
        supervise.wait_letters("d")
        wait_for("svc to watch", lambda: watching(process.pid))
        supervise.write_record(0, "down")
        wait_for("svc to watch again", lambda: watching(process.pid))
        supervise.write(0, "down", machine="cleanup")
        wait_for("svc to watch again", lambda: watching(process.pid))
        assert process.poll() is None
        supervise.write(0, "down", machine="idle")
        assert answer(process) == (0, "status/app: down\n", "")


def test_another_main_process_is_no_restart(box: Box) -> None:
    with pretended(box) as supervise, started(box, "svc", "restart", "app") as process:
        supervise.wait_letters("R")
        wait_for("svc to watch", lambda: watching(process.pid))
        supervise.write(PID + 1)
        wait_for("svc to watch again", lambda: watching(process.pid))
        assert process.poll() is None
        supervise.write(PID + 2, totals={"starts": 2})
        assert answer(process) == (0, f"status/app: restarted (pid {PID}, now {PID + 2})\n", "")


def test_kill_of_one_that_is_not_restarted(box: Box) -> None:
    with pretended(box) as supervise, started(box, "svc", "kill", "app") as process:
        supervise.wait_letters("k")
        wait_for("svc to watch", lambda: watching(process.pid))
        supervise.write_record(0)
        supervise.write(0, machine="idle", last_exit={"code": None, "signal": 9}, totals={"exits": 1, "crashes": 1})
        assert answer(process) == (0, f"status/app: killed (pid {PID}), not restarted\n", "")


def test_all_are_commanded_before_the_first_is_waited_for(box: Box) -> None:
    other = Box(box.folder, "other")
    box.start(*STUBBORN)
    box.wait_stdout("ready")
    other.start("sleep", "1000")
    with started(box, "svc", "stop", "app", "other") as process:
        other.wait_down()
        assert process.poll() is None
        wait_for("svc to watch", lambda: watching(process.pid))
        box.control("k")
        assert process.wait(PATIENCE) == 0
        assert process.stdout and process.stdout.read() == "status/other: down\nstatus/app: down\n"


def test_no_wait(box: Box) -> None:
    box.start(*STUBBORN)
    box.wait_stdout("ready")
    done = run_tool(box, "svc", "--no-wait", "stop", "app")
    assert (done.returncode, done.stdout) == (0, "status/app: stop: sent\n")
    assert box.pid


GONE = {
    ("-d",): "command status/app",
    ("-u",): "command status/app",
    ("stop",): "stop status/app",
    ("restart",): "restart status/app",
    ("once",): "run status/app once",
    ("exit",): "exit status/app",
    ("pause",): "pause status/app",
    ("reload",): "reload status/app",
    ("--no-wait", "stop"): "stop status/app",
    ("--no-wait", "signal", "HUP"): "send HUP to status/app",
}


@pytest.mark.parametrize(("args", "what"), GONE.items())
def test_a_supervise_that_is_gone(box: Box, args: tuple[str, ...], what: str) -> None:
    box.start("sleep", "1000")
    os.kill(box.supervisor, signal.SIGKILL)
    box.wait_gone()
    wait_for("its FIFOs to be closed", lambda: run_tool(box, "svok", "app").returncode == 100)
    done = run_tool(box, "svc", *args, "app")
    assert done.returncode == 111
    assert done.stderr == f"svc: fatal: cannot {what}: supervise not running; to start one: svc start status/app\n"


def test_a_supervise_that_is_gone_and_does_not_say_how_it_was_started(box: Box) -> None:
    with c_supervise(box):
        pass
    done = run_tool(box, "svc", "stop", "app")
    text = "cannot stop status/app: supervise not running; to start one: supervise -p status/app -f COMMAND"
    assert (done.returncode, done.stderr) == (111, f"svc: fatal: {text}\n")
    done = run_tool(box, "svc", "start", "app")
    assert (done.returncode, done.stderr) == (111, f"svc: fatal: {text.replace('stop', 'start', 1)}\n")


def test_a_supervise_that_ends_while_it_is_waited_for(box: Box) -> None:
    box.start(*STUBBORN)
    box.wait_stdout("ready")
    with started(box, "svc", "stop", "app") as process:
        wait_for("svc to watch", lambda: watching(process.pid))
        os.kill(box.supervisor, signal.SIGKILL)
        assert process.wait(PATIENCE) == 111
        assert process.stderr and process.stderr.read() == "svc: fatal: cannot stop status/app: supervise not running\n"


def test_one_that_is_unknown_does_not_stop_the_others(box: Box) -> None:
    box.start("sleep", "1000")
    done = run_tool(box, "svc", "stop", "ap", "app")
    assert (done.returncode, done.stdout) == (100, "status/app: down\n")
    assert done.stderr == "svc: fatal: cannot find a service named 'ap'; the services in status are: app\n"


def test_no_permission(box: Box) -> None:
    box.start("sleep", "1000")
    with closed(box.status / "control"):
        done = run_tool(box, "svc", "-d", "app", plain=True)
    assert (done.returncode, done.stderr) == (111, "svc: fatal: cannot open status/app/control: Permission denied\n")
    with closed(box.status):
        done = run_tool(box, "svc", "stop", "app", plain=True)
    assert (done.returncode, done.stderr) == (111, "svc: fatal: cannot open status/app/ok: Permission denied\n")


def test_a_directory_that_is_no_status_directory(box: Box) -> None:
    (box.folder / "plain" / "status").mkdir(parents=True)
    for args, what in (("-d", "command"), ("stop", "stop"), ("exit", "exit"), ("start", "read")):
        done = run_tool(box, "svc", args, "./plain")
        assert done.returncode == 100
        assert done.stderr.startswith(f"svc: fatal: cannot {what} plain: not a status directory")


def test_the_c_implementation(box: Box) -> None:
    with c_supervise(box):
        for args, said in (
            (("restart", "app"), "restarted (pid 1000001, now 1000002)"),
            (("reload", "app"), "sent"),
            (("signal", "HUP", "app"), "sent"),
            (("alarm", "off", "app"), "alarms off"),
            (("stop", "app"), "down"),
            (("start", "app"), "up (pid 1000002)"),
            (("exit", "app"), "supervise has ended"),
        ):
            done = run_tool(box, "svc", *args)
            assert (done.returncode, done.stdout, done.stderr) == (0, f"status/app: {said}\n", "")


@pytest.mark.parametrize(
    "args",
    [(), ("-d",), ("-z", "app"), ("-", "app"), ("app",), ("start",), ("frob", "app"), ("signal", "app"),
     ("signal", "STKFLT", "app"), ("alarm", "loud", "app"), ("start", "app", "--wait", "soon"), ("--nope", "app")],
)  # fmt: skip
def test_wrong_usage(box: Box, args: tuple[str, ...]) -> None:
    box.start("sleep", "1000")
    done = run_tool(box, "svc", *args)
    assert done.returncode == 100 and done.stderr.startswith("svc: fatal: ") and done.stderr.count("\n") == 1
    assert box.pid


def test_progress_on_a_terminal(box: Box) -> None:
    box.start(*STUBBORN)
    box.wait_stdout("ready")
    child = pexpect.spawn(str(BIN / "svc"), ["stop", "app"], cwd=str(box.folder), env=box.env, timeout=PATIENCE)
    try:
        child.expect_exact("stop: waiting for app (")
        child.expect(r"\d+ s left\)")
        box.control("k")
        child.expect_exact("status/app: down\r\n")
        child.expect(pexpect.EOF)
    finally:
        child.close(force=True)
    assert child.exitstatus == 0
