"""What a service has said, and what is expected of it, when its supervise is killed or replaced by another version."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Any

import heirs
import pytest
from conftest import PATIENCE, alive, rounds, wait_for
from heirs import adopted, kill_supervise, succeed
from speaking import Speaker, at_rest, descriptors, ignoring, wait_until
from tools import run_tool, started, watching

# What leads to a phase.
PHASES = {
    "starting": ("STATUS=nearly",),
    "ready": ("READY=1\nSTATUS=works",),
    "reloading": ("READY=1", "RELOADING=1\nSTATUS=reads"),
    "stopping": ("READY=1", "STOPPING=1\nSTATUS=ends"),
}


def kill_and_succeed(speaker: Speaker) -> None:
    pid = speaker.box.pid
    count = speaker.box.log().count("taken over")
    kill_supervise(speaker.box)
    succeed(speaker.box, *speaker.command)
    adopted(speaker.box, pid, count + 1)


def upgrade(speaker: Speaker) -> None:
    heirs.upgrade(speaker.box)


BOTH = pytest.mark.parametrize("change", [kill_and_succeed, upgrade])


# What it has said.


@BOTH
@pytest.mark.parametrize("phase", PHASES)
def test_a_phase_is_kept(speaker: Speaker, phase: str, change: Any) -> None:
    """With its time, its text, its address; and the service is heard again."""
    box = speaker.box
    pid = speaker.start("notify : yes\nwatchdog_secs : 60\nstarttimeoutsecs : 60")
    speaker.say(*PHASES[phase])
    speaker.wait_state(phase=phase)
    text = PHASES[phase][-1].partition("STATUS=")[2]
    speaker.wait_state(status_text=text)
    before = speaker.state("phase", "phase_time", "status_text", "notify_address", "watchdog", "machine")
    for _ in range(2):
        change(speaker)
        after = speaker.state("phase", "phase_time", "status_text", "notify_address", "watchdog", "machine")
        assert after == before
        assert f', {phase}, 0 restarts, says "{text}"' in speaker.svstat()
    assert speaker.address() == speaker.state("notify_address")
    assert run_tool(box, "svwait", "-U", "-t", "0.1", "app").returncode == (0 if phase[0] == "r" else 99)
    speaker.say("STATUS=heard")
    speaker.wait_state(status_text="heard")
    speaker.say("READY=1")
    speaker.wait_state(phase="ready")
    assert (box.pid, box.warnings) == (pid, "")


@BOTH
def test_svwait_waits_through_it(speaker: Speaker, change: Any) -> None:
    """A kill of supervise is the end of the wait: nobody knows whether another comes."""
    box = speaker.box
    speaker.start("notify : yes")
    with started(box, "svwait", "-U", "app") as process:
        wait_for("svwait to watch", lambda: watching(process.pid))
        change(speaker)
        speaker.say("READY=1")
        assert process.wait(PATIENCE) == (0 if change is upgrade else 111)


def test_a_service_that_got_ready_while_nobody_listened(speaker: Speaker) -> None:
    """It is not ended for that: it is taken to have said so, when the time for a start is over."""
    box = speaker.box
    pid = speaker.start("notify : yes\nstarttimeoutsecs : 3")
    kill_supervise(box)
    number = speaker.tell("send('READY=1')")
    box.wait_stdout(f"{number} failed ConnectionRefusedError")
    succeed(box, *speaker.command)
    adopted(box, pid)
    speaker.wait_state(phase="starting")
    box.wait_warning(f"service (pid {pid}) is taken to be ready: its notification may be lost")
    speaker.wait_state(phase="ready", machine="running")
    assert box.pid == pid


def test_nothing_is_lost_by_an_upgrade(speaker: Speaker) -> None:
    """What is sent meanwhile waits in the socket: each of so many pairs has its two lines in the log."""
    box = speaker.box
    speaker.start("notify : yes")
    speaker.say("READY=1")
    speaker.ask(
        "def stream():\n"
        "    number = 0\n"
        "    while not os.path.exists('enough'):\n"
        "        number += 1\n"
        "        send('RELOADING=1')\n"
        "        send('READY=1\\nSTATUS=%d' % number)\n"
        "        time.sleep(0.01)\n"
        "    say('STATUS=last')\n"
        "    open('sent.new', 'w').write(str(number))\n"
        "    os.rename('sent.new', 'sent')\n"
    )
    speaker.ask("in_child(stream, wait=False)")
    for _ in range(rounds(3, 5)):
        before = box.said("service is reloading")
        wait_for("more of them", lambda before=before: box.said("service is reloading") >= before + 20)
        upgrade(speaker)
    (box.folder / "enough").touch()
    speaker.wait_state(status_text="last")
    wait_for("the number", (box.folder / "sent").exists)
    number = int((box.folder / "sent").read_text())
    for text in ("service is reloading", "service has reloaded"):
        wait_for(f"{number} times {text!r}", lambda text=text: box.said(text) == number)
    assert box.warnings == ""


# What is expected of it.


@BOTH
def test_the_watchdog_goes_on(speaker: Speaker, change: Any) -> None:
    """With the time that the service has asked for, and as if it had just given a sign of life."""
    box = speaker.box
    pid = speaker.start("notify : yes\nwatchdog_secs : 60\nautorestart : never")
    speaker.ask("keep_sending('WATCHDOG=1', 0.05)")
    speaker.say("READY=1\nWATCHDOG_USEC=4000000")
    speaker.wait_state(watchdog=4)
    change(speaker)
    assert speaker.state("watchdog", "phase") == (4, "ready")
    wait_until("more time than it has", time.monotonic() + 4.5)
    assert (box.pid, speaker.state("machine")) == (pid, "running")
    (box.folder / "enough").touch()
    speaker.wait_state(machine="idle")
    last, totals = speaker.state("last_exit", "totals")
    assert (last["fault"], totals["hangs"]) == ("hung: no WATCHDOG=1 for 4 seconds", 1)


def test_one_that_cannot_be_heard_is_not_ended_for_its_silence(speaker: Speaker) -> None:
    """Somebody else has taken its address while no supervise was there: /proc/net/unix shows it to everybody."""
    box = speaker.box
    pid = speaker.start("watchdog_secs : 2")
    address = speaker.address()
    if not address.startswith("@"):
        pytest.skip("needs root: another user's address is a file that nobody else can make")
    kill_supervise(box)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as thief:
        thief.bind("\0" + address[1:])
        succeed(box, *speaker.command)
        adopted(box, pid)
        unheard = "notifications of the service cannot be received: cannot bind the notify socket to"
        box.wait_warning(f"{unheard} {address}: Address already in use")
        wait_until("more time than it has", time.monotonic() + 2.5)
    assert (box.pid, speaker.state("totals")["hangs"]) == (pid, 0)


@BOTH
def test_one_that_is_being_ended_is_ended(speaker: Speaker, change: Any) -> None:
    """At the time that it had before, and with the same fault."""
    box = speaker.box
    speaker.command = ignoring("ABRT", speaker.command)
    fault = "hung: no WATCHDOG=1 for 1 seconds"
    pid = speaker.start("watchdog_secs : 1\nautorestart : never")
    speaker.wait_state(machine="aborting", fault=fault)
    before = speaker.state("deadline_at")
    change(speaker)
    assert speaker.state("machine", "fault", "deadline_at") == ("aborting", fault, before)
    assert f"being ended: {fault}" in speaker.svstat()
    box.wait_warning(f"service (pid {pid}) does not end: sending KILL")
    speaker.wait_state(machine="idle")
    last, ended_at, totals = speaker.state("last_exit", "exited_at", "totals")
    assert (last["fault"], last["planned"], totals["hangs"]) == (fault, False, 1)
    assert ended_at >= before
    assert last["signal"] in (9, None) if change is kill_and_succeed else last["signal"] == 9


def test_the_time_to_get_ready_goes_on_through_an_upgrade(speaker: Speaker) -> None:
    box = speaker.box
    speaker.start("notify : yes\nstarttimeoutsecs : 2\nautorestart : never")
    upgrade(speaker)
    box.wait_log("not ready within 2 seconds")


@BOTH
def test_one_that_is_paused_is_not_expected_to_do_anything(speaker: Speaker, change: Any) -> None:
    box = speaker.box
    # When supervise is killed, the kernel sends HUP to a stopped process that is left behind.
    speaker.command = ignoring("HUP", speaker.command)
    pid = speaker.start("notify : yes\nwatchdog_secs : 4\nautorestart : never")
    speaker.say("READY=1")
    box.control("p")
    wait_for("it to be paused", lambda: box.record.paused)
    change(speaker)
    wait_until("more time than it has", time.monotonic() + 4.5)
    assert (box.pid, speaker.state("machine", "paused")) == (pid, ("running", True))
    box.control("c")
    box.wait_log("hung: no WATCHDOG=1 for 4 seconds")


# A line on a descriptor.


def test_the_line_may_come_after_upgrades(speaker: Speaker) -> None:
    box = speaker.box
    pid = speaker.start("notification_fd : 6\nstarttimeoutsecs : 60")
    speaker.ask("os.write(6, b'not yet')")
    before = at_rest(box)
    for _ in range(3):
        upgrade(speaker)
        assert speaker.state("phase") == "starting"
    wait_for("the same descriptors", lambda: descriptors(box.supervisor) == before)
    speaker.ask("os.write(6, b'now\\n')")
    speaker.wait_state(phase="ready")
    before.remove("pipe")
    wait_for("one less", lambda: descriptors(box.supervisor) == before)
    upgrade(speaker)
    assert (box.pid, speaker.state("phase"), box.warnings) == (pid, "ready", "")
    box.control("R")
    box.wait_new_pid(pid)
    speaker.wait_state(phase="starting")
    speaker.ask("os.write(6, b'\\n')")
    speaker.wait_state(phase="ready")


@pytest.mark.parametrize("also", ["", "notify : yes\n"])
def test_the_line_that_nobody_heard(speaker: Speaker, also: str) -> None:
    """The pipe goes with supervise; so a service that has nothing else to say it with counts as ready."""
    box = speaker.box
    pid = speaker.start(f"{also}notification_fd : 6\nstarttimeoutsecs : 60")
    kill_and_succeed(speaker)
    speaker.wait_state(phase="starting" if also else "ready")
    if also:
        speaker.say("READY=1")
        speaker.wait_state(phase="ready")
    box.control("R")
    box.wait_new_pid(pid)
    speaker.wait_state(phase="starting")
    speaker.ask("os.write(6, b'\\n')")
    speaker.wait_state(phase="ready")


# Health checks.


@BOTH
def test_checks_go_on(speaker: Speaker, change: Any) -> None:
    box = speaker.box
    command = "sh -c 'echo $SUPERVISE_PID >>checks; test ! -e sick'"
    times = "check_delay : 0\ncheck_interval : 1\ncheck_failures : 2"
    pid = speaker.start(f"check_command : {command}\n{times}\nautorestart : never")
    checks = box.folder / "checks"
    wait_for("a check", checks.exists)
    change(speaker)
    count = len(checks.read_text().splitlines())
    wait_for("two more", lambda: len(checks.read_text().splitlines()) >= count + 2)
    assert {*checks.read_text().split()} == {str(pid)}
    (box.folder / "sick").touch()
    box.wait_log("ended by supervise: unhealthy: check_command exited with status 1")
    assert not alive(pid)


# Nothing at all.


def test_an_idle_supervise_never_wakes_up(speaker: Speaker) -> None:
    """With everything configured, but no check due within this test."""
    box = speaker.box
    speaker.start(
        """notify : yes
        notification_fd : 6
        starttimeoutsecs : 3600
        watchdog_secs : 3600
        check_command : touch checked
        check_interval : 86400
        restart_delay_max : 60
        startsecs : 1
        stopwaitsecs : 10
        killasgroup : yes
        stopasgroup : yes
        pidfile : pid
        alarm_interval : 60
        alarm_mail : a@example.org
        max_tries : 10"""
    )
    speaker.say("READY=1\nSTATUS=idle")
    speaker.wait_state(phase="ready", status_text="idle")
    watches = 2  # on the configuration and on the pidfile
    wait_for("the watches", lambda: descriptors(box.supervisor).count("anon_inode:inotify") == watches)
    wait_for("the check", (box.folder / "checked").exists)
    switches = Path(f"/proc/{box.supervisor}/status")

    def count() -> list[str]:
        return [line for line in switches.read_text().splitlines() if "ctxt_switches" in line]

    def settled() -> bool:
        before = count()
        wait_until("two seconds", time.monotonic() + 2)
        return count() == before

    wait_for("everything to be set up", settled)
    before = count()
    wait_until("some seconds", time.monotonic() + 4)
    assert count() == before
    box.control("w")  # it does run when there is something
    box.wait_log("command w")
    assert count() != before
