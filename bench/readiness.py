"""The benchmarks of readiness, of changed main processes, and of what it costs to have all of it configured.

    python bench/readiness.py [--rounds N] [--idle SECONDS] [--memory FILE] [--long]

The service is herald.py, which tells the moments, and makes the floors as well; s6 is measured where it is installed.
docs/performance.md explains the figures.
"""

from __future__ import annotations

import argparse
import os
import pwd
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Callable

import pyinotify
from adoption import gone

import supervise
from bench import PATIENCE, SUPERVISE, Peer, against_peers, microseconds, ratio_of, row, switches, wait_for
from supervise.client import Service
from supervise.protocol.options import Options
from supervise.protocol.record import decode
from supervise.supervisor.handoff import told

HERE = Path(__file__).resolve().parent
PACKAGES = str(Path(supervise.__file__).parent.parent)
HERALD = [sys.executable, "-S", "-E", str(HERE / "herald.py")]
WARM, STARTS = 100, 1000  # starts before the first measure of bench_backoff, and from that to the second
SECOND = 0.005  # seconds that a second lasts in it
ASLEEP = 0.02  # seconds without a context switch, after which a process is taken to wait for what it watches

# What is compared with svwait: the least that waits with the same tools.  It ends as Python ends, or, for the floor, at
# once.
WAITER = """
import os, pyinotify, select, sys
manager = pyinotify.WatchManager()
manager.add_watch(sys.argv[1], pyinotify.IN_MOVED_TO)
select.select([manager.get_fd()], [], [])
"""
AT_ONCE = "os._exit(0)"

# What supervise/daemon.py does; but between two starts a second lasts as long as the second word says.
HASTY = """
import sys
sys.path[:] = [*sys.path[1:], sys.argv[1]]
second = float(sys.argv[2])
from supervise.machine import policy
delay = policy.delay
policy.MIN_DELAY *= second
policy.delay = lambda *args: delay(*args) * second
from supervise.supervisor.startup import main
sys.exit(main())
"""

FAILING = """#!/bin/sh
[ -e backoff/hold ] || exit 1
echo >&3
exec sleep 1000
"""


