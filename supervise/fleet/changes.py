"""What differs between what runs and what a configuration defines, and what an update would do about it.

Rule 1.  A service that runs under another command line, started by somebody by hand, is left alone and said.
Rule 2.  What differs in what only a start changes is restarted; another command or output needs another supervise.
         All else takes effect without, as soon as the file is written.
Rule 3.  What was started from this file and is not in it any more is stopped; but not where the file defines nothing at
         all: it is rather empty, or cut off, by mistake.
"""

from __future__ import annotations

import os

from supervise.client.errors import ClientError, NotAStatusDir
from supervise.client.service import Service
from supervise.client.wait import look
from supervise.config.fingerprint import differing
from supervise.fleet.job import REMOVE, REPLACE, RESTART, START
from supervise.fleet.rivals import is_coming
from supervise.protocol.exitcodes import USAGE
from supervise.protocol.filenames import from_file
from supervise.protocol.names import OK, STATUS
from supervise.protocol.text import shown_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from supervise.client.status import Status
    from supervise.config.config import Config
    from supervise.config.definition import Definition
    from supervise.fleet.loaded import Loaded

COMMAND = "command"
_ANOTHER = {COMMAND, "stdout_logfile", "stderr_logfile"}  # what another supervise is needed for
_PIPED = ("stdout_command", "stderr_command")  # these hide that the service is to have an output of svall's
_NAMED = 8  # services that a line names, of more than that


class NothingDefined(ClientError):
    """A file that defines nothing is no reason to stop everything."""

    exit_code = USAGE


class Change:
    """What an update does with one service: a `goal` (job.py), and the `keys` for which it does."""

    __slots__ = ("name", "goal", "keys")

    def __init__(self, name: str, goal: str, keys: list[str] | None = None) -> None:
        self.name = name
        self.goal = goal
        self.keys = keys or []

    def __str__(self) -> str:
        name = shown_name(from_file(self.name))
        if self.goal == START:
            return f"+ {name}"
        return f"- {name}" if self.goal == REMOVE else f"~ {name}: {', '.join(self.keys)}"


class Changes:
    """What an update would do, in the order of the file.

    `alone`: a line for each service that it leaves as it is; `unknown`: the services of which that cannot be known, and
    why.
    """

    def __init__(self) -> None:
        self.found: list[Change] = []
        self.alone: list[str] = []
        self.unknown: dict[str, str] = {}


def changes(loaded: Loaded) -> Changes:
    """What an update would do.  Raises ClientError: which services there are cannot be known."""
    made = Changes()
    for definition in loaded.services.values():
        try:
            _compare(definition, _status(loaded.path(definition.name)), loaded, made)
        except ClientError as why:
            made.unknown[definition.name] = str(why)
    left = Running(loaded, loaded.undefined())
    made.unknown.update(left.unknown)
    made.found += [Change(name, REMOVE) for name in sorted(left.ours)]
    return made


def refuse_nothing(loaded: Loaded, found: Iterable[Change]) -> None:
    """Raises NothingDefined where all that runs would be stopped, for the file defines nothing (rule 3)."""
    removed = [change.name for change in found if change.goal == REMOVE]
    if removed and not loaded.services:
        why = f"would be stopped, for {shown_name(loaded.conf)} defines no service"
        raise NothingDefined(f"{named(removed)} {why}; if that is meant: svall down '*'")


def named(names: Collection[str]) -> str:
    """Names as a line has them: `a, b`, and of many how many more."""
    shown = [shown_name(from_file(name)) for name in sorted(names)]
    more = len(shown) - _NAMED
    return ", ".join(shown) if more <= 0 else f"{', '.join(shown[:_NAMED])} and {more} more"


def _compare(definition: Definition, status: Status | None, loaded: Loaded, made: Changes) -> None:
    if status is None or not status.supervised or is_coming(status, loaded.path(definition.name)):
        if definition.autostart:
            made.found.append(Change(definition.name, START))
    elif not _is_ours(status, loaded):
        made.alone.append(_left_alone(definition.name, loaded))
    else:
        config = loaded.config(definition.name)
        keys = _keys(definition, status, config)
        if keys and config.blocked:
            made.alone.append(f"{shown_name(loaded.path(definition.name))} is left as it is: {config.blocked}")
        elif keys:
            made.found.append(Change(definition.name, REPLACE if _takes_another(keys, config) else RESTART, keys))


def _takes_another(keys: list[str], config: Config) -> bool:
    """Whether these changes take another supervise, not only another start of the service."""
    return any(key in _ANOTHER or (key in _PIPED and config.inherited_key) for key in keys)


class Running:
    """Who supervises services.

    `ours`: those whose supervise was started for what the file defines; `others`: those that have another, each with a
    line; `unknown`: those of which it cannot be known, and why.
    """

    def __init__(self, loaded: Loaded, names: Iterable[str] = ()) -> None:
        self.ours: set[str] = set()
        self.others: dict[str, str] = {}
        self.unknown: dict[str, str] = {}
        for name in names:
            try:
                status = _status(loaded.path(name))
            except ClientError as why:
                self.unknown[name] = str(why)
                continue
            if status and status.supervised and not is_coming(status, loaded.path(name)):
                if _is_ours(status, loaded):
                    self.ours.add(name)
                else:
                    self.others[name] = _left_alone(name, loaded)


def _left_alone(name: str, loaded: Loaded) -> str:
    path, conf = shown_name(loaded.path(name)), shown_name(loaded.conf)
    return f"{path} is left alone: its supervise was not started for what {conf} defines"


def _status(path: str) -> Status | None:
    """The status of a service, None where there is no directory of one yet.  Raises ClientError."""
    if not os.path.lexists(path):
        return None
    try:
        return look(Service(path), None)
    except NotAStatusDir:
        if any(os.path.lexists(f"{path}/{name}") for name in (OK, STATUS)):
            raise
        return None  # somebody is just making it, or a start says what it is


def _is_ours(status: Status, loaded: Loaded) -> bool:
    """Whether the supervise was started for a service that this file defines."""
    options = status.state["options"] if status.state else None
    if not options or not options["defined"] or options["directory"] is None:
        return False
    theirs = os.path.join(options["directory"], options["conf"])
    try:
        return os.path.samefile(theirs, loaded.conf)
    except OSError:
        return bool(os.path.abspath(theirs) == os.path.abspath(loaded.conf))


def _keys(definition: Definition, status: Status, config: Config) -> list[str]:
    """In what a service that runs differs from its definition, as far as only a start changes it."""
    assert status.state is not None
    keys = [] if status.state["command"] == definition.command else [COMMAND]
    if not status.pid:
        return keys  # the next start is under what the file says
    recorded = status.state["started_with"]
    if recorded is None:
        return keys or ["what it was started with is not known"]
    return keys + differing(recorded, config)

