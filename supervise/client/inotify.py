"""Changes in status directories, by inotify through pyinotify, for programs that end again.

What counts as a change: the record or the state is replaced, a lock is let go of (so that the end of a supervise
is seen, however it came), a name appears or goes.  What does not: commands, and looking whether supervise runs,
for both open and close FIFOs; a program that looks again after each change must not wake itself.

Where inotify cannot be had (no instance, watch or descriptor is left, there is no /proc, pyinotify cannot be imported),
everything is taken for changed a few times a second: what is waited for comes a moment later then, and nothing is said.
"""

from __future__ import annotations

import errno
import os
import select
import stat
import time

from supervise.protocol.names import CONTROL, OK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_QUIET = (OK, CONTROL)
# As inotify(7) has them, for pyinotify may not be there.
_MODIFY, _CLOSE_WRITE, _MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x2, 0x8, 0x40, 0x80, 0x100, 0x200
_DELETE_SELF, _MOVE_SELF, _Q_OVERFLOW = 0x400, 0x800, 0x4000
_NAMES = _MOVED_TO | _MOVED_FROM | _CREATE | _DELETE
_GONE = _DELETE_SELF | _MOVE_SELF
STATUS_DIR = _NAMES | _GONE | _CLOSE_WRITE  # the mask for a status directory
GROWTH = _NAMES | _GONE | _MODIFY  # the mask for a directory with files that grow

INTERVAL = 0.25  # seconds from one look to the next, without inotify


class Changes:
    """Watches on directories; `fileno()` is readable when there may be something new.

    Without inotify `fileno()` is -1, and `left` says when to look.
    """

    def __init__(self) -> None:
        self._changed: set[str] = set()
        self._paths: dict[int, str] = {}  # by the kernel's number of the watch
        self._looked_at: set[str] = set()  # instead of being watched
        self._look_at = 0.0  # monotonic
        self._notifier: Any = None
        try:
            import pyinotify

            pyinotify.log.disabled = True
            self._manager = pyinotify.WatchManager()
            self._notifier = pyinotify.Notifier(self._manager, self._note, timeout=0)
        except Exception:  # of the kernel, or of whatever is wrong with pyinotify
            self.do_without()

    @property
    def by_looking(self) -> bool:
        """Whether there is no inotify."""
        return self._notifier is None

    def do_without(self) -> None:
        """Have no inotify any more, nor its descriptor."""
        self.close()
        self._looked_at.update(self._paths.values())
        self._paths.clear()
        self._look_at = time.monotonic()  # for what may have got lost

    def _note(self, event: Any) -> None:
        if event.mask & _Q_OVERFLOW:
            self._changed.update(self._paths.values())  # there was more than the kernel would keep
        elif event.name not in _QUIET:
            self._changed.add(self._paths.get(event.wd, event.path))

    def add(self, path: str, mask: int = STATUS_DIR) -> None:
        """Watch a directory.  Raises OSError if it is not there or may not be read."""
        if self._notifier:
            try:
                fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except OSError as why:
                if why.errno not in (errno.EMFILE, errno.ENFILE):
                    raise
                self.do_without()
            else:
                self._watch(path, fd, mask)
        if not self._notifier:
            if not stat.S_ISDIR(os.stat(path).st_mode):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            self._looked_at.add(path)

    def _watch(self, path: str, fd: int, mask: int) -> None:
        """Set a watch through a descriptor, which is closed."""
        try:
            # pyinotify takes no path that is not UTF-8; this one always is.
            link = f"/proc/self/fd/{fd}"
            watch = self._manager.add_watch(link, mask).get(link, -1)
        finally:
            os.close(fd)
        if watch < 0:
            self.do_without()
        else:
            self._paths[watch] = path

    def fileno(self) -> int:
        """The descriptor to wait for; -1: there is none."""
        return int(self._manager.get_fd()) if self._notifier else -1

    def left(self, seconds: float | None) -> float | None:
        """How much of these seconds (None: for ever) may be waited before `drain` is to be called."""
        if self._notifier:
            return seconds
        until = max(self._look_at - time.monotonic(), 0)
        return until if seconds is None else min(until, seconds)

    def wait(self, seconds: float | None) -> set[str]:
        """The directories in which something has changed; none when the time (None: for ever) is over first."""
        end = None if seconds is None else time.monotonic() + max(seconds, 0)
        while not self._changed:
            left = None if end is None else max(end - time.monotonic(), 0)
            select.select([self] if self._notifier else [], [], [], self.left(left))
            self.drain()
            if left == 0:
                break
        changed, self._changed = self._changed, set()
        return changed

    def drain(self) -> None:
        """Take in what the kernel has; for programs that wait for `fileno()` themselves, then call `wait(0)`."""
        if not self._notifier:
            if time.monotonic() >= self._look_at:
                self._changed |= self._looked_at
                self._look_at = time.monotonic() + INTERVAL
            return
        if not self._notifier.check_events(0):
            return
        try:
            self._notifier.read_events()
        except UnicodeDecodeError:
            # A name that is not UTF-8, which pyinotify cannot read: it has lost what came with it.
            self._changed.update(self._paths.values())
        self._notifier.process_events()

    def close(self) -> None:
        """Watch nothing any more."""
        if self._notifier:
            self._notifier.stop()
            self._notifier = None
