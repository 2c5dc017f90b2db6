"""Starts that somebody else is making at the same time: another svall, most likely, for the same file.

Rule 1.  Who holds the lock of a status directory and is not to be reached yet is starting a supervise there.  That is
         waited for, as long as a start may take: it is as good as one of our own, if it is for the same file.
Rule 2.  A supervise that can be reached and has not said yet what it is, is one of these.
Rule 3.  If it comes to nothing, the service is started from here after all.
"""

from __future__ import annotations

import os

from supervise.fleet.dues import Dues
from supervise.protocol.names import STATUS
from supervise.system.procfs import pid_namespace, stat_of

_PAUSE = 0.1  # seconds; nobody is told when a lock is let go of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

    from supervise.client.status import Status


def is_coming(status: Status, path: str) -> bool:
    """Whether a supervise is still being started, and its status that of one before it, or of nobody."""
    if not status.supervised:
        return False
    state = status.state
    if state is None:
        return not os.path.lexists(f"{path}/{STATUS}")  # the C implementation has a record at once, and never a state
    return state["pid_namespace"] == pid_namespace() and not stat_of(state["supervise_pid"]).running


class Rivals(Dues):
    """The services that somebody else is starting."""

    def __init__(self, locked: Callable[[str], bool]) -> None:
        """`locked`: whether somebody holds the lock of one."""
        super().__init__()
        self._locked = locked

    def met(self, name: str, now: float) -> None:
        """Somebody has held the lock when this one was to be started: wait for him."""
        self.put(name, now + _PAUSE)

    def still(self, name: str, now: float) -> bool:
        """Whether somebody holds the lock still, and is waited for again."""
        if not self._locked(name):
            return False
        self.met(name, now)
        return True
