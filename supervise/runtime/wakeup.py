"""Signals to supervise itself, through a wakeup pipe that ends the loop's poll."""

from __future__ import annotations

import posix as os

from supervise.protocol.exitstatus import signal_name
from supervise.system.spawn import HANDLED

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
else:
    import _signal  # see spawn.py


class Wakeup:
    """From `begin` on, a signal makes `fd` readable; all but CHLD leave their `names`, in order."""

    __slots__ = ("fd", "names")

    def __init__(self) -> None:
        self.fd = -1
        self.names: list[str] = []

    def begin(self, ended: bool = True) -> None:
        """Handle the signals, and block none of them; `ended`: children may have ended before.  Raises OSError."""
        self.fd, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        _signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        note = self._note
        for number in HANDLED:
            _signal.signal(number, note)
        _signal.pthread_sigmask(_signal.SIG_SETMASK, ())
        if ended:
            _signal.raise_signal(_signal.SIGCHLD)  # an exec keeps them

    def _note(self, number: int, frame: object) -> None:
        if number != _signal.SIGCHLD:
            self.names.append(signal_name(number))

    def drain(self) -> None:
        """Empty the pipe, when `fd` is readable.  Raises OSError."""
        try:
            os.read(self.fd, 4096)
        except BlockingIOError:
            pass
