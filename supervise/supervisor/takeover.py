"""Takeover: finding the service of a supervise that is gone, so that it goes on without a restart.

Theory of operation
-------------------

Rule 1.  Only the holder of the lock looks, so the supervise that the state speaks of has ended.
Rule 2.  The process that the state names is the service if it has the same pid and start time in the same boot, and
         where the kernel has unique ones the same pidfd inode.  The pidfd is opened first and the rest compared
         afterwards, so what was compared is what the pidfd holds.
         A copy of the directory is not the directory: the state names the inode.
Rule 3.  Between the start of a process and the writing of the state, supervise may be killed. No hole is left
         there, without a system call more on the way to a restart, because each process bears a tag of the
         start that it comes from (start_tag.py), and has its directory in its environment. If the process that
         the state names is gone, and supervise did not end as asked, the leader of a process group that comes
         from the start after those that the state has counted, in supervise's session, and whose parent is
         gone, is the service. What a process before it has left behind comes from an earlier start. (While the
         state cannot be written, all starts bear the tag that the last one foretells: the youngest is it.) And a
         process that has not got that far, between vfork and exec, still holds a copy of the descriptor of the
         lock: rule 1 has waited for it.
Rule 4.  Where anything is in doubt, nothing is taken over or signalled, and nothing is started.  "No" is only: the
         process is gone, it has another start time, the state is damaged or of another boot.  Who could not look
         looks again for some seconds (retry.py); then the start is refused, and the next one may know.
Rule 5.  A state that others can have written (trust.py) counts for one thing only: as long as the process that it names
         lives, nothing is started.  Of processes that no state names (rule 3) only those can be the service that run
         as its user, or supervise's own; whatever another user can give his own, tags, environment and session,
         does not make them it.
"""

from __future__ import annotations

import errno
import posix as os
import sys
import time

from supervise.protocol.names import STATE, STATUS
from supervise.protocol.record import RecordError
from supervise.protocol.record import decode as decode_record
from supervise.protocol.state_reader import StateError, decode
from supervise.supervisor.predecessor import Predecessor
from supervise.system import start_tag
from supervise.system.identity import HIGHEST, named
from supervise.system.pidfd import Process
from supervise.system.procfs import Stat, everybody, pid_namespace, proc_is_ours, read_of, stat_of
from supervise.system.retry import retried
from supervise.system.statusdir import NotBelieved, StatusDirError, WrongKind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from supervise.protocol.record import Record
    from supervise.system.statusdir import StatusDir

_ENDED = "ended"  # machine.ENDED: supervise ended as asked, or gave up
_SAME_TIME = 2.0  # seconds that a process may seem to have been started after its record was written
_AT_SECURE = 23  # getauxval(3): whether a program was executed with more rights than its caller had


def look(directory: StatusDir, boot_id: str, user: str) -> Predecessor:
    """Find what a supervise has left in a status directory.  Raises StatusDirError: that could not be told.

    `boot_id`: this boot's, "" where the kernel has none; `user`: whom the service runs as, "" for supervise's own.
    """
    try:
        predecessor: Predecessor = retried(_look, directory, boot_id, user)
    except OSError as why:
        what = f"{why.filename}: {why.strerror}" if why.filename else why.strerror
        raise _cannot_tell(directory, what or str(why)) from None
    return predecessor


def _cannot_tell(directory: StatusDir, why: str) -> StatusDirError:
    return StatusDirError(f"cannot tell whether the service of {directory.shown_path} still runs: {why}")


def _look(directory: StatusDir, boot_id: str, user: str) -> Predecessor:
    predecessor = Predecessor()
    name = f"{directory.shown_path}/{STATE}"
    try:
        data = directory.read(STATE)
        if data is None:
            return predecessor
        fields = decode(data)
    except NotBelieved as why:
        refuse_if_it_lives(why, boot_id)
        predecessor.warnings.append(f"{why}; nothing is taken over")
        return predecessor
    except (WrongKind, StateError) as why:
        predecessor.warnings.append(f"cannot use {name}: {why}; nothing is taken over")
        return predecessor
    predecessor.restrictions = fields["restrictions"] or {}
    if boot_id and fields["boot_id"] != boot_id:
        predecessor.notices.append(f"{name} is from before a reboot, or from another host; nothing is taken over")
        return predecessor
    if fields["directory"] not in (None, directory.identity()):
        predecessor.notices.append(f"{name} is from another directory; nothing is taken over")
        return predecessor
    if boot_id == fields["boot_id"]:
        predecessor.fields = fields
        heed_record(predecessor, fields, directory)
    if fields["machine"] != _ENDED and is_of_another_namespace(fields):
        # It may be gone, with all that was in it, and nobody can see whether it is.
        text = "of another PID namespace: whether the service still runs there cannot be told; nothing is taken over, "
        text += "and what is started may be a second copy"
        predecessor.warnings.append(f"{name} is {text}")
    elif fields["machine"] != _ENDED:
        find(predecessor, fields, directory, boot_id, user)
    return predecessor


