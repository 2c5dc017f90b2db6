"""A service outlives its supervise, and the next supervise takes it over (specification, 7)."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
from conftest import SUPERVISE, Box, alive, wait_for
from heirs import SLEEP, STAYS, TELL, adopted, kill_both, kill_supervise, start, stat, state, succeed, wait_byte

PASSED_ON = {"t": "TERM", "h": "HUP", "a": "ALRM", "i": "INT", "q": "QUIT", "1": "USR1", "2": "USR2", "w": "WINCH"}
TELLS_EXITS = tuple(map(int, re.findall(r"\d+", os.uname().release)[:2])) >= (6, 15)  # PIDFD_INFO_EXIT


def take_over(box: Box, *command: str, options: tuple[str, ...] = ()) -> int:
    """Start a service, kill supervise, start the next; the service's pid."""
    pid = start(box, *command)
    kill_supervise(box)
    succeed(box, *command, options=options)
    adopted(box, pid)
    return pid


def restarted(box: Box, pid: int) -> int:
    """A service that was taken over has ended; its successor, which must be an ordinary child."""
    again = box.wait_new_pid(pid)
    assert not alive(pid)
    assert int(stat(again)[1]) == box.supervisor
    return again


# Taken over.


def test_same_process_no_restart(box: Box) -> None:
    pid = start(box)
    before = stat(pid)
    kill_supervise(box)
    assert alive(pid)
    succeed(box)
    adopted(box, pid)
    after = stat(pid)
    assert (after[2:4], after[19]) == (before[2:4], before[19])  # group, session, start
    assert box.log().count("service started") == 1
    assert box.stdout() == "ready\n"
    assert box.warnings == ""


def test_over_and_over(box: Box) -> None:
    pid = start(box)
    for count in range(1, 6):
        kill_supervise(box, signal.SIGQUIT if count % 2 else signal.SIGKILL)
        succeed(box)
        adopted(box, pid, count)
    assert state(box)["totals"]["starts"] == 1
    assert box.stdout() == "ready\n"


def test_the_record_does_not_change_by_adoption(box: Box) -> None:
    pid = start(box)
    before = (box.status / "status").read_bytes()
    service = state(box)["service"]
    kill_supervise(box)
    succeed(box)
    adopted(box, pid)
    box.control("h")
    box.wait_stdout("got HUP")
    assert (box.status / "status").read_bytes() == before
    assert state(box)["service"] == service
    assert state(box)["supervise_pid"] == box.supervisor


def test_in_the_foreground(box: Box) -> None:
    pid = start(box)
    kill_supervise(box)
    process = box.foreground(*TELL)
    adopted(box, pid)
    process.kill()
    process.wait()
    box.wait_gone()
    box.foreground(*TELL)
    adopted(box, pid, 2)
    assert box.stdout() == "ready\n"


# Control.


def test_letters_reach_it(box: Box) -> None:
    pid = take_over(box)
    for letter, name in PASSED_ON.items():
        if name not in ("TERM", "USR2"):
            box.control(letter)
            box.wait_stdout(f"got {name}\n")
    box.control("t")
    box.wait_stdout("got TERM\n")
    again = restarted(box, pid)
    box.wait_stdout("ready\n", 2)
    # What is ordinary from here on.
    box.control("2")
    box.wait_log(f"exited with status 23 (pid {again}")


def test_letters_to_its_process_group(box: Box) -> None:
    pid = take_over(box, "sh", "-c", "sleep 86399 & echo $!; wait; exec sleep 86399")
    child = int(box.wait_stdout("\n"))
    box.control("+t")
    wait_for("the whole group to end", lambda: not alive(pid) and not alive(child))
    restarted(box, pid)


def test_k(box: Box) -> None:
    pid = take_over(box)
    box.control("k")
    restarted(box, pid)


