"""Trust in files: who can have written one, and who can change where a path leads.

Theory of operation
-------------------

Rule 1.  Believed is what only supervise's own user and root can have made: a file or FIFO of theirs that others cannot
         write to, and that has no second name, which may be in a directory of somebody's.
Rule 2.  Others are everybody; a group, unless it is root's (0) or supervise's own effective one (many users have a
         group of their own and umask 002); and whoever an access control list names.
Rule 3.  A directory that others can write to is not used, nor one below it: they could put another in its place.  The
         sticky bit keeps them from that, so below a sticky directory is fine; but what a symlink in it says counts only
         if it is root's or one's own.
Rule 4.  A directory of another user is used, as is one below it: he may take it away, but nothing in it that he can
         have made is believed (rule 1).
Rule 5.  A configuration decides what is run, and as whom.  It is believed as rule 1 has it, but for its links (nobody
         can write through another name what he cannot write), and only in a directory that is root's or one's own.
         A symlink on the way counts only if it is, too.  Rule 3 holds, but where a file system is mounted read-only.
Rule 6.  A path is walked descriptor by descriptor, its symlinks too.  So what was looked at is what is used, whatever
         is put in its place meanwhile.
"""

from __future__ import annotations

import errno
import posix as os
import stat

from supervise.protocol.text import shown_name
from supervise.system.descriptors import samestat

_PATH = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_LINKS = 40  # symlinks in one path, as the kernel has it
_ROOT = 0

# linux/posix_acl_xattr.h: a version of four bytes, then entries: tag and permissions (16 bits each), id (32 bits).
_ACL = "system.posix_acl_access"
_ACL_USER, _ACL_GROUP_OBJ, _ACL_GROUP, _ACL_MASK = 2, 4, 8, 16
_WRITE = 2


class Untrusted(Exception):
    """A file or path is not trusted: other users can change it; the message says how."""


def why_not(fd: int, found: os.stat_result) -> str:
    """Why an open file is not trusted (rule 1); "" if it is.  Raises OSError: it could not be looked at."""
    if found.st_uid not in (_ROOT, os.geteuid()):
        return f"belongs to user {found.st_uid}"
    if found.st_nlink > 1:
        return f"has {found.st_nlink} links"
    return others_write(fd, found)


def others_write(fd: int, found: os.stat_result) -> str:
    """Which other users can write to an open file (rule 2); "" if none can.  Raises OSError."""
    who = ""
    if found.st_mode & stat.S_IWOTH:
        who = "everybody"
    elif found.st_mode & stat.S_IWGRP:
        who = named_writer(fd) if _is_own_group(found.st_gid) else f"group {found.st_gid}"
    return f"can be written to by {who} (mode {stat.S_IMODE(found.st_mode):04o})" if who else ""


def is_foreign(fd: int) -> bool:
    """Whether a directory belongs to another user than root and oneself, or that cannot be looked at."""
    try:
        return os.fstat(fd).st_uid not in (0, os.geteuid())
    except OSError:
        return True


def _is_own_group(gid: int) -> bool:
    return gid in (_ROOT, os.getegid())


def named_writer(fd: int) -> str:
    """Whom a POSIX access control list lets write; the group bits of the mode are only the most that it may give."""
    try:
        acl = _acl(fd)
    except OSError as why:
        if why.errno in (errno.ENODATA, errno.ENOTSUP):
            return ""
        raise
    entries = []
    for at in range(4, len(acl) - 7, 8):
        tag, allowed = (int.from_bytes(acl[at + more : at + more + 2], "little") for more in (0, 2))
        entries.append((tag, allowed, int.from_bytes(acl[at + 4 : at + 8], "little")))
    most = [allowed for tag, allowed, _ in entries if tag == _ACL_MASK]
    for tag, allowed, number in entries:
        if not allowed & _WRITE or not all(mask & _WRITE for mask in most):
            continue
        if tag == _ACL_USER and number not in (_ROOT, os.geteuid()):
            return f"user {number}"
        if tag == _ACL_GROUP and not _is_own_group(number):
            return f"group {number}"
    return ""


def _acl(fd: int) -> bytes:
    try:
        return os.getxattr(f"/proc/self/fd/{fd}", _ACL)  # a descriptor with O_PATH cannot be asked
    except FileNotFoundError:  # no /proc
        found = os.open(".", _DIRECTORY, dir_fd=fd) if stat.S_ISDIR(os.fstat(fd).st_mode) else os.dup(fd)
        try:
            return os.getxattr(found, _ACL)
        finally:
            os.close(found)


def open_directory(path: str, made: list[str]) -> int:
    """Open a directory that no other user can change, making what is missing of its path, mode 0700.

    The paths of what was made are added to `made`, also if it fails.  Raises Untrusted, OSError.
    """
    way = Way("/" if path.startswith("/") else ".")
    try:
        way.look_above()
        way.follow(path, made)
        why = others_write(way.at, os.fstat(way.at))
        if why:
            raise Untrusted(f"it {why}")
        return os.open(".", _DIRECTORY, dir_fd=way.at)
    finally:
        os.close(way.at)


