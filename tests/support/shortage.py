"""A kernel that refuses: no descriptor is left, or nothing can be written to a file.  Real limits, of this process."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _limited(which: int, soft: int) -> Iterator[None]:
    before = resource.getrlimit(which)
    resource.setrlimit(which, (soft, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(which, before)


@contextmanager
def few_descriptors(left: int = 0) -> Iterator[None]:
    """Any open(2) fails with EMFILE, once so many more were had."""
    fds = [os.open(os.devnull, os.O_RDONLY) for _ in range(left + 1)]
    for fd in fds:
        os.close(fd)
    # The lowest that are free: what is open above them does not count.
    with _limited(resource.RLIMIT_NOFILE, fds[-1]):
        yield


@contextmanager
def no_room() -> Iterator[None]:
    """Any write(2) to a file fails, with EFBIG: a disk of one's own that is full takes root."""
    with _limited(resource.RLIMIT_FSIZE, 0):
        yield


NO_ROOM = "File too large"
NO_DESCRIPTORS = "Too many open files"
