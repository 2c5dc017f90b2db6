"""What the tests ask of the machine, and what they see of its processes."""

from __future__ import annotations

import os
import pwd
import shutil
from pathlib import Path

import pytest

DEBIAN = {
    "fuser": "psmisc",
    "mail": "bsd-mailx",
    "mount": "mount",
    "nginx": "nginx",
    "pgrep": "procps",
    "redis-server": "redis-server",
    "setpriv": "util-linux",
    "strace": "strace",
    "unshare": "util-linux",
}


def needs(*programs: str) -> None:
    """Skip the test, saying what is missing."""
    for program in programs:
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed (Debian package {DEBIAN[program]})")


NOBODY = pwd.getpwnam("nobody").pw_uid


def needs_root() -> None:
    """Skip the test where it cannot be several users."""
    if os.geteuid() != 0:
        pytest.skip("only root can be another user as well")


def as_nobody() -> list[str]:
    """What makes a command one of another user's."""
    needs("setpriv")
    return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]


def children(pid: int) -> dict[int, str]:
    """The children of a process and their states; a zombie's is Z."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(parent) == pid:
                found[int(entry.name)] = state
    return found
