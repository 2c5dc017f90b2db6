"""Thousands of restarts and a million letters: what supervise holds before and after.

    python bench/endurance.py [--restarts N] [--letters N]

For the restarts a second lasts a five-thousandth of one, as in readiness.py: else they would take an hour and a half.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import supervise
from supervise.client import Service
from supervise.protocol.options import Options
from supervise.protocol.record import RecordError
from supervise.supervisor.handoff import options_fd

PACKAGES = str(Path(supervise.__file__).parent.parent)
PATIENCE = 120.0  # seconds
SECOND = 0.0002  # seconds that a second lasts
WARM = 1000  # restarts, and a hundred times as many letters, before the first look
ALPHABET = b"uRupcsn+1=2uwud"  # what the service survives, and a stop

# What supervise/daemon.py does; but between two starts a second lasts as long as the second word says.
HASTY = """
import sys
sys.path[:] = [*sys.path[1:], sys.argv[1]]
from supervise.machine import on_command, on_process, policy, situation
gap = policy.MIN_DELAY * float(sys.argv[2])
for module in (situation, policy, on_process, on_command):
    module.MIN_DELAY = gap
delay = policy.delay
situation.delay = lambda *args: delay(*args) * float(sys.argv[2])
from supervise.supervisor.startup import main
sys.exit(main())
"""


class Endured(NamedTuple):
    """What a supervise is after so many starts: private memory in KB, descriptors, bytes of its logs."""

    starts: int
    memory: int
    descriptors: int
    logged: int


class Hasty:
    """A supervise in a hurry, with a service; `end` it."""

    def __init__(self, folder: Path, *command: str) -> None:
        output = folder / "report"
        options = Options("status/app", list(command))
        with output.open("wb") as report:
            words = [sys.executable, "-S", "-E", "-c", HASTY, PACKAGES, str(SECOND)]
            self._process = subprocess.Popen(words, stdin=options_fd(options), stdout=report, cwd=folder)
        _until("the start", lambda: output.read_bytes() == b"\0")
        self._service = Service(folder / "status" / "app")
        self._status = folder / "status" / "app"

    def look(self) -> Endured:
        """What it holds now."""
        proc = Path(f"/proc/{self._process.pid}")
        rollup = (proc / "smaps_rollup").read_text().splitlines()
        memory = sum(int(line.split()[1]) for line in rollup if line.startswith("Private_"))
        logged = sum(path.stat().st_size for path in self._status.glob("supervise.log*"))
        return Endured(self.starts, memory, len(os.listdir(proc / "fd")), logged)

    @property
    def starts(self) -> int:
        """How often the service was started again."""
        return self._service.status().restarts or 0

    def write(self, data: bytes) -> None:
        """Write to control, waiting where it is full."""
        with open(self._status / "control", "wb", buffering=0) as control:
            while data:
                data = data[control.write(data[:4096]) or 0 :]

    def obeyed(self) -> None:
        """Wait until everything that was written has been obeyed."""
        self.write(b"s")
        _until("s", lambda: not self._service.status().alarms)
        self.write(b"n")
        _until("n", lambda: self._service.status().alarms)

    def end(self) -> None:
        """End it, and its service."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(PATIENCE)
        finally:
            self._process.kill()
            self._process.wait()


def _until(what: str, found: object) -> None:
    end = time.monotonic() + PATIENCE
    while True:
        try:
            if found():  # type: ignore[operator]
                return
        except (OSError, RecordError):
            pass
        if time.monotonic() > end:
            raise SystemExit(f"endurance: fatal: waited in vain for {what}")
        time.sleep(0.01)


def restarts(folder: Path, warm: int, count: int) -> tuple[Endured, Endured]:
    """A service that ends at once is restarted: what supervise holds after `warm` and after `count` more."""
    one = Hasty(folder, "/bin/true")
    try:
        _until("the first restarts", lambda: one.starts >= warm)
        before = one.look()
        _until("the restarts", lambda: one.starts >= before.starts + count)
        return before, one.look()
    finally:
        one.end()


def letters(folder: Path, warm: int, count: int) -> tuple[Endured, Endured]:
    """The same for letters; the signals among them do nothing to this service."""
    ignoring = "import signal, time; [signal.signal(n, signal.SIG_IGN) for n in (10, 12, 15, 28)]; time.sleep(100000)"
    one = Hasty(folder, sys.executable, "-c", ignoring)
    try:
        one.write(_some(warm))
        one.obeyed()
        before = one.look()
        one.write(_some(count))
        one.obeyed()
        return before, one.look()
    finally:
        one.write(b"uck")
        one.write(b"dx")
        one.write(b"k")
        one.end()


def _some(count: int) -> bytes:
    return (ALPHABET * (count // len(ALPHABET) + 1))[:count]


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--restarts", type=int, default=5000)
    parser.add_argument("--letters", type=int, default=1_000_000)
    args = parser.parse_args()
    for what, endure, warm, count in (
        ("restarts", restarts, WARM, args.restarts),
        ("letters", letters, 100 * WARM, args.letters),
    ):
        with tempfile.TemporaryDirectory() as name:
            began = time.monotonic()
            before, after = endure(Path(name), warm, count)
        seconds = time.monotonic() - began
        print(f"{count:,} {what} in a row, {seconds:.0f} seconds: private memory {before.memory} -> {after.memory} kB,")
        logged = after.logged - before.logged
        print(f"    descriptors {before.descriptors} -> {after.descriptors}, logs {logged:,} bytes more")
    return 0


if __name__ == "__main__":
    sys.exit(main())
