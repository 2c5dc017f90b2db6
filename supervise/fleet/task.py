"""Handing a task over from the program svall to the process that carries it out (daemon.py)."""

from __future__ import annotations

import posix as os
import sys

from supervise.fleet.title import ROOM
from supervise.protocol.filenames import fsdecode, fsencode, join
from supervise.system.installed import PACKAGE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

PROGRAM = "svall"
_SCRIPT = join(PACKAGE, "fleet/daemon.py")


class Task:
    """What svall was asked to do: a verb, the words that name services, the file and the root directory.

    `logs`: show what the services print; `typed`: the arguments as they were typed, for ps(1).
    """

    def __init__(
        self, verb: str, words: list[str], conf: str, root: str, logs: bool = False, typed: Sequence[str] = ()
    ) -> None:
        self.verb = verb
        self.words = words
        self.conf = conf
        self.root = root
        self.logs = logs
        self.typed = [*typed]

    @property
    def starts(self) -> bool:
        """Whether it is about starts; it may come to some otherwise, too."""
        return self.verb in ("up", "run")

    @property
    def stays(self) -> bool:
        """Whether it is there until it is told to end."""
        return self.verb == "run"

    def encode(self) -> bytes:
        """Serialise it: words that end in NUL."""
        first = (self.verb, self.conf, self.root, "logs" if self.logs else "", str(len(self.words)))
        return b"".join(fsencode(word) + b"\0" for word in (*first, *self.words, *self.typed))

    @classmethod
    def decode(cls, data: bytes) -> Task:
        """Parse what `encode` made."""
        verb, conf, root, logs, count, *rest = (fsdecode(word) for word in data.split(b"\0")[:-1])
        words, typed = rest[: int(count)], rest[int(count) :]
        return cls(verb, words, conf, root, bool(logs), typed)


def become(task: Task, env: dict[bytes, bytes]) -> NoReturn:
    """Execute the interpreter that carries a task out.  Raises OSError."""
    fd = os.memfd_create("task")
    data = task.encode()
    while data:
        data = data[os.write(fd, data) :]
    os.lseek(fd, 0, 0)
    os.dup2(fd, 0)
    os.execve(sys.executable, [sys.executable, "-I", "-S", _SCRIPT, task.verb, ROOM], env)