def test_d_and_u(box: Box) -> None:
    pid = take_over(box)
    box.control("d")
    box.wait_stdout("got TERM")
    box.wait_down()
    assert box.record.want == "down"
    wait_for("the exit in the state", lambda: state(box)["totals"]["planned"] == 1)
    assert state(box)["totals"]["crashes"] == 0
    box.control("u")
    restarted(box, pid)


def test_dx(box: Box) -> None:
    pid = take_over(box)
    box.control("dx")
    box.wait_gone()
    assert not alive(pid)


def test_planned_restart(box: Box) -> None:
    box.conf("[global]\nalarm_interval : 3600\nmax_tries : 1\n")
    pid = take_over(box)
    for _ in range(3):
        box.control("R")
        pid = box.wait_new_pid(pid)
    assert box.supervisor


def test_pause_and_continue(box: Box) -> None:
    pid = take_over(box)
    box.control("p")
    wait_byte(box, 12, 1)
    wait_for("the process to stop", lambda: stat(pid)[0] == "T")
    box.control("c")
    wait_byte(box, 12, 0)
    wait_for("the process to go on", lambda: stat(pid)[0] != "T")


@pytest.mark.parametrize("options", [(), ("--resume",)])
def test_paused_stays_paused(box: Box, options: tuple[str, ...]) -> None:
    """The kernel sends HUP and CONT to a stopped process group whose last link to its session ends: supervise."""
    pid = start(box)
    box.control("p")
    wait_byte(box, 12, 1)
    kill_supervise(box)
    succeed(box, options=options)
    adopted(box, pid)
    assert box.record.paused
    wait_for("the process to be stopped", lambda: stat(pid)[0] == "T", 10)
    box.control("c")
    wait_byte(box, 12, 0)
    wait_for("the process to go on", lambda: stat(pid)[0] != "T")


# Its end.


def test_how_it_ended_is_said_when_it_is_known(box: Box) -> None:
    pid = take_over(box)
    box.control("2")
    again = restarted(box, pid)
    said = rf"service exited(, status unknown| with status 23) \(pid {pid}, up "
    assert re.search(said, box.wait_log("service exited"))
    wait_for("the kernel to forget it", lambda: not Path(f"/proc/{pid}").exists())
    if not TELLS_EXITS:
        pytest.skip("the kernel does not tell how a process ended that is not a child (Linux 6.15)")
    box.wait_log("exited with status 23")
    wait_for("the status in the state", lambda: state(box)["last_exit"]["code"] == 23)
    assert state(box)["last_exit"]["signal"] is None
    assert box.pid == again
    assert box.log().count("service started") == 2


def test_how_it_was_killed(box: Box) -> None:
    pid = take_over(box)
    os.kill(pid, signal.SIGKILL)
    restarted(box, pid)
    if TELLS_EXITS:
        box.wait_log("killed by signal 9 (KILL)")
        wait_for("the signal in the state", lambda: state(box)["last_exit"]["signal"] == 9)


def test_an_end_while_nobody_looks(box: Box) -> None:
    pid = start(box)
    kill_both(box)
    succeed(box)
    box.wait_log(f"pid {pid}) has ended")
    again = box.wait_new_pid(pid)
    assert int(stat(again)[1]) == box.supervisor


def test_a_restart_waits_for_its_second_after_adoption(box: Box) -> None:
    pid = start(box)
    ticks = int(stat(pid)[19])
    kill_supervise(box)
    succeed(box)
    adopted(box, pid)
    box.control("k")
    again = restarted(box, pid)
    assert int(stat(again)[19]) - ticks >= os.sysconf("SC_CLK_TCK")


def test_a_restart_script_runs_with_the_count_it_had(box: Box) -> None:
    script = box.folder / "script"
    script.write_text('#!/bin/sh\necho "$1" >>counts\n')
    script.chmod(0o755)
    counts = box.folder / "counts"
    pid = start(box, options=("-r", "./script"))
    box.control("k")
    pid = box.wait_new_pid(pid)
    box.wait_stdout("ready\n", 2)
    kill_supervise(box)
    succeed(box, options=("-r", "./script"))
    adopted(box, pid)
    box.control("k")
    restarted(box, pid)
    assert counts.read_text() == "1\n2\n"


