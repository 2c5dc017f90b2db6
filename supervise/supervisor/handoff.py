"""How the process that stays is executed and told what to do."""

from __future__ import annotations

import posix as os
import sys

from supervise.protocol.filenames import DEVNULL, join
from supervise.protocol.options import NO_ORPHANS
from supervise.system.installed import PACKAGE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from supervise.protocol.options import Options

DAEMON = join(PACKAGE, "daemon.py")

GUARDIAN = "guardian"


def interpreter(shown: list[str], orphans: bool = True, guardian: int = 0) -> list[str]:
    """The words that execute the daemon: isolated: no PYTHON* variables, which are the service's, no site-packages.

    It is told what to do on its standard input (options.py); what is `shown` is for people with ps(1).  `orphans`: this
    process is a subreaper, and so the daemon.  `guardian`: the pid of the supervise that goes on if this one cannot.
    """
    said = [*(() if orphans else (NO_ORPHANS,)), *((f"{GUARDIAN}={guardian}",) if guardian else ())]
    return [sys.executable, "-I", "-S", *(word for name in said for word in ("-X", name)), DAEMON, *shown]


def options_fd(options: Options) -> int:
    """A descriptor from which the daemon reads what it is to do.  Raises OSError."""
    data = options.encode()
    fd = os.memfd_create("options")
    try:
        while data:
            data = data[os.write(fd, data) :]
        os.lseek(fd, 0, 0)  # SEEK_SET
    except OSError:
        os.close(fd)
        raise
    return fd


def read_nothing() -> None:
    """Have /dev/null for 0, in place of what `options_fd` has made.  Raises OSError."""
    null = os.open(DEVNULL, os.O_RDWR)
    try:
        os.dup2(null, 0)
    finally:
        os.close(null)
