"""What a service leaves behind: in its process group, elsewhere, and to whom it goes."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import Box, alive, wait_for
from heirs import adopted, kill_supervise, stat, state, succeed
from serving import new_address
from system import children

from supervise.system.members import group_members

PYTHON = (sys.executable, "-S", "-E", "-c")
STAYS = "while True: signal.pause()"
# Words for what follows; each ends with all of its children at their work.
HEAD = """
import os, signal, sys, time
def child(work, *args):
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            work(*args)
            os.write(writing, b"x")
            while True: signal.pause()
        finally:
            os._exit(1)
    os.close(writing)
    assert os.read(reading, 1) == b"x"
    os.close(reading)
    return pid
def nothing(): pass
def ignore(): signal.signal(signal.SIGTERM, signal.SIG_IGN)
def say(text): os.write(1, (text + "\\n").encode())
def wait():
    say("ready")
    while True: signal.pause()
"""


def service(text: str) -> tuple[str, ...]:
    """A program with the words of HEAD at its disposal; `wait()` is its end."""
    return (*PYTHON, HEAD + text)


# The first one leaves a child behind, the next ones do not.
LEAVES = "first = not os.path.exists('over')\nopen('over', 'w').close()\n"
ONE = service(LEAVES + "if first: say(f'left {child(nothing)}')\nwait()")
DEAF = service(LEAVES + "if first: say(f'left {child(ignore)}')\nwait()")


def start(box: Box, command: tuple[str, ...], conf: str = "") -> tuple[int, list[int]]:
    """Start a service; its pid, and those that it says will be left."""
    box.conf(f"[global]\n{conf}\n")
    pid = box.start(*command)
    box.wait_stdout("ready\n")
    return pid, [int(number) for number in re.findall(r"^left (\d+)$", box.stdout(), re.MULTILINE)]


def end(box: Box, pid: int) -> None:
    """End the service as somebody else might."""
    os.kill(pid, signal.SIGKILL)
    wait_for("its end", lambda: not alive(pid))


def called(pid: int) -> str:
    """What the kernel calls a process."""
    return Path(f"/proc/{pid}/comm").read_text().rstrip("\n")


def wait_started(box: Box, pid: int) -> int:
    """Wait until the next one is up and says so; its pid."""
    again = box.wait_new_pid(pid)
    box.wait_stdout("ready\n", 2)
    return again


# Without `killasgroup`.


def test_what_is_left_is_reported(box: Box) -> None:
    pid, left = start(box, service(LEAVES + "if first:\n for _ in range(3): say(f'left {child(nothing)}')\nwait()"))
    end(box, pid)
    wait_started(box, pid)
    warned = box.wait_warning("left of the service")
    line = re.fullmatch(r"\[WARNING\] \S+ \S+ left of the service: (.*)\n", warned)
    assert line
    assert sorted(line[1].split(", ")) == sorted(f"pid {one} ({called(one)})" for one in left)
    assert all(map(alive, left))


def test_many_that_are_left(box: Box) -> None:
    pid, left = start(box, service(LEAVES + "if first:\n for _ in range(33): say(f'left {child(nothing)}')\nwait()"))
    end(box, pid)
    warned = box.wait_warning("left of the service")
    assert len(re.findall(r" pid \d+ ", warned)) == 20
    assert warned.endswith(" and 13 more\n")


@pytest.mark.parametrize("letters", ["d", "dx", "R"])
def test_also_when_it_was_stopped(box: Box, letters: str) -> None:
    pid, left = start(box, ONE)
    box.control(letters)
    wait_for("its end", lambda: not alive(pid))
    box.wait_warning(f"left of the service: pid {left[0]} ({called(left[0])})\n")
    assert alive(left[0])
    if letters == "dx":
        box.wait_gone()


def test_nothing_is_said_of_a_service_that_leaves_nothing(box: Box) -> None:
    box.conf("[a]\n[b]\nkillasgroup : yes\n")
    for one in (Box(box.folder, "a"), Box(box.folder, "b")):
        pid = one.start("sh", "-c", "sleep 0.01; echo ready; exec sleep 86399")
        one.wait_stdout("ready\n")
        end(one, pid)
        one.wait_new_pid(pid)
        one.wait_stdout("ready\n", 2)
        one.control("d")
        one.wait_down()
        one.wait_log("service was killed by signal 15 (TERM)")
        assert one.warnings == ""
        assert "process group" not in one.log()


# With it.


def clearing(box: Box) -> None:
    wait_for("the clearing", lambda: state(box)["machine"] == "cleanup")


@pytest.mark.parametrize("how", ["its end", "R", "du", "ku"])
def test_what_is_left_is_ended_before_the_next_start(box: Box, how: str) -> None:
    pid, left = start(box, ONE, "killasgroup : yes")
    if how == "its end":
        end(box, pid)
    else:
        box.control(how)
    again = wait_started(box, pid)
    assert not alive(left[0])
    log = box.wait_log("service started", 2)
    assert f"sending TERM to what is left of process group {pid}: pids {left[0]}\n" in log
    assert log.index("what is left") < log.index(f"service started (pid {again})")
    assert "sending KILL" not in log
    assert box.warnings == ""


# A child keeps what the next process needs: each must have it, or says that it is taken.
HOLDS = """
import _socket, fcntl
def listen():
    taken = _socket.socket()
    taken.bind((sys.argv[1], int(sys.argv[2])))
    taken.listen(5)
    return taken