def is_of_another_namespace(fields: dict[str, Any]) -> bool:
    """Whether a state was written in another PID namespace, as far as that can be told."""
    here = pid_namespace()
    return None not in (here, fields["pid_namespace"]) and here != fields["pid_namespace"]


def find(predecessor: Predecessor, fields: dict[str, Any], directory: StatusDir, boot_id: str, user: str) -> None:
    """Find the service, if it still runs, or else its leftovers.  Raises OSError, StatusDirError."""
    service = fields["service"]
    process = named(service) if service else None
    try:
        if service and process is None:
            predecessor.notices.append(f"the service (pid {service['pid']}) has ended while no supervise was here")
        if process is None:
            if not proc_is_ours():
                text = "there is no /proc of this PID namespace: what the state does not name yet is not looked for"
                predecessor.warnings.append(text)
                return
            process = unnamed(fields, directory, user)
        if process and not boot_id and (fields["boot_id"] or not is_known_by_inode(process, service)):
            raise _cannot_tell(directory, f"pid {process.pid} runs, and this system's boot id cannot be read")
        if process is None or (service and process.pid != service["pid"]):
            find_left(predecessor, fields)
    except BaseException:
        if process:
            process.close()
        raise
    predecessor.process = process


def is_known_by_inode(process: Process, service: dict[str, Any] | None) -> bool:
    """Whether a process has the pidfd inode that the state records, which no process of another boot has."""
    return bool(service and process.pid == service["pid"] and service["pidfd_inode"] is not None)


def find_left(predecessor: Predecessor, fields: dict[str, Any]) -> None:
    """Find what is left of the process group of a service that has ended.  Raises OSError."""
    remains = fields["remains"] or fields["service"]
    if not remains:
        return
    group = remains["group"] or remains.get("pid", 0)  # an older release did not write it
    session = fields["session"] if remains["session"] is None else remains["session"]
    left = [stat.pid for stat in everybody() if stat.group == group and stat.session == session]
    # One that has the number of the group has been given it since, and the group is its own.  Session 0 is one of
    # another PID namespace, and any number of them.
    if left and session and group not in left:
        predecessor.leftover_group = group, session
        predecessor.leftover_line = f"left of the service's process group {group}: pids {' '.join(map(str, left))}"


def look_without_state(directory: StatusDir) -> None:
    """Refuse a start without a state, if the process that the record names runs and can be the service.

    A record tells no process from another that has its number.  So nothing is taken over, and where it may be the
    service, nothing is started.  Raises StatusDirError.
    """
    try:
        retried(_refuse_if_recorded, directory)
    except OSError as why:
        what = f"{why.filename}: {why.strerror}" if why.filename else why.strerror
        raise _cannot_tell(directory, what or str(why)) from None


def _refuse_if_recorded(directory: StatusDir) -> None:
    try:
        data = directory.read(STATUS) or b""
    except NotBelieved as why:
        data = why.data
    except WrongKind:
        return
    try:
        record = decode_record(data)
    except RecordError:
        return
    pid = record.pid
    if 1 < pid <= HIGHEST and pid != os.getpid() and may_be_recorded(record, directory):
        text = f"pid {pid}, which {directory.path}/{STATUS} calls the service, runs, and there is no {STATE}"
        raise _cannot_tell(directory, text)


def may_be_recorded(record: Record, directory: StatusDir) -> bool:
    """Whether a process runs that may be the one of a record, which has only a pid and a time.

    Raises OSError: nobody could look.
    """
    if not _is_there(record.pid):
        return False
    if not proc_is_ours():
        return True
    found = stat_of(record.pid)
    if not found.running:
        return found.state == "-" and _is_there(record.pid)  # it is not shown
    try:
        entries = read_of(record.pid, "environ").split(b"\0")
    except PermissionError:
        return True
    paths = [entry.partition(b"=")[2] for entry in entries if entry.startswith(b"SUPERVISE_STATUS_DIR=")]
    if paths:
        return directory.is_at(paths[0])
    # It is another's, or has thrown its environment away.
    if _prints_here(record.pid, directory):
        return True
    # The record has the time of the wall clock alone.  One that began before that time had the number already when it
    # was written, and so is the one that is meant; or the clock was set back since: not knowing which is no "no".  One
    # that began later has been given the number since.  But where the clock was set forward, the service itself looks
    # so: that has no environment and prints elsewhere then, its state was removed, and nothing is left that could tell.
    up = time.clock_gettime(time.CLOCK_BOOTTIME) - found.start_ticks / os.sysconf("SC_CLK_TCK")
    return time.time() - up - record.changed_ns / 1e9 < _SAME_TIME


