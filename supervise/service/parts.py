"""Optional parts of a service, made when its configuration asks for them: notification, pidfile, checks, user, limits.

What lives here: the list of these parts, and having them imported, made and told, in time.  What does not: what they do
(readiness.py, successor.py, health_check.py, spawn_as.py, limits.py).  What each of them is told is in part.py.
"""

from __future__ import annotations

import time

from supervise.config.config import Config
from supervise.config.restrictions import copy, names_something
from supervise.protocol.severities import WARNING
from supervise.protocol.states import CONFIG
from supervise.service.launcher import TO_FILES, output_paths
from supervise.system.installed import replaced

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, Callable, Optional

    from supervise.machine.machine import Machine
    from supervise.runtime.event_log import Log
    from supervise.runtime.reactor import Reactor, Readable
    from supervise.runtime.status_writer import StatusWriter
    from supervise.service.health_check import Checks
    from supervise.service.launcher import Launcher
    from supervise.service.leftovers import Leftovers
    from supervise.service.logger import Loggers
    from supervise.service.lookup import Lookup
    from supervise.service.output_cap import OutputCap
    from supervise.service.part import Part
    from supervise.service.readiness import Readiness
    from supervise.service.successor import Successor
    from supervise.system.statusdir import StatusDir

    Asked = Callable[[Config, "Parts"], object]
    Kind = tuple[str, Asked, Callable[["Parts"], Optional[Part]], tuple[str, ...]]


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


def _output_cap(parts: Parts) -> Part:
    from supervise.service.output_cap import OutputCap

    return OutputCap(parts.status_writer, parts.directory, parts.env, parts.ignored, parts.reactor, parts.log)


def _loggers(parts: Parts) -> Part:
    from supervise.service.logger import Loggers

    return Loggers(parts.directory, parts.launcher, parts.status_writer, parts.reactor, parts.log)


def _other_user(parts: Parts) -> None:
    parts.launcher.complete()


def _limits(parts: Parts) -> None:
    parts.launcher.complete_limits()


def _output_file(parts: Parts) -> None:
    parts.launcher.complete_outputs()


def _lookup(parts: Parts) -> Part:
    from supervise.service.lookup import Lookup

    conf = parts.status_writer.conf
    assert conf
    return Lookup(conf, parts.env, parts.ignored, parts.reactor, parts.log)


# The list.  Each part: its name, and what it is of Parts, where others talk to it; whether a configuration asks for it;
# how it is imported and made (to None, where nobody is to be told of anything); and its keys.  Those stay as they were
# where the part cannot be had; what restricts is none of them, for that does not stay (Launcher.govern).
KINDS: tuple[Kind, ...] = (
    (
        "readiness",
        lambda config, parts: parts.speaks(config) or config.notification_fd or "notification" in parts.handed,
        _readiness,
        ("notify", "notification_fd", "watchdog_secs", "starttimeoutsecs"),
    ),
    ("successor", lambda config, parts: parts.speaks(config) or config.pidfile, _successor, ("pidfile",)),
    ("checks", lambda config, parts: config.check_command, _checks, ("check_command",)),
    (
        "other_user",
        lambda config, parts: parts.launcher.needs_fork(config) and not parts.launcher.can_fork,
        _other_user,
        ("environment",),
    ),
    (
        "output_cap",
        lambda config, parts: config.capped,
        _output_cap,
        ("stdout_logfile_maxbytes", "stderr_logfile_maxbytes"),
    ),
    (
        "output_file",
        lambda config, parts: output_paths(config) and not parts.launcher.can_open,
        _output_file,
        ("stdout_logfile", "stderr_logfile"),
    ),
    (
        "loggers",
        lambda config, parts: config.stdout_command or config.stderr_command or parts.status_writer.loggers,
        _loggers,
        ("stdout_command", "stderr_command"),
    ),
    ("limits", lambda config, parts: config.limited and not parts.launcher.can_limit, _limits, ()),
    ("lookup", lambda config, parts: names_something(config) and parts.status_writer.conf, _lookup, ()),
)


_OTHER_VERSION = "another version is installed: what is configured of starts, readiness, checks and the pidfile"

_NOT_LOOKED_FOR = "what it names is not looked for, as another version is installed; the next start tells"


