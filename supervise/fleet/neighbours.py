"""Other `svall run` for the same file: that there is one is said.

Each locks the file while it lives, together with the others.  Two for the same file may be meant, each for services of
its own; but one that ends takes those down that the other is for as well.
"""

from __future__ import annotations

import fcntl
import os

from supervise.fleet.task import PROGRAM
from supervise.protocol.text import say, shown_name
from supervise.system.lock_holder import lock_holder
from supervise.system.procfs import read_of


class Neighbours:
    """The other processes that stay for the services of the file `conf`."""

    def __init__(self, conf: str) -> None:
        self._conf = conf
        self._fd = -1
        self.look()

    def look(self) -> None:
        """Say if there is another, and lock the file that there is now; a file that cannot be locked tells nothing."""
        try:
            fd = os.open(self._conf, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError:
            return
        if self._fd >= 0 and os.path.sameopenfile(self._fd, fd):
            os.close(fd)
            return
        self.close()
        self._fd = fd
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._tell(lock_holder(fd))
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            pass  # somebody else locks it for what we do not know

    def _tell(self, pid: str) -> None:
        if pid.isdigit() and read_of(int(pid), "comm") == f"{PROGRAM}\n".encode():
            who = f"svall run looks after services of {shown_name(self._conf)} already (pid {pid})"
            say(PROGRAM, "warning", f"{who}: either takes down at its end what it is for")

    def close(self) -> None:
        """Lock it no more."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
