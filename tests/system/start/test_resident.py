"""Which modules stay in memory for months: all of them, of this package and of Python's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Box, wait_for

import supervise
from supervise.protocol.options import Options

DAEMON = Path(supervise.__file__).parent / "daemon.py"

# The daemon as it is, in an interpreter that on USR1 writes down what it has loaded.
WATCHED = """
import posix, sys, _signal

def tell(*_):
    names = "\\n".join(sorted(sys.modules)).encode()
    fd = posix.open("loaded.new", posix.O_WRONLY | posix.O_CREAT, 0o600)
    posix.write(fd, names)
    posix.close(fd)
    posix.rename("loaded.new", "loaded")

_signal.signal(_signal.SIGUSR1, tell)
with open(sys.argv[1]) as file:
    code = compile(file.read(), sys.argv[1], "exec")
exec(code, {"__name__": "__main__", "__file__": sys.argv[1]})
"""

OURS = {
    "alarms": "alarm text",
    "config": "config file restrictions written",
    "machine": "machine on_command on_liveness on_process policy situation table",
    "protocol": "exitcodes exitstatus filenames letters lockfile names options paths record severities state states"
    " text",
    "runtime": "event_log inotify_lease internal_errors path_follower polling reactor status_writer wakeup",
    "service": "launcher leftover_group leftovers parts reaper recheck service signal_retry",
    "supervisor": "actions build conf_follower control loop predecessor preloaded reconcile startup statusdir_watch",
    "system": "descriptors errors helper installed members pidfd procfs retry rollback spawn start_tag statusdir"
    " trust",
}
WITH_A_CONFIGURATION = {"config": "expand misspellings parser sections shellwords values"}
# Beside what any Python needs: what is in C, and nothing else.
PYTHONS = {"__future__", "_signal", "_socket", "_stat", "errno", "fcntl", "gc", "select", "stat"}
if sys.version_info < (3, 10):
    PYTHONS |= {"_bootlocale", "_locale"}  # with the first file that is opened as text


def loaded(box: Box) -> set[str]:
    """What an idle supervise has loaded."""
    options = Options(f"status/{box.name}", ["sleep", "1000"]).encode()
    words = [sys.executable, "-I", "-S", "-c", WATCHED, str(DAEMON)]
    daemon = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=box.folder)
    box.processes.append(daemon)
    assert daemon.stdin and daemon.stdout
    daemon.stdin.write(options)
    daemon.stdin.close()
    assert daemon.stdout.read(1) == b"\0"
    box.control("h")  # it is in its loop by when it has obeyed
    box.wait_log("command h")
    os.kill(daemon.pid, signal.SIGUSR1)
    found = wait_for("what it has loaded", lambda: (box.folder / "loaded").exists() and (box.folder / "loaded"))
    names = set(found.read_text().split())
    box.control("dx")
    assert daemon.wait() == 0
    return names


def bare() -> set[str]:
    """What any Python needs for anything."""
    words = [sys.executable, "-I", "-S", "-c", "import sys; print(*sys.modules)"]
    return set(subprocess.run(words, capture_output=True, text=True, check=True).stdout.split())


def named(*folders: dict[str, str]) -> set[str]:
    """The modules of these packages by their full names, and the packages."""
    names = {"supervise"}
    for folder in folders:
        for package, modules in folder.items():
            names |= {f"supervise.{package}", *(f"supervise.{package}.{module}" for module in modules.split())}
    return names


@pytest.mark.parametrize("conf", ["", "[app]\nmax_tries : 3\n"], ids=["no configuration", "a configuration"])
def test_what_an_idle_supervise_has_loaded(box: Box, conf: str) -> None:
    if conf:
        box.conf(conf)
    expected = named(OURS, *([WITH_A_CONFIGURATION] if conf else []))
    found = loaded(box)
    ours = {name for name in found if name.partition(".")[0] == "supervise"}
    assert sorted(ours - expected) == [], "more of this package: each takes 10 to 50 KB and 0.1 ms"
    assert sorted(expected - ours) == [], "not loaded any more"
    others = found - ours - bare()
    assert sorted(others - PYTHONS) == [], "more of Python's"
