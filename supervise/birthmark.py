"""Which start of the service a process comes from, told by its coredump_filter.

core(5): /proc/PID/coredump_filter says which mappings a core dump holds.  It is inherited by children and kept by
every exec, and anybody may read it.  Its bits 7 and 8 are about mappings of DAX files, which hardly anything has; of
the values that these two can have, supervise gives itself the next after each start.  So a process, and all that it
has started, shows which start it belongs to, without a system call on the way to a restart.  Where both bits were set
by somebody who has DAX files, or the file is not there, there is no mark.  adopt.py, rule 3, says what it is for.
"""

from __future__ import annotations

_SHIFT = 7
_BITS = 3 << _SHIFT
_MARKS = 3  # the value with both bits set is left to those who mean it


def give(starts: int) -> int | None:
    """Mark this process, and so the next that it starts, for the start that follows so many; the mark, if any."""
    found = _read("self")
    if found is None or found & _BITS == _BITS:
        return None
    mark = mark_of_start(starts + 1)
    try:
        with open("/proc/self/coredump_filter", "wb", buffering=0) as file:
            file.write(b"%#x" % (found & ~_BITS | mark << _SHIFT))
    except OSError:
        return None
    return mark


def mark_of_start(number: int) -> int:
    """The mark of the start with this number, counted from 1."""
    return number % _MARKS


def of(pid: int) -> int | None:
    """The mark of a process; None if it cannot be read."""
    found = _read(str(pid))
    return None if found is None else (found & _BITS) >> _SHIFT


def _read(pid: str) -> int | None:
    try:
        with open(f"/proc/{pid}/coredump_filter", "rb", buffering=0) as file:
            return int(file.read(32) or b"", 16)
    except (OSError, ValueError):
        return None
