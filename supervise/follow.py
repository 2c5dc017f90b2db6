"""Following the configuration: reading it when it has changed, and keeping the watches where its path leads."""

from __future__ import annotations

import select
import time

from supervise.log import NOTICE, WARNING
from supervise.watch import PATIENCE, SETTLE, Watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from supervise.conffile import ConfFile, Watched
    from supervise.config import Config
    from supervise.log import Log


class Follower:
    """The configuration of one service as it changes; its descriptor is registered with the loop's poll."""

    def __init__(self, conf: ConfFile, config: Config, watch: Watch, poll: select.poll, log: Log) -> None:
        """`config` is what `conf` meant when it was last read."""
        self._conf = conf
        self._config = config
        self._watch = watch
        self._poll = poll
        self._log = log
        self._warned = False
        self._arming_until: float | None = None
        self._given_up: tuple[Watched, ...] | None = None  # a plan whose watches could not be set
        self.fd = -1  # what was registered
        self.look_at: float | None = None  # monotonic: when to look at the file again

    def read(self) -> Config:
        """Read the file whether it has changed or not, and say what it means."""
        was_present = self._conf.present
        config, problems = self._conf.read(self._config)
        for problem in problems:
            self._log.add(WARNING, "%s", problem)
        if self._conf.present:
            self._log.add(NOTICE, "configuration %s: %s", self._conf.path, config)
        elif was_present or self._conf.named:
            self._log.add(WARNING, "configuration %s is absent: no policy", self._conf.path)
        self._config = config
        self.rewatch()
        return config

    def look(self) -> Config | None:
        """Read the file if it has changed."""
        self.look_at = None
        if self._watch.arming and self._arming_until and time.monotonic() >= self._arming_until:
            self._unregister()
            self._watch.give_up()
            self._not_watched("the helper that sets the watches does not answer")
            self._arming_until = None
            self._given_up = self._conf.plan()
        if self._conf.changed():
            return self.read()
        self.rewatch()
        return None

    def rewatch(self) -> None:
        """Have the watches set where the path leads now, unless they are there or a helper is at it."""
        plan = self._conf.plan()
        if plan in (self._watch.plan, self._given_up) or self._watch.arming:
            return
        self._unregister()
        self.look_at = self._arming_until = time.monotonic() + PATIENCE
        try:
            self._watch.arm(plan)
        except OSError as why:
            self._not_watched(f"cannot start the helper that sets the watches: {why.strerror}")
        self._register()

    def ready(self) -> None:
        """The descriptor is readable: the watches are set, or something has happened."""
        if self._watch.arming:
            self._unregister()
            problem = self._watch.answer()
            self._arming_until = None
            self._register()
            if problem:
                self._not_watched(problem)
            # Whatever changed before the watches were there made no event.
            self.look_at = time.monotonic()
            return
        self._watch.drain()
        if self.look_at is None:
            self.look_at = time.monotonic() + SETTLE

    def _not_watched(self, problem: str) -> None:
        if not self._warned:
            self._warned = True
            path = self._conf.path
            self._log.add(WARNING, "changes of %s may go unnoticed (%s); the letter r still works", path, problem)

    def _unregister(self) -> None:
        if self.fd >= 0:
            self._poll.unregister(self.fd)
            self.fd = -1

    def _register(self) -> None:
        if self._watch.fd >= 0:
            self.fd = self._watch.fd
            self._poll.register(self.fd, select.POLLIN)
