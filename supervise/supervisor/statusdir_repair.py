"""Repairing the status directory when it is not at its path any more (statusdir_watch.py).

Theory of operation
-------------------

Rule 1.  What is wrong must still be wrong CONFIRM seconds later: `rm -r` takes its time, and who moves a directory may
         move it back.
Rule 2.  A directory that is gone is made anew as at a start: under its own lock, and whole before it is used.  Its
         descriptors then take the numbers of those before (dup2), which cannot fail, and nothing else in supervise has
         to know.  Until then both locks are held.  A former directory that is still somewhere is left as by a
         supervise that has ended: nobody must take over from there what goes on here.
Rule 3.  Another directory in its place is somebody else's: the service is stopped and supervise ends; unless it goes
         away within STAYS seconds, as that of a start does which finds this supervise (path_conflict.py), or is one
         that this supervise has left.
Rule 4.  What cannot be looked at is not gone.  What cannot be done is said once, and tried again with growing pauses.
"""

from __future__ import annotations

import posix as os
import stat
import time

from supervise.protocol.filenames import fsencode
from supervise.protocol.names import CONTROL, LOCK, LOG_WF, NOTIFY, OK, STATE, STATUS
from supervise.protocol.record import Record
from supervise.protocol.severities import FATAL, NOTICE, WARNING
from supervise.protocol.state import encode
from supervise.protocol.states import ENDED
from supervise.protocol.text import shown_name
from supervise.service.launcher import output_files
from supervise.supervisor import preloaded
from supervise.supervisor.statusdir_watch import DAMAGED, GONE, HERE, OTHER
from supervise.system.statusdir import LockHeld, StatusDir, StatusDirError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from supervise.supervisor.statusdir_watch import StatusDirWatch

state_reader = preloaded.module(preloaded.STATE_READER)
CONFIRM = 0.2  # seconds
LEAVING = 2.0  # the same where supervise is about to end: who removes the directory may have known that
STAYS = 3.0  # seconds that a directory must be there to be somebody's
_IDENTITY = "machine", "supervise_pid", "boot_id", "command", "directory"  # what tells a state from all others
_FIRST, _LAST = 0.25, 5.0  # seconds from one try to the next, doubled each time


