"""Helpers that come to grief: the log says which one, and how it ended."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PATIENCE, Box, alive, wait_for
from installing import own
from mailers import POLICY, kill, record, recorded
from system import children, needs

from supervise.alarms import alarm
from supervise.protocol.exitstatus import ExitStatus
from supervise.system import helper

WAYS = {
    "gone": (None, "exited with status 2"),
    "empty": ("raise ImportError('no such module')", "exited with status 1"),
    "broken": ("class :", "exited with status 1"),
    "killed": ("import os; os.kill(os.getpid(), 9)", "was killed by signal 9 (KILL)"),
}

way = pytest.mark.parametrize(("text", "how"), WAYS.values(), ids=list(WAYS))


def breaks(path: Path, text: str | None) -> None:
    if text is None:
        path.unlink()
    else:
        path.write_text(text + "\n")


@way
def test_the_one_that_delivers_alarms(box: Box, text: str | None, how: str) -> None:
    record(box, "mail")
    breaks(own(box) / "supervise" / "helpers" / "alarm_helper.py", text)
    box.conf(POLICY)
    box.start("sleep", "1000")
    kill(box)
    box.wait_warning(f"an alarm may be lost: the helper that delivers it {how}")
    assert len(box.warnings.splitlines()) == 1
    assert alive(box.pid)


@way
def test_the_one_that_sets_watches(box: Box, text: str | None, how: str) -> None:
    breaks(own(box) / "supervise" / "helpers" / "inotify_helper.py", text)
    box.conf(POLICY)
    box.start("sleep", "1000")
    box.wait_warning(
        f"changes of supervise.conf may go unnoticed (the helper that sets the watches {how}); the letter r still works"
    )
    wait_for("the helper to be gone", lambda: [*children(box.supervisor)] == [box.pid])
    assert len(box.warnings.splitlines()) == 1
    box.conf(POLICY.replace("60", "61"))
    box.control("r")
    box.wait_log("alarm_interval 61")


def test_the_one_that_sets_watches_starts_nothing_to_find_the_c_library(tmp_path: Path) -> None:
    needs("strace")
    calls = tmp_path / "calls"
    words = ["strace", "-f", "-qq", "-e", "trace=execve", "-o", str(calls), sys.executable, "-I", "-S"]
    ours, its = socket.socketpair()
    with ours, its:
        words += [helper.script("inotify_helper"), f"dir:{tmp_path}"]
        done = subprocess.run(words, stdin=its.fileno(), capture_output=True, text=True, timeout=PATIENCE)
        if not calls.exists() or "execve(" not in calls.read_text():
            pytest.skip(f"strace cannot be used here: {done.stderr}")
        assert (done.returncode, ours.recv(100)) == (0, b"ok"), done.stderr
    assert calls.read_text().count("execve(") == 1


def test_the_one_that_watches_the_pidfile(box: Box) -> None:
    breaks(own(box) / "supervise" / "helpers" / "inotify_helper.py", "raise SystemExit(9)")
    box.conf("[app]\npidfile : app.pid\n")
    box.start("sleep", "1000")
    said = "may go unnoticed (the helper that sets the watches exited with status 9)"
    box.wait_warning(said, 2)  # and the configuration's


def test_what_the_helper_has_said_is_not_said_again() -> None:
    for code in (0, alarm.SAID, alarm.NOBODY_CAN_SEND):
        assert alarm.lost(ExitStatus(code=code)) is None
    for how in (ExitStatus(code=1), ExitStatus(code=2), ExitStatus(signal=9), ExitStatus()):
        assert str(how) in (alarm.lost(how) or "")


def test_a_mailer_that_fails_is_said_once(box: Box) -> None:
    record(box, "mail", "exit 9\n")
    box.conf(POLICY)
    box.start("sleep", "1000")
    kill(box)
    box.wait_warning("through mail failed: exited with status 9")
    wait_for("the helper to be gone", lambda: [*children(box.supervisor)] == [box.pid])
    assert len(box.warnings.splitlines()) == 1
    assert len(recorded(box, "mail")) == 1


def test_helpers_have_nothing_of_pythons_in_their_environment(box: Box) -> None:
    """But the mailers do."""
    given = {"PYTHONPATH": "/nowhere", "PYTHONODD": os.fsdecode(b"\xff\n=")}
    box.env |= given
    record(box, "mail", f'cat /proc/$$/environ >"{box.folder}/of-mail"\n')
    modules = own(box)
    for name in ("alarm_helper", "inotify_helper"):
        helper = modules / "supervise" / "helpers" / f"{name}.py"
        lines = helper.read_text().replace(
            "import sys\n",
            f"import sys\nopen({str(box.folder / name)!r}, 'wb').write(open('/proc/self/environ', 'rb').read())\n",
            1,
        )
        helper.write_text(lines)
    box.conf(POLICY)
    box.start("sleep", "1000")
    kill(box)
    box.wait_log("through mail: handed over")
    wait_for("the other helper", (box.folder / "inotify_helper").exists)
    for name in ("alarm_helper", "inotify_helper"):
        entries = (box.folder / name).read_bytes().split(b"\0")
        assert not [entry for entry in entries if entry.startswith(b"PYTHON")]
    entries = (box.folder / "of-mail").read_bytes().split(b"\0")
    assert {os.fsencode(f"{name}={value}") for name, value in given.items()} <= {*entries}
