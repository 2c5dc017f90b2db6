"""What a service of another user cannot do to the supervise of root that runs it."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from conftest import Box, alive, wait_for
from heirs import stat
from system import as_user, child, identity

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root may run a service as another user")

USER = "nobody"
LIBC = ctypes.CDLL(None, use_errno=True)
PTRACE_ATTACH, PTRACE_SEIZE = 16, 0x4206



@pytest.fixture
def served(open_box: Box) -> Box:
    """A service of that user, which has said who and what it is."""
    box = open_box
    mask = os.umask(0o027)
    try:
        box.conf(f"[app]\nuser : {USER}\ncheck_command : sleep 77777\ncheck_timeout : 1000\n")
        box.start("/bin/sh", "-c", "umask; cat /proc/self/status; ls -l /proc/self/fd; echo done; exec sleep 1000")
    finally:
        os.umask(mask)
    box.wait_stdout("done\n")
    return box


def attempts(*acts: Callable[[], object]) -> set[str]:
    """What comes of attempts of that user: `done`, or the names of the errors."""

    def tried() -> str:
        said = []
        for act in acts:
            try:
                act()
                said.append("done")
            except OSError as why:
                said.append(errno.errorcode[why.errno or 0])
        return " ".join(said)

    return set(as_user(USER, tried).split())


def test_it_has_no_descriptor_of_supervises(served: Box) -> None:
    lines = served.stdout().splitlines()
    links = dict(line.split()[-3::2] for line in lines if " -> " in line)
    links.pop(max(links, key=int))  # the one that ls reads
    assert links == {"0": "/dev/null", "1": f"{served.status}/__stdout", "2": f"{served.status}/__stderr"}


def test_it_has_its_users_groups_and_supervises_umask(served: Box) -> None:
    said = served.stdout()
    assert said.startswith("0027\n")
    uids, gids, groups = identity("".join(line + "\n" for line in said.splitlines() if ":\t" in line))
    assert 0 not in {*uids, *gids, *groups}
    caps = [line.split()[1] for line in said.splitlines() if line.startswith(("CapInh", "CapPrm", "CapEff", "CapAmb"))]
    assert {int(mask, 16) for mask in caps} == {0}


def test_it_has_no_controlling_terminal(served: Box) -> None:
    assert stat(served.pid)[4] == "0"
    assert stat(served.pid)[3] == str(served.supervisor)  # the session


def test_it_cannot_trace_it_or_look_into_it(served: Box) -> None:
    supervisor = served.supervisor

    def trace(request: int) -> None:
        if LIBC.ptrace(request, supervisor, None, None):
            raise OSError(ctypes.get_errno(), "")

    def look(name: str) -> None:
        os.read(os.open(f"/proc/{supervisor}/{name}", os.O_RDONLY), 1)

    assert attempts(lambda: trace(PTRACE_ATTACH), lambda: trace(PTRACE_SEIZE)) == {"EPERM"}
    names = ("mem", "environ", "fd/0", "maps", "auxv", "syscall", "stack")
    assert attempts(*(partial(look, name) for name in names)) <= {"EACCES", "EPERM"}
    assert "\nTracerPid:\t0\n" in Path(f"/proc/{supervisor}/status").read_text()


def test_it_cannot_signal_it(served: Box) -> None:
    """But CONT within a session, which anybody may (kill(2)), and which does nothing."""
    supervisor = served.supervisor
    numbers = {*signal.valid_signals()} - {signal.SIGCONT}
    assert attempts(*(partial(os.kill, supervisor, number) for number in numbers)) == {"EPERM"}
    assert alive(supervisor)


def test_it_cannot_choose_it_for_the_next_kill_when_memory_is_short(served: Box) -> None:
    def write(pid: int, score: bytes) -> None:
        fd = os.open(f"/proc/{pid}/oom_score_adj", os.O_WRONLY)
        os.write(fd, score)

    supervisor = served.supervisor
    before = Path(f"/proc/{supervisor}/oom_score_adj").read_text()
    assert attempts(lambda: write(supervisor, b"1000")) == {"EACCES"}
    assert Path(f"/proc/{supervisor}/oom_score_adj").read_text() == before
    # Nor take itself out.
    assert attempts(lambda: write(os.getpid(), b"-1000")) == {"EACCES"}
    assert Path(f"/proc/{served.pid}/oom_score_adj").read_text() == before


def test_it_cannot_command_it_or_change_what_it_believes(served: Box) -> None:
    names = ("control", "ok", "status", "state", "lock", "supervise.log", "__stdout")
    flags = os.O_RDWR | os.O_NONBLOCK
    assert attempts(*(partial(os.open, served.status / name, flags) for name in names)) == {"EACCES"}
    where = served.status / "x"
    acts = partial(os.rename, served.status / "state", where), partial(os.symlink, "/etc/passwd", where)
    assert attempts(*acts) == {"EACCES"}


def test_its_check_is_as_restricted(served: Box) -> None:
    """It is the same user, in a session of its own, and has no terminal either."""

    pid = wait_for("a check", lambda: child(served.supervisor, "sleep", "77777"))
    uids, gids, groups = identity(Path(f"/proc/{pid}/status").read_text())
    assert 0 not in {*uids, *gids, *groups}
    assert stat(pid)[3:5] == [str(pid), "0"]


