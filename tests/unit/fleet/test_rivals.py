"""Whether a supervise has said yet what it is."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from supervise.client.status import Status
from supervise.fleet.rivals import is_coming
from supervise.protocol.record import UP, Record
from supervise.system.procfs import pid_namespace


@pytest.fixture
def gone() -> int:
    """The pid of a process that has ended."""
    with subprocess.Popen(["true"]) as process:
        process.wait()
    return process.pid


def test_one_without_a_state_is_until_it_has_a_record(tmp_path: Path) -> None:
    status = Status(True, Record(0, False, UP, True, 0), None)
    assert is_coming(status, str(tmp_path))
    (tmp_path / "status").write_bytes(bytes(20))
    assert not is_coming(status, str(tmp_path))  # the C implementation


def test_one_is_as_long_as_the_state_is_another_s(tmp_path: Path, gone: int) -> None:
    here = pid_namespace()
    there = {"device": 0, "inode": 0}
    for pid, where, supervised, coming in (
        (gone, here, True, True),
        (gone, here, False, False),
        (gone, there, True, False),  # its pids say nothing here
        (os.getpid(), here, True, False),
    ):
        status = SimpleNamespace(supervised=supervised, state={"supervise_pid": pid, "pid_namespace": where})
        assert is_coming(cast(Status, status), str(tmp_path)) == coming, (pid, where, supervised)
