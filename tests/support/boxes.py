"""What the two sweeps over system calls share: a service in a folder of its own, looked at from outside."""

from __future__ import annotations

import os
import re
import shutil
import signal
import tempfile
import time
from pathlib import Path
from typing import Callable, NamedTuple

from box import Box, alive

from supervise.protocol.record import DOWN, RecordError

PATIENCE = 60.0
CALL = re.compile(r"^(\w+)\(")
FILES = {"lock", "control", "ok", "status", "state", "__stdout", "__stderr", "supervise.log", "supervise.log.wf"}
SERVICE = ("sleep", "86399")


class Gone(Exception):
    """Something that must happen did not; the message says what."""


def until(what: str, found: Callable[[], object], patience: float = PATIENCE) -> None:
    """Poll until `found()` is true.  Raises Gone."""
    end = time.monotonic() + patience
    pause = 0.01
    while not found():
        if time.monotonic() > end:
            raise Gone(what)
        time.sleep(pause)
        pause = min(1.2 * pause, 0.05)  # many wait at the same time


def in_vain(found: Callable[[], object], patience: float) -> bool:
    """The same, but telling."""
    try:
        until("", found, patience)
    except Gone:
        return True
    return False


class Seen(NamedTuple):
    """A process as /proc shows it: `state` is - where there is none, `start_ticks` since boot."""

    state: str
    parent: int
    start_ticks: int


def seen(pid: int) -> Seen:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return Seen("-", 0, 0)
    return Seen(fields[0], int(fields[1]), int(fields[19]))


def copies(box: Box) -> list[int]:
    """The processes of the service, by their command line and their environment."""
    entry = b"SUPERVISE_STATUS_DIR=" + os.fsencode(box.status)
    wanted = b"".join(word.encode() + b"\0" for word in SERVICE)
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                # The command line first: of most processes that is all that is read.
                mine = _read(f"/proc/{name}/cmdline") == wanted and entry in _read(f"/proc/{name}/environ").split(b"\0")
                if mine and alive(int(name)):
                    found.append(int(name))
            except OSError:
                pass
    return found


def _read(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY)
    try:
        return os.read(fd, 1 << 17)
    finally:
        os.close(fd)


def settled(box: Box) -> bool:
    """Whether one process runs, and the record names it."""
    try:
        return copies(box) == [box.pid]
    except (OSError, RecordError):
        return False


def wants_down(box: Box) -> bool:
    try:
        return box.record.want == DOWN
    except (OSError, RecordError):
        return False


def lock_holder(box: Box) -> int:
    """supervise's pid, 0 if there is none."""
    return box.supervisor if (box.status / "lock").exists() else 0


def murder(box: Box) -> None:
    """kill -9 of supervise."""
    holder = lock_holder(box)
    if holder:
        try:
            os.kill(holder, signal.SIGKILL)
        except ProcessLookupError:
            pass
    until("the lock to be free", lambda: lock_holder(box) == 0)


def make_box(folder: Path) -> Box:
    made = Path(tempfile.mkdtemp(dir=folder))
    box = Box(made)
    box.env.pop("SUPERVISE_STATUS_DIR", None)
    return box


def destroy(box: Box) -> None:
    """Nothing of it is left."""
    if (box.status / "lock").exists():
        murder(box)
    for pid in copies(box):
        os.kill(pid, signal.SIGKILL)
    until("the service to be gone", lambda: not copies(box))
    shutil.rmtree(box.folder, ignore_errors=True)
