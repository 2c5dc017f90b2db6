"""What the tests ask of the machine, and what they see of its processes."""

from __future__ import annotations

import fcntl
import os
import pwd
import re
import shutil
import stat
import struct
import subprocess
import termios
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Callable

import pytest
from box import Box, processes

DEBIAN = {
    "cp": "coreutils",
    "fuser": "psmisc",
    "ionice": "util-linux",
    "localedef": "libc-bin",
    "logger": "bsdutils",
    "mail": "bsd-mailx",
    "mount": "mount",
    "multilog": "daemontools",
    "nginx": "nginx",
    "nsenter": "util-linux",
    "pgrep": "procps",
    "redis-server": "redis-server",
    "s6-log": "s6",
    "setpriv": "util-linux",
    "strace": "strace",
    "svlogd": "runit",
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
    for other in processes():
        try:
            with open(f"/proc/{other}/stat", "rb", 0) as file:
                state, parent = file.read().rpartition(b")")[2].split(None, 2)[:2]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(parent) == pid:
            found[other] = state.decode()
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
    entry = pwd.getpwnam(name)
    return as_somebody(entry.pw_uid, entry.pw_gid, [], found)


def as_somebody(uid: int, gid: int, groups: Sequence[int], found: Callable[[], str]) -> str:
    """The same with numbers, which need not be anybody's."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.setgroups(groups)
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
            os.write(writing, found().encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading) as said:
        text = said.read()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    return text


def tree(folder: Path) -> dict[str, tuple[int, object]]:
    """Everything below a folder: mode, and content or target."""
    found: dict[str, tuple[int, object]] = {}
    for place, dirs, files in os.walk(folder):
        for name in (*dirs, *files):
            path = os.path.join(place, name)
            mode = os.lstat(path).st_mode
            content: object = None
            if stat.S_ISLNK(mode):
                content = os.readlink(path)
            elif stat.S_ISREG(mode):
                content = Path(path).read_bytes()
            found[path] = (mode, content)
    return found


@contextmanager
def own_disk(box: Box, size: str) -> Iterator[Path]:
    """A disk of this size (as mount(8) has it) where the status directories are."""
    place = box.folder / "status"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a disk of its own takes the right to mount a tmpfs")
    try:
        yield place
    finally:
        box.clean()
        subprocess.run(["umount", "-l", str(place)], check=True)


def switches(pid: int) -> int:
    """How often a process has been given a processor, or has lost it."""
    return sum(map(int, re.findall(r"ctxt_switches:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())))


def unread(box: Box) -> int:
    """How many bytes of the control FIFO supervise has not read yet."""
    fd = os.open(box.status / "control", os.O_RDONLY | os.O_NONBLOCK)
    try:
        return int(struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, b"\0" * 4))[0])
    finally:
        os.close(fd)


def cpu(pid: int) -> float:
    """Seconds of processor time that a process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
