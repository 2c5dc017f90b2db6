"""Rotation of a file that its writer never closes: what is oldest in it becomes a part of its own.

Theory of operation
-------------------

Rule 1.  The writer appends to the file all the time (O_APPEND), and is never asked.  So nothing is renamed below it:
         whole blocks of the file's beginning are copied to another file, and then taken out, which the kernel does in
         one step.
Rule 2.  What is copied is on the disk before anything is taken out.
Rule 3.  What is taken out becomes a hole first.  The copy is called `NAME.next-INODE-OFFSET` until then.  So whoever
         finds one knows: where the file has a hole in that range, the copy is complete, and the only one; where not,
         it is of no use, and what it was made of is still there.
Rule 4.  Then the copy becomes NAME.1 (log_parts.py), and the hole at the beginning is collapsed.  A hole is nothing
         that the writer has written: one that is found later is collapsed then.
Rule 5.  Where the filesystem cannot collapse, the file keeps its hole, which takes no space, until the next start of
         the service gets a fresh file.  Where it cannot make holes either, all waits for that start.
Rule 6.  Where there is no space for the copy, the oldest part goes.
Rule 7.  The writer may be faster than the disk.  What so many parts could not hold is taken out at once, and nothing
         is waited for that will be taken out as well: the copy is given up while it is being written back, and the
         hole is collapsed, for which all has to be written back, only when the file is within its limit again.
Rule 8.  Parts that will go when those that are due have been made, go before.
"""

from __future__ import annotations

import errno
import os
import stat

from supervise.helpers.background import flush
from supervise.system.file_ranges import Unsupported, block_size, collapse, copy, data_from, hole_from, punch
from supervise.system.log_parts import LogParts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

    from supervise.helpers.background import Background

COLLAPSE, PUNCH, AT_STARTS = "collapse", "punch", "starts"  # what can be done with a file
_PIECE = 1 << 20  # bytes
_FAR = 1 << 30  # bytes
_STEP = 0.05  # seconds from one look to the next, while the disk is waited for
_SAFE = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


class NoSpace(Exception):
    """There is no space for a copy, and no older part to remove."""


