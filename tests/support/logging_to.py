"""Services that print to a logger, and loggers that write down what they read."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from box import Box, alive, wait_for
from heirs import state

# Writes at once what it has read, into the file that it is told; TERM ends it between the two, and it is slow at its
# end, if it is to be.
LOGGER = """
import os, select, signal, sys, time
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
out = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
while True:
    if signal.SIGTERM in signal.sigpending():
        sys.exit(3)
    if not select.select([0], [], [], 0.05)[0]:
        continue
    data = os.read(0, 65536)
    if not data:
        time.sleep(float(sys.argv[2]))
        os.write(out, b"end\\n" if sys.argv[2] != "0" else b"")
        sys.exit(0)
    while data:
        data = data[os.write(out, data):]
"""
# Prints numbered lines as fast as it can, and before it ends how many of them.
NUMBERING = """
import os, signal
stop = []
signal.signal(signal.SIGTERM, lambda *_: stop.append(True))
own, number = os.getpid(), 0
while not stop:
    os.write(1, b"%d %d\\n" % (own, number))
    number += 1
os.write(1, b"%d all %d\\n" % (own, number))
"""
PRINTER = (sys.executable, "-S", "-E", "-c", NUMBERING)


def logger(folder: Path, file: str = "out", slow: float = 0) -> str:
    """The command of one."""
    script = folder / "logger.py"
    if not script.exists():
        script.write_text(LOGGER)
    return f"{sys.executable} -S -E {script} {file} {slow:g}"


def conf(box: Box, text: str = "", **files: str) -> None:
    """A configuration with a logger for each stream, or one of stdout."""
    lines = [f"{stream}_command : {logger(box.folder, file)}" for stream, file in (files or {"stdout": "out"}).items()]
    box.conf("\n".join(["[app]", *lines, text, ""]))


def out(box: Box, name: str = "out") -> str:
    """What a logger has written."""
    path = box.folder / name
    return path.read_text() if path.exists() else ""


def wait_out(box: Box, text: str, name: str = "out") -> None:
    wait_for(f"{text!r} in what the logger has written", lambda: text in out(box, name))


def loggers(box: Box) -> dict[str, dict[str, Any]]:
    """What the state says, by stream."""
    return {one["stream"]: one for one in state(box)["loggers"] or []}


def pid_of(box: Box, stream: str = "stdout", other_than: int = 0) -> int:
    """Wait until a logger runs; its pid."""

    def found() -> int:
        process = loggers(box).get(stream, {}).get("process")
        pid = process["pid"] if process else 0
        return pid if pid != other_than and pid and alive(pid) else 0

    return wait_for("a logger", found)


def readers(box: Box, stream: str = "stdout") -> list[int]:
    """The leaders of sessions that read from the pipe."""
    wanted = os.stat(box.status / f"__{stream}.pipe")
    found = []
    for name in os.listdir("/proc"):
        try:
            if os.path.samestat(os.stat(f"/proc/{name}/fd/0"), wanted) and os.getsid(int(name)) == int(name):
                found.append(int(name))
        except (OSError, ValueError):
            continue
    return found


def check_numbers(text: str) -> int:
    """Check that each printer's lines are all there, each once and in their order; how many printers have ended."""
    expected: dict[str, int] = {}
    ended = 0
    for line in text.splitlines():
        words = line.split()
        next_number = expected.get(words[0], 0)
        if words[1] == "all":
            assert int(words[2]) == next_number, line
            ended += 1
        else:
            assert int(words[1]) == next_number, line
            expected[words[0]] = next_number + 1
    return ended
