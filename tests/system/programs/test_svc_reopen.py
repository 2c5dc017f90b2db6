"""svc reopen: what it takes to have a log made anew that was renamed or deleted; and the size of what is kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from conftest import PATIENCE, Box

BIN = Path(sys.executable).parent


def run(box: Box, program: str, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(BIN / program), *args], cwd=box.folder, env=box.env, capture_output=True, text=True, timeout=PATIENCE
    )


def test_a_log_that_was_renamed_or_deleted(box: Box) -> None:
    pid = box.start("sh", "-c", "echo one; exec sleep 1000")
    box.wait_stdout("one\n")
    done = run(box, "svc", "reopen", "app")
    assert (done.stdout, done.stderr, done.returncode) == ("status/app: the logs are in place\n", "", 0)

    (box.status / "__stdout").rename(box.status / "__stdout.1")
    done = run(box, "svc", "reopen", "app")
    assert (done.stdout, done.returncode) == ("", 1)
    assert done.stderr == (
        "svc: fatal: cannot reopen the logs of status/app without a restart: the service "
        f"(pid {pid}) holds __stdout as {box.status.resolve()}/__stdout.1\n"
    )
    (box.status / "__stderr").unlink()
    assert f"__stderr as {box.status.resolve()}/__stderr, which is deleted" in run(box, "svc", "reopen", "app").stderr

    box.control("d")
    box.wait_down()
    done = run(box, "svc", "reopen", "app")
    assert done.returncode == 0
    missing = "no __stdout and __stderr; the next start makes what the service prints to"
    assert done.stdout == f"status/app: down; {missing}\n"
    box.control("u")
    box.wait_stdout("one\n")
    assert run(box, "svc", "reopen", "app").returncode == 0
    assert run(box, "svc", "reopen", "nosuch").returncode == 100


def test_the_size_of_what_is_kept(box: Box) -> None:
    box.start("sh", "-c", "echo one; exec sleep 1000")
    box.wait_stdout("one\n")
    (box.status / "__stdout.1").write_bytes(b"x" * 2044)
    (box.status / "__stdout.2.gz").write_bytes(b"x" * 1000)
    with open(box.status / "__stderr", "ab") as file:
        os.truncate(file.fileno(), 1 << 20)
        file.write(b"end")
    service = json.loads(run(box, "svstat", "--json", "app").stdout)["services"][0]
    assert (service["stdout_bytes"], service["stderr_bytes"]) == (3048, 3)
    head, row = run(box, "svstat", "--long", "app").stdout.splitlines()
    assert head.split()[6:8] == ["RESTARTS", "LOGS"]
    assert "3.0 KiB" in row
