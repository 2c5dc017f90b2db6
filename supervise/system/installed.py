"""Whether the files of this package are still those that this process was started from."""

from __future__ import annotations

import os


def _identity() -> tuple[int, ...] | None:
    try:
        found = os.stat(__file__)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns


_AT_FIRST = _identity()


def replaced() -> bool:
    """Whether they are not: what is imported now may be of another version."""
    return _identity() != _AT_FIRST
