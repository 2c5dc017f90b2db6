"""What it costs to outlive a supervise: the figures of docs/reliability.md.

    python bench/adoption.py [--rounds N]

Two figures: from executing the next supervise to the first letter that reaches the service that it has taken over, as a
ratio to `python3 -c pass`; and from the end of a process that was taken over to its successor's first instruction, as
a ratio to the same with a child.  What is compared is measured in turn, with the probe of bench.py.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from bench import SUPERVISE, Peer, compile_c, microseconds, python_time, ratio_of, row, wait_for


def begin(folder: Path, name: str, probe: Path) -> Peer:
    """A probe under supervise, which is the child of its supervise."""
    subprocess.run([SUPERVISE, "-u", f"status/{name}", probe], cwd=folder, check=True)
    status = folder / "status" / name
    return Peer(name, status / "__stdout", status / "control", None)


def gone(pid: int) -> bool:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return True
    return fields[0] in "ZX" and int(fields[17]) < 2


def kill_supervise(folder: Path, peer: Peer) -> None:
    pid = json.loads((folder / "status" / peer.name / "state").read_text())["supervise_pid"]
    os.kill(pid, signal.SIGKILL)
    wait_for("the end of supervise", lambda: gone(pid))


def succeed(folder: Path, peer: Peer, probe: Path) -> float:
    """Start the next supervise; microseconds from executing it to the service's handler of the first letter.

    The letter is written by one who waits for the FIFO to be opened, as `echo h > control` does.
    """
    before = len(peer.lines("signal"))

    def write() -> None:
        peer.control.write_bytes(b"h")

    writer = threading.Thread(target=write)
    writer.start()
    began = time.monotonic_ns()
    pid = os.posix_spawn(SUPERVISE, ["supervise", "-u", str(peer.control.parent), str(probe)], os.environ)
    _, status = os.waitpid(pid, 0)
    writer.join()
    if status:
        raise SystemExit("bench: fatal: the successor did not start")
    wait_for("the first letter", lambda: len(peer.lines("signal")) > before)
    return (peer.lines("signal")[before][1] - began) / 1000


def main() -> int:
    parser = argparse.ArgumentParser(description="Benchmarks of takeover; see docs/reliability.md.")
    parser.add_argument("--rounds", type=int, default=20)
    args = parser.parse_args()
    os.environ["LC_ALL"] = "C.UTF-8"
    print("| figure | supervise | against | ratio | must be |")
    print("| --- | --- | --- | --- | --- |")
    letters: list[float] = []
    pythons: list[float] = []
    ends: dict[str, list[float]] = {"adopted": [], "child": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        probe, _ = compile_c(folder)
        adopted, child = peers = [begin(folder, "adopted", probe), begin(folder, "child", probe)]
        try:
            for number in range(args.rounds):
                kill_supervise(folder, adopted)
                pythons.append(python_time())
                letters.append(succeed(folder, adopted, probe))
                time.sleep(1.1)  # a service that has run for over a second is restarted at once
                for peer in peers if number % 2 else (child, adopted):
                    ends[peer.name].append(peer.restart())
        finally:
            for peer in peers:
                peer.end()
            for peer in peers:
                lock = folder / "status" / peer.name / "lock"
                wait_for("the end", lambda lock=lock: str(lock.stat().st_ino) not in Path("/proc/locks").read_text())
    against = f"python3 -c pass: {microseconds(pythons)}"
    row("next supervise's first letter", microseconds(letters), against, ratio_of(letters, pythons), "at most 1 s")
    ours, theirs = ends["adopted"], ends["child"]
    row("restart of one taken over", microseconds(ours), f"child: {microseconds(theirs)}", ratio_of(ours, theirs), "")
    return 0


if __name__ == "__main__":
    sys.exit(main())
