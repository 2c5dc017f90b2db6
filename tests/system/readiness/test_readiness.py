"""Readiness as a service tells it through NOTIFY_SOCKET: what is seen of it, and what follows when it does not come."""

from __future__ import annotations

import os
import re
import subprocess
import time
from functools import partial

import pytest
from conftest import PATIENCE, Box, alive, wait_for
from mailers import POLICY, is_alarm, record, recorded
from speaking import Speaker, environment, ignoring, wait_until
from system import needs
from tools import run_tool, started, watching

NOT_READY = "not ready within 1 seconds"


# What is seen.


def test_from_starting_to_stopping(speaker: Speaker) -> None:
    box = speaker.box
    before = time.time()
    pid = speaker.start("notify : yes")
    speaker.wait_state(phase="starting", status_text=None)
    beginning = rf"status/app: up \(pid {pid}\) \d+ seconds"
    assert re.fullmatch(rf"{beginning}, starting, 0 restarts", speaker.svstat())
    began = speaker.state("phase_time")
    assert before - 1 < began < time.time() + 1
    for said, phase, logged in (
        ("READY=1", "ready", rf"service is ready \(pid {pid}, after \d+\.\d seconds\)"),
        ("RELOADING=1\nMONOTONIC_USEC=12345", "reloading", rf"service is reloading \(pid {pid}\)"),
        ("READY=1", "ready", rf"service has reloaded \(pid {pid}\)"),
        ("STOPPING=1", "stopping", rf"service says that it is stopping \(pid {pid}\)"),
    ):
        speaker.say(said)
        speaker.wait_state(phase=phase)
        assert speaker.state("phase_time") >= began
        began = speaker.state("phase_time")
        assert re.fullmatch(rf"{beginning}, {phase}, 0 restarts", speaker.svstat())
        line = re.compile(rf"^\[NOTICE\] \S+ \S+ {logged}$", re.MULTILINE)
        wait_for(logged, partial(lambda line: line.search(box.log()), line))
    assert box.warnings == ""
    assert box.pid == pid


def test_its_status(speaker: Speaker) -> None:
    speaker.start("notify : yes")
    for said, text in (
        ("STATUS=reading the index, 40%", "reading the index, 40%"),
        ("READY=1\nSTATUS=42 connections", "42 connections"),
        ("STATUS=  blanks \t", "blanks"),
        ("STATUS=ünï=cödé", "ünï=cödé"),
        (b"STATUS=\xff\x00", "?"),  # and a NUL at the end does not matter
        ("STATUS=\33[2J\33]0;gotcha\7\tleft", "?[2J?]0;gotcha? left"),
        ("STATUS=" + "long " * 100, "long " * 39 + "lo..."),
    ):
        speaker.say(said)
        speaker.wait_state(status_text=text)
        shown = re.search(r'says "(.*)"$', speaker.svstat())
        assert shown
        assert shown[1] == (text if len(text) < 80 else text[:77] + "...")
        assert shown[1].isprintable()
    speaker.say("STATUS=")
    speaker.wait_state(status_text=None)
    assert "says" not in speaker.svstat()


def test_what_a_process_said_is_not_said_of_the_next(speaker: Speaker) -> None:
    pid = speaker.start("notify : yes")
    speaker.say("READY=1\nSTATUS=works")
    speaker.wait_state(phase="ready", status_text="works")
    speaker.box.control("R")
    speaker.box.wait_new_pid(pid)
    speaker.wait_state(phase="starting", status_text=None)
    speaker.box.control("d")
    speaker.box.wait_down()
    speaker.wait_state(phase=None, phase_time=None, status_text=None)


