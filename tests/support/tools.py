"""What the tests of svc, svok, svstat and svwait share: running them, and an imitation of the C supervise."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from box import PATIENCE, Box

BIN = Path(sys.executable).parent
UNPRIVILEGED = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]


def run_tool(box: Box, name: str, *args: str, plain: bool = False, **env: str) -> subprocess.CompletedProcess[str]:
    """Run one of the programs in the box's folder, and wait for its end.

    `plain`: without root's right to open everything.  (As another user it could not be run where the interpreter is
    in root's home.)
    """
    before = UNPRIVILEGED if plain and os.getuid() == 0 else []
    return subprocess.run(
        [*before, str(BIN / name), *args],
        cwd=box.folder,
        env={**box.env, "TZ": "UTC", **env},
        capture_output=True,
        text=True,
        timeout=PATIENCE * 2,
        stdin=subprocess.DEVNULL,
    )


@contextmanager
def started(box: Box, name: str, *args: str) -> Iterator[subprocess.Popen[str]]:
    """Run one of the programs beside the test; it is ended with it, by force if need be."""
    process = subprocess.Popen(
        [str(BIN / name), *args],
        cwd=box.folder,
        env=box.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def answer(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """The exit code of one that was started, when it has ended, and what it said."""
    assert process.stdout and process.stderr
    return process.wait(PATIENCE), process.stdout.read(), process.stderr.read()


def svstat(box: Box, *args: str) -> str:
    """What svstat prints, which must have nothing to complain of."""
    done = run_tool(box, "svstat", *args)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def without_inotify() -> list[str]:
    """Words before a command that has no inotify instance left; in a user namespace of its own, so nobody else has."""
    return _apart("-Ur", "echo 0 >/proc/sys/user/max_inotify_instances")


def without_proc() -> list[str]:
    """Words before a command for which /proc is empty."""
    return _apart("-Urm", "mount -t tmpfs none /proc")


def _apart(options: str, first: str) -> list[str]:
    words = ["unshare", options, "sh", "-c", f'{first} && exec "$@"', "sh"]
    if shutil.which("unshare") is None or subprocess.run([*words, "true"], capture_output=True).returncode:
        pytest.skip("a user namespace cannot be made here")
    return words


def watching(pid: int) -> bool:
    """Whether a process has inotify watches, and sleeps."""
    try:
        infos = [path.read_text() for path in Path(f"/proc/{pid}/fdinfo").iterdir()]
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return any("inotify wd:" in info for info in infos) and state == "S"


# The files and letters of the C implementation, no `state`; its service is a process that does not exist.
_C_SUPERVISE = """
import fcntl, os, sys, time
sys.path.insert(0, sys.argv[2])
from supervise.protocol.record import Record
os.makedirs(sys.argv[1], exist_ok=True)
os.chdir(sys.argv[1])
lock = open("lock", "w")
fcntl.flock(lock, fcntl.LOCK_EX)
for name in ("ok", "control"):
    os.mkfifo(name, 0o600)
ok = os.open("ok", os.O_RDONLY | os.O_NONBLOCK)
control = os.open("control", os.O_RDWR)
pid, want, paused, alarms = 1000001, "up", False, True
def write():
    with open("status.new", "wb") as new:
        new.write(Record(time.time_ns(), paused, want, alarms, pid).encode())
    os.rename("status.new", "status")
write()
print("ready", flush=True)
while True:
    for letter in os.read(control, 100).decode():
        with open("letters", "a") as letters:
            letters.write(letter)
        if letter == "d":
            pid, want = 0, "down"
        elif letter == "u":
            pid, want = pid or 1000002, "up"
        elif letter in "Rk":
            pid += 1
        elif letter in "pc":
            paused = letter == "p"
        elif letter in "sn":
            alarms = letter == "n"
        elif letter == "x" and not pid:
            sys.exit()
    write()
"""


@contextmanager
def c_supervise(box: Box) -> Iterator[subprocess.Popen[str]]:
    """An imitation of a supervise of the C implementation in the box's status directory."""
    here = str(Path(sys.modules["supervise"].__file__ or "").parents[1])
    process = subprocess.Popen(
        [sys.executable, "-c", _C_SUPERVISE, str(box.status), here], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    try:
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()


@contextmanager
def closed(path: Path) -> Iterator[None]:
    """Nobody but root may do anything with a file or directory."""
    mode = path.stat().st_mode & 0o7777
    path.chmod(0)
    try:
        yield
    finally:
        path.chmod(mode)
