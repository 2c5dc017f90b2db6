"""`killasgroup : all`: whatever has come from the service ends with it, wherever it went."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys

import pytest
from conftest import Box, alive, wait_for
from heirs import adopted, kill_supervise, succeed
from mailers import POLICY, record, recorded
from serving import new_address
from system import children

# Words for what follows.  A daemon has left its session twice, as some do, and is nobody's child.
HEAD = """
import os, signal, sys, time, _socket
def say(text): os.write(1, (text + "\\n").encode())
def nothing(): pass
def deaf(): signal.signal(signal.SIGTERM, signal.SIG_IGN)
def tells(): signal.signal(signal.SIGTERM, lambda *_: (say("got TERM"), os._exit(0)))
def start(*steps):
    reading, writing = os.pipe()
    if os.fork():
        os.close(writing)
        assert os.read(reading, 1)
        return os.close(reading)
    try:
        for step in steps: step()
        say(f"left {os.getpid()}")
        os.write(writing, b"x")
        while True: signal.pause()
    finally:
        os._exit(1)
def fork():
    if os.fork(): os._exit(0)
def daemon(work, *steps): start(work, os.setsid, fork, os.setsid, *steps)
def flee():
    deaf()
    if os.fork(): return
    os.setsid()
    for _ in range(3000):  # a minute: where a test is ended before it ends this, nobody else could
        time.sleep(0.02)
        if os.fork(): os._exit(0)
def wait():
    say("ready")
    while True: signal.pause()
first = not os.path.exists("over")
open("over", "w").close()
"""
FAMILY = """
if first:
    start({0}), start({0}, os.setpgrp), start({0}, os.setsid), daemon({0}), daemon({0}, lambda: daemon({0}))
wait()
"""
SIZE = 6  # of that family


def service(text: str) -> tuple[str, ...]:
    return (sys.executable, "-S", "-E", "-c", HEAD + text)


def start(box: Box, command: tuple[str, ...], conf: str = "killasgroup : all") -> tuple[int, list[int]]:
    """Start a service; its pid, and those that it says will be left."""
    box.conf(f"[global]\n{conf}\n")
    pid = box.start(*command)
    box.wait_stdout("ready\n")
    return pid, left(box)


def left(box: Box) -> list[int]:
    return [int(number) for number in re.findall(r"^left (\d+)$", box.stdout(), re.MULTILINE)]


def end(box: Box, pid: int) -> int:
    """End the service as somebody else might; the pid of the next."""
    os.kill(pid, signal.SIGKILL)
    again = box.wait_new_pid(pid)
    box.wait_stdout("ready\n", 2)
    return again


def alone(box: Box, pid: int) -> None:
    """Nobody is left but the service."""
    wait_for("nobody but the service", lambda: children(box.supervisor).keys() == {pid})


def test_all_are_told_to_end_before_the_next_start(box: Box) -> None:
    pid, family = start(box, service(FAMILY.format("tells")))
    assert len(family) == SIZE and all(map(alive, family))
    again = end(box, pid)
    assert not any(map(alive, family))
    assert box.stdout().count("got TERM\n") == SIZE
    assert box.stdout().rindex("got TERM") < box.stdout().rindex("ready")
    log = box.wait_log(f"service started (pid {again})")
    (line,) = re.findall(r"sending TERM to what is left of the service: (.*)\n", log)
    assert sorted(map(int, re.findall(r"pid (\d+) \(\S+\)", line))) == sorted(family)
    assert "sending KILL" not in log
    assert box.warnings == ""
    alone(box, again)


def test_those_who_do_not_heed_it_are_killed(box: Box) -> None:
    pid, family = start(box, service(FAMILY.format("deaf")), "killasgroup : all\nstopwaitsecs : 1")
    os.kill(family[-1], signal.SIGSTOP)
    again = end(box, pid)
    assert not any(map(alive, family))
    assert "sending KILL to what is left of the service: pid " in box.log()  # again to those who take longer to go
    assert box.warnings == ""
    alone(box, again)


def test_whoever_is_born_meanwhile_ends_as_well(box: Box) -> None:
    """Each lives for a moment only, in a session of their own, and has a child then."""
    pid, _ = start(box, service("if first: flee()\nwait()"), "killasgroup : all\nstopwaitsecs : 1")
    again = end(box, pid)
    alone(box, again)
    assert "sending KILL to what is left of the service" in box.log()


def test_those_who_are_born_when_all_have_been_told_are_told_too(box: Box) -> None:
    """A daemon that starts another one as its answer to TERM."""
    answers = "def answers(): signal.signal(signal.SIGTERM, lambda *_: (daemon(tells), os._exit(0)))\n"
    command = service(f"{answers}if first: daemon(answers)\nwait()")
    pid, _ = start(box, command, "killasgroup : all\nstopwaitsecs : 3")
    again = end(box, pid)
    assert not any(map(alive, left(box)))  # the second of them may not have got as far as to say that it is left
    # Python forgets a signal that comes while it forks; who was told by such a one is killed.
    assert "got TERM\n" in box.stdout() or "sending KILL to what is left" in box.log()
    alone(box, again)


def test_the_next_one_gets_the_address_of_the_one_before(box: Box) -> None:
    host, port = new_address()
    text = """
