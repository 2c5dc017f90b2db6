"""Directories of cgroup v2: opening one that is really that, before anything in it is written to."""

from __future__ import annotations

import errno
import posix as os

_READ = 1 << 16  # bytes at once


def open_cgroup(path: bytes) -> int:
    """Open a directory of a cgroup v2 file system that is mounted here; its descriptor.

    Raises OSError; ENOTDIR, with words of its own, where it is another directory.
    """
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        device = os.fstat(fd).st_dev
        if not _is_cgroup2(os.major(device), os.minor(device)):
            raise NotADirectoryError(errno.ENOTDIR, "not a directory of cgroup v2")
    except BaseException:
        os.close(fd)
        raise
    return fd


def _is_cgroup2(major: int, minor: int) -> bool:
    """Whether a device is that of a cgroup v2 file system which is mounted here.  Raises OSError."""
    device = b"%d:%d" % (major, minor)
    with open("/proc/self/mountinfo", "rb", buffering=0) as file:
        data = b""
        while part := file.read(_READ):
            data += part
    for line in data.split(b"\n"):
        mount, _, rest = line.partition(b" - ")
        if mount.split(b" ")[2:3] == [device] and rest.split(b" ")[0] == b"cgroup2":
            return True
    return False
