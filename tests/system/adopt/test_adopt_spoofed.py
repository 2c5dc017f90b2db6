"""Processes of other users that bear all the marks of a service: which of them are taken over, and which not."""

from __future__ import annotations

import os
import shutil
import signal
import sys

import pytest
from conftest import Box, alive, wait_for
from heirs import SLEEP, adopted, copies, kill_supervise, leave_unnamed, start, started_refused, stat, state
from system import NOBODY, needs, needs_root

from supervise.supervisor import takeover

# A service of root's that starts, in a process group of its own, what another user says: as a web server does with his
# scripts.  It becomes an orphan, and bears what the next start of the service will bear.
HOST = """
import os, signal, sys
mark = int(open("/proc/self/coredump_filter").read(), 16)
if os.fork() == 0:
    os.setpgid(0, 0)
    number = (mark >> 7) + 1
    open("/proc/self/coredump_filter", "w").write(hex(mark & ~(3 << 7) | number % 3 << 7))
    uid = int(sys.argv[1])
    os.setgroups([]); os.setresgid(uid, uid, uid); os.setresuid(uid, uid, uid)
    os.execv("/bin/sleep", ["sleep", "86398"])
while True:
    signal.pause()
"""


@pytest.fixture
def box(open_box: Box) -> Box:
    needs_root()
    return open_box


def spoofed(box: Box, uid: int) -> tuple[int, int]:
    """A service that has ended with its supervise, and the process that it has left; both pids."""
    pid = start(box, sys.executable, "-S", "-E", "-c", HOST, str(uid))
    other = wait_for("the other process", lambda: next(iter(copies(box, ("sleep", "86398"))), 0))
    wait_for("the state to name the service", lambda: (state(box)["service"] or {}).get("pid") == pid)
    kill_supervise(box)
    os.kill(pid, signal.SIGKILL)
    wait_for("its end", lambda: not alive(pid) and int(stat(other)[1]) != pid)
    return pid, other


def test_another_users_process_is_not_taken_over(box: Box) -> None:
    """Nor is a second copy started, as long as it may be the service, which root can have made somebody else."""
    pid, other = spoofed(box, NOBODY)
    said = started_refused(box)
    assert f"pid {other} may be it, and is another user's" in said
    assert alive(other)
    os.kill(other, signal.SIGKILL)
    wait_for("its end", lambda: not alive(other))
    box.start(*SLEEP)
    assert box.pid not in (pid, other)


def test_one_of_supervises_own_is(box: Box) -> None:
    """So that the test above tests something."""
    _, other = spoofed(box, 0)
    box.start(*SLEEP)
    adopted(box, other)


def test_one_of_the_services_user_is(box: Box) -> None:
    needs("setpriv")
    box.conf("[app]\nuser : nobody\n")
    pid = leave_unnamed(box)
    assert os.stat(f"/proc/{pid}").st_uid == NOBODY
    box.start(*SLEEP)
    adopted(box, pid)


@pytest.mark.parametrize("uid, own", [(0, True), (NOBODY, False)])
def test_who_can_have_started_it(box: Box, uid: int, own: bool) -> None:
    _, other = spoofed(box, uid)
    assert takeover.user_of(other) == uid
    assert takeover.can_be_the_services(other, "") == own
    assert takeover.can_be_the_services(other, "nobody")
    assert takeover.can_be_the_services(other, "no-such-user") == own
    os.kill(other, signal.SIGKILL)


def test_a_program_that_gives_its_caller_rights(box: Box) -> None:
    """It is root's, but who has started it, and with what environment, is not root."""
    shutil.copy("/bin/sleep", box.folder / "privileged")
    (box.folder / "privileged").chmod(0o4755)
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setresuid(NOBODY, NOBODY, NOBODY)
            os.execv(box.folder / "privileged", ["sleep", "1000"])
        finally:
            os._exit(1)
    try:
        wait_for("the program", lambda: takeover.gained_rights(pid))
        assert not takeover.gained_rights(os.getpid())
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
