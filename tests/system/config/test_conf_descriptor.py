"""A configuration that is a descriptor of the caller's: read once, by the command line."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from conftest import PATIENCE, SUPERVISE, Box

CONF = b"[global]\nalarm_interval : 77\n[app]\nenvironment : GREETING=hello,HERE=%(here)s\n"
SAY = ("sh", "-c", "echo $GREETING $HERE; exec sleep 1000")


def start(box: Box, path: str, text: bytes, *words: str) -> subprocess.CompletedProcess[str]:
    """Start a supervise whose descriptor 7 and standard input are a pipe with a text."""
    reading, writing = os.pipe()
    os.write(writing, text)
    os.close(writing)

    def give() -> None:
        os.dup2(reading, 0)
        os.dup2(reading, 7)

    try:
        return subprocess.run(
            [SUPERVISE, *words, "-F", path] if words else [SUPERVISE, "-F", path, "-u", "status/app", *SAY],
            cwd=box.folder,
            env=box.env,
            capture_output=True,
            text=True,
            preexec_fn=give,
            close_fds=False,
            timeout=PATIENCE,
        )
    finally:
        os.close(reading)


@pytest.mark.parametrize("path", ["/dev/fd/7", "/proc/self/fd/7", "/dev/stdin", "-"])
def test_a_pipe(box: Box, path: str) -> None:
    done = start(box, path, CONF)
    path = "/dev/stdin" if path == "-" else path
    assert (done.returncode, done.stderr) == (0, "")
    said = f"hello {box.folder.resolve()}\n"
    box.wait_stdout(said)
    box.wait_log(f"configuration {path} stays as it is")
    # Neither a reload nor an upgrade loses it.
    box.control("r")
    box.wait_log(f"configuration {path}: ", 2)
    box.control("e")
    box.wait_log("supervise replaced by the installed version")
    box.control("k")
    box.wait_stdout(said, 2)
    assert box.warnings == ""


def test_in_the_foreground(box: Box) -> None:
    (box.folder / "text").write_bytes(CONF)
    with (box.folder / "text").open("rb") as file:
        process = subprocess.Popen(
            [SUPERVISE, "--foreground", "-F", "/dev/stdin", "-u", "status/app", *SAY],
            cwd=box.folder,
            env=box.env,
            stdin=file,
            stderr=subprocess.DEVNULL,
        )
    box.processes.append(process)
    box.wait_stdout("hello ")


def test_a_descriptor_that_is_not_open(box: Box) -> None:
    done = start(box, "/dev/fd/99", b"")
    assert (done.returncode, done.stderr) == (
        100,
        "supervise: fatal: /dev/fd/99: cannot be read: Bad file descriptor\n",
    )
    assert not box.status.exists()


def test_what_cannot_be_a_configuration(box: Box) -> None:
    done = start(box, "/dev/fd/7", b"a\0b")
    assert (done.returncode, done.stderr) == (100, "supervise: fatal: /dev/fd/7: has a NUL in it\n")
    done = start(box, "/dev/fd/" + "9" * 30, b"")
    assert done.returncode == 100 and "Traceback" not in done.stderr


def test_what_others_can_write(box: Box) -> None:
    path = Path(box.folder, "text")
    path.write_bytes(CONF)
    path.chmod(0o666)
    with path.open("rb") as file:
        done = subprocess.run(
            [SUPERVISE, "-F", "/dev/stdin", "-u", "status/app", *SAY],
            cwd=box.folder, env=box.env, stdin=file, capture_output=True, text=True, timeout=PATIENCE,
        )  # fmt: skip
    text = "/dev/stdin: not believed: it can be written to by everybody (mode 0666)"
    assert (done.returncode, done.stderr) == (100, f"supervise: fatal: {text}\n")


def test_an_empty_one_is_no_policy(box: Box) -> None:
    done = start(box, "/dev/fd/7", b"")
    assert (done.returncode, done.stderr) == (0, "")


def test_check(box: Box) -> None:
    done = start(box, "/dev/fd/7", CONF, "--check")
    assert (done.returncode, done.stderr) == (0, "")
    assert "alarm_interval : 77" in done.stdout and str(box.folder.resolve()) in done.stdout
    done = start(box, "/dev/fd/99", b"", "--check")
    assert done.returncode == 100 and "Bad file descriptor" in done.stdout
