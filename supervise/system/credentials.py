"""Credentials of the service: from the keys `user` and `group` to uid, gid, supplementary groups and environment.

Theory of operation
-------------------

Rule 1.  USER and GROUP are names or numbers.  A name must exist.  A number need not: such a user has the group that
         is given, or else the one with his own number, never supervise's; and no other.
Rule 2.  A user who exists has the groups that initgroups(3) gives him with his group, which is the one that is given,
         or else that of his entry.
Rule 3.  Who is the user already stays as he is, with his groups; a group that is given must be his, unless he is root.
Rule 4.  HOME, USER and LOGNAME are those of the user's entry.  Without one, HOME is / as in containers, and the others
         are not there: what they say of supervise's user is nothing for this one.
Rule 5.  Another user's process has no controlling terminal, for it could push keystrokes into that one (TIOCSTI).
         For a process that is no leader of its session TIOCNOTTY gives up its own only; so it stays in supervise's
         session, and the terminal stays supervise's.
Rule 6.  What another user's process prints to may be given to him, so that it can open /dev/stdout: a regular file, or
         a FIFO, of root's with one name, by its descriptor.  What belongs to anybody else stays his.
"""

from __future__ import annotations

import errno
import posix as os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pwd
    from collections.abc import Sequence

    Said = list[tuple[str, str | None]]


class Refused(Exception):
    """The credentials cannot be changed; the message says which, and why."""


def become(user: str, group: str, terminal: bool = False, files: Sequence[int] = ()) -> Said:
    """Change this process's credentials to a user and group, either may be empty; the variables of his environment.

    `terminal`: there may be a controlling terminal, which another user must not have.  `files`: descriptors of files
    that are given to another user.  Raises Refused.
    """
    name, _, own_group = user.partition(":")
    group = group or own_group
    uid, entry = _user(name) if name else (os.geteuid(), None)
    same = (os.getuid(), os.geteuid()) == (uid, uid)
    root = os.geteuid() == 0
    if not same and not root:
        raise Refused(f"cannot become user {name}: only root may run a service as another user")
    gid = _group(group) if group else entry.pw_gid if entry else uid
    if not same and terminal:
        leave_terminal()
    for fd in () if same else files:
        give(fd, uid, gid)
    if root and (group or not same):
        _change(f"user {user}" if user else f"group {group}", uid, gid, entry or _entry(uid))
    elif group and (os.getgid(), os.getegid()) != (gid, gid):
        raise Refused(f"cannot become group {group}: only root may run a service with another group")
    if entry:
        return [("HOME", entry.pw_dir), ("USER", entry.pw_name), ("LOGNAME", entry.pw_name)]
    return [] if same else [("HOME", "/"), ("USER", None), ("LOGNAME", None)]


def ids(user: str, group: str) -> tuple[int, int]:
    """The numbers of the user and group that `become` changes to.  Raises Refused."""
    name, _, own_group = user.partition(":")
    group = group or own_group
    uid, entry = _user(name) if name else (os.geteuid(), None)
    if group:
        return uid, _group(group)
    return uid, entry.pw_gid if entry else uid if name else os.getegid()


def give(fd: int, uid: int, gid: int) -> None:
    """Give the file of a descriptor to a user, if it is root's (rule 6).

    Where the file system refuses, he can write to it by the descriptor all the same, and that is all he needs to run.
    """
    try:
        found = os.fstat(fd)
        right = stat.S_ISREG(found.st_mode) or stat.S_ISFIFO(found.st_mode)
        if right and found.st_uid == os.geteuid() and found.st_nlink == 1:
            os.fchown(fd, uid, gid)
    except OSError:
        pass


def leave_terminal() -> None:
    """Give up the controlling terminal (rule 5).  Raises Refused."""
    import fcntl
    import termios

    try:
        fd = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as why:
        if why.errno == errno.ENXIO or _has_none():
            return
        raise Refused(f"cannot give up the controlling terminal: /dev/tty: {why.strerror}") from None
    try:
        fcntl.ioctl(fd, termios.TIOCNOTTY)
    except OSError as why:
        raise Refused(f"cannot give up the controlling terminal: {why.strerror}") from None
    finally:
        os.close(fd)


def _has_none() -> bool:
    """Whether the kernel says that there is no controlling terminal."""
    try:
        with open("/proc/self/stat", "rb", buffering=0) as file:
            return (file.read(4096) or b"").rpartition(b")")[2].split()[4] == b"0"
    except (OSError, IndexError):
        return False


def _change(asked: str, uid: int, gid: int, entry: pwd.struct_passwd | None) -> None:
    try:
        os.setgroups(os.getgrouplist(entry.pw_name, gid) if entry else [gid])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    except OSError as why:
        raise Refused(f"cannot become {asked}: {why.strerror}") from None


def _user(name: str) -> tuple[int, pwd.struct_passwd | None]:
    import pwd  # in every interpreter that supervise has been seen on, this is not even a file

    if _is_number(name):
        return int(name), _entry(int(name))
    try:
        entry = pwd.getpwnam(name)
    except (KeyError, ValueError):  # ValueError: not a name at all
        raise Refused(f"user {name} does not exist") from None
    return entry.pw_uid, entry


def _entry(uid: int) -> pwd.struct_passwd | None:
    import pwd

    try:
        return pwd.getpwuid(uid)
    except (KeyError, OverflowError):
        return None


def _group(name: str) -> int:
    import grp

    if _is_number(name):
        return int(name)
    try:
        return grp.getgrnam(name).gr_gid
    except (KeyError, ValueError):
        raise Refused(f"group {name} does not exist") from None


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdigit()
