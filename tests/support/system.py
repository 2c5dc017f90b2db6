"""What the tests ask of the machine, and what they see of its processes."""

from __future__ import annotations

import os
import pwd
import shutil
from pathlib import Path
from typing import Callable

import pytest
from box import Box

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


def child(parent: int, *words: str) -> int:
    """The child of a process that runs a command, 0 if there is none."""
    wanted = "".join(f"{word}\0" for word in words).encode()
    for pid in children(parent):
        try:
            if Path(f"/proc/{pid}/cmdline").read_bytes() == wanted:
                return pid
        except OSError:
            pass
    return 0


def marked(box: Box) -> list[int]:
    """What runs with the mark of this test in its environment."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and box.owns(int(name))]


def identity(status: str) -> tuple[list[int], list[int], list[int]]:
    """The uids, gids and groups in the text of /proc/PID/status."""
    fields = dict(line.split(":\t", 1) for line in status.splitlines())
    uids, gids, groups = ([int(word) for word in fields[name].split()] for name in ("Uid", "Gid", "Groups"))
    return uids, gids, groups


def as_user(name: str, found: Callable[[], str]) -> str:
    """What a function returns in a process of this user."""
    reading, writing = os.pipe()
    entry = pwd.getpwnam(name)
    pid = os.fork()
    if not pid:
        try:
            os.setgroups([])
            os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
            os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)
            os.write(writing, found().encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading) as said:
        text = said.read()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    return text
