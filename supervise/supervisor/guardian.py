"""The guardian of an upgrade: a copy of the old supervise, which goes on if the new version does not run.

What lives here: the wait on both sides, and what the copy finds out.  What does not: how a supervise goes on that has
been a copy (loop.py), and the exec (upgrade.py, whose rules are about both).

All of it is imported long before it is needed: by then the files of this package are another version's.

Theory of operation
-------------------

Rule 1.  There is a pipe with one byte in it, and whoever takes that byte is the supervise from then on: the new version
         when it is about to obey, or the copy when it has waited too long.  So there are never two.
Rule 2.  The other end of the pipe is open in the new version alone.  When that is closed, by its death or because it
         has taken the byte, the copy looks whether the byte is there.
Rule 3.  The copy does nothing to the world until the byte is its own.
"""

from __future__ import annotations

import fcntl
import posix as os
import select
import time

from supervise.protocol.exitstatus import from_wait_status
from supervise.system.pidfd import exit_info
from supervise.system.spawn import HANDLED, NUMBERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from typing import Callable
else:
    import _signal  # see spawn.py

PATIENCE = 30.0  # seconds that the new version may take until it runs
_DYING = 0.2  # seconds to wait for the end of a new version that has closed everything and said nothing
_AGAIN = 0.01  # seconds until what the kernel refused is tried again
_LAST_WORDS = 65536  # bytes


class Guardian:
    """The copy, seen from both sides of the fork; `pid` is the copy's own, 0 in the copy.

    `kept` is what the new version needs, by name: `token` and `alive`, the ends of the pipe; `stderr`, what its
    standard error is to be when it runs.  Until then that is `output`.
    """

    def __init__(self) -> None:
        """Fork the copy.  Signals are blocked.  Raises OSError, and there is no copy then."""
        self.kept: dict[str, int] = {}
        self.output = -1
        self._parent = os.getpid()
        try:
            self.kept["token"], self.kept["alive"] = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            os.write(self.kept["alive"], b"!")
            self.output = os.memfd_create("output")
            self.kept["stderr"] = fcntl.fcntl(2, fcntl.F_DUPFD_CLOEXEC, 3)
            self.pid = os.fork()
        except OSError:
            self._close()
            raise

    def dismiss(self) -> None:
        """End the copy, for there is no new version after all."""
        try:
            os.dup2(self.kept["stderr"], 2)
        except OSError:
            pass
        if not taken(self.kept["token"]):
            os.kill(self.pid, _signal.SIGKILL)
        self._close()

    def watch(self, replaced: Callable[[], bool]) -> tuple[str, list[str]]:
        """Wait for the new version, in the copy; when it runs, this ends the process.

        Else there is none any more: what became of it, and the names of signals that came and that it has not obeyed.
        `replaced`: whether one that has not taken the byte runs all the same.  Never raises.
        """
        let_go(self.kept.pop("alive"))
        try:
            # What the service leaves behind is told from supervise's own helpers by their sessions (members.py).
            os.setsid()
        except OSError:
            pass
        pidfd, status = _open(lambda: os.pidfd_open(self._parent)), _open(lambda: _status_of(self._parent))
        # Nobody in a container can end its process 1.
        in_time = self._wait(float("inf") if self._parent == 1 else time.monotonic() + PATIENCE)
        signals = _pending(status)
        if not taken(self.kept["token"]) or (not in_time and replaced()):
            os._exit(0)
        said = f"it did not supervise within {PATIENCE:.0f} seconds"
        if in_time:
            how = last_line(self.output).rpartition("fatal: cannot start: ")[2] or self._end(pidfd)
            said = f"it ended before it supervised ({how or 'nobody knows how'})"
        else:
            self._end_parent()
        for fd in (pidfd, status):
            let_go(fd)
        self._close()
        return said, signals

    def _wait(self, until: float) -> bool:
        """Wait for the end of the pipe (rule 2): False if that took too long."""
        while time.monotonic() < until:
            poll = select.poll()
            try:
                poll.register(self.kept["token"], 0)
                if poll.poll(min(until - time.monotonic(), 3600.0) * 1000):
                    return True
            except OSError:
                time.sleep(_AGAIN)
        return False

    def _end(self, pidfd: int) -> str:
        """How the parent has ended, where the kernel tells."""
        poll = select.poll()
        try:
            poll.register(pidfd, select.POLLIN)
            poll.poll(_DYING * 1000)
            # One that nobody has reaped yet tells with its last field, proc(5).
            with open(f"/proc/{self._parent}/stat", "rb", buffering=0) as file:
                fields = file.read(4096).rpartition(b")")[2].split()
            if fields[0] == b"Z":
                return str(from_wait_status(int(fields[-1])))
        except (OSError, ValueError):
            pass
        return str(exit_info(pidfd) or "")

    def _end_parent(self) -> None:
        """See that it does nothing any more."""
        # As long as it is the parent, the number is its own.
        while os.getppid() == self._parent:
            try:
                os.kill(self._parent, _signal.SIGKILL)
                break
            except OSError:
                time.sleep(_AGAIN)
        self._wait(time.monotonic() + 1)

    def _close(self) -> None:
        for fd in (*self.kept.values(), self.output):
            let_go(fd)
        self.kept.clear()
        self.output = -1


def taken(token: int) -> bool:
    """Take the token, the byte that makes this process the supervise; whether it was there (rule 1)."""
    while True:
        try:
            return bool(os.read(token, 1))
        except BlockingIOError:
            return False
        except OSError:  # which says nothing about the byte
            time.sleep(_AGAIN)


def last_line(file: int) -> str:
    """Read the last line of a memfd; empty, if that cannot be read."""
    try:
        size = os.fstat(file).st_size
        said = os.pread(file, _LAST_WORDS, max(size - _LAST_WORDS, 0))
    except OSError:
        return ""
    return said.decode("utf-8", "replace").strip().rpartition("\n")[2]


def _status_of(pid: int) -> int:
    return os.open(f"/proc/{pid}/status", os.O_RDONLY | os.O_CLOEXEC)


def _pending(status: int) -> list[str]:
    """The signals that supervise obeys and that wait for a process, as its /proc/PID/status says."""
    waiting = 0
    try:
        for line in os.read(status, 65536).splitlines():
            if line.startswith((b"SigPnd:", b"ShdPnd:")):
                waiting |= int(line.split()[1], 16)
    except (OSError, ValueError):
        pass  # it has been reaped
    found = [number for number in HANDLED if number != _signal.SIGCHLD and waiting >> (number - 1) & 1]
    return [name for name, number in NUMBERS.items() if number in found]


def _open(opened: Callable[[], int]) -> int:
    try:
        return opened()
    except OSError:
        return -1


def let_go(fd: int) -> None:
    """Close a descriptor, never raising."""
    try:
        os.close(fd)
    except OSError:
        pass
