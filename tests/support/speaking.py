"""The test's side of speaker.py: a service that does what the test tells it, and what is to be seen of it."""

from __future__ import annotations

import ast
import os
import re
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from box import PATIENCE, Box, wait_for
from heirs import state
from tools import run_tool

_PROGRAM = str(Path(__file__).with_name("speaker.py"))


class Speaker:
    """A service; `box` is its box, `command` what to supervise."""

    def __init__(self, box: Box) -> None:
        self.box = box
        self._path = box.folder / f"{box.name}.told"
        os.mkfifo(self._path)
        self._fifo = os.open(self._path, os.O_RDWR)
        self._count = 0
        self.command = (sys.executable, "-S", "-E", _PROGRAM, str(self._path))

    def start(self, conf: str, options: tuple[str, ...] = ()) -> int:
        """Supervise it with these lines of configuration; its pid."""
        self.configure(conf)
        return self.box.start(*self.command, options=options)

    def configure(self, conf: str) -> None:
        """Write the configuration; blanks at the beginning of a line do not count."""
        self.box.conf("[global]\n" + "".join(f"{line.strip()}\n" for line in conf.splitlines()))

    def tell(self, code: str) -> int:
        """Have it do something, without waiting for it."""
        self._count += 1
        line = f"{self._count} {code!r}\n".encode()
        assert len(line) <= 4096, "more than is written at once"
        os.write(self._fifo, line)
        return self._count

    def ask(self, code: str, patience: float = PATIENCE) -> Any:
        """Have it do something, and wait until it is done; its value."""
        number = self.tell(code)
        pattern = re.compile(rf"^{number} (done|failed) (.*)\n", re.MULTILINE)
        found = wait_for(f"{code!r} to be done", lambda: pattern.search(self.box.stdout()), patience)
        assert found[1] == "done", found[0]
        return ast.literal_eval(found[2])

    def say(self, *messages: str | bytes) -> None:
        """Have it send datagrams, in this order, and wait until supervise has dealt with them."""
        assert self.ask(f"send(*{messages!r}), barrier()")[1]

    def foreign(self, *messages: bytes) -> None:
        """Send datagrams to where it sends its own, from the test, which is no process of this service."""
        address = self.address()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.connect("\0" + address[1:] if address.startswith("@") else address)
            for message in messages:
                sender.send(message)

    # What is to be seen.

    def state(self, *names: str) -> Any:
        """A field of the state, or several."""
        found = state(self.box)
        return found[names[0]] if len(names) == 1 else tuple(found[name] for name in names)

    def wait_state(self, **fields: Any) -> None:
        """Wait until fields of the state have these values."""
        wanted = tuple(fields.values())
        names = tuple(fields)
        wait_for(f"{fields} in the state", lambda: tuple(state(self.box)[name] for name in names) == wanted)

    def svstat(self) -> str:
        """The line of svstat."""
        done = run_tool(self.box, "svstat", self.box.name)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.rstrip("\n")

    def address(self) -> str:
        """NOTIFY_SOCKET of the process that runs now."""
        return environment(self.box.pid)["NOTIFY_SOCKET"]


@contextmanager
def speaking(box: Box) -> Iterator[Speaker]:
    """A service that speaks; when this ends its processes end, too."""
    made = Speaker(box)
    try:
        yield made
    finally:
        os.close(made._fifo)


def ignoring(name: str, command: tuple[str, ...]) -> tuple[str, ...]:
    """The command with a signal ignored from its beginning."""
    return ("sh", "-c", f'trap "" {name}; exec "$@"', "sh", *command)


def wait_until(what: str, at: float) -> None:
    """Let time pass, where what is to be seen is that nothing happens; `at` is monotonic."""
    wait_for(what, lambda: time.monotonic() >= at, max(at - time.monotonic(), 0) + PATIENCE)


def environment(pid: int) -> dict[str, str]:
    """The variables that a process was started with."""
    entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    pairs = (os.fsdecode(entry).partition("=") for entry in entries if entry)
    return {name: value for name, _, value in pairs}


def descriptors(pid: int) -> list[str]:
    """What a process has open, without the numbers that tell one pipe from another."""
    found = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            found.append(os.readlink(f"/proc/{pid}/fd/{fd}").partition(":[")[0])
        except FileNotFoundError:
            pass  # closed meanwhile
    return sorted(found)


def at_rest(box: Box) -> list[str]:
    """What supervise has open when the watches on its configuration are set."""

    def found() -> list[str]:
        opened = descriptors(box.supervisor)
        return opened if "anon_inode:inotify" in opened else []

    return wait_for("the watches", found)


def memory(pid: int) -> int:
    """Bytes that a process has in memory of its own."""
    text = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"^RssAnon:\s+(\d+) kB$", text, re.MULTILINE)
    assert found
    return int(found[1]) * 1024
