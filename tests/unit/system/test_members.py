"""Whose process is it?  Real families of processes, looked at from the one that is supervise."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import PATIENCE, alive, wait_for
from hypothesis import given, settings
from hypothesis import strategies as st

from supervise.system import members
from supervise.system.members import belongs, children, group_members
from supervise.system.procfs import Stat, stat_of

# What the families below are made with.  Every process says its name and pid on one pipe, and ends when the other, the
# lifeline, is closed: by whoever holds it, however that ends.
KIT = """
import ctypes, json, os, signal, sys

def live(name):
    os.write(SAYS, f"{name} {os.getpid()}\\n".encode())
    os.read(LIFELINE, 1)
    os._exit(0)

def fork(name, *steps, reap=False):
    global HELD
    pid = os.fork()
    if pid == 0:
        try:
            for fd in HELD:
                os.close(fd)
            HELD = ()
            for step in steps:
                step()
            live(name) if name else os._exit(0)
        finally:
            os._exit(1)
    if reap:
        os.waitpid(pid, 0)
    return pid

def child(name, *steps):
    return lambda: fork(name, *steps)

def orphan(name, *steps):
    return lambda: fork(None, child(name, *steps), reap=True)

def service():
    # A main process with what a service may have below and beside it.
    os.setpgid(0, 0)
    fork("worker", child("worker's child"))
    orphan("left behind")()
    orphan("daemon", os.setsid, child("daemon's child"))()
"""

# As a supervise: a subreaper that leads its session.
SUPERVISE = (
    KIT
    + """
from supervise.system.members import belongs, children, group_members

if os.getpid() != os.getsid(0):
    os.setsid()
assert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0
LIFELINE, lifeline = os.pipe()
hears, SAYS = os.pipe()
HELD = (lifeline, hears)
fork("main", service)
helper = fork("helper", os.setsid, child("helper's child"))
orphan("of no service's", os.setsid)()  # supervise is the only one above: what else comes to it is the service's
gone = fork(None, reap=True)
zombie = fork(None)
os.waitid(os.P_PID, zombie, os.WEXITED | os.WNOWAIT)
said = b""
while said.count(b"\\n") < 9:
    said += os.read(hears, 4096)
pids = dict(line.rsplit(" ", 1) for line in said.decode().splitlines())
pids = {name: int(pid) for name, pid in pids.items()}
pids.update({"itself": os.getpid(), "gone": gone, "zombie": zombie, "its parent": os.getppid()})
names = {pid: name for name, pid in pids.items()}
main = pids["main"]
print(json.dumps({
    "belongs": sorted(name for name, pid in pids.items() if belongs(pid, main, {helper})),
    "without main": sorted(name for name, pid in pids.items() if belongs(pid, 0, {helper})),
    "children": sorted(names[pid] for pid in children({helper})),
    "group": sorted(names[pid] for pid in group_members(main, os.getsid(0))),
    "group elsewhere": group_members(main, os.getsid(0) + 1),
}))
"""
)

# A supervise that dies and leaves its service; the lifeline is the caller's, and it does not reap what it leaves.
FORMER = (
    KIT
    + """
LIFELINE, SAYS, own_session = map(int, sys.argv[1:])
HELD = ()
if own_session:
    os.setsid()
