"""Successors: which process is the main one of a service that replaces its main process itself.

Theory of operation
-------------------

Rule 1.  What names a main process is MAINPID= (sdnotify.py) or the pidfile, and it counts only if it is a process of
         this service (members.py).  From then on it is the main process; the former one may live on as long as it
         likes, and its end is of no importance.
Rule 2.  If the main process ends while a former one lives, that one is the main process again: an upgrade that has
         failed.
Rule 3.  If the main process ends and the pidfile names a process of the service, it is that one.
Rule 4.  If it ended with status 0, where there is a pidfile, and left exactly one child, that is the next: a program
         that forked into the background, or one whose new process writes the pidfile only when the old one is gone.  If
         there are more children than one, the pidfile has to tell; the machine waits for that (SUCCESSION).  So it is
         with a service that was taken over: what it leaves behind goes to another parent, and how it has ended may be
         unknown.
Rule 5.  Anything else is the end of the service.
"""

from __future__ import annotations

import errno
import posix as os

from supervise.protocol.severities import NOTICE, WARNING
from supervise.runtime.inotify_lease import Watch
from supervise.service.leftover_group import of_start
from supervise.service.part import Part
from supervise.service.pidfile import PidFile, PidFollower
from supervise.system.members import belongs, children, left_in_session
from supervise.system.pidfd import Process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, Callable

    from supervise.config.config import Config
    from supervise.protocol.exitstatus import ExitStatus
    from supervise.runtime.event_log import Log
    from supervise.runtime.reactor import Reactor

UNDECIDED = -1
# pidfd_open: no such process, or a thread of one; a kernel without pidfds.
_NONE = (errno.ESRCH, errno.EINVAL, errno.ENOENT, errno.ENOSYS)


class Successor(Part):
    """The main process of one service and the previous ones, and the pidfile that may name it.

    `named` is called with a pid that the pidfile has come to name, and by what.
    """

    def __init__(
        self,
        env: Mapping[bytes, bytes],
        ignored: Sequence[int],
        reactor: Reactor,
        log: Log,
        named: Callable[[int, str], None],
    ) -> None:
        self._env = env
        self._ignored = ignored
        self._reactor = reactor
        self._log = log
        self._named = named
        self._file: PidFile | None = None
        self._path = "", ""
        self._previous: list[Process] = []  # until they are reaped, so that it can be said how they have ended
        self._identities: list[dict[str, Any]] = []  # of the former ones
        self._refused = 0  # a pid that was named and did not count
        self.follower: PidFollower | None = None

    def configure(self, config: Config) -> None:
        """Follow the configured pidfile, if any."""
        path = config.pidfile, config.directory
        if path == self._path:
            return
        self._path = path
        if self.follower:
            self.follower.close()
        self._file = self.follower = None
        if config.pidfile:
            self._file = PidFile(config.pidfile, config.directory)
            self.follower = PidFollower(self._file, Watch(self._env, self._ignored), self._reactor, self._log)
            self.follower.expect()  # the watches are set when the loop comes to it, and the service runs

    @property
    def due(self) -> float | None:
        """The time to read the pidfile, monotonic."""
        return self.follower.look_at if self.follower else None

    def on_time(self, now: float) -> None:
        """Read the pidfile."""
        self.look()

    def look(self) -> None:
        """Read the pidfile now, and call `named` if it has come to name a process."""
        pid = self.follower.look() if self.follower else None
        if pid is not None:
            self._named(pid, "the pidfile")

    def named(self, pid: int, by: str, main: int, helpers: set[int], session: int) -> Process | None:
        """The process with the pid that a pidfile or a notification has named, if that makes it the main one (rule 1).

        `session`: the main process's, or the last one's.  Raises OSError: nobody could look.
        """
        if pid == main:
            return None
        process = self._member(pid, main, helpers, session)
        if process is None and pid != self._refused and pid not in self.previous_mains():
            self._log.add(WARNING, "ignored pid %d, named by %s: not a process of this service", pid, by)
            self._refused = pid
        return process

    def succeed(self, old: Process | None) -> None:
        """Note that the main process is another now; the old one, if it runs, is a previous one."""
        self._refused = 0
        for process in [process for process in self._previous if process.reaped()]:
            self._previous.remove(process)
            process.close()
        if old and old.fd >= 0 and not old.reaped():
            kept = Process(old.pid, False, os.dup(old.fd))
            os.set_inheritable(kept.fd, False)
            self._previous.append(kept)

    def after(self, old: Process, how: ExitStatus, helpers: set[int], starts: int) -> Process | int | None:
        """The successor of a main process that has ended: a process, UNDECIDED, or None for none.

        `starts`: how many there have been; what earlier ones left behind is not asked.
        """
        try:
            return self._after(old, how, helpers, starts)
        except OSError as why:
            self._log.add(WARNING, "cannot look for the successor of pid %d: %s; looking again", old.pid, why.strerror)
            if self.follower:
                self.follower.expect()
            return UNDECIDED

    def _after(self, old: Process, how: ExitStatus, helpers: set[int], starts: int) -> Process | int | None:
        for process in reversed(self._previous):
            if process.alive():
                self._previous.remove(process)
                return process
        if self._file is None:
            return None
        pid = self._file.read()
        if pid is not None and pid != old.pid:
            process_named = self._member(pid, old.pid, helpers, old.session)
            if process_named:
                return process_named
        if how.code != 0 and not how.unknown:
            return None
        left = [pid for pid in self.candidates(helpers, starts) if pid != old.pid]
        if len(left) == 1 and not how.unknown:
            return self._member(left[0], old.pid, helpers, old.session)
        if (left or self.strays(old.session, starts)) and self.follower:
            self.follower.expect()
            return UNDECIDED
        return None

    def candidates(self, helpers: set[int], starts: int) -> list[int]:
        """The children of supervise that come from the current start of the service."""
        return of_start(starts, children(helpers))

    def strays(self, session: int, starts: int) -> list[int]:
        """The processes that a main process which was taken over has left to other parents."""
        return of_start(starts, left_in_session(session))

    def reaped(self, pid: int, how: ExitStatus) -> None:
        """Note that a child has ended; a previous main process is logged."""
        for process in self._previous:
            if process.pid == pid:
                self._log.add(NOTICE, "former main process %s (pid %d)", how, pid)
                self._previous.remove(process)
                process.close()
                return

    def restore_previous(self, processes: list[Process]) -> None:
        """Restore previous main processes, which an earlier supervise knew."""
        self._previous += processes

    def identities(self) -> list[dict[str, Any]]:
        """The identities of the previous main processes, for the state."""
        if self.previous_mains() != [identity["pid"] for identity in self._identities]:
            self._identities = [process.identity() for process in self._previous]
        return self._identities

    def previous_mains(self) -> list[int]:
        """The pids of the previous main processes, which may still run."""
        return [process.pid for process in self._previous]

    def forget(self) -> None:
        """Forget all of them: the service has ended, or another was started."""
        for process in self._previous:
            process.close()
        self._previous.clear()
        self._refused = 0

    def _member(self, pid: int, main: int, helpers: set[int], session: int) -> Process | None:
        for process in self._previous:
            if process.pid == pid and process.alive():
                self._previous.remove(process)
                return process
        try:
            process = Process(pid, False, os.pidfd_open(pid))
        except OSError as why:
            if why.errno in _NONE:
                return None
            raise
        # The pidfd first: what was looked at then is what it holds.
        counts = False
        try:
            counts = belongs(pid, main, helpers, session) and process.alive()
        finally:
            if not counts:
                process.close()
        return process if counts else None
