"""Path conflicts: another supervise that still has this path, whose own directory was moved away or removed.

Theory of operation
-------------------

Rule 1.  A supervise writes into its lock which path it is held for (lockfile.py).  It has that file open as
         long as it lives, also when nothing leads there any more, and /proc shows it to the same user and to root.
Rule 2.  Only the holder of the lock of the directory looks.  A supervise whose directory is gone needs that lock
         to go on at this path (statusdir_watch.py), so whoever looks finds it with its former lock.  Who starts many
         takes all the locks, and then looks once for all.
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
    from collections.abc import Sequence

    from supervise.system.statusdir import StatusDir

_PATIENCE = 3.0  # seconds
_PAUSE = 0.1  # seconds
_DAEMON = b"daemon.py"  # handoff.py
_COMMAND_LINE = 16384  # bytes: three paths of the longest there are, and some flags
# Up to so many processes each is looked at. Their locks are one list, and with more of them the cheaper way; but it is
# a lock of the whole machine that the kernel takes for whoever reads it, and may wait some milliseconds for (RCU).
_FEW = 512
_DELETED = " (deleted)"


class _Start:
    """A start that has its `directory` open and its `lock` held, and what was found out for it."""

    def __init__(self, directory: StatusDir, lock: int, place: bytes) -> None:
        self.directory = directory
        self.lock = lock
        self.above, self.name = split(place)
        self.parent: os.stat_result | None = None
        self.answer: str | StatusDirError | None = None
        self.why: OSError | None = None  # why it cannot be told yet

    def refuse(self, text: str) -> None:
        self.answer = StatusDirError(f"cannot supervise {self.directory.shown_path}: {text}")


def look(directory: StatusDir, lock: int, place: bytes) -> str | None:
    """Raise StatusDirError if another supervise has the path, or if that cannot be told; a warning, or None.

    `directory` is open, and `lock` held; `place` is its absolute path.
    """
    (answer,) = look_for([(directory, lock, place)])
    if isinstance(answer, StatusDirError):
        raise answer
    return answer


def look_for(held: Sequence[tuple[StatusDir, int, bytes]]) -> list[str | StatusDirError | None]:
    """Look once for several starts, all of which hold their locks already: of each what `look` returns or raises."""
    end = time.monotonic() + _PATIENCE
    starts = [_Start(*one) for one in held]
    pending = starts
    while pending:
        _look(pending)
        pending = [start for start in pending if start.why and not start.answer]
        if pending and time.monotonic() >= end:
            for start in pending:
                start.refuse(f"cannot tell whether another supervise does: {start.why and start.why.strerror}")
            break
        if pending:
            time.sleep(_PAUSE)
    return [start.answer for start in starts]


def _look(starts: Sequence[_Start]) -> None:
    """Set the answer of each, or why it cannot be told yet; neither, if there is nobody."""
    for start in starts:
        start.why = None
        try:
            start.parent = os.stat(start.above)
        except OSError as why:
            start.why = why
    try:
        pids = _processes()
        if len(pids) > _FEW:
            pids = _holders(pids)
    except OSError as why:
        for start in starts:
            start.why = why
        return
    if not pids:
        for start in starts:
            start.answer = "there is no /proc: if another supervise has this path, it cannot be found"
        return
    starts = [start for start in starts if not start.why]
    # What ps(1) shows holds the path as it was typed. Nobody can have a directory open that is made only now.
    named: dict[bytes, list[_Start]] = {}
    for start in starts:
        if start.directory.made:
            named.setdefault(start.name, []).append(start)
    others = [start for start in starts if not start.directory.made]
    for pid in pids:
        _look_at(pid, starts, named, others)


def _look_at(
    pid: int, starts: Sequence[_Start], named: dict[bytes, list[_Start]], others: Sequence[_Start]
) -> None:
    """Look at a process, for those of `starts` whose path it may have: by name in its arguments, or any of `others`."""
    user = -1
    concerned = starts
    try:
        shown = _command_line(pid)
        if _DAEMON not in shown:
            return
        names = _names(shown)
        if _DAEMON not in names:
            return
        concerned = [*others, *(start for name in names for start in named.get(name, ()))]
        if not concerned:
            return
        user = os.stat(f"/proc/{pid}").st_uid
        ours = user in (os.geteuid(), 0)
        concerned = [start for start in concerned if ours or (start.parent and user == start.parent.st_uid)]
        if concerned:
            opened = _opened(pid)
            for start in concerned:
                found = _claims(pid, opened, start)
                if found:
                    start.refuse(f"pid {pid} supervises it, whose {found}")
    except (FileNotFoundError, ProcessLookupError):
        pass  # it has ended
    except PermissionError:
        if user == os.geteuid():
            for start in concerned:
                start.why = OSError(errno.EACCES, f"pid {pid} may not be looked at")
        # What others' processes have open only root may know; theirs see that the directory is another's
        # (statusdir_watch.py).
    except OSError as why:
        for start in concerned:
            start.why = why


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


def _names(shown: bytes) -> set[bytes]:
    """The last components of the arguments.  What svall has forked has thousands of NUL bytes behind them."""
    return {basename(word.rstrip(b"/")) for word in shown.rstrip(b"\0").split(b"\0")}


def _opened(pid: int) -> tuple[set[tuple[int, int]], list[tuple[tuple[int, int], str, bytes]]]:
    """What a process has open: the directories, and of each regular file its identity, link and claim."""
    directories: set[tuple[int, int]] = set()
    files = []
    for entry in os.listdir(f"/proc/{pid}/fd"):
        link = f"/proc/{pid}/fd/{entry}"
        try:
            status = os.stat(link)
            if stat.S_ISDIR(status.st_mode):
                directories.add(_identity(status))
            if not stat.S_ISREG(status.st_mode):
                continue
            fd = os.open(link, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # closed meanwhile
        try:
            claim = path_of(fd)
        finally:
            os.close(fd)
        files.append((_identity(status), os.readlink(link), claim))
    return directories, files


def _claims(
    pid: int, opened: tuple[set[tuple[int, int]], list[tuple[tuple[int, int], str, bytes]]], start: _Start
) -> str | None:
    """Whether a process has the directory, or a lock for its name there: what has become of its own, or None."""
    directories, files = opened
    assert start.parent
    ours = _identity(os.fstat(start.lock))
    found = None
    locked = False
    for identity, link, claim in files:
        if identity == ours:
            continue
        # One that is in its place is of another directory: who starts many has theirs, and opens this one to try it.
        locked |= basename(link) != LOCK and (bool(claim) or basename(link) == LOCK + _DELETED)
        above, its_name = split(claim)
        if its_name == start.name and above and _same(b"/proc/%d/root%s" % (pid, above), start.parent):
            found = link
    if locked and pid != os.getpid() and _identity(os.fstat(start.directory.fd)) in directories:
        return "lock was removed or replaced"
    if found is None:
        return None
    if found.endswith(_DELETED):
        return "directory was removed"
    return f"directory was moved to {shown_name(dirname(found))}"


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _same(path: bytes, parent: os.stat_result) -> bool:
    try:
        return samestat(os.stat(path), parent)
    except OSError as why:
        if why.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return False
        raise