class Rotation:
    """The rotation of the file `name` in the directory that the descriptor `directory` is open for.

    `way`: what can be done with it, as far as that was tried; `start`: where it begins, behind a hole that stays;
    `behind`: whether the writer was faster.
    """

    def __init__(self, directory: int, name: str, limit: int, backups: int) -> None:
        """At most `limit` bytes, but for one block, and so many older parts.  Raises OSError."""
        self._directory = directory
        self._name = name
        self._limit = limit
        self._backups = backups
        self._parts = LogParts(directory, name)
        self.fd = os.open(name, os.O_RDWR | _SAFE, dir_fd=directory)
        try:
            self._found = os.fstat(self.fd)
            if not stat.S_ISREG(self._found.st_mode):
                raise OSError(errno.EINVAL, "Not a regular file")
            if self._found.st_nlink > 1:
                raise OSError(errno.EMLINK, f"It has {self._found.st_nlink} links")
        except OSError:
            os.close(self.fd)
            raise
        self._block = block_size(self.fd)
        self.way = COLLAPSE
        self.start = 0
        self.removed = 0  # parts, for want of space
        self.behind = False  # the writer was faster, last time
        self._emptied = False  # holes can be made
        self._flush: Background | None = None  # what was given up, and is not at its end yet

    def close(self) -> None:
        """Close the file."""
        os.close(self.fd)

    def is_current(self) -> bool:
        """Whether the name still leads to it."""
        try:
            found = os.stat(self._name, dir_fd=self._directory, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return os.path.samestat(found, self._found)

    def run(self) -> None:
        """Make parts until the file is within its limit, or outgrows it faster.  Raises NoSpace and OSError."""
        self._recover()
        self._parts.trim(self._backups)
        if self._skip() and (self.behind or self._is_flushing()):
            return
        self.behind = False
        size = self._next_size()
        while size and self.way != AT_STARTS:
            made = self._rotate(size)
            if self._skip() or not made:
                self.behind = True
                return
            size = self._next_size()
        self._close_up()

    def _is_flushing(self) -> bool:
        try:
            if self._flush and not self._flush.wait(0):
                return True
        except OSError:
            pass  # nobody needs it any more
        self._flush = None
        return False

    def _surplus(self) -> int:
        """The parts that so many could not hold."""
        return self._there // self._part - self._backups - 1

    def _skip(self) -> bool:
        """Take out what is surplus, or only make room; whether something was taken out."""
        surplus = self._surplus()
        if surplus > 0 and self._can_empty():
            while self._parts.remove_oldest():  # or some would be missing between
                pass
            return self._take_out(surplus * self._part)
        if self._emptied and self.exceeded:  # rule 8
            due = -(-(self._there - self._limit) // self._part)
            self._parts.trim(max(self._backups - due, 0))
        return False

    @property
    def _there(self) -> int:
        """The bytes of the file, without the hole that it begins with."""
        return os.fstat(self.fd).st_size - self.start

    @property
    def _part(self) -> int:
        """The bytes of a part, but for one of a smaller file."""
        return max(self._limit // self._block, 1) * self._block

    @property
    def unfinished(self) -> bool:
        """Whether there is more to be done."""
        return self.exceeded or (self.way == COLLAPSE and self.start > 0)

    @property
    def exceeded(self) -> bool:
        """Whether the file has outgrown its limit."""
        return self._there > self._limit

    def _next_size(self) -> int:
        """The bytes of the next part; 0: the file is within its limit."""
        if not self.exceeded:
            return 0
        # One byte stays: what is collapsed must not reach the end.
        most = (self._there - 1) // self._block * self._block
        return min(self._part, most)

    def _rotate(self, size: int) -> bool:
        """Make a part; False: it was given up (rule 7)."""
        if not self._backups:
            self._take_out(size)
            return True
        name = f"{self._name}.next-{self._found.st_ino}-{self.start}"
        if not self._copy(name, size):
            return False
        if not self.is_current():  # a start has put it aside, as a part
            os.unlink(name, dir_fd=self._directory)
            raise OSError(errno.ESTALE, "it was replaced")
        # One that was cut short meanwhile has other content by now.
        if self._there >= size and self._take_out(size):
            self._parts.push(name, self._backups)
        else:
            os.unlink(name, dir_fd=self._directory)
        return True

    def _take_out(self, size: int) -> bool:
        if not self._empty(self.fd, self.start, size):
            return False
        self.start += size
        return True

    def _copy(self, name: str, size: int) -> bool:
        """Copy what begins the file; False: it was given up.  Raises NoSpace and OSError."""
        while True:
            fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _SAFE, 0o600, dir_fd=self._directory)
            try:
                if os.geteuid() == 0:
                    os.fchown(fd, self._found.st_uid, self._found.st_gid)
                os.fchmod(fd, stat.S_IMODE(self._found.st_mode))
                copy(self.fd, self.start, size, fd)
                if self._on_disk(os.fsync, fd):
                    os.fsync(self._directory)
                    return True
                os.unlink(name, dir_fd=self._directory)
                return False
            except OSError as why:
                os.unlink(name, dir_fd=self._directory)
                if why.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise
                if not self._parts.remove_oldest():
                    raise NoSpace(why.strerror) from None
                self.removed += 1
            finally:
                os.close(fd)

    def _can_empty(self) -> bool:
        """Try it far behind the end, where nothing is."""
        if not self._emptied:
            end = os.fstat(self.fd).st_size
            self._empty(self.fd, (end // self._block + 1) * self._block + _FAR, self._block)
        return self._emptied

    def _on_disk(self, call: Callable[[int], None], fd: int) -> bool:
        """Have a file written back; False: meanwhile more was printed than is kept.  Raises OSError."""
        self._flush = flush(call, fd)
        while not self._flush.wait(_STEP):
            if self._surplus() > 0:
                return False
        self._flush = None
        return True

    def _empty(self, fd: int, start: int, size: int) -> bool:
        """Make a hole, if that is possible here: piece by piece, for the kernel keeps writers out meanwhile."""
        try:
            for at in range(start, start + size, _PIECE):
                punch(fd, at, min(_PIECE, start + size - at))
        except Unsupported:
            self.way = AT_STARTS
            return False
        self._emptied = True
        return True

    def _close_up(self) -> None:
        """Collapse the hole that begins the file, if that is possible here."""
        whole = min(self.start, os.fstat(self.fd).st_size - 1) // self._block * self._block
        if self.way != COLLAPSE or not whole:
            return
        # What the kernel writes back while it keeps writers out is written before.
        if not self._on_disk(os.fdatasync, self.fd):
            self.behind = True
            return
        try:
            collapse(self.fd, 0, whole)
            self.start -= whole
        except Unsupported:
            self.way = PUNCH

    # What another has begun.

    def _recover(self) -> None:
        begin = f"{self._name}.next-"
        for name in self._parts.copies():
            inode, _, offset = name[len(begin) :].partition("-")
            if inode.isdecimal() and offset.isdecimal():
                self._resume(name, int(inode), int(offset))
        self._join()
        self.start = data_from(self.fd, 0)

    def _resume(self, name: str, inode: int, offset: int) -> None:
        """Rule 3.  Of a file that is not to be found any more a copy may be the only one."""
        size = os.lstat(name, dir_fd=self._directory).st_size
        fd = self._find(inode)
        try:
            if fd >= 0 and (offset + size > os.fstat(fd).st_size or hole_from(fd, offset) >= offset + size):
                os.unlink(name, dir_fd=self._directory)
            elif fd < 0 or self._empty(fd, offset, size):
                self._parts.push(name, self._backups or 1)
        finally:
            if fd >= 0:
                os.close(fd)

    def _find(self, inode: int) -> int:
        """Open the file of that number, whatever somebody has called it meanwhile; -1 if it is not there."""
        if inode == self._found.st_ino:
            return os.dup(self.fd)
        for name in os.listdir(self._directory):
            try:
                if os.lstat(name, dir_fd=self._directory).st_ino == inode:
                    fd = os.open(name, os.O_RDWR | _SAFE, dir_fd=self._directory)
                    if os.fstat(fd).st_ino == inode and stat.S_ISREG(os.fstat(fd).st_mode):
                        return fd
                    os.close(fd)
            except FileNotFoundError:
                continue
        return -1

    def _join(self) -> None:
        """Collapse holes between what was written: where a filesystem collapses in several steps, one was missing."""
        at = hole_from(self.fd, data_from(self.fd, 0))
        while at < os.fstat(self.fd).st_size:
            end = data_from(self.fd, at)
            if at % self._block or end % self._block or end >= os.fstat(self.fd).st_size:
                return  # the writer's own
            try:
                collapse(self.fd, at, end - at)
            except Unsupported:
                return
            at = hole_from(self.fd, at)