def lock():
    taken = os.open("locked", os.O_RDWR | os.O_CREAT)
    fcntl.flock(taken, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return taken
try:
    it = {what}()
except OSError as why:
    say(f"taken: {{why.strerror}}")
    os._exit(1)
say("has it")
def held():
    {before}
    return it
child(held)
del it
wait()
"""


@pytest.mark.parametrize("before", ["pass", "ignore()"], ids=["", "deaf"])
@pytest.mark.parametrize("what", ["listen", "lock"])
def test_the_next_one_gets_what_the_one_before_held(box: Box, what: str, before: str) -> None:
    host, port = new_address()
    command = (*service(HOLDS.format(what=what, before=before)), host, str(port))
    pid, _ = start(box, command, "killasgroup : yes\nstopwaitsecs : 1")
    for count in range(2, 5):
        end(box, pid)
        pid = box.wait_new_pid(pid)
        box.wait_stdout("has it\nready\n", count)
    assert "taken" not in box.stdout()


@pytest.mark.parametrize("what", ["listen", "lock"])
def test_without_it_the_next_one_does_not_get_it(box: Box, what: str) -> None:
    host, port = new_address()
    pid, _ = start(box, (*service(HOLDS.format(what=what, before="pass")), host, str(port)))
    end(box, pid)
    box.wait_stdout("taken: ")
    box.wait_log("exited with status 1")


def test_it_is_told_with_the_configured_signal(box: Box) -> None:
    told = "signal.signal(signal.SIGHUP, lambda *_: (say('child got HUP'), os._exit(0)))"
    command = service(f"def tell(): {told}\n{LEAVES}if first: say(f'left {{child(tell)}}')\nwait()")
    pid, left = start(box, command, "killasgroup : yes\nstopsignal : HUP")
    end(box, pid)
    wait_started(box, pid)
    assert "child got HUP\n" in box.stdout()
    assert not alive(left[0])


def test_what_stands_still_is_ended(box: Box) -> None:
    pid, left = start(box, ONE, "killasgroup : yes\nstopwaitsecs : 100000")
    os.kill(left[0], signal.SIGSTOP)
    wait_for("it to stand still", lambda: stat(left[0])[0] == "T")
    end(box, pid)
    wait_started(box, pid)
    assert not alive(left[0])


def test_what_does_not_heed_the_signal_is_killed(box: Box) -> None:
    pid, left = start(box, DEAF, "killasgroup : yes\nstopwaitsecs : 2")
    before = time.monotonic()
    end(box, pid)
    clearing(box)
    assert (box.pid, box.record.want, alive(left[0])) == (0, "up", True)
    wait_started(box, pid)
    assert time.monotonic() - before >= 2
    assert not alive(left[0])
    log = box.wait_log("service started", 2)
    for name in ("TERM", "KILL"):
        assert log.count(f"sending {name} to what is left of process group {pid}: pids {left[0]}\n") == 1


def test_whoever_is_born_meanwhile_is_ended_as_well(box: Box) -> None:
    """Each lives for a moment only, and leaves a child: nobody that is looked for is found again."""
    chain = """
def chain():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if os.fork(): return
    while True:
        time.sleep(0.002)
        if os.fork(): os._exit(0)
"""
    command = service(f"{chain}{LEAVES}if first: child(chain)\nwait()")
    pid, _ = start(box, command, "killasgroup : yes\nstopwaitsecs : 1")
    end(box, pid)
    again = wait_started(box, pid)
    assert group_members(pid, box.supervisor) == []
    box.wait_log(f"service started (pid {again})")
    assert "sending KILL to what is left" in box.log()


@pytest.mark.parametrize("killasgroup", ["yes", "no"])
def test_what_is_in_another_session_or_group_is_reported(box: Box, killasgroup: str) -> None:
    command = service(f"{LEAVES}if first:\n for work in (os.setsid, os.setpgrp): say(f'left {{child(work)}}')\nwait()")
    pid, left = start(box, command, f"killasgroup : {killasgroup}")
    end(box, pid)
    wait_started(box, pid)
    names = ", ".join(f"pid {one} ({called(one)})" for one in sorted(left))
    box.wait_warning(f"left of the service: {names}\n")
    box.control("dx")
    box.wait_gone()
    assert "process group" not in box.log() + box.warnings
    assert all(map(alive, left))
    assert box.warnings.count("\n") == 1, "and said once: the next one has not left them"


def test_one_whose_parent_lives_elsewhere(box: Box) -> None:
    """Its parent, in a group of its own, does not wait for it: it stays a zombie, in the group."""
    elsewhere = """
def elsewhere():
    group = os.getpgrp()
    os.setpgrp()
    if {deaf}: ignore()
    pid = child(nothing)
    os.setpgid(pid, group)
    say(f"left {{pid}}")
{leaves}if first: say(f"parent {{child(elsewhere)}}")
wait()
"""
    for name, deaf in (("a", False), ("b", True)):
        one = Box(box.folder, name)
        command = service(elsewhere.format(deaf=deaf, leaves=LEAVES.replace("'over'", f"'over-{name}'")))
        pid, left = start(one, command, "killasgroup : yes\nstopwaitsecs : 1")
        parent = int(re.findall(r"parent (\d+)", one.stdout())[0])
        assert (stat(left[0])[1], stat(left[0])[2]) == (str(parent), str(pid))
        end(one, pid)
        wait_started(one, pid)
        assert alive(parent)
        assert stat(left[0])[0] == "Z"
        one.wait_warning(f"left of the service: pid {parent} ({called(parent)})\n")
        assert one.warnings.count("\n") == 1


# Commands meanwhile.


@pytest.mark.parametrize("letters", ["d", "o", "du", "R", "dx", "x", "SIGTERM"])
def test_commands_are_obeyed_while_it_is_cleared(box: Box, letters: str) -> None:
    pid, left = start(box, DEAF, "killasgroup : yes\nstopwaitsecs : 100000")
    end(box, pid)
    clearing(box)
    if letters == "SIGTERM":
        os.kill(box.supervisor, signal.SIGTERM)
        letters = "dx"
    else:
        box.control(letters)
    box.wait_log(f"command {letters[-1]}: ")
    assert (box.pid, state(box)["machine"]) == (0, "cleanup")
    os.kill(left[0], signal.SIGKILL)
    if "x" in letters:
        box.wait_gone()
    elif letters == "d":
        wait_for("the end of it", lambda: state(box)["machine"] == "idle")
    else:
        wait_started(box, pid)
        assert box.record.want == {"o": "once"}.get(letters, "up")
        box.wait_log("service started", 2)
        return
    assert box.log().count("service started") == 1


def test_it_is_cleared_before_supervise_ends(box: Box) -> None:
    pid, left = start(box, DEAF, "killasgroup : yes\nstopwaitsecs : 1")
    box.control("dx")
    box.wait_gone()
    assert not alive(left[0])
    assert box.log().count("sending KILL to what is left") == 1


def test_it_is_cleared_also_when_nothing_follows(box: Box) -> None:
    pid, left = start(box, DEAF, "killasgroup : yes\nstopwaitsecs : 1\nautorestart : never")
    end(box, pid)
    wait_for("nothing to follow", lambda: state(box)["machine"] == "idle")
    assert not alive(left[0])


# Through the end of supervise.


def test_supervise_is_killed_while_it_clears(box: Box) -> None:
    pid, left = start(box, DEAF, "killasgroup : yes\nstopwaitsecs : 100000")
    end(box, pid)
    clearing(box)
    kill_supervise(box)
    assert alive(left[0])
    box.conf("[global]\nkillasgroup : yes\nstopwaitsecs : 1\n")
    succeed(box, *DEAF)
    box.wait_stdout("ready\n", 2)
    assert not alive(left[0])
    box.wait_log("service started", 2)
    assert box.log().count("sending KILL to what is left") == 1


def test_supervise_and_the_service_are_killed(box: Box) -> None:
    pid, left = start(box, DEAF, "killasgroup : yes\nstopwaitsecs : 1")
    kill_supervise(box)
    end(box, pid)
    succeed(box, *DEAF)
    box.wait_stdout("ready\n", 2)
    assert not alive(left[0])
    box.wait_log(f"sending KILL to what is left of process group {pid}: pids {left[0]}\n")


def test_the_next_supervise_reports_what_is_left(box: Box) -> None:
    pid, left = start(box, ONE)
    kill_supervise(box)
    end(box, pid)
    done = box.run("-u", "status/app", *ONE)
    text = f"left of the service's process group {pid}: pids {left[0]}\n"
    assert (done.returncode, done.stderr) == (0, f"supervise: warning: {text}")
    assert text in box.warnings
    assert alive(left[0])


def test_a_service_that_was_taken_over(box: Box) -> None:
    """What it leaves does not come to its supervise, which sees its end all the same."""
    pid, left = start(box, DEAF, "killasgroup : yes\nstopwaitsecs : 1")
    for count in (1, 2):
        kill_supervise(box)
        succeed(box, *DEAF)
        adopted(box, pid, count)
    end(box, pid)
    wait_started(box, pid)
    assert not alive(left[0])
    assert box.warnings == ""


def test_one_that_was_taken_over_and_ended_unseen(box: Box) -> None:
    pid, left = start(box, DEAF, "killasgroup : yes\nstopwaitsecs : 1")
    kill_supervise(box)
    succeed(box, *DEAF)
    adopted(box, pid)
    kill_supervise(box)
    end(box, pid)
    succeed(box, *DEAF)
    box.wait_stdout("ready\n", 2)
    assert not alive(left[0])


# Orphans.


ORPHAN = """
def orphan(more):
    pid = os.fork()
    if not pid:
        between = os.getpid()
        if not os.fork():
            while os.getppid() == between: time.sleep(0.001)
            if more: more()
            say(f"left {os.getpid()}")
            while True: signal.pause()
        os._exit(0)
    os.waitpid(pid, 0)
"""


def orphans(box: Box, count: int) -> list[int]:
    """Wait for so many; their pids."""
    box.wait_stdout("left ", count)
    return [int(number) for number in re.findall(r"^left (\d+)$", box.stdout(), re.MULTILINE)]


def test_orphans_come_to_supervise(box: Box) -> None:
    work = "for more in (None, os.setsid, os.setpgrp): orphan(more)\nwait()"
    pid, _ = start(box, service(ORPHAN + work))
    left = orphans(box, 3)
    supervisor = box.supervisor
    assert {int(stat(one)[1]) for one in left} == {supervisor}
    wait_for("supervise to watch its configuration", lambda: children(supervisor).keys() == {pid, *left})

    def known() -> tuple[bytes, dict[str, Any]]:
        return (box.status / "status").read_bytes(), {**state(box), "control_obeyed": None}

    log, files = box.log(), known()
    for one in left:
        os.kill(one, signal.SIGTERM)
    wait_for("all to be reaped", lambda: children(supervisor).keys() == {pid})
    box.control("n")  # is dealt with after that
    box.wait_log("command n: alarms on")
    assert re.fullmatch(r"\[NOTICE\] \S+ \S+ command n: alarms on\n", box.log()[len(log) :])
    assert known() == files
    assert box.warnings == ""


def test_many_orphans_leave_no_zombie(box: Box) -> None:
    crowd = """
for _ in range(100):
    if not os.fork():
        if not os.fork(): os._exit(7)
        os._exit(0)
    os.wait()
wait()
"""
    pid, _ = start(box, service(crowd))
    supervisor = box.supervisor
    wait_for("nobody but the service", lambda: children(supervisor).keys() == {pid})
    assert box.log().count("\n") == 2  # the configuration, the start
    assert box.warnings == ""
    assert box.pid == pid


def test_orphans_outlive_the_service(box: Box) -> None:
    """They are of no interest to the next one, nor are their ends."""
    pid, _ = start(box, service(ORPHAN + "orphan(os.setsid)\nwait()"))
    end(box, pid)
    again = wait_started(box, pid)
    for one in orphans(box, 2):
        assert int(stat(one)[1]) == box.supervisor
        os.kill(one, signal.SIGKILL)
    wait_for("nobody but the service", lambda: children(box.supervisor).keys() == {again})
    assert box.pid == again
    assert state(box)["totals"]["exits"] == 1
