"""Kill supervise before each of its system calls in turn, start it again, and look at what is left.

    python tests/chaos.py [--jobs N] [--every N] [--early N] [PHASE ...]      (`make chaos`)

For each phase the system calls of supervise are recorded once with strace.  Then, for each of them, the phase is run
again in a folder of its own, with strace told to kill supervise (SIGKILL) as it enters that call: the n-th of its
name.  Then supervise is started again as a user would, where there is none (an upgrade leaves a copy of the old one),
and there must be exactly one supervise and one process of the service, a record of 20 valid bytes that names it, a
FIFO whose letters are obeyed, and no file that does not belong there.  What comes out is a table in Markdown, the one
of docs/reliability.md.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).with_name("support")))
from box import Box
from boxes import (
    CALL,
    FILES,
    PATIENCE,
    SERVICE,
    Gone,
    copies,
    destroy,
    in_vain,
    lock_holder,
    make_box,
    murder,
    settled,
    until,
    wants_down,
)

from supervise.protocol.record import RecordError


class Traced:
    """strace on one process: from its start (`argv`) or attached to it (`pid`); ended with `end`."""

    def __init__(self, box: Box, inject: tuple[str, int] | None, argv: list[str] | None = None, pid: int = 0) -> None:
        self.box = box
        self.output = box.folder / "trace"
        said = box.folder / "said"
        words = ["strace", "-o", str(self.output), "-e", f"trace={inject[0] if inject else 'all'}"]
        if inject:
            words += [f"--inject={inject[0]}:signal=KILL:when={inject[1]}"]
        words += ["-p", str(pid)] if pid else ["--", *(argv or [])]
        with said.open("wb") as err:
            self.process = subprocess.Popen(
                words, cwd=box.folder, env=box.env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=err
            )
        if pid:
            until("strace to attach", lambda: "attached" in said.read_text())

    def over(self) -> bool:
        """Whether the traced process has ended."""
        return self.process.poll() is not None

    def end(self) -> None:
        """End the trace; a process that it was attached to goes on."""
        if not self.over():
            self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def calls(self) -> list[str]:
        """The lines of the trace that are system calls."""
        return [line for line in self.output.read_text(errors="replace").splitlines() if CALL.match(line)]


class Phase:
    """A piece of supervise's life: `prepare` what comes before, `act`, and `done` says when it is over."""

    name = ""
    attach = True
    resume = False
    survives = False  # whether there may be a supervise when the one that is traced was killed

    def prepare(self, box: Box) -> None:
        box.start(*SERVICE)
        until("a service", lambda: settled(box))

    def trace(self, box: Box, inject: tuple[str, int] | None) -> Traced:
        """Begin to trace, and set off what is traced."""
        traced = Traced(box, inject, pid=box.supervisor)
        try:
            self.act(box)
        except OSError:
            pass  # killed as soon as it was attached to: nobody reads the FIFO
        return traced

    def act(self, box: Box) -> None:
        raise NotImplementedError

    def done(self, box: Box) -> bool:
        raise NotImplementedError


class Start(Phase):
    """From executing `supervise` to a service that runs."""

    name = "start"
    attach = False

    def prepare(self, box: Box) -> None:
        pass

    def trace(self, box: Box, inject: tuple[str, int] | None) -> Traced:
        program = str(Path(sys.executable).with_name("supervise"))
        words = [sys.executable, "-I", "-S", program, "--foreground", "-u", f"status/{box.name}", *SERVICE]
        return Traced(box, inject, argv=words)

    def done(self, box: Box) -> bool:
        return settled(box) and "service started" in box.log()


class Adoption(Start):
    """The same where the service still runs."""

    name = "adoption"

    def prepare(self, box: Box) -> None:
        Phase.prepare(self, box)
        murder(box)

    def done(self, box: Box) -> bool:
        return settled(box) and "taken over" in box.log()


class Restart(Phase):
    """The service is killed after more than a second, so its successor is started at once."""

    name = "restart"

    def prepare(self, box: Box) -> None:
        super().prepare(box)
        self.old = box.pid
        time.sleep(1.05)  # so long must it have run

    def act(self, box: Box) -> None:
        os.kill(self.old, signal.SIGKILL)

    def done(self, box: Box) -> bool:
        return settled(box) and box.log().count("service started") == 2


