"""Many services: svall beside supervisord, s6-svscan and runsvdir, in turn; the figures of docs/performance.md.

    python bench/many.py [--services 1,10,100,500] [--rounds N] [--idle SECONDS]

The service is probe.c, which notes the moment of its first instruction.  Of each number of services, for each
supervisor: the time from executing it until all services are; from killing all of them at once until all run again; of
the command that shows them all; and of everything that supervises the memory (private, and PSS), how often it is
switched to while nothing happens, and the open descriptors.  Times are medians of the rounds, the rest is of the last
round.  What is not installed is left out: supervisor (PyPI), s6 and runit (Debian).
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
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from bench import compile_c

SVALL = Path(sys.executable).with_name("svall")
SUPERVISORD, SUPERVISORCTL = (
    str(path) if (path := Path(sys.executable).with_name(name)).exists() else name
    for name in ("supervisord", "supervisorctl")
)
PATIENCE = 120.0  # seconds until something that must happen is given up
SETTLED = 2.5  # seconds from the last start until it counts as one: supervisord and supervise wait for 1, runsv as well
SUPERVISORD_CONF = """
[unix_http_server]
file = {folder}/socket
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl = unix://{folder}/socket
[supervisord]
minfds = 4096
logfile = {folder}/log
pidfile = {folder}/pid
"""


class Figures(NamedTuple):
    """What everything that supervises has: kB of memory, switches in the idle time, descriptors, processes."""

    private: int
    pss: int
    switches: int
    descriptors: int
    processes: int


class Stage:
    """A folder for the services of one supervisor, and what they have noted there."""

    def __init__(self, name: str, count: int) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"bench-{name}-"))
        self.name = name
        self.count = count
        self.names = [f"s{number:03}" for number in range(count)]
        self.output = self.folder / "output"
        self.output.touch()
        self.probe, _ = compile_c(self.folder, self.output)
        self.process: subprocess.Popen[bytes] | None = None

    def starts(self) -> list[tuple[int, int]]:
        """The pid and the moment of each start, in nanoseconds."""
        lines = (line.split() for line in self.output.read_text().split("\n")[:-1])
        return [(int(pid), int(when)) for what, pid, when in lines if what == "start"]

    def wait_starts(self, wanted: int) -> int:
        """Wait for so many starts; the moment of the last."""
        self.wait(f"{wanted} starts, of which there are {{}}", lambda: self.output.read_bytes().count(b"\n") >= wanted)
        return max(when for _, when in self.starts())

    def wait(self, what: str, found: Callable[[], object]) -> None:
        """Poll; the times come from the probes, so that it adds nothing to them."""
        end = time.monotonic() + PATIENCE
        while not found():
            if time.monotonic() > end:
                raise SystemExit(f"bench: fatal: {self.name}: in vain: {what.format(len(self.starts()))}")
            time.sleep(0.02)

    def run(self, *words: str | Path) -> None:
        """Execute the supervisor, and go on."""
        with open(self.folder / "said", "ab") as said:
            self.process = subprocess.Popen(words, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=said, stderr=said)

    def running(self) -> list[int]:
        """The services' pids."""
        return [pid for pid, _ in self.starts()[-self.count :]]

    def supervising(self) -> set[int]:
        """The parents of all services, and who has been executed, if it is still there."""
        found = {parent(pid) for pid in self.running()}
        if self.process and self.process.poll() is None:
            found.add(self.process.pid)
        return found

    def clean(self, supervising: set[int]) -> None:
        """End what is left of those, and of the services, by force; first those who would start others."""
        end = time.monotonic() + 20
        while (left := [*filter(is_there, supervising), *self.left()]) and time.monotonic() < end:
            time.sleep(0.05)
            if self.process:
                self.process.poll()
        while left:
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            left = self.left()
        if self.process:
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def left(self) -> list[int]:
        """The services that run, whenever they were started."""
        return [pid for pid, _ in self.starts() if is_there(pid) and program(pid) == str(self.probe)]


class Kind(NamedTuple):
    """A supervisor of many: how its services are made and started, shown, and ended."""

    name: str
    start: Callable[[Stage], None]
    status: Callable[[Stage], list[str | Path]]
    end: Callable[[Stage], None]
    program: str
    stays: bool = True  # what is executed


def start_ours(stage: Stage) -> None:
    text = "".join(f"[{name}]\ncommand : {stage.probe}\n" for name in stage.names)
    (stage.folder / "supervise.conf").write_text(text)
    stage.run(SVALL, "up")


def end_ours(stage: Stage) -> None:
    subprocess.run([SVALL, "down"], cwd=stage.folder, check=True)


def start_supervisord(stage: Stage) -> None:
    text = SUPERVISORD_CONF.format(folder=stage.folder)
    text += "".join(f"[program:{name}]\ncommand = {stage.probe}\nautorestart = true\n" for name in stage.names)
    (stage.folder / "supervisord.conf").write_text(text)
    stage.run(SUPERVISORD, "-n", "-c", "supervisord.conf")


def supervisord_status(stage: Stage) -> list[str | Path]:
    return [SUPERVISORCTL, "-c", "supervisord.conf", "status"]


def directories(stage: Stage) -> Path:
    """A directory a service, with `run` in it, as s6 and runit have them."""
    above = stage.folder / "services"
    for name in stage.names:
        (above / name).mkdir(parents=True)
        (above / name / "run").symlink_to(stage.probe)
    return above


