"""A batch of starts, which one process prepares one beside the other: what each has, and nobody else's copy may have.

Rule 1.  Descriptors are the kernel's to number.  Which of them are whose is found out after each step of a start: what
         is open then, and was not before, is its own.
Rule 2.  All directories are locked before one look for others that have their paths (path_conflict.py).
"""

from __future__ import annotations

import posix as os

from supervise.protocol.filenames import fsencode
from supervise.protocol.lockfile import path_of
from supervise.supervisor.build import absolute
from supervise.supervisor.startup import Startup, forget, write_claim
from supervise.system.descriptors import close
from supervise.system.statusdir import LockHeld

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from supervise.protocol.options import Options
    from supervise.system.statusdir import StatusDir

_MANY = 32  # more than one step has open at the same time and closes again


class Descriptors:
    """Which numbers of descriptors are open here, followed without looking at all of them.

    The kernel gives the lowest number that is free: what is new is in a gap, or not far behind the highest.
    """

    def __init__(self) -> None:
        """Raises OSError."""
        numbers = {number for number in map(int, os.listdir("/proc/self/fd")) if _is_open(number)}  # not listdir's own
        self.end = max(numbers, default=-1) + 1  # none from here on is open
        self._free = {*range(self.end)} - numbers

    def of(self, own: frozenset[int]) -> frozenset[int]:
        """The descriptors of whom has `own`, after he, and he alone, has opened and closed some."""
        closed = {fd for fd in own if not _is_open(fd)}
        new = {fd for fd in self._free if _is_open(fd)}
        number = self.end
        while number < self.end + _MANY:
            if _is_open(number):
                self._free.update(range(self.end, number))
                new.add(number)
                self.end = number + 1
            number += 1
        self._free -= new
        self._free |= closed
        return frozenset((own - closed) | new)

    def close(self, own: frozenset[int]) -> None:
        """Close these."""
        for fd in own:
            close(fd)
        self._free |= own


class Prepared:
    """A start that is prepared up to where it needs a process of its own; or is not, and `reason` is why.

    `held`: because somebody else holds its lock.  `fds`: the descriptors that are its own.
    """

    def __init__(self, options: Options, startup: Startup) -> None:
        self.options = options
        self.startup = startup
        self.fds: frozenset[int] = frozenset()
        self.reason = ""
        self.held = False


def prepare(starts: Sequence[Prepared], descriptors: Descriptors, unsaid: bool) -> None:
    """Prepare starts, each as Startup.prepare does."""
    held: list[tuple[Prepared, tuple[StatusDir, int]]] = []
    for start in starts:
        try:
            held.append((start, start.startup.lock()))
        except Exception as why:
            _fail(start, why, unsaid)
        start.fds = descriptors.of(start.fds)
    for (start, _), found in zip(held, _claims([lock for _, lock in held])):
        try:
            if isinstance(found, Exception):
                raise found
            start.startup.go_on(found)
            start.startup.do_ahead()  # now that none of them makes a directory that the others watch
        except Exception as why:
            _fail(start, why, unsaid)
        start.fds = descriptors.of(start.fds)
    for start in starts:
        if start.reason:
            descriptors.close(start.fds)
            start.fds = frozenset()


def _fail(start: Prepared, why: Exception, unsaid: bool) -> None:
    start.startup.fail(why, unsaid)
    start.reason, start.held = start.startup.reason, isinstance(why, LockHeld)


def _claims(held: Sequence[tuple[StatusDir, int]]) -> list[list[str] | Exception]:
    """What startup.claim returns or raises of each."""
    answers: list[list[str] | Exception] = [[] for _ in held]
    new: list[tuple[int, tuple[StatusDir, int, bytes]]] = []
    for number, (directory, lock) in enumerate(held):
        try:
            place = absolute(fsencode(directory.path))
            if path_of(lock) != place:
                new.append((number, (directory, lock, place)))
        except OSError as why:
            answers[number] = why
    if not new:
        return answers
    try:
        from supervise.supervisor import path_conflict

        found = path_conflict.look_for([one for _, one in new])
        forget(path_conflict)
    except Exception as why:  # without a descriptor it cannot be imported
        for number, _ in new:
            answers[number] = why
        return answers
    for (number, (directory, lock, place)), answer in zip(new, found):
        failed = isinstance(answer, Exception)
        answers[number] = answer if failed else write_claim(directory, lock, place, answer)  # type: ignore
    return answers


def _is_open(number: int) -> bool:
    try:
        os.get_inheritable(number)
    except OSError:
        return False
    return True
