"""The log that a logger keeps by itself, as multilog, s6-log and svlogd do: found by the files that it has open.

Its arguments would not tell: multilog and svlogd go into the directory that they name, and others execute them.
"""

from __future__ import annotations

import os

from supervise.client.logfiles import CURRENT, is_older

TYPE_CHECKING = False
if TYPE_CHECKING:
    from supervise.client.service import Service

_LOCK = "lock"  # which all of them hold, also while they have no file open that they write to


def log_of_logger(service: Service, stream: str) -> tuple[str, str] | None:
    """The directory and the name of the log that the logger of "stdout" or "stderr" keeps; None: none is known.

    Where it keeps several it is the one that it has opened first.  Raises ClientError.
    """
    pid = next((logger.pid for logger in service.status().loggers if logger.stream == stream), 0)
    folder = _folder(pid) if pid else ""
    return (folder, CURRENT) if folder else None


def _folder(pid: int) -> str:
    try:
        opened = sorted(map(int, os.listdir(f"/proc/{pid}/fd")))
    except OSError:  # it has ended, or is another user's
        return ""
    for fd in opened:
        try:
            folder, name = os.path.split(os.readlink(f"/proc/{pid}/fd/{fd}"))
        except OSError:
            continue
        if name == CURRENT or (name == _LOCK and _is_log(folder)):
            return folder
    return ""


def _is_log(folder: str) -> bool:
    """Whether this is a log's directory, be it at a moment when its file is being renamed."""
    try:
        return any(name == CURRENT or is_older(name) for name in os.listdir(folder))
    except OSError:
        return False
