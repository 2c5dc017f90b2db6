"""supervise stands still for a while (stopped, or starved): what was in time meanwhile is not late."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import PATIENCE, Box, alive, wait_for
from heirs import SLEEP, Private, stat, state
from speaking import Speaker, wait_until
from system import children

from supervise.runtime import path_follower
from supervise.runtime.inotify_lease import Watch
from supervise.runtime.reactor import Reactor
from supervise.service.pidfile import PidFile, PidFollower


@contextmanager
def stalled(box: Box, seconds: float) -> Iterator[None]:
    """supervise stands still for what happens in here, and for at least so long."""
    supervisor = box.supervisor
    os.kill(supervisor, signal.SIGSTOP)
    wait_for("supervise to stand still", lambda: stat(supervisor)[0] == "T")
    until = time.monotonic() + seconds
    try:
        yield
        wait_until("the deadline to pass", until)
    finally:
        os.kill(supervisor, signal.SIGCONT)


def untouched(box: Box, pid: int) -> None:
    """The service runs as before, and supervise has come to know all that was to be known."""
    box.control("w")
    box.wait_log("command w")
    found = state(box)
    assert (box.pid, found["machine"], found["totals"]["hangs"], found["totals"]["exits"]) == (pid, "running", 0, 0)
    assert box.warnings == ""


@pytest.mark.parametrize("way", ["socket", "descriptor"])
def test_it_got_ready_in_time(speaker: Speaker, way: str) -> None:
    how = "notify : yes" if way == "socket" else "notification_fd : 3"
    pid = speaker.start(f"{how}\nstarttimeoutsecs : 3")
    with stalled(speaker.box, 4):
        speaker.ask("send('READY=1')" if way == "socket" else "os.write(3, b'\\n')")
    speaker.wait_state(phase="ready")
    untouched(speaker.box, pid)


def test_it_gave_a_sign_of_life_in_time(speaker: Speaker) -> None:
    pid = speaker.start("notify : yes\nwatchdog_secs : 3")
    speaker.say("READY=1")
    with stalled(speaker.box, 4):
        speaker.ask("send('WATCHDOG=1')")
    speaker.say("WATCHDOG=1")
    untouched(speaker.box, pid)


def test_what_was_said_too_late_does_not_count(speaker: Speaker) -> None:
    """Nobody says anything: the deadline is judged all the same."""
    pid = speaker.start("watchdog_secs : 1")
    with stalled(speaker.box, 2):
        pass
    speaker.box.wait_warning("hung: no WATCHDOG=1 for 1 seconds")
    speaker.box.wait_new_pid(pid)


def test_a_check_that_ended_in_time(box: Box) -> None:
    text = "echo >>begun; until [ -e go ]; do sleep 0.05; done; head -c 50000 /dev/zero; echo >>ended"
    box.conf(f"[global]\ncheck_command : sh -c '{text}'\ncheck_delay : 0\ncheck_timeout : 3\ncheck_failures : 1\n")
    pid = box.start(*SLEEP)
    wait_for("the check", lambda: (box.folder / "begun").exists())
    with stalled(box, 4):
        (box.folder / "go").touch()
        wait_for("its end", lambda: (box.folder / "ended").exists())
    untouched(box, pid)
    assert "check_command" not in box.log().partition("service started")[2]


# Ends when it is told to and there is a file `go`.
OBEYS = (
    "sh",
    "-c",
    "trap 'until [ -e go ]; do sleep 0.02; done; exit 0' TERM ABRT; echo ready; while :; do sleep 0.02; done",
)


def test_it_ended_in_time_when_it_was_told_to(box: Box) -> None:
    box.conf("[global]\nstopwaitsecs : 3\n")
    pid = box.start(*OBEYS)
    box.wait_stdout("ready")
    box.control("d")
    box.wait_log("command d")
    with stalled(box, 4):
        (box.folder / "go").touch()
        wait_for("its end", lambda: not alive(pid))
    box.wait_down()
    box.wait_log(f"service exited with status 0 (pid {pid}")
    assert box.warnings == ""


def test_it_ended_in_time_when_it_was_not_ready(box: Box) -> None:
    box.conf("[global]\nnotify : yes\nstarttimeoutsecs : 1\nstopwaitsecs : 3\nautorestart : never\n")
    pid = box.start(*OBEYS)
    box.wait_warning("not ready within 1 seconds: sending TERM")
    with stalled(box, 4):
        (box.folder / "go").touch()
        wait_for("its end", lambda: not alive(pid))
    box.wait_log("service exited with status 0")
    assert "KILL" not in box.warnings


def test_what_is_left_ended_in_time(box: Box) -> None:
    box.conf("[global]\nkillasgroup : yes\nstopwaitsecs : 3\nautorestart : never\n")
    pid = box.start("sh", "-c", "trap '' TERM; (until [ -e go ]; do sleep 0.02; done) & exec sleep 86399")
    os.kill(pid, signal.SIGKILL)
    box.wait_log("sending TERM to what is left")
    with stalled(box, 4):
        (box.folder / "go").touch()
        wait_for("nobody", lambda: set(children(box.supervisor).values()) <= {"Z"})
    wait_for("the end of it", lambda: state(box)["machine"] == "idle")
    assert "sending KILL" not in box.log()


def test_the_next_main_process_was_named_in_time(box: Box) -> None:
    box.conf("[global]\npidfile : pid\nautorestart : never\n")
    box.start("sh", "-c", "sleep 86398 & echo $! >next; sleep 86397 & echo ready")
    wait_for("the successor to be awaited", lambda: state(box)["machine"] == "succession")
    with stalled(box, 6):
        (box.folder / "next").rename(box.folder / "pid")
    box.wait_log("main process of the service is pid")
    assert box.pid == int((box.folder / "pid").read_text())


def test_a_letter_was_in_time(box: Box) -> None:
    box.conf("[global]\nrestart_delay : 3\n")
    pid = box.start(*SLEEP)
    os.kill(pid, signal.SIGKILL)
    wait_for("the delay", lambda: state(box)["machine"] == "delay")
    with stalled(box, 4):
        box.control("d")
    box.wait_log("command d: do not restart the service")
    assert state(box)["totals"]["starts"] == 1


def test_the_trial_of_another_version_ended_in_time(box: Box) -> None:
    private = Private(box)
    private.change("supervisor.upgrade", "PATIENCE = 30.0", "PATIENCE = 3.0")
    pid = private.start(*SLEEP)
    # So that it does not end before supervise stands still.
    trial = "    if options.trial:\n"
    private.change("supervisor.startup", trial, trial + "        import time; time.sleep(1)\n")
    before = children(private.supervisor).keys()
    private.control("e")
    wait_for("the trial", lambda: children(private.supervisor).keys() - before)
    with stalled(private, 4):
        wait_for("its end", lambda: "Z" in children(private.supervisor).values())
    private.wait_log("supervise replaced by the installed version")
    assert (private.pid, private.warnings) == (pid, "")


class Lines:
    """A log that keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, severity: str, template: str, *values: object) -> None:
        self.lines.append(template % values)


