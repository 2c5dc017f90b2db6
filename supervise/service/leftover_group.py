"""The process group of a main process that has ended, whose end is awaited; with its orphans, if asked for.

Theory of operation
-------------------

Rule 1.  A process group has its number as long as anybody is in it, zombies included, so a signal to it goes, while
         somebody of this session is in it, to nobody else.
Rule 2.  Its end is awaited through one of its processes, by pidfd; when that has ended, the next is looked for.  What
         is ours to reap also tells by SIGCHLD.
Rule 3.  An orphan has become supervise's child, so its number is its own until supervise reaps it.
"""

from __future__ import annotations

import errno
import posix as os

from supervise.system import start_tag
from supervise.system.members import group_members
from supervise.system.procfs import proc_is_ours
from supervise.system.spawn import send

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

    from supervise.runtime.reactor import Reactor, Readable


def empty(group: int) -> bool:
    """Whether a process group is empty: cheap, and certain only if it says yes (there may be zombies)."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass  # another user's
    return False


def of_start(number: int, pids: list[int], starts: int | None = None) -> list[int]:
    """Those of `pids` that come from the start with this number; all of them where there are no start tags.

    `starts`: how many there have been by now, if it is not the last.
    One without a tag is on its way out: a helper of supervise's, which was tagged for the start after that, or none
    that could be the main process.
    """
    told = start_tag.tells(number) and start_tag.of(os.getpid()) == start_tag.tag_of_start((starts or number) + 1)
    if not told:
        return pids
    tag = start_tag.tag_of_start(number)
    return [pid for pid in pids if start_tag.of(pid) == tag]


class LeftoverGroup:
    """A process group that is left.  `fd` is the pidfd of a member, which the reactor waits for, -1 for none."""

    def __init__(
        self,
        group: int,
        session: int,
        reactor: Reactor,
        ended: Readable,
        orphans: Callable[[], list[int]] | None = None,
    ) -> None:
        """`ended` is called when a member ends; `orphans` lists who else is left."""
        self.group, self.session = group, session
        self._orphans = orphans
        self._reactor = reactor
        self._ended = ended
        self.fd = -1

    def also(self, orphans: Callable[[], list[int]]) -> None:
        """Add others who are left."""
        self._orphans = orphans

    def pids(self) -> list[int]:
        """List who is left.  Raises OSError: it could not be looked at."""
        members = self._members()
        return members + self._others(members)

    def _members(self) -> list[int]:
        if empty(self.group):
            return []
        # Where nobody can say who is in it, its number stands for all.
        return group_members(self.group, self.session) if proc_is_ours() else [self.group]

    def _others(self, members: list[int]) -> list[int]:
        return [pid for pid in self._orphans() if pid not in members] if self._orphans else []

    def tell(self, name: str) -> list[str]:
        """Send all who are left a signal, and CONT; the problems.  Raises OSError."""
        members = self._members()
        targets = [(self.group, True)] if members else []
        targets += [(pid, False) for pid in self._others(members)]
        problems = [send(pid, name, group) for pid, group in targets]
        for pid, group in targets:
            send(pid, "CONT", group)
        return [problem for problem in problems if problem]

    def gone(self) -> bool:
        """Whether nobody is left; if somebody is, `fd` is readable when that may have changed.

        Raises OSError: nobody could look, and nothing will tell.
        """
        self.let_go()
        for pid in self.pids():
            try:
                self.fd = os.pidfd_open(pid)
            except OSError as why:
                if why.errno not in (errno.ESRCH, errno.ENOSYS):
                    raise
                continue  # it has ended just now, or the kernel has no pidfds: then SIGCHLD and the deadline tell
            self._reactor.on_readable(self.fd, self._ended)
            return False
        return not self.pids()

    def let_go(self) -> None:
        """Stop waiting."""
        if self.fd >= 0:
            self._reactor.unregister(self.fd)
            os.close(self.fd)
            self.fd = -1