def test_what_it_is_given(speaker: Speaker) -> None:
    """NOTIFY_SOCKET and WATCHDOG_USEC, each only where it is asked for, and the same to each process."""
    box = speaker.box
    names = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
    for name in names:
        box.env.pop(name, None)
    pid = speaker.start("")
    assert not {*names} & {*environment(pid)}
    given = set()
    for conf, usec in (
        ("notify : yes", None),
        ("watchdog_secs : 90", "90000000"),
        ("notify : yes\nwatchdog_secs : 77", "77000000"),
    ):
        count = box.log().count("configuration supervise.conf")
        speaker.configure(conf)
        box.wait_log("configuration supervise.conf", count + 1)
        box.control("R")
        pid = box.wait_new_pid(pid)
        found = environment(pid)
        assert [found.get(name) for name in names[1:]] == [usec, None]
        given.add(found["NOTIFY_SOCKET"])
        speaker.say("STATUS=heard")
        speaker.wait_state(status_text="heard")
    assert len(given) == 1


def test_without_notify_being_up_is_all_until_it_says_more(speaker: Speaker) -> None:
    """A service with a watchdog has the socket, but need not say that it is ready."""
    speaker.start("watchdog_secs : 90")
    speaker.wait_state(phase=None)
    assert run_tool(speaker.box, "svwait", "-U", "app").returncode == 0
    speaker.say("READY=1")
    speaker.wait_state(phase="ready")


# Who may say it.


def test_all_of_the_service_may_speak(speaker: Speaker) -> None:
    box = speaker.box
    pid = speaker.start("notify : yes")
    for how, text in (
        ("in_child(say, 'STATUS=child')", "child"),
        ("in_orphan(say, 'STATUS=orphan')", "orphan"),
        ("in_orphan(lambda: (os.setsid(), say('STATUS=daemon')))", "daemon"),
    ):
        speaker.ask(how)
        speaker.wait_state(status_text=text)
    speaker.ask("in_child(say, 'READY=1')")
    speaker.wait_state(phase="ready")
    assert box.pid == pid
    assert box.warnings == ""


def test_as_another_user(speaker: Speaker) -> None:
    """Who begins as root and goes on as somebody else is heard all the same."""
    if os.geteuid() != 0:
        pytest.skip("needs root: a service that becomes another user")
    speaker.start("notify : yes")
    speaker.ask("os.setgroups([]), os.setresgid(4711, 4711, 4711), os.setresuid(4711, 4711, 4711)")
    speaker.ask("in_child(say, 'STATUS=a child of another user')")
    speaker.wait_state(status_text="a child of another user")
    speaker.say("READY=1")
    speaker.wait_state(phase="ready")
    assert speaker.box.warnings == ""


def test_in_a_pid_namespace_of_its_own(speaker: Speaker) -> None:
    """Where it has other numbers than for supervise."""
    needs("unshare")
    unshare = ("unshare", "--pid", "--fork", "--kill-child")
    if subprocess.run([*unshare, "true"], capture_output=True).returncode:
        pytest.skip("no PID namespace can be made here")
    speaker.command = (*unshare, *speaker.command)
    speaker.start("notify : yes")
    assert speaker.ask("os.getpid()") == 1
    speaker.say("READY=1")
    speaker.wait_state(phase="ready")
    assert speaker.box.warnings == ""


def test_a_barrier_keeps_who_ends_at_once_from_being_a_stranger(speaker: Speaker) -> None:
    """What systemd-notify does: the barrier is lifted when all before it has been dealt with."""
    speaker.start("notify : yes")
    for number in range(50):
        speaker.ask(f"in_child(say, 'STATUS=number {number}')")
        speaker.wait_state(status_text=f"number {number}")
    assert speaker.box.warnings == ""


def test_another_main_process(speaker: Speaker) -> None:
    box = speaker.box
    pid = speaker.start("notify : yes")
    child = speaker.ask("in_child(signal.pause, wait=False)")
    speaker.say(f"MAINPID={child}")
    wait_for("the record's new pid", lambda: box.pid == child)
    box.wait_log(f"main process of the service is pid {child} now, was pid {pid}")
    speaker.wait_state(phase="starting", machine="running")
    speaker.say(f"MAINPID={os.getpid()}")
    box.wait_warning(f"ignored pid {os.getpid()}, named by MAINPID= of pid {pid}: not a process of this service")
    assert box.pid == child
    speaker.say(f"MAINPID={pid}\nREADY=1")
    speaker.wait_state(phase="ready")
    assert box.pid == pid
    assert speaker.state("totals")["starts"] == 1


