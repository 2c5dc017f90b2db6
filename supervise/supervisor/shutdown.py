"""Shutdown of a supervise with which others end: in a container, under systemd, as process 1.

Alarms on their way are waited for.  Then process 1 tells whatever is left to end, for the kernel kills all others when
it does: what is left of the service, whatever `killasgroup` says, and what anybody else has started in the container.
It gets TERM, and `stopwaitsecs` for it (10 where that is 0), then KILL.

Nothing else is done meanwhile but reaping: the machine has ended, and no letter and no signal starts anything again, or
hurries the end.  What is written to the FIFO is read away, so that nobody waits for it.
"""

from __future__ import annotations

import posix as os
import select
import time

from supervise.protocol.severities import NOTICE
from supervise.runtime.polling import Poll, pause
from supervise.system.descendants import shown
from supervise.system.procfs import everybody, proc_is_ours
from supervise.system.spawn import reap, send

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

    from supervise.alarms.alarm import Alarms
    from supervise.runtime.event_log import Log
    from supervise.runtime.wakeup import Wakeup

_ALARM_LIMIT = 35.0  # seconds that the alarms on their way may take: a little more than their helper has
_EVERYBODY = -1  # kill(2): whom process 1 may signal in its PID namespace, itself aside
_PATIENCE = 10.0  # seconds, where `stopwaitsecs` is 0
_LOOK = 0.2  # seconds: those who came in from outside are not our children, and nobody tells of their end


def await_alarms(alarms: Alarms | None, wakeup: Wakeup, reap_children: Callable[[], None], log: Log) -> None:
    """Wait until the alarm helpers have ended.  A signal ends the wait."""
    log.flush()
    end = time.monotonic() + _ALARM_LIMIT
    wake = Poll(log)
    wake.register(wakeup.fd, select.POLLIN)
    wakeup.names.clear()
    while alarms and alarms.pids and not wakeup.names and time.monotonic() < end:
        wake.poll(max(end - time.monotonic(), 0) * 1000)
        reap_children()


def end_all_processes(wake: int, control: int, stopwaitsecs: int, log: Log) -> None:
    """End all other processes, as process 1.  `wake` is readable after SIGCHLD, `control` when there are letters."""
    if not _anybody():
        return
    log.add(NOTICE, "sending TERM to all that is left%s", _who())
    log.flush()
    for name in ("TERM", "CONT"):
        send(_EVERYBODY, name, False)
    end = time.monotonic() + (stopwaitsecs or _PATIENCE)
    poll = Poll(log)
    for fd in (wake, control):
        poll.register(fd, select.POLLIN)
    late = False
    while _anybody():
        if late:
            log.add(NOTICE, "sending KILL to all that is left%s", _who())
            send(_EVERYBODY, "KILL", False)
            return
        late = time.monotonic() >= end
        try:
            for fd, events in poll.poll(0 if late else _LOOK * 1000):
                if events:
                    os.read(fd, 4096)
        except OSError:
            pause(_LOOK)


def _anybody() -> bool:
    while reap():
        pass
    try:
        os.kill(_EVERYBODY, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # another user's
    return True


def _who() -> str:
    """Their names, where they can be seen."""
    own = os.getpid()
    try:
        found = [stat.pid for stat in everybody() if stat.pid != own] if proc_is_ours() else []
    except OSError:
        found = []
    return f": {shown(found)}" if found else ""
