"""Two helpers for one log come one after the other."""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervise.helpers import rotate_helper


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "log").write_bytes(b"x" * 8192)
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def test_the_lock_lasts_whatever_else_is_closed(directory: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """To map the log takes a descriptor of it and closes it, by which a lock of the process would be lost."""
    monkeypatch.setattr(rotate_helper, "_PATIENCE", 0.0)
    rotation = rotate_helper._locked(directory, "log", 4096, 1)
    mmap.mmap(rotation.fd, 4096, mmap.MAP_SHARED, mmap.PROT_READ).close()
    os.close(os.open("log", os.O_RDWR, dir_fd=directory))
    child = os.fork()
    if not child:
        try:
            rotate_helper._locked(directory, "log", 4096, 1)
        except OSError:
            os._exit(3)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
    rotation.close()
    rotate_helper._locked(directory, "log", 4096, 1).close()


def test_another_log_has_its_own(directory: int, tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"")
    first, second = (rotate_helper._locked(directory, name, 4096, 1) for name in ("log", "other"))
    first.close()
    second.close()


def test_a_writer_has_no_lock_in_its_way(directory: int) -> None:
    rotation = rotate_helper._locked(directory, "log", 4096, 1)
    fd = os.open("log", os.O_RDWR, dir_fd=directory)
    fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 8192, 0)
    os.close(fd)
    rotation.close()
