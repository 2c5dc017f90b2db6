"""Executing the process that stays (daemon.py), and handing it the options."""

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
    """The command line of the daemon: isolated, without PYTHON* variables, which are the service's, and site-packages.

    It is told what to do on its standard input (options.py); what is `shown` is for people with ps(1).  `orphans`: this
    process is a subreaper, and so the daemon.  `guardian`: the pid of the supervise that goes on if this one cannot.
    """
    said = [*(() if orphans else (NO_ORPHANS,)), *((f"{GUARDIAN}={guardian}",) if guardian else ())]
    return [sys.executable, "-I", "-S", *(word for name in said for word in ("-X", name)), DAEMON, *shown]


def options_fd(options: Options) -> int:
    """Make a descriptor from which the daemon reads its options.  Raises OSError."""
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
    """Replace descriptor 0, which `options_fd` has made, by /dev/null.  Raises OSError."""
    null = os.open(DEVNULL, os.O_RDWR)
    try:
        os.dup2(null, 0)
    finally:
        os.close(null)
