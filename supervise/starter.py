"""Starting the service and its restart script, with their output where it belongs."""

from __future__ import annotations

import os

from supervise.exitstatus import ExitStatus
from supervise.log import NOTICE, WARNING
from supervise.service import append_to, inherit, spawn, why_not
from supervise.statusdir import STDERR, STDOUT, StatusDirError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from supervise.log import Log
    from supervise.options import Options
    from supervise.service import Descriptor
    from supervise.statusdir import StatusDir


class StartError(Exception):
    """The service cannot be started; the message says why."""


class Starter:
    """Starts the processes of one service."""

    def __init__(
        self, options: Options, directory: StatusDir, env: dict[bytes, bytes], ignored: list[int], log: Log
    ) -> None:
        """`env` is the service's; `ignored` as service.py says."""
        self._options = options
        self._directory = directory
        self._env = env
        self._ignored = ignored
        self._log = log
        self._null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        self._outputs = [append_to(*directory.output(name), its) for its, name in ((1, STDOUT), (2, STDERR))]
        self._warned: set[str] = set()

    def check(self) -> None:
        """See that what the service will print can be written.  Raises StartError; later that is a warning only."""
        for name in (STDOUT, STDERR):
            try:
                os.close(self._directory.open_output(name))
            except StatusDirError as why:
                raise StartError(str(why)) from None

    def service(self) -> int | ExitStatus:
        """Start the service: its pid, or why not."""
        command = self._options.command
        try:
            pid = spawn(command, self._env, self._ignored, self._outputs)
        except (OSError, ValueError):
            pass  # the program, or one of the files?
        else:
            # Both of us are runnable now, perhaps on one processor: what is left to do here can wait.
            os.sched_yield()
            return pid
        result = self._spawn(command, session=False)
        return ExitStatus(failure=result) if isinstance(result, str) else result

    def script(self, exits: int) -> int | str:
        """Start the restart script, told how many times the service has exited: its pid, or what went wrong."""
        pid = self._spawn([*self._options.script, str(exits)], session=True)
        if isinstance(pid, str):
            return f"cannot run the restart script: {pid}"
        self._log.add(NOTICE, "restart script started (pid %d), exits: %d", pid, exits)
        return pid

    def _spawn(self, argv: list[str], session: bool) -> int | str:
        """The same step by step: what cannot be opened is replaced by nothing, what went wrong is told."""
        outputs = [(self._output(STDOUT), 1), (self._output(STDERR), 2)]
        descriptors: list[Descriptor] = [inherit(ours, its) for ours, its in outputs]
        try:
            return spawn(argv, self._env, self._ignored, descriptors, session)
        except OSError as why:
            return why_not(argv[0], why)
        except ValueError as why:
            return f"{argv[0]!r}: {why}"
        finally:
            for fd, _ in outputs:
                if fd != self._null:
                    os.close(fd)

    def _output(self, name: str) -> int:
        """Where the service prints to: the file, or nowhere, with one warning, while that cannot be opened."""
        try:
            fd = self._directory.open_output(name)
        except StatusDirError as why:
            if name not in self._warned:
                self._warned.add(name)
                self._log.add(WARNING, "%s; what the service prints there is lost", why)
            return self._null
        self._warned.discard(name)
        return fd
