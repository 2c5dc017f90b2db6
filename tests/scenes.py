"""The pieces of supervise's life that faults.py fails system calls in, and what must be true after each.

A scene keeps its box through many faults, as long as nothing is wrong; after that it makes a new one.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from boxes import FILES, SERVICE, Gone, copies, destroy, in_vain, lock_holder, make_box, murder, seen, settled, until
from conftest import SUPERVISE, Box
from system import children

from supervise.handoff import interpreter, told
from supervise.options import Options
from supervise.record import DOWN, UP, RecordError, decode
from supervise.state import StateError
from supervise.state import decode as decode_state

FAULT = 1.0  # seconds that a fault lasts that happens more than once
AFTER = 12.0  # seconds after a fault until everything must be in order; what is tried again, is every five
LOGGED = 16384  # bytes that one fault may cost in the logs
TRACED = 4000  # calls of one kind that are not yet a busy loop
HELD = 'kill -STOP $$; exec "$@"'  # for sh: a program that can be attached to before its first instruction


class Strace:
    """strace, attached to a process; `inject` as strace has it, or None to record every call."""

    def __init__(self, aside: Path, pid: int, call: str = "all", inject: str = "") -> None:
        self.pid = pid
        self.output = aside / "trace"
        self.output.unlink(missing_ok=True)
        said = aside / "said"
        words = ["strace", "-o", str(self.output), "-s", "80", "-e", f"trace={call},execve,openat", "-p", str(pid)]
        words += [f"--inject={call}:{inject}"] if inject else []
        with said.open("wb") as err:
            self.process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=err, start_new_session=True
            )
        try:
            until("strace to attach", lambda: self.over() or "attached" in said.read_text(), 20)
        except Gone:
            self.end()
            raise

    def over(self) -> bool:
        """Whether the traced process has ended."""
        return self.process.poll() is not None

    def text(self) -> str:
        return self.output.read_text(errors="replace") if self.output.exists() else ""

    def injected(self) -> str:
        """The first call that was failed, as strace shows it; nothing if none was."""
        return next((line for line in self.text().splitlines() if "(INJECTED)" in line), "")

    def end(self) -> None:
        """Let go of the process, which goes on.

        It is stopped meanwhile: strace would leave a call that it was about to fail with an error of its own (ENOSYS).
        """
        try:
            if not self.over() and Path(f"/proc/{self.pid}").exists():
                os.kill(self.pid, signal.SIGSTOP)
                in_vain(lambda: self.over() or seen(self.pid).state in "tTZ-", 5)
                in_vain(lambda: self.over() or "--- stopped by SIGSTOP" in self.text()[-4000:], 2)
        except ProcessLookupError:
            pass
        try:
            if not self.over():
                self.process.terminate()
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        finally:
            try:
                os.kill(self.pid, signal.SIGCONT)
            except ProcessLookupError:
                pass


def descriptors(pid: int) -> Counter[str]:
    """What a process has open, by what it is."""
    found: Counter[str] = Counter()
    try:
        for name in os.listdir(f"/proc/{pid}/fd"):
            try:
                found[os.readlink(f"/proc/{pid}/fd/{name}").partition(":[")[0]] += 1
            except OSError:
                pass
    except OSError:
        pass
    return found


class Scene:
    """`ready` what is before, `act`, and `reached` says when it is over; then `look` at what is left."""

    name = ""
    up = True  # whether the service runs afterwards
    other = False  # whether that is another process than before
    said: tuple[str, ...] = ()  # what is in one of the logs afterwards
    conf = ""
    command = SERVICE
    returns = False  # whether supervise may be away for a moment
    used_up = False  # whether each fault takes a box of its own

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.box: Box | None = None
        self.aside = Path(tempfile.mkdtemp(dir=folder))
        self.open: Counter[str] | None = None  # descriptors of a supervise at rest
        self.refused = False
        self.closes = 0

    @property
    def the_box(self) -> Box:
        assert self.box
        return self.box

    def make(self) -> Box:
        """A box in which the service runs, at rest."""
        box = self.box = make_box(self.folder)
        if self.conf:
            box.conf(self.conf)
        self.begin(box)
        return box

    def begin(self, box: Box) -> None:
        box.start(*self.command)
        until("a service", lambda: settled(box))
        self.rest(box)

    def rest(self, box: Box) -> None:
        """Wait until supervise has nothing to do, and remember what it has open then."""
        seen: list[Counter[str]] = []

        def still() -> bool:
            holder = lock_holder(box)
            seen.append(descriptors(holder))
            busy = set(children(holder)) - set(copies(box))
            return len(seen) > 10 and not busy and all(one == seen[-1] for one in seen[-10:])

        until("supervise to be at rest", still)
        self.open = seen[-1]

    def drop(self) -> None:
        """Nothing is left of the box."""
        if self.box:
            box, self.box = self.box, None
            for path in (Path("/proc") / name for name in os.listdir("/proc") if name.isdigit()):
                try:
                    inside = os.readlink(path / "cwd") == str(box.folder)
                    if inside and b"supervise" in (path / "cmdline").read_bytes():
                        os.kill(int(path.name), signal.SIGKILL)
                except OSError:
                    pass
            destroy(box)

    # One fault.

    def ready(self, box: Box) -> None:
        """Bring about what is before."""

    def mark(self, box: Box) -> None:
        """Remember what there is."""
        self.sizes = [len(box.log()), len(box.warnings)]
        self.before = copies(box)
        self.refused = False
        self.closes = 0

    def attach(self, box: Box, call: str, inject: str) -> Strace:
        return Strace(self.aside, lock_holder(box), call, inject)

    def act(self, box: Box) -> None:
        raise NotImplementedError

    def reached(self, box: Box) -> bool:
        try:
            found = copies(box)
            if not self.up:
                return not found and box.pid == 0
            return [box.pid] == found and (found != self.before) == self.other and self.told(box)
        except (OSError, RecordError):
            return False

    def grown(self, box: Box) -> list[str]:
        """What has come to the logs."""
        return [text[size:] for text, size in zip((box.log(), box.warnings), self.sizes)]

    def told(self, box: Box) -> bool:
        text = "".join(self.grown(box))
        return all(word in text for word in self.said)

    def look(self, box: Box) -> list[str]:
        """Everything that is wrong, once there has been time to put it in order; then the letters."""
        problems = self.in_time(box, self.up)
        return problems or self.letters(box) or self.in_time(box, self.up)

    def in_time(self, box: Box, up: bool) -> list[str]:
        found: list[list[str]] = []

        def fine() -> bool:
            found.append(self.wrongs(box, up))
            # What is gone does not come back, but for an upgrade.
            return not found[-1] or (found[-3:] == [["no supervise"]] * 3 and not self.returns)

        in_vain(fine, AFTER)
        return found[-1]

    def wrongs(self, box: Box, up: bool) -> list[str]:
        """What is wrong now, as words that begin with its kind."""
        holder = lock_holder(box)
        if not holder:
            return ["no supervise"]
        problems = []
        running = copies(box)
        if len(running) != int(up):
            problems.append(f"copies: {len(running)}" if running or not up else "no service")
        elif up and (running != self.before) != self.other and self.before:
            problems.append("other process: " + ("it is the old one" if self.other else "it was restarted"))
        problems += self.files(box, running)
        left = {entry.name for entry in box.status.iterdir()} - FILES
        if left:
            problems.append(f"strays: {' '.join(sorted(left))}")
        if self.open is not None:
            more = descriptors(holder) - self.open
            if sum(more.values()) > self.closes:
                problems.append(f"descriptors: {dict(more)}")
        zombies = [pid for pid, state in children(holder).items() if state == "Z"]
        if zombies:
            problems.append(f"zombies: {zombies}")
        grown = self.grown(box)
        if not self.told(box):
            missing = [word for word in self.said if word not in "".join(grown)]
            problems.append(f"silent: no {missing} in the logs")
        if sum(map(len, grown)) > LOGGED:
            problems.append(f"flood: {sum(map(len, grown))} bytes of log")
        return problems

    def files(self, box: Box, running: list[int]) -> list[str]:
        """Whether the record and the state are true."""
        pid = running[0] if len(running) == 1 else 0
        problems = []
        try:
            record = decode((box.status / "status").read_bytes())
            if record.pid != pid:
                problems.append(f"record: pid {record.pid}, and {running} runs")
            if not pid and record.want != DOWN:
                problems.append(f"record: wants {record.want}")
        except (OSError, RecordError) as why:
            problems.append(f"record: {why}")
        try:
            fields = decode_state((box.status / "state").read_bytes())
            service = fields["service"]
            if (service["pid"] if service else 0) != pid:
                problems.append(f"state: {service}, and {running} runs")
            elif service and service["start_ticks"] != seen(pid).start_ticks:
                problems.append(f"state: start_ticks {service['start_ticks']}, not {seen(pid).start_ticks}")
            if fields["machine"] != ("running" if pid else "idle"):
                problems.append(f"state: machine {fields['machine']}")
        except (OSError, StateError) as why:
            problems.append(f"state: {why}")
        return problems

    def letters(self, box: Box) -> list[str]:
        """Whether they are obeyed."""

        def obeyed(letter: str, text: str, alarms: bool | None = None, want: str = "", up: bool | None = None) -> None:
            box.control(letter)

            def so() -> bool:
                try:
                    record = box.record
                except (OSError, RecordError):
                    return False
                fits = alarms in (None, record.alarms) and want in ("", record.want)
                return fits and (up is None or (bool(record.pid) == up and len(copies(box)) == int(up)))

            until(f"letters: {text}", so, AFTER)

        try:
            obeyed("s", "s is not obeyed", alarms=False)
            obeyed("n", "n is not obeyed", alarms=True)
            if self.up:
                obeyed("d", "d is not obeyed", want=DOWN, up=False)
                obeyed("u", "u is not obeyed", want=UP, up=True)
                self.before, self.sizes = copies(box), [len(box.log()), len(box.warnings)]
                self.after_letters()
        except (Gone, OSError) as why:
            return [str(why) if isinstance(why, Gone) else f"letters: {why}"]
        return []

    def after_letters(self) -> None:
        """What the next look may not ask for any more."""
        self.checked = True


class Attached(Scene):
    """Something that happens to a supervise that runs."""

    letter = ""

    def mark(self, box: Box) -> None:
        super().mark(box)
        self.checked = False

    def told(self, box: Box) -> bool:
        return self.checked or super().told(box)

    def wrongs(self, box: Box, up: bool) -> list[str]:
        other, self.other = self.other, self.other and not self.checked
        try:
            return super().wrongs(box, up)
        finally:
            self.other = other

    def act(self, box: Box) -> None:
        box.control(self.letter)

    def age(self, box: Box) -> None:
        """Wait until the service has run for a second, so that its successor need not wait."""
        until("a service", lambda: settled(box))
        started = seen(box.pid).start_ticks / os.sysconf("SC_CLK_TCK")
        time.sleep(max(0.0, started + 1.1 - time.clock_gettime(time.CLOCK_BOOTTIME)))


class Restart(Attached):
    """The service is killed after more than a second, so its successor is started at once."""

    name = "restart"
    other = True
    said = ("was killed by signal 9", "service started")

    def ready(self, box: Box) -> None:
        self.age(box)

    def act(self, box: Box) -> None:
        os.kill(box.pid, signal.SIGKILL)


class Down(Attached):
    name = "stop (d)"
    letter = "d"
    up = False
    said = ("command d", "as asked")

    def ready(self, box: Box) -> None:
        if not settled(box):
            box.control("u")
        self.age(box)


class Up(Attached):
    name = "up (u)"
    letter = "u"
    other = True
    said = ("command u", "service started")

    def ready(self, box: Box) -> None:
        self.age(box)
        box.control("d")
        until("the service to be down", lambda: not copies(box) and box.pid == 0)


class Planned(Restart):
    name = "restart (R)"
    letter = "R"
    said = ("command R", "as asked", "service started")

    def act(self, box: Box) -> None:
        box.control("R")


class Reload(Attached):
    """A changed configuration: what is in force afterwards shows in how `d` stops the service."""

    name = "reload (r)"
    letter = "r"
    conf = "[app]\nstopsignal : TERM\n"
    said = ("command r",)

    def ready(self, box: Box) -> None:
        until("a service", lambda: settled(box))
        self.signal = "INT" if "TERM" in (box.folder / "supervise.conf").read_text() else "TERM"

    def act(self, box: Box) -> None:
        new = box.folder / "supervise.conf.new"
        new.write_text(f"[app]\nstopsignal : {self.signal}\n")
        new.rename(box.folder / "supervise.conf")
        box.control("r")

    def reached(self, box: Box) -> bool:
        return f"stopsignal {self.signal}" in box.log()[self.sizes[0] :] and super().reached(box)

    def letters(self, box: Box) -> list[str]:
        problems = super().letters(box)
        if not problems:
            number = signal.Signals["SIG" + self.signal].value
            last = decode_state((box.status / "state").read_bytes())["last_exit"]
            if last["signal"] != number:
                problems.append(f"configuration: d sent signal {last['signal']}, not {number}")
        return problems


class Pause(Attached):
    name = "pause, continue (pc)"
    letter = "p"
    said = ("command p", "command c")

    def act(self, box: Box) -> None:
        box.control("p")
        in_vain(lambda: box.record.paused and seen(self.before[0]).state == "T", 2)
        self.stopped = box.record.paused
        box.control("c")

    def reached(self, box: Box) -> bool:
        return super().reached(box) and not box.record.paused and seen(box.pid).state != "T"

    def wrongs(self, box: Box, up: bool) -> list[str]:
        problems = super().wrongs(box, up)
        if not problems and box.record.paused or seen(box.pid).state == "T":
            problems.append("pause: it goes on after c")
        return problems


class Exit(Attached):
    """`dx`: the end of supervise; then it is started again."""

    name = "stop (dx)"
    letter = "dx"
    up = False
    said = ("command d", "command x", "as asked", "supervise ends")

    def ready(self, box: Box) -> None:
        if not lock_holder(box):
            box.start(*self.command)
            until("a service", lambda: settled(box))
            self.rest(box)

    def reached(self, box: Box) -> bool:
        return lock_holder(box) == 0

    def look(self, box: Box) -> list[str]:
        if in_vain(lambda: lock_holder(box) == 0 and not copies(box), AFTER):
            return [f"no end: supervise {lock_holder(box)}, copies {copies(box)}"]
        problems = [] if self.told(box) else [f"silent: {self.grown(box)}"]
        try:
            if box.record.pid != 0:
                problems.append(f"record: pid {box.record.pid}")
        except (OSError, RecordError) as why:
            problems.append(f"record: {why}")
        left = {entry.name for entry in box.status.iterdir()} - FILES
        if left:
            problems.append(f"strays: {sorted(left)}")
        return problems


class Upgrade(Attached):
    name = "upgrade (e)"
    letter = "e"
    returns = True

    def reached(self, box: Box) -> bool:
        log, warnings = self.grown(box)
        self.refused = "not replaced" in warnings
        return lock_holder(box) != 0 and ("supervise replaced" in log or self.refused)

    def told(self, box: Box) -> bool:
        text = "".join(self.grown(box))
        return self.checked or ("command e" in text and ("supervise replaced" in text or "not replaced" in text))


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
        return [sys.executable, SUPERVISE, "--foreground", "-u", f"status/{box.name}", *self.command]

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
        return [sys.executable, SUPERVISE, "-u", f"status/{box.name}", *self.command]

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
        task = told(Options(f"status/{box.name}", list(self.command)))
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
            # What cli.py says and does then.
            return 111, [*found[1], "supervise: fatal: the daemon ended"]
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


SCENES: dict[str, type[Scene]] = {
    kind.name: kind
    for kind in (
        *(Start, StartTyped, StartDaemon, Restart, Down, Up, Planned, Reload, Pause, Exit),
        *(Adoption, Upgrade),
    )
}


def clean(scene: Scene) -> None:
    """Nothing of a scene is left."""
    scene.drop()
    shutil.rmtree(scene.aside, ignore_errors=True)