def test_the_watches_were_set_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The helper has answered, and the loop comes to it only when its time is over."""
    log: Any = Lines()
    follower = PidFollower(PidFile(str(tmp_path / "pid")), Watch(os.environb, []), Reactor(log), log)
    follower.rewatch()
    poll = select.poll()
    poll.register(follower.fd, select.POLLIN)
    assert poll.poll(PATIENCE * 1000)
    now = time.monotonic()
    monkeypatch.setattr(path_follower.time, "monotonic", lambda: now + 1000)
    follower.look()
    monkeypatch.undo()
    assert log.lines == []
    assert not follower._watch.arming and follower.fd >= 0
    (tmp_path / "pid").write_text("4711\n")
    wait_for("the pid", lambda: (follower.readable(), follower.look())[1] == 4711)
    follower.close()
    os.waitpid(follower._watch.helper, 0)


# Waits for a program that is being executed, as supervise does; the test holds the other end of the pipe.
AWAITS = """
import os, sys
from supervise.service import spawn_as
spawn_as.PATIENCE = 1.0
os.write(1, b"ready\\n")
print(repr(spawn_as._outcome(0, os.getpid())))
"""


def test_the_program_was_executed_in_time() -> None:
    reading, writing = os.pipe()
    with subprocess.Popen([sys.executable, "-c", AWAITS], stdin=reading, stdout=subprocess.PIPE) as process:
        os.close(reading)
        assert process.stdout and os.read(process.stdout.fileno(), 100) == b"ready\n"
        os.kill(process.pid, signal.SIGSTOP)
        wait_for("it to stand still", lambda: stat(process.pid)[0] == "T")
        os.close(writing)
        wait_until("its time to pass", time.monotonic() + 1.2)
        os.kill(process.pid, signal.SIGCONT)
        assert process.stdout.read() == b"''\n"
        assert process.wait(PATIENCE) == 0


def test_all_at_once(speaker: Speaker) -> None:
    """What a user sees after his laptop was asleep: nothing."""
    box = speaker.box
    pid = speaker.start(
        "notify : yes\nwatchdog_secs : 2\ncheck_command : true\ncheck_delay : 0\ncheck_interval : 1\n"
        "check_timeout : 1\ncheck_failures : 1\nstopwaitsecs : 1\nkillasgroup : yes"
    )
    speaker.say("READY=1")
    speaker.ask("keep_sending('WATCHDOG=1', 0.5)")
    with stalled(box, 4):
        pass
    untouched(box, pid)
    with stalled(box, 2):
        box.control("R")
    box.wait_new_pid(pid)
