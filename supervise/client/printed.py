"""Where a service prints to, as its state has it (protocol/state.py, `outputs`)."""

from __future__ import annotations

import os
import stat

from supervise.client.logfiles import LogError
from supervise.protocol.names import STATE, STDERR, STDOUT
from supervise.protocol.state_reader import SIZE_LIMIT, StateError, decode
from supervise.protocol.text import shown_name
from supervise.system.trust import why_not

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_NONE, _INHERIT = "NONE", "INHERIT"
_FILES = {"stdout": STDOUT, "stderr": STDERR}


def log_of(path: str, stream: str) -> tuple[str, str]:
    """The directory and the name of the log of "stdout" or "stderr".  Raises LogError: there is none."""
    found = place(path, stream)
    return os.path.split(found) if found else (path, _FILES[stream])


def place(path: str, stream: str) -> str:
    """The file that the service of a status directory prints "stdout" or "stderr" to; empty: the one in there.

    A state that somebody else can have written leads nowhere.  Raises LogError: it cannot be read anywhere.
    """
    try:
        data, disbelieved = _read(f"{path}/{STATE}")
        outputs = decode(data)["outputs"]
    except (OSError, StateError):  # whoever reads the log meets it again
        return ""
    said: str = outputs[stream] if outputs else ""
    if not said:
        return ""
    log = f"{stream} of {shown_name(path)}"
    if disbelieved:
        raise LogError(f"read {log}: its state, which says where that is, {disbelieved}")
    if said == _NONE:
        raise LogError(f"read {log}: nothing is kept ({stream}_logfile : {_NONE})")
    if said == _INHERIT:
        raise LogError(f"read {log}: it goes to what supervise prints to ({stream}_logfile : {_INHERIT})")
    if not said.startswith("/"):
        raise LogError(f"read {log}: {shown_name(said)} is relative to a directory that is not known")
    return said


def _read(path: str) -> tuple[bytes, str]:
    """What a file holds, and why it is not to be believed.  Raises OSError."""
    fd = os.open(path, _READ)
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            return b"", ""
        return os.read(fd, min(found.st_size, SIZE_LIMIT) + 1), why_not(fd, found)
    finally:
        os.close(fd)
