"""Resolving a name or path that was typed to a status directory.

A path (anything with a slash, and `.` and `..`) is taken as it is.  A bare NAME is looked for in this order:
`status/NAME`, `$SUPERVISE_ROOT/status/NAME`, `$SUPERVISE_ROOT/NAME`, and last NAME in the current directory, so that
`svstat *` works within `status`.
"""

from __future__ import annotations

import os
import stat

from supervise.client.errors import ClientError, NotAStatusDir, UnknownService, refused
from supervise.protocol.names import OK, STATUS
from supervise.protocol.paths import plain
from supervise.protocol.text import quoted, shown_name

ROOT_VARIABLE = "SUPERVISE_ROOT"
FOLDER = "status"
_NAMES_SHOWN = 20


def resolve(argument: str) -> str:
    """The status directory of a service.  Raises UnknownService, NotAStatusDir, NoPermission, SystemRefused."""
    if "/" in argument or argument in (".", ".."):
        path = plain(argument) or ("/" if argument.startswith("/") else ".")
        if _is_dir(path):
            return path
        folder = os.path.dirname(path)
        raise _unknown(f"cannot find {shown_name(path)}: no such directory{_lost(path)}", names(folder), folder)
    if argument:
        for folder in folders():
            path = os.path.join(folder, argument)
            if _is_dir(path):
                return path
        if _is_dir(argument):
            return argument
    raise unknown(f"cannot find a service named {quoted(argument)}", argument)


def unknown(message: str, argument: str) -> UnknownService:
    """The exception for a word that names no service, which the message says; with those that there are."""
    for folder in folders():
        found = names(folder)
        if found:
            return _unknown(f"{message}{_lost(argument)}", found, folder)
    return _unknown(f"{message}: there are no services in {FOLDER}{_lost(argument)}", [], "")


def folders() -> list[str]:
    """The directories in which services are looked for by name: the first that has it counts."""
    root = os.environ.get(ROOT_VARIABLE)
    return [FOLDER, os.path.join(root, FOLDER), root] if root else [FOLDER]


def first_folder() -> str:
    """The directory whose services are meant when none is named.  Raises UnknownService if there is none."""
    for folder in folders():
        if _is_dir(folder):
            return folder
    raise UnknownService(f"cannot list services: there is no directory {FOLDER}{_lost(FOLDER)}", [])


def names(folder: str) -> list[str]:
    """The names of the services below a directory, sorted; none where it cannot be read."""
    try:
        return listed(folder)
    except ClientError:
        return []


def listed(folder: str) -> list[str]:
    """The same.  Raises NoPermission, SystemRefused: "none" would say that nothing is amiss."""
    return [name for name in directories(folder) if _is_status_dir(os.path.join(folder, name))]


def directories(folder: str) -> list[str]:
    """The names of all directories below one, sorted, services or not (yet).  Raises NoPermission, SystemRefused."""
    try:
        with os.scandir(folder or ".") as entries:
            return sorted(entry.name for entry in entries if entry.is_dir())
    except OSError as why:
        raise refused(f"list services in {shown_name(folder or '.')}", why) from None


def _is_status_dir(path: str) -> bool:
    """Whether a supervise has been here.  Where that may not be known: yes, so that looking at it says why."""
    for name in (STATUS, OK):
        try:
            found = os.lstat(f"{path}/{name}")
        except FileNotFoundError:
            continue
        except OSError:
            return True
        if not stat.S_ISDIR(found.st_mode):  # `status` may be a directory of services
            return True
    return False


def _is_dir(path: str) -> bool:
    try:
        if stat.S_ISDIR(os.stat(path).st_mode):
            return True
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as why:
        raise refused(f"look at {shown_name(path)}", why) from None
    raise NotAStatusDir(f"cannot use {shown_name(path)}: it is not a directory")


def _lost(path: str) -> str:
    from supervise.system.errors import lost_directory

    return lost_directory(path)


def _unknown(message: str, found: list[str], folder: str) -> UnknownService:
    if found:
        more = len(found) - _NAMES_SHOWN
        shown = ", ".join(map(shown_name, found[:_NAMES_SHOWN])) + (f" and {more} more" if more > 0 else "")
        message += f"; the services in {shown_name(folder or '.')} are: {shown}"
    return UnknownService(message, found)
