"""The command line that ps(1) and pgrep(1) show of a process that was not executed but forked.

The kernel shows the memory in which it has once put the arguments (proc(5), cmdline), and a process may write there:
what Linux programs call setproctitle(3).  Python has no way to it but /proc/self/mem, which a process may always write
where it may write its own memory.
"""

from __future__ import annotations

import posix as os

from supervise.protocol.filenames import fsencode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

ROOM = " " * 8192  # an argument of whom is to be copied, for longer arguments of the copies
_ARG_START, _ARG_END = 47, 48  # fields of /proc/PID/stat, counted from 0


class Title:
    """Where this process, and every copy of it, has its arguments."""

    def __init__(self) -> None:
        """Never raises: where it cannot be known, all keep the title of the first."""
        self._start = self._size = self._shown = 0
        self.own = b""  # what is shown of the first
        try:
            fd = os.open("/proc/self/stat", os.O_RDONLY | os.O_CLOEXEC)
            try:
                text = os.read(fd, 4096)
            finally:
                os.close(fd)
            # The name of the process is in parentheses, and may hold anything.
            fields = [b"", b"", *text.rpartition(b")")[2].split()]
            self._start = int(fields[_ARG_START])
            self._size = self._shown = int(fields[_ARG_END]) - self._start
            with open("/proc/self/cmdline", "rb", buffering=0) as file:
                self.own = file.readall() or b""
        except (OSError, ValueError, IndexError):
            pass

    def of(self, words: Sequence[str]) -> bytes:
        """What `show` shows of these arguments; nothing, if there is no room for them."""
        data = b"".join([fsencode(word) + b"\0" for word in words])
        return data.ljust(self._shown, b"\0") if 0 < len(data) <= self._size else b""

    def show(self, data: bytes) -> None:
        """Show other arguments.  Never raises."""
        if not data:
            return
        try:
            fd = os.open("/proc/self/mem", os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.pwrite(fd, data, self._start)
                self._shown = len(data)
            finally:
                os.close(fd)
        except OSError:
            pass
