"""check_command: a service that cannot say itself how it is, asked by a program again and again."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import pytest
from conftest import Box, alive, wait_for
from heirs import state
from injecting import failing
from mailers import POLICY, is_alarm, record, recorded
from speaking import Speaker, at_rest, descriptors, environment, memory, wait_until
from system import children

# One line for each check when it begins, and one when it ends; one that begins while another runs says so.
CHECK = """#!/bin/sh
echo "begin $$ $SUPERVISE_PID" >>checks
mkdir running 2>/dev/null || echo "OVERLAP $$" >>checks
[ -e then ] && . ./then
rmdir running
echo "end $$" >>checks
[ -e sick ] && { echo "it is sick" >&2; exit 3; }
exit 0
"""
SICK = "unhealthy: check_command exited with status 3"


@pytest.fixture
def check(box: Box) -> str:
    """Configuration of a check that is as healthy as there is no file `sick`, and does what a file `then` says."""
    path = box.folder / "check"
    path.write_text(CHECK)
    path.chmod(0o755)
    return "check_command : %(here)s/check\ncheck_delay : 0\ncheck_interval : 1"


def checks(box: Box, what: str = "begin") -> list[list[str]]:
    """The lines of that kind, in words."""
    path = box.folder / "checks"
    lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    return [line for line in lines if line[0] == what]


def wait_checks(box: Box, more: int, what: str = "begin") -> None:
    """Wait for so many more checks than there have been."""
    count = len(checks(box, what))
    wait_for(f"{more} more checks", lambda: len(checks(box, what)) >= count + more)


def sick(box: Box) -> None:
    (box.folder / "sick").touch()


# Healthy or not.


def test_a_healthy_service_is_left_alone(speaker: Speaker, check: str) -> None:
    box = speaker.box
    pid = speaker.start(f"{check}\ncheck_failures : 1\nnotify : yes\nenvironment : COLOUR=red")
    speaker.say("READY=1")
    wait_for("a check", lambda: checks(box))
    wait_checks(box, 2, "end")
    assert {line[2] for line in checks(box)} == {str(pid)}
    assert checks(box, "OVERLAP") == []
    # Each ends before the next begins, and there is a second from one beginning to the next.
    (box.folder / "then").write_text("kill -STOP $$")
    wait_checks(box, 1)
    asked = int(checks(box)[-1][1])
    found = environment(asked)
    assert (found["SUPERVISE_PID"], found["COLOUR"]) == (str(pid), "red")
    assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC"} & {*found}
    assert os.getsid(asked) == os.getpgid(asked) == asked
    os.kill(asked, signal.SIGCONT)
    (box.folder / "then").unlink()
    assert (box.pid, box.warnings) == (pid, "")
    assert "check_command" not in box.log().partition("service started")[2]


def test_so_many_failures_in_a_row(speaker: Speaker, check: str) -> None:
    box = speaker.box
    record(box, "mail")
    sick(box)
    pid = speaker.start(f"{POLICY[9:]}{check}\ncheck_failures : 3")
    again = box.wait_new_pid(pid)
    (box.folder / "sick").unlink()
    for count in (1, 2):
        assert f"check_command exited with status 3 ({count} of 3): it is sick" in box.log()
    box.wait_warning(f"service (pid {pid}) {SICK}: sending ABRT")
    box.wait_log("through mail: handed over")
    how = rf"was killed by signal 6 \(ABRT\)(, core dumped)?, ended by supervise: {SICK}"
    assert re.search(rf"service {how} \(pid {pid}, up \d+\.\d seconds\)$", box.log(), re.MULTILINE)
    (arguments,) = recorded(box, "mail")
    assert is_alarm(arguments[1], "hung!")
    assert re.search(rf"^Service app {how}; it is being restarted\.$", arguments[-1], re.MULTILINE)
    assert arguments[-1].endswith("\n  details:\n    it is sick\n")
    speaker.wait_state(machine="running")
    last, totals = speaker.state("last_exit", "totals")
    assert (last["fault"], totals["hangs"], totals["crashes"]) == (SICK, 1, 1)
    assert last["uptime"] >= 2
    wait_checks(box, 2)
    assert (box.pid, checks(box)[-1][2]) == (again, str(again))


def test_a_success_ends_the_row(speaker: Speaker, check: str) -> None:
    box = speaker.box
    # Every other check fails.
    (box.folder / "then").write_text("if [ -e odd ]; then rm -f odd sick; else : >odd; : >sick; fi\n")
    pid = speaker.start(f"{check}\ncheck_failures : 2")
    box.wait_log("check_command succeeded, after 1 that did not", 3)
    assert box.pid == pid
    assert box.log().count("(1 of 2)") >= 3
    assert box.warnings == ""


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("./check-of-mine", "./check-of-mine: No such file or directory"),
        ("check-of-mine", "check-of-mine: not found in PATH"),
        ("/dev/null", "/dev/null: not executable"),
    ],
)
def test_one_that_cannot_be_started_says_nothing_of_the_service(box: Box, command: str, why: str) -> None:
    """It is said once, and tried again."""
    programs = box.folder / "bin"
    programs.mkdir()
    box.env["PATH"] = f"{programs}:{box.env['PATH']}"
    conf = f"[global]\ncheck_command : {command}\ncheck_delay : 0\ncheck_interval : 1\ncheck_failures : 2\n"
    conf += "autorestart : no\n"
    box.conf(conf)
    pid = box.start("sleep", "1000")
    box.wait_warning(f"cannot start check_command, so the service is not checked: {why}\n")
    wait_until("the time for some more", time.monotonic() + 2.5)
    assert (box.pid, box.warnings.count("\n"), box.log().count("check_command exited")) == (pid, 1, 0)
    if command == "/dev/null":
        return
    for place in (programs, box.folder):
        (place / "new").write_text("#!/bin/sh\nexit 4\n")
        (place / "new").chmod(0o755)
        (place / "new").rename(place / "check-of-mine")
    box.wait_log("ended by supervise: unhealthy: check_command exited with status 4")


def test_one_that_is_killed_has_failed(box: Box) -> None:
    box.conf("[global]\ncheck_command : sh -c 'kill -9 $$'\ncheck_delay : 0\ncheck_interval : 1\ncheck_failures : 2\n")
    pid = box.start("sleep", "1000")
    how = "check_command was killed by signal 9 (KILL)"
    box.wait_log(f"{how} (1 of 2)")
    box.wait_warning(f"service (pid {pid}) unhealthy: {how}: sending ABRT")
    box.wait_new_pid(pid)


def test_as_the_service_is_run(box: Box) -> None:
    """As its user, in its directory, with its umask."""
    if os.geteuid() != 0:
        pytest.skip("needs root: a service of another user")
    command = "sh -c 'echo $(id -u) $PWD $(umask) $HOME; exit 1'"
    box.conf(
        f"[global]\nuser : nobody\ndirectory : /usr\numask : 27\ncheck_command : {command}\n"
        "check_delay : 0\ncheck_failures : 1\nautorestart : no\nalarm_interval : 60\nalarm_mail : a\n"
    )
    record(box, "mail")
    box.start("sleep", "1000")
    box.wait_log("through mail: handed over")
    shown = r"\n  details:\n    65534 /usr 0027 /\S*\n\Z"
    assert re.search(shown, recorded(box, "mail")[0][-1])


# How long it may take, and what else it does.


def test_one_that_takes_too_long(box: Box) -> None:
    """It is killed, with what it has started, and has failed; what it had printed is in the alarm."""
    record(box, "mail")
    box.conf(
        f"{POLICY}check_command : sh -c 'echo half of it; sleep 86391 & sleep 86391; echo more'\n"
        "check_delay : 0\ncheck_interval : 1\ncheck_timeout : 1\ncheck_failures : 2\nautorestart : no\n"
    )
    pid = box.start("sleep", "1000")
    box.wait_log("check_command did not end within 1 seconds (1 of 2): half of it")
    why = "unhealthy: check_command did not end within 1 seconds"
    box.wait_warning(f"service (pid {pid}) {why}: sending ABRT")
    box.wait_log("through mail: handed over")
    assert recorded(box, "mail")[0][-1].endswith("\n  details:\n    half of it\n")
    wait_for("the checks to be gone", lambda: not running(box, b"86391"))
    assert state(box)["last_exit"]["uptime"] >= 2


def running(box: Box, word: bytes) -> list[int]:
    """The processes of this test with that word in their command."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and word in (entry / "cmdline").read_bytes() and alive(int(entry.name)):
                found.append(int(entry.name))
        except OSError:
            pass
    return [pid for pid in found if box.owns(pid)]


