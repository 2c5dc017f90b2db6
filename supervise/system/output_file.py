"""A file of the user's own choice that a service prints to: opening it so that what others plant does no harm.

Theory of operation
-------------------

Rule 1.  The directory is walked to as trust.py has it: symlinks on the way count only if they are root's or supervise's
         user's, and what is above may not be for others to change.
Rule 2.  The directory that it is in belongs to root, supervise's user or the service's, and nobody else can write in
         it, not even with the sticky bit: whoever is first there has the name.  A group that only the system has does
         no harm in a directory of root's (/var/log is `syslog`'s on some systems): see rule 4.
Rule 3.  The last component is never followed.  It is a regular file with one name that belongs to one of these three,
         or a character device of root's or supervise's user's in a directory where nobody else can write.  What it is
         is looked at before it is opened; and that never waits.  A FIFO is refused: the service would wait for its
         reader, or be killed by its end.
Rule 4.  A file that is made belongs to the service's user.  One that is there and is root's is given to him only where
         nobody else could have put it there.
Rule 5.  It is looked at anew at each start.
"""

from __future__ import annotations

import errno
import posix as os
import stat

from supervise.protocol.filenames import split
from supervise.system.credentials import give
from supervise.system.descriptors import close, samestat
from supervise.system.errors import kind
from supervise.system.trust import Untrusted, Way, named_writer, others_write, where

_PATH = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_MODE = 0o644
_ROUNDS = 10  # tries to open what is made and removed again and again
_SYSTEM_GROUPS = 1000  # those below are no people's (login.defs)
_ROOT = 0


class _Way(Way):
    """A walk to a directory of which the service's user and group may be owners; `uid` -1: whoever that is."""

    def __init__(self, begin: str, uid: int, gid: int) -> None:
        super().__init__(begin, reading=True)
        self._uid, self._gid = uid, gid

    def strangers(self, fd: int, found: os.stat_result) -> str:
        """Who can write in a directory, and is none of those who may; "" if nobody."""
        if not found.st_mode & stat.S_IWOTH:
            system = found.st_uid == _ROOT and found.st_gid < _SYSTEM_GROUPS
            if self._uid < 0 or not found.st_mode & stat.S_IWGRP:
                return ""
            if found.st_gid == self._gid or system:
                who = named_writer(fd)
                return "" if who in ("", f"user {self._uid}", f"group {self._gid}") else f"can be written to by {who}"
        who = others_write(fd, found)
        return "" if who.startswith(f"can be written to by user {self._uid} ") else who

    def _refuse_writable(self, fd: int, found: os.stat_result) -> None:
        who = "" if found.st_mode & stat.S_ISVTX else self.strangers(fd, found)
        if who:
            raise Untrusted(f"{where(fd)}, which it is in, {who}")


def open_parent(path: str, uid: int = -1, gid: int = -1) -> int:
    """Open the directory that a file is in; without a `uid`, whoever that belongs to.  Raises Untrusted, OSError."""
    above, name = split(path)
    if name in ("", ".", ".."):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    way = _Way("/" if path.startswith("/") else ".", uid, gid)
    try:
        way.look_above()
        fd = way.open_last(f"{above or '.'}/", _DIRECTORY)
    except FileNotFoundError:
        raise FileNotFoundError(errno.ENOENT, "its directory does not exist") from None
    finally:
        os.close(way.at)
    try:
        found = os.fstat(fd)
        if uid >= 0 and found.st_uid not in (_ROOT, os.geteuid(), uid):
            raise Untrusted(f"{where(fd)}, which it is in, belongs to user {found.st_uid}")
        who = way.strangers(fd, found)
        if who:
            raise Untrusted(f"{where(fd)}, which it is in, {who}")
    except BaseException:
        close(fd)
        raise
    return fd


def open_output(path: str, uid: int, gid: int) -> int:
    """Open a file for a service of this user, to append, and make it if need be.  Raises Untrusted, OSError."""
    name = split(path)[1]
    directory = open_parent(path, uid, gid)
    fd = -1
    try:
        for _ in range(_ROUNDS):
            try:
                fd, made = _open(directory, name, uid)
                break
            except (FileNotFoundError, FileExistsError):
                continue  # it has gone, or has come
        else:
            raise OSError(errno.EAGAIN, "it does not stay as it is")
        os.set_blocking(fd, True)
        if uid != os.geteuid() and (made or _is_private(directory)):
            give(fd, uid, gid)
        return fd
    except BaseException:
        close(fd)
        raise
    finally:
        close(directory)


def check_output(path: str, uid: int, gid: int) -> None:
    """Check that it can be opened, without making it.  Raises Untrusted, OSError."""
    name = split(path)[1]
    directory = open_parent(path, uid, gid)
    try:
        try:
            at = os.open(name, _PATH, dir_fd=directory)
        except FileNotFoundError:
            able = os.access(".", os.W_OK | os.X_OK, dir_fd=directory, effective_ids=True)
        else:
            try:
                _refuse(directory, os.fstat(at), uid)
                able = os.access(name, os.W_OK, dir_fd=directory, effective_ids=True)
            finally:
                close(at)
        if not able:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    finally:
        close(directory)


def _open(directory: int, name: str, uid: int) -> tuple[int, bool]:
    """The descriptor, and whether the file was made."""
    try:
        at = os.open(name, _PATH, dir_fd=directory)
    except FileNotFoundError:
        return os.open(name, _APPEND | os.O_CREAT | os.O_EXCL, _MODE, dir_fd=directory), True
    try:
        found = os.fstat(at)
        _refuse(directory, found, uid)
        try:
            return os.open(f"/proc/self/fd/{at}", _APPEND & ~os.O_NOFOLLOW), False
        except FileNotFoundError:  # no /proc
            fd = os.open(name, _APPEND, dir_fd=directory)
        if not samestat(os.fstat(fd), found):
            close(fd)
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        return fd, False
    finally:
        close(at)


def _refuse(directory: int, found: os.stat_result, uid: int) -> None:
    """Rule 3."""
    device = stat.S_ISCHR(found.st_mode)
    if not (device or stat.S_ISREG(found.st_mode)):
        raise Untrusted(f"is {kind(found.st_mode)}, not a regular file")
    if found.st_uid not in (_ROOT, os.geteuid(), *(() if device else (uid,))):
        raise Untrusted(f"belongs to user {found.st_uid}")
    if device and not _is_private(directory):
        raise Untrusted("is a device in a directory that is not only root's")
    if not device and found.st_nlink > 1:
        raise Untrusted(f"has {found.st_nlink} links")


def _is_private(directory: int) -> bool:
    """Whether only root and this user can put anything into a directory."""
    found = os.fstat(directory)
    return found.st_uid in (_ROOT, os.geteuid()) and not others_write(directory, found)
