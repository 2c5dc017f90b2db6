"""A sample of faults.py: system calls of supervise that fail; `make chaos` tries all of them."""

from __future__ import annotations

import re
import subprocess
from datetime import date
from pathlib import Path

import pytest
from conftest import THOROUGH
from faults import OURS, SCENES, Cell, Sweep, record
from system import needs

_SPAWN = r"^(clone|vfork|fork)"

Fault = tuple[str, int, str, str]  # the call as strace shows it, the how manieth of these, the error, how long

SAMPLE: dict[str, list[Fault]] = {  # by the phase
    "start": [
        (r"^openat.*status\.new", 1, "ENOSPC", "once"),
        (r"^poll", -1, "ENOMEM", "once"),
        (_SPAWN, 1, "EAGAIN", "second"),
    ],
    "start, the daemon": [
        (r"^mkdir", 1, "ENOSPC", "once"),
        (r"^faccessat", 1, "EIO", "once"),
        (r"^pipe2", 1, "EMFILE", "once"),
        (r"^\w*stat\w*\(.*upgrade", 1, "EIO", "second"),
    ],
    "restart": [
        (_SPAWN, 1, "EAGAIN", "once"),
        (r"^openat.*/proc/\d+/stat", 1, "EMFILE", "second"),
        (r"^\w*stat\w*\(", 1, "EIO", "second"),
        (r"^pidfd_open", 1, "ENOMEM", "once"),
    ],
    "stop (d)": [
        (r"^kill.*SIGTERM", 1, "EPERM", "second"),
        (r"^kill.*SIGTERM", 1, "ESRCH", "once"),
        (r"^poll", 1, "ENOMEM", "second"),
        (r"^rename", 1, "EIO", "once"),
    ],
    "up (u)": [(_SPAWN, 1, "ENOMEM", "second"), (r"^read", 1, "EIO", "second")],
    "restart (R)": [(r"^poll", -1, "EINVAL", "once"), (r"^close", 1, "EIO", "second")],
    "reload (r)": [
        (r"^openat.*supervise\.conf", 1, "EMFILE", "second"),
        (r"^write.*NOTICE", -1, "ENOSPC", "second"),
        (r"^poll", 1, "EINVAL", "once"),
    ],
    "stop (dx)": [
        (r"^kill.*SIGTERM", 1, "EPERM", "second"),
        (r'^write\(\d+, "@', -1, "ENOSPC", "once"),
        (r"^openat.*supervise\.log", -1, "EMFILE", "once"),
    ],
    "adoption": [
        (r"^openat.*boot_id", 1, "EMFILE", "second"),
        (r"^openat.*\"state\"", 1, "EIO", "once"),
        (r"^read\(\d+, \"\{", 1, "EIO", "second"),
        (r"^pidfd_open", 1, "ENOMEM", "once"),
        (r"^pidfd_open", 2, "EMFILE", "second"),
        (r"^openat.*/proc/\d+/stat", 1, "ENFILE", "once"),
    ],
    "upgrade (e)": [
        (r"^pipe2", -1, "EMFILE", "once"),
        (r"^openat.*supervise\.conf", -1, "EMFILE", "second"),
        (r"^mmap", -1, "ENOMEM", "once"),
    ],
}


def cell(phase: str, calls: list[str], pattern: str, which: int, errno: str, mode: str) -> Cell:
    """Where in the recorded calls of a phase that is."""
    found = [index for index, line in enumerate(calls) if re.search(pattern, line)]
    assert found, f"{phase}: no call like {pattern}"
    at = found[which - 1 if which > 0 else which]
    name = calls[at].partition("(")[0]
    number = sum(line.startswith(name + "(") for line in calls[: at + 1])
    return Cell(phase, name, number, errno, mode, OURS)


def of_today(wanted: list[Fault]) -> list[Fault]:
    """Two thirds of a sample, others each day: all of them within three; with THOROUGH=1 all at once."""
    today = date.today().toordinal()
    return [one for number, one in enumerate(wanted) if THOROUGH or (number + today) % 3]


def can_trace() -> bool:
    return subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True).returncode == 0


@pytest.mark.timeout(600)  # each fault that leaves something wrong takes a while, and is tried again
@pytest.mark.parametrize("phase", SAMPLE)
def test_a_system_call_that_fails_for_a_moment_leaves_everything_in_order(phase: str, tmp_path: Path) -> None:
    needs("strace")
    if not can_trace():
        pytest.skip("strace may not trace here (ptrace is not permitted)")
    calls = record(SCENES[phase], tmp_path)
    cells = [cell(phase, calls, *wanted) for wanted in of_today(SAMPLE[phase])]
    verdicts = Sweep(tmp_path, len(cells), False).run(cells)
    assert [str(verdict) for verdict in verdicts if verdict.wrongs] == []
    assert len(verdicts) == len(cells)
    assert list(tmp_path.iterdir()) == []
