"""What a command line, or an update of what stays, wants of which service."""

from __future__ import annotations

import errno
import os

from supervise.client.errors import ClientError, refused
from supervise.fleet.changes import Change, Changes, Running, changes, named, refuse_nothing
from supervise.fleet.job import REMOVE, RESTART, START, STARTS, STOP
from supervise.fleet.loaded import Loaded
from supervise.fleet.task import PROGRAM, Task
from supervise.protocol.text import say, shown_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

_CARRY = ("up", "run", "update")  # the verbs for which it matters what is not carried over


def load(task: Task, env: dict[bytes, bytes], severity: str = "fatal") -> Loaded | None:
    """What the file defines; None if it is broken, which was said."""
    loaded = Loaded(task.conf, task.root, env, carries=task.verb in _CARRY)
    for line in loaded.warnings:
        say(PROGRAM, "warning", line)
    for line in loaded.errors:
        say(PROGRAM, severity, line)
    return None if loaded.errors else loaded


def goals_of(task: Task, loaded: Loaded, names: list[str]) -> tuple[dict[str, str], Running, bool]:
    """What is wanted of which service; who supervises them now; and whether all is known that is to be.

    Who is left alone is said.  Raises ClientError.
    """
    if task.verb == "update":
        goals, complete = changed(loaded, {*names} if task.words else None)
        return goals, Running(loaded), complete
    goal = {"down": STOP, "restart": RESTART}.get(task.verb, START)
    if goal == START and task.words:
        names = loaded.order.with_dependencies(names)
    running = Running(loaded, names)
    if goal == STOP and not task.words:
        _tell_undefined(loaded)
    for line in running.others.values():
        say(PROGRAM, "warning", line)
    wanted = [name for name in names if name not in running.others]
    if goal != STOP and not task.words:  # one that is not to be started by itself may run, and be restarted
        again = running.ours if goal == RESTART else ()
        wanted = [name for name in wanted if loaded.services[name].autostart or name in again]
    return dict.fromkeys(wanted, goal), running, True


def _tell_undefined(loaded: Loaded) -> None:
    """Say what runs that was started from the file, which does not define it any more."""
    try:
        left = Running(loaded, loaded.undefined())
    except ClientError as why:
        say(PROGRAM, "warning", f"{why}: what runs beside what is defined is not known")
        return
    for line in left.unknown.values():
        say(PROGRAM, "warning", line)
    if left.ours:
        what = "is" if len(left.ours) == 1 else "are"
        why_not = f"{what} not defined any more, and left running"
        say(PROGRAM, "warning", f"{named(left.ours)} {why_not}: svall down NAME stops what is named")


def changed(
    loaded: Loaded, names: Collection[str] | None, before: Collection[str] = ()
) -> tuple[dict[str, str], bool]:
    """What an update wants of which service, and whether all of that is known; what it leaves alone is said.

    `names`: those that it is about, None for all; `before`: those that were, and may not be defined any more.  Raises
    ClientError.
    """
    compared = changes(loaded)
    about = _about(compared, names, before)
    refuse_nothing(loaded, about)
    unknown = [line for name, line in compared.unknown.items() if names is None or name in names]
    for line in (*compared.alone, *unknown):
        say(PROGRAM, "warning", line)
    return {change.name: change.goal for change in about}, not unknown


def _about(compared: Changes, names: Collection[str] | None, before: Collection[str]) -> list[Change]:
    if names is None:
        return compared.found
    removed = [change for change in compared.found if change.goal == REMOVE and change.name in before]
    return [change for change in compared.found if change.name in names] + removed


def make_room(loaded: Loaded, goals: dict[str, str]) -> None:
    """Have a directory for the services that are to be started.  Raises ClientError."""
    new = [name for name, goal in goals.items() if goal in STARTS and not os.path.lexists(loaded.path(name))]
    if not new:
        return
    try:
        os.makedirs(loaded.root, 0o700, exist_ok=True)
        if not os.access(loaded.root, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as why:
        raise refused(f"make directories in {shown_name(loaded.root)}", why) from None