taken = _socket.socket()
try: taken.bind((sys.argv[1], int(sys.argv[2]))), taken.listen(5)
except OSError as why: say(f"taken: {why.strerror}"), os._exit(1)
daemon(deaf)
taken.close()
wait()
"""
    pid, _ = start(box, (*service(text), host, str(port)), "killasgroup : all\nstopwaitsecs : 1")
    for count in (2, 3):
        os.kill(pid, signal.SIGKILL)
        pid = box.wait_new_pid(pid)
        box.wait_stdout("ready\n", count)
    assert "taken" not in box.stdout()


@pytest.mark.parametrize("letters", ["R", "dx"])
def test_it_is_so_whoever_ends_it(box: Box, letters: str) -> None:
    _, family = start(box, service(FAMILY.format("nothing")))
    box.control(letters)
    wait_for("the end of all", lambda: not any(map(alive, family)))
    if letters == "dx":
        box.wait_gone()
        assert box.log().index("sending TERM to what is left") < box.log().index("supervise ends")


def test_what_was_left_before_it_was_configured_ends_as_well(box: Box) -> None:
    pid, (daemon,) = start(box, service("if first: daemon(nothing)\nwait()"), "killasgroup : yes")
    again = end(box, pid)
    box.wait_warning(f"left of the service: pid {daemon} (")
    box.conf("[global]\nkillasgroup : all\n")
    box.wait_log("killasgroup all")
    os.kill(again, signal.SIGKILL)
    third = box.wait_new_pid(again)
    assert not alive(daemon)
    alone(box, third)


def test_an_alarm_on_its_way_is_not_of_the_service(box: Box) -> None:
    record(box, "mail", "until [ -e go ]; do sleep 0.02; done; echo >sent\n")
    box.conf(f"{POLICY}killasgroup : all\n")
    pid = box.start(*service(FAMILY.format("nothing")))
    box.wait_stdout("ready\n")
    for _ in range(2):
        os.kill(pid, signal.SIGKILL)
        pid = box.wait_new_pid(pid)
    wait_for("the mail program", lambda: recorded(box, "mail"))
    os.kill(pid, signal.SIGKILL)
    pid = box.wait_new_pid(pid)
    (box.folder / "go").touch()
    box.wait_log("through mail: handed over")
    assert (box.folder / "sent").exists()


def test_a_service_that_was_taken_over(box: Box) -> None:
    """What it leaves goes to another parent: it is found as long as it stays in the session."""
    command = service("if first: start(deaf), start(deaf, os.setpgrp)\nwait()")
    pid, family = start(box, command, "killasgroup : all\nstopwaitsecs : 1")
    kill_supervise(box)
    succeed(box, *command)
    adopted(box, pid)
    end(box, pid)
    assert not any(map(alive, family))


def test_where_supervise_is_no_subreaper_that_is_said(box: Box) -> None:
    """Of what stays in the session nobody gets away there, either."""
    code = "import sys; sys.modules['_ctypes'] = None; from supervise.programs.supervise import main; sys.exit(main())"
    box.conf("[global]\nkillasgroup : all\n")
    script = box.folder / "supervise"
    script.write_text(f"#!{sys.executable}\n{code}\n")
    script.chmod(0o755)
    done = subprocess.run(
        [str(script), "-u", "status/app", *service("if first: start(nothing, os.setpgrp, fork)\nwait()")],
        cwd=box.folder,
        env=box.env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    box.wait_warning("killasgroup : all ends what stays in the service's session: supervise is no subreaper")
    box.wait_stdout("ready\n")
    (orphan,) = left(box)
    end(box, box.pid)
    assert not alive(orphan)
