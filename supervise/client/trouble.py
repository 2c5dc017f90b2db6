"""Is something amiss with a service?  What svstat --failed lists, what is red, and what comes first by trouble.

Rule 1.  A service that is wanted up and does not run is failing, unless it is being started or restarted as asked.
         So is one that supervise has given up, and one that has ended by itself as none should, be it in a run that was
         not to be followed by another (once).
Rule 2.  One that runs is failing if it does not work: it is being ended, its checks fail or cannot be made, it is
         stopped by a signal, no supervise looks after it, it has ended again and again within seconds of its start, or
         a logger that is to read what it prints does not run.
Rule 3.  What somebody has asked for is no failure: paused, down, alarms off.  Nor is a start that still has its time.
Rule 4.  What cannot be read is failing, for nobody knows.
"""

from __future__ import annotations

from supervise.protocol.record import DOWN, ONCE, UP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from supervise.client.status import LastExit, Status

_IN_A_ROW = 2  # so many quick exits, and a start within the last
_STEADY = 10.0  # seconds has to last before it is believed
_RUN = ("idle", "cleanup")  # what supervise is about when a run has ended that no other follows

FAILING, PENDING, WELL, RESTING = range(4)  # by trouble, the worst first


def ending(status: Status) -> str:
    """A word for how a service came to its end that is not restarted."""
    last = status.last_exit
    if last is None or last.code is None or last.fault:
        return "failed"
    return "ended" if last.code else "finished"


def run_failed(status: Status) -> bool:
    """Whether a service that was to run once has done so, and badly; one whose end was asked for has not.

    Without a supervise there may be a run whose end nobody has seen: that has failed, too.
    """
    last = status.last_exit
    if status.want != ONCE or (status.supervised and status.machine not in _RUN):
        return False
    if status.pid:
        return not status.supervised
    return bool(last and not last.planned and badly(last))


def badly(last: LastExit) -> bool:
    """Whether that is how no service should end that nobody has told to."""
    return last.code is None or bool(last.fault) or (last.code != 0 and not last.expected)


def unsteady(status: Status) -> bool:
    """Whether a service runs that has ended again and again within seconds of its start."""
    again = (status.quick_exits or 0) >= _IN_A_ROW
    return again and status.machine == "running" and status.pid != 0 and status.seconds < _STEADY


def sick(status: Status) -> bool:
    """Whether the checks of a service that runs say that it is not well, or nobody can say."""
    health = status.health
    return bool(health and (health.problem or (health.failures and not health.starting)))


def unlogged(status: Status) -> bool:
    """Whether a logger of a service is to run, and does not: what the service prints is kept until the pipe is full."""
    return any(logger.failure for logger in status.loggers)


def starts(status: Status) -> bool:
    """Whether the checks of a service that runs fail, and it still has time to start."""
    health = status.health
    return bool(health and health.failures and health.starting and not health.problem)


def failing(status: Status | None) -> bool:
    """Whether something is amiss that nobody has asked for; None: it cannot be read."""
    if status is None:
        return True
    if not status.supervised:
        return bool(status.gave_up) or status.want == UP or status.outlived or run_failed(status)
    if status.pid:
        if status.machine == "aborting" or status.stopped or unsteady(status):
            return True
        return (sick(status) or unlogged(status)) and not status.paused and status.want != DOWN
    last = status.last_exit
    if status.finished:
        return last is not None and badly(last)
    if run_failed(status):
        return True
    return status.want == UP and status.machine != "succession" and not (last and last.planned)


def rank(status: Status | None) -> int:
    """FAILING, PENDING (neither as it is wanted nor failing), WELL or RESTING (down, as it is wanted)."""
    if status is None or failing(status):
        return FAILING
    if status.supervised and status.pid:
        wanted = status.want == UP and not status.paused and status.alarms
        works = status.phase in (None, "ready") and status.machine in (None, "running") and not starts(status)
        return WELL if wanted and works else PENDING
    return RESTING if status.want == DOWN or status.finished else PENDING


def summary(found: Iterable[Status | None]) -> str:
    """How many are how: `49 up, 1 failing`."""
    counts = dict.fromkeys(("up", "failing", "paused", "down"), 0)
    for status in found:
        if status is None or failing(status):
            counts["failing"] += 1
        elif status.supervised and status.pid:
            counts["paused" if status.paused else "up"] += 1
        else:
            counts["down"] += 1
    said = [f"{count} {word}" for word, count in counts.items() if count]
    return ", ".join(said) or "no services"
