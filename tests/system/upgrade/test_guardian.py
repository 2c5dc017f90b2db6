"""An upgrade by `e` whose new version passes its trial and then fails: a copy of the old one goes on (guardian.py)."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Box, alive, wait_for
from heirs import (
    NOT_REPLACED,
    REPLACED,
    SLEEP,
    TELL,
    Private,
    adopted,
    copies,
    kill_supervise,
    start,
    stat,
    state,
    succeed,
    wait_byte,
)
from system import needs

FIRST_LINES = "    read_nothing()\n    rename_process()\n"


def break_after_the_trial(private: Private, text: str) -> None:
    """Have the new version execute these lines where it carries on, but not in its trial."""
    lines = "".join(f"        {line}\n" for line in text.splitlines())
    private.change("supervisor.upgraded", FIRST_LINES, f"    if kind is StatusDir:\n{lines}{FIRST_LINES}")


def goes_on(box: Box, said: str, count: int = 1) -> int:
    """A copy has the service: its pid, after a look at everything that it is to be."""
    pid, ticks = box.pid, stat(box.pid)[19]
    warned = box.wait_warning(NOT_REPLACED, count)
    supervisor = wait_for("a supervise", lambda: box.supervisor)
    line = [line for line in warned.splitlines() if NOT_REPLACED in line][-1]
    assert any(text in line for text in said.split("|")), line
    assert line.endswith(f"the old version goes on as pid {supervisor}")
    wait_for("the state of the copy", lambda: state(box)["supervise_pid"] == supervisor)
    wait_for("one supervise", lambda: box.lockers() == [supervisor])
    assert Path(f"/proc/{supervisor}/comm").read_text() == "supervise\n"
    assert int(stat(supervisor)[3]) == supervisor == state(box)["session"]
    assert (box.pid, stat(box.pid)[19]) == (pid, ticks)
    assert state(box)["upgrades_refused"] == count
    done = box.run("-u", "status/app", *TELL)
    assert (done.returncode, f"held by pid {supervisor}" in done.stderr) == (111, True)
    return supervisor


def works(box: Box) -> None:
    """It obeys, sees how the service ends, and starts the next, which is its child."""
    old = box.pid
    box.control("h")
    box.wait_stdout("got HUP")
    box.control("2")
    again = box.wait_new_pid(old)
    # It was nobody's child who would tell, but the kernel does, since Linux 6.15.
    box.wait_log("service exited")
    assert int(stat(again)[1]) == box.supervisor
    wait_for("both starts in the state", lambda: state(box)["totals"]["starts"] == 2)


ENDS = {
    "an exception": ("raise OSError(24, 'Too many open files')", "(OSError: [Errno 24] Too many open files)"),
    # Where process 1 reaps at once, only a kernel since Linux 6.15 remembers how.
    "its exit": ("raise SystemExit(7)", "it ended before it supervised (exited with status 7)|(nobody knows how)"),
    "kill -9": ("os.kill(os.getpid(), 9)", "(was killed by signal 9 (KILL))|(nobody knows how)"),
}


@pytest.mark.parametrize("how", ENDS)
def test_the_old_version_goes_on_where_the_new_one_ends_early(private: Private, how: str) -> None:
    start(private)
    text, said = ENDS[how]
    break_after_the_trial(private, text)
    private.control("e")
    goes_on(private, said)
    works(private)


def test_a_module_that_goes_after_the_trial(private: Private) -> None:
    start(private)
    gone = str(private.path("machine.policy"))
    private.change("supervisor.trial", "    if problem:\n", f"    os.unlink({gone!r})\n    if problem:\n")
    private.control("e")
    private.wait_warning(NOT_REPLACED)
    private.restore("machine.policy")
    goes_on(private, "No module named 'supervise.machine.policy'")
    works(private)


def test_a_new_version_that_hangs(private: Private) -> None:
    private.change("supervisor.guardian", "PATIENCE = 30.0", "PATIENCE = 2.0")
    start(private)
    supervisor = private.supervisor
    break_after_the_trial(private, "import signal\nsignal.pause()")
    private.control("e")
    goes_on(private, "it did not supervise within 2 seconds")
    assert not alive(supervisor)
    works(private)


def held_up(private: Private) -> Path:
    """Upgrade into a version that waits before it carries on; what lets it go."""
    ready, go = private.folder / "ready", private.folder / "go"
    wait = f"while not os.access({str(go)!r}, os.F_OK): __import__('time').sleep(0.002)"
    break_after_the_trial(private, f"open({str(ready)!r}, 'w').close()\n{wait}")
    private.control("e")
    wait_for("the new version", ready.exists)
    return go


def murder(private: Private) -> None:
    """kill -9 of the new version."""
    supervisor = state(private)["supervise_pid"]
    os.kill(supervisor, signal.SIGKILL)
    wait_for("its end", lambda: not alive(supervisor))


def test_killed_while_the_new_version_starts(private: Private) -> None:
    """kill -9 of supervise is its end at any other time; here there is another."""
    start(private)
    held_up(private)
    murder(private)
    goes_on(private, "it ended before it supervised (")
    works(private)


def test_the_copy_can_be_replaced_killed_and_succeeded_like_any_supervise(private: Private) -> None:
    pid = start(private)
    break_after_the_trial(private, "raise OSError(24, 'Too many open files')")
    private.control("e")
    first = goes_on(private, "Too many open files")
    private.control("e")
    second = goes_on(private, "Too many open files", 2)
    assert first != second
    private.restore("supervisor.upgraded")
    private.control("e")
    private.wait_log(REPLACED)
    assert private.lockers() == [second]
    assert private.pid == pid
    kill_supervise(private)
    succeed(private)
    adopted(private, pid)


def test_letters_that_came_meanwhile_are_obeyed(private: Private) -> None:
    start(private)
    held_up(private)
    private.write_control(b"h1s")
    murder(private)
    private.wait_stdout("got USR1")
    private.wait_stdout("got HUP")
    wait_for("alarms off", lambda: not private.record.alarms)
    goes_on(private, "it ended before it supervised (")


def test_a_signal_that_the_hanging_new_version_was_sent_is_obeyed(private: Private) -> None:
    private.change("supervisor.guardian", "PATIENCE = 30.0", "PATIENCE = 3.0")
    pid = start(private)
    held_up(private)
    os.kill(private.supervisor, signal.SIGTERM)
    private.wait_warning(NOT_REPLACED)
    private.wait_log("received TERM")
    private.wait_gone()
    assert not alive(pid)


def test_the_service_ends_while_the_new_version_fails(private: Private) -> None:
    pid = start(private)
    held_up(private)
    os.kill(pid, signal.SIGUSR2)
    wait_for("its end", lambda: not alive(pid))
    murder(private)
    again = private.wait_new_pid(pid)
    assert copies(private, TELL) == [again]
    assert int(stat(again)[1]) == private.supervisor
    private.wait_log("service started", 2)
    wait_for("the state", lambda: state(private)["totals"]["starts"] == 2)


def test_a_service_that_is_down_stays_down(private: Private) -> None:
    start(private)
    private.control("d")
    private.wait_down()
    held_up(private)
    murder(private)
    private.wait_warning("the old version goes on")
    private.control("u")
    again = private.wait_new_pid(0)
    assert int(stat(again)[1]) == private.supervisor


def test_a_paused_service_stays_paused(private: Private) -> None:
    pid = private.start("sh", "-c", "trap '' HUP; echo ready; while :; do sleep 0.1; done")
    private.wait_stdout("ready")
    private.control("p")
    wait_byte(private, 12, 1)
    wait_for("it to stop", lambda: stat(pid)[0] == "T")
    held_up(private)
    murder(private)
    private.wait_warning("the old version goes on")
    wait_for("it to be stopped", lambda: stat(pid)[0] == "T")
    private.control("c")
    wait_for("it to go on", lambda: stat(pid)[0] != "T")


@pytest.mark.parametrize("how", ["end", "d", "replace"])
def test_a_restart_script_under_way(private: Private, how: str) -> None:
    script = private.folder / "script"
    script.write_text("#!/bin/sh\necho run >>runs\nwhile ! test -e over; do sleep 0.02; done\n")
    script.chmod(0o755)
    pid = start(private, options=("-r", "./script"))
    private.control("k")
    runs = private.folder / "runs"
    wait_for("the script", runs.exists)
    held_up(private)
    murder(private)
    private.wait_warning("the old version goes on")
    if how == "d":
        private.control("d")
        wait_for("its end", lambda: "restart script was killed" in private.warnings or "unknown" in private.warnings)
        assert (private.pid, private.record.want) == (0, "down")
        return
    if how == "replace":
        private.restore("supervisor.upgraded")
        private.control("e")
        private.wait_log(REPLACED)
    assert private.pid == 0
    (private.folder / "over").touch()
    again = private.wait_new_pid(pid)
    assert runs.read_text() == "run\n"
    assert int(stat(again)[1]) == private.supervisor


def test_an_orphan_of_the_service_comes_to_the_copy(private: Private) -> None:
    """The copy is a subreaper as the old one was."""
    start(private, *SLEEP)
    held_up(private)
    murder(private)
    supervisor = goes_on(private, "it ended before it supervised (")
    old = private.pid
    os.kill(old, signal.SIGKILL)
    again = private.wait_new_pid(old)
    assert int(stat(again)[1]) == supervisor
    status = Path(f"/proc/{supervisor}/status").read_text()
    assert "SigBlk:\t0000000000000000" in status


def test_a_new_version_that_does_not_know_of_the_copy(private: Private) -> None:
    """The copy looks at the state before it ends one that has not said that it runs."""
    private.change("supervisor.guardian", "PATIENCE = 30.0", "PATIENCE = 3.0")
    pid = start(private)
    supervisor = private.supervisor
    private.change("supervisor.upgraded", 'fields.get("guardian", 0)', "0")
    private.control("e")
    wait_for("two", lambda: len(private.lockers()) == 2)
    wait_for("one", lambda: private.lockers() == [supervisor])
    private.control("h")
    private.wait_stdout("got HUP")
    assert (private.pid, private.warnings) == (pid, "")


def test_when_it_is_replaced_only_the_new_version_has_the_lock(box: Box) -> None:
    start(box, *SLEEP)
    supervisor = box.supervisor
    for count in range(1, 6):
        box.control("e")
        box.wait_log(REPLACED, count)
        assert box.lockers() == [supervisor]


def test_in_the_foreground_the_process_stays_and_stands_in(private: Private) -> None:
    """Who has started it sees no end, signals reach the one that supervises, and its exit code is told."""
    code = (
        f"import sys; sys.path.insert(0, {str(private.package.parent)!r});"
        "sys.argv[0] = 'supervise'; from supervise.programs.supervise import main; sys.exit(main())"
    )
    words = [sys.executable, "-B", "-c", code, "--foreground", "--exit-with-service", "-u", "status/app", *TELL]
    process = subprocess.Popen(words, cwd=private.folder, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    private.processes.append(process)
    private.wait_stdout("ready")
    wait_for("the service", lambda: state(private)["service"])
    pid = private.pid
    break_after_the_trial(private, "raise OSError(24, 'Too many open files')")
    private.control("e")
    supervisor = goes_on(private, "Too many open files")
    assert int(stat(supervisor)[1]) == process.pid
    assert process.poll() is None
    os.kill(process.pid, signal.SIGHUP)
    private.wait_log("command r:")
    private.write_control(b"o2")
    assert process.wait(30) in (23, 111)  # whichever is there first: the end, or the kernel's word about it
    assert not alive(pid)
    assert process.stderr and b"the old version goes on as pid" in process.stderr.read()


# What is not there to be used.


def test_a_working_directory_that_is_gone(box: Box) -> None:
    place = box.folder / "gone"
    place.mkdir()
    box.folder = place
    done = box.run("-u", str(box.status), *TELL)
    assert (done.returncode, done.stderr) == (0, "")
    box.folder = place.parent
    box.wait_stdout("ready")
    pid, supervisor = box.pid, box.supervisor
    shutil.rmtree(place)
    for count in (1, 2):
        box.control("e")
        box.wait_log(REPLACED, count)
    assert (box.supervisor, box.pid, box.warnings) == (supervisor, pid, "")
    box.control("k")
    box.wait_new_pid(pid)


def test_a_configuration_in_force_that_cannot_be_read_any_more(box: Box) -> None:
    place = box.folder / "gone"
    place.mkdir()
    box.conf("[global]\nalarm_interval : 60\n")
    (place / "supervise.conf").symlink_to("../supervise.conf")
    (place / "status").symlink_to("../status")
    (box.folder / "status").mkdir()
    box.folder = place
    start(box)
    box.folder = place.parent
    supervisor = box.supervisor
    os.kill(supervisor, signal.SIGSTOP)
    wait_for("it to stop", lambda: stat(supervisor)[0] == "T")
    box.control("e")
    shutil.rmtree(place)
    os.kill(supervisor, signal.SIGCONT)
    warned = box.wait_warning("supervise.conf")
    assert "in force, cannot be read" in warned or "absent" in warned
    assert box.supervisor == supervisor


@pytest.mark.parametrize(
    ("call", "error"), [("clone", "EAGAIN"), ("clone", "ENOMEM"), ("memfd_create", "EMFILE"), ("pipe2", "EMFILE")]
)
def test_what_fails_before_the_exec_is_said(box: Box, call: str, error: str) -> None:
    needs("strace")
    pid = start(box)
    supervisor = box.supervisor
    words = ["strace", "-o", "/dev/null", "-e", f"trace={call}", f"--inject={call}:error={error}"]
    with subprocess.Popen([*words, "-p", str(supervisor)], stderr=subprocess.PIPE) as tracer:
        try:
            assert tracer.stderr and b"attached" in tracer.stderr.readline()
            box.control("e")
            box.wait_warning(NOT_REPLACED)
        finally:
            tracer.terminate()
    assert (box.supervisor, box.pid) == (supervisor, pid)
    assert box.lockers() == [supervisor]
    box.control("h")
    box.wait_stdout("got HUP")
