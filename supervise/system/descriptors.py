"""File descriptors: closing one, and those that are open as long as supervise lives."""

from __future__ import annotations

import posix as os


def close(fd: int) -> None:
    """Close a descriptor.  Never raises: it is closed whatever close(2) says."""
    try:
        os.close(fd)
    except OSError:
        pass


def samestat(one: os.stat_result, other: os.stat_result) -> bool:
    """Whether both are of the same file."""
    return one.st_ino == other.st_ino and one.st_dev == other.st_dev


class HeldDescriptors:
    """The descriptors that are open as long as this supervise lives: the lock and the two FIFOs."""

    __slots__ = ("lock", "control", "ok")

    def __init__(self, lock: int, control: int, ok: int) -> None:
        self.lock = lock
        self.control = control
        self.ok = ok

    def numbers(self) -> dict[str, int]:
        """The descriptors by their file names."""
        return {"lock": self.lock, "control": self.control, "ok": self.ok}
