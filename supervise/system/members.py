"""Membership: which processes belong to the service.

Theory of operation
-------------------

A process is one of the service if

Rule 1.  it is the main process; or
Rule 2.  the way up its parents leads to the main process; or
Rule 3.  it leads to supervise, and there through a child that is not in the session of a helper of supervise's (its
         restart script, a check).  supervise is a subreaper, so what the service leaves behind becomes its child, and
         so does what a helper leaves; or
Rule 4.  it is in a session in which there are no others: supervise's own, if supervise is its leader; or the main
         process's, if its leader is dead.  That was the supervise which the main process was taken over from: what that
         service leaves behind goes to another parent, where rule 3 does not find it.
         A supervise in the foreground of somebody's session is not its leader: that session says nothing.

Rule 5.  A process that has ended, and been reaped, cannot be told from the one that gets its number next: it is none of
         the service, unless it is the main process, which supervise knows by more than its number.
Rule 6.  Where /proc is that of another PID namespace (unshare --pid without --mount-proc) or is missing, the numbers in
         it are other processes': only rule 1 is used then, and nothing is listed.
Rule 7.  Who cannot look has no answer: all of these raise OSError then, which must not be taken for a no.
"""

from __future__ import annotations

import posix as os

from supervise.system.procfs import everybody, proc_is_ours, stat_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from supervise.system.procfs import Stat

_FAR = 256  # parents; who hides behind more of them is not found


def belongs(pid: int, main: int, helpers: set[int], session: int = 0, zombies: bool = False) -> bool:
    """Whether a process belongs to the service with the main process `main`, 0 if it has none.  Raises OSError.

    `session`: the main process's, where that may have ended.  `zombies`: whether it may have ended itself.
    """
    if pid <= 0:
        return False  # a process that cannot be seen from here
    if pid == main:
        return True
    own = os.getpid()
    if pid == own or not proc_is_ours():
        return False
    found = stat_of(pid)
    if not found.running and not (zombies and found.state == "Z"):
        return False
    at = found
    for _ in range(_FAR):
        if at.parent == own:
            return at.session not in helpers
        if at.parent == main > 0:
            return True
        if at.parent <= 1:
            break
        at = stat_of(at.parent)
    return _is_alone(found.session, session or stat_of(main).session, own)


def in_group(pid: int, group: int, session: int) -> bool:
    """Whether a process is in a process group of a session that has other members; takes no descriptor.  Never raises.

    Only a process of the session can join one of its groups, and none can join a session.
    """
    try:
        return pid > 0 and (os.getpgid(pid), os.getsid(pid)) == (group, session)
    except (OSError, OverflowError):
        return False


def _is_alone(session: int, of_main: int, own: int) -> bool:
    """Whether there are only processes of this service in a session, beside supervise (rule 4)."""
    ours = os.getsid(0)
    if session == ours:
        return ours == own
    return 0 < session == of_main and not stat_of(session).running


def children(helpers: set[int]) -> list[int]:
    """List supervise's running children, without helpers and their leftovers.  Raises OSError."""
    if not proc_is_ours():
        return []
    return [stat.pid for stat in own_children() if stat.running and stat.session not in helpers]


def own_children() -> list[Stat]:
    """List supervise's children, zombies included.  Raises OSError."""
    own = os.getpid()
    try:
        # A child is missing here only if another one goes while the list is read; they go when supervise reaps them.
        with open(f"/proc/self/task/{own}/children", "rb", buffering=0) as file:
            pids = [int(pid) for pid in (file.readall() or b"").split()]
        found = [stat_of(pid) for pid in pids]
    except (FileNotFoundError, ValueError):  # a kernel without CONFIG_PROC_CHILDREN
        found = everybody()
    return [stat for stat in found if stat.parent == own]


def left_in_session(session: int) -> list[int]:
    """List the processes of a service that was taken over, in the session that only it uses (rule 4).

    They are not supervise's children, so rule 5 is about them, too: by the time they are looked at they may be others.
    Raises OSError.
    """
    own = os.getpid()
    if not proc_is_ours() or session == os.getsid(0) or not _is_alone(session, session, own):
        return []
    return [stat.pid for stat in everybody() if stat.session == session]


def group_members(group: int, session: int) -> list[int]:
    """List the running processes in a process group of a session.  Raises OSError."""
    if not proc_is_ours():
        return []
    return [stat.pid for stat in everybody() if stat.group == group and stat.session == session]
