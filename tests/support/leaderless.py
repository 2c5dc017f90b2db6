"""A service whose first thread has ended while another runs: Z in /proc/PID/stat, and alive."""

from __future__ import annotations

import sys

from box import Box, wait_for
from heirs import stat

# SYS_exit ends the calling thread alone.  USR2 would end the process with status 23.
PROGRAM = """
import ctypes, os, platform, signal, sys, threading, time
EXIT = {"x86_64": 60, "aarch64": 93, "riscv64": 93, "ppc64le": 1, "s390x": 1}[platform.machine()]
if "child" in sys.argv and os.fork() == 0:
    sys.argv.remove("child")
signal.signal(signal.SIGUSR1, signal.SIG_IGN)
kept = bytearray(8 << 20)
def live():
    os.write(1, b"ready\\n")
    while True:
        time.sleep(1000)
threading.Thread(target=live).start()
ctypes.CDLL(None).syscall(EXIT, 0)
"""
COMMAND = (sys.executable, "-S", "-E", "-c", PROGRAM)


def wait_leaderless(pid: int) -> None:
    wait_for(f"the first thread of {pid} to end", lambda: stat(pid)[0] == "Z")


def start(box: Box, *words: str) -> int:
    """Start it as a service; its pid."""
    pid = box.start(*COMMAND, *words)
    wait_leaderless(pid)
    return pid
