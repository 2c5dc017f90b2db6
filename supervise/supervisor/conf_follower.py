"""Following the configuration as it changes, and the status directory as it is moved or removed (statusdir_watch.py).

The kernel allows a user 128 inotify instances, and this is supervise's.  So whatever it watches for itself is watched
here.
"""

from __future__ import annotations

import time

from supervise.config.file import joined
from supervise.config.restrictions import stays
from supervise.protocol.severities import NOTICE, WARNING
from supervise.protocol.states import CONFIG
from supervise.runtime.path_follower import PathFollower

TYPE_CHECKING = False
if TYPE_CHECKING:
    from supervise.config.config import Config
    from supervise.config.file import ConfFile, Watched
    from supervise.runtime.event_log import Log
    from supervise.runtime.inotify_lease import Watch
    from supervise.runtime.reactor import Reactor
    from supervise.supervisor.statusdir_watch import StatusDirWatch

AGAIN = 5.0  # seconds at most to the next try to read what could not be read
_FIRST = 0.5  # seconds; doubled from one try to the next


class ConfFollower(PathFollower):
    """The configuration of one service, and the `statusdir_watch` of its supervise."""

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
        self._happened = 0  # the reactor's, when the directory was last looked at

    @property
    def due(self) -> float | None:
        """The time to call `on_time`, monotonic; where nothing can be watched, whenever something happens."""
        watch, at = self._statusdir_watch, self.look_at
        if watch is None:
            return at
        if not self.watching and self._reactor.happened != self._happened:
            return 0.0
        due = watch.due
        return due if at is None or (due is not None and due < at) else at

    def on_time(self, now: float) -> None:
        """Look at the directory first, for the configuration may be on the same way, then at that if it is due."""
        follows = self.look_at is not None and now >= self.look_at
        self._happened = self._reactor.happened
        if self._statusdir_watch:
            self._statusdir_watch.look()
        config = self.look() if follows else None
        if config is not None:
            self._reactor.post(CONFIG, config)
        if self._statusdir_watch and self._statusdir_watch.to_watch:
            self._statusdir_watch.to_watch = False
            self.rewatch()

    def _plan(self) -> tuple[Watched, ...]:
        return joined(self._conf.plan(), self._statusdir_watch.plan()) if self._statusdir_watch else self._conf.plan()

    def read(self) -> Config:
        """Read the file whether it has changed or not, and say what it means."""
        was_present = self._conf.present
        self._said = []
        config = self._read()
        if self._conf.present:
            self._log.add(NOTICE, "configuration %s: %s", self._conf.shown_path, config)
        elif was_present or self._conf.named:
            self._log.add(WARNING, "configuration %s is absent: no policy", self._conf.shown_path)
        if self._conf.held or config.blocked:
            self._log.add(WARNING, "%s: %s", self._conf.shown_path, stays(config))
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
