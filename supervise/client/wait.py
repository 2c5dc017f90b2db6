"""Waiting for conditions on services: set inotify watches, then look at each change.

Rule 1.  Each directory is looked at after it is watched, so that no change is missed; before that only to see whether
         there is anything to wait for.
Rule 2.  The end of a supervise, however it came, shows in the FIFO `ok`: as long as it is held open for writing, the
         kernel reports an error on it as soon as nobody reads it any more.  (When a killed process lets go of its lock
         file, it may still hold its FIFOs for a moment: a look at that time would find it alive.)
Rule 3.  Nothing is looked at because time has passed, but for a condition that may come true by that (Lasting); and
         unless there is no inotify (inotify.py).  Then it is looked at a few times a second, and no descriptor is held:
         it may be descriptors that are short.
Rule 4.  But for what this user may see and not command: he is not told that it ends, and so looks once a second.
"""

from __future__ import annotations

import os
import select
import time

from supervise.client.conditions import CONDITIONS, Lasting, ready, stayed_up, unsupervised
from supervise.client.errors import (
    CannotComeTrue,
    ClientError,
    DamagedRecord,
    NoPermission,
    NotAStatusDir,
    SystemRefused,
    refused,
)
from supervise.client.status import DamagedState, Status, TimeLimit
from supervise.protocol.names import OK
from supervise.protocol.record import UP, Record
from supervise.protocol.text import shown_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Callable, TypeVar

    from supervise.client.conditions import Condition, ConditionName
    from supervise.client.service import Service

    T = TypeVar("T")
    Progress = Callable[[list[Service], float | None], None]

_TICK = 1.0  # seconds between two reports of progress


class Watcher:
    """Watches services for changes.  Other descriptors may be waited for as well: `also`."""

    def __init__(self) -> None:
        from supervise.client.inotify import Changes  # pyinotify takes longer to load than all else

        self._changes = Changes()
        self._poll = select.poll()
        self._inotify = self._changes.fileno()
        if self._inotify >= 0:
            self._poll.register(self._inotify, select.POLLIN)
        self._paths: dict[tuple[int, int], str] = {}  # device and inode -> the path that is watched
        self._services: dict[str, list[Service]] = {}  # path that is watched -> the services it stands for
        self._held: dict[int, Service] = {}  # open `ok` -> whose it is
        self._only_seen: set[Service] = set()  # those whose `ok` this user may not open (rule 4)

    def add(self, service: Service) -> None:
        """Watch a service.  Raises NotAStatusDir, NoPermission, SystemRefused."""
        path = self.watch(service.path)
        self._services.setdefault(path, []).append(service)
        self._hold(service)

    def watch(self, path: str) -> str:
        """Watch a directory; the path that `wait` is going to report, another if it is watched already.

        Raises NoPermission, SystemRefused.
        """
        try:
            found = os.stat(path)
            known = self._paths.get((found.st_dev, found.st_ino))
            if known is not None:
                return known
            self._changes.add(path)
        except OSError as why:
            raise refused(f"watch {shown_name(path)}", why) from None
        if self._changes.by_looking:
            self.do_without()
        self._paths[found.st_dev, found.st_ino] = path
        return path

    def do_without(self) -> None:
        """Have neither inotify nor anything else that takes descriptors."""
        if self._inotify >= 0:
            self._poll.unregister(self._inotify)
            self._inotify = -1
        self._changes.do_without()
        for fd in list(self._held):
            self._let_go(fd)

    def _hold(self, service: Service) -> None:
        """Keep `ok` open for as long as a supervise reads it.  Raises NotAStatusDir, NoPermission, SystemRefused."""
        if self._changes.by_looking or service in self._held.values():
            return
        try:
            fd = _with_more_descriptors(lambda: service.open_fifo(OK))
        except SystemRefused:
            self.do_without()
            return
        except NoPermission:
            service.supervised()
            self._only_seen.add(service)
            return
        if fd is not None:
            self._held[fd] = service
            self._poll.register(fd, 0)  # an error is always reported

    def remove(self, service: Service) -> None:
        """Forget a service whose directory has gone: its inode may be given to another."""
        self._only_seen.discard(service)
        for path, watched in self._services.items():
            if service in watched:
                watched.remove(service)
                self._paths = {ident: known for ident, known in self._paths.items() if known != path}
        for fd in [fd for fd, whose in self._held.items() if whose is service]:
            self._let_go(fd)

    def also(self, fd: int) -> None:
        """End `wait` as well when this descriptor becomes readable."""
        self._poll.register(fd, select.POLLIN)

    def wait(self, seconds: float | None) -> tuple[set[Service], set[str], set[int]]:
        """Wait, None for ever, until there may be something new: services, other watched paths, descriptors.

        All are empty when the time is over.  Raises SystemRefused.
        """
        end = None if seconds is None else time.monotonic() + seconds
        services: set[Service] = set()
        paths: set[str] = set()
        readable: set[int] = set()
        while not (services or paths or readable):
            # At most a day, which poll can count in milliseconds.
            left = self._changes.left(None if end is None else min(max(end - time.monotonic(), 0), 86400.0))
            if self._only_seen:
                left = _TICK if left is None else min(left, _TICK)
            ready = self._poll.poll(None if left is None else left * 1000)
            for fd, _ in ready:
                if fd in self._held:
                    services.add(self._let_go(fd))
                elif fd != self._inotify:
                    readable.add(fd)
            self._changes.drain()
            paths |= self._changes.wait(0)
            if not ready:
                services |= self._only_seen
            for path in paths & self._services.keys():
                services.update(self._services[path])
            if not ready and end is not None and time.monotonic() >= end:
                break
        for service in services:
            try:
                self._hold(service)
            except ClientError:
                pass  # looking at it will say the same
        return services, paths, readable

    def _let_go(self, fd: int) -> Service:
        self._poll.unregister(fd)
        os.close(fd)
        return self._held.pop(fd)

    def close(self) -> None:
        """Watch nothing any more."""
        for fd in list(self._held):
            self._let_go(fd)
        self._changes.close()

    def __enter__(self) -> Watcher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _with_more_descriptors(act: Callable[[], T]) -> T:
    """Do it, and where the system refuses, again with as many descriptors as can be had: each service takes one.

    Raises SystemRefused, and whatever else `act` does.
    """
    try:
        return act()
    except SystemRefused:
        if not _more_descriptors():
            raise
        return act()


def _more_descriptors() -> bool:
    """Raise the limit of open files, for as many services as the system allows; whether there are more now."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return False
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return True


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
        now = last[service] = _with_more_descriptors(lambda: look(service, condition))
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
