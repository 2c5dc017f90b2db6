"""What supervise asks of the kernel: for the next process, for a letter, and while nothing happens."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from conftest import Box, wait_for
from system import needs

SERVICE = ("sh", "-c", "trap '' HUP; echo ready; while :; do sleep 1000; done")
LAST = "openat supervise.log"  # what a restart ends with, and a letter
STATE = ("openat state.new", "write", "close", "renameat state")  # has the letters that were obeyed, too
QUIET = 3.0  # seconds in which nothing is to happen

# What a start takes, by posix_spawn: the C library's ways to do it.  No other call comes before the next process.
SPAWN = {"prlimit64", "mmap", "mprotect", "munmap", "rt_sigprocmask", "rt_sigaction", "clone", "clone3", "vfork"}
BORN = {"clone", "clone3", "vfork"}
# What Python adds to the opening of a file, more or less by its version; and what the C library does for memory.
ASIDE = {"fstat", "newfstatat", "lseek", "ioctl", "fcntl", "getpid", "brk", "madvise", "rt_sigreturn", "read"}

AFTER_A_RESTART = [
    *("sched_yield", "wait4", "pidfd_open", "getsid", "close"),
    *("readlink /proc/self", "openat /proc/self/task/PID/children", "close"),  # what is left of it
    *("openat /proc/PID/stat", "close", "kill"),
    *("openat /proc/self/coredump_filter", "write", "close"),  # the mark of the start after it
    *("openat status.new", "write", "close", "renameat status"),
    *("readlink /proc/self", "openat /proc/PID/stat", "close"),
    *(*STATE, LAST, "write", "close"),
]


class Trace:
    """The system calls of a supervise: their lines as they come."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def lines(self) -> list[str]:
        return [line for line in self.path.read_text().splitlines() if not line.startswith(("---", "+++"))]

    def is_idle(self) -> bool:
        """Whether it waits, and not until some time."""
        last = self.lines[-1:]
        return bool(last) and bool(re.match(r"poll\(.*, -1$", last[0]))

    def since(self, lines: int) -> list[str]:
        """What has come: the calls' names, and what they name, up to the next wait; not what signals wake it with."""
        found = []
        for line in self.lines[lines:]:
            name = line.partition("(")[0]
            if not (name == "write" and r'"\21"' in line):
                of = re.findall(r'"([^"]*)"', line) if name in ("openat", "readlink", "renameat") else []
                found.append(f"{name} {re.sub('[0-9]+', 'PID', of[-1 if name == 'renameat' else 0])}" if of else name)
        return found


@contextmanager
def traced(box: Box) -> Iterator[Trace]:
    """As long as this lasts; from when it is idle on."""
    needs("strace")
    children = Path(f"/proc/{box.supervisor}/task/{box.supervisor}/children")
    wait_for("the helper that sets the watches to have ended", lambda: children.read_text().split() == [str(box.pid)])
    trace = Trace(box.folder / "calls")
    command = ["strace", "-s", "200", "-e", "signal=none", "-o", str(trace.path), "-p", str(box.supervisor)]
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert tracer.stderr
    said = tracer.stderr
    wait_for("strace", lambda: "attached" in said.readline())
    try:
        box.control("c")  # a call that strace has not come into the midst of
        wait_for("it to wait", trace.is_idle)
        yield trace
    finally:
        tracer.terminate()
        tracer.communicate()


def test_the_next_process_comes_first(box: Box) -> None:
    """Between the end of one and the start of the next there is nothing but the start."""
    pid = box.start("sleep", "1000")
    with traced(box) as trace:
        time.sleep(1.1)  # one that has run for a second is restarted at once
        wait_for("it to wait", trace.is_idle)
        before = len(trace.lines) - 1
        os.kill(pid, 9)
        box.wait_new_pid(pid)
        box.wait_log("service started", 2)
        wait_for("it to wait again", lambda: LAST in (calls := trace.since(before + 1)) and calls[-1] == "poll")
        calls = trace.since(before + 1)
    born = next(number for number, name in enumerate(calls) if name in BORN)
    assert set(calls[: born + 1]) - {"rt_sigreturn"} <= SPAWN, calls[: born + 1]
    # That there is something to read of the signal may be seen earlier or later.
    after = [call for call in calls[born:] if call not in ASIDE | SPAWN | {"poll"}]
    assert after[: after.index(LAST) + 3] == AFTER_A_RESTART


def test_a_letter_is_a_signal_at_once(box: Box) -> None:
    box.start(*SERVICE)
    box.wait_stdout("ready")
    with traced(box) as trace:
        before = len(trace.lines)
        box.control("h")
        wait_for("it to wait again", lambda: len(trace.lines) > before + 3 and trace.is_idle())
        calls = trace.since(before)
    first = next(call for call in calls if call != "read")
    assert first in ("kill", "pidfd_send_signal")
    rest = [call for call in calls if call not in ASIDE]
    assert rest[: rest.index("poll")] == [first, *STATE, LAST, "write", "close"]


def test_nothing_while_nothing_happens(box: Box) -> None:
    box.conf("[app]\nmax_tries : 3\n")
    box.start(*SERVICE)
    box.wait_stdout("ready")
    with traced(box) as trace:
        time.sleep(1.1)  # what is looked at a second after the start
        wait_for("it to wait", trace.is_idle)
        before = trace.lines
        time.sleep(QUIET)  # what is counted is what happens while nothing does
        assert trace.lines == before
