"""A configuration that is a descriptor of the caller's: `-F <(...)`, `-F /dev/stdin`.

The daemon has none of the caller's descriptors, and what comes out of a pipe is gone then.  So it is read once, by the
command line, and handed over as a text.
"""

from __future__ import annotations

import os

from supervise.config.config import SIZE_LIMIT
from supervise.protocol.text import shown_name
from supervise.system.trust import Untrusted, refuse_unbelieved

_FOLDERS = ("/dev/fd", "/proc/self/fd")
_NAMED = {"/dev/stdin": 0}


class Unreadable(Exception):
    """The descriptor cannot be read as a configuration; the message says why."""


def descriptor(path: str) -> int | None:
    """The number of the descriptor that a path names; None for any other path."""
    folder, _, name = path.rpartition("/")
    if folder in _FOLDERS and name.isascii() and name.isdigit():
        return int(name)
    return _NAMED.get(path)


def read(path: str) -> bytes | None:
    """Read the descriptor that a path names, to its end; None for any other path.  Raises Unreadable."""
    fd = descriptor(path)
    if fd is None:
        return None
    data = b""
    try:
        refuse_unbelieved(fd)
        while len(data) <= SIZE_LIMIT:
            part = os.read(fd, SIZE_LIMIT + 1 - len(data))
            if not part:
                break
            data += part
    except Untrusted as why:
        raise Unreadable(f"{shown_name(path)}: not believed: {why}") from None
    except (OSError, OverflowError) as why:
        raise Unreadable(f"{shown_name(path)}: cannot be read: {getattr(why, 'strerror', why)}") from None
    if len(data) > SIZE_LIMIT:
        raise Unreadable(f"{shown_name(path)}: longer than {SIZE_LIMIT} bytes")
    if b"\0" in data:
        raise Unreadable(f"{shown_name(path)}: has a NUL in it")
    return data
