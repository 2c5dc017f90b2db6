"""Which errors the system calls of supervise can really return, and which cells of the sweep cannot hold.

`ERRNOS` is after the man pages and the kernel: what is left out cannot happen to the calls as supervise makes them.
Calls that cannot fail at all (getpid, umask, rt_sigaction with good numbers, brk as the C library uses it) are not
there.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_LOOKS = ("EIO", "ENOMEM", "EACCES")
_OPENS = ("EMFILE", "ENFILE", "ENOMEM", "EIO", "EACCES")
_FORKS = ("EAGAIN", "ENOMEM")

ERRNOS: dict[str, tuple[str, ...]] = {
    "openat": _OPENS,
    "open": _OPENS,
    "read": ("EIO", "ENOMEM"),
    "pread64": ("EIO",),
    "write": ("ENOSPC", "EIO"),
    "close": ("EIO",),
    "getdents64": ("EIO", "ENOMEM"),
    "newfstatat": _LOOKS,
    "fstat": ("EIO", "ENOMEM"),
    "stat": _LOOKS,
    "lstat": _LOOKS,
    "statx": _LOOKS,
    "access": _LOOKS,
    "faccessat": _LOOKS,
    "faccessat2": _LOOKS,
    "readlink": _LOOKS,
    "readlinkat": _LOOKS,
    "getcwd": ("ENOENT", "ENOMEM"),
    "rename": ("EIO", "ENOSPC", "EROFS"),
    "renameat": ("EIO", "ENOSPC", "EROFS"),
    "renameat2": ("EIO", "ENOSPC", "EROFS"),
    "unlink": ("EIO", "EROFS"),
    "unlinkat": ("EIO", "EROFS"),
    "mkdir": ("ENOSPC", "EACCES", "EIO"),
    "mkdirat": ("ENOSPC", "EACCES", "EIO"),
    "mknod": ("ENOSPC", "EACCES"),
    "mknodat": ("ENOSPC", "EACCES"),
    "fchmod": ("EPERM", "EIO"),
    "fchmodat": ("EPERM", "EIO"),
    "ftruncate": ("EIO",),
    "flock": ("ENOLCK", "EINTR"),
    "lseek": ("EIO",),
    "ioctl": ("ENOMEM",),
    "fcntl": ("EMFILE", "ENOLCK"),
    "dup": ("EMFILE",),
    "dup2": ("EBUSY",),
    "dup3": ("EBUSY",),
    "pipe": ("EMFILE", "ENFILE"),
    "pipe2": ("EMFILE", "ENFILE"),
    "memfd_create": ("EMFILE", "ENFILE", "ENOMEM"),
    "socket": ("EMFILE", "ENFILE", "ENOBUFS"),
    "socketpair": ("EMFILE", "ENFILE", "ENOMEM"),
    "accept4": ("EMFILE", "ENOBUFS"),
    "bind": ("ENOMEM", "EACCES"),
    "connect": ("EAGAIN", "ECONNREFUSED"),
    "sendmsg": ("ENOBUFS", "ENOMEM"),
    "sendto": ("ENOBUFS", "ENOMEM"),
    "recvmsg": ("ENOMEM",),
    "recvfrom": ("ENOMEM",),
    "setsockopt": ("ENOMEM",),
    "getsockname": ("ENOBUFS",),
    "inotify_init1": ("EMFILE", "ENOMEM"),
    "inotify_add_watch": ("ENOSPC", "ENOMEM"),
    "eventfd2": ("EMFILE",),
    "timerfd_create": ("EMFILE",),
    "poll": ("ENOMEM", "EINVAL"),
    "ppoll": ("ENOMEM", "EINVAL"),
    "select": ("ENOMEM", "EINVAL"),
    "pselect6": ("ENOMEM", "EINVAL"),
    "kill": ("EPERM", "ESRCH"),
    "pidfd_open": ("EMFILE", "ENFILE", "ENOMEM", "EINVAL"),
    "pidfd_send_signal": ("EPERM",),
    "clone": _FORKS,
    "clone3": _FORKS,
    "fork": _FORKS,
    "vfork": _FORKS,
    "execve": ("ENOMEM", "E2BIG", "EACCES"),
    "wait4": ("ECHILD", "EINTR"),
    "waitid": ("ECHILD", "EINTR"),
    "setsid": ("EPERM",),
    "getsid": ("ESRCH",),
    "getpgid": ("ESRCH",),
    "prctl": ("EINVAL",),
    "getrandom": ("EINTR",),
    "mmap": ("ENOMEM",),
    "mremap": ("ENOMEM",),
    "mprotect": ("ENOMEM",),
}


def possible(call: str, line: str) -> tuple[str, ...]:
    """What this call, as strace shows it, can return."""
    found = ERRNOS.get(call, ())
    if call in ("openat", "open") and "O_CREAT" in line:
        return (*found, "ENOSPC")
    if call == "fcntl":
        if "F_DUPFD" in line:
            return ("EMFILE",)
        return ("ENOLCK",) if "LCK" in line or "LK" in line else ()
    return found


class Exempt(NamedTuple):
    """A cell that cannot hold: of which phases (a pattern), which calls, as strace shows them; and why.

    `wrongs`: a pattern of what may be wrong there; anything else is broken there too.
    """

    phases: str
    line: str
    wrongs: str
    reason: str

    def excuses(self, phase: str, lines: list[str], wrongs: list[str]) -> bool:
        """Whether one of these failed calls is reason enough for all that is wrong."""
        fits = re.search(self.phases, phase) and any(re.search(self.line, line) for line in lines)
        return bool(fits and all(re.match(self.wrongs, wrong) for wrong in wrongs))


EXEMPT = (
    Exempt(
        "",
        r'^write\(\d+, "(\\\d+|\\[a-z]|.)", 1\)',
        r"zombies|silent|no end|stderr: \['Exception ignored when trying to write to the signal wakeup fd",
        "a byte into supervise's own pipe, by which a signal wakes it: the kernel refuses that only when the pipe is "
        "full, and then supervise is awake",
    ),
    Exempt(
        "",
        r"^close\(",
        "descriptors",
        "the injected failure keeps the descriptor open, which a failing close(2) of Linux never does",
    ),
    Exempt(
        "^(start|adoption)",
        r"^write\(",
        r"stderr: \[\]$|exit code: 120",
        "write(2) itself fails on and on, so the one line cannot be written",
    ),
    Exempt(
        "^(start|adoption)",
        "^mmap",
        "busy",
        "where the allocator gets no new arena it asks for one with each object: the calls are many, and no loop's",
    ),
    Exempt(
        "^start",
        r'^newfstatat\(\d+, "lock"',
        "left: status status/app status/app/lock$",
        "whose lock that is cannot be looked at, time and again, so it is not removed by a start that is refused",
    ),
    Exempt(
        "^start",
        r"^read\(3, 0x\w+, \d+\)",
        "no supervise$",
        "the interpreter takes a script that it cannot read for an empty one, and ends with 0 before our first line",
    ),
    Exempt(
        "^(start|adoption)",
        "^lseek",
        r"stderr: \['Failed checking if argv\[0\] is an import path entry'",
        "the interpreter looks whether the script is an archive before it runs the first line of it, and says so",
    ),
    Exempt(
        "",
        r"^wait(4|id)\(.*ECHILD",
        "zombies|silent",
        "a child that has ended and was not waited for is never refused so: how it ended cannot be known then, and it "
        "is waited for with the next that ends",
    ),
    Exempt(
        "^upgrade",
        r"^wait(4|id)\(.*ECHILD",
        "zombies|silent|descriptors",
        "the same, of the trial of the new version: it is looked at again when its 30 seconds are over",
    ),
)

# What is wrong after a fault in the interpreter's own start, or while it loads modules before our first line.
INTERPRETER = Exempt(
    "^(start|adoption)",
    "",
    "exit code|stderr",
    "the interpreter had not got to our first line: how it ends, and what it says, is Python's",
)
