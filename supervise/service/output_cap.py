"""The limit of what is kept of a service's output: the files that it prints to are looked at, and rotated in time.

Theory of operation
-------------------

Rule 1.  The service writes into its files itself, and is neither asked nor stopped for a rotation.  A helper does it
         (helpers/rotation.py): it reads much, and waits for the disk.
Rule 2.  Nobody polls.  A one-shot watch tells that a file was written to; then it is looked at, and again each second
         as long as it grows.  One that does not grow any more is watched again, and costs nothing.
Rule 3.  The watch is one more on the inotify descriptor that supervise has, for there are few of these; it goes when
         the other watches are set anew, and comes back.  Where there is none, the file is looked at now and then.
Rule 4.  What a helper could not do is tried again, at longer and longer intervals, and said once.
Rule 5.  Where only a start can help (the filesystem cannot take anything out of a file), the next start gets a fresh
         file.
Rule 6.  A file is where the service was started to print to, whatever the configuration says by now; limits are those
         that it says.  The directory of one of the user's choice is opened for each look.  Two streams to one file are
         one file, with the limit of the first that has one.
"""

from __future__ import annotations

import posix as os
import stat
import time

from supervise.protocol.filenames import split
from supervise.protocol.names import STDERR, STDOUT
from supervise.protocol.severities import NOTICE, WARNING
from supervise.protocol.text import shown_name
from supervise.service.part import Part
from supervise.system import helper
from supervise.system.descriptors import close
from supervise.system.inotify import MODIFY, ONESHOT, add
from supervise.system.log_parts import LogParts
from supervise.system.spawn import send
from supervise.system.trust import Untrusted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from supervise.config.config import Config
    from supervise.machine.machine import Machine
    from supervise.protocol.exitstatus import ExitStatus
    from supervise.runtime.event_log import Log
    from supervise.runtime.reactor import Reactor
    from supervise.runtime.status_writer import StatusWriter
    from supervise.system.statusdir import StatusDir

_EVERY = 1.0  # seconds from one look to the next
_UNWATCHED = 10.0  # the same, where nothing tells that the file has grown
_FIRST, _LONGEST = 2.0, 60.0  # seconds to another try; doubled each time
_ANSWER = 4096  # bytes at most