def test_never_two_at_a_time(speaker: Speaker, check: str) -> None:
    """Not where they take longer than the interval, nor when the configuration changes or supervise is replaced."""
    box = speaker.box
    (box.folder / "then").write_text("sleep 1.3\n")
    speaker.start(check)
    wait_checks(box, 3)
    speaker.configure(f"{check}\ncheck_failures : 7")
    box.wait_log("configuration supervise.conf", 2)
    wait_checks(box, 2)
    ends, begins = checks(box, "end"), checks(box)
    assert [line[1] for line in ends] == [line[1] for line in begins[: len(ends)]]
    assert checks(box, "OVERLAP") == []


def test_a_check_does_not_survive_what_it_was_asked_for(speaker: Speaker, check: str) -> None:
    """It is killed when supervise ends, and when it is replaced; after that the next is not beside it."""
    box = speaker.box
    (box.folder / "then").write_text("rmdir running; sleep 86392\n")
    speaker.start(check)
    (first,) = wait_for("a check", lambda: running(box, b"86392"))
    box.control("e")
    box.wait_log("supervise replaced by the installed version")
    (second,) = wait_for("another", lambda: [pid for pid in running(box, b"86392") if pid != first])
    assert not alive(first)
    box.control("dx")
    box.wait_gone()
    wait_for("it to be gone", lambda: not alive(second))


