"""The state machine of one service: its state, and the methods that the answers in the table share.

What lives here: the machine and its rules.  What it knows is in situation.py, what answers which event in which state
in table.py, and the names are in states.py.  What does not: processes, files, clocks, chance.  Events come in, with the
monotonic time in seconds; actions go out, as a list that the loop carries out in order.  Three results of actions come
back as events: of START (`started`, `failed`), of SCRIPT (`script_done`) and of KILL_LEFTOVERS (`cleared`).

Theory of operation
-------------------

Rule 1.  There is one service process or none: START is only asked for in a state without one, and leads to
         SPAWNING, in which it is not asked for again.
Rule 2.  `want` says what is to become of the service: up, down, or once (run, but do not restart).  Letters
         change it in every state; what follows from it is decided where a process ends.
Rule 3.  Two starts are at least MIN_DELAY seconds apart, and after exits that nobody asked for as far as policy.py
         says.  A start that would be earlier waits in DELAY for its `deadline`.
Rule 4.  An exit in STOPPING, or after `x`, was asked for: planned.  One with an expected exit code is no reason
         for anything.  Every other is counted and may raise an alarm or be the last (policy.py), unless alarms are off.
Rule 5.  A start that fails is an exit like any other.
Rule 6.  After an exit that is to be followed by a restart, START comes before anything else in the list: the
         next process first, then the log and the alarm.  The record needs no action: it is `visible`, which
         the loop compares with what it last wrote.
Rule 7.  ENDED is final.  A supervise that has given up never starts anything again.
Rule 8.  There is one `deadline`; what it is for, the state says, and in RUNNING the phase: to be ready, to give a sign
         of life, to end.  The loop says `timer` when it is past.
Rule 9.  A service that hangs, or does not get ready, is told to end in ABORTING, for which it has a limited time.  That
         exit is not planned, and bears the fault.
"""

from __future__ import annotations

from supervise.machine import table
from supervise.machine.situation import Situation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from supervise.machine.situation import Action


class Machine(Situation):
    """The machine of one supervise.  `handle` is the only way to change it."""

    __slots__ = ()

    @property
    def eager_from(self) -> float | None:
        """The time from which on any exit of the service is answered with START first of all; None: it depends.

        So the loop need not ask: it may start the successor before it knows how the service ended.  None: it
        depends on the exit, or the answer is another.
        """
        return table.eager_from(self)

    @property
    def passes_signals(self) -> bool:
        """Whether a signal letter is answered with that signal first of all; as with `eager_from`."""
        return table.passes_signals(self)

    @property
    def healthy(self) -> bool:
        """Whether health checks are to run."""
        return table.healthy(self)

    def handle(self, event: str, now: float, value: Any = None) -> list[Action]:
        """Answer one event.  `value` is as the event says, for letters as letters.py says; `now` is monotonic."""
        return table.handle(self, event, now, value)