def start_s6(stage: Stage) -> None:
    stage.run("s6-svscan", "-c", "1000", directories(stage))


def start_runit(stage: Stage) -> None:
    stage.run("runsvdir", directories(stage))


def tell(number: int) -> Callable[[Stage], None]:
    """End it by a signal."""

    def end(stage: Stage) -> None:
        assert stage.process
        stage.process.send_signal(number)

    return end


def each(stage: Stage) -> list[str]:
    return [f"{stage.folder}/services/{name}" for name in stage.names]


def s6_status(stage: Stage) -> list[str | Path]:
    """It shows one service; a shell has it show each."""
    return ["sh", "-c", 'for one; do s6-svstat "$one" || exit; done', "sh", *each(stage)]


def kinds() -> list[Kind]:
    """Those that are installed."""

    found = [
        Kind("svall", start_ours, lambda stage: [SVALL, "status"], end_ours, str(SVALL), False),
        Kind("supervisor", start_supervisord, supervisord_status, tell(signal.SIGTERM), SUPERVISORD),
        Kind("s6-svscan", start_s6, s6_status, tell(signal.SIGTERM), "s6-svscan"),
        Kind("runsvdir", start_runit, lambda stage: ["sv", "status", *each(stage)], tell(signal.SIGHUP), "runsvdir"),
    ]
    for kind in found:
        if not shutil.which(kind.program):
            print(f"bench: warning: {kind.name} is not installed: left out", file=sys.stderr)
    return [kind for kind in found if shutil.which(kind.program)]


def is_there(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def program(pid: int) -> str:
    """What a process executes."""
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return ""


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def numbers(pid: int, file: str, *keys: str) -> int:
    """The sum of what lines of a file of /proc/PID have behind these keys."""
    lines = (line.split() for line in Path(f"/proc/{pid}/{file}").read_text().splitlines())
    return sum(int(words[1]) for words in lines if words[0].rstrip(":") in keys)


def figures(pids: set[int], idle: float) -> Figures:
    """What these processes have, and do in so many seconds in which nothing happens."""

    def switches() -> int:
        keys = "voluntary_ctxt_switches", "nonvoluntary_ctxt_switches"
        return sum(numbers(pid, "status", *keys) for pid in pids)

    private = sum(numbers(pid, "smaps_rollup", "Private_Clean", "Private_Dirty") for pid in pids)
    pss = sum(numbers(pid, "smaps_rollup", "Pss") for pid in pids)
    descriptors = sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids)
    before = switches()
    time.sleep(idle)
    return Figures(private, pss, switches() - before, descriptors, len(pids))


def shown(stage: Stage, kind: Kind) -> float:
    """Milliseconds from executing what shows all services to its end."""
    words = kind.status(stage)
    began = time.monotonic_ns()
    found = subprocess.run(words, cwd=stage.folder, stdout=subprocess.PIPE, check=True).stdout
    took = (time.monotonic_ns() - began) / 1e6
    if len(found.splitlines()) < stage.count:
        raise SystemExit(f"bench: fatal: {kind.name} shows {len(found.splitlines())} of {stage.count} services")
    return took


def measure(kind: Kind, count: int, idle: float) -> tuple[float, float, float, Figures | None]:
    """Milliseconds of a start, of a restart and of the status; the rest where there is an idle time."""
    stage = Stage(kind.name, count)
    supervising: set[int] = set()
    try:
        began = time.monotonic_ns()
        kind.start(stage)
        executed = stage.wait_starts(count) - began
        supervising |= stage.supervising()
        time.sleep(SETTLED)
        if stage.process and not kind.stays:
            stage.process.wait()
        found = figures(stage.supervising(), idle) if idle else None
        status = statistics.median(shown(stage, kind) for _ in range(3))
        began = time.monotonic_ns()
        for pid in stage.running():
            os.kill(pid, signal.SIGKILL)
        restarted = stage.wait_starts(2 * count) - began
    finally:
        kind.end(stage)
        stage.clean(supervising)
    return executed / 1e6, restarted / 1e6, status, found


def main() -> int:
    parser = argparse.ArgumentParser(description="Benchmarks of many services; see docs/performance.md.")
    parser.add_argument("--services", default="1,10,100,500")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--idle", type=float, default=10.0, help="seconds")
    args = parser.parse_args()
    os.environ["LC_ALL"] = "C.UTF-8"
    print(
        "| services | supervisor | executed | restarted | status | private | PSS | switches | descriptors | processes |"
    )
    print("|" + " --- |" * 10)
    for count in map(int, args.services.split(",")):
        times: dict[str, list[tuple[float, float, float]]] = {}
        rest: dict[str, Figures] = {}
        for number in range(args.rounds):
            for kind in kinds():
                *took, found = measure(kind, count, args.idle if number == args.rounds - 1 else 0)
                times.setdefault(kind.name, []).append(tuple(took))  # type: ignore[arg-type]
                if found:
                    rest[kind.name] = found
        for name, of_all in times.items():
            cells = " | ".join(f"{statistics.median(column):.0f} ms" for column in zip(*of_all))
            private, pss, *more = rest[name]
            print(
                f"| {count} | {name} | {cells} | {private} kB | {pss} kB | {' | '.join(map(str, more))} |", flush=True
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
