"""Where little is allowed: a start works whole, or it is one line, exit code 111, and nothing left."""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import randrange
from typing import Callable

import pytest
from conftest import PATIENCE, SUPERVISE, Box, alive, wait_for
from injecting import failing
from system import own_disk

from supervise.protocol.state_reader import decode

FILES = {"lock", "control", "ok", "status", "state", "__stdout", "__stderr", "supervise.log"}


@pytest.fixture
def box(box: Box) -> Box:
    """What a test starts under a limit is looked for by its environment."""
    box.env["MARK"] = str(box.folder)
    return box


def start(box: Box, limit: Callable[[], None], *before: str, name: str = "app") -> subprocess.CompletedProcess[bytes]:
    """Start a service under a limit that the caller has."""
    return subprocess.run(
        [*before, SUPERVISE, "-p", f"status/{name}", "-f", "sleep 1000"],
        cwd=box.folder,
        env=box.env,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        preexec_fn=limit,
        timeout=PATIENCE * 2,
    )


def works(box: Box) -> None:
    """Everything is there and true, letters are obeyed."""
    assert set(os.listdir(box.status)) - {"supervise.log.wf"} == FILES
    pid, supervisor = box.pid, box.supervisor
    assert alive(pid)
    state = decode((box.status / "state").read_bytes())
    assert (state["service"]["pid"], state["supervise_pid"]) == (pid, supervisor)
    box.control("R")
    again = box.wait_new_pid(pid)
    box.control("s")
    wait_for("s in the record", lambda: not box.record.alarms)
    wait_for("the state", lambda: named(box) == again)
    box.control("dx")
    box.wait_gone()
    assert not alive(again)


def named(box: Box) -> int:
    """The service's pid by the state."""
    service = decode((box.status / "state").read_bytes())["service"]
    return int(service["pid"]) if service else 0


def refused(box: Box, done: subprocess.CompletedProcess[bytes]) -> None:
    """One line, and nothing left."""
    assert done.returncode == 111
    assert re.fullmatch(rb"supervise: fatal: [^\n]+\n", done.stderr), done.stderr
    assert done.stdout == b""
    wait_for("nothing to be left", lambda: not (box.folder / "status").exists())
    assert not [entry for entry in Path("/proc").iterdir() if entry.name.isdigit() and box.owns(int(entry.name))]


def of_python(done: subprocess.CompletedProcess[bytes]) -> bool:
    """Whether this is the interpreter, which could not start, or not even look for its modules."""
    return done.returncode not in (0, 111) and b"supervise: " not in done.stderr


@pytest.mark.parametrize("limit", [*range(3, 18), 30])
def test_few_descriptors(box: Box, limit: int) -> None:
    """The half of the program that is for sh has needs of its own, test_programs.py."""
    before = (sys.executable, "-I", "-S") if limit < 12 else ()
    done = start(box, lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit)), *before)
    if done.returncode == 0:
        assert limit > 5
        works(box)
    elif of_python(done):
        assert limit < 6, done.stderr
    else:
        refused(box, done)
        assert limit < 15, done.stderr


def test_little_memory(box: Box) -> None:
    """From where Python itself cannot start to where there is enough."""
    seen = set()
    for number, pages in enumerate(range(2 << 20, 42 << 20, 2 << 20)):
        box.name, box.status = f"app{number}", box.folder / "status" / f"app{number}"
        done = start(box, lambda pages=pages: resource.setrlimit(resource.RLIMIT_AS, (pages, pages)), name=box.name)
        if done.returncode == 0:
            pid = box.pid
            assert alive(pid)
            box.control("s")
            wait_for("s in the record", lambda: not box.record.alarms)
            box.control("dx")
            box.wait_gone()
            assert not alive(pid)
            seen.add("works")
            if len(seen) > 1 and pages > 30 << 20:
                break
        elif of_python(done):
            seen.add("python")
        else:
            assert done.returncode == 111
            assert re.fullmatch(rb"supervise: fatal: [^\n]+\n", done.stderr), done.stderr
            assert not box.status.exists()
            seen.add("refused")
    assert {"python", "works"} <= seen


