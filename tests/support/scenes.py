"""The pieces of supervise's life that faults.py fails system calls in, and what must be true after each.

A scene keeps its box through many faults, as long as nothing is wrong; after that it makes a new one.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

from box import Box
from boxes import FILES, SERVICE, Gone, copies, destroy, in_vain, lock_holder, make_box, seen, settled, until
from system import children

from supervise.protocol.record import DOWN, UP, RecordError, decode
from supervise.protocol.state_reader import StateError
from supervise.protocol.state_reader import decode as decode_state

FAULT = 1.0  # seconds that a fault lasts that happens more than once
AFTER = 12.0  # seconds after a fault until everything must be in order; what is tried again, is every five
LOGGED = 16384  # bytes that one fault may cost in the logs
TRACED = 4000  # calls of one kind that are not yet a busy loop


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


def clean(scene: Scene) -> None:
    """Nothing of a scene is left."""
    scene.drop()
    shutil.rmtree(scene.aside, ignore_errors=True)
