"""What users met: folders that cannot be listed, a service that runs once and cannot, `status` as a verb."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from conftest import Box, wait_for

from supervise.client import IsStopped, Service


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
    said = f"it is up (pid {pid}), but stopped by a signal; to have it go on: svc resume status/app"
    assert (done.returncode, done.stderr) == (1, f"svc: fatal: cannot start status/app: {said}\n"), done
    assert tool(box, "svc", "resume", "app").returncode == 0
    assert tool(box, "svc", "start", "app").returncode == 0


def test_a_start_says_that_the_service_is_paused(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    pid = box.start("sleep", "1000")
    assert tool(box, "svc", "pause", "app").returncode == 0
    said = f"it is up (pid {pid}), but paused; to have it go on: svc resume status/app"
    for verb in ("start", "once"):
        done = tool(box, "svc", verb, "app")
        text = "cannot start status/app" if verb == "start" else "cannot run status/app once"
        assert (done.returncode, done.stderr) == (1, f"svc: fatal: {text}: {said}\n"), done
    monkeypatch.chdir(box.folder)
    with pytest.raises(IsStopped, match="^cannot start status/app: it is up ") as caught:
        Service("status/app").start()
    assert caught.value.status.paused
    assert tool(box, "svc", "resume", "app").returncode == 0
    assert tool(box, "svc", "start", "app").returncode == 0


def test_verbs_are_words_of_a_sentence(box: Box) -> None:
    box.start("sleep", "1000")
    assert tool(box, "svc", "exit", "app").returncode == 0
    for verb, text in (
        (("signal", "HUP"), "cannot send HUP to status/app"),
        (("alarm", "off"), "cannot switch alarms off for status/app"),
        (("once",), "cannot run status/app once"),
        (("pause",), "cannot pause status/app"),
    ):
        assert tool(box, "svc", *verb, "app").stderr.startswith(f"svc: fatal: {text}: supervise not running; ")
