"""Telling a systemd above `svall run` how far everything is (sd_notify(3)).

Rule 1.  READY=1 when all that is to start has been tried, STOPPING=1 when all is taken down, RELOADING=1 at HUP, until
         READY=1 says that what followed from it is done.  STATUS= whenever it changes.
Rule 2.  Where the unit has a watchdog, the loop says twice in its time that it goes round.  Nothing else does: a loop
         that hangs is to be noticed.
Rule 3.  Nothing here waits, or fails (supervisor/systemd.py).
"""

from __future__ import annotations

import os

from supervise.fleet.job import UP
from supervise.fleet.task import PROGRAM
from supervise.protocol.text import say, shown_name
from supervise.supervisor.systemd import READY, STOPPING, Systemd, reloading, status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from supervise.fleet.plan import Plan

_NAMED = 3  # of those that are waited for
_AGAIN = 1.0  # seconds to the next try to send what there was no room for
_ALIVE = "WATCHDOG=1"


class Telling:
    """What systemd is told; nothing, where it does not ask."""

    def __init__(self, env: dict[bytes, bytes]) -> None:
        """`env`: the environment, which stays as it is."""
        self._interval = _interval(env)
        self._systemd = Systemd(dict(env))
        self._said = ""
        self._unsent_at = self._alive_at = 0.0  # monotonic: when it was sent last

    @property
    def due(self) -> float | None:
        """When to `tell`, whatever happens, monotonic."""
        if not self._systemd:
            return None
        times = [self._alive_at + self._interval] if self._interval else []
        if self._systemd.unsent:
            times.append(self._unsent_at + _AGAIN)
        return min(times, default=None)

    def reloads(self) -> None:
        """Tell of a HUP; what `tell` tells next says that it is over."""
        if self._systemd:
            self._said = ""
            self._send(reloading())

    def tell(self, plan: Plan, wanted: Collection[str], now: float) -> None:
        """Tell what is new; `wanted`: the names of what is to be up."""
        if not self._systemd:
            return
        said = "\n".join(_state(plan, wanted))
        lines = [said] if said != self._said else []
        self._said = said
        if self._interval and now >= self._alive_at + self._interval:
            self._alive_at = now
            lines.append(_ALIVE)
        if lines or (self._systemd.unsent and now >= self._unsent_at + _AGAIN):
            self._unsent_at = now
            self._send("\n".join(lines))

    def _send(self, text: str) -> None:
        problem = self._systemd.send(text)
        if problem:
            say(PROGRAM, "warning", problem)


def _state(plan: Plan, wanted: Collection[str]) -> list[str]:
    if plan.ending:
        return [STOPPING, status("stopping")]
    up = sum(plan.knows(name) and plan.state(name)[1] == UP for name in wanted)
    _, _, under_way = plan.progress
    waiting = ", ".join(map(shown_name, under_way[:_NAMED]))
    more = f" and {len(under_way) - _NAMED} more" if len(under_way) > _NAMED else ""
    text = f"{up} of {len(wanted)} up{', waiting for ' if waiting else ''}{waiting}{more}"
    return [status(text), READY] if plan.finished else [status(text)]


def _interval(env: dict[bytes, bytes]) -> float:
    """How many seconds to let pass from one sign of life to the next; 0: none is asked for, from this process."""
    try:
        seconds = int(env.get(b"WATCHDOG_USEC", b"0")) / 1e6
        whose = int(env.get(b"WATCHDOG_PID", b"%d" % os.getpid()))
    except ValueError:
        return 0.0
    return seconds / 2 if seconds > 0 and whose == os.getpid() else 0.0