class CappedFile:
    """One file that is kept within a limit."""

    def __init__(self, cap: OutputCap, path: str) -> None:
        """`path`: a name in the status directory, or the path of another file."""
        self._cap = cap
        above, self.name = split(path)
        self._path = path if above else ""
        self.shown = shown_name(path) if above else f"{cap.directory.shown_path}/{shown_name(path)}"
        self.limit = self.backups = 0  # bytes, files
        self.due: float | None = 0.0  # monotonic: when to look at it
        self._looked_at = 0.0
        self._watched = -1  # which setting of the watches has one for it
        self._size = -1  # as it was looked at
        self._inode = 0
        self._start = 0  # the size of the hole that it begins with, and keeps
        self._at_starts = False  # only those help
        self._pause = 0.0
        self._changed = False  # what it is kept within, so that there may be parts too many
        self._said: set[str] = set()
        self.helper = 0  # its pid
        self._answer = -1

    def configure(self, limit: int, backups: int) -> None:
        """Use another limit from now on."""
        if (limit, backups) != (self.limit, self.backups):
            self._changed = bool(self.limit)
            self.limit, self.backups = limit, backups
            self.kill()

    def tell(self) -> None:
        """It was written to."""
        self._watched = -1
        self.look_by(max(time.monotonic(), self._looked_at + _EVERY))

    def look_by(self, at: float) -> None:
        """Look at it then, or before."""
        if not self.helper and (self.due is None or at < self.due):
            self.due = at

    def check_watch(self, settings: int) -> None:
        """Have it watched again, where the watches were set anew since."""
        if self._watched not in (-1, settings):
            self._watched = -1
            self.look_by(time.monotonic())

    def look(self, now: float) -> None:
        """Look whether it has outgrown its limit."""
        self.due = None
        self._looked_at = now
        folder = self._enter()
        fd = self._open(folder)
        try:
            if fd < 0:
                return  # the next start makes it
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                return
            if found.st_ino != self._inode:
                self._inode, self._start, self._at_starts = found.st_ino, 0, False
            elif found.st_size < self._size:
                self._note_cut()
            grown, self._size = found.st_size != self._size, found.st_size
            if self._changed or (found.st_size - self._start > self.limit and not self._at_starts):
                self._changed = False
                self._rotate(folder)
            elif grown:
                self.due = now + _EVERY
            elif not self._watch(fd):
                self.due = now + _UNWATCHED
            elif os.fstat(fd).st_size != self._size:  # between the two
                self.tell()
        finally:
            close(fd)
            self._leave(folder)

    def _enter(self) -> int:
        """The directory that it is in, -1 if that cannot be opened."""
        if not self._path:
            return self._cap.directory.fd
        from supervise.system.output_file import open_parent  # launcher.py has it imported

        try:
            return open_parent(self._path)
        except (Untrusted, OSError):
            return -1

    def _leave(self, folder: int) -> None:
        if self._path:
            close(folder)

    def _open(self, folder: int) -> int:
        try:
            return os.open(self.name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        except OSError:
            return -1

    def _watch(self, fd: int) -> bool:
        watch = self._cap.reactor.watch
        if not watch or watch.arming or watch.fd < 0:
            return False
        if self._watched != watch.set:
            number = add(watch.fd, fd, MODIFY | ONESHOT)
            if number < 0:
                return False
            watch.guests[number] = self.tell
            self._watched = watch.set
        return True

    def _note_cut(self) -> None:
        """Somebody else has cut it short; the service itself, say, by `> /dev/stdout`."""
        self._start = 0
        self._say("cut", WARNING, "%s was cut short by somebody else: what it held is not kept")

    def _say(self, what: str, severity: str, text: str, *more: object) -> None:
        """Once, until something else is so."""
        if what not in self._said:
            self._said.add(what)
            self._cap.log.add(severity, text, self.shown, *more)

    # The helper.

    def _rotate(self, folder: int) -> None:
        cap = self._cap
        try:
            reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as why:
            self._failed(f"no pipe: {why.strerror}")
            return
        words = [str(self.limit), str(self.backups), cap.compress, self.name]
        try:
            self.helper = helper.start("rotate_helper", words, cap.env, cap.ignored, writing, folder)
        except OSError as why:
            close(reading)
            self._failed(f"cannot start the helper: {why.strerror}")
            return
        finally:
            close(writing)
        self._answer = reading
        pid = self.helper
        cap.reactor.on_exit(pid, lambda how: self._ended(pid, how))

    def _ended(self, pid: int, how: ExitStatus) -> None:
        """The helper has ended, or one that was dropped."""
        if pid != self.helper:
            return
        try:
            data = os.read(self._answer, _ANSWER)
        except OSError:
            data = b""
        self.drop()
        answer = dict(line.partition(" ")[::2] for line in data.decode("utf-8", "replace").splitlines())
        if how.code != 0 or "failed" in answer:
            self._failed(answer.get("failed") or f"the helper {how}")
            return
        self._take(answer)

    def _take(self, answer: dict[str, str]) -> None:
        self._size = -1
        self._start = int(answer["start"])
        way = answer["way"]
        if way == "starts":
            self._at_starts = True
            self._say(way, WARNING, "%s: its filesystem takes nothing out of a file: it is rotated at starts only")
        elif way == "punch":
            self._say(way, NOTICE, "%s: its filesystem only makes holes in files: it seems large until the next start")
        if "removed" in answer:
            self._cap.log.add(WARNING, "no space to rotate %s: %s older parts removed", self.shown, answer["removed"])
        if "no" in answer:  # no space
            self._failed("no space")
            return
        self._pause = 0.0
        self._said.discard("failed")
        self.due = self._looked_at + _EVERY

    def _failed(self, why: str) -> None:
        """Rule 4."""
        self._say("failed", WARNING, "cannot rotate %s: %s; it is tried again", why)
        self._pause = min(self._pause * 2 or _FIRST, _LONGEST)
        self.due = time.monotonic() + self._pause

    def drop(self) -> None:
        """Forget the helper, which can be killed at any time."""
        close(self._answer)
        self.helper, self._answer = 0, -1

    def kill(self) -> None:
        """End the helper, and look again if supervise goes on after all."""
        if self.helper:
            send(self.helper, "KILL", True)
            self.drop()
        self._watched, self.due = -1, 0.0

    # A start.

    def freshen(self) -> None:
        """Have the service begin a new file, where that is the only way (rule 5)."""
        if not self.helper and self._inode and (self._start or (self._at_starts and self._size > self.limit)):
            folder = self._enter()
            parts = LogParts(folder, self.name)
            try:
                if self._start and parts.copies():
                    pass  # of a helper that was killed: whether one is complete, this file tells, and it alone
                elif self.backups:
                    parts.push(self.name, self.backups)
                else:
                    os.unlink(self.name, dir_fd=folder)
            except OSError as why:
                self._say("fresh", WARNING, "cannot put %s aside: %s", why.strerror)
            finally:
                self._leave(folder)
        self._watched = -1  # it may be another file
        self.look_by(time.monotonic() + _EVERY)


class OutputCap(Part):
    """The files of one service that have a limit."""

    def __init__(
        self,
        status_writer: StatusWriter,
        directory: StatusDir,
        env: Mapping[bytes, bytes],
        ignored: Sequence[int],
        reactor: Reactor,
        log: Log,
    ) -> None:
        """`status_writer` knows where the service prints to."""
        self._status_writer = status_writer
        self.directory = directory
        self.env = env
        self.ignored = ignored
        self.reactor = reactor
        self.log = log
        self.compress = ""
        self._limits: tuple[tuple[str, int, int], ...] = ()  # of each stream: its file, bytes, files
        self._files: dict[str, CappedFile] = {}
        self._outputs: dict[str, str] | None = None  # as they are when this is made

    @property
    def due(self) -> float | None:
        """When to look at the first of them."""
        earliest = None
        for file in self._files.values():
            at = file.due
            if at is not None and (earliest is None or at < earliest):
                earliest = at
        return earliest

    def on_time(self, now: float) -> None:
        """Look at those that are due."""
        for file in self._files.values():
            if file.due is not None and now >= file.due:
                file.look(now)

    def configure(self, config: Config) -> None:
        """Use the limits of this configuration from now on."""
        self.compress = config.logfile_compress
        self._limits = (
            (STDOUT, config.stdout_logfile_maxbytes, config.stdout_logfile_backups),
            (STDERR, config.stderr_logfile_maxbytes, config.stderr_logfile_backups),
        )
        self._settle()

    def _settle(self) -> None:
        """Have those that the service prints to and that are limited (rule 6)."""
        self._outputs = self._status_writer.outputs
        places = (self._outputs or {}).values() or ("", "")
        wanted: dict[str, tuple[int, int]] = {}
        for (name, limit, backups), place in zip(self._limits, places):
            if limit and (not place or place.startswith("/")):
                wanted.setdefault(place or name, (limit, backups))
        for path in [path for path in self._files if path not in wanted]:
            self._files.pop(path).kill()
        for path, limits in wanted.items():
            if path not in self._files:
                self._files[path] = CappedFile(self, path)
            self._files[path].configure(*limits)

    def housekeeping(self, machine: Machine) -> None:
        """Have the files watched again, where the watches were set anew."""
        if self._status_writer.outputs != self._outputs:
            self._settle()
        watch = self.reactor.watch
        if watch:
            for file in self._files.values():
                file.check_watch(watch.set)

    def freshen(self) -> None:
        """A start is next."""
        if self._status_writer.outputs != self._outputs:
            self._settle()
        for file in self._files.values():
            file.freshen()

    def restore(self, fields: dict[str, Any]) -> None:
        """Look at all of them: what was going on is not known."""

    def disown(self) -> None:
        """Forget the helpers, which are no children of this copy."""
        for file in self._files.values():
            file.drop()
            file.due = 0.0

    def close(self, leaving: bool) -> None:
        """End the helpers: whoever comes next goes on where they were."""
        for file in self._files.values():
            file.kill()
