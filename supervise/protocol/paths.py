"""Paths of status directories: how they are normalised, and the name of the service in them.

What lives here: text.  What does not: looking whether anything is there.
"""

from __future__ import annotations

from supervise.protocol.text import quoted


class BadPath(ValueError):
    """Not a path of a status directory; the message says why."""


def plain(path: str) -> str:
    """Normalise a path: without trailing or doubled slashes and without `.` components.

    `..` stays, because what it means depends on symlinks.
    """
    parts = [part for part in path.split("/") if part not in ("", ".")]
    return ("/" if path.startswith("/") else "") + "/".join(parts)


def service_name(path: str) -> str:
    """The service's name: NAME in a normalised path that holds `status/NAME`.  Raises BadPath."""
    at = path.rfind("status/")
    name = path[at + len("status/") :] if at >= 0 else ""
    if not name:
        raise BadPath("the path does not hold status/NAME")
    if name == ".." or "/" in name:
        raise BadPath(f"what follows status/ is not a name: {quoted(name)}")
    return name