# A service that does not get ready.


def test_one_that_is_not_ready_in_time_is_stopped_counted_and_alarmed(speaker: Speaker) -> None:
    box = speaker.box
    record(box, "mail")
    pid = speaker.start(f"{POLICY[9:]}notify : yes\nstarttimeoutsecs : 1")
    box.wait_warning(f"service (pid {pid}) {NOT_READY}: sending TERM")
    box.wait_log(f"service was killed by signal 15 (TERM), ended by supervise: {NOT_READY} (pid {pid}, up ")
    box.wait_log("alarm: ")
    box.wait_log("through mail: handed over")
    (arguments,) = recorded(box, "mail")
    assert is_alarm(arguments[1], "not ready!")
    assert f"was killed by signal 15 (TERM), ended by supervise: {NOT_READY}; it is being restarted." in arguments[-1]
    wait_for("another start", lambda: speaker.state("totals")["starts"] > 1)
    last, totals, quick = speaker.state("last_exit", "totals", "quick_exits")
    assert (last["signal"], last["planned"], last["fault"]) == (15, False, NOT_READY)
    assert (totals["crashes"], totals["hangs"]) == (totals["exits"], 0)
    assert quick == totals["exits"] >= 1
    assert NOT_READY in speaker.svstat()


def test_each_start_has_its_own_time(speaker: Speaker) -> None:
    """It fails twice and then is ready: what the failures left does not count against the third."""
    box = speaker.box
    pid = speaker.start("notify : yes\nstarttimeoutsecs : 2")
    for _ in range(2):
        pid = box.wait_new_pid(pid)
    speaker.say("READY=1")
    speaker.wait_state(phase="ready")
    assert box.pid == pid
    wait_until("the time to be over", time.monotonic() + 2.5)
    assert (box.pid, speaker.state("phase")) == (pid, "ready")


@pytest.mark.parametrize("wait", [0, 1])
def test_one_that_ignores_term_is_killed(speaker: Speaker, wait: int) -> None:
    """After stopwaitsecs; where that is for ever, after five seconds."""
    box = speaker.box
    speaker.command = ignoring("TERM", speaker.command)
    pid = speaker.start(f"notify : yes\nstarttimeoutsecs : 1\nstopwaitsecs : {wait}\nautorestart : never")
    speaker.wait_state(machine="aborting", fault=NOT_READY, fault_kind="not_ready")
    assert f", being ended: {NOT_READY}" in speaker.svstat()
    box.wait_warning(f"service (pid {pid}) does not end: sending KILL")
    speaker.wait_state(machine="idle", fault=None)
    last = speaker.state("last_exit")
    assert (last["signal"], last["fault"]) == (9, NOT_READY)
    assert last["uptime"] >= 1 + (wait or 5)


def test_it_may_ask_for_more_time(speaker: Speaker) -> None:
    box = speaker.box
    pid = speaker.start("notify : yes\nstarttimeoutsecs : 3\nautorestart : never")
    speaker.say(f"EXTEND_TIMEOUT_USEC={600 * 10**6}")
    speaker.say("EXTEND_TIMEOUT_USEC=1")  # does not take back what was granted
    wait_until("the time to be over", speaker.state("started_at") + 3.5)
    assert (box.pid, speaker.state("phase")) == (pid, "starting")
    speaker.say("READY=1")
    speaker.wait_state(phase="ready")


def test_and_no_more_than_it_asks_for(speaker: Speaker) -> None:
    box = speaker.box
    speaker.start("notify : yes\nstarttimeoutsecs : 3\nautorestart : never")
    asked = speaker.ask("[time.monotonic(), send('EXTEND_TIMEOUT_USEC=4000000')][0]")
    box.wait_down()
    speaker.wait_state(machine="idle")
    last, began = speaker.state("last_exit", "started_at")
    assert last["fault"] == "not ready within 3 seconds"
    assert began + last["uptime"] >= asked + 4 - 0.01


