"""Directories, files and programs that are not as they should be: a clear line, the right code, nothing lost."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

import pytest
from conftest import PATIENCE, SUPERVISE, Box, alive, wait_for
from system import marked, own_disk, tree

SERVICE = "sleep 1000"


def refused(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    """The answer is one line, with those words in it."""
    assert re.fullmatch(r"supervise: fatal: [^\n]+\n", done.stderr), done.stderr
    assert done.returncode == code
    assert done.stdout == ""
    for word in words:
        assert word in done.stderr


def run_unprivileged(box: Box, *args: str) -> subprocess.CompletedProcess[str]:
    """Run supervise as somebody for whom the modes of files count: root without what lets root ignore them."""
    prefix = []
    if os.geteuid() == 0:
        if not shutil.which("setpriv"):
            pytest.skip("setpriv is not installed (Debian: util-linux): root may read and write everything")
        prefix = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]
        if subprocess.run([*prefix, "true"], capture_output=True).returncode:
            pytest.skip("setpriv may not drop capabilities here: root may read and write everything")
    return box.run_words(*prefix, SUPERVISE, *args)


def symlink(path: Path) -> None:
    target = path.with_name(path.name + ".target")
    target.write_text("target\n")
    path.symlink_to(target.name)


def symlink_to_fifo(path: Path) -> None:
    os.mkfifo(path.with_name(path.name + ".target"))
    path.symlink_to(path.name + ".target")


def dangling(path: Path) -> None:
    path.symlink_to("nowhere")


def regular(path: Path) -> None:
    path.write_text("content\n")


def bind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


@pytest.fixture
def box(box: Box) -> Box:
    box.env["MARK"] = str(box.folder)
    return box


# The directory.


@pytest.mark.parametrize("path", ["status/app", "status", "a"])
@pytest.mark.parametrize("make", [regular, dangling, os.mkfifo])
def test_a_part_of_the_path_that_is_no_directory(box: Box, path: str, make: Callable[[Path], None]) -> None:
    at = box.folder / "a" / path if path != "a" else box.folder / "a"
    at.parent.mkdir(parents=True, exist_ok=True)
    make(at)
    before = tree(box.folder)
    refused(box.run("-p", "a/status/app", "-f", SERVICE), 111, "status/app")
    assert tree(box.folder) == before
    assert marked(box) == []


def test_a_symlink_to_a_directory_will_do(box: Box) -> None:
    (box.folder / "elsewhere").mkdir()
    box.status.parent.mkdir()
    box.status.symlink_to("../elsewhere")
    pid = box.start("sleep", "1000")
    assert alive(pid)
    assert (box.folder / "elsewhere" / "status").exists()


@pytest.mark.parametrize("mode", [0o500, 0o400, 0o600, 0o000])
def test_a_directory_that_is_not_writable(box: Box, mode: int) -> None:
    box.status.mkdir(parents=True)
    box.status.chmod(mode)
    try:
        refused(run_unprivileged(box, "-p", "status/app", "-f", SERVICE), 111, "status/app", "Permission denied")
        assert os.listdir(box.status) == []
    finally:
        box.status.chmod(0o700)
    assert marked(box) == []


def test_a_directory_that_cannot_be_made(box: Box) -> None:
    (box.folder / "a").mkdir(mode=0o500)
    refused(run_unprivileged(box, "-p", "a/b/status/app", "-f", SERVICE), 111, "a/b/status/app", "Permission denied")
    assert os.listdir(box.folder / "a") == []


# What is in it.


def refused_for(box: Box, name: str, make: Callable[[Path], None]) -> None:
    """A start in a directory with such a file is refused, and changes nothing."""
    box.status.mkdir(parents=True)
    make(box.status / name)
    before = tree(box.folder)
    refused(box.run("-p", "status/app", "-f", SERVICE), 111, f"status/app/{name}")
    assert tree(box.folder) == before
    assert marked(box) == []


@pytest.mark.parametrize("make", [symlink, symlink_to_fifo, dangling, regular, os.mkdir, bind])
@pytest.mark.parametrize("name", ["control", "ok"])
def test_a_fifo_that_is_none(box: Box, name: str, make: Callable[[Path], None]) -> None:
    refused_for(box, name, make)


@pytest.mark.parametrize("make", [symlink, dangling, os.mkdir, os.mkfifo, bind])
@pytest.mark.parametrize("name", ["lock", "__stdout", "__stderr"])
def test_a_lock_or_an_output_that_is_no_file(box: Box, name: str, make: Callable[[Path], None]) -> None:
    refused_for(box, name, make)


@pytest.mark.parametrize("name", ["status", "status.new", "supervise.log", "supervise.log.wf", "state", "state.new"])
def test_nothing_is_written_through_a_symlink(box: Box, name: str) -> None:
    box.status.mkdir(parents=True)
    symlink(box.status / name)
    done = box.run("-p", "status/app", "-f", SERVICE)
    if done.returncode:
        refused(done, 111, name)
    else:
        box.control("Zs")
        wait_for("the command to be obeyed", lambda: not box.record.alarms)
        box.control("dx")
        box.wait_gone()
    assert (box.status / f"{name}.target").read_text() == "target\n"


def test_fifos_and_a_lock_from_an_earlier_run_will_do(box: Box) -> None:
    box.status.mkdir(parents=True)
    (box.status / "lock").write_text("earlier")
    for name in ("control", "ok"):
        os.mkfifo(box.status / name)
        (box.status / name).chmod(0o666)
    (box.status / "status").write_bytes(b"\xff" * 20)
    assert alive(box.start("sleep", "1000"))
    for name in ("control", "ok"):
        assert stat.S_IMODE((box.status / name).stat().st_mode) == 0o600
    box.control("dx")
    box.wait_gone()


def test_an_output_that_turns_into_a_symlink_is_not_followed(box: Box) -> None:
    pid = box.start("sh", "-c", "echo printed; exec sleep 1000")
    box.wait_stdout("printed\n")
    (box.status / "__stdout").rename(box.status / "away")
    symlink(box.status / "__stdout")
    box.control("k")
    assert alive(box.wait_new_pid(pid))
    box.wait_warning("__stdout")
    assert (box.status / "__stdout.target").read_text() == "target\n"


def test_a_directory_that_is_removed_meanwhile(box: Box) -> None:
    process = box.foreground("sleep", "1000")
    box.wait_log("service started")
    pid = box.pid
    shutil.rmtree(box.status)
    os.kill(process.pid, signal.SIGTERM)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert b"Traceback" not in err
    assert not alive(pid)


# The program.


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        (b"#!/no/such/interpreter\n", 0o755),
        (b"#!/bin/sh -\n", 0o644),
        (b"", 0o755),
        (b"echo no interpreter line\n", 0o755),
        (b"\x7fELF\x02\x01\x01 not really", 0o755),
        (b"#!\n", 0o755),
        (b"#!/\n", 0o755),
        (b"#!/bin/sh\r\n", 0o755),
        (b"#!./program\n", 0o755),
    ],
)
def test_a_program_that_cannot_be_executed(box: Box, text: bytes, mode: int) -> None:
    program = box.folder / "program"
    program.write_bytes(text)
    program.chmod(mode)
    before = tree(box.folder)
    refused(box.run("-p", "status/app", "-f", "./program"), 111, "program")
    assert tree(box.folder) == before
    assert marked(box) == []


@pytest.mark.parametrize(
    "program", ["no-such-program", "./nowhere", "/no/where", "/tmp", "./", ".", "..", "/dev/null", "/etc/passwd/x", "-"]
)
def test_a_program_that_is_not_there(box: Box, program: str) -> None:
    refused(box.run("-p", "status/app", "-f", program), 111, program)
    assert tree(box.folder) == {}
    assert marked(box) == []


def test_a_program_name_that_is_too_long(box: Box) -> None:
    refused(box.run("-p", "status/app", "-f", "x" * 5000), 111)
    refused(box.run("-p", "status/" + "x" * 300, "-f", SERVICE), 111)
    assert tree(box.folder) == {}


def test_a_path_without_programs(box: Box) -> None:
    box.env["PATH"] = f"/nowhere::{box.folder}"
    refused(box.run("-p", "status/app", "-f", SERVICE), 111, "sleep")
    shutil.copy("/bin/sleep", box.folder / "sleep")
    assert alive(box.start("sleep", "1000"))


# More than one.


def test_a_second_supervise_is_refused(box: Box) -> None:
    pid, supervisor = box.start("sleep", "1000"), box.supervisor
    before = tree(box.folder)
    for path in ("status/app", f"{box.folder}/status/app/"):
        refused(box.run("-p", path, "-f", SERVICE), 111, f"{path.rstrip('/')}/lock", f"held by pid {supervisor}")
    refused(box.run("--foreground", "-u", "status/app", "sleep", "1"), 111, f"held by pid {supervisor}")
    assert tree(box.folder) == before
    assert (box.pid, box.supervisor) == (pid, supervisor)
    wait_for("these two alone", lambda: set(marked(box)) == {pid, supervisor})


def test_of_twelve_at_once_one_wins(box: Box) -> None:
    args = [SUPERVISE, "-u", "status/app", "sh", "-c", "echo started; exec sleep 1000"]
    running = [
        subprocess.Popen(args, cwd=box.folder, env=box.env, stderr=subprocess.PIPE, text=True) for _ in range(12)
    ]
    ended = [(process.communicate(timeout=PATIENCE)[1], process.returncode) for process in running]
    assert sorted(code for _, code in ended) == [0] + [111] * 11
    for said, code in ended:
        assert re.fullmatch(r"supervise: fatal: [^\n]+\n" if code else "", said), said
    assert box.wait_stdout("started\n") == "started\n"
    wait_for("these two alone", lambda: set(marked(box)) == {box.pid, box.supervisor})


# A full disk.


@pytest.fixture
def small_disk(box: Box) -> Iterator[Path]:
    with own_disk(box, "64k") as place:
        yield place


def fill(place: Path) -> Path:
    path = place / "filler"
    with path.open("ab", buffering=0) as filler:
        for size in (4096, 1):
            try:
                while True:
                    filler.write(b"x" * size)
            except OSError:
                pass
    return path


def services(box: Box) -> list[int]:
    """The processes of services, whatever the record says."""

    def name(pid: int) -> str:
        try:
            return Path(f"/proc/{pid}/comm").read_text()
        except OSError:
            return ""

    return [pid for pid in marked(box) if name(pid) == "sleep\n"]


def test_a_disk_that_is_full_when_it_is_started(box: Box, small_disk: Path) -> None:
    """Also on a directory that has been supervised before; a service that still runs there is left as it is."""
    dead, alive = Box(box.folder, "dead"), Box(box.folder, "alive")
    dead.env = alive.env = box.env
    dead.start("sleep", "1000")
    dead.control("dx")
    dead.wait_gone()
    pid = alive.start("sleep", "1000")
    os.kill(alive.supervisor, signal.SIGKILL)
    wait_for("supervise to be gone", lambda: alive.supervisor == 0)
    filler = fill(small_disk)
    for one in (dead, alive):
        before = [(one.status / name).read_bytes() for name in ("status", "state", "lock")]
        done = one.run("-u", f"status/{one.name}", "sleep", "1000")
        assert (done.returncode, done.stdout) == (111, "")
        assert done.stderr.endswith(f"fatal: cannot write status/{one.name}/state: No space left on device\n")
        assert services(box) == [pid]
        assert [(one.status / name).read_bytes() for name in ("status", "state", "lock")] == before
    filler.unlink()
    done = alive.run("-u", "status/alive", "sleep", "1000")
    assert (done.returncode, done.stderr, alive.pid) == (0, "", pid)


@pytest.mark.parametrize("left", (0, 1, 3, 5, 6, 7, 8))
def test_a_disk_without_inodes_when_it_is_started(box: Box, small_disk: Path, left: int) -> None:
    subprocess.run(["mount", "-o", f"remount,nr_inodes={left + 2}", "none", str(small_disk)], check=True)
    done = box.run("-u", f"status/{box.name}", "sleep", "1000")
    if done.returncode == 0:
        assert (box.status / "state").exists() and box.pid == services(box)[0]
        return
    assert (done.returncode, done.stdout) == (111, "")
    assert re.search(r"fatal: cannot .*: No space left on device\n$", done.stderr), done.stderr
    assert not box.status.exists()
    assert services(box) == []


def test_a_full_disk(box: Box, small_disk: Path) -> None:
    before, after = Box(box.folder, "before"), Box(box.folder, "after")
    before.env = after.env = box.env
    # One that runs when the disk fills up.
    pid = before.start("sleep", "1000")
    # So that the log of warnings has room for some more, in the block that it has by now.
    before.control("Z")
    before.wait_warning("Z")
    good = (before.status / "status").read_bytes()
    filler = fill(small_disk)
    before.control("s")
    before.wait_warning("No space left")
    before.control("n")
    before.control("sk")
    wait_for("another process", lambda: services(box) not in ([], [pid]))
    (again,) = services(box)
    # One that would start now has nothing that its successor could find it by.
    done = after.run("-u", "status/after", "sleep", "1000")
    assert (done.returncode, done.stdout) == (111, "")
    assert re.search(r"fatal: cannot (write|make|open|use) status/after.*: No space left on device\n$", done.stderr)
    assert not after.status.exists()
    assert services(box) == [again]
    # The last good record stays, and one warning says so.
    assert (before.status / "status").read_bytes() == good
    assert before.warnings.count("No space left") == 1, before.warnings
    assert "internal error" not in before.warnings
    filler.unlink()
    wait_for("the record to be written again", lambda: before.pid == again)
    assert not before.record.alarms
    after.start("sleep", "1000")
    for one in (before, after):
        assert not (one.status / "status.new").exists()
        one.control("dx")
        one.wait_gone()
