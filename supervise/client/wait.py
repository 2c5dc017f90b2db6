"""Waiting for conditions on services: watch them (watcher.py), then look at each change.

Rule 1.  Each directory is looked at after it is watched, so that no change is missed; before that only to see whether
         there is anything to wait for.
Rule 2.  Nothing is looked at because time has passed, but for a condition that may come true by that (Lasting).
"""

from __future__ import annotations

import time

from supervise.client.conditions import CONDITIONS, Lasting, ready, stayed_up, unsupervised
from supervise.client.errors import CannotComeTrue, ClientError, DamagedRecord, NotAStatusDir, SystemRefused
from supervise.client.status import DamagedState, Status, TimeLimit
from supervise.client.watcher import Watcher, with_more_descriptors
from supervise.protocol.record import UP, Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Callable

    from supervise.client.conditions import Condition, ConditionName
    from supervise.client.service import Service

    Progress = Callable[[list[Service], float | None], None]

_TICK = 1.0  # seconds between two reports of progress


def wait(service: Service, condition: ConditionName | Condition, seconds: float | None) -> Status:
    """Wait for a condition on one service, as Service.wait says."""
    if isinstance(condition, str):
        if condition not in CONDITIONS:
            raise ValueError(f"cannot wait for {condition!r}, only for {', '.join(CONDITIONS)}")
        condition = CONDITIONS[condition]
    elif not callable(condition):
        raise TypeError(f"cannot wait for {condition!r}, only for {', '.join(CONDITIONS)}, or a function")
    check_seconds(seconds)
    for _, outcome in outcomes({service: (look(service, condition), condition)}, seconds):
        if isinstance(outcome, ClientError):
            raise outcome
        return outcome
    raise AssertionError("one service has one outcome")


def check_seconds(seconds: float | None) -> None:
    """Raises TypeError, ValueError: that is no time limit.  To be found before anything is commanded."""
    from math import isnan

    if seconds is not None and isnan(seconds):
        raise ValueError("a time limit is a number of seconds, not nan")


def look(service: Service, condition: Condition | None) -> Status:
    """Read the status, as far as a condition needs it.  Raises what Service.status does.

    Where the state is damaged, by the record alone, which cannot tell whether a service is ready; where there is no
    record yet, as if it said that nothing runs.
    """
    try:
        return service.status()
    except DamagedState as why:
        if condition in (ready, stayed_up):
            raise
        return why.status
    except DamagedRecord as why:
        if why.missing or condition is unsupervised:
            return Status(service.supervised(), Record(0, False, UP, True, 0), None)
        raise


def outcomes(
    pending: dict[Service, tuple[Status, Condition]], seconds: float | None, progress: Progress | None = None
) -> Iterator[tuple[Service, Status | ClientError]]:
    """Each service as soon as its condition is true or can't be any more; the rest when the time is over.

    `pending` holds for each service its status before, and its condition.  `progress` is told every second what is
    still waited for, and how many seconds are left.  Raises SystemRefused, NoPermission: it cannot be watched.
    """
    end = None if seconds is None else time.monotonic() + seconds
    pending = dict(pending)
    last: dict[Service, Status] = {}
    # What is so already needs no watches, and not the time that it takes to load what they need.
    yield from _settled(pending, set(pending), last)
    if not pending:
        return
    with Watcher() as watcher:
        for service in list(pending):
            try:
                watcher.add(service)
            except NotAStatusDir as why:
                del pending[service]
                yield service, why
        changed = set(pending)
        while True:
            yield from _settled(pending, changed, last, watcher)
            left = None if end is None else end - time.monotonic()
            if not pending or (left is not None and left <= 0):
                break
            due = dict(_due(pending, last))
            waits = [seconds for seconds in (left, *due.values()) if seconds is not None]
            if progress:
                progress(list(pending), left)
                waits.append(_TICK)
            begun = time.monotonic()
            changed = watcher.wait(min(waits, default=None))[0]
            passed = time.monotonic() - begun
            changed |= {service for service, seconds in due.items() if seconds <= passed}
    for service in pending:
        message = f"cannot wait longer for {service.shown_path}: not so within {seconds:g} seconds"
        yield service, TimeLimit(message, last.get(service))


def _due(
    pending: dict[Service, tuple[Status, Condition]], last: dict[Service, Status]
) -> Iterator[tuple[Service, float]]:
    """Those that are to be looked at although nothing may have changed, and in how many seconds."""
    for service, (before, condition) in pending.items():
        if isinstance(condition, Lasting) and service in last:
            seconds = condition.seconds(before, last[service])
            if seconds is not None:
                yield service, seconds


def _settled(
    pending: dict[Service, tuple[Status, Condition]],
    changed: set[Service],
    last: dict[Service, Status],
    watcher: Watcher | None = None,
) -> Iterator[tuple[Service, Status | ClientError]]:
    """Look at those that have changed; take what is settled out of `pending`."""
    for service in [service for service in pending if service in changed]:
        outcome = _judge(service, *pending[service], last)
        if isinstance(outcome, SystemRefused) and watcher:
            watcher.do_without()  # it may have the descriptors that are missing
            outcome = _judge(service, *pending[service], last)
        if outcome is not None:
            del pending[service]
            yield service, outcome


def _judge(
    service: Service, before: Status, condition: Condition, last: dict[Service, Status]
) -> Status | ClientError | None:
    """How the service is, if the condition is true now; an exception if it can't be any more; else None."""
    try:
        now = last[service] = with_more_descriptors(lambda: look(service, condition))
    except NotAStatusDir as why:
        return before if condition is unsupervised else why  # it was removed
    except ClientError as why:
        return why
    if condition(before, now):
        return now
    if isinstance(condition, Lasting) and condition.failed(before, now):
        from supervise.client.last_words import did_not_stay_up

        return did_not_stay_up(service, now)
    if now.supervised or condition is unsupervised:
        return None
    why_not = "supervise has given up" if now.gave_up else "supervise not running"
    return CannotComeTrue(f"cannot wait for {service.shown_path}", why_not)