def test_what_it_leaves_in_the_background_is_not_waited_for(speaker: Speaker) -> None:
    """Even with the pipe open on which its output is read: it is ended."""
    box = speaker.box
    before_that = "[ -e once ] || { : >once; sleep 86393 & }; echo >>done"
    quick = "check_delay : 0\ncheck_interval : 1"
    speaker.start(f'check_command : sh -c "{before_that}"\n{quick}\ncheck_failures : 1\ncheck_timeout : 3')
    done = box.folder / "done"
    wait_for("three checks", lambda: done.exists() and len(done.read_text()) >= 3)
    before = at_rest(box)
    wait_for("two more", lambda: len(done.read_text()) >= 5)
    wait_for("the same descriptors", lambda: descriptors(box.supervisor) == before)
    assert running(box, b"86393") == []
    assert box.warnings == ""


def test_one_that_never_stops_printing(speaker: Speaker) -> None:
    """supervise does its work meanwhile, and keeps little of it."""
    box = speaker.box
    record(box, "mail")
    pid = speaker.start(
        f"{POLICY[9:]}check_command : sh -c 'echo first; exec yes more of it'\n"
        "check_delay : 0\ncheck_interval : 1\ncheck_timeout : 4\ncheck_failures : 1\nautorestart : never\n"
    )
    wait_for("it to print", lambda: running(box, b"yes\0more"))
    before = memory(box.supervisor)
    for count in range(1, 20):
        box.control("w")
        box.wait_log("command w", count)
    assert memory(box.supervisor) < before + (2 << 20)
    box.wait_warning(f"service (pid {pid}) unhealthy: check_command did not end within 4 seconds")
    box.wait_log("through mail: handed over")
    text = recorded(box, "mail")[0][-1]
    assert "\n  details:\n    first\n    more of it\n" in text
    assert len(text) < 4000


