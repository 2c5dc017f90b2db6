"""poll(2) for the loop, with a fallback where the kernel refuses it.

poll(2) fails with ENOMEM, and with EINVAL when there are more descriptors than RLIMIT_NOFILE allows, which somebody
may have lowered after they were opened (`prlimit --nofile=3:3 --pid PID`).  select(2) knows no such limit, but no
descriptor beyond 1,023 either, and may want memory as well.  Where it fails, too, there is a pause, and after that
everything is looked at that could have happened.
"""

from __future__ import annotations

import posix as os
import select

from supervise.protocol.severities import NOTICE, WARNING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from supervise.runtime.event_log import Log

_PAUSE = 0.05  # seconds
_LONGEST = 5.0  # seconds until poll(2) is tried again; and what select(2) cannot tell is looked at by then


class Poll:
    """select.poll() whose `poll` never raises, and where registering or unregistering twice is no error.

    `happened`: how often something was ready.
    """

    __slots__ = ("happened", "_poll", "_masks", "_log", "_failing")

    def __init__(self, log: Log) -> None:
        self.happened = 0
        self._poll = select.poll()
        self._masks: dict[int, int] = {}
        self._log = log
        self._failing = False

    def register(self, fd: int, mask: int) -> None:
        """Add a descriptor, or change its mask."""
        self._masks[fd] = mask
        self._poll.register(fd, mask)

    def unregister(self, fd: int) -> None:
        """Remove a descriptor, if it is there."""
        if self._masks.pop(fd, None) is not None:
            self._poll.unregister(fd)

    def poll(self, timeout: float | None) -> list[tuple[int, int]]:
        """Wait for descriptors, at most `timeout` milliseconds: which are ready, and their events.

        A descriptor with no events is one of which nothing is known: reading it must not wait.
        """
        if self._failing and (timeout is None or timeout > _LONGEST * 1000):
            timeout = _LONGEST * 1000  # it may be over, which is to be said
        try:
            ready = self._poll.poll(timeout)
        except OSError as why:
            if not self._failing:
                self._failing = True
                self._log.add(WARNING, "cannot wait by poll: %s; waiting by select", why.strerror)
            return self._otherwise(_LONGEST if timeout is None else min(timeout / 1000, _LONGEST))
        if self._failing:
            self._failing = False
            self._log.add(NOTICE, "waiting by poll again")
        self.happened += bool(ready)
        return ready

    def _otherwise(self, seconds: float) -> list[tuple[int, int]]:
        self.happened += 1
        wanted = [fd for fd, mask in self._masks.items() if mask & select.POLLIN]
        try:
            return [(fd, select.POLLIN) for fd in select.select(wanted, (), (), seconds)[0]]
        except (OSError, ValueError):
            pause(min(seconds, _PAUSE))
            return [(fd, 0) for fd in wanted]

    def mend(self) -> None:
        """Remove descriptors that are closed, for which poll(2) would return at once, for ever."""
        for fd in list(self._masks):
            try:
                os.fstat(fd)
            except OSError as why:
                if why.errno == 9:  # EBADF
                    self.unregister(fd)


def pause(seconds: float) -> None:
    """Sleep until a fault may have passed, when the loop can do nothing else."""
    try:
        select.poll().poll(seconds * 1000)
    except OSError:
        try:
            select.select((), (), (), seconds)
        except OSError:
            pass
