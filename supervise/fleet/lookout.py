"""The lookout: what becomes of services, seen from outside, as events for the plan.

Rule 1.  What is seen is what anybody sees: the record and the state in the status directory, and whether a supervise
         holds it.  Whoever started that supervise makes no difference.
Rule 2.  A service is up when it has been for its startsecs, and ready where it says such things; the same as for
         svwait(1) and `svc start`.  From a command on, what was before it does not count.
Rule 3.  What is the same as at the last look is not told again.
Rule 4.  Before a command was obeyed, what is seen says nothing about it.
Rule 5.  What cannot be looked at is not taken for gone: nothing is told of it, and what is asked of it is refused.  A
         directory that has gone, or is not there yet, is looked for when the directory of all services changes.
"""

from __future__ import annotations

import os
import time

from supervise.client.conditions import Obeyed, back_up, finished_since, kept_up, stayed_up
from supervise.client.errors import ClientError, NotAStatusDir, UnknownService
from supervise.client.last_words import why
from supervise.client.liveness import is_listed
from supervise.client.service import Service
from supervise.client.status import Status
from supervise.client.wait import look
from supervise.client.watcher import Watcher
from supervise.fleet.job import DOWN, EXTEND, FAILED, GONE, READY, RUNNING, STARTED, UP
from supervise.fleet.rivals import is_coming
from supervise.protocol.names import OK, STATUS
from supervise.protocol.record import DOWN as WANT_DOWN
from supervise.protocol.record import UP as WANT_UP
from supervise.protocol.record import Record
from supervise.protocol.states import ENDED, ENDING, STOPPING
from supervise.protocol.states import RUNNING as IN_SERVICE
from supervise.system.procfs import stat_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from supervise.client.conditions import Lasting

    Event = tuple[str, str, object]  # event, name, value

_HEEDS_WITHIN = 30.0  # seconds: a supervise does nothing that takes long, and reads what is written to it at once
_STOPPED = "pid {} is stopped by a signal"


class Post:
    """One service, and how it was when it was last commanded."""

    __slots__ = (
        *("name", "path", "service", "before", "obeyed", "until"),
        *("last", "due", "commanded", "watched", "given"),
    )

    def __init__(self, name: str, path: str) -> None:
        self.name = name
        self.path = path
        self.service: Service | None = None  # None: there was no directory yet
        self.before: Status | None = None  # how it was when it was last commanded
        self.obeyed: Obeyed | None = None  # whether that was obeyed; None: it needs not be, or was
        self.until: Lasting = stayed_up
        self.last: tuple[str, object] = ("", None)  # what was told of it
        self.due: float | None = None  # when it may be up without anything else happening
        self.commanded = False
        self.watched = False
        self.given: tuple[float, bool] | None = None  # until when it is given to get ready, or, if so, to stop


