"""The signals that `svall run` stays for."""

from __future__ import annotations

import os
import signal

from supervise.protocol.exitstatus import signal_name

TO_BE_TOLD = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def held_back() -> None:
    """Hold the signals back that are to be told, until there are Signals again: process 1 would not get them, and any
    other would end.  (begin.py does the same, before this is loaded.)
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, TO_BE_TOLD)


class Signals:
    """TERM, INT, HUP and CHLD, as names that `fd` is readable for."""

    def __init__(self) -> None:
        """Raises OSError."""
        self.fd, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        self._names: list[str] = []
        for number in (*TO_BE_TOLD, signal.SIGCHLD):
            signal.signal(number, self._note)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, TO_BE_TOLD)

    def _note(self, number: int, frame: object) -> None:
        self._names.append(signal_name(number))

    def take(self) -> list[str]:
        """The names that came, in order; CHLD says that a child may have ended."""
        try:
            os.read(self.fd, 4096)
        except BlockingIOError:
            pass
        names, self._names = self._names, []
        return names


def ended_children() -> list[tuple[int, int]]:
    """Reap all children that have ended, orphans among them: pids and wait statuses."""
    found: list[tuple[int, int]] = []
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if not pid:
            return found
        found.append((pid, status))