class Stop(Phase):
    """The letter `d`; then a normal start, which means up."""

    name = "stop (d)"

    def act(self, box: Box) -> None:
        box.control("d")

    def done(self, box: Box) -> bool:
        return not copies(box) and box.record.pid == 0 and "as asked" in box.log()


class StopResume(Stop):
    """The letter `d`; then a start with --resume: it stays down, if that was written."""

    name = "stop (d), --resume"
    resume = True


class StopExit(Phase):
    """The letters `dx`."""

    name = "stop (dx)"

    def act(self, box: Box) -> None:
        box.control("dx")

    def done(self, box: Box) -> bool:
        return lock_holder(box) == 0


class Upgrade(Phase):
    """The letter `e`; killed after the exec and before it obeys, supervise is still there, as a copy of the old one."""

    name = "upgrade"
    survives = True

    def act(self, box: Box) -> None:
        box.control("e")

    def done(self, box: Box) -> bool:
        return "supervise replaced" in box.log()


PHASES: dict[str, type[Phase]] = {
    kind.name: kind for kind in (Start, Restart, Stop, StopResume, StopExit, Adoption, Upgrade)
}


def heir(box: Box) -> int:
    """Wait until it is clear who comes after a supervise that was killed: its pid, 0 for nobody."""

    def in_charge() -> bool:
        lockers = box.lockers()
        try:
            named = json.loads((box.status / "state").read_text())["supervise_pid"]
        except (OSError, ValueError):
            named = 0
        return not lockers or lockers == [named]

    until("one supervise, or none", in_charge)
    return box.supervisor


def record_calls(kind: type[Phase], folder: Path) -> list[str]:
    """The system calls of a phase, in order, up to the one in which supervise waits."""
    box, phase = make_box(folder), kind()
    try:
        phase.prepare(box)
        traced = phase.trace(box, None)
        until(f"{phase.name} without a kill", lambda: phase.done(box) or (traced.over() and phase.done(box)))
        quiet: list[int] = []

        def still() -> bool:
            quiet.append(len(traced.calls()))
            return len(quiet) > 12 and quiet[-1] == quiet[-10]

        until("supervise to wait", still)
        traced.end()
        return traced.calls()
    finally:
        destroy(box)


def points(calls: list[str], early: int, every: int) -> list[tuple[str, int]]:
    """(name, which of that name) of the calls to kill at: every `every`th, and every `early`th of an interpreter's.

    An interpreter's start-up is what comes after an execve and before the status directory is first touched.
    """
    counts: dict[str, int] = {}
    found = []
    starting = False
    for index, line in enumerate(calls):
        match = CALL.match(line)
        name = match.group(1) if match else ""
        counts[name] = counts.get(name, 0) + 1
        if name == "execve":
            starting = True
        elif "memfd" in line or "status/app" in line or name == "flock" or "boot_id" in line:
            starting = False
        if index % (early if starting else every) == 0 and name not in ("exit_group", "restart_syscall"):
            found.append((name, counts[name]))
    return found


class Verdict:
    """What was left after one kill: the words of `wrong` are columns of the table."""

    def __init__(self, phase: str, point: tuple[str, int]) -> None:
        self.phase, self.point = phase, point
        self.killed = False
        self.heir = 0  # the supervise that was still there
        self.wrong: list[str] = []
        self.detail = ""

    def __str__(self) -> str:
        name, number = self.point
        return f"{self.phase}, killed before {name} number {number}: {', '.join(self.wrong)}; {self.detail}"


COLUMNS = ("two copies", "none", "bad record", "bad FIFO", "strays", "no start")


def try_kill(kind: type[Phase], point: tuple[str, int], folder: Path) -> Verdict:
    """One run with a kill at one system call, and the look afterwards."""
    box, phase, verdict = make_box(folder), kind(), Verdict(kind.name, point)
    try:
        phase.prepare(box)
        traced = phase.trace(box, point)
        in_vain(lambda: traced.over() or phase.done(box), PATIENCE)
        # It may be done and yet have a last line to write, before which it is to be killed.
        in_vain(traced.over, 0.5)
        verdict.killed = "killed by SIGKILL" in traced.output.read_text(errors="replace")
        if not traced.over() and lock_holder(box):
            murder(box)
        traced.end()
        if phase.survives:
            verdict.heir = heir(box)
        elif (box.status / "lock").exists():
            until("the lock to be free", lambda: lock_holder(box) == 0)
        look(box, phase, verdict)
    except Gone as what:
        verdict.wrong.append("no start")
        verdict.detail = str(what)
    finally:
        destroy(box)
    return verdict