class Stage:
    """A folder for services and processes; at the end none of them is left."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._processes: list[subprocess.Popen[bytes]] = []
        self.root = Path(self._folder.name)

    def folder(self, name: str) -> Path:
        """For one herald."""
        made = self.root / name
        made.mkdir()
        os.mkfifo(made / "letters")
        return made

    def run(self, argv: Sequence[str | Path], output: Path, stdin: int = subprocess.DEVNULL) -> None:
        """Start a process that ends when it gets TERM."""
        with output.open("wb") as out:
            self._processes.append(subprocess.Popen(argv, stdin=stdin, stdout=out, cwd=self.root))

    def supervise(self, name: str, conf: str, argv: Sequence[str | Path]) -> Service:
        """Have a service supervised by what is installed."""
        (self.root / f"{name}.conf").write_text(conf)
        command = [SUPERVISE, "-F", f"{name}.conf", "-u", f"status/{name}", *argv]
        subprocess.run(command, cwd=self.root, check=True)
        return Service(self.root / "status" / name)

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_: object) -> None:
        services = [Service(status) for status in self.root.glob("status/*")]
        for process in self._processes:
            process.terminate()
        for service in services:
            send(service, b"dx")
        for service in services:
            wait_for(f"{service.name}: the end", lambda service=service: not service.supervised())
        for process in self._processes:
            process.wait(PATIENCE)
        self._folder.cleanup()


def send(service: Service, letters: bytes) -> None:
    """Write to `control`, if a supervise reads it."""
    fifo = service.open_fifo("control")
    if fifo is not None:
        os.write(fifo, letters)
        os.close(fifo)


# Heralds, and who supervises them.


class Herald(Peer):
    """herald.py under a supervisor; `folder` is its own.

    `word` has it say that it is ready, `waiter` is the command that waits for that.
    """

    word = "ready"
    waiter: list[str]

    def __init__(self, name: str, folder: Path, output: Path) -> None:
        super().__init__(name, output, output, None)
        self.folder = folder
        # Kept open: closing it would be an event in the directory of the pidfile.
        self._letters = os.open(folder / "letters", os.O_RDWR | os.O_CLOEXEC)

    def tell(self, word: str) -> int:
        """Have it do something; how often it has told of that before."""
        before = len(self.lines(word))
        os.write(self._letters, word.encode())
        return before

    def told(self, word: str, before: int) -> tuple[int, int]:
        """The pid and the nanoseconds that it tells of that."""
        wait_for(f"{self.name}: {word}", lambda: len(self.lines(word)) > before)
        return self.lines(word)[-1]

    def renew(self) -> None:
        """Have one that has not said yet that it is ready."""

    def watched(self, pid: int) -> bool:
        """Whether a process that waits has set its watches."""
        try:
            return any("inotify wd:" in each.read_text() for each in Path(f"/proc/{pid}/fdinfo").iterdir())
        except FileNotFoundError:
            return False  # it has closed something meanwhile

    def waited(self) -> float:
        """Microseconds from its being ready to the end of who has waited for that."""
        self.renew()
        null = os.open(os.devnull, os.O_WRONLY)
        actions = [(os.POSIX_SPAWN_DUP2, null, 1)]
        pid = os.posix_spawnp(self.waiter[0], self.waiter, os.environ, file_actions=actions)
        os.close(null)
        try:
            wait_for(f"{self.name}: its waiter", lambda: self.watched(pid) and not runs(pid, ASLEEP))
            before = self.tell(self.word)
            _, status = os.waitpid(pid, 0)
            end = time.monotonic_ns()
        except BaseException:
            os.kill(pid, signal.SIGKILL)
            raise
        if status:
            raise SystemExit(f"bench: fatal: {self.name}: its waiter ended with wait status {status}")
        return (end - self.told(self.word, before)[1]) / 1000


class Ours(Herald):
    """One under supervise."""

    def __init__(self, stage: Stage, name: str, conf: str) -> None:
        folder = stage.folder(name)
        self.service = stage.supervise(name, f"[global]\n{conf}\n", [*HERALD, folder])
        self.waiter = [str(SUPERVISE.with_name("svwait")), "-U", self.service.path]
        self._status = Path(self.service.path)
        self._renames = Renames(self._status)
        super().__init__(name, folder, self._status / "__stdout")

    def renew(self) -> None:
        before = len(self.lines("start"))
        send(self.service, b"R")
        wait_for("a restart", lambda: len(self.lines("start")) > before and self.service.status().phase == "starting")

    def changed(self, word: str) -> float:
        """Microseconds from the moment of a change of its main process to the record's new pid."""
        old = self._recorded
        before = self.tell(word)
        seen = self._renames.moment(lambda: self._recorded not in (0, old))
        pid, moment = self.told(word, before)
        if pid != self._recorded:
            raise SystemExit(f"bench: fatal: {word}: the record has pid {self._recorded}, not {pid}")
        if not gone(old):
            os.kill(old, signal.SIGKILL)
        wait_for("the end of the former main process", lambda: gone(old))
        return (seen - moment) / 1000

    @property
    def _recorded(self) -> int:
        return decode((self._status / "status").read_bytes()).pid


class Floor(Herald):
    """One without a supervisor; what waits for it ends as `end` says."""

    word = "renamed"

    def __init__(self, stage: Stage, name: str = "floor", end: str = AT_ONCE) -> None:
        folder = stage.folder(name)
        stage.run([*HERALD, folder], folder / "output")
        self.waiter = [sys.executable, "-c", WAITER + end, str(folder)]
        self._renames = Renames(folder)
        super().__init__(name, folder, folder / "output")

    def changed(self, word: str) -> float:
        """Microseconds from the moment to a file's new name."""
        before = self.tell(word)
        seen = self._renames.moment(lambda: True)
        return (seen - self.told(word, before)[1]) / 1000


