"""Starts of which a system call fails: refused with one line and nothing left, or as any other start.

tests/faults.py fails all of them; here is one of each kind.
"""

from __future__ import annotations

import errno
import os
import posix
import sys
import sysconfig
from pathlib import Path

import pytest
from conftest import PATIENCE, Box, wait_for
from injecting import begin
from system import children

from supervise.programs import daemon_process
from supervise.protocol.names import LOCK, STATUS
from supervise.system import retry
from supervise.system.statusdir import StatusDir, StatusDirError

BEFORE = (  # a child that has ended before the program begins
    "import os, sys; pid = os.fork() or os._exit(0); "
    "os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT); os.execv(sys.argv[1], sys.argv[1:])"
)


def refused(box: Box, path: str, inject: str) -> str:
    """The one line of a start that is refused, and has left nothing."""
    process = begin(box, path, inject)
    assert process.wait(PATIENCE) == 111
    assert "INJECTED" in (box.folder / "trace").read_text()
    (line,) = [line for line in (box.folder / "said").read_text().splitlines() if not line.startswith("strace: ")]
    assert sorted(path.name for path in box.folder.iterdir() if path.name in ("status", "supervise.conf")) == []
    return line


@pytest.mark.parametrize(
    "path, inject, says",
    [
        ("", "?faccessat,?faccessat2:error=EIO", "cannot write in status/app"),
        ("lock", "openat:error=EACCES", "cannot open status/app/lock"),
        ("lock", "newfstatat:error=EACCES:when=2", "cannot look at status/app/lock"),
        ("control", "openat:error=EACCES", "cannot open status/app/control"),
        ("ok", "mknodat:error=ENOSPC", "cannot make status/app/ok"),
    ],
)
def test_nothing_is_left_of_a_start_that_is_refused(box: Box, path: str, inject: str, says: str) -> None:
    assert refused(box, path, inject).startswith(f"supervise: fatal: {says}")


def test_a_folder_of_modules_that_cannot_be_read_is_one_line(box: Box) -> None:
    line = refused(box, sysconfig.get_path("purelib"), "getdents64:error=EIO")
    assert line.startswith("supervise: fatal: cannot start: OSError: ")


def test_a_package_that_cannot_be_looked_for_is_not_looked_for_elsewhere(box: Box) -> None:
    module = Path(sysconfig.get_path("purelib"), "supervise", "daemon.py")
    line = refused(box, str(module), "?stat,?newfstatat:error=ENOMEM")
    assert line.startswith("supervise: fatal: cannot start: OSError: [Errno 12] Cannot allocate memory: ")


def test_a_child_that_has_ended_before_the_start_is_reaped(box: Box) -> None:
    # No helper is started, so that the end of none is a reason to look.
    begin(box, "", "socketpair:error=EMFILE:when=1", sys.executable, "-c", BEFORE)
    wait_for("the service", lambda: (box.status / "status").exists() and box.pid)
    wait_for("the zombie to be reaped", lambda: set(children(box.supervisor)) == {box.pid})


# The command, without its daemon.


def test_a_daemon_that_is_not_wanted_ends_whatever_close_says(monkeypatch: pytest.MonkeyPatch) -> None:
    daemon = daemon_process.Daemon(["-u", "status/app", "true"], dict(os.environb))
    pid, fds = daemon._pid, (daemon._tell, daemon._report, daemon._said)

    def close(fd: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(posix, "close", close)
        daemon.dismiss()
    for fd in fds:
        os.close(fd)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


# The directory.


@pytest.fixture
def directory(tmp_path: Path) -> StatusDir:
    return StatusDir(str(tmp_path / "status" / "app"))


def test_what_could_not_be_put_back_is_not_touched(directory: StatusDir, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkdir(f"{directory.path}/other")
    lock, place = directory.lock(), Path(directory.path, STATUS)
    place.write_bytes(b"what another supervise has written")

    def read(self: StatusDir, name: str) -> bytes:
        raise StatusDirError(f"cannot read {name}: no memory", transient=True)

    with monkeypatch.context() as patch:
        patch.setattr(retry, "SECONDS", 0.05)
        patch.setattr(StatusDir, "read", read)
        with pytest.raises(OSError, match="no memory"):
            directory.replace(STATUS, b"new")
    assert place.read_bytes() == b"what another supervise has written"
    os.close(lock)
    os.close(directory.fd)


def test_a_record_that_cannot_be_read_for_a_moment_is_put_back(
    directory: StatusDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    attached = StatusDir.attach(directory.path, directory.fd)  # which has not made the directory
    place = Path(directory.path, STATUS)
    place.write_bytes(b"old")
    real, failures = StatusDir.read, [StatusDirError("no memory", transient=True)]

    def read(self: StatusDir, name: str) -> bytes | None:
        if failures:
            raise failures.pop()
        return real(self, name)

    with monkeypatch.context() as patch:
        patch.setattr(StatusDir, "read", read)
        attached.replace(STATUS, b"new")
    attached.undo()
    assert place.read_bytes() == b"old"
    os.close(directory.fd)


def test_a_lock_that_never_becomes_ones_own_is_given_up(directory: StatusDir, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(StatusDir, "_is_ours", lambda self, fd: False)
        with pytest.raises(StatusDirError, match="does not stay as it is made"):
            directory.lock()
    directory.withdraw()
    assert not Path(directory.path).exists()
    os.close(directory.fd)


def test_a_start_without_the_lock_takes_nobodys_lock_away(directory: StatusDir) -> None:
    other = StatusDir(directory.path)
    directory._made_files.append(LOCK)  # it has made the file, and the other one was faster to lock it
    lock = other.lock()
    directory.withdraw()
    assert Path(directory.path, LOCK).exists()
    for fd in (lock, other.fd, directory.fd):
        os.close(fd)


def test_the_lock_is_removed_last(directory: StatusDir, monkeypatch: pytest.MonkeyPatch) -> None:
    attached = StatusDir.attach(directory.path, directory.fd)
    fds = [attached.lock(), *attached.open_fifos()]
    removed: list[str] = []
    real = os.unlink

    def unlink(name: str, *, dir_fd: int) -> None:
        removed.append(name)
        real(name, dir_fd=dir_fd)

    with monkeypatch.context() as patch:
        patch.setattr(posix, "unlink", unlink)
        attached.undo()
    assert removed == ["ok", "control", "lock"]
    for fd in (*fds, directory.fd):
        os.close(fd)
