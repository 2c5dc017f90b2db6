"""The letter `e` where something goes wrong or happens at the worst moment; with a copy of the package, to change."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Box, alive, wait_for
from heirs import (
    NOT_REPLACED,
    REPLACED,
    SLEEP,
    Private,
    adopted,
    kill_supervise,
    start,
    stat,
    state,
    succeed,
    upgrade,
    watches,
)
from system import needs


def refused(box: Box, said: str) -> None:
    """`e` does not work, is explained, and nothing else happens."""
    pid, supervisor, count = box.pid, box.supervisor, box.warnings.count(NOT_REPLACED)
    box.control("e")
    warned = box.wait_warning(NOT_REPLACED, count + 1)
    assert said in [line for line in warned.splitlines() if NOT_REPLACED in line][-1]
    assert (box.pid, box.supervisor) == (pid, supervisor)
    assert REPLACED not in box.log()
    box.control("h")
    box.wait_log("command h: send", count + 1)


# The trial.


def test_what_is_broken_stays_out_and_what_is_repaired_goes_in(private: Private) -> None:
    start(private)
    supervisor = private.supervisor
    private.change("supervisor.startup", "def main() -> int:", "def main( -> int:")
    refused(private, "SyntaxError")
    private.restore("supervisor.startup")
    private.path("machine.policy").unlink()
    private.forget("machine.policy")
    refused(private, "supervise.machine.policy")
    private.restore("machine.policy")
    private.change("__init__", "__version__ = ", "__version__ = '99.9'  # ")
    upgrade(private)
    wait_for("the new version in the state", lambda: state(private)["supervise_version"] == "99.9")
    assert private.supervisor == supervisor


def test_a_package_that_is_gone(private: Private) -> None:
    start(private)
    wait_for("all of it to be loaded, and the watches set", lambda: watches(private.supervisor))
    away = private.folder / "away"
    private.package.rename(away)
    refused(private, "daemon.py")
    # An interpreter that was still importing makes the folder again, for its bytecode.
    shutil.rmtree(private.package, ignore_errors=True)
    away.rename(private.package)
    upgrade(private)


def test_a_downgrade_is_refused(private: Private) -> None:
    start(private)
    private.change("protocol.state", "VERSION = 1", "VERSION = 0")
    refused(private, "version 1, this supervise knows version 0")


# A release that does not write the newer fields.
LACKING = """
from supervise.protocol.state import encode

_newer = ("gave_up", "deadline_at", "upgrades", "upgrades_refused")
StatusWriter._encode = lambda self: encode(
    {name: value for name, value in self.fields().items() if name not in _newer}
)
"""
MORE = """
from supervise.protocol.state import encode