def test_its_output_is_made_harmless(speaker: Speaker) -> None:
    box = speaker.box
    record(box, "mail")
    (box.folder / "nasty").write_bytes(b"\33[2J\33]0;gotcha\7\n~! touch owned\n.\n\0\xff\xfe\r\nlast")
    speaker.start(
        f"{POLICY[9:]}check_command : sh -c 'cat nasty; exit 1'\n"
        "check_delay : 0\ncheck_interval : 1\ncheck_failures : 2\nautorestart : never\n"
    )
    box.wait_log("through mail: handed over")
    text = recorded(box, "mail")[0][-1]
    details = text.partition("\n  details:\n")[2].splitlines()
    assert details == ["    [2J]0;gotcha", "    ~! touch owned", "    .", "    \ufffd\ufffd", "    last"]
    assert all(char.isprintable() for line in box.log().splitlines() for char in line)


# When.


def test_only_when_it_is_ready_and_not_paused_nor_being_stopped(speaker: Speaker, check: str) -> None:
    box = speaker.box
    speaker.start(f"{check}\nnotify : yes\nstopwaitsecs : 60")
    speaker.ask("on('TERM', signal.SIG_IGN) and None")
    wait_until("the time for a check", time.monotonic() + 1.5)
    assert checks(box) == []
    speaker.say("READY=1")
    wait_for("a check", lambda: checks(box))
    speaker.say("RELOADING=1")  # goes on working meanwhile
    wait_checks(box, 1)
    for before, after in (("p", "c"), ("STOPPING=1", "READY=1"), ("d", "")):
        (box.folder / "then").write_text("sleep 86394\n")
        wait_for("a check", lambda: running(box, b"86394"))
        if before.isalpha():
            box.control(before)
            box.wait_log(f"command {before}")
        else:
            speaker.say(before)
        wait_for("it to be ended", lambda: not running(box, b"86394"))
        (box.folder / "then").unlink()
        (box.folder / "running").rmdir()
        count = len(checks(box))
        wait_until("the time for a check", time.monotonic() + 1.5)
        assert len(checks(box)) == count
        if after == "c":
            box.control(after)
        elif after:
            speaker.say(after)
        else:
            break
        wait_checks(box, 1)
    assert "check_command" not in box.log().partition("service started")[2]
    assert "hung" not in box.warnings


def test_what_they_found_is_seen_and_is_not_the_next_ones(speaker: Speaker, check: str) -> None:
    box = speaker.box
    pid = speaker.start(f"{check}\ncheck_failures : 3\nnotify : yes")
    assert speaker.state("health") is None
    speaker.say("READY=1")
    wait_for("a success", lambda: speaker.state("health"))
    assert speaker.state("health")["failures"] == 0
    sick(box)
    wait_for("two failures", lambda: speaker.state("health")["failures"] == 2)
    found = speaker.state("health")
    assert (found["limit"], found["starting"], found["failure"], found["output"]) == (
        *(3, False, "exited with status 3"),
        "it is sick",
    )
    assert found["failing_boottime"] <= time.clock_gettime(time.CLOCK_BOOTTIME)
    box.wait_new_pid(pid)
    speaker.wait_state(machine="running", phase="starting")
    assert speaker.state("health") is None


def test_a_slow_starter_is_not_ended(speaker: Speaker, check: str) -> None:
    """By default, as long as it has never been healthy; then each failure counts."""
    box = speaker.box
    sick(box)
    pid = speaker.start(f"{check.replace('check_delay : 0', 'check_delay :')}\ncheck_failures : 2")
    box.wait_log("check_command exited with status 3 (3, while it starts): it is sick")
    assert speaker.state("health")["starting"] is True
    (box.folder / "sick").unlink()
    box.wait_log("check_command succeeded, after ")
    assert (box.pid, box.warnings) == (pid, "")
    sick(box)
    box.wait_warning(f"service (pid {pid}) {SICK}: sending ABRT")


