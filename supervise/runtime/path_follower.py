"""Following a file through inotify: keeping the watches where its path leads, and when to look at it.

`PathFollower` does that for any subject: something with a path that knows whether it has changed and what must be
watched for that.  conf_follower.py follows the configuration so, pidfile.py the pidfile.
"""

from __future__ import annotations

import select
import time

from supervise.protocol.severities import WARNING
from supervise.protocol.text import shown_name
from supervise.runtime.inotify_lease import PATIENCE, SETTLE, Watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from supervise.config.file import Watched
    from supervise.protocol.exitstatus import ExitStatus
    from supervise.runtime.event_log import Log
    from supervise.runtime.reactor import Reactor

    class Subject(Protocol):
        """What can be followed."""

        path: str

        def changed(self) -> bool:
            """Whether it is not what it was when it was read."""

        def plan(self) -> tuple[Watched, ...]:
            """What must be watched, as its path leads now."""


class PathFollower:
    """A file that is followed; the descriptor `fd` is registered with the reactor.

    The reactor calls `readable`, and the loop at `look_at` the `look` of a subclass: that begins with `_due`, and ends
    with `rewatch`.
    """

    still_works = "it is not looked at again"  # for the log, where the watches cannot be set

    def __init__(self, subject: Subject, watch: Watch, reactor: Reactor, log: Log) -> None:
        self._subject = subject
        self._watch = watch
        self._reactor = reactor
        self._log = log
        self._warned = False
        self._look_at: float | None = None
        self._arming_until: float | None = None
        self._given_up: tuple[Watched, ...] | None = None  # a plan whose watches could not be set
        self.fd = -1  # what was registered
        self.watching = False  # every watch is set, so there is an event for whatever happens

    @property
    def look_at(self) -> float | None:
        """The time to look at the file, monotonic; None if nothing is known to have happened."""
        if self._arming_until is None or self._look_at is None:
            return self._arming_until or self._look_at
        return min(self._arming_until, self._look_at)

    @property
    def arming(self) -> bool:
        """Whether a helper is setting the watches."""
        return self._watch.arming

    def _plan(self) -> tuple[Watched, ...]:
        return self._subject.plan()

    def rewatch(self) -> None:
        """Set the watches where the path leads now, unless they are there or a helper is setting them."""
        plan = self._plan()
        if plan in (self._watch.plan, self._given_up) or self._watch.arming:
            return
        self._unregister()
        self.watching = False
        now = time.monotonic()
        try:
            self._watch.arm(plan)
            helper = self._watch.helper
            if helper:
                self._reactor.on_exit(helper, lambda how: self._reaped(helper, how))
            self._arming_until = now + PATIENCE
        except OSError as why:
            self._not_watched(f"cannot start the helper that sets the watches: {why.strerror}")
            self._look_by(now + PATIENCE)  # and try again
        self._register()

    def readable(self, events: int = 0) -> None:
        """Take the helper's answer, or note that something has happened."""
        now = time.monotonic()
        if self._watch.arming:
            self._unregister()
            problem = self._watch.answer()
            self._arming_until = None
            self._register()
            self.watching = not problem
            if problem:
                self._not_watched(problem)
            # Whatever changed before the watches were there made no event.
            self._look_by(now)
            return
        if self._watch.drain():
            self._look_by(now + self._settle(now))

    def _reaped(self, pid: int, how: ExitStatus) -> None:
        """The helper that sets the watches has ended, or one before it."""
        problem = self._watch.ended(pid, how)
        if problem:
            self._not_watched(problem)

    def close(self) -> None:
        """Stop following; `rewatch` begins again."""
        self._unregister()
        self._watch.close()
        self.watching = False
        self._look_at = self._arming_until = None

    def _settle(self, now: float) -> float:
        """Seconds from an event to looking."""
        return SETTLE

    def _look_by(self, at: float) -> None:
        if self._look_at is None or at < self._look_at:
            self._look_at = at

    def _due(self) -> None:
        """`look_at` is past, for one of its reasons."""
        self._look_at = None
        late = self._arming_until is not None and time.monotonic() >= self._arming_until
        if late and self._has_answered():
            self.readable()  # it was in time, and we were not
            self._look_at = None
        elif late:
            self._unregister()
            self._watch.give_up()
            self._not_watched("the helper that sets the watches does not answer")
            self._arming_until = None
            self._given_up = self._plan()

    def _has_answered(self) -> bool:
        poll = select.poll()
        if self.fd >= 0:
            poll.register(self.fd, select.POLLIN)
        return bool(poll.poll(0))

    def _not_watched(self, problem: str) -> None:
        if not self._warned:
            self._warned = True
            path = shown_name(self._subject.path)
            self._log.add(WARNING, "changes of %s may go unnoticed (%s); %s", path, problem, self.still_works)

    def _unregister(self) -> None:
        if self.fd >= 0:
            self._reactor.unregister(self.fd)
            self.fd = -1

    def _register(self) -> None:
        if self._watch.fd >= 0:
            self.fd = self._watch.fd
            self._reactor.on_readable(self.fd, self.readable)
