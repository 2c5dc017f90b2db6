"""Notification access: which senders on NOTIFY_SOCKET belong to the service, though they may have ended by now.

Theory of operation
-------------------

Rule 1.  A process that is there is judged by its parents and its session (members.py).  That goes for a zombie, too: it
         has its number, and in /proc all of that, until it is reaped; so the loop listens before it reaps.
Rule 2.  Of one that has been reaped nobody can tell whose it was: a pidfd that comes with a message (SCM_PIDFD) tells
         no more than how it has ended.  The same goes where /proc cannot be looked at.  What is left is the user in its
         credentials.  If that is root, supervise's own or one of the service's users, it is believed: it could have
         done anything else to the service as well (signal it, trace it).  What it may name, MAINPID, is judged by
         itself.
Rule 3.  One that is there and is not of the service is a stranger, whoever the user.
Rule 4.  A stranger costs nothing lasting: what was found of it holds for a second, and after a burst of messages of
         strangers the socket is left alone for a while, which doubles as long as it goes on.
"""

from __future__ import annotations

import posix as os
import time

from supervise.system.procfs import proc_is_ours, stat_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

_HOLDS = 1.0  # seconds: no number is given away and around again in that time
_STRANGERS, _USERS = 256, 16  # that are remembered
_BURST = 8  # messages of strangers at once
_FIRST, _LONGEST = 0.0125, 0.1  # seconds that the socket is left alone


class NotifyAccess:
    """The senders to one service's socket."""

    def __init__(self) -> None:
        self._strangers: dict[tuple[int, int], float] = {}  # pid and uid -> until when that holds
        self._users: set[int] = set()  # that processes of the service have been
        self._pause = 0.0
        self.looked = False  # what was last judged took a look at /proc

    def judge(self, pid: int, uid: int, main: int, belongs: Callable[[int], bool]) -> bool | None:
        """Whether a sender belongs to the service with the main process `main`; None: that cannot be told."""
        now = time.monotonic()
        self.looked = False
        if pid <= 0 or now < self._strangers.get((pid, uid), 0.0):
            return False
        self.looked = True
        try:
            if belongs(pid):
                if len(self._users) < _USERS:
                    self._users.add(uid)
                return True
            stranger = _is_there(pid)
        except OSError:
            stranger = False  # nobody could look
        if stranger:
            if len(self._strangers) >= _STRANGERS:
                self._strangers.clear()
            self._strangers[pid, uid] = now + _HOLDS
            return False
        may = uid in (0, os.geteuid()) or uid in self._users or uid in _users_of(main)
        return True if may else None

    def pause_after(self, strangers: int, failed: bool = False) -> float:
        """Seconds to leave the socket alone, after so many messages of strangers at once, or a call that failed."""
        longer = min(max(self._pause * 2, _FIRST), _LONGEST)
        self._pause = longer if failed or strangers >= _BURST else 0.0
        return self._pause


def _is_there(pid: int) -> bool:
    """Whether it has not been reaped, and can be looked at.  Raises OSError."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # another user's
    return proc_is_ours() and stat_of(pid).state != "-"


def _users_of(pid: int) -> set[int]:
    """The real, effective, saved and file system users of a process; nobody if it is gone."""
    try:
        with open(f"/proc/{pid}/status", "rb", buffering=0) as file:
            lines = (file.read(4096) or b"").split(b"\n")
    except OSError:
        return set()
    found = [line.split()[1:] for line in lines if line.startswith(b"Uid:")]
    return {int(word) for words in found for word in words}
