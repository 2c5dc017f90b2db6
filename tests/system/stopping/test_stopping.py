"""Stopping a service as it is configured: with which signal, for how long, with its process group or alone."""

from __future__ import annotations

import os
import re
import signal
import sys
import time

import pytest
from conftest import PATIENCE, Box, alive, wait_for
from heirs import adopted, kill_supervise, stat, state, succeed, wait_byte, wait_state

from supervise.protocol.exitstatus import SIGNAL_NAMES

# Says which signals it gets, one a line, and ends with status 3 by those that it is told.
TELLER = """
import os, signal, sys
numbers = {getattr(signal, "SIG" + name): name for name in "HUP INT QUIT USR1 USR2 ALRM TERM CONT".split()}
signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
os.write(1, b"ready\\n")
name = ""
while name not in sys.argv:
    name = numbers[signal.sigwait(numbers)]
    os.write(1, f"got {name}\\n".encode())
os._exit(3)
"""
ENDS_BY = (sys.executable, "-S", "-E", "-c", TELLER)
DEAF = (*ENDS_BY, "USR2")
# Starts a child that tells, says its pid, and tells itself: both end by the signals that are told.
BOTH = (sys.executable, "-S", "-E", "-c", f"import os\nchild = os.fork()\nif child: print(child, flush=True)\n{TELLER}")
MANY = 100000  # seconds that no test takes


def services(box: Box, names: str, conf: str) -> list[Box]:
    """Boxes beside each other in one folder, with one configuration."""
    box.conf(conf)
    return [Box(box.folder, name) for name in names.split()]


def start(box: Box, *command: str, options: tuple[str, ...] = ()) -> int:
    """Start a service, and wait until it has said `ready`; its pid."""
    count = box.stdout().count("ready\n")
    pid = box.start(*command, options=options)
    box.wait_stdout("ready\n", count + 1)
    return pid


def told(box: Box, ways: str, pid: int) -> None:
    """Stop it in a way: letters, or SIGTERM or SIGINT to supervise."""
    if ways.startswith("SIG"):
        os.kill(box.supervisor, getattr(signal, ways))
    else:
        box.control(ways)


# With what.


KINDS = {"HUP": "HUP", "INT": "2", "QUIT": "SIGQUIT", "USR1": "usr1", "USR2": "USR2", "ALRM": "sigalrm", "TERM": ""}


def test_the_signal_is_the_configured_one(box: Box) -> None:
    conf = "".join(f"[{name}]\nstopsignal : {value}\n" for name, value in KINDS.items())
    for one in services(box, " ".join(KINDS), conf):
        start(one, *ENDS_BY, "HUP", "INT", "QUIT", "USR1", "USR2", "ALRM", "TERM")
        one.control("d")
        one.wait_down()
        assert one.stdout() == f"ready\ngot {one.name}\n"
        wait_state(one, machine="idle", wanted="down")
        assert one.warnings == ""


@pytest.mark.parametrize("name", ["KILL", "ABRT", "IO", "SYS"])
def test_it_may_be_one_that_no_shell_handles(box: Box, name: str) -> None:
    box.conf(f"[global]\nstopsignal : {name}\n")
    start(box, "sh", "-c", 'ulimit -c 0; exec "$@"', "sh", *DEAF)
    box.control("d")
    box.wait_down()
    box.wait_log(f"killed by signal {SIGNAL_NAMES.index(name) + 1} ({name})")


@pytest.mark.parametrize("way", ["d", "R", "dx", "Rx", "xd", "SIGTERM", "SIGINT"])
def test_all_ways_to_stop_are_the_same_stop(box: Box, way: str) -> None:
    box.conf("[global]\nalarm_interval : 3600\nmax_tries : 1\nstopsignal : USR1\n")
    pid = start(box, *ENDS_BY, "USR1", "USR2")
    told(box, way, pid)
    if way == "d":
        box.wait_down()
        wait_state(box, wanted="down", machine="idle")
    elif way == "R":
        assert alive(box.wait_new_pid(pid))
    else:
        box.wait_gone()
        assert box.pid == 0
    assert not alive(pid)
    wait_for("the exit in the state", lambda: state(box)["totals"]["exits"] == 1)
    totals = state(box)["totals"]
    assert (totals["planned"], totals["crashes"]) == (1, 0)
    assert box.stdout().startswith("ready\ngot USR1\n")
    assert box.warnings == ""


def test_the_signal_that_is_configured_now(box: Box) -> None:
    box.conf("[global]\nstopsignal : HUP\n")
    start(box, *ENDS_BY, "USR1", "USR2")
    box.conf("[global]\nstopsignal : USR2\n")
    box.control("rd")
    box.wait_down()
    assert box.stdout() == "ready\ngot USR2\n"


