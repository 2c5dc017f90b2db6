"""Python's isolated mode, in which all programs run: without site-packages and PYTHON* variables.

The caller's variables PYTHON* are meant for the service, and so is what his working directory holds.  So every Python
is started with `-I -S` (bin/, handoff.py, helper.py), and what is not of the standard library is found all the same:
this package last of all, docopt and pyinotify beside it, or else in the site-packages that this Python has.
"""

from __future__ import annotations

import posix as os
import sys

from supervise.protocol.filenames import dirname, fsencode, join
from supervise.system.installed import PACKAGE

_CALLER = b"SUPERVISE_CALLER"


def rename(name: str) -> None:
    """Set the process name for pgrep(1) and killall(1), which is the interpreter's otherwise."""
    try:
        with open("/proc/self/comm", "wb", 0) as comm:
            comm.write(fsencode(name))
    except OSError:
        pass


def reach_others() -> None:
    """Extend sys.path to where docopt and pyinotify are, if not beside this package.  Raises OSError."""
    if not sys.flags.no_site or "site" in sys.modules:
        return
    here = dirname(PACKAGE)
    docopt = _is_there(join(here, "docopt.py")) or _is_there(join(here, "docopt/__init__.py"))  # docopt-ng
    if docopt and _is_there(join(here, "pyinotify.py")):
        return
    import site

    site.main()
    if here not in sys.path:
        sys.path.append(here)


def _is_there(path: str) -> bool:
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False  # anything else is no "no"
    return True


def callers_environment() -> dict[bytes, bytes]:
    """The environment exactly as the caller gave it, to be asked for before a fork.

    sh, which comes before Python in `supervise`, changes it: it sets PWD, and drops what could not be a variable of its
    own.  So it says what there was, in hexadecimal digits between its pid, which is ours, and a word that ends them.
    """
    from supervise.protocol.options import environment

    env = environment()
    said = env.pop(_CALLER, b"").split()
    if said[:1] == [b"%d" % os.getpid()] and said[-1] == b"end":
        block = bytes.fromhex(b"".join(said[1:-1]).decode("ascii"))
        pairs = (entry.partition(b"=") for entry in block.split(b"\0"))
        return {name: value for name, equals, value in pairs if name and equals}
    return env