class Repair:
    """One repair of the status directory; `over` when it is done, or there is nothing to do any more."""

    def __init__(self, watch: StatusDirWatch) -> None:
        self._watch = watch
        self._directory = watch.directory
        self._kept = watch.kept
        self._status_writer = watch.status_writer
        self._service = watch.service
        self._log = watch.log
        self.over = False
        self._next: StatusDir | None = None  # at the path, and to be moved into
        self._since = time.monotonic()
        self._other_since: float | None = None
        self._pause = _FIRST
        self._said = ""

    def look(self) -> None:
        """Do what is due."""
        now = time.monotonic()
        try:
            found = self._watch.found()
            if found == HERE:
                self._end()
                return
            confirmed = self._since + (LEAVING if self._watch.machine.leaving else CONFIRM)
            if now < confirmed:
                self._watch.due = confirmed
                return
            if found == OTHER and not self._is_ours():
                self._wait_for_other(now, "somebody else has made")
            else:
                self._repair(found)
        except LockHeld as why:
            self._wait_for_other(now, f"another supervise has locked ({why})")
        except (OSError, StatusDirError) as why:
            reason = f"{shown_name(self._watch.path)}: {why.strerror}" if isinstance(why, OSError) else str(why)
            # A start that is refused removes what it made, perhaps below our feet: only what is so again is said.
            if self._pause > _FIRST and reason != self._said:
                self._said = reason
                self._log.add(WARNING, "the status directory is not in its place, trying again: %s", reason)
            self._watch.due = now + self._pause
            self._pause = min(self._pause * 2, _LAST)

    def at_once(self) -> bool:
        """Make a directory that has been removed anew, without waiting; whether there is one."""
        if self._watch.machine.leaving or self._pause > _FIRST:
            return False
        try:
            if self._watch.found() != GONE:
                return False
            self._repair(GONE)
        except (OSError, StatusDirError):
            pass
        self._watch.due = time.monotonic()
        return not self._removed()

    def _removed(self) -> bool:
        """Whether nothing leads to the directory that is open any more, and nothing can be made in it."""
        return os.fstat(self._directory.fd).st_nlink == 0

    def _end(self) -> None:
        self.over = True
        self._forget_next()
        if self._said:
            self._log.add(NOTICE, "the status directory is in its place again")

    def _forget_next(self) -> None:
        if self._next:
            os.close(self._next.fd)
            self._next = None

    # Somebody else's.

    def _is_ours(self) -> bool:
        """Whether the other directory is one to move into: just made, or left before."""
        if self._next:
            if self._next.is_at(fsencode(self._watch.path)):
                return True
            self._forget_next()
        found = self._open()
        if not self._is_left(found):
            os.close(found.fd)
            return False
        self._next = found
        return True

    def _is_left(self, directory: StatusDir) -> bool:
        """Whether a directory is one that this supervise has left behind, and nobody has used since."""
        try:
            found = state_reader.decode(directory.read(STATE) or b"")
        except (OSError, StatusDirError, state_reader.StateError):
            return False
        fields = {**self._status_writer.fields(), "machine": ENDED, "directory": directory.identity()}
        return all(found[name] == fields[name] for name in _IDENTITY)

    def _open(self) -> StatusDir:
        """What is at the path.  Raises OSError."""
        path = self._watch.path
        found = StatusDir.attach(path, os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        found.keep()
        return found

    def _wait_for_other(self, now: float, whose: str) -> None:
        if self._other_since is None:
            self._other_since = now
        if now < self._other_since + STAYS:
            self._watch.due = now + _FIRST
            return
        self._watch.lost = True
        text = "%s is another directory now, which %s: stopping the service, supervise ends"
        if self._directory.is_at(fsencode(self._watch.path)):
            text = "%s is a directory that %s: stopping the service, supervise ends"
        self._log.add(FATAL, text, shown_name(self._watch.path), whose)
        self._tell_there()
        self._watch.post("d", False)
        self._watch.post("x", False)

    def _tell_there(self) -> None:
        """Say so in the new directory as well, if it is nobody's yet and no stranger could have planted anything."""
        if self._directory.is_at(fsencode(self._watch.path)):
            return
        try:
            there = self._open()
            try:
                found = os.fstat(there.fd)
                if found.st_uid not in (0, os.geteuid()) or found.st_mode & 0o022:
                    return
                if there.has(LOCK):
                    os.close(there.lock())
                text = "this directory has taken the place of another, whose service is being stopped"
                stamp = time.strftime("%Y-%m-%d %H:%M:%S")
                there.append(LOG_WF, f"[WARNING] {stamp} {text} (pid {self._watch.machine.pid})\n".encode())
            finally:
                os.close(there.fd)
        except (OSError, StatusDirError):
            pass  # it is said where supervise still is

    # Made anew.

    def _repair(self, found: int) -> None:
        """Raises LockHeld, StatusDirError, OSError: nothing has changed then."""
        self._watch.busy = True
        try:
            if found == DAMAGED:
                self._mend()
            else:
                if found == GONE:
                    self._forget_next()
                    self._next = StatusDir(self._watch.path)
                if self._next and (found == OTHER or self._next.made):
                    self._move(self._next)
                else:  # somebody was faster
                    self._forget_next()
                    self._watch.due = time.monotonic() + _FIRST
        finally:
            self._watch.busy = False

    def _mend(self) -> None:
        """The directory is the same, but not all of its files."""
        names = [name for name, fd in self._kept.numbers().items() if not self._directory.names(name, fd)]
        made = {}
        if LOCK in names:
            made[LOCK] = self._directory.lock()
        try:
            if LOCK in made:
                self._directory.claim(made[LOCK], self._watch.place)
            if CONTROL in names or OK in names:
                self._clear(names)
                made[CONTROL], made[OK] = self._directory.open_fifos()
                self._drain()
            for name, fd in made.items():
                os.dup2(fd, self._kept.numbers()[name], inheritable=False)
        finally:
            for fd in made.values():
                os.close(fd)
        for name in names:
            self._log.add(WARNING, "%s/%s had been removed or replaced: made anew", shown_name(self._watch.path), name)
        self._say_replaced(self._directory)
        if not self._service.is_named():
            self._service.moved()
            self._log.add(WARNING, "%s/%s had been removed: made anew", shown_name(self._watch.path), NOTIFY)
        self._watch.due = time.monotonic()

    def _clear(self, names: list[str]) -> None:
        """What a letter makes that is written where no FIFO is, is removed; the names are supervise's own."""
        for name in names:
            try:
                if name != LOCK and not stat.S_ISFIFO(os.lstat(name, dir_fd=self._directory.fd).st_mode):
                    os.unlink(name, dir_fd=self._directory.fd)
            except FileNotFoundError:
                pass

    def _move(self, new: StatusDir) -> None:
        """Have another directory in place of the one that is open: rule 3."""
        fds: dict[str, int] = {}
        try:
            fds["old"] = os.dup(self._directory.fd)
            fds["old lock"] = os.dup(self._kept.lock)
            fds[LOCK] = new.lock()
            fds[CONTROL], fds[OK] = new.open_fifos()
            new.claim(fds[LOCK], self._watch.place)
            for name in output_files(self._watch.machine.config):
                os.close(new.open_output(name))
            self._write_into(new)
        except (OSError, StatusDirError):
            if LOCK in fds:
                self._next = None
                new.undo()
                os.close(new.fd)
            # Else it stays open, and known: what was made here and could not be locked is nobody else's.
            for fd in fds.values():
                os.close(fd)
            raise
        removed = self._removed()
        if not removed:
            text = "%s does not lead here any more: supervise goes on in another directory"
            self._log.add(WARNING, text, shown_name(self._watch.path))
            self._log.flush()
        self._drain()
        for name, fd in self._kept.numbers().items():
            os.dup2(fds[name], fd, inheritable=False)
        os.dup2(new.fd, self._directory.fd, inheritable=False)
        self._directory.foreign = new.foreign
        self._say_moved(fds["old"], removed, new.made)
        self._say_replaced(new)
        new.keep()
        self._status_writer.moved()
        self._service.moved(fds["old"])
        kept = removed or self._leave(fds["old"], fds["old lock"])
        for name, fd in fds.items():
            if kept or name != "old lock":
                os.close(fd)
        self._forget_next()
        self._watch.due = time.monotonic()  # and the watches

    def _write_into(self, directory: StatusDir, left: bool = False) -> None:
        """Write record and state into the directory to come, or into the one that is `left`.  Raises OSError."""
        record, fields = self._status_writer.last(), {**self._status_writer.fields(), "directory": directory.identity()}
        if left:
            record = Record(time.time_ns(), False, record.want, record.alarms, 0)
            fields.update(machine=ENDED, service=None, remains=None, formers=[], notify_address=None, loggers=None)
        directory.replace(STATUS, record.encode())
        directory.replace(STATE, encode(fields))

    def _say_moved(self, old: int, removed: bool, made: bool) -> None:
        where = "was removed"
        if not removed:
            try:
                where = f"is {shown_name(os.readlink(f'/proc/self/fd/{old}'))} now"
            except OSError:
                where = "is elsewhere now"
        done = "made anew" if made else "back"
        self._log.add(WARNING, "%s %s: the directory before it %s", shown_name(self._watch.path), done, where)
        pid = self._watch.machine.pid
        if pid:
            text = "the service (pid %d) goes on; until it is started again, what it prints goes where it went before"
            self._log.add(NOTICE, text, pid)

    def _say_replaced(self, directory: StatusDir) -> None:
        """What was there and is not believed."""
        for line in directory.replaced:
            self._log.add(WARNING, "%s", line)
        directory.replaced.clear()

    def _leave(self, old: int, lock: int) -> bool:
        """Leave the former directory as by a supervise that has ended; if that cannot be done, it stays locked."""
        former = StatusDir.attach(self._watch.path, old)
        former.keep()
        try:
            self._write_into(former, left=True)
            os.ftruncate(lock, 0)
        except OSError as why:
            self._log.add(WARNING, "the directory before it cannot be written (%s), and stays locked", why.strerror)
            return False
        return True

    def _drain(self) -> None:
        """Letters that are in the FIFO are obeyed, whatever becomes of it."""
        letters = b""
        try:
            while len(letters) < 1 << 20:
                letters += os.read(self._kept.control, 65536)
        except OSError:
            pass
        self._watch.obey(letters)
