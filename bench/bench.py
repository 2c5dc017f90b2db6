"""The benchmarks: every figure in one run, as a ratio to a peer or a floor measured beside it.

    python bench/bench.py [--rounds N] [--idle SECONDS]

Needs cc for the floor and the probe; daemontools is measured where it is installed.  docs/performance.md explains
the figures and holds a table made by this.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Callable

HERE = Path(__file__).resolve().parent
SUPERVISE = Path(sys.executable).with_name("supervise")
PATIENCE = 10.0  # seconds until something that must happen is given up


def wait_for(what: str, found: Callable[[], object]) -> object:
    """Poll for what the probe reports; the times come from the probe, so polling adds nothing to them."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        result = found()
        if result:
            return result
        time.sleep(0.002)
    raise SystemExit(f"bench: fatal: {what} did not happen within {PATIENCE} seconds")


class Peer:
    """One supervisor that runs the probe; `output` is what the probe writes."""

    def __init__(self, name: str, output: Path, control: Path, process: subprocess.Popen[bytes] | None) -> None:
        self.name, self.output, self.control, self.process = name, output, control, process
        wait_for(f"{name}: first start", lambda: self.lines("start"))

    def lines(self, what: str) -> list[tuple[int, int]]:
        """(pid, nanoseconds) of every line that the probe wrote of this kind."""
        if not self.output.exists():
            return []
        words = (line.split() for line in self.output.read_text().splitlines())
        return [(int(word[1]), int(word[2])) for word in words if len(word) == 3 and word[0] == what]

    def restart(self) -> float:
        """Microseconds from SIGKILL to the successor's first instruction."""
        before = self.lines("start")
        sent = time.monotonic_ns()
        os.kill(before[-1][0], signal.SIGKILL)
        wait_for(f"{self.name}: restart", lambda: len(self.lines("start")) > len(before))
        return (self.lines("start")[-1][1] - sent) / 1000

    def command(self) -> float:
        """Microseconds from a byte in the FIFO to the signal's handler."""
        before = len(self.lines("signal"))
        fifo = os.open(self.control, os.O_WRONLY | os.O_NONBLOCK)
        sent = time.monotonic_ns()
        os.write(fifo, b"h")
        os.close(fifo)
        wait_for(f"{self.name}: signal", lambda: len(self.lines("signal")) > before)
        return (self.lines("signal")[-1][1] - sent) / 1000

    def end(self) -> None:
        fifo = os.open(self.control, os.O_WRONLY | os.O_NONBLOCK)
        os.write(fifo, b"x" if self.name == "floor" else b"dx")
        os.close(fifo)
        if self.process:
            self.process.wait()


def compile_c(folder: Path, output: Path | None = None) -> tuple[Path, Path]:
    """The probe, which writes to `output` or to its standard output, and the floor."""
    compiler = shutil.which("cc")
    if not compiler:
        raise SystemExit("bench: fatal: cannot compile the floor: there is no cc")
    probe, floor = folder / "probe", folder / "floor"
    bare = ["-nostdlib", "-fno-stack-protector"]
    told = [f'-DOUTPUT="{output}"'] if output else []
    subprocess.run([compiler, "-O2", "-static", *bare, *told, "-o", probe, HERE / "probe.c"], check=True)
    subprocess.run([compiler, "-O2", "-static", "-o", floor, HERE / "floor.c"], check=True)
    return probe, floor


def start_floor(folder: Path, floor: Path, probe: Path) -> Peer:
    fifo, output = folder / "floor.fifo", folder / "floor.out"
    os.mkfifo(fifo)
    return Peer("floor", output, fifo, subprocess.Popen([floor, fifo, output, probe]))


def start_ours(folder: Path, probe: Path) -> Peer:
    (folder / "supervise.conf").write_text("[global]\nalarm_interval : 0\n")
    subprocess.run([SUPERVISE, "-p", "status/bench", "-f", str(probe)], cwd=folder, check=True)
    status = folder / "status" / "bench"
    return Peer("supervise", status / "__stdout", status / "control", None)


def start_daemontools(folder: Path, probe: Path) -> Peer | None:
    program = shutil.which("supervise", path="/usr/bin:/usr/local/bin:/command")
    if not program or not shutil.which("svscan", path="/usr/bin:/usr/local/bin:/command"):
        return None
    service, output = folder / "daemontools", folder / "daemontools.out"
    service.mkdir()
    shutil.copy(probe, service / "run")
    with output.open("wb") as out:
        process = subprocess.Popen([program, service], stdout=out)
    return Peer("daemontools", output, service / "supervise" / "control", process)


