"""The starts of supervises by the nursery, from the fork to what each reports."""

from __future__ import annotations

import os
import sys

from supervise.fleet.nursery_process import NurseryGone
from supervise.protocol.text import one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Callable

    from supervise.fleet.lookout import Lookout
    from supervise.fleet.nursery import Copy
    from supervise.fleet.nursery_process import NurseryProcess
    from supervise.protocol.options import Options

_FATAL = "supervise: fatal: "


class Starts:
    """The supervises that are being started."""

    def __init__(self, nursery: Callable[[], NurseryProcess], lookout: Lookout) -> None:
        """`nursery`: where they are forked; `lookout`: waits for what they report."""
        self._nursery = nursery
        self._lookout = lookout
        self._copies: dict[int, tuple[str, Copy]] = {}  # where one reports: its name, and what is known of it
        self._names: set[str] = set()
        self.made = False  # whether any was forked

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def make(self, wanted: Mapping[str, Options]) -> list[tuple[str, str]]:
        """Start supervises by the names of their services; those that could not be started, with the reason.

        All are prepared before the first is forked, for they share what was written until then.  Nothing else may be
        prepared meanwhile.  Raises OSError: there is no nursery; NurseryGone: it has died.
        """
        try:
            return self._make(wanted)
        except ConnectionError:
            raise NurseryGone("the process that forks supervises has ended") from None

    def _make(self, wanted: Mapping[str, Options]) -> list[tuple[str, str]]:
        refused: list[tuple[str, str]] = []
        for name, copy in zip(wanted, self._nursery().start([*wanted.values()]) if wanted else ()):
            if isinstance(copy, OSError):
                refused.append((name, f"cannot fork: {copy.strerror}"))
            elif isinstance(copy, str):
                refused.append((name, copy))
            else:
                self._copies[copy.report] = name, copy
                self._names.add(name)
                self.made = True
                self._lookout.also(copy.report)
        return refused

    def reported(self, fd: int) -> tuple[str, str | None] | None:
        """The name of the supervise that has reported there, and why it has failed, None if it runs; what else it has
        said is passed on.  None: no supervise reports there.
        """
        if fd not in self._copies:
            return None
        name, copy = self._copies.pop(fd)
        self._names.discard(name)
        code = os.read(fd, 1)
        self._lookout.no_more(fd)
        os.close(fd)
        said = b""
        while part := os.read(copy.said, 65536):
            said += part
        os.close(copy.said)
        lines = said.decode("utf-8", "backslashreplace").splitlines()
        fatal = next((line for line in lines if line.startswith(_FATAL)), "")
        for line in lines:
            if line != fatal:
                sys.stderr.write(f"{one_line(line)}\n")
        return name, None if code == b"\0" else fatal[len(_FATAL) :] or "its supervise has ended"