class Lookout:
    """Watches the services in the directory `root`; other descriptors are waited for as well (`also`)."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._root_watched = False
        self._watcher = Watcher()
        self._posts: dict[str, Post] = {}
        self._by_service: dict[Service, Post] = {}
        self._heed_by: dict[str, float] = {}  # when the supervises must have obeyed that were commanded last
        self.also = self._watcher.also
        self.no_more = self._watcher.no_more

    def add(self, name: str, path: str) -> None:
        """Look out for a service."""
        if name not in self._posts:
            self._posts[name] = post = Post(name, path)
            try:
                self._watch(post)
            except ClientError:
                pass  # whatever is asked of it meets the same, and says so

    def _watch(self, post: Post) -> None:
        """Raises ClientError: what there is cannot be watched, or used."""
        if post.watched:
            return
        try:
            post.service = post.service or Service(post.path)
            self._by_service[post.service] = post
            self._watcher.add(post.service)
            post.watched = True
        except (UnknownService, NotAStatusDir):
            self._watch_root()  # a start makes it

    def _watch_root(self) -> None:
        if not self._root_watched:
            try:
                self._watcher.watch(self._root)
                self._root_watched = True
            except ClientError:
                pass  # it is not there either

    def _look(self, post: Post) -> Status | None:
        """How it is; None where there is no such directory.  Raises ClientError: that cannot be known."""
        self._watch(post)  # a start may have made it
        try:
            return look(post.service, None) if post.service else None
        except NotAStatusDir:
            assert post.service
            if any(os.path.lexists(f"{post.path}/{name}") for name in (OK, STATUS)):
                raise
            if post.watched:  # another that is made in its place is another directory
                self._watcher.remove(post.service)
                post.watched = False
                self._watch_root()
            return None

    def supervised(self, name: str) -> bool:
        """Whether a supervise runs for it.  Raises ClientError: that cannot be known."""
        post = self._posts[name]
        self._watch(post)
        try:
            return bool(post.service and post.service.supervised())
        except NotAStatusDir:
            return False  # a start says what is wrong with it, or mends it

    def known(self, name: str) -> bool:
        """Whether it is supervised by one that has said what it is.  Raises ClientError: that cannot be known."""
        status = self._look(self._posts[name])
        return bool(status and status.supervised and not is_coming(status, self._posts[name].path))

    def locked(self, name: str) -> bool:
        """Whether somebody holds the lock of its directory, as far as that can be seen."""
        try:
            return is_listed(self._posts[name].path)
        except OSError:
            return False

    def died(self, name: str) -> bool:
        """Whether its supervise has ended without having been told, and without having given up."""
        status = self._status(name)
        if not status or status.supervised or not status.state:
            return False
        return status.state["machine"] != ENDED and not status.state["gave_up"]

    def outlived(self, name: str) -> bool:
        """Whether it runs although its supervise does not."""
        status = self._status(name)
        try:
            return bool(status and status.outlived)
        except ClientError:
            return False

    def _status(self, name: str) -> Status | None:
        """How it is; None where it cannot be looked at, or there is nothing to look at."""
        try:
            return self._look(self._posts[name])
        except ClientError:
            return None

    def send(self, name: str, letters: str) -> None:
        """Write letters to its supervise.  Raises ClientError."""
        post = self._posts[name]
        self._watch(post)
        if post.service:
            post.obeyed = Obeyed(post.service.send(letters), None)
            self._heed_by[name] = time.monotonic() + _HEEDS_WITHIN

    def presence(self, name: str) -> str:
        """What of it there is (job.py); of what cannot be looked at, that it is down, which is as much as to ask it."""
        try:
            event, _ = self._seen(self._posts[name])
        except ClientError:
            return DOWN
        if event == GONE and self.outlived(name):
            return RUNNING
        return {READY: UP, FAILED: RUNNING, STARTED: RUNNING}.get(event, event)

    def commanded(self, name: str, again: bool = False) -> None:
        """What becomes of a service counts from here; `again`: it runs, and is to end and to be started.

        Raises ClientError: how it is cannot be known.
        """
        post = self._posts[name]
        post.obeyed = None
        self._heed_by.pop(name, None)
        post.before = self._look(post)
        post.until = back_up if again else kept_up
        post.last = ("", None)
        post.commanded = True

    def events(self, name: str) -> Iterator[Event]:
        """What has become of a service, if it is not what it was at the last look; nothing where nobody can know."""
        post = self._posts[name]
        given = post.given
        try:
            event, value = self._seen(post)
        except ClientError:
            return  # its deadline tells that it is not as it should be
        if (event, value) != post.last:
            post.last = event, value
            yield event, name, value
        if post.given and post.given != given:
            yield EXTEND, name, post.given

    def _seen(self, post: Post) -> tuple[str, object]:
        now = self._look(post)
        post.due = None
        post.given = _given(now) if now else None
        if now is None or post.service is None or not now.supervised:
            return GONE, None
        before = post.before or (_nothing_yet(now) if post.commanded else now)
        if post.obeyed and not post.obeyed(before, now):
            return STARTED, None
        post.obeyed = None
        self._heed_by.pop(post.name, None)
        if post.until(before, now):
            return (READY if _says_ready(now) else UP), None
        seconds = post.until.seconds(before, now)
        post.due = None if seconds is None else time.monotonic() + seconds
        if post.commanded and post.until.failed(before, now):
            return FAILED, why(post.service, now)
        if not post.commanded and now.finished and now.last_exit and now.last_exit.expected:
            return UP, None  # it has run, and done what it was to do
        if not now.pid and (now.want == WANT_DOWN or finished_since(before, now) or now.finished):
            settled = now.state is None or now.machine not in ("cleanup", "succession")
            if settled:
                return DOWN, None if now.want == WANT_DOWN else why(post.service, now)
        return STARTED, None

    def unheeded(self, now: float) -> list[tuple[str, str]]:
        """The services whose supervise has not read what it was commanded, for too long, and why: each is told once."""
        found = []
        for name in [name for name, at in self._heed_by.items() if at <= now]:
            del self._heed_by[name]
            status = self._status(name)
            if status and status.supervised:  # else that is told
                pid = status.state["supervise_pid"] if status.state else 0
                stopped = pid and stat_of(pid).state in "Tt"
                found.append((name, "its supervise does not obey" + (f": {_STOPPED.format(pid)}" if stopped else "")))
        return found

    @property
    def due(self) -> float | None:
        """When something may have come true with nothing happening, monotonic."""
        dues = [post.due for post in self._posts.values() if post.due is not None]
        return min([*dues, *self._heed_by.values()], default=None)

    def wait(self, seconds: float | None) -> tuple[list[str], set[int]]:
        """Wait until there may be something new: the names of services, and descriptors that are readable."""
        services, paths, readable = self._watcher.wait(seconds)
        now = time.monotonic()
        names = {self._by_service[service].name for service in services if service in self._by_service}
        names |= {post.name for post in self._posts.values() if post.due is not None and post.due <= now}
        if paths:
            names |= {post.name for post in self._posts.values() if not post.watched}
        return sorted(names), readable

    def close(self) -> None:
        """Watch nothing any more."""
        self._watcher.close()


def _nothing_yet(now: Status) -> Status:
    """How it was when there was no directory yet."""
    state = now.state and {**now.state, "totals": dict.fromkeys(now.state["totals"], 0)}
    return Status(False, Record(0, False, WANT_UP, True, 0), state)


def _given(now: Status) -> tuple[float, bool] | None:
    """Until when a service that starts or stops is given for it, monotonic, and whether it stops."""
    until = now.state["deadline_at"] if now.state and now.machine in (IN_SERVICE, STOPPING) else None
    return None if until is None else (until, now.machine == STOPPING or now.phase == ENDING)


def _says_ready(now: Status) -> bool:
    return now.phase is not None
