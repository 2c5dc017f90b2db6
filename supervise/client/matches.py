"""What a word names that is no service: those whose names it matches, and those of groups.

Rule 1.  Services are looked for where bare names are (resolve.py), and in the current directory last, if that is one
         of services, which are all named `status`.  The first of these in which the word names something counts.
Rule 2.  The groups of a service are those that its `state` tells: no configuration is read, which may be elsewhere, or
         somebody else's, or say by now what does not run yet.  So they are known of what a supervise of svall has run.
Rule 3.  Those of a group come in its order, then others by name.
Rule 4.  Where a state cannot be read of a service that the word might name, that is said: it may be in the group.
Rule 5.  A group that several files define is all that they say together, and that is said.

What lives here is loaded where a word is no service.
"""

from __future__ import annotations

import os
import stat

from supervise.client.errors import ClientError, SystemRefused, UnknownService, refused
from supervise.client.resolve import FOLDER, folders, listed, unknown
from supervise.client.service import Service
from supervise.protocol.filenames import from_file
from supervise.protocol.selection import is_pattern, matching, selected, splits
from supervise.protocol.selection import unknown as why_not
from supervise.protocol.text import shown_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from typing import Any

    Named = tuple[str, Service | ClientError]


def matches(word: str, missing: UnknownService, warn: Callable[[str], None] | None = None) -> list[Named]:
    """The services that a word names, `missing` or what is wrong instead if there are none; see named.py."""
    try:
        for folder in _folders():
            found, groups = _in_folder(word, folder)
            if found:
                if warn:
                    groups.warn(word, warn)
                return found
        return [(word, _nothing(word, missing))]
    except ClientError as why:
        return [(word, why)]


def _in_folder(word: str, folder: str) -> tuple[list[Named], _Groups]:
    names = listed(folder)
    members = [member for _, member in splits(word)]
    likely = [name for name in names if any(member == "*" or matching(member, [name]) for member in members)]
    groups = _Groups(folder, likely)
    found: list[Named] = []
    for name in selected(word, names, groups.members):
        path = os.path.join(folder, name)
        try:
            found.append((path, Service(path)))
        except ClientError as why:  # gone since
            found.append((path, why))
    return [*found, *groups.unread], groups


def _nothing(word: str, missing: UnknownService) -> UnknownService:
    """Why a word names nothing."""
    groups: set[str] = set()
    for folder in _folders():
        groups.update(_Groups(folder, listed(folder)).members)
    if ":" in word or word in groups:
        return UnknownService(why_not(word, groups), missing.names)
    return unknown(why_not(word, groups), word) if is_pattern(word) else missing


class _Groups:
    """The groups that services of a folder are in: `members` has their names, `unread` what could not be read."""

    def __init__(self, folder: str, names: Collection[str]) -> None:
        self.unread: list[Named] = []
        self._definers: dict[str, dict[str, None]] = {}  # group -> the files that say so
        places: dict[str, list[tuple[str, list[int], str]]] = {}
        for name in names:
            path = os.path.join(folder, name)
            try:
                service = Service(path)
                state, damaged = service.recorded_state()
            except ClientError as why:
                self.unread.append((path, why))
                continue
            if damaged:
                self.unread.append((service.path, SystemRefused(damaged)))
            for group, place in (state and state["groups"] or {}).items():
                conf = _conf(state)
                places.setdefault(from_file(group), []).append((conf, place, name))
                self._definers.setdefault(from_file(group), {})[conf] = None
        self.members = {group: [name for *_, name in sorted(places[group])] for group in sorted(places)}

    def warn(self, word: str, warn: Callable[[str], None]) -> None:
        """Say which of those that the word names are defined in several files."""
        for group in dict.fromkeys(name for one, _ in splits(word) for name in matching(one, self._definers)):
            files = [shown_name(conf) for conf in sorted(self._definers[group])]
            if len(files) > 1:
                warn(f"the group {shown_name(group)} is defined in {' and in '.join(files)}: all of them are meant")


def _conf(state: dict[str, Any] | None) -> str:
    """The file that defines a service, as an absolute path as far as that is known."""
    options = state["options"] if state else None
    return os.path.realpath(os.path.join(options["directory"] or "", options["conf"])) if options else ""


def _folders() -> list[str]:
    """Those directories of services that there are."""
    try:
        here = os.getcwd(), os.environ.get("PWD", "")
    except OSError:
        here = "", ""  # it was removed
    current = [os.curdir] if FOLDER in map(os.path.basename, here) else []
    return [folder for folder in (*folders(), *current) if _is_folder(folder)]


def _is_folder(path: str) -> bool:
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as why:
        raise refused(f"look at {shown_name(path)}", why) from None
