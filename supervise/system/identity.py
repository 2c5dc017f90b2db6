"""Recognising a process that the state has recorded: by pid, start time and pidfd inode (takeover.py, rule 2)."""

from __future__ import annotations

import errno
import posix as os

from supervise.system.pidfd import Process, unique_inode
from supervise.system.procfs import proc_is_ours, stat_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HIGHEST = 1 << 22  # Linux gives out no pid above; 1 is no service's


def named(service: dict[str, Any]) -> Process | None:
    """The process that the state records, if it still runs (rule 2).  Raises OSError: it could not be looked up."""
    pid = service["pid"]
    if not 1 < pid <= HIGHEST:
        return None
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    except OSError as why:
        if is_another(service):
            return None
        what = f"cannot take over pid {pid}, which still runs: pidfd_open"
        raise OSError(why.errno, why.strerror, what) from None
    process = Process(pid, False, fd)
    same = False
    try:
        same = process.alive() and is_same(service, process) and process.alive()
    finally:
        if not same:
            process.close()
    return process if same else None


def is_another(service: dict[str, Any]) -> bool:
    """Whether it is certain, without a pidfd, that the process has ended or its pid is another's."""
    try:
        os.kill(service["pid"], 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass
    if not service["start_ticks"] or not proc_is_ours():
        return False
    found = stat_of(service["pid"])
    return not found.running or found.start_ticks != service["start_ticks"]


def is_same(service: dict[str, Any], process: Process) -> bool:
    """Whether a running process is the one that was recorded.  Raises OSError: it could not be looked up."""
    inode = unique_inode(process.fd)
    known = inode is not None and service["pidfd_inode"] is not None
    if known and inode != service["pidfd_inode"]:
        return False
    if service["start_ticks"] and proc_is_ours():
        found = stat_of(process.pid)
        if found.running:
            return bool(found.start_ticks == service["start_ticks"])
        if not process.alive():
            return False
        raise PermissionError(errno.EACCES, "it is not shown", f"/proc/{process.pid}")
    if known:
        return True
    runs = f"pid {process.pid} runs"
    if not service["start_ticks"]:
        raise PermissionError(errno.EPERM, "the state does not say what tells it from others", runs)
    raise FileNotFoundError(errno.ENOENT, "there is none of this PID namespace", f"{runs}; /proc")
