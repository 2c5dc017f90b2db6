"""What users met: folders that cannot be listed, a service that runs once and cannot, `status` as a verb."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from conftest import Box, wait_for


def tool(box: Box, name: str, *args: str, **more: object) -> subprocess.CompletedProcess[str]:
    words = [str(Path(box.program).with_name(name)), *args]
    return subprocess.run(words, cwd=box.folder, capture_output=True, text=True, check=False, **more)  # type: ignore


def test_a_folder_that_cannot_be_listed_is_not_empty(box: Box) -> None:
    (box.folder / "status").symlink_to("status")  # a loop, for whoever asks
    for args in ((), ("--failed",), ("--json",)):
        done = tool(box, "svstat", *args)
        assert (done.returncode, done.stdout) == (111, "")
        assert done.stderr.startswith("svstat: fatal: ") and done.stderr.count("\n") == 1


@pytest.mark.parametrize("gone", [True, False], ids=["cannot be started", "runs already and ends"])
def test_once_is_told_how_it_went(box: Box, gone: bool) -> None:
    program = box.folder / "program"
    program.write_text("#!/bin/sh\n[ -e gone ] && exit 4\nwhile [ ! -e gone ]; do sleep 0.1; done\nexit 4\n")
    program.chmod(0o755)
    box.start("./program")
    if gone:
        box.control("d")
        wait_for("it to be down", lambda: not box.pid)
        program.unlink()
    else:
        (box.folder / "gone").touch()
    done = tool(box, "svc", "once", "app")
    assert done.returncode == 1, done
    assert done.stderr.startswith("svc: fatal: cannot run status/app once: it ")
    assert ("No such file or directory" if gone else "exited with status 4") in done.stderr or not gone


def test_status_is_a_verb(box: Box) -> None:
    pid = box.start("sleep", "1000")
    for args in (("status", "app"), ("app", "status")):
        done = tool(box, "svc", *args)
        assert done.returncode == 0 and f"pid {pid}" in done.stdout, done


def test_a_start_says_that_the_service_is_stopped_by_a_signal(box: Box) -> None:
    pid = box.start("sleep", "1000")
    os.kill(pid, 19)
    wait_for("it to be stopped", lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")
    done = tool(box, "svc", "start", "app")
    assert done.returncode == 0 and done.stdout.endswith(", but stopped by a signal\n"), done
    os.kill(pid, 18)
