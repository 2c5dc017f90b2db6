"""What is new among the parts of a log, since the last look, while they are added and moved up all the time.

What lives here: finding it, so that all of it belongs together (livefile.py, rules 2 and 3).  What does not: what it
means.
"""

from __future__ import annotations

import os
import re
from itertools import chain

from supervise.client.logfiles import Found, LogError, find, first_data, names, rotated, unreadable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Optional

    Ident = Optional[tuple[int, int]]
    Look = tuple[Ident, Ident, int, Ident]  # NAME, NAME.1, where the hole ends, what is NAME.1 next

AT_MOST = 10_000  # looks, while all changes all the time


def busy(path: str) -> LogError:
    """The exception for what never stays as it is."""
    return unreadable(path, ValueError("it is rotated all the time"))


class Survey:
    """What has changed since the last one, and belongs together."""

    def __init__(self, look: Look, new: list[Found], known: bool) -> None:
        self.look = look
        self.hole = look[2]
        self.new = new  # the newest first
        self.known = known  # whether the one that was the newest is there


class PartWatch:
    """The watch for parts of the file that `fd` is open for, NAME in the directory of `directory`."""

    def __init__(self, path: str, fd: int, directory: int, name: str) -> None:
        """What is there already is known.  Raises LogError."""
        self._path = path  # for messages
        self._fd = fd
        self._directory = directory
        self._name = name
        found = os.fstat(fd)
        self._ident = (found.st_dev, found.st_ino)
        self._pin = -1  # of the newest part: rule 3
        self.times: dict[Ident, int] = {}  # of all that are known: another file may get the inode of one that is gone
        self.newest: Found | None = None
        self._alike = 0  # the newest and those before it with the same time
        survey = self.survey()
        self.hole = survey.hole
        self.first = survey.new[0] if survey.new else None
        self.note(survey)

    def close(self) -> None:
        """Let go of what is held open."""
        if self._pin >= 0:
            os.close(self._pin)
            self._pin = -1

    def unchanged(self) -> bool:
        """Whether all is as it was noted."""
        return self.look() == self.seen

    def older(self) -> Iterator[Found]:
        """The files that were there at the beginning, the newest first.  Raises LogError.

        They move up meanwhile, and newer ones get the numbers that they had.
        """
        first = self.first
        if first is None:
            return
        for _ in range(2):
            behind = list(self._behind())
            at = next((at for at, found in enumerate(behind) if found.was(first)), -1)
            if at >= 0:
                yield from behind[at:]
                return
            pending = find(self._directory, first.name)
            if pending and pending.ident == first.ident:
                yield first
                yield from behind
                return
            # It has a number since, or is gone, and all that are older with it.

    def _behind(self) -> Iterator[Found]:
        """The rotated files that are older than this one, which may have been renamed itself."""
        current = find(self._directory, self._name)
        passed = current is not None and current.ident == self._ident
        for found in rotated(self._directory, self._name):
            if found.ident == self._ident:
                passed = True
            elif not found.regular:
                return
            elif passed:
                yield found

    def look(self) -> Look:
        """What shows that something has changed.  Raises LogError."""
        for _ in range(AT_MOST):
            current, first = self._ident_of(self._name), self._ident_of(f"{self._name}.1")
            hole = first_data(self._fd, 0, os.fstat(self._fd).st_size)
            if not hole:
                return current, first, hole, None
            pending = self._pending(hole)
            if self._ident_of(f"{self._name}.1") == first:  # else what was pending may have got that name
                return current, first, pending[1] if pending else hole, pending[0].ident if pending else None
        raise busy(self._path)

    def _ident_of(self, name: str) -> Ident:
        found = find(self._directory, name)
        return found.ident if found else None

    def _pending(self, hole: int) -> tuple[Found, int] | None:
        """The part that has no number yet, and where the hole ends that it is from (rule 2)."""
        pattern = re.compile(re.escape(f"{self._name}.next-{self._ident[1]}-") + "([0-9]{1,18})")
        for name in names(self._directory) if hole else ():
            match = pattern.fullmatch(name)
            found = find(self._directory, name) if match else None
            if match and found and found.regular and int(match[1]) < hole <= int(match[1]) + found.size:
                return found, int(match[1]) + found.size
        return None

    def survey(self) -> Survey:
        """Look at all that is new (rule 3).  Raises LogError."""
        for _ in range(AT_MOST):
            look = self.look()
            pending = self._pending(look[2])
            new, known = self._new(pending[0] if pending else None)
            if self.look() == look:
                return Survey(look, new, known)
        raise busy(self._path)

    def _new(self, pending: Found | None) -> tuple[list[Found], bool]:
        """The parts that are newer than the newest that is known, the newest first; and whether that is there."""
        newest = self.newest
        new = [pending] if pending else []
        if newest and pending and pending.ident == newest.ident:
            return [], True
        for found in self._behind():
            if newest and found.ident == newest.ident:
                return new, True
            new.append(found)
        if newest is None:
            return new, False
        # It may be compressed by now.  Others may have been made within the same tick of the clock.
        alike = [at for at, found in enumerate(new) if found.time == newest.time]
        if any(new[at].compressed for at in alike):
            return new[: alike[max(len(alike) - self._alike, 0)]], True
        return new, False

    def note(self, survey: Survey) -> None:
        """From now on what is there is known."""
        self.seen: Look = survey.look
        if not survey.new:
            return
        alike = next((at for at, found in enumerate(survey.new) if found.time != survey.new[0].time), len(survey.new))
        earlier = self._alike if self.newest and self.newest.time == survey.new[0].time else 0
        self._alike = alike + (earlier if alike == len(survey.new) else 0)
        self.newest = survey.new[0]
        self.times.update((found.ident, found.time) for found in survey.new)
        if self._pin >= 0:
            os.close(self._pin)
        self._pin = self._held(self.newest)

    def _held(self, wanted: Found) -> int:
        """A descriptor that keeps its inode from being another's; -1 where that cannot be."""
        for found in chain((wanted,), rotated(self._directory, self._name)):
            try:
                fd = os.open(found.name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._directory)
            except OSError:
                continue
            other = os.fstat(fd)
            if (other.st_dev, other.st_ino) == wanted.ident:
                return fd
            os.close(fd)
        return -1
