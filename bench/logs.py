"""What is printed, kept within a limit: supervise beside multilog, svlogd, s6-log and supervisord; docs/performance.md.

    python bench/logs.py [--blocks MB] [--lines MB] [--limit BYTES] [--rounds N] [--folder FOLDER]
        [--by NAMES]

The service is writer.c.  It prints blocks of 64 KB, or lines of 100 bytes, one at a time, as fast as it can; `plain` is
the same into a file without any limit.  Of each: how fast it could print, in MB a second and as a ratio to `plain`, and
the processor seconds of all that stands beside it, a gigabyte.  Medians of the rounds, which all take turns.  What is
not installed is left out: daemontools, runit, s6 (Debian), supervisor (PyPI).
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
SUPERVISE = Path(sys.executable).with_name("supervise")
SUPERVISORD = Path(sys.executable).with_name("supervisord")
PATIENCE = 600.0
MB = 1 << 20
TICK = os.sysconf("SC_CLK_TCK")


class Writer:
    """What one run prints, and what came of it: the seconds that took, and those of its processor."""

    def __init__(self, program: Path, folder: Path, size: int, count: int) -> None:
        self.report = folder / "report"
        self.words = [str(program), str(size), str(count), str(self.report)]

    def wait(self) -> tuple[float, float]:
        end = time.monotonic() + PATIENCE
        while not self.report.exists() or not self.report.read_text().endswith("\n"):
            if time.monotonic() > end:
                raise SystemExit(f"waited in vain for {self.words}")
            time.sleep(0.005)
        took, own = map(float, self.report.read_text().split())
        return took, own


def spent(pid: int) -> float:
    """The processor seconds of a process and of its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / TICK


def own_only(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / TICK


def plain(folder: Path, writer: Writer, limit: int) -> tuple[float, float]:
    with open(folder / "log", "ab") as log:
        process = subprocess.Popen(writer.words, stdout=log)
    took, _ = writer.wait()
    process.kill()
    process.wait()
    return took, 0.0


def piped(words: list[str]) -> Callable[[Path, Writer, int], tuple[float, float]]:
    def run(folder: Path, writer: Writer, limit: int) -> tuple[float, float]:
        (folder / "log").mkdir()
        (folder / "log" / "config").write_text(f"s{limit}\nn10\n")  # svlogd's
        reader = subprocess.Popen(
            [word.format(limit=limit, folder=folder / "log") for word in words],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert reader.stdin
        process = subprocess.Popen(writer.words, stdout=reader.stdin)
        reader.stdin.close()
        took, _ = writer.wait()
        process.kill()
        process.wait()
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        reader.wait()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return took, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    return run


def supervisord(folder: Path, writer: Writer, limit: int) -> tuple[float, float]:
    conf = folder / "supervisord.conf"
    conf.write_text(
        f"[supervisord]\nnodaemon = true\nlogfile = {folder}/log\npidfile = {folder}/pid\n[program:app]\n"
        f"command = {' '.join(writer.words)}\nstdout_logfile = {folder}/out\nstdout_logfile_maxbytes = {limit}\n"
    )
    process = subprocess.Popen([SUPERVISORD, "-c", conf], stdout=subprocess.DEVNULL)
    begun = None
    while begun is None:
        time.sleep(0.01)
        begun = own_only(process.pid) if (folder / "pid").exists() else None
    took, _ = writer.wait()
    beside = own_only(process.pid) - begun
    process.send_signal(signal.SIGTERM)
    process.wait()
    return took, beside


def supervise(folder: Path, writer: Writer, limit: int) -> tuple[float, float]:
    conf = folder / "supervise.conf"
    conf.write_text(f"[app]\nstdout_logfile_maxbytes : {limit}\nstdout_logfile_backups : 10\n")
    words = ["-p", str(folder / "status/app"), "-F", str(conf), "-f", " ".join(writer.words)]
    subprocess.run([SUPERVISE, *words], check=True, stderr=subprocess.DEVNULL)
    state = (folder / "status/app/state").read_text()
    pid = int(state.partition('"supervise_pid": ')[2].partition(",")[0])
    begun = spent(pid)
    took, _ = writer.wait()
    live = folder / "status/app/__stdout"
    while live.stat().st_blocks * 512 > limit + MB:
        time.sleep(0.05)
    time.sleep(0.5)  # for the last helper to be reaped
    beside = spent(pid) - begun
    fd = os.open(folder / "status/app/control", os.O_WRONLY)
    os.write(fd, b"kx")
    os.close(fd)
    while Path(f"/proc/{pid}").exists():
        time.sleep(0.01)
    return took, beside


def kinds() -> dict[str, Callable[[Path, Writer, int], tuple[float, float]]]:
    found: dict[str, Callable[[Path, Writer, int], tuple[float, float]]] = {"plain": plain, "supervise": supervise}
    for line in ("multilog s{limit} n10 {folder}", "svlogd {folder}", "s6-log n10 s{limit} {folder}"):
        words = line.split()
        if shutil.which(words[0]):
            found[words[0]] = piped(words)
    if SUPERVISORD.exists():
        found["supervisord"] = supervisord
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=2000)
    parser.add_argument("--lines", type=int, default=200)
    parser.add_argument("--limit", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", default=None, help="where to write, on the disk that is meant")
    parser.add_argument("--by", default="", help="only these, with commas between them")
    asked = parser.parse_args()
    print("| what is printed | by way of | MB/s | of plain | processor seconds beside it, a GB |")
    print("| --- | --- | --- | --- | --- |")
    for what, size, megabytes in (("blocks of 64 KB", 65536, asked.blocks), ("lines of 100 bytes", 100, asked.lines)):
        speeds: dict[str, list[float]] = {}
        costs: dict[str, list[float]] = {}
        count = megabytes * MB // size
        for _ in range(asked.rounds):
            for name, run in kinds().items():
                if asked.by and name not in asked.by.split(","):
                    continue
                with tempfile.TemporaryDirectory(prefix="supervise-", dir=asked.folder) as made:
                    folder = Path(made)
                    program = folder / "writer"
                    subprocess.run(["cc", "-O2", "-o", program, HERE / "writer.c"], check=True)
                    took, beside = run(folder, Writer(program, folder, size, count), asked.limit)
                speeds.setdefault(name, []).append(megabytes / took)
                costs.setdefault(name, []).append(beside * 1024 / megabytes)
        base = statistics.median(speeds["plain"])
        for name in speeds:
            speed, cost = statistics.median(speeds[name]), statistics.median(costs[name])
            print(f"| {what} | {name} | {speed:.0f} | {speed / base:.2f} | {cost:.2f} |", flush=True)


if __name__ == "__main__":
    main()
