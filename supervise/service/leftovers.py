"""Leftovers of the service when its main process has ended: reported, or ended before the next start.

What lives here: what is said of it, and who is told to end.  What does not: when (the state machine).

Theory of operation
-------------------

Rule 1.  supervise is a subreaper, so whatever has come from the service and is left is below one of its children, in
         whatever process group or session: a child that is neither the main process nor a helper (service.HELPERS).
         Where it is none, or the service was taken over, what is left is found by the session alone.
Rule 2.  What is reported is what that start has left (start_tag.py), and not of the one that has followed by then.
Rule 3.  With `killasgroup : all` there is no main process meanwhile, and nobody is to be left: whoever is found is told
         to end, of any start, and whoever is born meanwhile when he is found.
Rule 4.  Nearly every service leaves nothing.  That is seen by one look at supervise's children.
"""

from __future__ import annotations

import posix as os
import sys

from supervise.protocol.options import NO_ORPHANS
from supervise.protocol.severities import NOTICE, WARNING
from supervise.service.leftover_group import LeftoverGroup, empty, of_start
from supervise.system.installed import replaced
from supervise.system.members import left_in_session, own_children
from supervise.system.procfs import everybody, proc_is_ours
from supervise.system.spawn import HELPERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

    from supervise.machine.machine import Machine
    from supervise.runtime.event_log import Log
    from supervise.runtime.reactor import Reactor, Readable
    from supervise.runtime.status_writer import StatusWriter
    from supervise.system.pidfd import Process
    from supervise.system.procfs import Stat


class Leftovers:
    """The leftovers of one service.  `main` is the pid of the main process that there is by now, if any.

    `ended` is called when one of those that are waited for has ended.
    """

    def __init__(
        self,
        machine: Machine,
        status_writer: StatusWriter,
        reactor: Reactor,
        log: Log,
        main: Callable[[], int],
        ended: Readable,
    ) -> None:
        self._machine = machine
        self._status_writer = status_writer
        self._reactor = reactor
        self._ended = ended
        self._log = log
        self._main = main
        self._asked: bool | str = False
        self._group: LeftoverGroup | None = None
        self._start = 0  # the number of the start that has left it
        self._signal = ""  # what everybody is told, by rule 3
        self._told: set[tuple[int, int]] = set()  # pid and start of who has been

    def configure(self, killasgroup: bool | str) -> None:
        """Log where `killasgroup` cannot be kept."""
        if killasgroup == "all" != self._asked and NO_ORPHANS in sys._xoptions:
            text = "killasgroup : all ends what stays in the service's session: supervise is no subreaper"
            self._log.add(WARNING, "%s", text)
        self._asked = killasgroup

    def of(self, group: int, session: int) -> None:
        """Take on the process group that a service has left to an earlier supervise."""
        self._begin(LeftoverGroup(group, session, self._reactor, self._ended))

    def after(self, process: Process, orphans: Callable[[], list[int]] | None = None) -> None:
        """Take on the process group of a main process that has ended.  `orphans`: who else is left."""
        self._begin(LeftoverGroup(process.group, process.session, self._reactor, self._ended, orphans))

    def _begin(self, group: LeftoverGroup) -> None:
        self._group, self._signal, self._start = group, "", self._machine.totals["starts"]
        self._told.clear()

    def clear(self, signal: str) -> bool:
        """Send a signal to the leftovers; whether there are none."""
        group, self.unsignalled = self._group, False
        if not group:
            return True
        if self._machine.config.killasgroup == "all" and proc_is_ours() and _can_look():
            return self._clear_all(group, signal)
        left = group.pids()
        if not left:
            return True
        text = "sending %s to what is left of process group %d: pids %s"
        self._log.add(NOTICE, text, signal, group.group, _list(left))
        self._status_writer.remains = {"group": group.group, "session": group.session}
        problems = group.tell(signal)
        for problem in problems:
            self._log.add(WARNING, "%s", problem)
        self.unsignalled = bool(problems)
        return group.gone()

    def _clear_all(self, group: LeftoverGroup, signal: str) -> bool:
        """Rule 3."""
        from supervise.system.descendants import shown

        group.also(lambda: [stat.pid for stat in self._left(False)])
        self._signal = signal
        self._told.clear()
        left = self._left(False)
        if left or signal == "KILL":  # else they may have ended just now, and are to be reaped
            who = shown([stat.pid for stat in left]) or "they come and go"
            self._log.add(NOTICE, "sending %s to what is left of the service: %s", signal, who)
        self._status_writer.remains = {"group": group.group, "session": group.session}
        return self.gone()

    def _tell(self) -> None:
        """Whoever has not been told what all are told is told so."""
        from supervise.system.descendants import kill_all, send_to

        if self._signal == "KILL":
            kill_all(lambda: self._left(False))
            return
        for stat in self._left(False):
            if (stat.pid, stat.start_ticks) not in self._told:
                self._told.add((stat.pid, stat.start_ticks))
                problem = send_to(stat, self._signal) or send_to(stat, "CONT")
                if problem:
                    self._log.add(WARNING, "%s", problem)
                    self.unsignalled = True

    def gone(self) -> bool:
        """Whether nobody is left whose end is awaited; if somebody is, `fd` tells when that may have changed."""
        if not self._group:
            return False
        if not self._signal:
            return self._group.gone()
        self._tell()
        return self._group.gone() and not self._children()

    def report(self) -> None:
        """Log the leftovers; nothing where /proc does not tell them from zombies."""
        if not self._group or not proc_is_ours():
            return
        if not _can_look():
            left = self._group.pids()
            if left:
                self._log.add(WARNING, "left of the service: pids %s", _list(left))
            return
        found = [stat.pid for stat in self._left(True)]
        if found:
            from supervise.system.descendants import shown

            self._log.add(WARNING, "left of the service: %s", shown(found))

    def _left(self, of_this_start: bool) -> list[Stat]:
        """Who is left (rules 1 and 2)."""
        group = self._group
        if not group:
            return []
        known = {self._main(), *HELPERS}
        children = [stat for stat in self._children() if stat.running]
        roots = [stat.pid for stat in children]
        if group.session and group.session != os.getpid():
            roots += left_in_session(group.session)
        if not roots and empty(group.group) and NO_ORPHANS not in sys._xoptions:
            return []
        from supervise.system.descendants import below, with_all

        found, own = with_all(everybody(), children), os.getpid()
        leads = os.getsid(0) == own == group.session  # then there are only processes of the service in it
        for stat in found:
            if stat.session == group.session and (leads or stat.group == group.group) and stat.pid != own:
                roots.append(stat.pid)
        if of_this_start:
            roots = of_start(self._start, roots, self._machine.totals["starts"])
        members = below(roots, found) - below(known - {0}, found)
        return [stat for stat in found if stat.pid in members and stat.running]

    def _children(self) -> list[Stat]:
        """supervise's children that are neither the main process nor helpers.

        Zombies, too: as long as one has not been reaped, a child of it may be here that was not when they were listed.
        """
        known = {self._main(), *HELPERS}
        return [stat for stat in own_children() if stat.pid not in known]

    def let_go(self) -> None:
        """Stop waiting."""
        self._signal = ""
        if self._group:
            self._group.let_go()


def _can_look() -> bool:
    """Whether what it takes to look closer is imported, or is of this version still."""
    return "supervise.system.descendants" in sys.modules or not replaced()


def _list(pids: list[int]) -> str:
    shown = " ".join(map(str, pids[:20]))
    return f"{shown} and {len(pids) - 20} more" if len(pids) > 20 else shown
