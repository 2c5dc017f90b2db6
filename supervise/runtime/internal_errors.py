"""Internal errors: exceptions that nothing else handles, from a bug, no memory or an unforeseen errno.

Theory of operation
-------------------

Rule 1.  No such error ends supervise: the service is worth more than our pride.
Rule 2.  What was going on may be half done.  So after an error the loop puts everything in order from what is true:
         which processes there are, which descriptors are open, what the two files say (`Supervisor._recover`).
Rule 3.  An error that comes again must neither take the processor nor fill the log: from one to the next there is a
         pause, which doubles while they follow each other.  The log bounds itself (event_log.py).
Rule 4.  An action that failed is tried again after that, TRIES times; more than a fault that passes would need.
"""

from __future__ import annotations

import time

from supervise.protocol.severities import FATAL
from supervise.protocol.text import origin
from supervise.runtime.polling import pause

TYPE_CHECKING = False
if TYPE_CHECKING:
    from supervise.machine.situation import Action
    from supervise.runtime.event_log import Log

TRIES = 12
_SHORTEST, _LONGEST = 0.01, 1.0  # seconds
_CALM = 2.0  # seconds without an error, after which the next is not one of a row


class InternalErrors:
    """The internal errors of one supervise.  `fresh`: there was one, and the loop has not recovered since."""

    __slots__ = ("fresh", "_log", "_pause", "_last", "_undone", "_tries")

    def __init__(self, log: Log) -> None:
        self.fresh = False
        self._log = log
        self._pause = 0.0
        self._last = 0.0  # monotonic
        self._undone: list[Action] = []
        self._tries = 0

    def note(self, why: BaseException) -> None:
        """Log an error.  Never raises."""
        self.fresh = True
        try:
            self._log.add(FATAL, "internal error, going on: %s", origin(why))
        except Exception:
            pass  # no memory for a line: rule 1

    def redo(self, action: Action) -> None:
        """Queue an action that failed, to be tried again."""
        self._undone.append(action)

    def rest(self) -> None:
        """Pause, longer after each error in a row (rule 3)."""
        self.fresh = False
        now = time.monotonic()
        row = now - self._last < _CALM
        self._pause = min(self._pause * 2, _LONGEST) if row else _SHORTEST
        if not row:
            self._tries = 0
        pause(self._pause)
        self._last = time.monotonic()

    def undone(self) -> list[Action]:
        """Take the actions that are to be tried again (rule 4)."""
        actions, self._undone = self._undone, []
        self._tries += 1
        return [] if self.lasting else actions

    @property
    def tries_again(self) -> bool:
        """Whether an action is queued."""
        return bool(self._undone)

    @property
    def lasting(self) -> bool:
        """Whether an action has failed so often that the fault is not transient."""
        return self._tries > TRIES
