"""Taking over the service of a supervise that is gone.

Theory of operation
-------------------

Rule 1.  Only the holder of the lock looks, so the supervise that the state speaks of has ended.
Rule 2.  The process that the state names is the service if it has the same pid and start time in the same boot, and
         where the kernel has unique ones the same pidfd inode.  The pidfd is opened first and the rest compared
         afterwards, so what was compared is what the pidfd holds.
Rule 3.  Between the start of a process and the writing of the state, supervise may be killed.  No hole is left there,
         without a system call more on the way to a restart, because the state already names the session that the
         process is born into: supervise's own.  If the process that the state names is gone, and supervise did not
         end as asked, the leader of a process group in that session, orphaned, with this status directory in its
         environment, is the one that was started last.  And a process that has not got that far, between vfork and
         exec, still holds a copy of the descriptor of the lock: rule 1 has waited for it.
Rule 4.  Where anything is in doubt, nothing is taken over or signalled.
"""

from __future__ import annotations

import os

from supervise.heritage import Heritage
from supervise.process import Process, Stat, stat_of, unique_inode
from supervise.state import StateError, decode
from supervise.statusdir import STATE, StatusDirError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from supervise.statusdir import StatusDir

_ENDED = "ended"  # machine.ENDED: supervise ended as asked, or gave up


def look(directory: StatusDir, boot_id: str, path: bytes) -> Heritage:
    """What is left in a status directory, whose absolute path the service has in its environment.  Never raises."""
    heritage = Heritage()
    name = f"{directory.path}/{STATE}"
    try:
        data = directory.read(STATE)
        if data is None:
            return heritage
        fields = decode(data)
    except (StatusDirError, StateError, OSError) as why:
        heritage.warnings.append(f"cannot use {name}: {why}; nothing is taken over")
        return heritage
    if not boot_id or fields["boot_id"] != boot_id:
        heritage.notices.append(f"{name} is from before a reboot, or from another host; nothing is taken over")
        return heritage
    heritage.fields = fields
    if fields["machine"] == _ENDED:
        return heritage
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError as why:
        heritage.warnings.append(f"cannot take over a service that still runs: pidfd_open: {why.strerror}")
        return heritage
    service = fields["service"]
    if service:
        heritage.process = named(service)
        if heritage.process is None:
            heritage.notices.append(f"the service (pid {service['pid']}) has ended while no supervise was here")
    if heritage.process is None:
        heritage.process = unnamed(fields, path)
    if service and (heritage.process is None or heritage.process.pid != service["pid"]):
        left = [stat.pid for stat in processes() if stat.group == service["pid"] and stat.session == fields["session"]]
        if left:
            pids = " ".join(map(str, left))
            heritage.warnings.append(f"left of the service's process group {service['pid']}: pids {pids}")
    return heritage


def named(service: dict[str, Any]) -> Process | None:
    """The process that the state names, if it still runs (rule 2)."""
    try:
        fd = os.pidfd_open(service["pid"])
    except (OSError, OverflowError):
        return None
    found = stat_of(service["pid"])
    inode = unique_inode(fd)
    same = found.start_ticks == service["start_ticks"] and service["pidfd_inode"] in (None, inode)
    process = Process(service["pid"], False, fd)
    if same and found.running and process.alive():
        return process
    process.close()
    return None


def unnamed(fields: dict[str, Any], path: bytes) -> Process | None:
    """The process that was started last, before the state could name it (rule 3)."""
    found = [stat for stat in processes() if is_orphan_of(stat, fields) and is_here(stat, fields, path)]
    if not found:
        return None
    # A process of the one before may have made itself a group of its own, and live on: it is older.
    stat = max(found, key=lambda stat: (runs(stat.pid, fields["command"]), stat.start_ticks))
    return named({"pid": stat.pid, "start_ticks": stat.start_ticks, "pidfd_inode": None})


def is_orphan_of(stat: Stat, fields: dict[str, Any]) -> bool:
    """Whether a process can have been a service of the supervise whose state this is."""
    if stat.group != stat.pid or stat.session != fields["session"] or stat.pid == os.getpid():
        return False
    # Children of a process of the same session are the service's own doing.
    return stat.parent == 1 or stat_of(stat.parent).session != stat.session


def is_here(stat: Stat, fields: dict[str, Any], path: bytes) -> bool:
    """Whether a process was given this status directory in its environment.

    Where that cannot be read (another user's process, or an exec not quite over), the session has to do: it
    was supervise's alone, unless that ran in the foreground.
    """
    try:
        with open(f"/proc/{stat.pid}/environ", "rb", buffering=0) as file:
            block = file.readall()
    except OSError:
        block = None
    if not block:
        return bool(fields["session"] == fields["supervise_pid"])
    return b"SUPERVISE_STATUS_DIR=" + path in block.split(b"\0")


def runs(pid: int, command: list[str]) -> bool:
    """Whether a process runs a command, or the interpreter of a script that is the command."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb", buffering=0) as file:
            words = (file.readall() or b"").split(b"\0")[:-1]
    except OSError:
        return False
    wanted = [os.fsencode(word) for word in command]
    return words[-len(wanted) + 1 :] == wanted[1:] if len(wanted) > 1 else words[-1:] == wanted


def processes() -> list[Stat]:
    """Every process that runs."""
    found = (stat_of(int(name)) for name in os.listdir("/proc") if name.isdigit())
    return [stat for stat in found if stat.running]
