"""The parts of a log that was rotated: NAME.1 is the newest, the higher the number the older; NAME.2.gz is compressed.

Moving them up is done in steps that can be interrupted after each: a number that is missing is where to go on, so that
whoever comes next ends up with the same parts, in the same order.
"""

from __future__ import annotations

import posix as os

_GZ = ".gz"


class LogParts:
    """The parts of the log `name` in the directory that a descriptor is open for."""

    def __init__(self, fd: int, name: str) -> None:
        self._fd = fd
        self.name = name

    def form(self, number: int) -> str:
        """The name of a part as it is; empty if there is none of that number.  Raises OSError.

        Where both are there, gzip has not come to its end.
        """
        plain = f"{self.name}.{number}"
        if self._has(plain):
            return plain
        return plain + _GZ if self._has(plain + _GZ) else ""

    def _has(self, name: str) -> bool:
        try:
            os.lstat(name, dir_fd=self._fd)
        except FileNotFoundError:
            return False
        return True

    def remove(self, number: int) -> bool:
        """Remove a part, in any form; whether there was one.  Raises OSError."""
        found = False
        for name in (f"{self.name}.{number}", f"{self.name}.{number}{_GZ}"):
            try:
                os.unlink(name, dir_fd=self._fd)
                found = True
            except FileNotFoundError:
                pass
        return found

    def remove_oldest(self) -> bool:
        """Remove the oldest part; False if there is none.  Raises OSError."""
        number = 0
        while self.form(number + 1):
            number += 1
        return number > 0 and self.remove(number)

    def copies(self) -> list[str]:
        """The names of what is to become parts, if a helper has come so far (rotation.py).  Raises OSError."""
        return sorted(name for name in os.listdir(self._fd) if name.startswith(f"{self.name}.next-"))

    def trim(self, most: int) -> None:
        """Remove the parts beyond so many, of a time when there were more.  Raises OSError."""
        number = most + 1
        while self.remove(number):
            number += 1

    def push(self, new: str, most: int) -> None:
        """Rename a file to the newest part, after the others have moved up, at most so many.  Raises OSError."""
        free = 1
        while free < most and self.form(free):
            free += 1
        if free == most:
            self.trim(most)
        for number in range(free, 1, -1):
            self._move(number - 1, number)
        self._replace(new, 1, "")

    def _move(self, number: int, to: int) -> None:
        plain = f"{self.name}.{number}"
        if self._has(plain):
            try:
                os.unlink(plain + _GZ, dir_fd=self._fd)  # which was not complete
            except FileNotFoundError:
                pass
            self._replace(plain, to, "")
        else:
            self._replace(plain + _GZ, to, _GZ)

    def _replace(self, new: str, number: int, end: str) -> None:
        """Rename a file to a part: what had its place goes with that, and no earlier."""
        plain = f"{self.name}.{number}"
        if end:
            self._unlink(plain)  # it would count
        try:
            os.rename(new, plain + end, src_dir_fd=self._fd, dst_dir_fd=self._fd)
        except IsADirectoryError:  # no rotation has made it; what is in it, if anything, stays
            os.rmdir(plain + end, dir_fd=self._fd)
            os.rename(new, plain + end, src_dir_fd=self._fd, dst_dir_fd=self._fd)
        if not end:
            self._unlink(plain + _GZ)

    def _unlink(self, name: str) -> None:
        try:
            os.unlink(name, dir_fd=self._fd)
        except FileNotFoundError:
            pass
