"""The service of readiness.py: does what it is told, and tells the moment just before.

    python3 -S -E herald.py FOLDER

A word that is written to the FIFO `letters` in FOLDER names a function below.  A moment is a line on stdout, as probe.c
has it: `WORD PID NANOSECONDS`; the pid is that of the process which is the main one from then on.
"""

from __future__ import annotations

import _socket
import os
import sys
import time

LINE = 3  # the descriptor of s6's notification


def tell(word: str, pid: int, moment: int) -> None:
    os.write(1, f"{word} {pid} {moment}\n".encode())


def say(text: str) -> int:
    """Send a datagram to supervise; the moment just before."""
    address = os.environ["NOTIFY_SOCKET"]
    sender = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)
    sender.connect("\0" + address[1:] if address.startswith("@") else address)
    data = text.encode()
    moment = time.monotonic_ns()
    sender.send(data)
    sender.close()
    return moment


def write_as(name: str, pid: int) -> int:
    """Have a pid in a file, which is there at once and whole; the moment just before."""
    with open(f"{name}.new", "w", encoding="ascii") as file:
        file.write(f"{pid}\n")
    moment = time.monotonic_ns()
    os.rename(f"{name}.new", name)
    return moment


def fork() -> int:
    """A child that has begun: its pid; in the child 0."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writing, b".")
    else:
        os.read(reading, 1)
    os.close(reading)
    os.close(writing)
    return pid


def linger() -> None:
    """Be a former main process until readiness.py ends it, or is not there any more."""
    time.sleep(60)
    os._exit(0)


# Readiness.


def ready() -> None:
    tell("ready", os.getpid(), say("READY=1"))


def line() -> None:
    """The same, as s6 has it."""
    moment = time.monotonic_ns()
    os.write(LINE, b"\n")
    os.close(LINE)
    tell("line", os.getpid(), moment)


# Another main process.  The child goes on in the loop of `main`.


def named() -> None:
    """By MAINPID=."""
    pid = fork()
    if pid:
        tell("named", pid, say(f"MAINPID={pid}"))
        linger()


def written() -> None:
    """By the pidfile."""
    pid = fork()
    if pid:
        tell("written", pid, write_as("pid", pid))
        linger()


def left() -> None:
    """By nothing but the end of the one before."""
    pid = fork()
    if pid:
        tell("left", pid, time.monotonic_ns())
        os._exit(0)


# The floors: without a supervise between what happens and the file that changes.


def renamed() -> None:
    tell("renamed", os.getpid(), write_as("status", os.getpid()))


def reaped() -> None:
    """A child ends, and its parent renames."""
    pid = os.fork()
    if pid == 0:
        tell("reaped", os.getppid(), time.monotonic_ns())
        os._exit(0)
    os.waitpid(pid, 0)
    write_as("status", pid)


def main() -> None:
    os.chdir(sys.argv[1])
    letters = os.open("letters", os.O_RDWR)
    write_as("pid", os.getpid())
    tell("start", os.getpid(), time.monotonic_ns())
    words = {each.__name__: each for each in (ready, line, named, written, left, renamed, reaped)}
    while True:
        words[os.read(letters, 100).decode()]()


if __name__ == "__main__":
    main()