def look(box: Box, phase: Phase, verdict: Verdict) -> None:
    """Start supervise again, unless there is one, and fill in the verdict."""
    options = ("--resume",) if phase.resume else ()
    end = time.monotonic() + PATIENCE
    done = subprocess.CompletedProcess[str]([], 0, "", "")
    while not verdict.heir:
        done = box.run(*options, "-u", f"status/{box.name}", *SERVICE, timeout=PATIENCE)
        # The service may hold a copy of the lock's descriptor for the moment between vfork and exec.
        if done.returncode == 0 or "held by" not in done.stderr or time.monotonic() > end:
            break
    if done.returncode != 0:
        verdict.wrong.append("no start")
        verdict.detail = done.stderr.strip()
        return
    down = phase.resume and wants_down(box)
    if in_vain(lambda: not copies(box) and box.pid == 0 if down else settled(box), 10):
        count = len(copies(box))
        verdict.wrong.append("two copies" if count > (0 if down else 1) else "none" if not down else "bad record")
        if count == 1 and not down:
            verdict.wrong[-1] = "bad record"
        verdict.detail = f"{count} copies: {copies(box)}; log: {box.log()} {box.warnings}"
    try:
        if len((box.status / "status").read_bytes()) != 20 or (not down and box.pid not in copies(box)):
            verdict.wrong.append("bad record")
    except (OSError, RecordError):
        verdict.wrong.append("bad record")
    try:
        box.control("s")
        if in_vain(lambda: not box.record.alarms, 10):
            verdict.wrong.append("bad FIFO")
    except OSError as why:
        verdict.wrong.append("bad FIFO")
        verdict.detail += str(why)
    if in_vain(lambda: len(box.lockers()) == 1 and verdict.heir in (0, box.supervisor), 10):
        verdict.wrong.append("no start")
        verdict.detail += f"supervises: {box.lockers()}"
    left = {entry.name for entry in box.status.iterdir()} - FILES
    if left and in_vain(lambda: {entry.name for entry in box.status.iterdir()} <= FILES, 10):
        verdict.wrong.append("strays")
        verdict.detail += f"strays: {sorted(left)}"


def sweep(kind: type[Phase], folder: Path, jobs: int, early: int, every: int) -> tuple[int, list[Verdict]]:
    """One phase: how many system calls it has, and what came of the kills."""
    calls = record_calls(kind, folder)
    with ThreadPoolExecutor(jobs) as pool:
        tasks = [pool.submit(try_kill, kind, point, folder) for point in points(calls, early, every)]
        return len(calls), [task.result() for task in tasks]


def print_row(*cells: object) -> None:
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("phases", nargs="*", metavar="PHASE", help=f"of: {', '.join(PHASES)} (default: all)")
    parser.add_argument("--jobs", type=int, default=2 * (os.cpu_count() or 1))
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every N-th system call")
    parser.add_argument("--early", type=int, default=20, metavar="N", help="the same while an interpreter starts")
    args = parser.parse_args()
    if not shutil.which("strace"):
        raise SystemExit("chaos: fatal: there is no strace")
    bad: list[Verdict] = []
    began = time.monotonic()
    print_row("phase", "system calls", "kills tried", *COLUMNS)
    print_row(*["---"] * (3 + len(COLUMNS)))
    with tempfile.TemporaryDirectory() as name:
        for phase in args.phases or PHASES:
            count, verdicts = sweep(PHASES[phase], Path(name), args.jobs, args.early, args.every)
            tried = sum(verdict.killed for verdict in verdicts)
            print_row(phase, count, tried, *(sum(word in one.wrong for one in verdicts) for word in COLUMNS))
            bad += [verdict for verdict in verdicts if verdict.wrong]
            heirs = sum(verdict.killed and verdict.heir > 0 for verdict in verdicts)
            if heirs:
                print(f"{phase}: after {heirs} kills there was a supervise still", file=sys.stderr)
    for verdict in bad:
        print(verdict, file=sys.stderr)
    print(f"{time.monotonic() - began:.0f} seconds", file=sys.stderr)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
