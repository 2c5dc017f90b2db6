"""Watching whether the path of the status directory still leads to it.

Theory of operation
-------------------

Rule 1.  Nothing is wrong as long as the path leads to the directory that it has open, and `lock`, `control` and
         `ok` in there are the files that it has open: whoever asks by name finds it.
Rule 2.  That is looked at when inotify tells that something on the way was moved, or that one of the three has lost a
         name (which it does before its directory can be removed); when nothing can be made in the directory; a second
         after each change of pid, for a mount makes no event; and, where nothing can be watched, whenever something
         happens.
Rule 3.  What follows when it is not there is in statusdir_repair.py, which hardly any supervise ever needs.  It must be
         at hand all the same when no descriptor is left, or when the installed files are another version's by then.
         So it is not imported but read from a descriptor that was opened in time.
"""

from __future__ import annotations

import errno
import posix as os
import stat
import time

from supervise.config.file import LINKS, watch_plan
from supervise.protocol.filenames import fsdecode, join
from supervise.protocol.lockfile import path_of
from supervise.protocol.names import NOTIFY
from supervise.protocol.states import ENDED
from supervise.system.descriptors import samestat
from supervise.system.installed import PACKAGE
from supervise.system.statusdir import StatusDir

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Protocol

    from supervise.config.file import Watched
    from supervise.machine.machine import Machine
    from supervise.runtime.event_log import Log
    from supervise.runtime.status_writer import StatusWriter
    from supervise.service.service import Service
    from supervise.system.descriptors import HeldDescriptors

    class Away(Protocol):
        """What is done while the path leads elsewhere: statusdir_repair.py."""

        over: bool

        def look(self) -> None:
            """Do what is due."""

        def at_once(self) -> bool:
            """Make a directory that has been removed anew, without waiting; whether there is one."""


HERE, DAMAGED, GONE, OTHER = range(4)
_AFTER_START = 1.0  # seconds from a change of pid to looking: not on the way to a restart
_REPAIR = join(PACKAGE, "supervisor/statusdir_repair.py")
_LONGEST = 1 << 20  # bytes of it


class StatusDirWatch:
    """Watches the path of the status directory.  conf_follower.py says when to look.

    `lost`: to somebody else; `to_watch`: what must be watched has changed.
    """

    __slots__ = (
        *("directory", "kept", "place", "machine", "status_writer", "service", "log", "post", "obey"),
        *("lost", "busy", "to_watch", "_due", "_source", "_pid", "_plan", "_repair"),
    )

    def __init__(
        self,
        directory: StatusDir,
        kept: HeldDescriptors,
        place: bytes,
        machine: Machine,
        status_writer: StatusWriter,
        service: Service,
        log: Log,
        post: Callable[[str, Any], None],
        obey: Callable[[bytes], None],
    ) -> None:
        """`place`: the absolute path that the service knows its directory by.

        `post` is the reactor's; `obey` is for letters that were in a FIFO which has another in its place now.
        """
        self.directory = directory
        self.kept = kept
        self.place = place
        self.machine = machine
        self.status_writer = status_writer
        self.service = service
        self.log = log
        self.post = post
        self.obey = obey
        self.lost = False
        self.busy = False
        self.to_watch = False
        self._due: float | None = None
        self._source = os.open(_REPAIR, os.O_RDONLY | os.O_CLOEXEC)
        self._pid = machine.pid
        self._plan: tuple[Watched, ...] = ()
        self._repair: Away | None = None
        directory.restore = self._restore
        try:
            if path_of(kept.lock) != place:
                directory.claim(kept.lock, place)
        except OSError:
            pass  # a full disk, and it was said

    @property
    def path(self) -> str:
        """The path where the directory has to be; absolute, where a relative one leads nowhere any more."""
        if not self.directory.path.startswith("/"):
            try:
                os.getcwd()
            except OSError:
                return fsdecode(self.place)
        return self.directory.path

    def plan(self) -> tuple[Watched, ...]:
        """The watches that notice a change of the path; while something is wrong, the same as before."""
        if self._repair is None:
            path = self.path
            steps = list(watch_plan(path, directory=True))
            for name in (*self.kept.numbers(), NOTIFY):
                try:
                    found = os.lstat(name, dir_fd=self.directory.fd)
                    steps.append((f"{path}/{name}", LINKS, found.st_dev, found.st_ino))
                except OSError:
                    pass
            self._plan = tuple(steps)
        return self._plan

    @property
    def due(self) -> float | None:
        """The time to look, monotonic; None if nothing is due."""
        if self.machine.pid != self._pid:
            self._pid = self.machine.pid
            if self._due is None:
                self._due = time.monotonic() + _AFTER_START
        return self._due

    @due.setter
    def due(self, at: float | None) -> None:
        self._due = at

    def found(self) -> int:
        """What is at the path: HERE, DAMAGED, GONE or OTHER.  Raises OSError: it could not be looked at."""
        try:
            found = os.stat(self.path)
        except (FileNotFoundError, NotADirectoryError):
            return GONE
        if not stat.S_ISDIR(found.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if not samestat(found, os.fstat(self.directory.fd)):
            return OTHER
        for name, fd in self.kept.numbers().items():
            if not self.directory.names(name, fd):
                return DAMAGED
        return HERE if self.service.is_named() else DAMAGED

    def look(self) -> None:
        """Look whether all is in its place, and repair it or end if it is not."""
        self._due = None
        if self.lost or self.machine.state == ENDED:
            return
        if self._repair is None:
            try:
                if self.found() == HERE:
                    return
            except OSError:
                pass  # it is to be found out what that means
        repair = self._away()
        repair.look()
        if repair.over:
            self._repair, self.to_watch = None, True

    def _restore(self) -> bool:
        """Nothing can be made in the directory, for it has been removed: whether there is one again."""
        if self.busy or self.lost or self.machine.state == ENDED:
            return False
        return self._away().at_once()

    def _away(self) -> Away:
        if self._repair is None:
            names: dict[str, Any] = {"__name__": "supervise.supervisor.statusdir_repair"}
            exec(compile(os.pread(self._source, _LONGEST, 0), _REPAIR, "exec"), names)
            self._repair = names["Repair"](self)
        assert self._repair is not None
        return self._repair