def open_file(path: str, flags: int) -> int:
    """Open a configuration that is trusted (rule 5).

    Raises Untrusted; FileNotFoundError if there is none; OSError, also for a symlink that leads nowhere.
    """
    if not path:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    way = Way("/" if path.startswith("/") else ".", reading=True)
    try:
        way.look_above()
        fd = way.open_last(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            refuse_unbelieved(fd)
            if _is_foreign_owner(os.fstat(way.at)):
                raise Untrusted(f"{where(way.at)}, which it is in, belongs to user {os.fstat(way.at).st_uid}")
        except BaseException:
            os.close(fd)
            raise
        return fd
    finally:
        os.close(way.at)


def refuse_unbelieved(fd: int) -> None:
    """Raise Untrusted for an open configuration that others own, or can write to (rule 5).  Raises OSError."""
    found = os.fstat(fd)
    if _is_foreign_owner(found):
        raise Untrusted(f"it belongs to user {found.st_uid}")
    why = others_write(fd, found) if stat.S_ISREG(found.st_mode) else ""  # into /dev/null everybody may write
    if why:
        raise Untrusted(f"it {why}")


def _is_foreign_owner(found: os.stat_result) -> bool:
    return found.st_uid not in (_ROOT, os.geteuid())


class Way:
    """A walk along a path: `at` is a descriptor of the directory that it has come to, which is trusted."""

    def __init__(self, begin: str, reading: bool = False) -> None:
        self.at = os.open(begin, _PATH)
        self._links = 0
        self._reading = reading  # of a configuration (rule 5)

    def look_above(self) -> None:
        """Check the directories above the current one, which a relative path depends on as well."""
        above = os.dup(self.at)
        try:
            here = os.fstat(above)
            while True:
                self._refuse_writable(above, here)
                higher, lower = os.open("..", _PATH, dir_fd=above), here
                os.close(above)
                above = higher  # before anything can fail: it is closed below
                here = os.fstat(above)
                if samestat(here, lower):
                    return
        finally:
            os.close(above)

    def follow(self, path: str, made: list[str]) -> None:
        """Walk along a path; what it names itself is made if missing, but not what its symlinks name."""
        words = _words(path)
        begin = "/" if path.startswith("/") else ""
        steps = [(word, begin + "/".join(words[: number + 1])) for number, word in enumerate(words)]
        while steps:
            word, name = steps.pop(0)
            fd = self._open(word, name, made)
            try:
                found = os.fstat(fd)
                target = self._target(fd, found) if stat.S_ISLNK(found.st_mode) else None
                if target is None:
                    if not stat.S_ISDIR(found.st_mode):
                        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
                    self._go_to(fd)
            finally:
                os.close(fd)
            if target is not None:
                steps[:0] = [(word, "") for word in _words(target)]
                if target.startswith("/"):
                    root = os.open("/", _PATH)
                    try:
                        self._go_to(root)
                    finally:
                        os.close(root)
            if steps:  # else it is the end, which is looked at more closely
                self._refuse_writable(self.at, os.fstat(self.at))

    def open_last(self, path: str, flags: int) -> int:
        """Walk to the end of a path, and open the file there; `at` is its directory then."""
        steps = [(word, False) for word in _words(path)]
        while steps:
            self._refuse_writable(self.at, os.fstat(self.at))
            word, linked = steps.pop(0)
            try:
                fd = os.open(word, _PATH, dir_fd=self.at)
            except FileNotFoundError:
                if linked:
                    raise OSError(errno.ENOLINK, "A symlink leads nowhere") from None
                raise
            try:
                found = os.fstat(fd)
                if stat.S_ISLNK(found.st_mode):
                    target = self._target(fd, found)
                    steps[:0] = [(word, True) for word in _words(target)]
                    if target.startswith("/"):
                        root = os.open("/", _PATH)
                        os.close(fd)
                        fd = root
                        self._go_to(fd)
                elif steps or path.endswith("/"):
                    if not stat.S_ISDIR(found.st_mode):
                        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
                    self._go_to(fd)
                else:
                    return os.open(word, flags, dir_fd=self.at)
            finally:
                os.close(fd)
        return os.open(".", flags, dir_fd=self.at)

    def _open(self, word: str, name: str, made: list[str]) -> int:
        try:
            return os.open(word, _PATH, dir_fd=self.at)
        except FileNotFoundError:
            if not name:
                raise
        try:
            os.mkdir(word, 0o700, dir_fd=self.at)
            made.append(name)
        except FileExistsError:
            pass  # somebody else was faster
        return os.open(word, _PATH, dir_fd=self.at)

    def _go_to(self, fd: int) -> None:
        os.dup2(fd, self.at, inheritable=False)

    def _refuse_writable(self, fd: int, found: os.stat_result) -> None:
        """Raise Untrusted for a directory in which others could put another in the place of the next (rule 3)."""
        if found.st_mode & stat.S_ISVTX:
            return
        why = others_write(fd, found)
        if why and not (self._reading and os.fstatvfs(fd).f_flag & os.ST_RDONLY):
            raise Untrusted(f"{where(fd)}, which it is in, {why}")

    def _target(self, fd: int, found: os.stat_result) -> str:
        """What a symlink says, if that counts (rule 3)."""
        self._links += 1
        if self._links > _LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        if _is_foreign_owner(found) and (self._reading or others_write(self.at, os.fstat(self.at))):
            raise Untrusted(f"user {found.st_uid} has put a symlink on the way there, in {where(self.at)}")
        return os.readlink("", dir_fd=fd)


def _words(path: str) -> list[str]:
    return [word for word in path.split("/") if word not in ("", ".")]


def where(fd: int) -> str:
    try:
        return shown_name(os.readlink(f"/proc/self/fd/{fd}"))
    except OSError:
        return "a directory"  # no /proc


def signature(found: os.stat_result) -> tuple[object, ...]:
    """A file's signature, which changes when it is replaced or written: device, inode, size and times."""
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
