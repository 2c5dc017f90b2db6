"""The services that the words of a command line name.

Rule 1.  A word is a path or a name first (resolve.py): a directory that exists counts before anything else.
Rule 2.  A bare word that is neither may be a pattern for names, or name services of groups (matches.py).
Rule 3.  Once there is such a word, a service comes once, however often it was named.
"""

from __future__ import annotations

import os

from supervise.client.errors import ClientError, UnknownService
from supervise.client.resolve import first_folder, listed
from supervise.client.service import Service

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Named = tuple[str, Service | ClientError]


def services(*words: str) -> list[Service]:
    """Every service below `status` in the current directory, or where that is not there below $SUPERVISE_ROOT.

    With words, those that they name, each once: names and paths, shell patterns for names, GROUP:* and GROUP:NAME.
    Raises UnknownService if there is no such directory, or a word names nothing; NoPermission or SystemRefused if
    something cannot be read that has to be, such as a state that tells the groups.
    """
    if not words:
        folder = first_folder()
        return [Service(os.path.join(folder, name)) for name in listed(folder)]
    found: dict[str, Service] = {}
    for _, service in named(words):
        if isinstance(service, ClientError):
            raise service
        found.setdefault(service.path, service)
    return list(found.values())


def named(words: Iterable[str], warn: Callable[[str], None] | None = None) -> list[Named]:
    """Each service in the order of the words, or why there is none, with the word, or the path where that is known.

    `warn` is told what is to be said about a word that names services all the same.
    """
    found: list[Named] = []
    several = False
    for word in words:
        try:
            found.append((word, Service(word)))
        except UnknownService as why:
            if "/" in word:
                found.append((word, why))
                continue
            from supervise.client.matches import matches

            found += matches(word, why, warn)
            several = True
        except ClientError as why:
            found.append((word, why))
    return _once(found) if several else found


def _once(found: list[Named]) -> list[Named]:
    """The same, without services that were there before."""
    seen = set()
    kept = []
    for word, service in found:
        if isinstance(service, Service):
            if service.path in seen:
                continue
            seen.add(service.path)
        kept.append((word, service))
    return kept
