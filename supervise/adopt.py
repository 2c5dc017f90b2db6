"""Taking over the service of a supervise that is gone.

Theory of operation
-------------------

Rule 1.  Only the holder of the lock looks, so the supervise that the state speaks of has ended.
Rule 2.  The process that the state names is the service if it has the same pid and start time in the same boot, and
         where the kernel has unique ones the same pidfd inode.  The pidfd is opened first and the rest compared
         afterwards, so what was compared is what the pidfd holds.
         A copy of the directory is not the directory: the state names the inode.
Rule 3.  Between the start of a process and the writing of the state, supervise may be killed. No hole is left
         there, without a system call more on the way to a restart, because each process bears a mark of the
         start that it comes from (birthmark.py), and has its directory in its environment. If the process that
         the state names is gone, and supervise did not end as asked, the leader of a process group that comes
         from the start after those that the state has counted, in supervise's session, and whose parent is
         gone, is the service. What a process before it has left behind comes from an earlier start. And a
         process that has not got that far, between vfork and exec, still holds a copy of the descriptor of the
         lock: rule 1 has waited for it.
Rule 4.  Where anything is in doubt, nothing is taken over or signalled.
"""

from __future__ import annotations

import os

from supervise import birthmark
from supervise.heritage import Heritage
from supervise.process import Process, Stat, stat_of, unique_inode
from supervise.record import RecordError
from supervise.record import decode as decode_record
from supervise.state import StateError, decode
from supervise.statusdir import STATE, STATUS, StatusDirError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from supervise.statusdir import StatusDir

_ENDED = "ended"  # machine.ENDED: supervise ended as asked, or gave up


def look(directory: StatusDir, boot_id: str) -> Heritage:
    """What is left in a status directory.  Never raises."""
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
    if fields["directory"] not in (None, directory.identity()):
        heritage.notices.append(f"{name} is from another directory; nothing is taken over")
        return heritage
    heritage.fields = fields
    heed_record(fields, directory)
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
        heritage.process = unnamed(fields, directory)
    remains = fields["remains"] or service
    if remains and (heritage.process is None or (service and heritage.process.pid != service["pid"])):
        group = remains["group"] or remains.get("pid", 0)  # an older release did not write it
        session = fields["session"] if remains["session"] is None else remains["session"]
        left = [stat.pid for stat in processes() if stat.group == group and stat.session == session]
        # One that has the number of the group has been given it since, and the group is its own.  Session 0 is one of
        # another PID namespace, and any number of them.
        if left and session and group not in left:
            heritage.left = group, session
            heritage.left_said = f"left of the service's process group {group}: pids {' '.join(map(str, left))}"
    return heritage


def heed_record(fields: dict[str, Any], directory: StatusDir) -> None:
    """The record is written first, so where both are about the same process it has the last word."""
    try:
        record = decode_record(directory.read(STATUS) or b"")
    except (StatusDirError, RecordError, OSError):
        return
    if record.pid == (fields["service"]["pid"] if fields["service"] else 0):
        fields.update(paused=record.paused, wanted=record.want, alarms=record.alarms)


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


def unnamed(fields: dict[str, Any], directory: StatusDir) -> Process | None:
    """The process that was started last, before the state could name it (rule 3)."""
    found = [stat for stat in processes() if stat.group == stat.pid != os.getpid() and is_next(stat, fields, directory)]
    if not found:
        return None
    # Marks come round again; but a process that was left behind by an earlier start is older.
    stat = max(found, key=lambda stat: (stat.start_ticks, stat.pid))
    return named({"pid": stat.pid, "start_ticks": stat.start_ticks, "pidfd_inode": None})


def is_next(stat: Stat, fields: dict[str, Any], directory: StatusDir) -> bool:
    """Whether a process is the leader of the start after those that the state has counted."""
    if stat.session != fields["session"]:
        return False  # a helper of supervise's; the leader of a process group cannot leave its session
    if stat.parent != 1 and stat_of(stat.parent).session == stat.session:
        return False  # its parent lives: it is the service's child
    if fields["next_mark"] is not None and birthmark.of(stat.pid) not in (None, fields["next_mark"]):
        return False
    try:
        with open(f"/proc/{stat.pid}/environ", "rb", buffering=0) as file:
            entries = (file.readall() or b"").split(b"\0")
    except OSError:
        entries = []
    paths = [entry.partition(b"=")[2] for entry in entries if entry.startswith(b"SUPERVISE_STATUS_DIR=")]
    if paths:
        return directory.is_at(paths[0])
    # Another user's process, or one that has not quite been executed, or has thrown its environment away: of the
    # supervise it is if the session was supervise's alone.
    return bool(fields["session"] == fields["supervise_pid"])


def processes() -> list[Stat]:
    """Every process that runs."""
    found = (stat_of(int(name)) for name in os.listdir("/proc") if name.isdigit())
    return [stat for stat in found if stat.running]
