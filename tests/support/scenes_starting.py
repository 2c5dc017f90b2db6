"""Starts of supervise, each with system calls that fail: the scenes of faults.py."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from box import SUPERVISE, Box
from boxes import copies, in_vain, lock_holder, murder, seen, settled, until
from scenes import AFTER, Scene, Strace

from supervise.protocol.options import Options
from supervise.supervisor.handoff import interpreter, options_fd

HELD = 'kill -STOP $$; exec "$@"'  # for sh: a program that can be attached to before its first instruction
# A script for sh starts Python as this does; what sh itself cannot do is not supervise's.
PYTHON = [sys.executable, "-I", "-S"] if Path(SUPERVISE).read_bytes().startswith(b"#!/bin/sh") else [sys.executable]


class Start(Scene):
    """From executing `supervise --foreground` to a service that runs."""

    name = "start"
    used_up = True

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.process: subprocess.Popen[bytes] | None = None
        self.report = -1

    def begin(self, box: Box) -> None:
        pass

    def words(self, box: Box) -> list[str]:
        return [*PYTHON, SUPERVISE, "--foreground", "-u", f"status/{box.name}", *self.command]

    def spawn(self, box: Box) -> subprocess.Popen[bytes]:
        """The program, stopped before its first instruction."""
        with (self.aside / "err").open("wb") as err:
            process = subprocess.Popen(
                ["sh", "-c", HELD, "sh", *self.words(box)],
                cwd=box.folder,
                env=box.env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=err,
            )
        return process

    def attach(self, box: Box, call: str, inject: str) -> Strace:
        self.process = self.spawn(box)
        pid = self.process.pid
        until("the program to be stopped", lambda: seen(pid).state == "T")
        return Strace(self.aside, pid, call, inject)

    def act(self, box: Box) -> None:
        assert self.process
        os.kill(self.process.pid, signal.SIGCONT)

    def mark(self, box: Box) -> None:
        super().mark(box)
        self.found = self.contents(box)

    def contents(self, box: Box) -> dict[str, bytes | None]:
        """What is in the directory, but for the logs."""
        found: dict[str, bytes | None] = {}
        for path in sorted(box.folder.rglob("*")):
            name = str(path.relative_to(box.folder))
            if not path.name.startswith("supervise.log"):
                found[name] = path.read_bytes() if path.is_file() and path.name in ("status", "state") else None
        return found

    def ended(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def reached(self, box: Box) -> bool:
        return self.ended() or (settled(box) and "service " in box.log()[self.sizes[0] :])

    def failed(self) -> tuple[int, list[str]] | None:
        """The exit code and what was printed, of a start that was refused."""
        if not self.ended():
            return None
        assert self.process
        return self.process.returncode, (self.aside / "err").read_text(errors="replace").splitlines()

    def look(self, box: Box) -> list[str]:
        in_vain(lambda: self.reached(box), AFTER)
        failed = self.failed()
        self.refused = failed is not None
        if failed is None:
            return self.carried(box)
        code, lines = failed
        problems = [] if code == 111 else [f"exit code: {code}"]
        # A copy of the logs, in the foreground, is not what the program says.
        lines = [line for line in lines if not line.startswith(("[NOTICE] ", "[WARNING] ", "[FATAL] "))]
        fatal = [line for line in lines if line.startswith("supervise: fatal: ")]
        if len(fatal) != 1 or any(not line.startswith("supervise: ") for line in lines):
            problems.append(f"stderr: {lines}")
        return problems + self.untouched(box)

    def carried(self, box: Box) -> list[str]:
        """What is wrong where the start succeeded in spite of the fault."""
        return super().look(box)

    def untouched(self, box: Box) -> list[str]:
        """What is wrong where the start was refused: nothing runs, nothing is left, the next start works."""
        problems = []
        if in_vain(lambda: lock_holder(box) == 0, 5):
            problems.append("left: supervise runs")
        if copies(box) != self.before:
            problems.append(f"copies: {copies(box)}, and before {self.before}")
        found = self.contents(box)
        if found != self.found:
            every = sorted({*found, *self.found})
            names = [name for name in every if found.get(name, b"-") != self.found.get(name, b"-")]
            problems.append(f"left: {' '.join(names)}")
        return problems or self.second(box)

    def second(self, box: Box) -> list[str]:
        """The start after one that was refused."""
        done = box.run("-u", f"status/{box.name}", *self.command)
        if done.returncode != 0:
            return [f"second start: exit code {done.returncode}: {done.stderr}"]
        if in_vain(lambda: settled(box), AFTER):
            return [f"second start: copies {copies(box)}"]
        if self.before and copies(box) != self.before:
            return ["second start: not taken over"]
        return []

    def letters(self, box: Box) -> list[str]:
        self.open = None  # it may be another kind of start than the one that was measured
        return super().letters(box)

    def drop(self) -> None:
        if self.process:
            for number in (signal.SIGKILL, signal.SIGCONT):
                try:
                    os.kill(self.process.pid, number)
                except ProcessLookupError:
                    pass
            self.process.wait()
            self.process = None
        if self.report >= 0:
            os.close(self.report)
            self.report = -1
        super().drop()


class StartTyped(Start):
    """The command that the user types, without --foreground: until it returns."""

    name = "start, the command"

    def words(self, box: Box) -> list[str]:
        return [*PYTHON, SUPERVISE, "-u", f"status/{box.name}", *self.command]

    def reached(self, box: Box) -> bool:
        return self.ended()

    def failed(self) -> tuple[int, list[str]] | None:
        found = super().failed()
        return found if found and found[0] != 0 else None


class StartDaemon(Start):
    """The process that such a command leaves, from its first instruction."""

    name = "start, the daemon"

    def spawn(self, box: Box) -> subprocess.Popen[bytes]:
        shown = ["-u", f"status/{box.name}", *self.command]
        task = options_fd(Options(f"status/{box.name}", list(self.command)))
        self.report, writing = os.pipe()
        os.set_blocking(self.report, False)
        self.byte = b""
        try:
            with (self.aside / "err").open("wb") as err:
                return subprocess.Popen(
                    ["sh", "-c", HELD, "sh", *interpreter(shown)],
                    cwd=box.folder,
                    env=box.env,
                    stdin=task,
                    stdout=writing,
                    stderr=err,
                )
        finally:
            os.close(task)
            os.close(writing)

    def reported(self) -> bytes:
        try:
            self.byte = self.byte or os.read(self.report, 1)
        except BlockingIOError:
            pass
        return self.byte

    def reached(self, box: Box) -> bool:
        return self.ended() or (self.reported() != b"" and settled(box))

    def failed(self) -> tuple[int, list[str]] | None:
        said = self.reported()
        found = super().failed()
        if said == b"\0":  # the caller has been told that it runs
            return None
        if found and not said:
            # What supervise.py says and does then.
            last = "".join(found[1][-1:])
            return 111, [f"supervise: fatal: cannot supervise status/{self.the_box.name}: the daemon ended: {last}"]
        return found


class Adoption(Start):
    """A start where the service still runs."""

    name = "adoption"
    used_up = False

    def begin(self, box: Box) -> None:
        box.start(*self.command)
        until("a service", lambda: settled(box))
        murder(box)

    def ready(self, box: Box) -> None:
        if lock_holder(box):
            until("a service", lambda: settled(box))
            murder(box)
        if self.process:
            self.process.wait()
