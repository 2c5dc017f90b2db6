"""Conditions to wait for: predicates on the status of a service before and now.

What lives here: the conditions.  What does not: waiting (wait.py), commands (verbs.py).
A condition is a function of two Status; all but `unsupervised` need a supervise to come true.  One that is Lasting may
come true because time has passed, and fail while supervise goes on.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod

from supervise.protocol.record import DOWN, ONCE, UP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Literal

    from supervise.client.status import Status

    Condition = Callable[[Status, Status], bool]
    ConditionName = Literal["up", "ready", "down", "restarted", "unsupervised", "stayed_up"]

STARTSECS = 1  # where a supervise does not tell


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


class Lasting(ABC):
    """A condition that may come true with nothing changing, and that may fail."""

    __slots__ = ()

    @abstractmethod
    def __call__(self, before: Status, now: Status) -> bool:
        """Whether it is true."""

    def seconds(self, before: Status, now: Status) -> float | None:
        """In how many seconds it may come true with nothing changing; None: something has to change."""
        return None

    def failed(self, before: Status, now: Status) -> bool:
        """Whether the service has ended in a way that is no success, be it that it is started again."""
        return False


class StayedUp(Lasting):
    """The condition that a service has `reached` what was wanted, and has been up for its `startsecs`.

    It has failed when there was an exit since the first look after less than that, or before the service was ready; or
    one after which it is down for good.  But one that has ended as expected, and is not restarted for that, has run,
    which is as good.  `again`: the first exit of a service that was up is part of what was asked for.
    """

    __slots__ = ("_reached", "_again")

    def __init__(self, reached: Condition, again: bool = False) -> None:
        self._reached = reached
        self._again = again

    def __call__(self, before: Status, now: Status) -> bool:
        if finished_since(before, now):
            return _as_expected(before, now)
        return self._reached(before, now) and _up_for(now) >= startsecs(now)

    def seconds(self, before: Status, now: Status) -> float | None:
        return max(startsecs(now) - _up_for(now), 0.0) if self._reached(before, now) else None

    def failed(self, before: Status, now: Status) -> bool:
        if now.state is None or before.state is None:
            return False
        exits = now.state["totals"]["exits"] - before.state["totals"]["exits"] - bool(self._again and before.pid)
        if exits <= 0 or _as_expected(before, now):
            return False
        return bool(now.quick_exits or now.gave_up or finished_since(before, now))


def startsecs(now: Status) -> int:
    """How many seconds a service has to be up for, so that its start was a success."""
    found: int | None = now.state["startsecs"] if now.state else None
    return STARTSECS if found is None else found


def _up_for(now: Status) -> float:
    """Seconds since the start of a service that is up."""
    began = now.state["started_at"] if now.state else None
    found = -1.0 if began is None else time.monotonic() - began
    return now.seconds if found < 0 else found  # below 0 where /proc and the clock are another time namespace's


def _as_expected(before: Status, now: Status) -> bool:
    """Whether there was an exit since the first look that is no failure, and no reason to start again."""
    assert now.state and before.state
    return bool(now.state["totals"]["expected"] != before.state["totals"]["expected"])


# What the verbs of svc wait for.


def ready_to_go_on(before: Status, now: Status) -> bool:
    """The service is ready and is to go on: not one that was told to stop and has not ended yet."""
    return now.ready and now.want == UP


def ready_again(before: Status, now: Status) -> bool:
    """The service was started after the first look and is ready."""
    return now.ready and started_since(before, now)


kept_up = StayedUp(ready_to_go_on)
back_up = StayedUp(ready_again, again=True)
stayed_up = StayedUp(ready)


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


class RunOnce(Lasting):
    """The condition that a service runs, not to be restarted, and has for its `startsecs`; or has run."""

    __slots__ = ()

    def __call__(self, before: Status, now: Status) -> bool:
        return runs_once(before, now) and (not now.pid or _up_for(now) >= startsecs(now))

    def seconds(self, before: Status, now: Status) -> float | None:
        return max(startsecs(now) - _up_for(now), 0.0) if now.pid and runs_once(before, now) else None


def runs_once(before: Status, now: Status) -> bool:
    """The service runs and does not say that it is starting yet, or has run; and it is not to be restarted."""
    if now.pid == 0:
        if now.want != ONCE:
            return False
        if now.state is None or before.state is None:
            return started_since(before, now)
        # One that ran already has not been started again for this, and one that could not be started has exited only.
        ended = now.state["totals"]["exits"] != before.state["totals"]["exits"]
        return now.current and (ended or started_since(before, now)) and now.machine == "idle"
    return now.want == ONCE and (now.state is None or (now.current and now.phase != "starting"))


run_once = RunOnce()


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


class Obeyed(Lasting):
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

    def seconds(self, before: Status, now: Status) -> float | None:
        then = self._then
        return then.seconds(before, now) if isinstance(then, Lasting) and self._may_be(before, now) else None

    def failed(self, before: Status, now: Status) -> bool:
        then = self._then
        return isinstance(then, Lasting) and self._may_be(before, now) and then.failed(before, now)

    def _may_be(self, before: Status, now: Status) -> bool:
        """Whether the letters were obeyed, as far as that is known."""
        return self.known or _count(before) is None or _count(now) is None


def _count(status: Status) -> int | None:
    count: int | None = status.state["control_obeyed"] if status.state else None
    return count


CONDITIONS: dict[ConditionName, Condition] = {
    "up": up,
    "ready": ready,
    "down": down,
    "restarted": restarted,
    "unsupervised": unsupervised,
    "stayed_up": stayed_up,
}
