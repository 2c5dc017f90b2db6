"""The programs where there is no inotify instance, or no /proc: they look a few times a second, and say nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Callable

import pexpect
import pytest
from conftest import PATIENCE, Box, wait_for
from tools import BIN, without_inotify, without_proc

Words = Callable[[], list[str]]
both = pytest.mark.parametrize("words", [without_inotify, without_proc])


def run(box: Box, words: list[str], name: str, *args: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [*words, str(BIN / name), *args], cwd=box.folder, env=box.env, stdin=subprocess.DEVNULL, capture_output=True,
        text=True, timeout=PATIENCE * 2,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


@contextmanager
def beside(box: Box, words: list[str], name: str, *args: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*words, str(BIN / name), *args], cwd=box.folder, env=box.env, stdin=subprocess.DEVNULL, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@both
def test_svc_does_its_work_and_says_so(box: Box, words: Words) -> None:
    box.start("sleep", "1000")
    verbs = {"stop": "down", "start": "up (pid {})", "pause": "paused (pid {})", "exit": "supervise has ended"}
    for verb, said in verbs.items():
        code, out, err = run(box, words(), "svc", verb, "app")
        assert (code, err) == (0, "") and out.startswith(f"status/app: {said.format(box.pid)}")


@both
def test_svwait_waits(box: Box, words: Words) -> None:
    box.start("sleep", "1000")
    assert run(box, words(), "svwait", "-d", "-t", "0.3", "app")[0] == 99
    with beside(box, words(), "svwait", "-d", "app") as down, beside(box, words(), "svwait", "-x", "app") as gone:
        assert down.poll() is gone.poll() is None
        box.control("d")
        assert down.wait(PATIENCE) == 0
        os.kill(box.supervisor, signal.SIGKILL)
        assert gone.wait(PATIENCE) == 0
        assert down.stderr and gone.stderr and (down.stderr.read(), gone.stderr.read()) == ("", "")


@both
def test_svlog_follows(box: Box, words: Words) -> None:
    box.start("sh", "-c", "echo one; exec sleep 1000")
    box.wait_stdout("one")
    with beside(box, words(), "svlog", "-f", "app") as process:
        assert process.stdout and process.stderr
        assert process.stdout.readline() == "one\n"
        with open(box.status / "__stdout", "a") as log:
            log.write("two\n")
        assert process.stdout.readline() == "two\n"
        (box.status / "__stdout").rename(box.status / "__stdout.1")
        (box.status / "__stdout").write_text("three\n")
        assert process.stdout.readline() == "three\n"
        process.send_signal(signal.SIGINT)
        assert (process.wait(PATIENCE), process.stderr.read()) == (130, "")


def test_svlog_ends_with_its_reader(box: Box) -> None:
    box.start("sh", "-c", "echo one; exec sleep 1000")
    box.wait_stdout("one")
    with beside(box, without_inotify(), "svlog", "-f", "app") as process:
        assert process.stdout
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(PATIENCE) == 0
        process.stdout = None


def test_svstat_watch_shows_changes(box: Box) -> None:
    box.start("sleep", "1000")
    words = [*without_inotify(), str(BIN / "svstat"), "--watch"]
    env = {**box.env, "TERM": "xterm"}
    child = pexpect.spawn(words[0], words[1:], cwd=str(box.folder), env=env, timeout=PATIENCE, encoding="utf-8")
    try:
        child.expect_exact("up")
        box.control("d")
        child.expect_exact("down")
        child.send("q")
        child.expect(pexpect.EOF)
    finally:
        child.close(force=True)
    assert child.exitstatus == 0


def test_the_python_interface(box: Box) -> None:
    box.start("sleep", "1000")
    code = "from supervise.client import Service as S; S('app').command('d'); print(S('app').wait('down', 30).pid)"
    words = [*without_inotify(), sys.executable, "-c", code]
    done = subprocess.run(words, cwd=box.folder, capture_output=True, text=True, timeout=PATIENCE)
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_without_proc_nobody_says_that_a_service_has_ended(box: Box) -> None:
    """Its supervise has been killed, and only /proc could tell."""
    box.start("sleep", "1000")
    os.kill(box.supervisor, signal.SIGKILL)
    box.wait_gone()
    wait_for("its FIFOs to be closed", lambda: not box.is_ok())
    code, out, err = run(box, without_proc(), "svstat", "app")
    assert (code, out) == (111, "") and err == f"svstat: fatal: cannot look at process {box.pid}: there is no /proc\n"
