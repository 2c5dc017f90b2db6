"""inotify watches on status directories, through pyinotify, for programs that end again.

What counts as a change: the record or the state is replaced, a lock is let go of (so that the end of a supervise
is seen, however it came), a name appears or goes.  What does not: commands, and looking whether supervise runs,
for both open and close FIFOs; a program that looks again after each change must not wake itself.
"""

from __future__ import annotations

import os
import select
import time

import pyinotify

from supervise.protocol.names import CONTROL, OK

_QUIET = (OK, CONTROL)
_NAMES = pyinotify.IN_MOVED_TO | pyinotify.IN_MOVED_FROM | pyinotify.IN_CREATE | pyinotify.IN_DELETE
_GONE = pyinotify.IN_DELETE_SELF | pyinotify.IN_MOVE_SELF
STATUS_DIR = _NAMES | _GONE | pyinotify.IN_CLOSE_WRITE  # the mask for a status directory
GROWTH = _NAMES | _GONE | pyinotify.IN_MODIFY  # the mask for a directory with files that grow


class NoWatches(Exception):
    """The kernel has no inotify instance or watch left; the message says which limit it is."""


class Changes:
    """Watches on directories; `fileno()` is readable when there may be something new."""

    def __init__(self) -> None:
        """Raises NoWatches."""
        pyinotify.log.disabled = True
        try:
            self._manager = pyinotify.WatchManager()
        except OSError as why:
            raise NoWatches(f"no inotify instance is left, see fs.inotify.max_user_instances ({why})") from None
        self._notifier = pyinotify.Notifier(self._manager, self._note, timeout=0)
        self._changed: set[str] = set()
        self._paths: dict[int, str] = {}

    def _note(self, event: pyinotify.Event) -> None:
        if event.mask & pyinotify.IN_Q_OVERFLOW:
            self._changed.update(self._paths.values())  # there was more than the kernel would keep
        elif event.name not in _QUIET:
            self._changed.add(self._paths.get(event.wd, event.path))

    def add(self, path: str, mask: int = STATUS_DIR) -> None:
        """Watch a directory.  Raises NoWatches, or OSError if it is not there or may not be read."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # pyinotify takes no path that is not UTF-8; this one always is.
            link = f"/proc/self/fd/{fd}"
            watch = self._manager.add_watch(link, mask).get(link, -1)
        finally:
            os.close(fd)
        if watch < 0:
            raise NoWatches(f"cannot watch {path}, see fs.inotify.max_user_watches")
        self._paths[watch] = path

    def fileno(self) -> int:
        """The descriptor to wait for."""
        return int(self._manager.get_fd())

    def wait(self, seconds: float | None) -> set[str]:
        """The directories in which something has changed; none when the time (None: for ever) is over first."""
        end = None if seconds is None else time.monotonic() + max(seconds, 0)
        while not self._changed:
            left = None if end is None else max(end - time.monotonic(), 0)
            if not select.select([self], [], [], left)[0]:
                break
            self.drain()
        changed, self._changed = self._changed, set()
        return changed

    def drain(self) -> None:
        """Take in what the kernel has; for programs that wait for `fileno()` themselves, then call `wait(0)`."""
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
        self._notifier.stop()
