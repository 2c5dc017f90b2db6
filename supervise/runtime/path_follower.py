"""Following a file through inotify: keeping the watches where its path leads, and when to look at it.

`PathFollower` does that for any subject: something with a path that knows whether it has changed and what must be
watched for that.  `ConfFollower` follows the configuration; pidfile.py has another.
"""

from __future__ import annotations

import select
import time

from supervise.config.file import joined
from supervise.config.restrictions import stays
from supervise.protocol.severities import NOTICE, WARNING
from supervise.runtime.inotify_lease import PATIENCE, SETTLE, Watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from supervise.config.config import Config
    from supervise.config.file import ConfFile, Watched
    from supervise.protocol.exitstatus import ExitStatus
    from supervise.runtime.event_log import Log
    from supervise.runtime.reactor import Reactor
    from supervise.supervisor.statusdir_watch import StatusDirWatch

    class Subject(Protocol):
        """What can be followed."""

        path: str

        def changed(self) -> bool:
            """Whether it is not what it was when it was read."""

        def plan(self) -> tuple[Watched, ...]:
            """What must be watched, as its path leads now."""


AGAIN = 5.0  # seconds at most to the next try to read what could not be read
_FIRST = 0.5  # seconds; doubled from one try to the next


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
        self._watch.drain()
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
            path = self._subject.path
            self._log.add(WARNING, "changes of %s may go unnoticed (%s); %s", path, problem, self.still_works)

    def _unregister(self) -> None:
        if self.fd >= 0:
            self._reactor.unregister(self.fd)
            self.fd = -1

    def _register(self) -> None:
        if self._watch.fd >= 0:
            self.fd = self._watch.fd
            self._reactor.on_readable(self.fd, self.readable)


class ConfFollower(PathFollower):
    """The configuration of one service as it changes.

    The kernel allows a user 128 inotify instances, and this is supervise's.  So what else is to be watched is watched
    here, too: the `statusdir_watch`.
    """

    still_works = "the letter r still works"

    def __init__(
        self, conf: ConfFile, config: Config, watch: Watch, reactor: Reactor, log: Log,
        statusdir_watch: StatusDirWatch | None = None,
    ) -> None:
        """`config` is what `conf` meant when it was last read."""
        super().__init__(conf, watch, reactor, log)
        self._conf = conf
        self._config = config
        self._said: list[str] = []  # the problems that were told last
        self._pause = 0.0  # from the last try to read it to the next, where it could not be read
        self._statusdir_watch = statusdir_watch

    def _plan(self) -> tuple[Watched, ...]:
        return joined(self._conf.plan(), self._statusdir_watch.plan()) if self._statusdir_watch else self._conf.plan()

    def read(self) -> Config:
        """Read the file whether it has changed or not, and say what it means."""
        was_present = self._conf.present
        self._said = []
        config = self._read()
        if self._conf.present:
            self._log.add(NOTICE, "configuration %s: %s", self._conf.path, config)
        elif was_present or self._conf.named:
            self._log.add(WARNING, "configuration %s is absent: no policy", self._conf.path)
        if self._conf.held or config.blocked:
            self._log.add(WARNING, "%s: %s", self._conf.path, stays(config))
        if self._statusdir_watch:  # the letter r is for whoever sees more than inotify tells
            self._statusdir_watch.due = time.monotonic()
        try:
            self.rewatch()
        except Exception:
            self._conf.forget()  # what it says must not be lost with this
            self._look_by(time.monotonic() + AGAIN)
            raise
        return config

    def _read(self) -> Config:
        # What is in force may be less than the file has said (parts.py).
        previous = self._statusdir_watch.machine.config if self._statusdir_watch else self._config
        self._config, problems = self._conf.read(previous)
        if problems != self._said:
            self._said = problems
            for problem in problems:
                self._log.add(WARNING, "%s", problem)
        self._pause = min(self._pause * 2 or _FIRST, AGAIN) if self._conf.failing else 0.0
        if self._conf.failing:
            self._look_by(time.monotonic() + self._pause)
        return self._config

    def look(self) -> Config | None:
        """Read the file if it has changed, or could not be read for a reason that may have passed."""
        self._due()
        if self._conf.changed():
            return self.read()
        if self._conf.failing and self._read() and not self._conf.failing:
            return self.read()
        self.rewatch()
        return None