StatusWriter._encode = lambda self: encode({**self.fields(), "colour": 1})
"""


def test_from_an_older_release(private: Private) -> None:
    private.append("runtime.status_writer", LACKING)
    pid = start(private)
    assert "deadline_at" not in state(private)
    private.restore("runtime.status_writer")
    upgrade(private)
    assert private.pid == pid
    wait_for("the newer field", lambda: "deadline_at" in state(private))
    private.control("2")
    private.wait_log("exited with status 23")


def test_from_an_older_release_while_a_restart_waits(private: Private) -> None:
    private.append("runtime.status_writer", LACKING)
    pid = start(private)
    private.restore("runtime.status_writer")
    private.write_control(b"ek")
    private.wait_log(REPLACED)
    private.wait_new_pid(pid)


def test_to_a_newer_release_and_back(private: Private) -> None:
    """One that writes a field that this one does not know."""
    private.append("runtime.status_writer", MORE)
    pid = start(private)
    assert state(private)["colour"] == 1
    private.restore("runtime.status_writer")
    upgrade(private)
    assert private.pid == pid
    assert private.warnings == ""


def test_a_trial_that_hangs_holds_nothing_up(private: Private) -> None:
    pid = start(private)
    private.change("supervisor.upgrade", "PATIENCE = 30.0", "PATIENCE = 1.0")
    upgrade(private)
    main = "def main() -> int:"
    private.change("supervisor.startup", main, main + "\n    import time\n    time.sleep(1000)")
    private.control("e")
    private.control("h")
    private.wait_stdout("got HUP")
    warned = private.wait_warning(NOT_REPLACED)
    assert "killed by signal 9" in warned
    assert private.pid == pid


def test_an_exec_that_fails(private: Private) -> None:
    needs("strace")
    pid = start(private, *SLEEP)
    supervisor = private.supervisor
    words = ["strace", "-o", "/dev/null", "-e", "trace=execve", "--inject=execve:error=ENOMEM", "-p", str(supervisor)]
    with subprocess.Popen(words, stderr=subprocess.PIPE) as tracer:
        try:
            assert tracer.stderr and b"attached" in tracer.stderr.readline()
            private.control("e")
            private.wait_warning("execute")
        finally:
            tracer.terminate()
    assert (private.supervisor, private.pid) == (supervisor, pid)
    private.control("k")
    again = private.wait_new_pid(pid)
    assert os.readlink(f"/proc/{again}/fd/0") == "/dev/null"
    os.kill(supervisor, signal.SIGTERM)
    private.wait_gone()


# Signals at the worst moment.


def assert_obeyed(box: Box, number: int) -> None:
    pid = box.pid
    if number == signal.SIGHUP:
        box.wait_log("command r:")
        assert alive(pid)
    else:
        box.wait_gone()
        wait_for("the service as it should be", lambda: alive(pid) == (number == signal.SIGQUIT))


SIGNALS = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT]


def child_of(pid: int, found: Callable[[Path], bool]) -> int:
    """A child of a process, as /proc tells; 0 if there is none."""
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            try:
                if int(stat(int(place.name))[1]) == pid and found(place):
                    return int(place.name)
            except OSError:
                continue
    return 0


def trial_of(pid: int) -> int:
    return child_of(pid, lambda place: b"/daemon.py\0" in (place / "cmdline").read_bytes())


def zombie_of(pid: int) -> int:
    """One that has ended and was not reaped."""
    return child_of(pid, lambda place: stat(int(place.name))[0] == "Z")


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_that_comes_together_with_the_end_of_the_trial(private: Private, number: int) -> None:
    start(private)
    go = private.folder / "go"
    wait = f"def main() -> int:\n    while not os.access({str(go)!r}, os.F_OK): os.sched_yield()"
    private.change("supervisor.startup", "def main() -> int:", wait)
    private.control("e")
    supervisor = private.supervisor
    trial = wait_for("the trial", lambda: trial_of(supervisor))
    os.kill(supervisor, signal.SIGSTOP)
    wait_for("supervise to stop", lambda: stat(supervisor)[0] == "T")
    go.touch()
    wait_for("the trial to be over", lambda: stat(trial)[0] == "Z")
    os.kill(supervisor, number)
    os.kill(supervisor, signal.SIGCONT)
    assert_obeyed(private, number)


def held_up(private: Private, number: int = 0) -> Path:
    """Upgrade into a version that waits before it carries on; what lets it go."""
    ready, go = private.folder / "ready", private.folder / "go"
    hold = f"""
    if kind is StatusDir:  # not in the trial
        open({str(ready)!r}, "w").close()
        while not os.access({str(go)!r}, os.F_OK): __import__("time").sleep(0.002)
    rename_process()
    directory = kind.attach("""
    private.change("supervisor.upgraded", "\n    rename_process()\n    directory = kind.attach(", hold)
    private.control("e")
    wait_for("the new version", ready.exists)
    return go


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_that_comes_while_the_new_version_starts(private: Private, number: int) -> None:
    # Without the helper that sets watches, whose end would wake the loop in any case.
    private.change("helpers.inotify_helper", "def main(", "import signal\nsignal.pause()\n\n\ndef main(")
    start(private)
    go = held_up(private)
    os.kill(private.supervisor, number)
    go.touch()
    assert_obeyed(private, number)


def test_letters_while_the_new_version_starts(private: Private) -> None:
    start(private)
    go = held_up(private)
    private.write_control(b"h1s")
    go.touch()
    private.wait_stdout("got USR1")
    private.wait_stdout("got HUP")
    wait_for("alarms off", lambda: not private.record.alarms)


def test_the_service_ends_while_the_new_version_starts(private: Private) -> None:
    pid = start(private)
    go = held_up(private)
    os.kill(pid, signal.SIGUSR2)
    wait_for("its end", lambda: not alive(pid))
    go.touch()
    private.wait_log(f"exited with status 23 (pid {pid}")
    private.wait_new_pid(pid)
    private.wait_log("service started", 2)
    assert state(private)["totals"]["starts"] == 2


def test_a_service_taken_over_ends_while_the_new_version_starts(private: Private) -> None:
    pid = start(private)
    kill_supervise(private)
    succeed(private)
    adopted(private, pid)
    go = held_up(private)
    os.kill(pid, signal.SIGUSR2)
    # Reaped by init, which takes its time: its pid is anybody's now.
    wait_for("the kernel to forget it", lambda: not Path(f"/proc/{pid}").exists())
    go.touch()
    again = private.wait_new_pid(pid)
    assert int(stat(again)[1]) == private.supervisor


def test_the_restart_script_ends_while_the_new_version_starts(private: Private) -> None:
    script = private.folder / "script"
    script.write_text("#!/bin/sh\n: >running\nwhile ! test -e over; do sleep 0.02; done\n")
    script.chmod(0o755)
    pid = start(private, options=("-r", "./script"))
    private.control("k")
    wait_for("the script", (private.folder / "running").exists)
    go = held_up(private)
    (private.folder / "over").touch()
    wait_for("its end", lambda: zombie_of(private.supervisor))
    go.touch()
    private.wait_new_pid(pid)
    assert private.warnings == ""


def test_killed_while_the_trial_runs(private: Private) -> None:
    pid = start(private)
    go = private.folder / "go"
    wait = f"def main() -> int:\n    while not os.access({str(go)!r}, os.F_OK): os.sched_yield()"
    private.change("supervisor.startup", "def main() -> int:", wait)
    private.control("e")
    private.wait_log("command e:")
    kill_supervise(private)
    go.touch()
    private.restore("supervisor.startup")
    succeed(private)
    adopted(private, pid)
    assert private.stdout() == "ready\n"
