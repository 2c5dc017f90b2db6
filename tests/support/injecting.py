"""Failing system calls of a running process, by strace."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from box import SUPERVISE, Box, wait_for
from system import needs

from supervise.system.procfs import stat_of

PYTHON = (sys.executable, "-I", "-S")  # as the script for sh starts it
SLEEP = ("sleep", "86399")


@contextmanager
def failing(pid: int, aside: Path, *faults: str) -> Iterator[Path]:
    """Let calls of a process fail meanwhile: each fault is what --inject takes, `kill:error=EPERM:when=1+`.

    The file that comes of it has the calls that were traced, as strace shows them.
    """
    needs("strace")
    output, said = aside / "trace", aside / "said"
    calls = ",".join(fault.partition(":")[0] for fault in faults)
    words = ["strace", "-o", str(output), "-e", f"trace={calls}", *(f"--inject={fault}" for fault in faults)]
    with said.open("wb") as err:
        tracer = subprocess.Popen([*words, "-p", str(pid)], stdin=subprocess.DEVNULL, stderr=err)
    try:
        wait_for("strace to attach", lambda: tracer.poll() is not None or "attached" in said.read_text())
        if tracer.poll() is not None:
            pytest.skip(f"strace cannot be used here: {said.read_text()}")
        yield output
    finally:
        # Let go between two calls: one that strace was about to fail would get an error of its own (ENOSYS).
        try:
            os.kill(pid, signal.SIGSTOP)
            wait_for("the process to stand still", lambda: stat_of(pid).state in "tTZ-")
        except ProcessLookupError:
            pass
        tracer.terminate()
        tracer.wait()
        try:
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            pass


def begin(box: Box, path: str, inject: str, *words: str) -> subprocess.Popen[bytes]:
    """A start in the foreground of which a system call fails, on this path if there is one; `words` run it, if any."""
    needs("strace")
    pid = box.pid if "{pid}" in path else 0
    filters = ["-P", path.format(pid=pid, status=box.status)] if path else []
    command = ["strace", "-o", str(box.folder / "trace"), *filters, "-e", f"trace={inject.partition(':')[0]}"]
    command += [f"--inject={inject}", "--", *words, *PYTHON, SUPERVISE, "--foreground", "-u", "status/app", *SLEEP]
    with (box.folder / "said").open("wb") as said:
        process = subprocess.Popen(
            command, cwd=box.folder, env=box.env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said
        )
    box.processes.append(process)
    return process