@pytest.mark.parametrize("size", [0, 4096])
def test_files_of_no_size(box: Box, size: int) -> None:
    """Where no state can be written nothing is started, and a pipe can be told why."""
    done = start(box, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)))
    if size == 0:
        assert (done.returncode, done.stdout) == (111, b"")
        said = rb"(supervise: warning: .*\n)?supervise: fatal: .*: File too large\n"
        assert re.fullmatch(said, done.stderr), done.stderr
        assert not box.status.exists()
        done = start(box, lambda: None)
    assert (done.returncode, done.stderr) == (0, b"")
    works(box)



@pytest.mark.parametrize("limit", range(6))
def test_few_processes_of_an_unprivileged_user(box: Box, limit: int) -> None:
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        pytest.skip("the processes of a user who has none take root and setpriv")
    user = randrange(1 << 28, 1 << 29)  # nobody's, nor that of another test
    # It may have to read what only root can reach, this Python to begin with.
    may = "-all,+dac_override,+dac_read_search"
    words = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
    words += [f"--inh-caps={may}", f"--ambient-caps={may}", f"--bounding-set={may}"]
    if subprocess.run([*words, "true"], capture_output=True).returncode:
        pytest.skip("cannot run as another user")
    done = start(box, lambda: resource.setrlimit(resource.RLIMIT_NPROC, (limit, limit)), *words)
    if done.returncode == 0:
        assert limit > 1
        works(box)
    else:
        refused(box, done)
        assert limit < 3


@pytest.mark.parametrize(
    ("call", "error"), [("openat", "EMFILE"), ("openat", "EIO"), ("renameat", "EIO"), ("rename", "EIO")]
)
def test_a_restart_under_a_limit_that_comes_and_goes(box: Box, call: str, error: str) -> None:
    """The service runs on or is started again, and in the end everything is as it should be."""
    pid = box.start("sleep", "1000")
    with failing(box.supervisor, box.folder, f"{call}:error={error}:when=1+"):
        os.kill(pid, 9)
        wait_for("its end", lambda: not alive(pid))
    box.wait_new_pid(pid)
    wait_for("the state", lambda: named(box) == box.pid)


# A file system that cannot be written to.


@pytest.fixture
def disk(box: Box) -> Iterator[Path]:
    with own_disk(box, "1m") as place:
        yield place


def test_no_start_on_a_read_only_file_system(box: Box, disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True, capture_output=True)
    done = start(box, lambda: None)
    assert done.returncode == 111
    assert re.fullmatch(rb"supervise: fatal: [^\n]*Read-only file system\n", done.stderr), done.stderr
    assert os.listdir(disk) == []


def test_a_file_system_that_becomes_read_only(box: Box) -> None:
    """As the kernel makes one after errors; by hand nobody can, for supervise has the lock open for writing."""
    pid = box.start("sleep", "1000")
    supervisor = box.supervisor
    good = (box.status / "status").read_bytes()
    calls = ("openat", "rename", "renameat", "unlink", "unlinkat")
    with failing(supervisor, box.folder, *(f"{call}:error=EROFS:when=1+" for call in calls)) as trace:
        box.control("s")
        wait_for("a try to write the record", lambda: "status.new" in trace.read_text())
        os.kill(pid, 9)
        wait_for("its end", lambda: not alive(pid))
        assert (box.status / "status").read_bytes() == good
    again = box.wait_new_pid(pid)
    assert alive(again)
    wait_for("s in the record", lambda: not box.record.alarms)
    box.wait_warning("Read-only file system; trying again")
    assert box.supervisor == supervisor


def test_this_is_the_installed_supervise() -> None:
    assert Path(SUPERVISE).parent == Path(sys.executable).parent