class S6(Herald):
    """One under s6-supervise."""

    word = "line"

    def __init__(self, stage: Stage) -> None:
        folder = stage.folder("s6")
        self._service = folder / "service"
        self._service.mkdir()
        (self._service / "notification-fd").write_text("3\n")
        (self._service / "run").write_text(f"#!/bin/sh\nexec {' '.join(HERALD)} {folder}\n")
        (self._service / "run").chmod(0o700)
        stage.run(["s6-supervise", self._service], folder / "output")
        self.waiter = ["s6-svwait", "-U", str(self._service)]
        super().__init__("s6", folder, folder / "output")

    def renew(self) -> None:
        before = len(self.lines("start"))
        subprocess.run(["s6-svc", "-r", self._service], check=True)
        wait_for("s6: a restart", lambda: len(self.lines("start")) > before)

    def watched(self, pid: int) -> bool:
        return any(name.startswith("ftrig1") for name in os.listdir(self._service / "event"))


class Renames:
    """Tells when `status` in a folder has come to be another file."""

    def __init__(self, folder: Path) -> None:
        self._manager = pyinotify.WatchManager()
        self._manager.add_watch(str(folder), pyinotify.IN_MOVED_TO)
        self._poll = select.poll()
        self._poll.register(self._manager.get_fd(), select.POLLIN)

    def moment(self, right: Callable[[], bool]) -> int:
        """The nanoseconds when this process knows that there is another file, and it is the right one."""
        while self._poll.poll(PATIENCE * 1000):
            events = os.read(self._manager.get_fd(), 65536)
            now = time.monotonic_ns()
            if b"status\0" in events and right():
                return now
        raise SystemExit(f"bench: fatal: the record did not change within {PATIENCE} seconds")


def runs(pid: int, seconds: float) -> bool:
    """Whether a process runs within so many seconds from now."""
    before = switches(pid)
    time.sleep(seconds)
    state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return state != "S" or switches(pid) != before


def everything() -> str:
    """The configuration with every key but those of checks, and of whom to tell."""
    return (HERE / "everything.conf").read_text() + f"user : {pwd.getpwuid(os.geteuid()).pw_name}\n"


# The figures.


def in_rounds(rounds: int, measures: dict[str, Callable[[], float]]) -> dict[str, list[float]]:
    """Take all measures in each round, in an order that moves on; more than a second lies between two rounds."""
    times: dict[str, list[float]] = {name: [] for name in measures}
    names = list(measures)
    for number in range(rounds):
        time.sleep(1.1)  # what has run for over a second is restarted at once
        start = number % len(names)
        for name in names[start:] + names[:start]:
            times[name].append(measures[name]())
    return times


def bench_ready(rounds: int) -> None:
    with Stage() as stage:
        peers: list[Herald] = [Ours(stage, "supervise", "notify : yes"), Floor(stage, "python", ""), Floor(stage)]
        if shutil.which("s6-supervise"):
            peers.append(S6(stage))
        times = in_rounds(rounds, {peer.name: peer.waited for peer in peers})
    against_peers("READY=1 to the end of svwait -U", times, {"python": "at most 1.5"})


def bench_main(rounds: int) -> None:
    pidfile = "directory : %(here)s\npidfile : %(program_name)s/pid"
    confs = {"named": "notify : yes", "written": pidfile, "left": pidfile}
    with Stage() as stage:
        floor = Floor(stage)
        changes: list[tuple[Floor | Ours, str]] = [(floor, "renamed"), (floor, "reaped")]
        changes += [(Ours(stage, word, conf), word) for word, conf in confs.items()]
        times = in_rounds(rounds, {word: partial(herald.changed, word) for herald, word in changes})
    for word, title, against, floor_title, limit in (
        ("named", "MAINPID= to the record", "renamed", "rename", ""),
        ("written", "pidfile to the record", "renamed", "rename", ""),
        ("left", "end of the main process to the record", "reaped", "end, rename by the parent", "at most 3"),
    ):
        theirs = f"floor, {floor_title}: {microseconds(times[against])}"
        row(title, microseconds(times[word]), theirs, ratio_of(times[word], times[against]), limit)