def test_a_paused_service_is_stopped(box: Box) -> None:
    box.conf("[global]\nstopsignal : USR1\n")
    pid = start(box, *ENDS_BY, "USR1", "USR2")
    box.control("p")
    wait_byte(box, 12, 1)
    wait_for("it to stand still", lambda: stat(pid)[0] == "T")
    box.control("d")
    box.wait_down()
    assert box.stdout() == "ready\ngot USR1\n"
    assert not box.record.paused


def test_a_paused_process_group_is_stopped(box: Box) -> None:
    box.conf("[global]\nstopasgroup : yes\n")
    pid = start(box, "sh", "-c", "sleep 86398 & echo $!; echo ready; wait")
    child = int(box.stdout().split()[0])
    box.control("+p")
    wait_for("both to stand still", lambda: (stat(pid)[0], stat(child)[0]) == ("T", "T"))
    box.control("d")
    box.wait_down()
    wait_for("both to end", lambda: not alive(pid) and not alive(child))


# For how long.


def assert_killed(box: Box, pid: int, way: str) -> None:
    """After a second, and by that: it was told, then killed, and all of that as asked."""
    before = time.monotonic()
    told(box, way, pid)
    wait_for("it to end", lambda: not alive(pid))
    assert time.monotonic() - before >= 1
    log = box.wait_log(f"(pid {pid}, up ")
    assert re.search(rf"was killed by signal 9 \(KILL\).* \(pid {pid}, up \d+\.\d seconds, as asked\)", log)
    assert box.warnings.count(f"service (pid {pid}) did not end in time after it was told to: sending KILL") == 1
    assert "got TERM\n" in box.stdout()


@pytest.mark.parametrize("way", ["d", "R", "dx", "SIGTERM", "SIGINT"])
def test_one_that_does_not_end_in_time_is_killed(box: Box, way: str) -> None:
    box.conf("[global]\nstopwaitsecs : 1\nalarm_interval : 3600\nmax_tries : 1\n")
    pid = start(box, *DEAF)
    assert_killed(box, pid, way)
    if way == "R":
        assert alive(box.wait_new_pid(pid))
        pid = box.pid
        box.wait_stdout("ready\n", 2)
        assert_killed(box, pid, way)
        assert alive(box.wait_new_pid(pid))
    elif way == "d":
        wait_state(box, machine="idle")
        assert box.supervisor
    else:
        box.wait_gone()
    totals = state(box)["totals"]
    assert (totals["crashes"], totals["hangs"], totals["planned"]) == (0, 0, totals["exits"])


def test_in_the_foreground(box: Box) -> None:
    box.conf("[global]\nstopwaitsecs : 1\n")
    process = box.foreground(*DEAF)
    box.wait_stdout("ready\n")
    pid = box.pid
    before = time.monotonic()
    process.terminate()
    assert process.wait(PATIENCE) == 0
    assert time.monotonic() - before >= 1
    assert not alive(pid)


def test_without_a_limit_it_has_for_ever(box: Box) -> None:
    pid = start(box, *DEAF)
    box.control("d")
    box.wait_stdout("got TERM\n")
    wait_state(box, machine="stopping", deadline_at=None, wanted="down")
    box.control("d")
    box.wait_stdout("got TERM\n", 2)
    box.wait_stdout("got CONT\n", 2)
    assert state(box)["deadline_at"] is None
    # Letters do what they always do.
    box.control("2")
    box.wait_down()
    box.wait_log(f"exited with status 3 (pid {pid}")
    assert re.search(r"exited with status 3 \(pid \d+, up .* seconds, as asked\)", box.log())


def test_telling_it_again_does_not_give_it_more_time(box: Box) -> None:
    box.conf(f"[global]\nstopwaitsecs : {MANY}\n")
    start(box, *DEAF)
    box.control("d")
    box.wait_stdout("got TERM\n")  # two that are pending together would be one
    wait_for("a deadline", lambda: state(box)["deadline_at"])
    deadline = state(box)["deadline_at"]
    assert deadline - time.monotonic() <= MANY
    for count, way in enumerate(("d", "R", "dx", "SIGTERM", "SIGINT", "SIGTERM"), 2):
        told(box, way, 0)
        box.wait_stdout("got TERM\n", count)
        assert state(box)["deadline_at"] == deadline
    box.wait_log("exit when the service is down", 4)
    box.control("2")
    box.wait_gone()
    assert box.log().count("service started") == 1


