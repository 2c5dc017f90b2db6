"""One line for one service, as daemontools' svstat begins it, and what supervise knows beyond that.

What lives here: the wording.  What does not: reading, the table (table.py).

    up (pid 4711) 86400 seconds, 3 restarts, last exit 2026-01-31 23:59:59: was killed by signal 9 (KILL)
    up (pid 4711) 12 seconds, starting, 0 restarts, says "loading the index, 40%"
    up (pid 4711) 99 seconds, check failing for 40 seconds (2 of 3): exited with status 1, 0 restarts, check says "sick"
    down 12 seconds, normally up, want up, next start in 4 seconds, 3 restarts
    supervise not running

Scripts parse the beginning: nothing in it may change.  What the service says of itself, or its check of it, stands last
and in quotes, so that it cannot be taken for something that supervise says.
"""

from __future__ import annotations

import math
import time

from supervise.client.trouble import ending, run_failed, unsteady
from supervise.protocol.record import DOWN, UP
from supervise.protocol.text import one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from supervise.client import Status
    from supervise.client.status import LoggerStatus

_SAYS_AT_MOST = 80  # characters
PHASES = ("starting", "ready", "reloading", "stopping")  # another is a newer version's


def beginning(status: Status) -> str:
    """What daemontools would say, and how far the service is."""
    how_far = stage(status)
    return f"{_daemontools(status)}, {how_far}" if how_far else _daemontools(status)


def _daemontools(status: Status) -> str:
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


def stage(status: Status) -> str:
    """How far the service is, where that is more than up or down; else nothing."""
    machine, phase, next_start = status.machine, status.phase, status.next_start_seconds
    if status.finished or (run_failed(status) and machine == "idle"):
        return f"{ending(status)}, not restarted"
    if next_start is not None:
        return f"next start in {_whole(next_start)}"
    if machine == "aborting":
        return f"being ended: {one_line(status.fault)}" if status.fault else "being ended"
    if machine == "cleanup":
        return "what is left of it is being ended"
    if machine == "succession":
        return "its next main process is awaited"
    if machine == "stopping":
        return "stopping" if status.want != DOWN or phase else ""  # `want down` says as much
    said: list[str] = [phase] if phase in PHASES else []
    if status.stopped:
        said.append("stopped by a signal")
    elif unsteady(status):
        said.append("unsteady")
    return ", ".join(said)


def health(status: Status) -> str:
    """That the checks of a service that runs fail, or cannot be made; else nothing."""
    found = status.health
    if not found or status.machine == "aborting":  # that says why
        return ""
    if found.problem:
        return f"not checked: {one_line(found.problem)}"
    if not found.failures:
        return ""
    count = "while it starts" if found.starting else f"{found.failures} of {found.limit}"
    since = int(found.seconds or 0)
    seconds = f"{since} second" if since == 1 else f"{since} seconds"
    return f"check failing for {seconds} ({count}): {one_line(found.failure or '')}"


def unread(logger: LoggerStatus) -> str:
    """That a logger does not run, and what waits for it."""
    waiting = f"{logger.waiting:,} byte" if logger.waiting == 1 else f"{logger.waiting:,} bytes"
    return f"logger of {logger.stream} down: {one_line(logger.failure or '')} ({waiting} waiting)"


def _whole(seconds: float) -> str:
    """Not less than it is: what is due in `0 seconds` is due."""
    count = math.ceil(seconds)
    return f"{count} second" if count == 1 else f"{count} seconds"


def _quoted(text: str) -> str:
    """What a service says, as a terminal can bear it, in quotes that end where they seem to."""
    text = one_line(text[: _SAYS_AT_MOST + 1].replace("\\", "\\\\").replace('"', '\\"'))
    return f'"{text}"' if len(text) <= _SAYS_AT_MOST else f'"{text[: _SAYS_AT_MOST - 3]}..."'


def line(status: Status) -> str:
    """The whole line."""
    parts = [beginning(status)]
    unwell = health(status)
    if unwell:
        parts.append(unwell)
    parts += [unread(logger) for logger in status.loggers if logger.failure]
    if not status.supervised and status.gave_up:
        parts.append("gave up")
    if status.outlived:
        parts.append(f"the service runs on (pid {status.pid})")
    restarts, last = status.restarts, status.last_exit
    if restarts is not None:
        parts.append(f"{restarts} restart" if restarts == 1 else f"{restarts} restarts")
    if status.hangs:
        parts.append(f"{status.hangs} hang" if status.hangs == 1 else f"{status.hangs} hangs")
    if last:
        parts.append(f"last exit {stamp(last.time)}: {one_line(str(last))}")
    if not status.alarms:
        parts.append("alarms off")
    if status.health and status.health.failures and status.health.output:
        parts.append(f"check says {_quoted(status.health.output)}")
    if status.status_text:
        parts.append(f"says {_quoted(status.status_text)}")
    return ", ".join(parts)


def stamp(unix_seconds: float) -> str:
    """Local time as the logs have it; as a number where the calendar has no such day."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(unix_seconds))
    except (OverflowError, ValueError, OSError):
        return f"{unix_seconds:.0f}"