def test_a_pause_suspends_the_time(speaker: Speaker) -> None:
    box = speaker.box
    pid = speaker.start("notify : yes\nstarttimeoutsecs : 2\nautorestart : never")
    box.control("p")
    wait_for("it to be paused", lambda: box.record.paused)
    wait_until("the time to be over", speaker.state("started_at") + 2.5)
    assert (box.pid, speaker.state("machine", "phase")) == (pid, ("running", "starting"))
    box.control("c")
    continued = time.monotonic()
    box.wait_down()
    speaker.wait_state(machine="idle")
    assert speaker.state("last_exit")["fault"] == "not ready within 2 seconds"
    assert speaker.state("exited_at") >= continued


@pytest.mark.parametrize("letter", ["d", "R"])
def test_letters_while_it_starts(speaker: Speaker, letter: str) -> None:
    """It is told to end, and that is no failure."""
    box = speaker.box
    pid = speaker.start("notify : yes\nstarttimeoutsecs : 60")
    box.control(letter)
    box.wait_log(f"service was killed by signal 15 (TERM) (pid {pid}, up ")
    speaker.wait_state(machine="idle" if letter == "d" else "running")
    last, totals = speaker.state("last_exit", "totals")
    assert (last["planned"], last["fault"], totals["crashes"]) == (True, None, 0)
    assert speaker.state("phase") == (None if letter == "d" else "starting")


def test_d_while_it_is_being_ended(speaker: Speaker) -> None:
    """It was asked for now, and so no failure; but it gets no more time by that."""
    box = speaker.box
    speaker.command = ignoring("TERM", speaker.command)
    pid = speaker.start("notify : yes\nstarttimeoutsecs : 1\nstopwaitsecs : 3")
    speaker.wait_state(machine="aborting")
    box.control("d")
    late = "did not end in time after it was told to"
    box.wait_warning(f"service (pid {pid}) {late}: sending KILL")
    box.wait_down()
    speaker.wait_state(machine="idle")
    last = speaker.state("last_exit")
    assert (last["signal"], last["planned"], last["fault"]) == (9, True, late)
    assert not alive(pid)


# svwait -U.


def test_svwait_returns_when_it_is_ready(speaker: Speaker) -> None:
    box = speaker.box
    speaker.start("notify : yes")
    with started(box, "svwait", "-U", "app") as process:
        wait_for("svwait to watch", lambda: watching(process.pid))
        speaker.say("STATUS=nearly")
        speaker.wait_state(status_text="nearly")
        wait_for("svwait to watch again", lambda: watching(process.pid))
        assert process.poll() is None
        speaker.say("READY=1")
        assert process.wait(PATIENCE) == 0
    assert run_tool(box, "svwait", "-U", "app").returncode == 0
    assert run_tool(box, "svwait", "-u", "app").returncode == 0


def test_svwait_waits_through_starts_that_fail(speaker: Speaker) -> None:
    box = speaker.box
    pid = speaker.start("notify : yes\nstarttimeoutsecs : 2")
    with started(box, "svwait", "-U", "app") as process:
        box.wait_new_pid(pid)
        assert process.poll() is None
        speaker.say("READY=1")
        assert process.wait(PATIENCE) == 0


def test_svwait_does_not_wait_for_ever(speaker: Speaker, box: Box) -> None:
    speaker.start("notify : yes")
    done = run_tool(box, "svwait", "-U", "-t", "0.2", "app")
    assert (done.returncode, done.stdout) == (99, "")
    assert done.stderr == "svwait: fatal: cannot wait longer for status/app: not so within 0.2 seconds\n"
    with started(box, "svwait", "-U", "app") as process:
        wait_for("svwait to watch", lambda: watching(process.pid))
        box.control("dx")
        assert process.wait(PATIENCE) == 111
        assert process.stderr and process.stderr.read().startswith("svwait: fatal: cannot wait for status/app: ")
