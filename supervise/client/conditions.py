"""Conditions to wait for: predicates on the status of a service before and now.

What lives here: the conditions.  What does not: waiting (wait.py), commands (verbs.py).
A condition is a function of two Status; all but `unsupervised` need a supervise to come true.
"""

from __future__ import annotations

from supervise.protocol.record import DOWN, ONCE, UP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Literal

    from supervise.client.status import Status

    Condition = Callable[[Status, Status], bool]
    ConditionName = Literal["up", "ready", "down", "restarted", "unsupervised"]


def up(before: Status, now: Status) -> bool:
    """The service runs."""
    return now.supervised and now.pid != 0


def ready(before: Status, now: Status) -> bool:
    """The service runs, and has said that it is ready if it says such things."""
    return now.ready


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
    """Whether there was a start; it may have ended again."""
    if now.state is None or before.state is None:
        # The C implementation.  Others write a new time for the same process as well, when they take it over.
        return now.pid != 0 and (now.pid != before.pid or now.changed != before.changed)
    # Not the pid: another process of the same start may have become the main one.
    return bool(now.state["totals"]["starts"] != before.state["totals"]["starts"])


# What the verbs of svc wait for.


def kept_up(before: Status, now: Status) -> bool:
    """The service is ready and is to go on, or has ended since and is not restarted.

    Not one that was told to stop and has not ended yet.
    """
    return (now.ready and now.want == UP) or finished_since(before, now)


def back_up(before: Status, now: Status) -> bool:
    """The service was started after the first look and is ready, or has ended since and is not restarted."""
    return (now.ready and started_since(before, now)) or finished_since(before, now)


def finished_since(before: Status, now: Status) -> bool:
    """The service has ended after the first look, if it could be started at all, and is not restarted."""
    if now.state is None or before.state is None:
        return False
    return now.finished and bool(now.state["totals"]["exits"] != before.state["totals"]["exits"])


def kept_down(before: Status, now: Status) -> bool:
    """The service does not run and will not by itself, and what is left of it is not being ended any more."""
    if now.pid:
        return False
    settled = now.state is None or (now.current and now.machine not in ("cleanup", "succession"))
    return not now.supervised or (now.want == DOWN and settled)


def run_once(before: Status, now: Status) -> bool:
    """The service runs and does not say that it is starting yet, or has run; and it is not to be restarted."""
    if now.pid == 0:
        return now.want == ONCE and started_since(before, now)
    return now.want == ONCE and (now.state is None or (now.current and now.phase != "starting"))


def ended(before: Status, now: Status) -> bool:
    """The process that ran before does not any more; and it is known what follows."""
    return (now.pid != before.pid or started_since(before, now)) and (now.state is None or now.current)


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


class Obeyed:
    """The condition that letters were obeyed, and then the condition `then`, if there is one.

    supervise counts what it has obeyed (state.py, `control_obeyed`).  The C implementation does not, nor do older
    releases: there `then` is all that can be waited for, and without it, that the letters were sent.
    """

    __slots__ = ("_length", "_then", "known")

    def __init__(self, length: int, then: Condition | None) -> None:
        """`length`: what Service.send has returned, called after the first look."""
        self._length = length
        self._then = then
        self.known = False  # they were obeyed, and not only sent

    def __call__(self, before: Status, now: Status) -> bool:
        had, has = _count(before), _count(now)
        if had is not None and has is not None:
            self.known = has >= had + self._length
            # Another supervise may not know of them: what was in the FIFO goes with the last that reads it.
            if not self.known and (self._then is None or now.supervise_pid == before.supervise_pid):
                return False
        return self._then is None or self._then(before, now)


def _count(status: Status) -> int | None:
    count: int | None = status.state["control_obeyed"] if status.state else None
    return count


CONDITIONS: dict[ConditionName, Condition] = {
    "up": up,
    "ready": ready,
    "down": down,
    "restarted": restarted,
    "unsupervised": unsupervised,
}
