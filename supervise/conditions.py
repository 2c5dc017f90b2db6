"""What can be waited for: conditions on how a service was before, and how it is now.

What lives here: the conditions.  What does not: waiting (waiting.py), commands (verbs.py).
A condition is a function of two Status; all but `unsupervised` need a supervise to come true.
"""

from __future__ import annotations

from supervise.record import DOWN, ONCE, UP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

    from supervise.client import Status

    Condition = Callable[[Status, Status], bool]


def up(before: Status, now: Status) -> bool:
    """The service runs."""
    return now.supervised and now.pid != 0


def down(before: Status, now: Status) -> bool:
    """The service does not run, be it only until it is started again."""
    return now.pid == 0


def restarted(before: Status, now: Status) -> bool:
    """The service was started after the first look."""
    return now.supervised and started_since(before, now)


def unsupervised(before: Status, now: Status) -> bool:
    """No supervise runs; whether the service does is another question."""
    return not now.supervised


def started_since(before: Status, now: Status) -> bool:
    """Whether there was a start, as the record or the totals of the state tell; it may have ended again."""
    if now.pid not in (0, before.pid):
        return True
    if now.state is None or before.state is None:
        # The C implementation.  Others write a new time for the same process as well, when they take it over.
        return now.pid != 0 and now.changed != before.changed
    return bool(now.state["totals"]["starts"] > before.state["totals"]["starts"])


# What the verbs of svc wait for.


def kept_up(before: Status, now: Status) -> bool:
    """The service runs and is to go on; not one that was told to stop and has not ended yet."""
    settled = now.state is None or now.state["machine"] == "running"
    return up(before, now) and now.want == UP and settled


def kept_down(before: Status, now: Status) -> bool:
    """The service does not run and will not by itself."""
    return now.pid == 0 and (now.want == DOWN or not now.supervised)


def run_once(before: Status, now: Status) -> bool:
    """The service runs, or has run, and is not to be restarted."""
    return now.want == ONCE and (now.pid != 0 or started_since(before, now))


def ended(before: Status, now: Status) -> bool:
    """The process that ran before does not any more."""
    return now.pid != before.pid or started_since(before, now)


def paused(before: Status, now: Status) -> bool:
    """The service is stopped by a pause."""
    return now.paused


def not_paused(before: Status, now: Status) -> bool:
    """The service is not paused."""
    return not now.paused


def alarms_on(before: Status, now: Status) -> bool:
    """Exits raise alarms."""
    return now.alarms


def alarms_off(before: Status, now: Status) -> bool:
    """Exits raise no alarms."""
    return not now.alarms


def upgraded(before: Status, now: Status) -> bool:
    """The supervise was replaced by the installed version, or has refused to be."""
    if now.state is None or before.state is None:
        return False  # the C implementation has no such command
    return any(now.state[name] > before.state[name] for name in ("upgrades", "upgrades_refused"))


CONDITIONS: dict[str, Condition] = {"up": up, "down": down, "restarted": restarted, "unsupervised": unsupervised}
