"""Reading /proc: processes, the boot id, and the PID namespace.

proc(5) has the format of the files.

Looking at a process has three answers: what it is like; that it is gone, which is an answer like any other; and an
OSError, which says that nobody could look (no descriptor left, no memory, no right).  The last is never the second.
"""

from __future__ import annotations

import errno
import posix as os


def pid_namespace() -> dict[str, int] | None:
    """The identity of this process's PID namespace; None where that cannot be read."""
    try:
        found = os.stat("/proc/self/ns/pid")
    except OSError:
        return None
    return {"device": found.st_dev, "inode": found.st_ino}


def boot_id() -> str:
    """The kernel's boot id, unique to this boot of this machine; empty where there is none.

    Raises OSError: nobody could look.
    """
    try:
        with open("/proc/sys/kernel/random/boot_id", "rb", buffering=0) as file:
            return (file.read(64) or b"").decode("ascii", "replace").strip()
    except FileNotFoundError:
        return ""


# Processes.

NO_PROCESS = (FileNotFoundError, ProcessLookupError)  # the kernel's words for: there is none by that number (any more)


class Stat:
    """Fields of /proc/PID/stat; a process that is not there has state `-` and zeros."""

    __slots__ = ("pid", "state", "parent", "group", "session", "threads", "start_ticks")

    def __init__(self, pid: int, fields: list[bytes]) -> None:
        self.pid = pid
        self.state = fields[0].decode("ascii", "replace")
        self.parent, self.group, self.session = (int(field) for field in fields[1:4])
        self.threads = int(fields[17])
        self.start_ticks = int(fields[19])

    @property
    def running(self) -> bool:
        """Whether the process runs.  `state` is its first thread's, which may have ended (Z) while others run."""
        return self.state not in "-ZX" or (self.state == "Z" and self.threads > 1)


def stat_of(pid: int) -> Stat:
    """Read /proc/PID/stat.  Raises OSError: it could not be read."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            # The second field, the name, may hold blanks and parentheses.
            fields = (file.read(4096) or b"").rpartition(b")")[2].split()
        return Stat(pid, fields)
    except NO_PROCESS:
        return Stat(pid, [b"-"] + [b"0"] * 19)
    except (IndexError, ValueError):
        raise OSError(errno.EIO, f"/proc/{pid}/stat is not what the kernel writes") from None


def everybody() -> list[Stat]:
    """List all running processes.  Raises OSError: /proc could not be read.

    One that may not be looked at (a /proc with hidepid=1) has the state `?`, no parent, and its group and session.
    """
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                found.append(stat_of(int(name)))
            except PermissionError:
                found.append(_hidden(int(name)))
    return [stat for stat in found if stat.running]


def proc_is_ours() -> bool:
    """Whether /proc is that of our PID namespace, so that its pids are those of our system calls.  Raises OSError."""
    try:
        return os.readlink("/proc/self") == str(os.getpid())
    except FileNotFoundError:
        return False


def _hidden(pid: int) -> Stat:
    try:
        group, session = os.getpgid(pid), os.getsid(pid)
    except ProcessLookupError:
        return stat_of(0)
    return Stat(pid, [b"?", b"0", b"%d" % group, b"%d" % session] + [b"0"] * 16)


def read_of(pid: int, name: str, limit: int = 1 << 22) -> bytes:
    """Read the file `name` of /proc/PID, at most `limit` bytes of it.  Raises OSError.

    What belongs to the memory of a process (environ, cmdline, coredump_filter) is empty, or cannot be opened, where its
    first thread has ended; its other threads have it, by their own numbers.  Empty as well: a process that has ended.
    """
    threads = [pid]
    if stat_of(pid).state == "Z":
        threads = [int(thread) for thread in os.listdir(f"/proc/{pid}/task")]
    for thread in threads:
        try:
            data = _read(thread, name, limit)
        except NO_PROCESS:
            continue
        if data:
            return data
    return b""


def _read(pid: int, name: str, limit: int) -> bytes:
    parts: list[bytes] = []
    with open(f"/proc/{pid}/{name}", "rb", buffering=0) as file:
        while limit > 0:
            part = file.read(min(limit, 65536)) or b""
            if not part:
                break
            parts.append(part)
            limit -= len(part)
    return b"".join(parts)
