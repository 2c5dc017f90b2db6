"""Helper processes: rare or heavy work that ends, kept out of the process that runs for months.

A helper is a script of this package run by a fresh interpreter, isolated as this process is, in a session of its own
(so that it is not among the processes that `pgrep -s` lists), and with no descriptor but those it is given.
"""

from __future__ import annotations

import posix as os
import sys

from supervise.protocol.filenames import DEVNULL, join
from supervise.protocol.options import set_apart
from supervise.system.installed import PACKAGE
from supervise.system.spawn import append_to, inherit, spawn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_HERE = join(PACKAGE, "helpers")


def script(name: str) -> str:
    """The path of a helper's script."""
    return join(_HERE, name + ".py")


def start(
    name: str,
    args: Sequence[str],
    env: Mapping[bytes, bytes],
    ignored: Sequence[int],
    stdin: int,
    directory: int | None = None,
) -> int:
    """Run `supervise/helpers/NAME.py ARGS`, with `stdin` as its 0 and `directory` as its 3; its pid.  Raises OSError.

    Of the environment, the service's, it gets what is not for Python.
    """
    descriptors = [inherit(stdin, 0), *(append_to(DEVNULL, os.O_WRONLY, 0, its) for its in (1, 2))]
    if directory is not None:
        descriptors.append(inherit(directory, 3))
    words = [sys.executable, "-I", "-S", script(name), *args]
    return spawn(words, set_apart(env)[0], ignored, descriptors, session=True)
