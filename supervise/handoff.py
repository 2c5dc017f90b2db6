"""How the process that stays is executed and told what to do."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from supervise.options import Options

_DAEMON = os.path.join(os.path.dirname(os.path.abspath(__file__)), "daemon.py")


NO_ORPHANS = "no_orphans"


def interpreter(shown: list[str], orphans: bool = True) -> list[str]:
    """The words that execute the daemon: isolated: no PYTHON* variables, which are the service's, no site-packages.

    It is told what to do on its standard input (options.py); what is `shown` is for people with ps(1).  `orphans`: this
    process is a subreaper, and so the daemon.
    """
    return [sys.executable, "-I", "-S", *(() if orphans else ("-X", NO_ORPHANS)), _DAEMON, *shown]


def told(options: Options) -> int:
    """A descriptor from which the daemon reads what it is to do.  Raises OSError."""
    fd = os.memfd_create("options")
    data = options.encode()
    while data:
        data = data[os.write(fd, data) :]
    os.lseek(fd, 0, os.SEEK_SET)
    return fd