def test_one_that_never_gets_healthy_is_ended_in_the_end(speaker: Speaker, check: str) -> None:
    box = speaker.box
    sick(box)
    pid = speaker.start(
        f"{check.replace('check_delay : 0', 'starttimeoutsecs : 4')}\ncheck_failures : 2\nautorestart : never"
    )
    box.wait_warning(f"service (pid {pid}) {SICK}: sending ABRT")
    speaker.wait_state(machine="idle")
    assert speaker.state("last_exit")["uptime"] >= 4
    assert speaker.state("health") is None


def test_not_while_it_is_down(speaker: Speaker, check: str) -> None:
    box = speaker.box
    pid = speaker.start(check)
    wait_for("a check", lambda: checks(box))
    box.control("d")
    box.wait_down()
    speaker.wait_state(machine="idle")
    count = len(checks(box))
    wait_until("the time for a check", time.monotonic() + 1.5)
    assert len(checks(box)) == count
    box.control("u")
    again = box.wait_new_pid(pid)
    wait_checks(box, 2)
    assert checks(box)[-1][2] == str(again)


def test_a_delay_before_the_first(speaker: Speaker, check: str) -> None:
    box = speaker.box
    speaker.start(f"{check.replace('check_delay : 0', 'check_delay : 3')}\nnotify : yes")
    ready = speaker.ask("[time.monotonic(), send('READY=1')][0]")
    wait_for("a check", lambda: checks(box))
    assert time.monotonic() >= ready + 3
    wait_checks(box, 1)


# Changes of the configuration.


def test_changes(speaker: Speaker, check: str) -> None:
    """Added, changed, taken away, while the service runs."""
    box = speaker.box
    pid = speaker.start("")
    speaker.configure(f"{check}\ncheck_failures : 3")
    wait_for("a check", lambda: checks(box))
    sick(box)
    box.wait_log("(1 of 3): it is sick")
    # Another command has failed never yet.
    other = "check_command : sh -c 'echo otherwise; exit 5'\ncheck_delay : 0\ncheck_interval : 1"
    speaker.configure(f"{other}\ncheck_failures : 4")
    box.wait_log("check_command exited with status 5 (1 of 4): otherwise")
    box.wait_log("check_command exited with status 5 (2 of 4): otherwise")
    # And what is as it was goes on as it was.
    speaker.configure(f"{other}\ncheck_failures : 5")
    box.wait_log("check_command exited with status 5 (3 of 5): otherwise")
    speaker.configure("")
    box.wait_log("configuration supervise.conf", 5)
    count = box.log().count("check_command exited")
    wait_until("the time for a check", time.monotonic() + 1.5)
    assert box.log().count("check_command exited") == count
    assert (box.pid, speaker.state("totals")["hangs"]) == (pid, 0)


def test_a_check_whose_end_was_not_told_is_not_late(box: Box) -> None:
    times = "check_delay : 0\ncheck_interval : 1\ncheck_timeout : 2\ncheck_failures : 1\n"
    box.conf(f"[app]\ncheck_command : sh -c 'echo >>checked'\n{times}")
    checked = box.folder / "checked"
    pid = box.start("sleep", "86399")
    supervisor = box.supervisor
    with failing(supervisor, box.folder, "waitid:error=ECHILD:when=1+", "wait4:error=ECHILD:when=1+"):
        wait_for("a check that has ended", lambda: "Z" in children(supervisor).values())
    size = checked.stat().st_size
    wait_for("more checks", lambda: checked.stat().st_size > size + 1)
    assert box.pid == pid
    assert box.warnings == ""
