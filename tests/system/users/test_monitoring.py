"""A user who may look and not command, because the administrator has opened the status directory to him."""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import pkgutil
import signal
import stat
import time
import traceback
from typing import Callable

import pytest
from apart import in_child
from conftest import Box, wait_for
from system import NOBODY, needs_root

from supervise import client

for _module in pkgutil.iter_modules(client.__path__):  # nobody may not reach the files of this Python
    importlib.import_module(f"supervise.client.{_module.name}")
for _name in ("protocol.exitstatus", "protocol.state_reader", "system.procfs", "system.errors"):
    importlib.import_module(f"supervise.{_name}")

LIBC = ctypes.CDLL(None)
PR_SET_DUMPABLE = 4  # prctl(2)


@pytest.fixture
def open_box(open_box: Box) -> Box:
    """As yet nobody may look into the status directory."""
    needs_root()
    return open_box


def let_look(box: Box, mode: int = 0o755) -> None:
    """What the documentation says."""
    for path in (box.status, box.status.parent):
        path.chmod(mode)
        if mode == 0o750:
            os.chown(path, -1, NOBODY)


def as_nobody(act: Callable[[], object]) -> None:
    """Do it as another user; what it raises fails the test."""

    def other() -> None:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        LIBC.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)  # as one that was executed as that user: it may look at itself
        act()

    in_child(other)


@pytest.mark.parametrize("umask", [0o022, 0o077])
@pytest.mark.parametrize("mode", [0o755, 0o750])
def test_status_state_and_liveness(open_box: Box, umask: int, mode: int) -> None:
    box = open_box
    box.status.mkdir(parents=True)
    let_look(box, mode)
    done = box.run("-u", "status/app", "sleep", "1000", before=lambda: os.umask(umask))
    assert done.returncode == 0, done.stderr
    pid, supervisor = box.pid, box.supervisor

    def look() -> None:
        service = client.Service(str(box.status))
        assert service.supervised()
        status = service.status()
        assert (status.pid, status.supervise_pid, status.running) == (pid, supervisor, True)
        for name in ("control", "ok"):
            with pytest.raises(client.NoPermission):
                service.open_fifo(name)
        with pytest.raises(client.NoPermission):
            service.command("d")
        with pytest.raises(PermissionError):
            os.open(box.status / "lock", os.O_RDONLY)
        with pytest.raises(PermissionError):
            os.open(box.status / "new", os.O_WRONLY | os.O_CREAT)

    as_nobody(look)
    for name, wanted in (("control", 0o600), ("ok", 0o600), ("lock", 0o600), ("status", 0o644), ("state", 0o644)):
        assert stat.S_IMODE((box.status / name).stat().st_mode) == wanted, name
    # What is replaced stays readable, through restarts, upgrades, and another supervise.
    box.control("k")
    pid = box.wait_new_pid(pid)
    as_nobody(look)
    box.control("e")
    box.wait_log("supervise replaced by the installed version")
    as_nobody(look)
    box.control("dx")
    box.wait_gone()

    def gone() -> None:
        service = client.Service(str(box.status))
        assert not service.supervised()
        assert (service.status().pid, service.status().running) == (0, False)

    as_nobody(gone)
    done = box.run("-u", "status/app", "sleep", "1000", before=lambda: os.umask(umask))
    assert done.returncode == 0, done.stderr
    pid, supervisor = box.pid, box.supervisor
    as_nobody(look)


@pytest.mark.parametrize("how", ["upgraded", "started again"])
def test_a_directory_that_is_opened_while_the_umask_hides_its_files(open_box: Box, how: str) -> None:
    """A restart of the service does not show them, as the manual has it."""
    box = open_box
    assert box.run("-u", "status/app", "sleep", "1000", before=lambda: os.umask(0o077)).returncode == 0
    let_look(box)
    pid = box.pid
    box.control("k")
    box.wait_new_pid(pid)

    def modes() -> set[int]:
        return {stat.S_IMODE((box.status / name).stat().st_mode) for name in ("status", "state")}

    assert modes() == {0o600}
    if how == "upgraded":
        box.control("e")
        box.wait_log("supervise replaced by the installed version")
    else:
        box.control("dx")
        box.wait_gone()
        assert box.run("-u", "status/app", "sleep", "1000", before=lambda: os.umask(0o077)).returncode == 0
    wait_for("them to be shown", lambda: modes() == {0o644})


def test_one_that_was_killed(open_box: Box) -> None:
    box = open_box
    pid = box.start("sleep", "1000")
    let_look(box)
    os.kill(box.supervisor, signal.SIGKILL)
    box.wait_gone()

    def look() -> None:
        status = client.Service(str(box.status)).status()
        assert (status.supervised, status.pid, status.outlived) == (False, pid, True)

    as_nobody(look)


def test_without_that_he_sees_nothing(open_box: Box) -> None:
    open_box.start("sleep", "1000")

    def look() -> None:
        with pytest.raises(client.NoPermission):
            client.Service(str(open_box.status)).supervised()

    as_nobody(look)


@pytest.mark.parametrize("change", [{"pid_namespace": None}, {"pid_namespace": {"device": 1, "inode": 1}}, None])
def test_what_cannot_be_told_is_not_a_no(open_box: Box, change: dict[str, object] | None) -> None:
    box = open_box
    box.start("sleep", "1000")
    let_look(box)
    box.control("dx")
    box.wait_gone()
    path = box.status / "state"
    if change is None:
        path.unlink()
    else:
        path.write_text(json.dumps({**json.loads(path.read_text()), **change}))

    def look() -> None:
        with pytest.raises(client.NoPermission, match="/ok: Permission denied"):
            client.Service(str(box.status)).supervised()

    as_nobody(look)


def test_waiting(open_box: Box) -> None:
    box = open_box
    pid = box.start("sleep", "1000")
    let_look(box)
    (box.folder / "open").mkdir()
    (box.folder / "open").chmod(0o777)

    def wait() -> None:
        service = client.Service(str(box.status))
        (box.folder / "open" / "begun").touch()
        assert service.wait("restarted", 30).pid not in (0, pid)
        (box.folder / "open" / "restarted").touch()
        assert not service.wait("unsupervised", 30).supervised

    child = os.fork()
    if not child:
        try:
            as_nobody(wait)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    wait_for("it to look", (box.folder / "open" / "begun").exists)
    time.sleep(0.2)  # most likely it waits by then; if not, the test is another
    box.control("k")
    wait_for("it to see that", (box.folder / "open" / "restarted").exists)
    box.control("dx")
    assert os.waitpid(child, 0)[1] == 0