# Policy.


def test_a_window_half_spent_stays_half_spent(box: Box) -> None:
    box.conf("[global]\nalarm_interval : 3600\nmax_tries : 1\n")
    pid = start(box)
    box.control("k")
    pid = box.wait_new_pid(pid)
    box.wait_stdout("ready\n", 2)
    wait_for("the exit in the state", lambda: state(box)["window"]["exits"] == 1)
    kill_supervise(box)
    succeed(box)
    adopted(box, pid)
    assert box.supervisor
    box.control("k")
    box.wait_gone()
    assert not alive(pid)
    assert "[FATAL]" in box.warnings and "giving up after 1 restart" in box.warnings
    # A supervise that is started after that begins anew.
    succeed(box)
    again = box.wait_new_pid(pid)
    box.control("k")
    box.wait_new_pid(again)


def test_also_where_the_service_ended_meanwhile(box: Box) -> None:
    box.conf("[global]\nalarm_interval : 3600\nmax_tries : 1\n")
    pid = start(box)
    box.control("k")
    pid = box.wait_new_pid(pid)
    wait_for("the exit in the state", lambda: state(box)["window"]["exits"] == 1)
    kill_both(box)
    succeed(box)
    again = box.wait_new_pid(pid)
    os.kill(again, signal.SIGKILL)
    box.wait_gone()
    assert "[FATAL]" in box.warnings


def test_the_configuration_is_followed(box: Box) -> None:
    pid = take_over(box)
    box.conf("[global]\nalarm_interval : 3600\nmax_tries : 7\n")
    box.wait_log("max_tries")
    assert box.pid == pid


# What was wanted.


def test_down_stays_down_only_with_resume(box: Box) -> None:
    start(box, *SLEEP)
    box.control("d")
    box.wait_down()
    kill_supervise(box)
    succeed(box, *SLEEP, options=("--resume",))
    assert (box.pid, box.record.want) == (0, "down")
    kill_supervise(box)
    succeed(box, *SLEEP, options=("--resume",))
    assert (box.pid, box.record.want) == (0, "down")
    box.control("u")
    pid = box.wait_new_pid(0)
    box.control("dx")
    box.wait_gone()
    succeed(box, *SLEEP, options=("--resume",))  # it ended as asked, and down was the last word
    assert (box.pid, box.record.want) == (0, "down")
    kill_supervise(box)
    succeed(box, *SLEEP)
    assert box.wait_new_pid(pid)
    assert box.record.want == "up"


def test_alarms_off_stay_off_only_with_resume(box: Box) -> None:
    pid = start(box, *SLEEP)
    box.control("s")
    wait_byte(box, 14, ord("x"))
    kill_supervise(box)
    succeed(box, *SLEEP, options=("--resume",))
    adopted(box, pid)
    assert not box.record.alarms
    kill_supervise(box)
    succeed(box, *SLEEP)
    adopted(box, pid, 2)
    assert box.record.alarms


@pytest.mark.parametrize("options, want", [((), "up"), (("--resume",), "once")])
def test_once_stays_once_only_with_resume(box: Box, options: tuple[str, ...], want: str) -> None:
    pid = start(box, *SLEEP)
    box.control("o")
    wait_for("once in the record", lambda: box.record.want == "once")
    kill_supervise(box)
    succeed(box, *SLEEP, options=options)
    adopted(box, pid)
    assert box.record.want == want
    box.control("k")
    if want == "up":
        restarted(box, pid)
    else:
        box.wait_down()


