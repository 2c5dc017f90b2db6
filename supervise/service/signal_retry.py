"""Retrying signals that the kernel has refused to send.

Theory of operation
-------------------

Rule 1.  A signal that the kernel refuses (EPERM: a setuid program that is not ours to signal, for now or for good;
         ESRCH of a process that is there) is a command that was not carried out.  It is said once, and tried again
         after pauses that grow to LONGEST, until it is sent, or pointless.
Rule 2.  It is pointless when its process has ended, when KILL is to be sent, and when CONT follows STOP or STOP follows
         CONT.  The same signal again is the same signal, as it is for the kernel.
Rule 3.  A process group that is not there, while its process is: the process has left it, and is sent the signal
         alone.
Rule 4.  The machine knows nothing of this: for it the signal was sent.  So the time that a service has to end is
         counted anew from when it was told, and where it is to stay up after all (`u` after `d`) it is spared
         (actions.py).
"""

from __future__ import annotations

from supervise.protocol.severities import NOTICE, WARNING
from supervise.system.spawn import NUMBERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from supervise.runtime.event_log import Log
    from supervise.system.pidfd import Process

_SHORTEST, LONGEST = 0.01, 4.0  # seconds
_OPPOSITE = {"STOP": "CONT", "CONT": "STOP"}


class SignalRetry:
    """`signals`: what is to be sent to `pid`, each with whether it goes to the process group; `at`: when, monotonic."""

    __slots__ = ("signals", "pid", "at", "_pause", "_log")

    def __init__(self, log: Log) -> None:
        self.signals: list[tuple[str, bool]] = []
        self.pid = 0
        self.at: float | None = None
        self._pause = _SHORTEST
        self._log = log

    def note(self, pid: int, name: str, group: bool, problem: str | None, now: float) -> None:
        """Note that a signal was sent, or could not be: `problem`."""
        if pid != self.pid:
            self.forget()
            self.pid = pid
        self.signals = [one for one in self.signals if not _pointless(one, name, group)]
        if problem:
            if self.at is None:
                self._pause = _SHORTEST
                self._log.add(WARNING, "%s; trying again", problem)
                self.at = now + self._pause
            self.signals.append((name, group))
        elif not self.signals:
            self.forget()

    def restore(self, pid: int, signals: list[list[Any]], now: float) -> None:
        """Restore the signals that the supervise before could not send."""
        if pid and signals:
            self.pid, self.at = pid, now
            self.signals = [(name, group) for name, group in signals if name in NUMBERS]

    def drop(self, name: str) -> bool:
        """Cancel a signal; whether it was still to be sent."""
        left = [one for one in self.signals if one[0] != name]
        dropped = len(left) < len(self.signals)
        self.signals = left
        if not left:
            self.forget()
        return dropped

    def forget(self) -> None:
        """Cancel all signals."""
        self.signals, self.pid, self.at, self._pause = [], 0, None, _SHORTEST

    def retry(self, process: Process | None, now: float) -> None:
        """Send the signals again, when `at` is past."""
        if process is None or process.pid != self.pid:
            self.forget()
            return
        left = []
        for name, group in self.signals:
            problem = process.send(name, group)
            if problem and group and process.alive():
                problem = process.send(name, False)  # rule 3
            if problem:
                left.append((name, group))
            else:
                self._log.add(NOTICE, "%s sent to pid %d, at last", name, process.pid)
        self.signals = left
        if not left:
            self.forget()
            return
        self._pause = min(self._pause * 2, LONGEST)
        self.at = now + self._pause


def _pointless(earlier: tuple[str, bool], later: str, group: bool) -> bool:
    name, to_group = earlier
    covered = group or not to_group
    return (covered and later in (name, "KILL")) or _OPPOSITE.get(name) == later
