"""Ending what a health check or the restart script has left behind.

Theory of operation
-------------------

Rule 1.  Such a helper leads a session of its own (service.HELPERS).  When it has ended, and before it is reaped, the
         number is still its own: who is in that session, or in its process group, has come from it.
Rule 2.  So have orphans of it that have made a session of their own: they have become supervise's children by then,
         are younger than the helper, and have the variable HELPER, which each helper has a value of its own for.  (Of
         a helper that ended earlier it can be one who was in between when he was looked for.)
Rule 3.  Whoever has come from these goes with them.  It is KILL for all: the helper had its time.
Rule 4.  Nearly all helpers leave nothing.  That is seen by one look at supervise's children.
"""

from __future__ import annotations

import posix as os

from supervise.system.descendants import below, kill_all, shown, with_all
from supervise.system.members import own_children
from supervise.system.procfs import everybody, proc_is_ours, stat_of
from supervise.system.spawn import HELPER, HELPERS, send

TYPE_CHECKING = False
if TYPE_CHECKING:
    from supervise.system.procfs import Stat


def end(helper: int, main: int, killed: bool) -> str:
    """Kill what a helper has left, before it is reaped; the processes, for the log.

    It was one of HELPERS.  `main`: the service's main process.  `killed`: the helper was, and its process group with
    it, of which some may take longer: these have not been left.  Raises OSError: nobody could look, and only its
    process group has been ended.
    """
    try:
        return _others(helper, main, killed) if proc_is_ours() else ""
    finally:
        send(helper, "KILL", True)


def _others(helper: int, main: int, killed: bool) -> str:
    known, since = {main, helper, *HELPERS}, stat_of(helper).start_ticks

    def orphans() -> list[Stat]:
        found = own_children()
        return [stat for stat in found if stat.pid not in known and stat.start_ticks >= since]

    if not orphans():  # zombies, too: they may have left somebody just now
        return ""

    def look() -> list[Stat]:
        found = with_all(everybody(), orphans())
        roots = [stat.pid for stat in found if _is_of(stat, helper, known, since)]
        members = below(roots, found) - {helper}
        return [stat for stat in found if stat.pid in members and stat.running]

    first = [stat for stat in look() if not (killed and stat.group == helper)]
    if not first:
        return ""
    said = shown([stat.pid for stat in first])
    kill_all(look)
    return said


def _is_of(stat: Stat, helper: int, known: set[int], since: int) -> bool:
    if stat.session == helper or stat.group == helper:
        return True
    if stat.parent != os.getpid() or stat.pid in known or stat.start_ticks < since:
        return False
    try:
        with open(f"/proc/{stat.pid}/environ", "rb", buffering=0) as file:
            entries = (file.readall() or b"").split(b"\0")
    except OSError:
        return False  # it has ended, or has become somebody whom supervise may not look at
    values = [entry.partition(b"=")[2] for entry in entries if entry.startswith(HELPER + b"=")]
    return bool(values) and values[0] not in HELPERS.values()
