"""Optional parts of a service, made when its configuration asks for them: notification, pidfile, checks, user.

What lives here: having them imported and made, in time.  What does not: what they do (readiness.py, successor.py,
health_check.py, spawn_as.py), and when something happens to them (service.py).
"""

from __future__ import annotations

import time

from supervise.config.config import Config
from supervise.config.restrictions import copy
from supervise.protocol.severities import WARNING
from supervise.protocol.states import CONFIG
from supervise.system.installed import replaced

TYPE_CHECKING = False
if TYPE_CHECKING:

    from supervise.machine.machine import Machine
    from supervise.runtime.event_log import Log
    from supervise.runtime.reactor import Reactor, Readable
    from supervise.runtime.status_writer import StatusWriter
    from supervise.service.health_check import Checks
    from supervise.service.launcher import Launcher
    from supervise.service.leftovers import Leftovers
    from supervise.service.readiness import Readiness
    from supervise.service.successor import Successor
    from supervise.system.statusdir import StatusDir

# What takes parts that need not be there, but for what restricts: that does not stay as it was (Launcher.govern).
_KEYS_OF_PARTS = (
    *("notify", "notification_fd", "watchdog_secs", "starttimeoutsecs", "check_command", "pidfile"),
    "environment",
)


class Parts:
    """The parts of one service; each is None until it is asked for, and stays from then on."""

    def __init__(
        self,
        machine: Machine,
        launcher: Launcher,
        status_writer: StatusWriter,
        leftovers: Leftovers,
        directory: StatusDir,
        env: dict[bytes, bytes],
        ignored: list[int],
        reactor: Reactor,
        log: Log,
        told: Readable,
    ) -> None:
        self._machine = machine
        self._launcher = launcher
        self._status_writer = status_writer
        self._leftovers = leftovers
        self._directory = directory
        self._env = env
        self._ignored = ignored
        self._reactor = reactor
        self._told = told  # see Readiness
        self._log = log
        self._config: Config | None = None  # that they are for
        self._asked: Config | None = None  # the one that it was made of
        self.readiness: Readiness | None = None
        self.successor: Successor | None = None
        self.checks: Checks | None = None

    def equip(self) -> None:
        """Make the parts that the configuration asks for; it is replaced by one without those that cannot be made."""
        config = self._machine.config
        if config is self._config or config is self._asked:
            return
        try:
            complete = self._import_parts(config)
        except (ImportError, OSError, MemoryError) as why:  # no descriptor, no memory
            self._launcher.blocked = f"cannot load what its configuration takes: {why}"
            return  # it is tried again
        self._asked = config
        if not complete:
            config = copy(config)
            for key in _KEYS_OF_PARTS:
                setattr(config, key, getattr(self._config or Config(), key))
            self._machine.handle(CONFIG, time.monotonic(), config.settled())
        self._launcher.govern(config)
        self._config = config
        self._leftovers.configure(config.killasgroup)
        if self.successor:
            self.successor.configure(config)
        if self.checks:
            self.checks.configure(config, time.monotonic())
        address = ""
        # A service that was started to speak is listened to for as long as it runs.
        if self.readiness and (config.notify or config.watchdog_secs or self._status_writer.notify_address):
            place = self._env[b"SUPERVISE_STATUS_DIR"]
            address = self.readiness.listen(config, place, self._status_writer.notify_address)
            self._status_writer.notify_address = address or None
        self._launcher.notify_socket = address if config.notify or config.watchdog_secs else ""
        self._launcher.watchdog_usec = config.watchdog_secs * 1000000

    def _import_parts(self, config: Config) -> bool:
        """Have the parts that are needed, and only these: what most services do without costs none of them memory.

        Whether they could be had: when the files of this package have been replaced, they may be another version's.
        """
        speaks = config.notify or config.watchdog_secs or self._status_writer.notify_address
        readiness = bool((speaks or config.notification_fd) and not self.readiness)
        successor = bool((speaks or config.pidfile) and not self.successor)
        checks = bool(config.check_command and not self.checks)
        forks = self._launcher.needs_fork(config) and not self._launcher.can_fork
        if not (readiness or successor or checks or forks):
            return True
        if replaced():
            text = "another version is installed: what is configured of starts, readiness, checks and the pidfile"
            self._log.add(WARNING, "%s takes effect after an upgrade (letter e)", text)
            return False
        if readiness:
            from supervise.service.readiness import Readiness

            self.readiness = Readiness(self._directory, self._reactor, self._log, self._told)
        if successor:
            from supervise.service.successor import Successor

            self.successor = Successor(self._env, self._ignored, self._reactor, self._log)
        if checks:
            from supervise.service import helper_leftovers  # noqa: F401  (for later)
            from supervise.service.health_check import Checks

            self.checks = Checks(self._launcher, self._reactor, self._log)
        if forks:
            self._launcher.complete()
        return True

    def hear(self, descriptors: dict[str, int], address: str | None) -> None:
        """Receive notifications on descriptors that another supervise has handed over."""
        from supervise.service.readiness import Readiness

        self.readiness = Readiness(self._directory, self._reactor, self._log, self._told)
        self.readiness.attach(descriptors, address)
