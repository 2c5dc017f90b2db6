"""Finding the pid that holds the lock of a status directory, for the message when a start is refused."""

from __future__ import annotations

import posix as os

from supervise.system.descriptors import samestat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


def lock_holder(fd: int) -> str:
    """Find the pid that holds the flock on an open file; `unknown` if none is found.  Never raises.

    The kernel lists who has taken it.  That may have ended, and another process may have it with the same open file:
    a supervise that was a copy (guardian.py, nursery.py).  This process has it open in any case, to ask, and may be who
    has taken it: for a copy, or for itself.
    """
    found = os.fstat(fd)
    taken_by, own = _listed(found), os.getpid()
    for pid in taken_by:
        if pid != own and _has_open(pid, found):
            return str(pid)
    for pid in _others():
        if _has_open(pid, found, seen=True):
            return str(pid)
    return str(own) if own in taken_by else "unknown"


def _listed(found: os.stat_result) -> list[int]:
    wanted = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    try:
        with open("/proc/locks", encoding="ascii") as locks:
            lines = [line.split() for line in locks]
    except OSError:
        return []
    return [int(fields[fields.index(wanted) - 1]) for fields in lines if "FLOCK" in fields and wanted in fields]


def _others() -> Iterator[int]:
    try:
        names = os.listdir("/proc")
    except OSError:
        return
    yield from (int(name) for name in names if name.isdigit() and int(name) != os.getpid())


def _has_open(pid: int, found: os.stat_result, seen: bool = False) -> bool:
    """Whether a process has a file open; of one that may not be looked at only if that need not be `seen`."""
    try:
        fds = os.listdir(f"/proc/{pid}/fd")
    except PermissionError:
        return not seen
    except OSError:
        return False
    for fd in fds:
        try:
            if samestat(os.stat(f"/proc/{pid}/fd/{fd}"), found):
                return True
        except OSError:
            continue  # it is closed by now
    return False
