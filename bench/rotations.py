"""Bytes written against bytes kept, through rotations, while supervise is killed again and again; docs/performance.md.

    python bench/rotations.py [--filesystems ext4,xfs,tmpfs] [--rounds N] [--parts N] [--limit BYTES] [--seed N]
    python bench/rotations.py --full [--seconds N]

The service is counted.c, which writes as fast as it can, and whose output says what it must be.  Each file system is a
new one in a file that is mounted, which takes root.  In each round so many parts are written, while supervise
is killed at random, and its helper, and started again, until all is within the limit.  Then the parts, put end to end,
must be what was written, to the byte.

--full: for so long onto one that holds a few seconds of it; how fast that was, what was written within a second at
most, what its files took at most and what their limits are, and how many of the writes of the service failed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
SUPERVISE = Path(sys.executable).with_name("supervise")
PATIENCE = 600.0  # seconds
MB = 1 << 20
KILLS = (0.02, 0.25)  # seconds from one to the next
SETTLED = 2.0  # seconds in which nothing may change


@contextlib.contextmanager
def mounted(kind: str, size: int) -> Iterator[Path]:
    """A new file system of that kind, of so many bytes."""
    folder = Path(tempfile.mkdtemp(prefix="supervise-"))
    image, where = folder / "image", folder / "mounted"
    where.mkdir()
    try:
        if kind == "tmpfs":
            command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", where]
        else:
            with open(image, "wb") as file:
                file.truncate(size)
            quiet = ["-q", "-F"] if kind == "ext4" else ["-q", "-f"]
            subprocess.run([f"mkfs.{kind}", *quiet, image], check=True)
            command = ["mount", "-o", "loop", image, where]
        subprocess.run(command, check=True)
        try:
            yield where
        finally:
            end = time.monotonic() + PATIENCE
            while subprocess.run(["umount", where], stderr=subprocess.DEVNULL).returncode:  # a helper is ending
                if time.monotonic() > end:
                    raise SystemExit(f"cannot unmount {where}")
                time.sleep(0.05)
    finally:
        shutil.rmtree(folder)


def compiled(folder: Path) -> Path:
    """The program counted.c, in that folder."""
    program = folder / "counted"
    subprocess.run(["cc", "-O2", "-o", program, HERE / "counted.c"], check=True)
    return program


class Service:
    """A service of which all that it prints must be kept."""

    def __init__(self, folder: Path, counted: Path, size: int, limit: int, backups: int) -> None:
        self.folder = folder
        self.status = folder / "status/app"
        self.report = folder / "report"
        conf = folder / "supervise.conf"
        conf.write_text(f"[app]\nstdout_logfile_maxbytes : {limit}\nstdout_logfile_backups : {backups}\n")
        command = f"{counted} write {size} {self.report}"
        self.words = [str(SUPERVISE), "-p", str(self.status), "-F", str(conf), "-f", command]
        self.limit = limit
        self.start()

    def start(self) -> None:
        """Start a supervise; it takes over what another has left."""
        end = time.monotonic() + PATIENCE
        while subprocess.run(self.words, stderr=subprocess.DEVNULL).returncode:
            if time.monotonic() > end:
                raise SystemExit(f"cannot start {self.words}")
            time.sleep(0.02)

    @property
    def supervisor(self) -> int:
        text = (self.status / "state").read_text()
        return int(text.partition('"supervise_pid": ')[2].partition(",")[0])

    def kill(self) -> None:
        """Kill supervise, or its helper, and start another."""
        pid = self.supervisor
        helpers = Path(f"/proc/{pid}/task/{pid}/children")
        with contextlib.suppress(OSError):
            for child in map(int, helpers.read_text().split()):
                if b"rotate_helper" in Path(f"/proc/{child}/cmdline").read_bytes() and random.random() < 0.5:
                    os.kill(child, signal.SIGKILL)
        os.kill(pid, signal.SIGKILL)
        self.start()

    def stop(self) -> None:
        pid = self.supervisor
        with open(self.status / "control", "w") as control:
            control.write("dx")
        while Path(f"/proc/{pid}").exists():
            time.sleep(0.01)

    @property
    def parts(self) -> list[Path]:
        """The oldest first; the file that is written to is none."""
        found = [path for path in self.status.glob("__stdout.*") if path.suffix[1:].isdecimal()]
        return sorted(found, key=lambda path: -int(path.suffix[1:]))

    @property
    def live(self) -> tuple[int, int]:
        """Where the file that is written to begins, behind its hole, and where it ends."""
        with open(self.status / "__stdout", "rb") as file:
            size = os.fstat(file.fileno()).st_size
            return (os.lseek(file.fileno(), 0, os.SEEK_DATA) if size else 0), size

    @property
    def settled(self) -> bool:
        """Whether all is written, and within its limit."""
        if not self.report.exists() or [*self.status.glob("__stdout.next-*")]:
            return False
        start, end = self.live
        return end - start <= self.limit

    def pieces(self) -> Iterator[bytes]:
        """All that is kept."""
        for path in self.parts:
            with open(path, "rb") as file:
                while data := file.read(MB):
                    yield data
        start, _ = self.live
        with open(self.status / "__stdout", "rb") as file:
            file.seek(start)
            while data := file.read(MB):
                yield data


def checked(counted: Path, pieces: Iterator[bytes]) -> tuple[int, int, bool]:
    """How many bytes there are, how many of them are right, and whether that is all of them."""
    total = 0
    with subprocess.Popen([counted, "check"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=False) as process:
        assert process.stdin and process.stdout
        with contextlib.suppress(BrokenPipeError):
            for data in pieces:
                total += len(data)
                process.stdin.write(data)
            process.stdin.close()
        right, said = process.stdout.read().split()
    return total, int(right), said == b"all"


def run(kind: str, asked: argparse.Namespace) -> bool:
    """The rounds on one kind of file system; whether all was right."""
    written = kept = rotations = kills = failed = 0
    sound = True
    size = asked.parts * asked.limit
    for _ in range(asked.rounds):
        with mounted(kind, 3 * size // 2 + 64 * MB) as folder:
            counted = compiled(folder)
            service = Service(folder, counted, size, asked.limit, 999)
            end = time.monotonic() + PATIENCE
            while not service.settled:
                time.sleep(random.uniform(*KILLS))
                service.kill()
                kills += 1
                if time.monotonic() > end:
                    raise SystemExit(f"{kind}: not within its limit")
                calm = time.monotonic() + random.choice((0.0, SETTLED))
                while time.monotonic() < calm and not service.settled:
                    time.sleep(0.01)
            done, errors = map(int, service.report.read_text().split())
            total, right, all_of_it = checked(counted, service.pieces())
            sound &= all_of_it and total == right == done and not errors
            written, kept, failed = written + done, kept + right, failed + errors
            rotations += len(service.parts)
            service.stop()
    same = "yes" if sound else "NO"
    print(f"| {kind} | {rotations} | {kills} | {written} | {kept} | {failed} | {same} |", flush=True)
    return sound


def used(folder: Path) -> int:
    """The bytes that files take up."""
    found = 0
    for path in folder.glob("__stdout*"):
        with contextlib.suppress(FileNotFoundError):
            found += path.stat().st_blocks * 512
    return found


def fill(kind: str, asked: argparse.Namespace) -> bool:
    """A program that prints as fast as it can onto a small file system; whether all of its writes went well."""
    limit, backups = 8 * MB, 3
    bound = limit * (backups + 1)
    with mounted(kind, asked.size * MB) as folder, tempfile.TemporaryDirectory() as elsewhere:
        counted = compiled(Path(elsewhere))
        service = Service(folder, counted, 1 << 60, limit, backups)
        pid, most, growth, before = service.supervisor, 0, 0, 0
        end = time.monotonic() + asked.seconds
        last = time.monotonic()
        while time.monotonic() < end:
            most = max(most, used(service.status))
            now, size = time.monotonic(), written_by(service)
            if now - last >= 1.0:
                growth, before, last = max(growth, size - before), size, now
            time.sleep(0.02)
        total = written_by(service)
        failed = (service.status / "__stderr").read_text().count("\n")
        warnings = (service.status / "supervise.log.wf").read_text().count("\n")
        alive = pid == service.supervisor
        service.stop()
    print(
        f"| {kind}, {asked.size} MB | {total / asked.seconds / MB:.0f} MB/s | {growth / MB:.0f} MB |"
        f" {most / MB:.0f} MB | {bound / MB:.0f} MB | {failed} | {warnings} | {'yes' if alive else 'NO'} |",
        flush=True,
    )
    return alive and not failed


def written_by(service: Service) -> int:
    """The bytes that the service has written."""
    text = (service.status / "state").read_text()
    pid = int(text.partition('"service": {"pid": ')[2].partition(",")[0])
    for line in Path(f"/proc/{pid}/io").read_text().splitlines():
        if line.startswith("wchar:"):
            return int(line.split()[1])
    raise SystemExit("no /proc/PID/io")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--filesystems", default="ext4,xfs,tmpfs")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--parts", type=int, default=520)
    parser.add_argument("--limit", type=int, default=2 * MB)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--size", type=int, default=2000)
    asked = parser.parse_args()
    random.seed(asked.seed)
    if asked.full:
        print("| file system | written | in a second | at most | limits | failed writes | warnings | one supervise |")
        print("| --- | --- | --- | --- | --- | --- | --- | --- |")
        return not all([fill(kind, asked) for kind in asked.filesystems.split(",")])
    print("| file system | rotations | kills | bytes written | bytes kept | writes that failed | the same |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    return not all([run(kind, asked) for kind in asked.filesystems.split(",")])


if __name__ == "__main__":
    sys.exit(main())
