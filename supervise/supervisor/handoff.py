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

_SHOWN, _HIDDEN = "puFt", "fr"  # options whose value is shown, and those whose value is a command
_ALONE = ("--resume", "--foreground", "--exit-with-service")


def interpreter(typed: list[str], orphans: bool = True, guardian: int = 0) -> list[str]:
    """The command line of the daemon: isolated, without PYTHON* variables, which are the service's, and site-packages.

    It is told what to do on its standard input (options.py); what it shows of what was `typed` (`title`) is for people
    with ps(1).  `orphans`: this process is a subreaper, and so the daemon.  `guardian`: the pid of the supervise that
    goes on if this one cannot.
    """
    said = [*(() if orphans else (NO_ORPHANS,)), *((f"{GUARDIAN}={guardian}",) if guardian else ())]
    return [sys.executable, "-I", "-S", *(word for name in said for word in ("-X", name)), DAEMON, *title(typed)]


def title(typed: list[str]) -> list[str]:
    """What of a command line is shown: the status directory and the options, without any command.

    For whoever looks for the service by its command line (pgrep -f, pkill -f) means the service, and not its supervise.
    What is not understood ends it: that, or what follows, may be a command.
    """
    shown = []
    at = 0
    while at < len(typed):
        word, option = typed[at], typed[at][1:2]
        apart = typed[at : at + 2] if len(word) == 2 else [word]  # -p VALUE, or -pVALUE
        if any(len(word) > 2 and name.startswith(word) for name in _ALONE):
            shown.append(word)
        elif word[:1] != "-" or not option or option not in _SHOWN + _HIDDEN:
            break
        elif option in _SHOWN:
            shown += apart
        at += len(apart)
    return shown


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