@pytest.mark.parametrize("options, up", [((), True), (("--resume",), False)])
def test_a_stop_under_way(box: Box, options: tuple[str, ...], up: bool) -> None:
    pid = start(box, *STAYS)
    box.wait_stdout("ready")
    box.control("d")
    box.wait_stdout("TERM")
    kill_supervise(box)
    succeed(box, *STAYS, options=options)
    adopted(box, pid)
    assert box.record.want == ("up" if up else "down")
    os.kill(pid, signal.SIGKILL)
    if up:
        restarted(box, pid)
    else:
        box.wait_down()
    wait_for("the exit in the state", lambda: state(box)["totals"]["planned"] == 1)


def test_a_first_start_with_resume_means_up(box: Box) -> None:
    assert start(box, *SLEEP, options=("--resume",))


def test_a_start_that_fails_does_not_forget_what_was_wanted(box: Box) -> None:
    start(box, *SLEEP)
    box.control("dx")
    box.wait_gone()
    done = box.run("-u", f"status/{box.name}", "/no/such/program")
    assert done.returncode == 111
    succeed(box, *SLEEP, options=("--resume",))
    assert (box.pid, box.record.want) == (0, "down")


# Leaving, and several at once.


def test_quit_leaves_the_service(box: Box) -> None:
    pid = start(box)
    kill_supervise(box, signal.SIGQUIT)
    assert "leaving the service" in box.log()
    assert alive(pid)
    assert box.stdout() == "ready\n"
    assert int(stat(pid)[1]) == 1 or alive(int(stat(pid)[1]))
    succeed(box)
    adopted(box, pid)
    assert box.warnings == ""


def test_quit_leaves_a_paused_service_alive(box: Box) -> None:
    pid = start(box, *SLEEP)  # ends by HUP, which the kernel sends to stopped processes that are left behind
    box.control("p")
    wait_byte(box, 12, 1)
    kill_supervise(box, signal.SIGQUIT)
    assert alive(pid)
    succeed(box, *SLEEP)
    adopted(box, pid)
    wait_for("the process to be stopped", lambda: stat(pid)[0] == "T", 10)


@pytest.mark.parametrize("count", [2, 12])
def test_successors_at_once(box: Box, count: int) -> None:
    pid = start(box)
    kill_supervise(box)
    before = {entry.name for entry in box.status.iterdir()}
    command = [SUPERVISE, "-u", f"status/{box.name}", *TELL]
    null, pipe, both = subprocess.DEVNULL, subprocess.PIPE, subprocess.STDOUT
    runs = [
        subprocess.Popen(command, cwd=box.folder, env=box.env, stdin=null, stdout=pipe, stderr=both)
        for _ in range(count)
    ]
    said = [run.communicate(timeout=60)[0].decode() for run in runs]
    assert sorted(run.returncode for run in runs) == [0] + [111] * (count - 1)
    adopted(box, pid)
    winner = box.supervisor
    for run, text in zip(runs, said):
        expected = "" if run.returncode == 0 else rf"supervise: fatal: cannot lock .*: held by pid {winner}\n"
        assert re.fullmatch(expected, text), text
    assert {entry.name for entry in box.status.iterdir()} == before
    here = str(box.folder)

    def inhabitants() -> set[int]:
        found = set()
        for place in Path("/proc").iterdir():
            try:
                if place.name.isdigit() and os.readlink(place / "cwd") == here and alive(int(place.name)):
                    found.add(int(place.name))
            except OSError:
                pass
        return found

    wait_for("the others to be gone", lambda: inhabitants() == {winner, pid})
    assert box.log().count("taken over") == 1
    kill_supervise(box, signal.SIGQUIT)
    succeed(box)
    adopted(box, pid, 2)


def test_no_hurry_is_needed(box: Box) -> None:
    """A successor that is there first waits for nothing, and leaves nothing."""
    pid = start(box)
    before = {entry.name: entry.stat().st_mtime_ns for entry in box.status.iterdir()}
    done = box.run("-u", f"status/{box.name}", *TELL)
    assert done.returncode == 111
    assert f"held by pid {box.supervisor}" in done.stderr
    assert {entry.name: entry.stat().st_mtime_ns for entry in box.status.iterdir()} == before
    assert box.pid == pid
