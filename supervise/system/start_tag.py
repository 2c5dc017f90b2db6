"""Start tags: a value in coredump_filter that says which start of the service a process comes from.

core(5): /proc/PID/coredump_filter says which mappings a core dump holds.  It is inherited by children and kept by
every exec, and anybody may read it.  Its bits 7 and 8 are about mappings of DAX files, which hardly anything has; of
the values that these two can have, supervise gives itself the next after each start.  So a process, and all that it
has started, shows which start it belongs to, without a system call on the way to a restart.  Where both bits were set
by somebody who has DAX files, or the file is not there, there is no tag.  takeover.py, rule 3, says what it is for.

The next supervise knows the tag from the state.  So as long as that cannot be written (a full disk), all starts bear
the tag that the state on the disk foretells; which of them a process comes from cannot be told by it then.
"""

from __future__ import annotations

import errno
import posix as os

from supervise.system.procfs import NO_PROCESS, read_of

_FILE = "coredump_filter"
_OWN = f"/proc/self/{_FILE}"
_SIZE = 32  # bytes
_SHIFT = 7
_BITS = 3 << _SHIFT
_TAGS = 3  # the value with both bits set is left to those who mean it


class _Telling:
    """From which start on the tags are unique; None: not now."""

    since: int | None = 0


def give(starts: int) -> int | None:
    """Tag this process, and so its next child, for the start after `starts` of them; the tag, if there is one.

    Raises OSError where that cannot be done just now.
    """
    tag = _give(tag_of_start(starts + 1))
    if _Telling.since is None:
        _Telling.since = starts + 1
    return tag


def give_again(tag: int) -> int | None:
    """Tag this process, and so its next child, with an earlier tag; the tag, if any.  Raises OSError as `give`."""
    _Telling.since = None
    return _give(tag)


def tells(start: int) -> bool:
    """Whether the start with this number, and all after it, have unique tags."""
    return _Telling.since is not None and start >= _Telling.since


def _give(tag: int) -> int | None:
    try:
        fd = os.open(_OWN, os.O_RDWR | os.O_CLOEXEC)
        try:
            found = _filter(os.read(fd, _SIZE))
            if found is None or found & _BITS == _BITS:
                return None
            os.write(fd, b"%#x" % (found & ~_BITS | tag << _SHIFT))
        finally:
            os.close(fd)
    except (*NO_PROCESS, PermissionError):
        return None
    except OSError as why:
        if why.errno != errno.EROFS:
            raise
        return None
    return tag


def tag_of_start(number: int) -> int:
    """The tag of the start with this number, counted from 1."""
    return number % _TAGS


def of(pid: int) -> int | None:
    """Read the tag of a process; None if it has none, or has ended.  Raises OSError: it could not be read."""
    found = _filter(read_of(pid, _FILE, _SIZE))
    return None if found is None else (found & _BITS) >> _SHIFT


def _filter(data: bytes) -> int | None:
    try:
        return int(data, 16)
    except ValueError:
        return None
