"""Parsing the `state` file (state.py has the format): the types of its fields, and defaults for older releases.

What lives here is in memory only where there is a state to read.
"""

from __future__ import annotations

# json.decoder imports re, which would cost every supervise 1 MB; this is the part of json that is written in C.
from _json import make_scanner as _make_scanner

from supervise.protocol.record import DOWN, ONCE, UP
from supervise.protocol.state import VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SIZE_LIMIT = 1 << 20  # bytes: more than any state has

# Field -> what it may be.  A tuple: one of these types; a dict: an object with these fields, `None` if it may be null.
_NUMBER = (int, float)
_OPTIONAL_NUMBER = (int, float, type(None))
_OPTIONAL_INT = (int, type(None))
_GROUP = {"group": _OPTIONAL_INT, "session": _OPTIONAL_INT}
_PROCESS = {"pid": (int,), "start_ticks": (int,), "pidfd_inode": _OPTIONAL_INT, **_GROUP}
_SERVICE = {**_PROCESS, "start_time": _NUMBER}
_EXIT = {
    "code": (int, type(None)),
    "signal": (int, type(None)),
    "core": (bool,),
    "failure": (str, type(None)),
    "planned": (bool,),
    "uptime": _NUMBER,
    "time": _NUMBER,
    "fault": (str, type(None)),
    "fault_kind": (str, type(None)),
    "boottime": _OPTIONAL_NUMBER,
    "expected": (bool, type(None)),
}
_HEALTH = {
    "failures": (int,),
    "limit": (int,),
    "starting": (bool,),
    "failure": (str, type(None)),
    "output": (str,),
    "failing_time": _OPTIONAL_NUMBER,
    "failing_boottime": _OPTIONAL_NUMBER,
    "problem": (str, type(None)),
}
_LOGGER = {
    "stream": (str,),
    "process": (_PROCESS, None),
    "start_time": _NUMBER,
    "retired": (bool,),
    "ends": (int,),
    "failure": (str, type(None)),
    "waiting": (int,),
}
_OPTIONS = {
    "directory": (str, type(None)),
    "conf": (str,),
    "conf_named": (bool,),
    "script": (list,),
    "reset": _OPTIONAL_INT,
    "exit_with_service": (bool,),
    "foreground": (bool,),
    "defined": (bool,),
}
_TOTALS = ("starts", "exits", "crashes", "cores", "failures", "planned", "expected", "hangs")
_FIELDS: dict[str, Any] = {
    "version": (int,),
    "supervise_version": (str,),
    "supervise_pid": (int,),
    "session": (int,),
    "boot_id": (str,),
    "command": (list,),
    "machine": (str,),
    "wanted": (str,),
    "paused": (bool,),
    "alarms": (bool,),
    "leaving": (bool,),
    "service": (_SERVICE, None),
    "remains": (_GROUP, None),
    "started_at": _OPTIONAL_NUMBER,
    "exited_at": _OPTIONAL_NUMBER,
    "script_exits": (int,),
    "window": ({"opened_at": _OPTIONAL_NUMBER, "exits": (int,), "cores": (int,)},),
    "totals": ({name: (int,) for name in _TOTALS},),
    "last_exit": (_EXIT, None),
    "gave_up": (bool,),
    "deadline_at": _OPTIONAL_NUMBER,
    "directory": ({"device": (int,), "inode": (int,)}, None),
    "next_mark": (int, type(None)),
    "pid_namespace": ({"device": (int,), "inode": (int,)}, None),
    "upgrades": (int,),
    "upgrades_refused": (int,),
    "control_obeyed": _OPTIONAL_INT,
    "phase": (str, type(None)),
    "phase_time": _OPTIONAL_NUMBER,
    "phase_boottime": _OPTIONAL_NUMBER,
    "changed_boottime": _OPTIONAL_NUMBER,
    "health": (_HEALTH, None),
    "loggers": (list, type(None)),
    "status_text": (str, type(None)),
    "quick_exits": (int,),
    "watchdog": _OPTIONAL_NUMBER,
    "fault": (str, type(None)),
    "fault_kind": (str, type(None)),
    "unheard": (bool,),
    "formers": (list,),
    "unsent": (list,),
    "notify_address": (str, type(None)),
    "restrictions": (dict, type(None)),
    "startsecs": _OPTIONAL_INT,
    "config_problems": (list, type(None)),
    "options": (_OPTIONS, None),
    "started_with": (dict, type(None)),
    "groups": (dict, type(None)),
    "outputs": ({"stdout": (str,), "stderr": (str,)}, None),
}
# What a state of this version may lack, because an older release did not write it, and what that means.
_DEFAULTS: dict[str, Any] = {
    "gave_up": False,
    "deadline_at": None,
    "directory": None,
    "next_mark": None,
    "pid_namespace": None,
    "upgrades": 0,
    "upgrades_refused": 0,
    "control_obeyed": None,
    "phase": None,
    "phase_time": None,
    "phase_boottime": None,
    "changed_boottime": None,
    "health": None,
    "loggers": None,
    "status_text": None,
    "quick_exits": 0,
    "watchdog": None,
    "fault": None,
    "fault_kind": None,
    "unheard": False,
    "formers": [],
    "unsent": [],
    "notify_address": None,
    "restrictions": None,
    "startsecs": None,
    "config_problems": None,
    "options": {"defined": False},
    "started_with": None,
    "groups": None,
    "outputs": None,
    "remains": None,
    "service": {"group": None, "session": None},
    "totals": {"expected": 0, "hangs": 0},
    "last_exit": {"fault": None, "fault_kind": None, "boottime": None, "expected": None},
}


