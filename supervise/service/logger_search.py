"""Finding a logger that the state does not name: by what it reads (logger.py, rule 7)."""

from __future__ import annotations

import posix as os
import stat

from supervise.system.descriptors import samestat
from supervise.system.identity import named
from supervise.system.pidfd import Process
from supervise.system.procfs import everybody, proc_is_ours


def reader_of(pipe: int) -> Process | None:
    """The leader of a session whose standard input is this FIFO, as a logger's is.  Raises OSError."""
    wanted, own = os.fstat(pipe), os.getpid()
    if not proc_is_ours():
        return None
    for found in everybody():
        if found.session != found.pid or found.pid == own or not found.running:
            continue
        try:
            file = os.stat(f"/proc/{found.pid}/fd/0")
        except OSError:
            continue  # it has ended, or is another user's
        if stat.S_ISFIFO(file.st_mode) and samestat(file, wanted):
            return named({"pid": found.pid, "start_ticks": found.start_ticks, "pidfd_inode": None})
    return None