class Parts:
    """The parts of one service; each is None until it is asked for, and stays from then on.

    `made`: those that there are; `handed`: the names of the descriptors that another supervise has.
    """

    readiness: Readiness | None = None
    successor: Successor | None = None
    checks: Checks | None = None
    lookup: Lookup | None = None
    output_cap: OutputCap | None = None
    loggers: Loggers | None = None
    if TYPE_CHECKING:
        launcher: Launcher
        status_writer: StatusWriter

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
        named: Callable[[int, str], None],
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
        self.made: list[Part] = []
        self._have: set[str] = set()  # their names, and of those of whom only the code is needed
        self.handed: set[str] = set()

    def equip(self) -> None:
        """Make the parts that the configuration asks for; it is replaced by one without those that cannot be made."""
        config = self.machine.config
        if config is self._config or config is self._asked:
            return
        try:
            complete = self._import_parts(config)
        except (ImportError, OSError, MemoryError) as why:  # no descriptor, no memory
            self.launcher.blocked = f"cannot load what its configuration takes: {why}"
            self.status_writer.not_in_force = [f"the service is not started: {self.launcher.blocked}"]
            self._not_looked_for()
            return  # it is tried again
        self._asked = config
        lines = []
        if not complete:
            lines.append(f"{_OTHER_VERSION} takes effect after an upgrade (letter e)")
            config = copy(config)
            for *_, keys in KINDS:
                for key in keys:
                    setattr(config, key, getattr(self._config or Config(), key))
            self.machine.handle(CONFIG, time.monotonic(), config.frozen())
        self.launcher.govern(config)
        self.log.configure(config)
        self._config = config
        self._tell(lines)
        self._leftovers.configure(config.killasgroup)
        for part in self.made:
            part.configure(config)

    def _import_parts(self, config: Config) -> bool:
        """Have the parts that are needed, and only these: what most services do without costs none of them memory.

        Whether they could be had: when the files of this package have been replaced, they may be another version's.
        """
        missing = self._missing(config)
        if missing and replaced():
            return all(kind[0] == "lookup" for kind in missing)  # that is said, and what it looks for the start tells
        self.make(missing)
        return True

    def _tell(self, lines: list[str]) -> None:
        """Say what of the configuration cannot be done: `lines`, and what the launcher knows of it."""
        launcher, conf = self.launcher, self.status_writer.conf
        if not self.lookup and self._not_looked_for():
            lines.append(f"{conf.path if conf else ''}: {_NOT_LOOKED_FOR}")
        if launcher.not_inherited:
            place = f"{conf.where(launcher.not_inherited)}: " if conf else ""
            # (One that was taken over may print to what the supervise before has given it.)
            text = f"{launcher.not_inherited} {launcher.why_not_inherited}{TO_FILES} from its next start on"
            lines.append(place + text)
        for line in lines:
            self.log.add(WARNING, "%s", line)
        if launcher.blocked and not launcher.config.blocked:  # which the log has of each start
            lines.append(f"the service is not started: {launcher.blocked}")
        self.status_writer.not_in_force = lines

    def _not_looked_for(self) -> bool:
        """Note that nobody looks for what the configuration names; whether anybody was to."""
        conf = self.status_writer.conf
        if not conf or not conf.unsure:
            return False
        conf.unsure, conf.before = False, None
        return True

    def _missing(self, config: Config) -> list[Kind]:
        return [kind for kind in KINDS if kind[0] not in self._have and kind[1](config, self)]

    def make(self, kinds: Iterable[Kind]) -> None:
        """Import and make those that are not there yet.  Raises whatever an import may raise."""
        for name, _, make, _ in kinds:
            part = make(self) if name not in self._have else None
            if part:
                setattr(self, name, part)
                self.made.append(part)
                self.reactor.parts.append(part)
            self._have.add(name)

    def speaks(self, config: Config) -> object:
        """Whether the service is to speak, or was when it was started."""
        return config.notify or config.watchdog_secs or self.status_writer.notify_address

    def restore(self, fields: dict[str, Any]) -> None:
        """Restore after an upgrade in the same process; `fields` as the supervise before has handed them over."""
        self.handed = {name for name, fd in fields["descriptors"].items() if fd >= 0}
        self.make(self._missing(self.machine.config))
        for part in self.made:
            part.restore(fields)
