"""Rolling back what a start that fails has made and changed in a status directory."""

from __future__ import annotations

import fcntl
import posix as os
import time

from supervise.protocol import lockfile
from supervise.protocol.names import CONTROL, LOCK, LOG, LOG_WF, NOTIFY, OK, PIPES, STATE, STATUS, STDERR, STDOUT
from supervise.system.descriptors import close

SAFE = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY

TYPE_CHECKING = False


class Rollback:
    """The part of StatusDir that remembers what a start has made, and can undo it."""

    path: str
    fd: int

    if TYPE_CHECKING:

        def names(self, name: str, fd: int) -> bool: ...
        def replace(self, name: str, data: bytes) -> None: ...

    def _begin(self) -> None:
        self._made_dirs: list[str] = []
        self._made_files: list[str] = []
        self._found: dict[str, bytes | None] = {}  # the record and the state as they were
        self._starting = True
        self._lock_was: tuple[int, int] | None = None  # the lock, and its mode before it was closed to others
        self._claim: tuple[int, bytes] | None = None  # the lock, and what it said before

    def note_made(self, name: str) -> None:
        """Note that this start has made a file."""
        if self._starting:
            self._made_files.append(name)

    def keep(self) -> None:
        """Keep what was made, for the service runs."""
        self._starting = False
        self._claim = None
        self._made_dirs.clear()
        self._made_files.clear()

    def undo(self) -> None:
        """Remove what this supervise made, and nothing else, for the start failed.  Only under the lock."""
        # The lock, which was made first, is removed last: whoever makes another one begins.
        names = [*(name for name, data in self._found.items() if data is None), *reversed(self._made_files)]
        self._starting = False
        if self._lock_was:
            try:
                os.fchmod(*self._lock_was)
            except OSError:
                pass
        if self._claim:
            try:  # before the lock is removed: this process may live for a moment, and is not to be found by it
                lockfile.rewrite(*self._claim)
            except OSError:
                pass
        for name, data in self._found.items():
            if data is not None:
                try:
                    self.replace(name, data)
                except OSError:
                    pass
        if self._made_dirs and self._made_dirs[-1] == self.path:
            names = [*PIPES, STDOUT, STDERR, LOG, LOG_WF, STATUS, STATE, NOTIFY, CONTROL, OK, LOCK]
        for name in names:
            try:
                os.unlink(name, dir_fd=self.fd)
            except OSError:
                pass
        self.remove_made()

    def withdraw(self) -> None:
        """Remove the lock where this supervise made it and nobody holds it, and what is above, for it was not taken.

        Tried for a second, as it may be the same fault that keeps one from that.
        """
        for _ in range(50 if LOCK in self._made_files else 0):
            fd = -1
            try:
                fd = os.open(LOCK, os.O_RDWR | SAFE, dir_fd=self.fd)
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if self.names(LOCK, fd):
                    os.unlink(LOCK, dir_fd=self.fd)
                break
            except (FileNotFoundError, BlockingIOError):
                break  # another start has, or holds, it
            except OSError:
                time.sleep(0.02)
            finally:
                if fd >= 0:
                    close(fd)
        self.remove_made()

    def remove_made(self) -> None:
        """Remove the directories that this object made, as far as they are empty.  Never raises."""
        for path in reversed(self._made_dirs):
            try:
                os.rmdir(path)
            except OSError:
                break
        self._made_dirs.clear()
