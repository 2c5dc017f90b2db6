"""Starting the process that stays (daemon.py): early, and then handing it the options.

What lives here is imported before anything else (supervise.py), so that its interpreter starts while the command line
is read.  What that process does is in supervisor/startup.py.
"""

from __future__ import annotations

import posix as os
import sys
import time

from supervise.protocol.exitcodes import SYSTEM
from supervise.supervisor.handoff import interpreter, options_fd
from supervise.system import subreaper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from supervise.protocol.options import Options

_SAID = 65536  # bytes of what the daemon says that are passed on
_SIGKILL = 9
_READS, _PAUSE = 60, 0.05  # tries to hear what has come of the daemon, and seconds between them


def execute(options: Options, argv: list[str], env: dict[bytes, bytes]) -> NoReturn:
    """Become the supervise of the service, for --foreground.  Raises OSError."""
    os.dup2(options_fd(options), 0)
    become(argv, env)


def become(argv: list[str], env: dict[bytes, bytes]) -> NoReturn:
    """Execute the interpreter that stays.  Raises OSError.

    It stays a subreaper through that, and what it takes to become one is not in its memory.
    """
    problem = subreaper.become()
    os.execve(sys.executable, interpreter(argv, orphans=not problem), env)


class Daemon:
    """The process that stays, which waits for its options."""

    def __init__(self, argv: list[str], env: dict[bytes, bytes]) -> None:
        """Raises OSError."""
        its_input, self._tell = os.pipe()
        self._report, its_output = os.pipe()
        # What it says is passed on: from an interpreter that cannot start it would be more than a line.
        self._said = os.memfd_create("said")
        try:  # under a limit of the size of files (RLIMIT_FSIZE) nothing could be said there
            os.ftruncate(self._said, _SAID)
            os.ftruncate(self._said, 0)
        except OSError:
            _close(self._said)
            self._said = -1
        self._pid = os.fork()
        if not self._pid:
            try:
                os.dup2(its_input, 0)
                os.dup2(its_output, 1)
                if self._said >= 0:
                    os.dup2(self._said, 2)
                os.set_inheritable(0, True)  # it may have been 0 before, where the caller had that closed
                become(argv, env)
            finally:
                os._exit(SYSTEM)
        _close(its_input)
        _close(its_output)

    def supervise(self, options: Options) -> int:
        """Hand it the options; the exit code, when the service has been started.  Raises OSError."""
        data = options.encode()
        try:
            while data:
                data = data[os.write(self._tell, data) :]
        except BrokenPipeError:
            pass  # its end is noticed below
        tell, self._tell = self._tell, -1
        _close(tell)
        code = self._reported()
        if not code:
            how = self._end()
            last = self._says().strip().rpartition(b"\n")[2].decode("utf-8", "backslashreplace")
            more = f": {last}" if last else ""
            from supervise.protocol.text import shown_name

            raise ChildProcessError(f"cannot supervise {shown_name(options.path)}: the daemon ended {how}{more}")
        if code[0] == 0:
            self._pid = 0  # it stays
        try:
            os.write(2, self._says())
        except (OSError, MemoryError):
            pass  # nobody listens; and however it is, the code is known
        return code[0]

    def _reported(self) -> bytes:
        """The exit code as one byte, nothing where it has ended without.  Raises OSError: nobody knows."""
        for _ in range(_READS):
            try:
                return os.read(self._report, 1)
            except OSError:
                time.sleep(_PAUSE)  # it has been told, and goes on: what comes of it is to be known
        self._pid = 0
        return os.read(self._report, 1)

    def _says(self) -> bytes:
        """What it has said to its standard error."""
        return os.pread(self._said, _SAID, 0) if self._said >= 0 else b""

    def dismiss(self) -> None:
        """Reap a daemon that was handed nothing, or could not start."""
        tell, self._tell = self._tell, -1
        if tell >= 0:
            _close(tell)
        if self._pid:
            if tell >= 0:
                try:
                    os.kill(self._pid, _SIGKILL)  # somebody else may have the other end open, and it would read on
                except OSError:
                    pass
            self._end()

    def _end(self) -> str:
        """Wait for its end; how it ended."""
        pid, self._pid = self._pid, 0
        try:
            return f"with wait status {os.waitpid(pid, 0)[1]}"
        except ChildProcessError:
            return "unobserved"  # the caller has SIGCHLD ignored, so the kernel reaps it


def _close(fd: int) -> None:
    try:
        os.close(fd)
    except OSError:
        pass  # it is closed all the same
