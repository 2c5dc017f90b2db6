"""The control letters, sent to a real supervise of a real service (specification, 4)."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

import pytest
from conftest import PATIENCE, Box, alive, wait_for
from heirs import wait_byte
from samples import SIGNAL_LETTERS

# Says which signals it gets, by waiting for them: none is lost or handled out of turn.  The words after it are
# a label for what it says, and whether it has a child that does the same.
REPORTER = """
import os, signal, sys
NAMES = "HUP INT QUIT USR1 USR2 ALRM TERM CONT WINCH".split()
numbers = {getattr(signal, "SIG" + name): name for name in NAMES}
signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
label = "service"
if sys.argv[1:] and os.fork() == 0:
    label = "child"
os.write(1, f"{label} {os.getpid()} ready\\n".encode())
while True:
    os.write(1, f"{label} got {numbers[signal.sigwait(numbers)]}\\n".encode())
"""
PASSED_ON = {letter: name for letter, name in SIGNAL_LETTERS.items() if letter != "k"}


def reporter(box: Box, *words: str) -> int:
    """Start the reporter; its pid, when it can report."""
    pid = box.start(sys.executable, "-S", "-E", "-c", REPORTER, *words)
    box.wait_stdout("ready\n", 1 + len(words))
    return pid


def child_of_reporter(box: Box) -> int:
    return next(int(line.split()[1]) for line in box.stdout().splitlines() if line.startswith("child "))


def stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def byte(box: Box, index: int) -> int:
    return (box.status / "status").read_bytes()[index]


# Signals.


def test_letters_that_pass_a_signal_on(box: Box) -> None:
    pid = reporter(box)
    for letter, name in PASSED_ON.items():
        box.control(letter)
        box.wait_stdout(f"service got {name}\n")
    assert box.stdout().count("got") == len(PASSED_ON)
    assert box.pid == pid


def test_k_kills(box: Box) -> None:
    pid = reporter(box)
    box.control("ok")
    box.wait_log("killed by signal 9 (KILL)")
    assert not alive(pid)


def test_plus_means_the_process_group(box: Box) -> None:
    reporter(box, "child")
    box.control("+2")
    for who in ("service", "child"):
        box.wait_stdout(f"{who} got USR2\n")
    # Only the rest of the same write, up to `=` or the end of the line.
    box.control("1")
    box.wait_stdout("service got USR1\n")
    box.control("+a=h")
    box.wait_stdout("service got HUP\n")
    box.write_control(b"+i\nq\n")
    box.wait_stdout("service got QUIT\n")
    box.control("=t+w")
    box.wait_stdout("child got WINCH\n")
    box.wait_stdout("service got TERM\n")
    got = [line.split()[2] for line in box.stdout().splitlines() if line.startswith("child got")]
    assert got == ["USR2", "ALRM", "INT", "WINCH"]


def test_plus_with_pause_continue_and_kill(box: Box) -> None:
    pid = reporter(box, "child")
    child = child_of_reporter(box)
    box.control("+p")
    wait_for("both to stop", lambda: stopped(pid) and stopped(child))
    assert byte(box, 12) == 1
    box.control("c")
    wait_for("the service alone to go on", lambda: not stopped(pid))
    assert stopped(child)
    box.control("+c")
    wait_for("the child to go on", lambda: not stopped(child))
    box.control("o+k")
    box.wait_down()
    wait_for("the child to be killed", lambda: not alive(child))


@pytest.mark.parametrize("letter", ["d", "R"])
def test_plus_with_letters_that_take_the_service_down(box: Box, letter: str) -> None:
    pid = reporter(box, "child")
    box.control("+" + letter)
    box.wait_stdout("child got TERM\n")
    box.wait_stdout("child got CONT\n")
    box.wait_stdout("service got TERM\n")
    assert box.pid == pid


def test_without_plus_the_services_children_are_left_alone(box: Box) -> None:
    pid = reporter(box, "child")
    child = child_of_reporter(box)
    box.control("dk")
    box.wait_down()
    assert not alive(pid)
    assert alive(child)
    assert "child got" not in box.stdout()


# What is wanted.


def test_d_u_and_o_are_byte_13(box: Box) -> None:
    first = box.start("sleep", "1000")
    assert byte(box, 13) == ord("u")
    box.control("d")
    box.wait_down()
    assert byte(box, 13) == ord("d")
    assert not alive(first)
    box.control("o")
    second = box.wait_new_pid(first)
    assert byte(box, 13) == 0
    box.control("k")
    box.wait_down()
    assert byte(box, 13) == 0
    box.control("ou")
    third = box.wait_new_pid(second)
    assert byte(box, 13) == ord("u")
    box.control("o")
    wait_byte(box, 13, 0)
    assert box.pid == third
    box.control("t")
    box.wait_down()
    assert box.log().count("service started") == 3


def test_d_is_term_and_continue(box: Box) -> None:
    pid = reporter(box)
    box.control("d")
    box.wait_stdout("service got TERM\n")
    box.wait_stdout("service got CONT\n")
    wait_byte(box, 13, ord("d"))
    assert box.pid == pid


def test_d_ends_a_paused_service(box: Box) -> None:
    pid = box.start("sleep", "1000")
    box.control("p")
    wait_for("the service to stop", lambda: stopped(pid))
    box.control("d")
    box.wait_down()
    assert byte(box, 12) == 0
    assert not alive(pid)


def test_d_ends_the_wait_before_a_restart_and_R_starts_what_is_down(box: Box) -> None:
    box.start("true")
    box.wait_log("service exited")
    box.control("d")
    wait_byte(box, 13, ord("d"))
    # What must not happen would have happened a second after the last start.
    second = time.monotonic() + 1.1
    wait_for("that second to be over", lambda: time.monotonic() > second)
    started = box.log().count("service started")
    assert box.log().rindex("command d") > box.log().rindex("service started")
    box.control("R")
    box.wait_log("service started", started + 1)
    assert byte(box, 13) == ord("u")


def test_a_planned_restart_is_neither_counted_nor_alarmed(box: Box) -> None:
    box.conf("[global]\nalarm_interval : 60\nmax_tries : 1\nalarm_mail : nobody@localhost\n")
    pid = box.start("sleep", "1000")
    # Two of them would be one too many.
    for letters in ("R", "dR"):
        box.control(letters)
        pid = box.wait_new_pid(pid)
        assert byte(box, 13) == ord("u")
    assert box.warnings == ""
    assert "[Alarm:" not in box.log()


# The end.


def test_x_waits_for_the_service(box: Box) -> None:
    pid = box.start("sleep", "1000")
    supervisor = box.supervisor
    box.control("x")
    box.wait_log("command x")
    box.control("s")
    wait_byte(box, 14, ord("x"))
    assert alive(pid)
    assert box.supervisor == supervisor
    os.kill(pid, signal.SIGKILL)
    box.wait_gone()
    assert box.pid == 0
    assert box.log().count("service started") == 1


def test_x_ends_at_once_when_the_service_is_down(box: Box) -> None:
    box.start("sleep", "1000")
    box.control("d")
    box.wait_down()
    supervisor = box.supervisor
    box.control("x")
    box.wait_gone()
    wait_for("the process to be gone", lambda: not alive(supervisor))


@pytest.mark.parametrize("data", [b"dx", b"dx\n", b" d \n\t x\r\n", b"pdx", b"xd", b"+dx"])
def test_d_and_x_in_one_write(box: Box, data: bytes) -> None:
    pid = box.start("sleep", "1000")
    box.write_control(data)
    box.wait_gone()
    assert not alive(pid)
    assert (box.pid, byte(box, 13)) == (0, ord("d"))
    with pytest.raises(OSError):
        os.open(box.status / "ok", os.O_WRONLY | os.O_NONBLOCK)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_term_and_int_to_supervise_do_dx(box: Box, number: int) -> None:
    pid = reporter(box)
    supervisor = box.supervisor
    os.kill(supervisor, number)
    box.wait_stdout("service got TERM\n")
    wait_for("the record to say so", lambda: byte(box, 13) == ord("d"))  # it is written when the signal has been sent
    assert box.supervisor == supervisor
    box.control("k")
    box.wait_gone()
    assert not alive(pid)


@pytest.mark.parametrize("how", ["HUP", "r"])
def test_the_configuration_is_read_again(box: Box, how: str) -> None:
    box.conf("[global]\nalarm_interval : 60\nmax_tries : 7\n")
    pid = box.start("sleep", "1000")
    assert box.wait_log("max_tries 7").count("max_tries 7") == 1
    if how == "HUP":
        os.kill(box.supervisor, signal.SIGHUP)
    else:
        box.control("r")
    box.wait_log("max_tries 7", 2)
    assert box.pid == pid
    assert box.warnings == ""


# Bytes 12 and 14.


def test_p_and_c_are_byte_12_and_s_and_n_are_byte_14(box: Box) -> None:
    pid = box.start("sleep", "1000")
    assert (byte(box, 12), byte(box, 14)) == (0, ord("o"))
    box.control("p")
    wait_byte(box, 12, 1)
    wait_for("the service to stop", lambda: stopped(pid))
    box.control("c")
    wait_byte(box, 12, 0)
    wait_for("the service to go on", lambda: not stopped(pid))
    box.control("s")
    wait_byte(box, 14, ord("x"))
    box.control("n")
    wait_byte(box, 14, ord("o"))
    box.control("pcpsns")
    wait_for("the last of each to hold", lambda: (byte(box, 12), byte(box, 14)) == (1, ord("x")))
    # The next process is not paused; alarms stay off.
    box.control("k")
    again = box.wait_new_pid(pid)
    assert (byte(box, 12), byte(box, 14)) == (0, ord("x"))
    assert not stopped(again)


# Bytes that are no commands, and many bytes.


def test_blanks_and_newlines_mean_nothing(box: Box) -> None:
    pid = reporter(box)
    box.write_control(b" \n\t\r\n   \n\n")
    box.write_control(b" 1 \n 2 ")
    box.wait_stdout("service got USR2\n")
    box.wait_stdout("service got USR1\n")
    assert (box.pid, box.warnings) == (pid, "")


def test_unknown_bytes_are_ignored_and_logged(box: Box) -> None:
    pid = reporter(box)
    box.write_control(b"Z1\x00\xff\n")
    box.wait_stdout("service got USR1\n")
    box.wait_warning("Z")
    assert box.warnings.count("\n") == 1
    assert box.warnings.rstrip("\n").isprintable()
    assert (box.pid, byte(box, 13)) == (pid, ord("u"))


def test_letters_are_obeyed_when_the_service_is_down(box: Box) -> None:
    pid = box.start("sleep", "1000")
    box.control("d")
    box.wait_down()
    box.control("+tkhaiq12wpcdnr=s")
    wait_byte(box, 14, ord("x"))
    assert (byte(box, 12), byte(box, 13), box.pid) == (0, ord("d"), 0)
    assert box.warnings == ""
    assert not alive(pid)


def test_a_megabyte_that_holds_no_letter_to_end_it(box: Box) -> None:
    noise = bytes(set(range(256)) - set(b"dxoRtkhaiq12wpcse"))
    data = bytes(random.Random(20).choices(noise, k=1 << 20))
    pid = reporter(box)
    supervisor = box.supervisor
    box.write_control(data + b"\n1s")
    wait_byte(box, 14, ord("x"))
    box.wait_stdout("service got USR1\n")
    assert (box.pid, box.supervisor, byte(box, 13)) == (pid, supervisor, ord("u"))
    assert box.stdout().count("got") == 1
    assert "internal error" not in box.warnings


@pytest.mark.parametrize("without", [b"", b"xe", b"xedo"])
def test_a_megabyte_of_anything(box: Box, without: bytes) -> None:
    data = random.Random(40).randbytes(1 << 20).translate(None, without)
    process = box.foreground("sleep", "1000")
    box.wait_log("service started")
    try:
        box.write_control(data)
        box.control("cdx")
    except OSError:
        pass  # an `x` in there was obeyed
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert b"Traceback" not in err
    assert "internal error" not in box.warnings
    assert (box.pid, box.supervisor) == (0, 0)


# What must not hold commands up.


@pytest.fixture
def hanging(box: Box) -> int:
    """A service that has ended, whose restart script hangs; the pid of the script."""
    script = box.folder / "script"
    script.write_text("#!/bin/sh\necho $$ >script.new; mv script.new script.pid; exec sleep 1000\n")
    script.chmod(0o755)
    box.start("sleep", "1000", options=("-r", "./script"))
    box.control("k")
    wait_for("the restart script", (box.folder / "script.pid").exists)
    box.wait_down()
    return int((box.folder / "script.pid").read_text())


def test_commands_are_obeyed_while_a_restart_script_hangs(box: Box, hanging: int) -> None:
    box.control("s")
    wait_byte(box, 14, ord("x"))
    box.control("tp1Z")
    box.wait_warning("Z")
    box.control("o")
    wait_byte(box, 13, 0)
    box.control("un")
    wait_byte(box, 14, ord("o"))
    assert (byte(box, 12), byte(box, 13), box.pid) == (0, ord("u"), 0)
    assert alive(hanging)
    os.kill(hanging, signal.SIGKILL)
    assert box.wait_new_pid(0)


def test_d_ends_a_restart_script_that_hangs(box: Box, hanging: int) -> None:
    box.control("d")
    wait_byte(box, 13, ord("d"))
    wait_for("the script to end", lambda: not alive(hanging))
    assert box.pid == 0
    box.control("u")
    assert box.wait_new_pid(0)


@pytest.mark.parametrize("how", ["x", "dx", "TERM"])
def test_the_end_does_not_wait_for_a_restart_script(box: Box, hanging: int, how: str) -> None:
    if how == "TERM":
        os.kill(box.supervisor, signal.SIGTERM)
    else:
        box.control(how)
    box.wait_gone()
    wait_for("the script to end", lambda: not alive(hanging))
    assert box.pid == 0
