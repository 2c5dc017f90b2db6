"""The pidfile, in which a service names its main process.

What lives here: reading it, and noticing at once that it has changed.  What does not: whether to believe it; the
pid of a process that is not of this service counts for nothing.

It is seen through the directory that it is in (`watch_plan`), so no helper stands between a pidfile that is made,
written, replaced or removed and the loop.  That tells of a write when the file is closed.  A program that keeps
its pidfile open, for a lock on it, is not heard of so: where a file is made and says nothing, or `expect` says that
something should come, it is looked at a few times more.
"""

from __future__ import annotations

import errno
import posix as os
import stat
import time

from supervise.config.file import watch_plan
from supervise.protocol.filenames import join
from supervise.runtime.inotify_lease import SETTLE
from supervise.runtime.path_follower import PathFollower

TYPE_CHECKING = False
if TYPE_CHECKING:

    from supervise.config.file import Watched
    from supervise.runtime.event_log import Log
    from supervise.runtime.inotify_lease import Watch
    from supervise.runtime.reactor import Reactor

_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
# There is no such file, or none that may be read; any other error says nothing of it.
_NOTHING = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EACCES, errno.EPERM, errno.ENXIO)
_SIZE = 64  # bytes that are read
_LOWEST, _HIGHEST = 2, 1 << 22  # 1 is no service's; Linux gives out none above
_FIRST, _LAST = 0.01, 1.28  # seconds between looks that no event asked for: doubled each time
_BURST = 20  # looks a second that follow their event at once; in a busy directory, others wait a little


class PidFile:
    """The pidfile of one service.  `present`: it existed when it was last read."""

    def __init__(self, path: str, base: str = "") -> None:
        """A relative path begins at `base`, and that at the current directory."""
        self.path = join(base, path)
        self.present = False
        self._seen: tuple[object, ...] | None = None

    def read(self) -> int | None:
        """Read the pid in its first line; None if there is no file, or no pid in it.

        Raises OSError: nobody could look.
        """
        self._seen = found = self._look()
        self.present = found is not None
        return pid_in(found[0]) if found else None

    def changed(self) -> bool:
        """Whether the file was replaced or written since it was read.  Raises OSError."""
        return self._look() != self._seen

    def plan(self) -> tuple[Watched, ...]:
        """The watches that notice a change of the file, as its path leads now."""
        return watch_plan(self.path, through_directory=True)

    def _look(self) -> tuple[bytes, object] | None:
        """What it holds, for two writes may have the same time; and which file it is.  Raises OSError."""
        try:
            fd = self._open()
        except OSError as why:
            if why.errno in _NOTHING:
                return None
            raise
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                return None
            return os.read(fd, _SIZE), (found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns)
        finally:
            os.close(fd)

    def _open(self) -> int:
        if os.geteuid() != 0:
            return os.open(self.path, _READ)
        # A service of another user may make it a symlink to a device, and root's opening one may set that off.
        at = os.open(self.path, os.O_PATH | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(at).st_mode):
                return os.dup(at)
            try:
                return os.open(f"/proc/self/fd/{at}", _READ)
            except FileNotFoundError:  # no /proc
                return os.open(self.path, _READ)
        finally:
            os.close(at)


def pid_in(data: bytes) -> int | None:
    """Parse the pid in the first line of a pidfile; None if it is none."""
    line, newline, _ = data.partition(b"\n")
    word = line.strip()
    if not word.isdigit() or (len(data) >= _SIZE and not newline):
        return None
    pid = int(word)
    return pid if _LOWEST <= pid <= _HIGHEST else None


class PidFollower(PathFollower):
    """Follows the pidfile of one service."""

    still_works = "it is still read when the main process ends"

    def __init__(self, file: PidFile, watch: Watch, reactor: Reactor, log: Log) -> None:
        super().__init__(file, watch, reactor, log)
        self._file = file
        self._pause = 0.0  # before the next look that no event asks for
        self._burst_from = 0.0
        self._burst = 0

    def look(self) -> int | None:
        """Read the pid, if the file has changed; else None."""
        self._due()
        pid = None
        try:
            if self._file.changed():
                pid = self._file.read()
                self._pause = _FIRST if self._file.present and pid is None else 0.0
        except OSError:  # it is looked at until it can be
            self._pause = min(self._pause, _LAST / 2) or _FIRST
        self.rewatch()
        if self._pause:
            self._look_by(time.monotonic() + self._pause)
            self._pause = self._pause * 2 if self._pause < _LAST else 0.0
        return pid

    def expect(self) -> None:
        """Look a few times from now on, whether inotify has events or not, for a new pid is awaited."""
        self._pause = _FIRST
        self._look_by(time.monotonic())

    def _settle(self, now: float) -> float:
        if now - self._burst_from >= 1:
            self._burst_from, self._burst = now, 0
        self._burst += 1
        return 0.0 if self._burst <= _BURST else SETTLE