def bench_idle(seconds: float) -> None:
    with Stage() as stage:
        folder = stage.folder("idle")
        service = stage.supervise("idle", everything(), [*HERALD, folder])
        herald = Herald("idle", folder, Path(service.path) / "__stdout")
        herald.tell("ready")
        wait_for("idle: ready", lambda: service.status().phase == "ready")
        pid = service.status().supervise_pid or 0
        wait_for("idle: rest", lambda: not runs(pid, 1))
        before = switches(pid)
        time.sleep(seconds)
        figure = f"idle, {seconds:.0f} s, everything configured but a check"
        row(figure, f"{switches(pid) - before} context switches", "", None, "0")


def bench_backoff(second: float) -> None:
    """Many starts of a service that fails at once, under a supervise whose seconds last so many seconds."""
    again = "alarm_interval : 0\nautorestart : always\nrestart_delay_max : 2\n"
    with Stage() as stage:
        folder = stage.folder("backoff")
        program, output = folder / "run", folder / "output"
        program.write_text(FAILING)
        program.chmod(0o700)
        (stage.root / "backoff.conf").write_text(f"{everything()}[backoff]\n{again}")
        options = Options("status/backoff", [str(program)], conf="backoff.conf", conf_named=True)
        hasty = [sys.executable, "-S", "-E", "-c", HASTY, PACKAGES, str(second)]
        stage.run(hasty, output, stdin=told(options))
        wait_for("backoff: the start", lambda: output.read_bytes() == b"\0")
        service = Service(stage.root / "status" / "backoff")
        first = held(service, folder, WARM)
        (folder / "hold").unlink()
        os.kill(service.status().pid, signal.SIGKILL)
        last = held(service, folder, first[0] + STARTS)
    figure = f"{last[0] - first[0]} starts under a backoff, private memory"
    row(figure, f"{last[1]} kB", f"after {first[0]} starts: {first[1]} kB", last[1] / first[1], "at most 1.01")
    row("the same, descriptors", str(last[2]), f"after {first[0]} starts: {first[2]}", last[2] / first[2], "1")


def held(service: Service, folder: Path, target: int) -> tuple[int, int, int]:
    """Have it stay up at its start of this number: that, supervise's private memory in kB, and its descriptors."""
    for number in range(starts(service), target - 1):
        wait_for("backoff: another start", lambda number=number: starts(service) > number)
    (folder / "hold").touch()
    wait_for("backoff: a service that is ready", lambda: service.status().phase == "ready")
    pid = service.status().supervise_pid or 0
    wait_for("backoff: rest", lambda: not runs(pid, 1))
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    private = sum(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty:"))
    return starts(service), private, len(os.listdir(f"/proc/{pid}/fd"))


def starts(service: Service) -> int:
    """How many there have been."""
    state = service.status().state
    return state["totals"]["starts"] if state else 0


def report_memory(file: Path) -> None:
    """The line of what memory.sh printed that bench.py leaves out."""
    sizes = {what: int(size) for what, size in map(str.split, file.read_text().splitlines())}
    ours, theirs = sizes["everything"], sizes["sleep"]
    against = f"python3 -c 'import time; time.sleep(99)': {theirs} kB"
    row("memory, PSS, everything configured", f"{ours} kB", against, ours / theirs, "at most 1.9")


def main() -> int:
    parser = argparse.ArgumentParser(description="Benchmarks of readiness; see docs/performance.md.")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--idle", type=float, default=30.0, metavar="SECONDS")
    parser.add_argument("--memory", metavar="FILE", help="what memory.sh printed")
    parser.add_argument("--long", action="store_true", help="the backoff with whole seconds: half an hour")
    args = parser.parse_args()
    os.environ["LC_ALL"] = "C.UTF-8"
    print("| figure | supervise | against | ratio | must be |")
    print("| --- | --- | --- | --- | --- |")
    bench_ready(args.rounds)
    bench_main(args.rounds)
    bench_idle(args.idle)
    bench_backoff(1.0 if args.long else SECOND)
    if args.memory:
        report_memory(Path(args.memory))
    return 0


if __name__ == "__main__":
    sys.exit(main())
