"""Path conflicts: another supervise that still has this path, whose own directory was moved away or removed.

Theory of operation
-------------------

Rule 1.  A supervise writes into its lock which path it is held for (lockfile.py).  It has that file open as
         long as it lives, also when nothing leads there any more, and /proc shows it to the same user and to root.
Rule 2.  Only the holder of the lock of the directory looks.  A supervise whose directory is gone needs that lock
         to go on at this path (statusdir_watch.py), so whoever looks finds it with its former lock.
Rule 3.  Believed is who holds a lock, is executed as supervise is, belongs to our user, to root, or to the owner of the
         directory that the status directory is in, who could do us worse.  Its path need not be spelled as ours: the
         same name in the same directory is the same place, also where it sees other mounts or another root. And who
         has the very directory open has it, whatever name he calls it by (a symlink, a bind mount).
Rule 4.  "Cannot look" is not "nobody": that is tried again for some seconds, and then the start is refused.  Only where
         there is no /proc at all nobody can ever look, and a warning says so.

This is imported when a start needs it, and then forgotten: most starts find a lock that was theirs before.
"""

from __future__ import annotations

import errno
import posix as os
import stat
import time

from supervise.protocol.filenames import basename, dirname, split
from supervise.protocol.lockfile import path_of
from supervise.protocol.names import LOCK
from supervise.protocol.text import shown_name
from supervise.system.descriptors import samestat
from supervise.system.statusdir import StatusDirError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from supervise.system.statusdir import StatusDir

_PATIENCE = 3.0  # seconds
_PAUSE = 0.1  # seconds
_DAEMON = b"daemon.py"  # handoff.py
_COMMAND_LINE = 16384  # bytes: three paths of the longest there are, and some flags
# Up to so many processes each is looked at. Their locks are one list, and with more of them the cheaper way; but it is
# a lock of the whole machine that the kernel takes for whoever reads it, and may wait some milliseconds for (RCU).
_FEW = 512
_DELETED = " (deleted)"


def look(directory: StatusDir, lock: int, place: bytes) -> str | None:
    """Raise StatusDirError if another supervise has the path, or if that cannot be told; a warning, or None.

    `directory` is open, and `lock` held; `place` is its absolute path.
    """
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            return _look(directory, lock, place)
        except OSError as why:
            if time.monotonic() >= end:
                text = f"cannot tell whether another supervise does: {why.strerror}"
                raise StatusDirError(f"cannot supervise {directory.shown_path}: {text}") from None
        time.sleep(_PAUSE)


def _look(directory: StatusDir, lock: int, place: bytes) -> str | None:
    pids = _processes()
    if len(pids) > _FEW:
        pids = _holders(pids)
    if not pids:
        return "there is no /proc: if another supervise has this path, it cannot be found"
    above, name = split(place)
    parent = os.stat(above)
    for pid in pids:
        user = -1
        try:
            words = _command_line(pid).split(b"\0")
            names = [basename(word.rstrip(b"/")) for word in words]
            # What ps(1) shows holds the path as it was typed. Nobody can have a directory open that is made only now.
            if _DAEMON not in names or (directory.made and name not in names):
                continue
            user = os.stat(f"/proc/{pid}").st_uid
            if user in (os.geteuid(), 0, parent.st_uid):
                found = _claims(pid, directory, lock, parent, name)
                if found:
                    text = f"pid {pid} supervises it, whose {found}"
                    raise StatusDirError(f"cannot supervise {directory.shown_path}: {text}")
        except (FileNotFoundError, ProcessLookupError):
            pass  # it has ended
        except PermissionError:
            if user == os.geteuid():
                raise OSError(errno.EACCES, f"pid {pid} may not be looked at") from None
            # What others' processes have open only root may know; theirs see that the directory is another's
            # (statusdir_watch.py).
    return None


def _processes() -> list[int]:
    """All that /proc shows; none, where there is none.  Raises OSError."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()] if os.access("/proc", os.F_OK) else []


def _holders(processes: list[int]) -> list[int]:
    """Those of `processes` that hold a flock; all, if one of the holders is none of them.  Raises OSError."""
    found: set[int] = set()
    try:
        for _ in range(2):  # the list may change between two system calls that read it, and an entry be passed over
            with open("/proc/locks", "rb") as file:
                lines = [line.split() for line in file]
            found.update(int(line[4]) for line in lines if b"FLOCK" in line and line[4].isdigit())
    except FileNotFoundError:  # a kernel that does not list them
        return processes
    # A lock may be held by a process that has inherited it from one that is gone, or that is seen as 0 from here.
    return sorted(found) if found.issubset(processes) else processes


def _command_line(pid: int) -> bytes:
    fd = os.open(f"/proc/{pid}/cmdline", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, _COMMAND_LINE)
    finally:
        os.close(fd)


def _claims(pid: int, directory: StatusDir, lock: int, parent: os.stat_result, name: bytes) -> str | None:
    """Whether a process has the directory, or a lock for the name in `parent`: what has become of its own, or None."""
    found = None
    here = locked = False
    for entry in os.listdir(f"/proc/{pid}/fd"):
        link = f"/proc/{pid}/fd/{entry}"
        try:
            status = os.stat(link)
            if stat.S_ISDIR(status.st_mode):
                here |= samestat(status, os.fstat(directory.fd))
            if not stat.S_ISREG(status.st_mode) or samestat(status, os.fstat(lock)):
                continue
            fd = os.open(link, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # closed meanwhile
        try:
            claim = path_of(fd)
        finally:
            os.close(fd)
        link = os.readlink(link)
        locked |= bool(claim) or basename(link) in (LOCK, LOCK + _DELETED)
        above, its_name = split(claim)
        if its_name == name and above and _same(b"/proc/%d/root%s" % (pid, above), parent):
            found = link
    if here and locked and pid != os.getpid():
        return "lock was removed or replaced"
    if found is None:
        return None
    if found.endswith(_DELETED):
        return "directory was removed"
    return f"directory was moved to {shown_name(dirname(found))}"


def _same(path: bytes, parent: os.stat_result) -> bool:
    try:
        return samestat(os.stat(path), parent)
    except OSError as why:
        if why.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return False
        raise
