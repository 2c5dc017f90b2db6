"""What a check, the restart script and a mail program leave in the background ends with them, and nothing else does."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from conftest import Box, alive, wait_for
from heirs import SLEEP, start
from mailers import POLICY, put, record

# Leaves children in all places, says who they are, and ends well when all of them are there.
LEAVES = """
import os, signal, sys, time
def leave(*steps):
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        os.read(reading, 1)
        return os.close(reading)
    for step in steps: step()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with open(sys.argv[1], "a") as said: said.write(f"{os.getpid()}\\n")
    os.write(writing, b"x")
    while True: signal.pause()
def fork():
    if os.fork(): os._exit(0)
leave()
leave(os.setpgrp)
leave(fork)
leave(os.setsid)
leave(fork, os.setsid, fork)
leave(os.setsid, lambda: leave(), lambda: leave(os.setsid))
"""
# Each lives for a moment only, in a session of their own, and has a child then.
FLEES = """
import os, time
if os.fork(): os._exit(0)
os.setsid()
while True:
    time.sleep(0.02)
    if os.fork(): os._exit(0)
"""

FAMILY = 8


def program(box: Box) -> str:
    """The program above, to be executed."""
    path = box.folder / "leaves"
    path.write_text(f"#!{sys.executable} -SE\n{LEAVES}")
    path.chmod(0o755)
    return str(path)


def left(box: Box) -> list[int]:
    """Wait for the first family; its pids."""
    path = box.folder / "family"
    wait_for("the family", lambda: path.exists() and path.read_text().count("\n") >= FAMILY)
    return [int(line) for line in path.read_text().split()]


def only(box: Box, *pids: int) -> None:
    """Wait until all processes of the test are supervise and these."""

    def found() -> set[int]:
        numbers = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
        return {number for number in numbers if box.owns(number) and alive(number)} - {box.supervisor}

    wait_for("nobody else", lambda: found() == {*pids})


QUICK = "check_delay : 0\ncheck_interval : 1\ncheck_failures : 1\n"


def test_a_check(box: Box) -> None:
    box.conf(f"[global]\ncheck_command : {program(box)} family\n{QUICK}")
    pid = box.start(*SLEEP)
    family = left(box)
    wait_for("the end of the family", lambda: not any(map(alive, family)))
    box.wait_log("ended what check_command left running: pid ")
    wait_for("a second family", lambda: len(left(box)) >= 2 * FAMILY)
    box.conf("[global]\n")
    box.wait_log("configuration supervise.conf", 2)
    only(box, pid)
    assert (box.pid, box.warnings) == (pid, "")
    assert box.log().count("left running") == 1, "and said once"


def test_a_check_that_leaves_somebody_who_is_hard_to_catch(box: Box) -> None:
    path = box.folder / "flees"
    path.write_text(f"#!{sys.executable} -SE\n{FLEES}")
    path.chmod(0o755)
    box.conf("[global]\ncheck_command : sh -c '[ -e once ] || ./flees; : >once'\ncheck_interval : 1\n")
    pid = box.start(*SLEEP)
    wait_for("a check", lambda: (box.folder / "once").exists())
    only(box, pid)
    assert box.warnings == ""


def test_what_the_service_leaves_meanwhile_is_not_the_checks(box: Box) -> None:
    """Daemons of the service that become supervise's children while a check runs."""
    text = "import os, time\nfor _ in range(40):\n if not os.fork():\n  os.setsid()\n  if os.fork(): os._exit(0)\n"
    text += "  os.write(1, b'daemon %d\\n' % os.getpid())\n  time.sleep(86399)\n time.sleep(0.05)\n"
    text += "os.write(1, b'ready\\n')\ntime.sleep(86399)"
    box.conf(f"[global]\ncheck_command : {program(box)} family\n{QUICK}")
    pid = box.start(sys.executable, "-SEc", text)
    box.wait_stdout("ready\n")
    left(box)
    box.wait_log("left running")
    daemons = [int(line[7:]) for line in box.wait_stdout("daemon", 40).splitlines() if line.startswith("daemon ")]
    assert len(daemons) == 40 and all(map(alive, daemons))
    assert box.pid == pid


def test_the_restart_script(box: Box) -> None:
    pid = start(box, *SLEEP, options=("-r", program(box)))
    os.kill(pid, signal.SIGKILL)
    again = box.wait_new_pid(pid)
    (box.folder / "1").rename(box.folder / "family")
    only(box, again)
    assert not any(map(alive, left(box)))
    box.wait_log("left running: pid ")


def test_a_script_that_is_ended(box: Box) -> None:
    path = box.folder / "script"
    path.write_text("#!/bin/sh\nsetsid sleep 86398 & sleep 86397\n")
    path.chmod(0o755)
    pid = start(box, *SLEEP, options=("-r", str(path)))
    os.kill(pid, signal.SIGKILL)
    box.wait_log("restart script started")
    wait_for("what it starts", lambda: any(b"\x0086398\0" in _said(one) for one in Path("/proc").glob("[0-9]*")))
    box.control("d")
    only(box)


def _said(place: Path) -> bytes:
    try:
        return (place / "cmdline").read_bytes()
    except OSError:
        return b""


def test_helpers_survive_an_upgrade_and_what_they_leave_does_not(box: Box) -> None:
    path = box.folder / "script"
    path.write_text(f"#!/bin/sh\n{program(box)} family\nwhile ! [ -e go ]; do sleep 0.1; done\n")
    path.chmod(0o755)
    pid = start(box, *SLEEP, options=("-r", str(path)))
    os.kill(pid, signal.SIGKILL)
    family = left(box)
    box.control("e")
    box.wait_log("replaced by the installed version")
    assert all(map(alive, family))
    (box.folder / "go").touch()
    only(box, box.wait_new_pid(pid))


# Mail.


def test_a_mail_program_that_leaves_the_work_to_a_child(box: Box) -> None:
    """As `mail` does with sendmail: it has time for it."""
    record(box, "mail", "{ sleep 1; touch sent; } &\n")
    box.conf(POLICY)
    pid = box.start(*SLEEP)
    box.control("k")
    box.wait_new_pid(pid)
    box.wait_log("through mail: handed over")
    wait_for("the mail", lambda: (box.folder / "sent").exists())
    only(box, box.pid)


def test_a_mail_program_that_leaves_something_for_ever(box: Box) -> None:
    put(box, "mail", f"{program(box)} family\n")
    box.conf(POLICY)
    pid = box.start(*SLEEP)
    box.control("k")
    box.wait_new_pid(pid)
    family = left(box)
    family = [one for one in family if os.getsid(one) == os.getsid(family[0])]
    assert len(family) == 3
    wait_for("the end of its session", lambda: not any(map(alive, family)))