def start_time(folder: Path, probe: Path, number: int) -> float:
    """Microseconds from executing `supervise` to the service's first instruction."""
    status = folder / "status" / f"start{number}"
    began = time.monotonic_ns()
    pid = os.posix_spawn(SUPERVISE, ["supervise", "-p", str(status), "-f", str(probe)], os.environ)
    os.waitpid(pid, 0)
    peer = Peer("supervise", status / "__stdout", status / "control", None)
    took = (peer.lines("start")[0][1] - began) / 1000
    peer.end()
    return took


def python_time() -> float:
    """Microseconds that `python3 -c pass` takes from its execution to its end."""
    began = time.monotonic_ns()
    pid = os.posix_spawn(sys.executable, [sys.executable, "-c", "pass"], os.environ)
    os.waitpid(pid, 0)
    return (time.monotonic_ns() - began) / 1000


def switches(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if "ctxt_switches" in line)


def supervisor_of(peer: Peer) -> int:
    stat = Path(f"/proc/{peer.lines('start')[-1][0]}/stat").read_text()
    return int(stat.rpartition(")")[2].split()[1])


def row(figure: str, value: str, against: str, ratio: float | None, limit: str) -> None:
    print(f"| {figure} | {value} | {against} | {'' if ratio is None else f'{ratio:.2f}'} | {limit} |", flush=True)


def microseconds(values: list[float]) -> str:
    return f"{statistics.median(values):.0f} us"


def ratio_of(ours: list[float], theirs: list[float]) -> float:
    """The ratio of the medians, which were measured in turn."""
    return statistics.median(ours) / statistics.median(theirs)


def in_turn(peers: list[Peer], rounds: int, measure: Callable[[Peer], float]) -> dict[str, list[float]]:
    """Measure every peer in each round, in an order that moves on; a second lies between two rounds."""
    times: dict[str, list[float]] = {peer.name: [] for peer in peers}
    for number in range(rounds):
        time.sleep(1.1)  # a service that has run for over a second is restarted at once
        start = number % len(peers)
        for peer in peers[start:] + peers[:start]:
            times[peer.name].append(measure(peer))
    return times


def against_peers(title: str, times: dict[str, list[float]], limits: dict[str, str]) -> None:
    """A row for each peer."""
    ours = times["supervise"]
    for name, theirs in times.items():
        if name != "supervise":
            against = f"{name}: {microseconds(theirs)}"
            row(title, microseconds(ours), against, ratio_of(ours, theirs), limits.get(name, ""))


def bench_start(folder: Path, probe: Path, rounds: int) -> None:
    ours, theirs = [], []
    for number in range(rounds):
        theirs.append(python_time())
        ours.append(start_time(folder, probe, number))
    row("start", microseconds(ours), f"python3 -c pass: {microseconds(theirs)}", ratio_of(ours, theirs), "at most 3")


def bench_idle(peer: Peer, seconds: float) -> None:
    pid = supervisor_of(peer)
    time.sleep(1)
    before = switches(pid)
    time.sleep(seconds)
    row(f"idle, {seconds:.0f} s, configuration watched", f"{switches(pid) - before} context switches", "", None, "0")


def main() -> int:
    parser = argparse.ArgumentParser(description="Benchmarks of supervise; see docs/performance.md.")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--idle", type=float, default=30.0, metavar="SECONDS")
    parser.add_argument("--memory", metavar="FILE", help="what memory.sh printed")
    args = parser.parse_args()
    os.environ["LC_ALL"] = "C.UTF-8"
    print("| figure | supervise | against | ratio | must be |")
    print("| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        probe, floor = compile_c(folder)
        found = [start_floor(folder, floor, probe), start_ours(folder, probe), start_daemontools(folder, probe)]
        peers = [peer for peer in found if peer]
        ours = peers[1]
        try:
            restarts = in_turn(peers, args.rounds, Peer.restart)
            against_peers("restart", restarts, {"floor": "at most 1.8", "daemontools": "below 1"})
            for peer in peers:
                peer.command()  # the first one of a new process
            against_peers("control", in_turn(peers, args.rounds, Peer.command), {"floor": "at most 2.5"})
            bench_idle(ours, args.idle)
        finally:
            for peer in peers:
                peer.end()
        bench_start(folder, probe, args.rounds)
    if args.memory:
        lines = [line.split() for line in Path(args.memory).read_text().splitlines()]
        sizes = {what: int(size) for what, size in lines}
        for what, limit in (("plain", "at most 1.4"), ("watched", "at most 1.9")):
            title = "memory, PSS" + (", configuration watched" if what == "watched" else ", no configuration")
            against = f"python3 -c 'import time; time.sleep(99)': {sizes['sleep']} kB"
            row(title, f"{sizes[what]} kB", against, sizes[what] / sizes["sleep"], limit)
    return 0


if __name__ == "__main__":
    sys.exit(main())
