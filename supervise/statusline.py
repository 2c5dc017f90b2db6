"""One line for one service, as daemontools' svstat begins it, and what supervise knows beyond that.

What lives here: the wording.  What does not: reading, the table (svtable.py).

    up (pid 4711) 86400 seconds, 3 restarts, last exit 2026-01-31 23:59:59: was killed by signal 9 (KILL)
    down 12 seconds, normally up, want up
    supervise not running

Scripts parse the beginning: nothing in it may change.  What follows it only grows at the end.
"""

from __future__ import annotations

import time

from supervise.record import DOWN, UP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from supervise.client import Status


def beginning(status: Status) -> str:
    """What daemontools would say."""
    if not status.supervised:
        return "supervise not running"
    text = f"up (pid {status.pid})" if status.pid else "down"
    text += f" {int(status.seconds)} seconds"
    if not status.pid:
        text += ", normally up"
    elif status.paused:
        text += ", paused"
    if not status.pid and status.want == UP:
        text += ", want up"
    if status.pid and status.want == DOWN:
        text += ", want down"
    return text


def line(status: Status) -> str:
    """The whole line."""
    parts = [beginning(status)]
    if not status.supervised and status.gave_up:
        parts.append("gave up")
    if status.outlived:
        parts.append(f"the service runs on (pid {status.pid})")
    restarts, last = status.restarts, status.last_exit
    if restarts is not None:
        parts.append(f"{restarts} restart" if restarts == 1 else f"{restarts} restarts")
    if last:
        parts.append(f"last exit {stamp(last.time)}: {last}")
    if not status.alarms:
        parts.append("alarms off")
    return ", ".join(parts)


def stamp(unix_seconds: float) -> str:
    """Local time as the logs have it; as a number where the calendar has no such day."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(unix_seconds))
    except (OverflowError, ValueError, OSError):
        return f"{unix_seconds:.0f}"
