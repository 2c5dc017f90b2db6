"""Optional parts of a service, made when its configuration asks for them: notification, pidfile, checks, user.

What lives here: the list of these parts, and having them imported, made and told, in time.  What does not: what they do
(readiness.py, successor.py, health_check.py, spawn_as.py).  What each of them is told is in reactor.py: Part.
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
    from collections.abc import Iterable
    from typing import Any, Callable

    from supervise.machine.machine import Machine
    from supervise.runtime.event_log import Log
    from supervise.runtime.reactor import Events, Part, Reactor, Readable
    from supervise.runtime.status_writer import StatusWriter
    from supervise.service.health_check import Checks
    from supervise.service.launcher import Launcher
    from supervise.service.leftovers import Leftovers
    from supervise.service.readiness import Readiness
    from supervise.service.successor import Successor
    from supervise.system.statusdir import StatusDir


class Kind:
    """A kind of part.  `name`: what it is of Parts, where others talk to it.

    `keys`: what the configuration before keeps where the part cannot be had, but for what restricts: that does not
    stay as it was (Launcher.govern).  `asked`: whether a configuration asks for it.  `make`: import it, and make it;
    None where there is nobody to tell of anything.
    """

    __slots__ = ("name", "keys", "asked", "make")

    def __init__(
        self,
        name: str,
        keys: tuple[str, ...],
        asked: Callable[[Config, Parts], object],
        make: Callable[[Parts], Part | None],
    ) -> None:
        self.name, self.keys, self.asked, self.make = name, keys, asked, make


def _readiness(parts: Parts) -> Part:
    from supervise.service.readiness import Readiness

    place = parts.directory, parts.env, parts.launcher, parts.status_writer
    return Readiness(*place, parts.reactor, parts.log, parts.told)


def _successor(parts: Parts) -> Part:
    from supervise.service.successor import Successor

    return Successor(parts.env, parts.ignored, parts.reactor, parts.log, parts.named)


def _checks(parts: Parts) -> Part:
    from supervise.service import helper_leftovers  # noqa: F401  (for later)
    from supervise.service.health_check import Checks

    return Checks(parts.launcher, parts.reactor, parts.log)


def _other_user(parts: Parts) -> None:
    parts.launcher.complete()


KINDS = (
    Kind(
        "readiness",
        ("notify", "notification_fd", "watchdog_secs", "starttimeoutsecs"),
        lambda config, parts: parts.speaks(config) or config.notification_fd or parts.handed("notification"),
        _readiness,
    ),
    Kind("successor", ("pidfile",), lambda config, parts: parts.speaks(config) or config.pidfile, _successor),
    Kind("checks", ("check_command",), lambda config, parts: config.check_command, _checks),
    Kind(
        "other_user",
        ("environment",),
        lambda config, parts: parts.cannot_start(config),
        _other_user,
    ),
)


class Parts:
    """The parts of one service; each is None until it is asked for, and stays from then on."""

    readiness: Readiness | None = None
    successor: Successor | None = None
    checks: Checks | None = None

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
        named: Callable[[int, str], Events],
    ) -> None:
        """`told` and `named`: see Readiness and Successor."""
        self.machine = machine
        self.launcher = launcher
        self.status_writer = status_writer
        self.directory = directory
        self.env = env
        self.ignored = ignored
        self.reactor = reactor
        self.log = log
        self.told = told
        self.named = named
        self._leftovers = leftovers
        self._config: Config | None = None  # that they are for
        self._asked: Config | None = None  # the one that it was made of
        self._made: list[Part] = []
        self._have: set[str] = set()  # their names, and of those of whom only the code is needed
        self._handed: dict[str, int] = {}  # the descriptors that another supervise has handed over

    # Having them.

    def equip(self) -> None:
        """Make the parts that the configuration asks for; it is replaced by one without those that cannot be made."""
        config = self.machine.config
        if config is self._config or config is self._asked:
            return
        try:
            complete = self._import_parts(config)
        except (ImportError, OSError, MemoryError) as why:  # no descriptor, no memory
            self.launcher.blocked = f"cannot load what its configuration takes: {why}"
            return  # it is tried again
        self._asked = config
        if not complete:
            config = copy(config)
            for kind in KINDS:
                for key in kind.keys:
                    setattr(config, key, getattr(self._config or Config(), key))
            self.machine.handle(CONFIG, time.monotonic(), config.settled())
        self.launcher.govern(config)
        self._config = config
        self._leftovers.configure(config.killasgroup)
        for part in self._made:
            part.configure(config)

    def _import_parts(self, config: Config) -> bool:
        """Have the parts that are needed, and only these: what most services do without costs none of them memory.

        Whether they could be had: when the files of this package have been replaced, they may be another version's.
        """
        missing = self._missing(config)
        if missing and replaced():
            text = "another version is installed: what is configured of starts, readiness, checks and the pidfile"
            self.log.add(WARNING, "%s takes effect when the letter e has replaced this supervise by it", text)
            return False
        self.make(missing)
        return True

    def _missing(self, config: Config) -> list[Kind]:
        return [kind for kind in KINDS if kind.name not in self._have and kind.asked(config, self)]

    def make(self, kinds: Iterable[Kind]) -> None:
        """Have these.  Raises whatever an import may raise."""
        for kind in kinds:
            if kind.name in self._have:
                continue
            part = kind.make(self)
            if part:
                setattr(self, kind.name, part)
                self._made.append(part)
                self.reactor.parts.append(part)
            self._have.add(kind.name)

    def speaks(self, config: Config) -> object:
        """Whether the service is to speak, or was when it was started."""
        return config.notify or config.watchdog_secs or self.status_writer.notify_address

    def cannot_start(self, config: Config) -> bool:
        """Whether a start takes more than is imported."""
        return self.launcher.needs_fork(config) and not self.launcher.can_fork

    def handed(self, name: str) -> bool:
        """Whether another supervise has handed over the descriptor of this name."""
        return self._handed.get(name, -1) >= 0

    # Telling them.

    def inherit(self, fields: dict[str, Any]) -> None:
        """Carry on where another supervise was; `fields` as that has handed them over."""
        self._handed = fields["descriptors"]
        self.make(self._missing(self.machine.config))
        for part in self._made:
            part.inherit(fields)

    def settle(self) -> None:
        """Everything urgent is done."""
        for part in self._made:
            part.settle(self.machine)

    def handover(self) -> dict[str, int]:
        """The descriptors that the supervise which replaces this one needs, by name; -1 for what is not there."""
        return {name: fd for part in self._made for name, fd in part.handover().items()}

    def disown(self) -> None:
        """Nobody is a child any more (a copy of the process whose children they are)."""
        for part in self._made:
            part.disown()

    def close(self, leaving: bool) -> None:
        """Supervise ends, `leaving` the service to another or not."""
        for part in self._made:
            part.close(leaving)
