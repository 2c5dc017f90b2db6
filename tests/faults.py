"""Fail each system call of supervise in turn, and look at what is left once that is over.

    python tests/faults.py [--jobs N] [--phase NAME ...] [--call NAME ...] [--errno NAME ...] [--mode NAME ...]
                           [--number N ...] [--part NAME ...] [--every K] [--early K] [--list] [--verbose]

(`make chaos`)

For each phase the system calls of supervise are recorded once with strace.  Then, for each of them and each error that
it can really return (errnos.py), the phase is run again with strace failing that call: once (`once`), or from then on
for a second (`second`).  Then there must be a supervise, or a start that was refused with one line and exit code 111
and left nothing; exactly one process of the service, a true record and state, letters that are obeyed, no file,
descriptor or zombie too many, and logs that are neither silent nor flooded (scenes.py).  What comes out is a table in
Markdown, the one of docs/reliability.md.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
import zlib
from collections import Counter
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).with_name("support")))
from boxes import CALL, Gone, in_vain, until
from errnos import EXEMPT, INTERPRETER, Exempt, possible
from scenes import FAULT, TRACED, Scene, clean
from scenes_running import (
    Alarm,
    Check,
    Down,
    Exit,
    GiveUp,
    Leave,
    Notify,
    Pause,
    Planned,
    Reload,
    Restart,
    Up,
    Upgrade,
)
from scenes_starting import Adoption, Start, StartDaemon, StartTyped

SCENES: dict[str, type[Scene]] = {
    kind.name: kind
    for kind in (
        *(Start, StartTyped, StartDaemon, Restart, Alarm, Notify, Planned, Down, Up, Reload, Pause, Check),
        *(Exit, GiveUp, Leave, Adoption, Upgrade),
    )
}
ALIKE, EACH = 3, 50  # so many calls that differ in numbers only are tried, and of the others one of so many
NUMBER = re.compile(r"0x[0-9a-f]+|\d+|\{.*\}")
MODES = ("once", "second")
BEFORE, INTERPRETING, LOADING, OURS = "before", "the interpreter's start", "loading", "ours"
LOADERS = {
    *("newfstatat", "fstat", "stat", "lstat", "openat", "read", "lseek", "close", "ioctl", "getdents64", "readlink"),
    *("mmap", "munmap", "brk", "mprotect", "pread64", "rt_sigaction", "fcntl", "getcwd", "access"),
}


class Cell(NamedTuple):
    """One fault: the `number`-th `call` of a phase fails with `errno`; `part` is where in its life the process is."""

    phase: str
    call: str
    number: int
    errno: str
    mode: str
    part: str

    def __str__(self) -> str:
        return f"{self.phase}: {self.call} number {self.number}, {self.errno}, {self.mode}"

    def again(self) -> str:
        """The command that repeats it."""
        return (
            f"python tests/faults.py --phase {self.phase!r} --call {self.call} --number {self.number} "
            f"--errno {self.errno} --mode {self.mode} --early 1"
        )


class Verdict:
    """What came of one cell."""

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self.injected = ""  # the line of strace
        self.failed: list[str] = []  # all of them
        self.part = cell.part  # where in its life the process was at the last of them
        self.refused = False
        self.wrongs: list[str] = []
        self.exempt: Exempt | None = None

    def judge(self) -> None:
        """Take out what is exempt."""
        for exempt in (*EXEMPT, *([INTERPRETER] if self.part == INTERPRETING else [])):
            if self.wrongs and exempt.excuses(self.cell.phase, self.failed, self.wrongs):
                self.exempt = exempt
                self.wrongs = []

    def __str__(self) -> str:
        return f"{self.cell}: {'; '.join(self.wrongs)}\n    {self.injected}\n    {self.cell.again()}"


def record(kind: type[Scene], folder: Path) -> list[str]:
    """The system calls of a phase, in order, up to the one in which supervise waits."""
    scene = kind(folder)
    try:
        box = scene.make()
        scene.ready(box)
        scene.mark(box)
        strace = scene.attach(box, "all", "")
        scene.act(box)
        until(f"{scene.name} without a fault", lambda: scene.reached(box))
        quiet: list[int] = []

        def still() -> bool:
            quiet.append(len(strace.text()))
            return strace.over() or (len(quiet) > 16 and quiet[-1] == quiet[-12])

        until("supervise to wait", still)
        strace.end()
        return [line for line in strace.text().splitlines() if CALL.match(line)]
    finally:
        clean(scene)


def parts(calls: list[str], begins: bool) -> list[str]:
    """Where in its life the process is at each call; `begins`: it begins with an execve that is not its own."""
    found, now = [], BEFORE if begins else OURS
    script = False  # whether the interpreter has got to reading it
    for line in calls:
        name = line.partition("(")[0]
        if now == INTERPRETING and name in ("openat", "newfstatat"):
            if name == "openat" and ("daemon.py" in line or "bin/supervise" in line) and " = -1 " not in line:
                script = True
            elif script and 'supervise", ' not in line and "daemon.py" not in line and "AT_EMPTY_PATH" not in line:
                now = LOADING
        elif now != BEFORE and any(word in line for word in ("memfd", '"status/app', "flock(", "default-conf")):
            now = OURS
        found.append(OURS if now == LOADING and name not in LOADERS else now)
        if name == "execve":
            now, script = INTERPRETING, False
    return found


def cells(phase: str, calls: list[str], early: int) -> list[Cell]:
    """All faults of a phase: of the loading of modules and an interpreter's start every `early`-th with one errno.

    Of calls that are alike, as of a look at every process of this machine, the first ALIKE and every EACH-th.
    """
    counts: dict[str, int] = {}
    alike: Counter[str] = Counter()
    each = 0
    found: list[Cell] = []
    sparse = 0
    for line, part in zip(calls, parts(calls, issubclass(SCENES[phase], Start))):
        call = line.partition("(")[0]
        counts[call] = counts.get(call, 0) + 1
        errnos = possible(call, line) if part != BEFORE else ()
        shape = NUMBER.sub("#", line.partition(" = ")[0])
        alike[shape] += 1
        if part == OURS and alike[shape] > ALIKE and errnos and early > 1:
            each += 1
            if each % EACH:
                continue
        if part != OURS and errnos and early > 1:
            sparse += 1
            if sparse % early:
                continue
            turn = sparse // early
            errno, mode = errnos[turn % len(errnos)], MODES[turn // len(errnos) % 2]
            found.append(Cell(phase, call, counts[call], errno, "once" if errno == "EINTR" else mode, part))
            continue
        for errno in errnos:
            # Again and again EINTR, without a signal, is something that no kernel answers.
            modes = MODES[:1] if errno == "EINTR" else MODES
            found += [Cell(phase, call, counts[call], errno, mode, part) for mode in modes]
    return found


def run(scene: Scene, cell: Cell) -> Verdict:
    """One fault, and the look afterwards.  The scene is not to be used again if anything is wrong."""
    verdict = Verdict(cell)
    try:
        box = scene.box or scene.make()
        scene.ready(box)
        scene.mark(box)
        when = f"{cell.number}+" if cell.mode == "second" else str(cell.number)
        strace = scene.attach(box, cell.call, f"error={cell.errno}:when={when}")
        try:
            scene.act(box)
            in_vain(lambda: strace.over() or strace.injected() or scene.reached(box), 20)
            in_vain(lambda: strace.over() or strace.injected(), 0.5)
            if cell.mode == "second" and strace.injected():
                in_vain(strace.over, FAULT)
        finally:
            strace.end()
        verdict.injected = strace.injected()
        text = strace.text()
        verdict.failed = [line for line in text.splitlines() if "(INJECTED)" in line]
        begins = isinstance(scene, Start)
        if begins and verdict.injected:
            lines = [line for line in text.splitlines() if CALL.match(line)]
            failed = [part for part, line in zip(parts(lines, begins), lines) if "(INJECTED)" in line]
            verdict.part = failed[-1]
        scene.closes = len(verdict.failed) if cell.call == "close" else 0
        verdict.wrongs = scene.look(box)
        verdict.refused = scene.refused
        if len(verdict.failed) > TRACED:
            verdict.wrongs.append(f"busy: {len(verdict.failed)} failed calls in a second")
    except (Gone, OSError, AssertionError) as why:
        verdict.wrongs.append(f"harness: {type(why).__name__}: {why}")
    verdict.judge()
    return verdict


class Sweep:
    """Runs cells in threads, each with a scene of its own that it keeps."""

    def __init__(self, folder: Path, jobs: int, verbose: bool) -> None:
        self.folder, self.jobs, self.verbose = folder, jobs, verbose
        self.stopped = False

    def stop(self, *_: object) -> None:
        """Begin no more cells."""
        self.stopped = True

    def run(self, todo: list[Cell]) -> list[Verdict]:
        waiting = iter(todo)
        verdicts: list[Verdict] = []
        lock = threading.Lock()

        def work() -> None:
            scene: Scene | None = None
            try:
                while True:
                    with lock:
                        cell = next(waiting, None)
                    if cell is None or self.stopped:
                        return
                    scene = scene or SCENES[cell.phase](self.folder)
                    scene, verdict = self.attempt(scene, cell)
                    with lock:
                        verdicts.append(verdict)
                        if verdict.wrongs:
                            print(f"broken: {verdict}", file=sys.stderr, flush=True)
                        elif self.verbose:
                            words = ("refused" if verdict.refused else "held") if verdict.injected else "not reached"
                            why = f", exempt: {verdict.exempt.reason}" if verdict.exempt else ""
                            print(f"{words}: {cell}{why}", file=sys.stderr, flush=True)
            finally:
                if scene:
                    clean(scene)

        threads = [threading.Thread(target=work) for _ in range(min(self.jobs, len(todo)))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return verdicts

    def attempt(self, scene: Scene, cell: Cell) -> tuple[Scene | None, Verdict]:
        """What is wrong once is tried again in a new box: broken is what is wrong twice of three times."""
        verdict = run(scene, cell)
        if not (verdict.wrongs or verdict.exempt or scene.closes or scene.used_up):
            return scene, verdict
        clean(scene)
        if not verdict.wrongs:
            return None, verdict
        other = verdict
        for _ in range(2):
            again = SCENES[cell.phase](self.folder)
            try:
                other = run(again, cell)
            finally:
                clean(again)
            if other.wrongs:
                return None, other
        print(f"once, and not again: {verdict}", file=sys.stderr, flush=True)
        return None, other


def print_row(*columns: object) -> None:
    print("| " + " | ".join(map(str, columns)) + " |", flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=4 * (os.cpu_count() or 1))
    for option in ("--phase", "--call", "--errno", "--mode", "--part"):
        parser.add_argument(option, nargs="+", default=[])
    parser.add_argument("--number", nargs="+", default=[], type=int)
    parser.add_argument("--every", type=int, default=1, metavar="K", help="only one of K cells")
    parser.add_argument("--early", type=int, default=5, metavar="K", help="the same for calls that load modules")
    parser.add_argument("--list", action="store_true", help="show the cells, and do nothing")
    parser.add_argument("--verbose", action="store_true", help="also show what held")
    args = parser.parse_args()
    unknown = set(args.phase) - set(SCENES)
    if unknown:
        raise SystemExit(f"faults: fatal: no phase {sorted(unknown)}; there are: {', '.join(SCENES)}")
    return args


def wanted(args: argparse.Namespace, cell: Cell) -> bool:
    """Whether the command line asks for this cell."""
    return (
        (not args.call or cell.call in args.call)
        and (not args.errno or cell.errno in args.errno)
        and (not args.mode or cell.mode in args.mode)
        and (not args.number or cell.number in args.number)
        and (not args.part or cell.part in args.part)
        and zlib.crc32(str(cell).encode()) % args.every == 0
    )


def main() -> int:
    args = arguments()
    if not shutil.which("strace"):
        raise SystemExit("faults: fatal: there is no strace")
    began = time.monotonic()
    reasons: Counter[str] = Counter()
    broken = 0
    print_row("phase", "system calls", "cells", "reached", "refused in order", "broken", "exempt")
    print_row(*["---"] * 7)
    with tempfile.TemporaryDirectory() as name:
        sweep = Sweep(Path(name), args.jobs, args.verbose)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, sweep.stop)
        for phase in args.phase or SCENES:
            calls = record(SCENES[phase], Path(name))
            todo = [cell for cell in cells(phase, calls, args.early) if wanted(args, cell)]
            if args.list:
                print("\n".join(map(str, todo)))
                continue
            verdicts = sweep.run(todo)
            if sweep.stopped:
                return 130
            bad = sum(bool(verdict.wrongs) for verdict in verdicts)
            reached = [verdict for verdict in verdicts if verdict.injected]
            refused = sum(verdict.refused and not verdict.wrongs for verdict in reached)
            exempt = [verdict.exempt.reason for verdict in verdicts if verdict.exempt]
            print_row(phase, len(calls), len(todo), len(reached), refused, bad, len(exempt))
            reasons.update(exempt)
            broken += bad
    for reason, count in reasons.items():
        print(f"- {count}: {reason}")
    print(f"{time.monotonic() - began:.0f} seconds", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
