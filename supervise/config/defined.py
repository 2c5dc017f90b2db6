"""The configuration of a service that its file defines (definitions.py): one of those that svall starts.

It is read in the very files that the user edits, and watched in all of them, so that what needs no restart takes effect
when they are written.  What the definition says beyond that (command, dependencies) is for svall to compare.

Rule 1.  A file that defines no such service any more, or is broken so that nobody can tell, leaves what is in force,
         and where there is nothing, blocks.  Only svall stops what is not defined any more.
Rule 2.  Problems have the file and line where the user wrote what they are about.
"""

from __future__ import annotations

import errno
import posix as os
import sys

from supervise.config.config import Config
from supervise.config.file import ConfFile, Replaced, joined, watch_plan
from supervise.config.restrictions import copy
from supervise.protocol.text import shown_name
from supervise.system.installed import replaced
from supervise.system.trust import signature

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from supervise.config.definition import Definition
    from supervise.config.definitions import Fleet
    from supervise.config.file import Watched
    from supervise.config.sections import Problem


class DefinedConf(ConfFile):
    """The configuration of the service `name` that the file at `path` defines."""

    def __init__(self, path: str, name: str) -> None:
        super().__init__(path, name, True)
        self._definition: Definition | None = None
        self._sources: tuple[str, ...] = (path,)
        self._loaded: tuple[object, ...] = ()  # what `_look` gives as long as they are what was loaded

    def _read(self, previous: Config | None) -> tuple[Config, list[str]]:
        config, problems = super()._read(previous)
        if config is previous or not self._definition:
            return config, problems
        config = copy(config)
        config.startretries = self._definition.startretries
        said = {name for name, _ in config.environment}
        more = tuple(pair for pair in self._definition.environment if pair[0] not in said)
        config.environment = (*more, *config.environment)
        return config, problems

    def _load(self) -> tuple[bytes, bool, os.stat_result]:
        self._definition = None
        shared = _shared(self.path)
        fleet = shared or fleet_reader()(self.path)
        try:
            return self._find(fleet)
        finally:
            if not shared:
                fleet.release()

    def _find(self, fleet: Fleet) -> tuple[bytes, bool, os.stat_result]:
        found = fleet.find(self._name)
        if not found:
            why = errno.EAGAIN if fleet.transient else errno.EINVAL  # whether it is worth another try
            text = fleet.errors[0] if fleet.errors else f"it defines no service {shown_name(self._name)}"
            raise OSError(why, text.replace(f"{self.shown_path}: ", "", 1))
        self._definition, self._sources = found, found.sources
        self.groups = fleet.places(found)
        self._loaded = tuple(map(fleet.seen.get, found.sources))
        return found.text(), False, os.stat(self.path)

    def _signature(self, found: os.stat_result) -> tuple[object, ...]:
        return self._loaded

    def _look(self) -> tuple[object, ...]:
        return tuple(map(_signature_of, self._sources))

    def _at(self, problem: Problem) -> str:
        return f"{self._place(problem.line)}: {problem.text}"

    def _place(self, line: int) -> str:
        path, number = self._definition.place(line) if self._definition else (self.path, 0)
        return f"{shown_name(path)}:{number}" if number else shown_name(path)

    def plan(self) -> tuple[Watched, ...]:
        return joined(*map(watch_plan, self._sources))


class _Sharing:
    """What was read for all services of a file, by a process whose copies they are."""

    fleet: Fleet | None = None


def share(path: str) -> None:
    """Read the file once for all that ask before it changes; for a process that nothing stays of."""
    if _shared(path) is None:
        _Sharing.fleet = fleet_reader()(path)


def _shared(path: str) -> Fleet | None:
    fleet = _Sharing.fleet
    if fleet is None or fleet.path != path or not fleet.seen:
        return None
    if any(_signature_of(one) != seen for one, seen in fleet.seen.items()):
        return None
    return fleet


def fleet_reader() -> Callable[[str], Fleet]:
    """Load definitions.Fleet, as file.parser.  Raises OSError, ImportError or Replaced."""
    if "supervise.config.definitions" not in sys.modules and replaced():
        raise Replaced("another version of supervise is installed: upgrade this one (letter e) to read it")
    from supervise.config.definitions import Fleet

    return Fleet


def _signature_of(path: str) -> tuple[object, ...] | None:
    try:
        return signature(os.stat(path))
    except OSError:
        return None