def test_term_twice_kills_it_once(box: Box) -> None:
    box.conf("[global]\nstopwaitsecs : 1\n")
    pid = start(box, *DEAF)
    os.kill(box.supervisor, signal.SIGTERM)
    box.wait_stdout("got TERM\n")
    assert_killed_later = time.monotonic()
    os.kill(box.supervisor, signal.SIGTERM)
    box.wait_gone()
    assert time.monotonic() - assert_killed_later < PATIENCE
    assert not alive(pid)
    assert box.warnings.count("sending KILL") == 1
    assert box.log().count("received TERM") == 2


def test_u_while_it_is_being_stopped(box: Box) -> None:
    box.conf("[global]\nalarm_interval : 3600\nmax_tries : 1\nstopwaitsecs : 1\n")
    pid = start(box, *DEAF)
    box.control("d")
    box.wait_stdout("got TERM\n")
    box.control("u")
    again = box.wait_new_pid(pid)
    assert alive(again)
    assert box.record.want == "up"
    assert "start the service again when it is down" in box.log()
    wait_for("the exit in the state", lambda: state(box)["totals"]["exits"] == 1)
    totals = state(box)["totals"]
    assert (totals["planned"], totals["crashes"]) == (1, 0)


def test_o_while_it_is_being_stopped(box: Box) -> None:
    pid = start(box, *DEAF)
    box.control("d")
    box.wait_stdout("got TERM\n")
    box.control("o2")
    box.wait_down()
    box.wait_log(f"exited with status 3 (pid {pid}")
    assert box.supervisor
    assert box.log().count("service started") == 1


def test_one_that_is_paused_while_it_is_being_stopped_is_killed(box: Box) -> None:
    box.conf("[global]\nstopwaitsecs : 1\n")
    pid = start(box, *DEAF)
    box.control("dp")
    wait_for("it to end", lambda: not alive(pid))
    box.wait_down()
    assert not box.record.paused


# Through the end of supervise.


@pytest.mark.parametrize("options", [("--resume",), ()], ids=["resumed", "anew"])
def test_the_next_supervise_ends_what_was_told_to_end(box: Box, options: tuple[str, ...]) -> None:
    box.conf("[global]\nstopwaitsecs : 3\n")
    pid = start(box, *DEAF)
    box.control("d")
    wait_state(box, machine="stopping")
    deadline = state(box)["deadline_at"]
    kill_supervise(box)
    succeed(box, *DEAF, options=options)
    adopted(box, pid)
    wait_for("it to end", lambda: not alive(pid))
    assert time.monotonic() >= deadline
    box.wait_warning("did not end in time")
    if options:
        box.wait_down()
        assert box.record.want == "down"
    else:
        assert alive(box.wait_new_pid(pid))
    wait_for("the exit in the state", lambda: state(box)["totals"]["planned"] == 1)


# With its process group.


def start_both(box: Box, *ends: str) -> tuple[int, int]:
    """Start a service with a child that listens as well; the pids of both."""
    pid = box.start(*BOTH, *ends)
    box.wait_stdout("ready\n", 2)
    return pid, next(int(line) for line in box.stdout().splitlines() if line.isdigit())


def test_alone(box: Box) -> None:
    box.conf("[global]\nstopsignal : USR1\n")
    _, child = start_both(box, "USR1")
    box.control("d")
    box.wait_down()
    box.wait_log("exited with status 3")
    assert alive(child)
    assert box.stdout().count("got USR1\n") == 1
    box.control("u")
    box.wait_stdout("ready\n", 4)
    assert alive(child)


def test_with_its_process_group(box: Box) -> None:
    box.conf("[global]\nstopsignal : USR1\nstopasgroup : yes\n")
    pid, child = start_both(box, "USR1")
    box.control("R")
    box.wait_new_pid(pid)
    box.wait_stdout("got USR1\n", 2)
    wait_for("the child to end", lambda: not alive(child))


@pytest.mark.parametrize("key", ["stopasgroup", "killasgroup"])
def test_a_kill_as_group(box: Box, key: str) -> None:
    box.conf(f"[global]\nstopwaitsecs : 1\n{key} : on\n")
    pid, child = start_both(box, "USR2")
    box.control("d")
    wait_for("both to end", lambda: not alive(pid) and not alive(child))
    box.wait_down()
    assert box.stdout().count("got TERM\n") == (2 if key == "stopasgroup" else 1)


def test_a_kill_alone(box: Box) -> None:
    box.conf("[global]\nstopwaitsecs : 1\n")
    pid, child = start_both(box, "USR2")
    box.control("d")
    box.wait_down()
    box.wait_log("was killed by signal 9 (KILL)")
    box.wait_warning(f"left of the service: pid {child} (")
    assert alive(child)
    assert box.stdout().count("got TERM\n") == 1
