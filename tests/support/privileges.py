"""Supervises that may do little: words before a command, as fixtures of every test."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator

import pytest
from box import PATIENCE, Box
from system import needs

# Opens inotify instances as another user until the kernel refuses, says so, and keeps them until its input ends.
EXHAUST = """
import ctypes, errno, os, resource, sys
user, instances = int(sys.argv[1]), int(open("/proc/sys/fs/inotify/max_user_instances").read())
limit = max(instances + 100, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
libc = ctypes.CDLL(None, use_errno=True)
os.setgroups([]); os.setresgid(user, user, user); os.setresuid(user, user, user)
while libc.inotify_init() >= 0:
    pass
assert ctypes.get_errno() == errno.EMFILE
os.close(os.dup(0))  # it was not the limit of descriptors
print("exhausted", flush=True)
sys.stdin.read()
"""


def works(prefix: list[str], what: str) -> list[str]:
    """The prefix, if a Python can be run with it."""
    if prefix:
        needs(prefix[0])
        done = subprocess.run([*prefix, sys.executable, "-c", ""], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"{what}: {done.stderr.strip()}")
    return prefix


@pytest.fixture
def unprivileged() -> list[str]:
    """Words before a command for which permissions count.

    Not as another user, who might not even reach this Python (below /root, as pyenv has it): as root without the
    two capabilities by which root ignores permissions.
    """
    if os.geteuid() != 0:
        return []
    lost = "-dac_override,-dac_read_search"
    return works(["setpriv", f"--inh-caps={lost}", f"--bounding-set={lost}"], "root cannot give up its capabilities")


@pytest.fixture
def nobody_else(box: Box) -> tuple[list[str], int]:
    """Words before a command that is to run as a user who runs nothing else, and the number of that user."""
    if os.geteuid() != 0:
        pytest.skip("needs root: inotify instances are used up as a user who runs nothing else")
    user = random.randrange(1 << 28, 1 << 29)  # nobody's, nor that of another run of these tests at the same time
    # It may have to read what only root can reach, this Python to begin with.
    may = "-all,+dac_override,+dac_read_search"
    words = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", f"--inh-caps={may}"]
    return works([*words, f"--ambient-caps={may}"], "cannot run as another user"), user


@pytest.fixture
def exhausted(nobody_else: tuple[list[str], int]) -> Iterator[list[str]]:
    """The same words, while no inotify instance is left to that user."""
    words, user = nobody_else
    holder = subprocess.Popen(
        [sys.executable, "-c", EXHAUST, str(user)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdin and holder.stdout
    try:
        assert holder.stdout.readline() == "exhausted\n"
        yield words
    finally:
        holder.stdin.close()
        holder.wait(PATIENCE)
        holder.stdout.close()


@pytest.fixture
def stranger() -> int:
    """A user who runs nothing else."""
    if os.geteuid() != 0:
        pytest.skip("needs root: somebody else sends")
    return random.randrange(1 << 28, 1 << 29)
