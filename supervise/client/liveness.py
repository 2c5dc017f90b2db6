"""Whether a supervise runs, for a user who may look at a status directory and not command: he cannot open `ok`.

The kernel lists who holds locks.  A lock that is listed is held, for nobody else may open that file.  One that is not
may be held by somebody in another PID namespace, or be listed with the device of what lies under an overlay: so that
counts as "no" only if the state names this namespace, and its supervise has ended.
"""

from __future__ import annotations

import os
import time

from supervise.protocol.names import LOCK
from supervise.system.procfs import pid_namespace, proc_is_ours, read_of, stat_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

_PATIENCE, _PAUSE = 1.0, 0.02  # seconds
_NAME = b"supervise\n"  # of its process: supervisor/build.py


def holds_lock(path: str, read_state: Callable[[], dict[str, Any]]) -> bool | None:
    """Whether the lock of a status directory is held; None: that cannot be told.  Raises OSError.

    `read_state` gives the state, or raises any Exception.
    """
    if is_listed(path):
        return True
    try:
        fields = read_state()
    except Exception:
        return None
    if fields["pid_namespace"] is None or fields["pid_namespace"] != pid_namespace() or not proc_is_ours():
        return None
    end = time.monotonic() + _PATIENCE
    while _is_supervise(fields["supervise_pid"]):  # one that ends lets go of its lock first
        if is_listed(path):
            return True
        if time.monotonic() >= end:
            return None
        time.sleep(_PAUSE)
    # Another may have been started, since the list was read.
    return is_listed(path)


def is_listed(path: str) -> bool:
    """Whether the kernel lists the lock of a status directory as held.  Raises OSError."""
    found = os.lstat(f"{path}/{LOCK}")
    wanted = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    with open("/proc/locks", "rb") as locks:
        return any(b"FLOCK" in line and wanted.encode() in line.split() for line in locks)


def _is_supervise(pid: int) -> bool:
    """Whether a process runs and is called supervise; also one of which that cannot be known.  Raises OSError."""
    found = stat_of(pid)
    if found.state == "-":
        try:
            os.kill(pid, 0)  # one that is hidden (hidepid) is there all the same
        except ProcessLookupError:
            return False
        return True
    return found.running and read_of(pid, "comm") in (_NAME, b"")