fork("main", service)
live("former")
"""
)

OF_THE_SERVICE = {"main", "worker", "worker's child", "left behind", "daemon", "daemon's child", "of no service's"}


def seen(*prefix: str) -> dict[str, list[Any]]:
    """What a supervise sees that is run by `prefix`."""
    done = subprocess.run([*prefix, sys.executable, "-c", SUPERVISE], capture_output=True, text=True, timeout=PATIENCE)
    if prefix and "unshare failed" in done.stderr:
        pytest.skip(f"no PID namespace can be made here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    result: dict[str, list[Any]] = json.loads(done.stdout)
    return result


def check(found: dict[str, list[Any]]) -> None:
    assert set(found["belongs"]) == OF_THE_SERVICE
    assert set(found["without main"]) == OF_THE_SERVICE, "all of them are below supervise"
    assert set(found["children"]) == {"main", "left behind", "daemon", "of no service's"}
    assert set(found["group"]) == {"main", "worker", "worker's child", "left behind"}
    assert found["group elsewhere"] == []


def test_the_family_of_a_supervise() -> None:
    check(seen())


def test_the_family_of_process_1() -> None:
    if not shutil.which("unshare"):
        pytest.skip("unshare is not installed (Debian package util-linux)")
    check(seen("unshare", "--pid", "--fork", "--mount-proc", "--kill-child"))


def test_where_proc_shows_other_processes_only_the_main_one_counts() -> None:
    if not shutil.which("unshare"):
        pytest.skip("unshare is not installed (Debian package util-linux)")
    found = seen("unshare", "--pid", "--fork", "--kill-child")
    assert found["belongs"] == ["main"] and found["without main"] == []
    assert found["children"] == found["group"] == []


class Former:
    """A supervise that is not this process, and its service: `pids` by the names above."""

    def __init__(self, own_session: bool) -> None:
        lifeline, self._lifeline = os.pipe()
        hears, says = os.pipe()
        args = [sys.executable, "-c", FORMER, str(lifeline), str(says), str(int(own_session))]
        self._process = subprocess.Popen(args, pass_fds=(lifeline, says))
        os.close(lifeline)
        os.close(says)
        said = b""
        while got := os.read(hears, 4096) if said.count(b"\n") < 7 else b"":
            said += got
        os.close(hears)
        self.pids = {name: int(pid) for name, _, pid in (line.rpartition(" ") for line in said.decode().splitlines())}

    def die(self) -> None:
        """As supervise may: its service stays."""
        self._process.kill()
        self._process.wait(PATIENCE)

    def members(self, main: int) -> set[str]:
        # That it is a child of this process is the test's doing.
        return {name for name, pid in self.pids.items() if belongs(pid, main, {self._process.pid})}

    def end(self) -> None:
        """End what is left of it all, and see it end."""
        os.close(self._lifeline)
        self._process.wait(PATIENCE)
        wait_for("the family to end", lambda: not any(alive(pid) for pid in self.pids.values()))


@pytest.fixture
def former(request: pytest.FixtureRequest) -> Iterator[Former]:
    made = Former(request.param)
    yield made
    made.end()


@pytest.mark.parametrize("former", [True], indirect=True)
def test_the_service_of_a_supervise_that_is_dead(former: Former) -> None:
    main = former.pids["main"]
    below = {"main", "worker", "worker's child"}
    # As long as the leader of its session lives, nobody knows what else is in it.
    assert former.members(main) == below
    former.die()
    # What has left the session, and its parents, cannot be told from any other process.
    assert former.members(main) == below | {"left behind"}
    assert former.members(0) == set()
    assert not belongs(os.getpid(), main, set()) and not belongs(os.getppid(), main, set())


@pytest.mark.parametrize("former", [False], indirect=True)
def test_the_session_of_somebody_else_says_nothing(former: Former) -> None:
    """The supervise that is dead was in the foreground of this session, and so is this one."""
    former.die()
    assert os.getsid(former.pids["left behind"]) == os.getsid(0) != os.getpid()
    assert former.members(former.pids["main"]) == {"main", "worker", "worker's child"}


def test_a_main_process_that_has_ended_is_the_main_process() -> None:
    """What it said before its end is still in the queue."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert belongs(process.pid, process.pid, set())
    assert not belongs(process.pid, 0, set())
    process.wait()
    assert belongs(process.pid, process.pid, set())


@pytest.mark.parametrize("pid", [0, -1])
def test_who_cannot_be_seen_does_not_belong(pid: int) -> None:
    assert not belongs(pid, pid, set())
    assert not belongs(pid, 0, set())


def test_children_where_the_kernel_has_no_list(monkeypatch: pytest.MonkeyPatch) -> None:
    process = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    zombie = subprocess.Popen(["true"])
    try:
        os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
        with_list = children(set())

        def refuse(path: str, *args: object, **kwargs: object) -> None:
            raise FileNotFoundError(path)

        monkeypatch.setattr(members, "open", refuse, raising=False)
        assert set(children(set())) == set(with_list) >= {process.pid}
        assert process.pid not in children({process.pid})
        assert zombie.pid not in children(set())
    finally:
        process.kill()
        process.wait()
        zombie.wait()


def test_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> str:
        raise FileNotFoundError(path)

    monkeypatch.setattr("posix.readlink", refuse)
    assert belongs(os.getppid(), os.getppid(), set())
    assert not belongs(os.getppid(), 1, set())
    assert children(set()) == [] == group_members(os.getpgid(0), os.getsid(0))


def test_the_way_up_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = []

    def endless(pid: int) -> Stat:
        looked.append(pid)
        return Stat(pid, b"S %d 1 1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 1 0 0".replace(b"%d", b"%d" % (pid ^ 1)).split())

    monkeypatch.setattr(members, "stat_of", endless)
    assert not belongs(4_000_000, 3_000_000, set())
    assert len(looked) < 1000


def test_members_of_a_group() -> None:
    leader = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    other = subprocess.Popen(["sleep", "1000"])
    try:
        assert group_members(leader.pid, leader.pid) == [leader.pid]
        assert group_members(leader.pid, os.getsid(0)) == []
        assert other.pid in group_members(os.getpgid(0), os.getsid(0))
        leader.kill()
        os.waitid(os.P_PID, leader.pid, os.WEXITED | os.WNOWAIT)
        assert group_members(leader.pid, leader.pid) == [], "a zombie is not alive"
    finally:
        for process in (leader, other):
            process.kill()
            process.wait()


@settings(max_examples=60, deadline=None)
@given(st.integers(-(2**70), 2**70), st.integers(-(2**70), 2**70))
def test_it_never_raises(pid: int, main: int) -> None:
    assert belongs(pid, main, set()) in (True, False)
    assert belongs(1, main, set()) == (main == 1)
    assert stat_of(pid).pid == pid
