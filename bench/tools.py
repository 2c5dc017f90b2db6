"""The benchmarks of the programs that command and look, as ratios to `python3 -c pass` measured in turn with them.

    python bench/tools.py [--rounds N] [--services N]

The status directories of the last row are written here, with records, states and FIFOs, but no supervise runs in them.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from supervise.protocol.record import Record
from supervise.protocol.state import VERSION, encode

BIN = Path(sys.executable).parent


def run(argv: list[str], folder: Path) -> float:
    """Microseconds from executing a program to its end; what it prints is thrown away."""
    null = os.open(os.devnull, os.O_RDWR)
    here = os.getcwd()
    os.chdir(folder)
    try:
        actions = [(os.POSIX_SPAWN_DUP2, null, fd) for fd in (0, 1, 2)]
        began = time.monotonic_ns()
        pid = os.posix_spawn(argv[0], argv, os.environ, file_actions=actions)
        os.waitpid(pid, 0)
        return (time.monotonic_ns() - began) / 1000
    finally:
        os.chdir(here)
        os.close(null)


def make_service(status: Path, number: int) -> None:
    """What a supervise leaves in its directory while its service runs."""
    status.mkdir(parents=True)
    now = time.time()
    pid = 100_000 + number
    how = {"code": 1, "signal": None, "core": False, "failure": None, "planned": False, "uptime": 12.5, "time": now}
    totals = {"starts": 4, "exits": 3, "crashes": 3, "cores": 0, "failures": 0, "planned": 0}
    fields = {
        "version": VERSION,
        "supervise_version": "0.1.0",
        "supervise_pid": pid - 1,
        "session": pid - 1,
        "boot_id": "00000000-0000-0000-0000-000000000000",
        "command": ["python3", "app.py", "--port", str(8000 + number)],
        "machine": "running",
        "wanted": "up",
        "paused": False,
        "alarms": True,
        "leaving": False,
        "service": {"pid": pid, "start_ticks": 1, "pidfd_inode": None, "start_time": now},
        "started_at": 1.0,
        "exited_at": 1.0,
        "script_exits": 3,
        "window": {"opened_at": None, "exits": 0, "cores": 0},
        "totals": totals,
        "last_exit": how,
    }
    (status / "status").write_bytes(Record(time.time_ns(), False, "up", True, pid).encode())
    (status / "state").write_bytes(encode(fields))
    (status / "lock").touch()
    for name in ("ok", "control"):
        os.mkfifo(status / name, 0o600)


def bench(figure: str, argv: list[str], folder: Path, rounds: int, limit: str) -> None:
    """One row: a program and `python3 -c pass` in turn, the ratio of their medians."""
    ours, theirs = [], []
    for _ in range(rounds):
        theirs.append(run([sys.executable, "-c", "pass"], folder))
        ours.append(run(argv, folder))
    mine, floor = statistics.median(ours), statistics.median(theirs)
    print(f"| {figure} | {mine:.0f} us | python3 -c pass: {floor:.0f} us | {mine / floor:.2f} | {limit} |", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description="Benchmarks of svok, svc and svstat; see docs/performance.md.")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--services", type=int, default=1000)
    args = parser.parse_args()
    print("| figure | supervise | against | ratio | must be |")
    print("| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as name:
        one, many = Path(name) / "one", Path(name) / "many"
        make_service(one / "status" / "app", 0)
        readers = [os.open(one / "status" / "app" / fifo, os.O_RDWR) for fifo in ("ok", "control")]
        bench("svok", [str(BIN / "svok"), "app"], one, args.rounds, "at most 2.5")
        bench("svc, letters", [str(BIN / "svc"), "-h", "app"], one, args.rounds, "at most 2.5")
        bench("svc, a verb", [str(BIN / "svc"), "start", "app", "--no-wait"], one, args.rounds, "at most 2.5")
        bench("svc, a verb that is so already", [str(BIN / "svc"), "start", "app"], one, args.rounds, "at most 2.5")
        bench("svstat, 1 service", [str(BIN / "svstat")], one, args.rounds, "")
        for fd in readers:
            os.close(fd)
        for number in range(args.services):
            make_service(many / "status" / f"app{number}", number)
        names = [f"status/app{number}" for number in range(args.services)]
        rounds = max(args.rounds // 3, 3)
        bench(f"svstat, {args.services} services", [str(BIN / "svstat")], many, rounds, "below 25")
        bench("the same, each named", [str(BIN / "svstat"), *names], many, rounds, "below 25")
    return 0


if __name__ == "__main__":
    sys.exit(main())
