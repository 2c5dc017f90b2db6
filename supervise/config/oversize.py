"""Configurations beyond the size limit: whether the part that is not read holds a key that restricts."""

from __future__ import annotations

import posix as os

from supervise.config.config import SIZE_LIMIT
from supervise.config.misspellings import mentioned
from supervise.config.sections import without_torn_line
from supervise.system.trust import signature

_LONGEST = 256 << 20  # bytes that are looked through
_WORD = 64  # bytes: longer words are of no interest


def harmless(path: str, data: bytes, found: os.stat_result) -> bool:
    """Whether behind `data` there is no restricting key, nor a misspelt one; `data` and `found` are read_file's."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return False
    try:
        if signature(os.fstat(fd)) != signature(found):
            return False
        start, torn = len(without_torn_line(data)), b""
        for at in range(start, start + _LONGEST, SIZE_LIMIT):
            chunk = os.pread(fd, SIZE_LIMIT, at)
            if mentioned(torn + chunk):
                return False
            if not chunk:
                return True
            torn = last_word(chunk)
        return False
    except OSError:
        return False
    finally:
        os.close(fd)


def last_word(data: bytes) -> bytes:
    """The last word, which may go on in the next chunk."""
    end = data[-_WORD:]
    start = max(end.rfind(mark) for mark in (b" ", b"\n", b"\t", b"\r"))
    return end[start + 1 :]
