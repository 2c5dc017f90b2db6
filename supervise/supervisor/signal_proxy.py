"""A signal proxy: process 1 or the child of a systemd, when the supervise itself is another process by now.

It is what is left of a new version that could not supervise (upgrade.py, rule 7).  It supervises nothing, but whoever
waits for its end waits for that of the real one, and signals that it is sent reach that.
"""

from __future__ import annotations

import posix as os

from supervise.protocol.exitcodes import SYSTEM
from supervise.protocol.exitstatus import from_wait_status
from supervise.system.spawn import HANDLED

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
else:
    import _signal  # see spawn.py



def proxy_signals(guardian: int) -> int:
    """Forward signals to the supervise, this process's child `guardian`, until it ends: its exit code."""
    _signal.pthread_sigmask(_signal.SIG_BLOCK, HANDLED)
    _signal.set_wakeup_fd(-1)
    for name in os.listdir("/proc/self/fd"):  # the lock, the FIFOs, and what the guardian waits for
        if int(name) > 2:
            try:
                os.close(int(name))
            except OSError:
                pass  # the one that listdir read
    while True:
        code = _reap(guardian)
        if code is not None:
            return code
        number = _signal.sigwait(HANDLED)
        if number != _signal.SIGCHLD:
            os.kill(guardian, number)


def _reap(guardian: int) -> int | None:
    """Let no child be a zombie; the exit code of the guardian, if it has ended."""
    try:
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == guardian:
                return from_wait_status(status).exit_code
            if not pid:
                return None
    except ChildProcessError:
        return SYSTEM