_ABSENT = ("options",)  # of the objects among them those that it may not have written at all


class StateError(ValueError):
    """Not a state that this version can use; the message says why."""


def _no_constant(name: str) -> None:
    raise ValueError(name)  # NaN and Infinity are not JSON


class _Scanning:
    """The settings that the JSON scanner in C asks for."""

    strict = True
    object_hook = object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = staticmethod(_no_constant)
    memo: dict[str, str] = {}


def decode(data: bytes) -> dict[str, Any]:
    """Parse a state.  Raises StateError: damaged, or of a newer version.

    Fields that are not known are kept, so that a version that only adds some need not count up.
    """
    if len(data) > SIZE_LIMIT:
        raise StateError("too long")
    try:
        text = data.decode("ascii").strip()
        fields, end = _make_scanner(_Scanning)(text, 0)  # type: ignore[arg-type]
    except (StopIteration, ValueError, RecursionError, SystemError):
        # SystemError: the scanner looks for an exception of json.decoder, which is not imported here.
        raise StateError("not JSON") from None
    if end != len(text) or not isinstance(fields, dict):
        raise StateError("not one JSON object")
    version = fields.get("version")
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise StateError("it has no version")
    if version > VERSION:
        raise StateError(f"of version {version}, this supervise knows version {VERSION}")
    fields = _completed(fields, _DEFAULTS)
    _check(fields, _FIELDS, "")
    if fields["wanted"] not in (UP, DOWN, ONCE):
        raise StateError(f"wanted is {fields['wanted']!r}")
    if not fields["command"] or not all(isinstance(word, str) for word in fields["command"]):
        raise StateError("command is not a list of words")
    if not all(isinstance(problem, str) for problem in fields["config_problems"] or ()):
        raise StateError("config_problems is not a list of lines")
    for former in fields["formers"]:
        if not isinstance(former, dict):
            raise StateError("formers is not a list of objects")
        _check(former, _PROCESS, "formers.")
    for logger in fields["loggers"] or ():
        if not isinstance(logger, dict):
            raise StateError("loggers is not a list of objects")
        _check(logger, _LOGGER, "loggers.")
    for signal in fields["unsent"]:
        if not (isinstance(signal, list) and list(map(type, signal)) == [str, bool]):
            raise StateError("unsent is not a list of signals")
    for place in (fields["groups"] or {}).values():
        if not (isinstance(place, list) and list(map(type, place)) == [int, int]):
            raise StateError("groups are not places in groups")
    return fields


def _completed(found: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """The fields, with those that an older release did not write; also within objects that are there."""
    complete = {**found}
    for name, default in defaults.items():
        if isinstance(default, dict):
            if isinstance(found.get(name), dict):
                complete[name] = {**default, **found[name]}
            elif name in _ABSENT:
                complete.setdefault(name, None)
        else:
            complete.setdefault(name, default)
    return complete


def _check(found: dict[str, Any], wanted: dict[str, Any], where: str) -> None:
    for name, allowed in wanted.items():
        if name not in found:
            raise StateError(f"{where}{name} is missing")
        value = found[name]
        if isinstance(allowed[0], dict):
            if isinstance(value, dict):
                _check(value, allowed[0], f"{where}{name}.")
            elif value is not None or len(allowed) == 1:
                raise StateError(f"{where}{name} is not an object")
        elif not _fits(value, allowed):
            raise StateError(f"{where}{name} is {value!r}")


def _fits(value: Any, allowed: tuple[type, ...]) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return type(value) in allowed  # a bool is an int to Python, not here
    return isinstance(value, allowed) and 0 <= value < 2**63
