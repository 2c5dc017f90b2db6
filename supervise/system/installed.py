"""The installed files of this package: whether they are still those that this process was started from."""

from __future__ import annotations

import posix as os

from supervise.protocol.filenames import dirname, join

# The folder of this package; where it was found in a relative one, that of the beginning.
PACKAGE = dirname(dirname(join(os.getcwd(), __file__) if __file__[:1] != "/" else __file__))


def _identity() -> tuple[int, ...] | None:
    try:
        found = os.stat(__file__)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns


_AT_FIRST = _identity()


def replaced() -> bool:
    """Whether the installed files were replaced: what is imported now may be of another version."""
    return _identity() != _AT_FIRST
