"""The letter `e`: a running supervise becomes the installed version of itself (upgrade.py)."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

import pytest
from conftest import Box, alive, rounds, wait_for
from heirs import (
    REPLACED,
    SLEEP,
    STAYS,
    adopted,
    kill_supervise,
    start,
    stat,
    state,
    succeed,
    upgrade,
    wait_byte,
    watches,
)

# The same process, the same service.


def test_same_supervise_same_service_still_its_child(box: Box) -> None:
    pid = start(box)
    supervisor = box.supervisor
    record = (box.status / "status").read_bytes()
    ticks = stat(supervisor)[19]
    for _ in range(3):
        upgrade(box)
    assert (box.supervisor, box.pid) == (supervisor, pid)
    assert stat(supervisor)[19] == ticks
    assert int(stat(pid)[1]) == supervisor
    assert (box.status / "status").read_bytes() == record
    assert box.stdout() == "ready\n"
    assert Path(f"/proc/{supervisor}/comm").read_text() == "supervise\n"
    box.control("2")
    box.wait_log(f"exited with status 23 (pid {pid}")
    again = box.wait_new_pid(pid)
    assert int(stat(again)[1]) == supervisor
    assert box.warnings == ""


def test_what_the_next_service_is_given_does_not_change(box: Box) -> None:
    box.env.update({"COLOUR": "gr\udcfcn", "PYTHONPATH": "/nowhere", "LC_ALL": "C"})
    command = ("sh", "-c", "echo ready; exec sleep 86399")
    pid = box.start(*command)

    def given(pid: int) -> tuple[object, ...]:
        links = {fd: os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
        wanted = ("SigIgn", "SigBlk", "Umask")
        status = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(wanted)]
        words = Path(f"/proc/{pid}/cmdline").read_bytes(), Path(f"/proc/{pid}/environ").read_bytes()
        return links, status, words, os.readlink(f"/proc/{pid}/cwd"), stat(pid)[3]

    def sleeping(pid: int) -> bool:
        return Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"sleep\0")

    wait_for("sleep", lambda: sleeping(pid))
    before = given(pid)
    upgrade(box)
    box.control("k")
    again = box.wait_new_pid(pid)
    wait_for("sleep", lambda: sleeping(again))
    assert given(again) == before


def test_in_the_foreground(box: Box) -> None:
    process = box.foreground(*SLEEP)
    box_ready = box.status / "state"
    wait_for("a service", lambda: box_ready.exists() and state(box)["service"])
    pid = box.pid
    upgrade(box)
    assert (box.supervisor, box.pid) == (process.pid, pid)
    box.control("dx")
    assert process.wait(30) == 0
    assert process.stderr and REPLACED.encode() in process.stderr.read()


def test_of_a_service_that_was_taken_over(box: Box) -> None:
    pid = start(box)
    kill_supervise(box)
    succeed(box)
    adopted(box, pid)
    upgrade(box)
    box.control("h")
    box.wait_stdout("got HUP")
    box.control("2")
    again = box.wait_new_pid(pid)
    assert not alive(pid)
    assert int(stat(again)[1]) == box.supervisor


def test_after_an_upgrade_it_can_still_be_killed_and_succeeded(box: Box) -> None:
    pid = start(box)
    upgrade(box)
    kill_supervise(box)
    succeed(box)
    adopted(box, pid)


def test_the_lock_is_never_free(box: Box) -> None:
    start(box, *SLEEP)
    over, won, tries = threading.Event(), threading.Event(), 0

    def compete() -> None:
        nonlocal tries
        while not over.is_set():
            with (box.status / "lock").open("rb") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                    won.set()
                except BlockingIOError:
                    tries += 1

    thread = threading.Thread(target=compete)
    thread.start()
    try:
        for _ in range(rounds(5, 20)):
            upgrade(box)
    finally:
        over.set()
        thread.join()
    assert not won.is_set()
    assert tries > 100


def test_the_ok_fifo_is_open_all_the_time(box: Box) -> None:
    start(box, *SLEEP)
    over, missed = threading.Event(), threading.Event()

    def look() -> None:
        while not over.is_set():
            try:
                os.close(os.open(box.status / "ok", os.O_WRONLY | os.O_NONBLOCK))
            except OSError:
                missed.set()

    thread = threading.Thread(target=look)
    thread.start()
    try:
        for _ in range(rounds(4, 20)):
            upgrade(box)
    finally:
        over.set()
        thread.join()
    assert not missed.is_set()


def test_many_upgrades_leave_nothing_behind(box: Box) -> None:
    box.conf("[global]\nalarm_interval : 60\n")
    pid = start(box, *SLEEP)
    supervisor = box.supervisor

    def descriptors() -> list[str]:
        found = (os.readlink(f"/proc/{supervisor}/fd/{fd}") for fd in os.listdir(f"/proc/{supervisor}/fd"))
        return sorted(name.partition(":")[0] for name in found)

    def watching() -> list[str]:
        return wait_for("the watch", lambda: watches(supervisor) and descriptors())

    upgrade(box)
    before = watching()
    for _ in range(rounds(8, 99)):
        upgrade(box)
    wait_for("the same descriptors as before", lambda: watches(supervisor) and descriptors() == before)
    assert (box.supervisor, box.pid) == (supervisor, pid)
    assert state(box)["totals"]["starts"] == 1


# Letters and signals.


def test_no_letter_is_lost_or_obeyed_twice(box: Box) -> None:
    """What is logged is what was obeyed; signals of one kind that are pending together would be one."""
    start(box)
    sent = 0
    for count in range(1, rounds(10, 40) + 1):
        box.control("e")
        while box.log().count(REPLACED) < count:
            box.write_control(b"h1aw")
            sent += 1
    box.control("s")
    box.wait_log("command s:")
    assert sent >= count
    wait_for("the lines that were only counted", lambda: box.said("command w: send") >= sent)
    assert [box.said(f"command {letter}: send") for letter in "h1aw"] == [sent] * 4


def test_letters_that_were_read_and_not_obeyed_yet_are_obeyed(box: Box) -> None:
    """A read takes more of them than a turn of the loop obeys."""
    start(box)
    sent = 0
    for count in range(1, rounds(3, 10) + 1):
        box.control("e")
        while box.log().count(REPLACED) < count:
            box.write_control(b"w" * 4000)
            sent += 4000
    box.control("s")
    box.wait_log("command s:")
    wait_for("the lines that were only counted", lambda: box.said("command w: send") >= sent)
    assert box.said("command w: send") == sent


def test_letters_one_by_one_reach_the_service(box: Box) -> None:
    start(box)
    sent = replaced = 0
    box.control("e")
    while replaced < rounds(5, 20):
        box.control("1")
        sent += 1
        box.wait_stdout("got USR1\n", sent)
        found = box.log().count(REPLACED)
        if found > replaced:
            replaced = found
            box.control("e")
    box.control("h")
    box.wait_stdout("got HUP\n")
    assert box.stdout().count("got USR1\n") == sent


def test_letters_after_e_in_one_write(box: Box) -> None:
    pid = start(box)
    box.write_control(b"pse" + b"n" * 3 + b"c1")
    box.wait_log(REPLACED)
    box.wait_stdout("got USR1\n")
    assert box.log().count("command n:") == 3
    assert not box.record.paused
    assert box.pid == pid


def test_many_e_at_once(box: Box) -> None:
    pid = start(box)
    box.write_control(b"e" * 50)
    box.wait_log(REPLACED)
    upgrade(box)
    assert box.pid == pid
    assert box.warnings == ""


# What is carried on.


def test_flags_and_what_is_wanted(box: Box) -> None:
    pid = start(box)
    box.control("pso")
    wait_byte(box, 12, 1)
    wait_byte(box, 13, 0)
    wait_byte(box, 14, ord("x"))
    upgrade(box)
    record = box.record
    assert (record.paused, record.want, record.alarms, record.pid) == (True, "once", False, pid)
    assert stat(pid)[0] == "T"
    box.control("ck")
    box.wait_down()
    upgrade(box)
    assert (box.record.want, box.pid) == ("once", 0)
    box.control("d")
    wait_byte(box, 13, ord("d"))
    upgrade(box)
    assert (box.record.want, box.pid) == ("down", 0)
    box.control("u")
    assert box.wait_new_pid(pid)


def test_a_stop_and_an_end_under_way(box: Box) -> None:
    pid = start(box, *STAYS)
    box.wait_stdout("ready")
    box.control("dx")
    box.wait_stdout("TERM")
    upgrade(box)
    os.kill(pid, 9)
    box.wait_gone()
    assert "as asked" in box.log()
    assert "service started" not in box.log().partition("TERM")[2]


def test_the_counting_window(box: Box) -> None:
    box.conf("[global]\nalarm_interval : 3600\nmax_tries : 2\n")
    pid = start(box)
    for _ in range(2):
        upgrade(box)
        box.control("k")
        pid = box.wait_new_pid(pid)
    upgrade(box)
    assert state(box)["totals"]["crashes"] == 2
    box.control("k")
    box.wait_gone()
    assert "[FATAL]" in box.warnings


def test_a_wait_before_a_restart(box: Box) -> None:
    seconds = os.sysconf("SC_CLK_TCK")
    box.start("sh", "-c", 'read -r stat </proc/$$/stat; echo "$stat"')
    for _ in range(10):
        upgrade(box)
    box.wait_stdout("\n", 4)
    starts = [int(line.rpartition(")")[2].split()[19]) for line in box.stdout().splitlines()]
    gaps = [later - earlier for earlier, later in zip(starts, starts[1:])]
    assert min(gaps) >= seconds, gaps


@pytest.fixture
def script(box: Box) -> Path:
    """A restart script that waits until it is let go."""
    path = box.folder / "script"
    path.write_text('#!/bin/sh\necho "run $1" >>runs\nwhile ! test -e go; do sleep 0.02; done\necho over >>runs\n')
    path.chmod(0o755)
    return path


def test_a_restart_script_under_way(box: Box, script: Path) -> None:
    pid = start(box, options=("-r", "./script"))
    runs = box.folder / "runs"
    box.control("k")
    wait_for("the script", runs.exists)
    upgrade(box)
    upgrade(box)
    assert (box.pid, runs.read_text()) == (0, "run 1\n")
    (box.folder / "go").touch()
    again = box.wait_new_pid(pid)
    assert runs.read_text() == "run 1\nover\n"
    assert box.warnings == ""
    upgrade(box)
    box.control("k")
    box.wait_new_pid(again)
    assert runs.read_text() == "run 1\nover\nrun 2\nover\n"


def test_d_ends_a_restart_script_from_before(box: Box, script: Path) -> None:
    start(box, options=("-r", "./script"))
    box.control("k")
    wait_for("the script", (box.folder / "runs").exists)
    upgrade(box)
    box.control("d")
    box.wait_warning("restart script was killed by signal 15")
    assert (box.pid, box.record.want) == (0, "down")


def test_an_alarm_helper_under_way(box: Box) -> None:
    programs = box.folder / "bin"
    programs.mkdir()
    mail = programs / "mail"
    wait = "while ! test -e go; do sleep 0.02; done"
    mail.write_text(f"#!/bin/sh\ncat >/dev/null\necho sent >>sent\n{wait}\necho over >>sent\n")
    mail.chmod(0o755)
    box.env["PATH"] = f"{programs}:{box.env['PATH']}"
    box.conf("[global]\nalarm_interval : 3600\nalarm_mail : a@example.org\n")
    pid = start(box)
    box.control("k")
    again = box.wait_new_pid(pid)
    sent = box.folder / "sent"
    wait_for("the mail", sent.exists)
    upgrade(box)
    (box.folder / "go").touch()
    wait_for("the rest of the mail", lambda: sent.read_text() == "sent\nover\n")
    upgrade(box)
    assert box.pid == again
    assert box.warnings == ""
    assert sent.read_text() == "sent\nover\n"