def _prints_here(pid: int, directory: StatusDir) -> bool:
    """Whether what a process prints goes to a file of a status directory, whatever that is called by now."""
    for fd in (1, 2):
        try:
            file = os.readlink(f"/proc/{pid}/fd/{fd}".encode())
        except OSError:
            continue
        if file.startswith(b"/") and directory.is_at(file.rpartition(b"/")[0]):
            return True
    return False


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def refuse_if_it_lives(disbelieved: NotBelieved, boot_id: str) -> None:
    """Raise StatusDirError if a state that others can have written names a process that runs (rule 5); or OSError."""
    try:
        fields = decode(disbelieved.data)
    except StateError:
        return
    service = fields["service"]
    if not service or (boot_id and fields["boot_id"] and fields["boot_id"] != boot_id):
        return
    process = named(service)
    if process:
        process.close()
        raise StatusDirError(f"{disbelieved}, and pid {service['pid']}, which it calls the service, runs")


def heed_record(predecessor: Predecessor, fields: dict[str, Any], directory: StatusDir) -> None:
    """Correct the state by the record, which is written first, where both are about the same process."""
    try:
        record = decode_record(directory.read(STATUS) or b"")
    except (NotBelieved, WrongKind) as why:
        predecessor.warnings.append(f"{why}; it is replaced")
        return
    except RecordError:
        return
    if record.pid == (fields["service"]["pid"] if fields["service"] else 0):
        fields.update(paused=record.paused, wanted=record.want, alarms=record.alarms)


def unnamed(fields: dict[str, Any], directory: StatusDir, user: str) -> Process | None:
    """Find a service that was started, but not named in the state before its supervise was killed (rule 3).

    Raises OSError; StatusDirError where one may be it and may be none of the service (rule 5).
    """
    leaders = [stat for stat in everybody() if stat.group == stat.pid != os.getpid()]
    found = [stat for stat in leaders if is_next(stat, fields, directory)]
    if not found:
        return None
    users = {user, str((fields["restrictions"] or {}).get("user", ""))}  # the file may say another by now, or none
    own = [stat for stat in found if any(can_be_the_services(stat.pid, one) for one in users)]
    if not own:
        pids = " ".join(str(stat.pid) for stat in found)
        raise _cannot_tell(directory, f"pid {pids} may be it, and is another user's")
    # Marks come round again; but a process that was left behind by an earlier start is older.
    stat = max(own, key=lambda stat: (stat.start_ticks, stat.pid))
    return named({"pid": stat.pid, "start_ticks": stat.start_ticks, "pidfd_inode": None})


def is_next(stat: Stat, fields: dict[str, Any], directory: StatusDir) -> bool:
    """Whether a process leads the start after those that the state has counted.  Raises OSError."""
    if stat.session != fields["session"]:
        return False  # a helper of supervise's; the leader of a process group cannot leave its session
    if stat.state == "?":
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), f"/proc/{stat.pid}/stat")
    if stat.parent != 1 and stat_of(stat.parent).session == stat.session:
        return False  # its parent lives: it is the service's child
    if fields["service"] and stat.start_ticks < fields["service"]["start_ticks"]:
        return False  # older than the last that was counted
    if fields["next_mark"] is not None and start_tag.of(stat.pid) not in (None, fields["next_mark"]):
        return False
    alone = bool(fields["session"] == fields["supervise_pid"])
    try:
        entries = read_of(stat.pid, "environ").split(b"\0")
    except PermissionError:
        if not alone and user_of(stat.pid) == os.geteuid():
            raise
        entries = []
    paths = [entry.partition(b"=")[2] for entry in entries if entry.startswith(b"SUPERVISE_STATUS_DIR=")]
    if paths:
        return directory.is_at(paths[0])
    # Another user's process, or one that has not quite been executed, or has thrown its environment away: of the
    # supervise it is if the session was supervise's alone.
    return alone


def user_of(pid: int) -> int:
    """The real uid of a process, -1 if it has just ended.  Raises OSError."""
    lines = [line.split() for line in read_of(pid, "status").splitlines() if line.startswith(b"Uid:")]
    return int(lines[0][1]) if lines else -1


def can_be_the_services(pid: int, user: str) -> bool:
    """Whether a process can have been started only by supervise's user, root or the service's user.  Raises OSError."""
    uid = user_of(pid)
    if uid == os.geteuid():
        return not gained_rights(pid)
    return bool(user) and os.geteuid() == 0 and uid == uid_of(user)


def uid_of(user: str) -> int:
    """The uid of a user that the configuration names, -1 if there is none."""
    import pwd

    name = user.partition(":")[0]
    try:
        return int(name) if name.isascii() and name.isdigit() else pwd.getpwnam(name).pw_uid
    except KeyError:
        return -1


def gained_rights(pid: int) -> bool:
    """Whether a process of root's is a program like sudo(8), whose caller was another user, and its environment his."""
    if os.geteuid() != 0:
        return False
    data, size = read_of(pid, "auxv"), 8 if sys.maxsize > 1 << 32 else 4
    words = [int.from_bytes(data[at : at + size], sys.byteorder) for at in range(0, len(data), size)]
    return dict(zip(words[::2], words[1::2])).get(_AT_SECURE) == 1
