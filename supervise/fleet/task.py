"""Handing a task over from the program svall to the process that carries it out (daemon.py)."""

from __future__ import annotations

import posix as os
import sys

from supervise.fleet.title import ROOM
from supervise.protocol.filenames import fsdecode, fsencode, join
from supervise.system.installed import PACKAGE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

PROGRAM = "svall"
_SCRIPT = join(PACKAGE, "fleet/daemon.py")


class Task:
    """What svall was asked to do: a verb, the words that name services, the file and the root directory."""

    def __init__(self, verb: str, words: list[str], conf: str, root: str) -> None:
        self.verb = verb
        self.words = words
        self.conf = conf
        self.root = root

    @property
    def starts(self) -> bool:
        """Whether it may come to starts."""
        return self.verb != "down"

    def encode(self) -> bytes:
        """Serialise it: words that end in NUL."""
        return b"".join(fsencode(word) + b"\0" for word in (self.verb, self.conf, self.root, *self.words))

    @classmethod
    def decode(cls, data: bytes) -> Task:
        """Parse what `encode` made."""
        verb, conf, root, *words = (fsdecode(word) for word in data.split(b"\0")[:-1])
        return cls(verb, words, conf, root)


def become(task: Task, env: dict[bytes, bytes]) -> NoReturn:
    """Execute the interpreter that carries a task out.  Raises OSError."""
    fd = os.memfd_create("task")
    data = task.encode()
    while data:
        data = data[os.write(fd, data) :]
    os.lseek(fd, 0, 0)
    os.dup2(fd, 0)
    os.execve(sys.executable, [sys.executable, "-I", "-S", _SCRIPT, task.verb, ROOM], env)
