"""Watching services and directories for changes, and other descriptors beside them.

Rule 1.  The end of a supervise, however it came, shows in the FIFO `ok`: as long as it is held open for writing, the
         kernel reports an error on it as soon as nobody reads it any more.  (When a killed process lets go of its lock
         file, it may still hold its FIFOs for a moment: a look at that time would find it alive.)
Rule 2.  Nothing is looked at because time has passed, unless there is no inotify (inotify.py).  Then it is looked at a
         few times a second, and no descriptor is held: it may be descriptors that are short.  That look is a glance:
         whether the files are other ones, and whether a supervise runs.  What has changed by that is reported, and once
         more with the next look: a file that is replaced twice within a step of the clock may have the number of the
         one before, and its time.
Rule 3.  But for what this user may see and not command: he is not told that it ends, and so looks once a second.
"""

from __future__ import annotations

import os
import select
import time

from supervise.client.errors import ClientError, NoPermission, SystemRefused, refused
from supervise.protocol.names import OK, STATE, STATUS
from supervise.protocol.text import shown_name
from supervise.system.trust import signature

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, TypeVar

    from supervise.client.service import Service

    T = TypeVar("T")
    W = TypeVar("W", Service, str)

TICK = 1.0  # seconds between two looks of rule 3


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
        self._only_seen: set[Service] = set()  # those whose `ok` this user may not open (rule 3)
        self._glances: dict[Service | str, tuple[object, bool]] = {}  # the last, and whether it was another (rule 2)

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
            fd = with_more_descriptors(lambda: service.open_fifo(OK))
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
        self._glances.pop(service, None)
        for path, watched in self._services.items():
            if service in watched:
                watched.remove(service)
                self._paths = {ident: known for ident, known in self._paths.items() if known != path}
        for fd in [fd for fd, whose in self._held.items() if whose is service]:
            self._let_go(fd)

    def also(self, fd: int) -> None:
        """End `wait` as well when this descriptor becomes readable."""
        self._poll.register(fd, select.POLLIN)

    def no_more(self, fd: int) -> None:
        """Forget a descriptor of `also`, before it is closed."""
        self._poll.unregister(fd)

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
                left = TICK if left is None else min(left, TICK)
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
            if self._changes.by_looking:
                services = {service for service in services if self._differs(service, _glance)}
                paths = {path for path in paths if path not in self._services and self._differs(path, _times)}
            if not ready and end is not None and time.monotonic() >= end:
                break
        for service in services:
            try:
                self._hold(service)
            except ClientError:
                pass  # looking at it will say the same
        return services, paths, readable

    def _differs(self, what: W, look: Callable[[W], object]) -> bool:
        """Whether a service or a path does not look as it did last time, or had just changed then."""
        now = look(what)
        before, changed = self._glances.get(what, (None, False))
        differs = now is None or now != before
        self._glances[what] = now, differs
        return differs or changed

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


def _glance(service: Service) -> object:
    """What is the same as long as nothing has changed that a status tells of; None: that cannot be known."""
    try:
        return [service.supervised(), *(_times(f"{service.path}/{name}") for name in (STATUS, STATE))]
    except ClientError:
        return None


def _times(path: str) -> object:
    """Which file that is, and when it was changed; why not, where it is not there."""
    try:
        return signature(os.stat(path))
    except OSError as why:
        return why.errno


def with_more_descriptors(act: Callable[[], T]) -> T:
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
