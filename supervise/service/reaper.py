"""Reaping supervise's children, and ending what a helper has left before it is reaped."""

from __future__ import annotations

import posix as os

from supervise.protocol.severities import NOTICE, WARNING
from supervise.system.spawn import HELPERS, reap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from supervise.protocol.exitstatus import ExitStatus
    from supervise.runtime.event_log import Log
    from supervise.service.service import Service


class Reaper:
    """Reaps the children of one supervise."""

    def __init__(self, service: Service, log: Log) -> None:
        self._service = service
        self._log = log
        self._said = False  # that a check has left something, which the next ones may do as well

    def next(self) -> tuple[int, ExitStatus] | None:
        """Reap one child: its pid and exit status, or None."""
        if not HELPERS:
            return reap()
        try:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return None
        if found is None:
            return None
        # One that is ours, and has no such variable, sees itself to what it starts.
        if HELPERS.pop(found.si_pid, b""):
            self._helper_ended(found.si_pid)
        return reap(found.si_pid)

    def _helper_ended(self, pid: int) -> None:
        from supervise.service.helper_leftovers import end

        check = pid == self._service.check_pid
        try:
            main = self._service.process.pid if self._service.process else 0
            left = end(pid, main, check and self._service.check_killed)
        except OSError as why:
            self._log.add(WARNING, "cannot look at what pid %d left running: %s", pid, why.strerror)
            return
        if left and not (check and self._said):
            self._log.add(NOTICE, "ended what %s left running: %s", "check_command" if check else f"pid {pid}", left)
        self._said |= check and bool(left)
