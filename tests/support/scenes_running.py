"""What happens to a supervise that runs, each with system calls that fail: the scenes of faults.py."""

from __future__ import annotations

import os
import signal
import time

from box import Box
from boxes import FILES, copies, in_vain, lock_holder, seen, settled, until
from scenes import AFTER, Scene

from supervise.protocol.record import RecordError
from supervise.protocol.state_reader import StateError
from supervise.protocol.state_reader import decode as decode_state


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

    def look(self, box: Box) -> list[str]:
        in_vain(lambda: self.reached(box), AFTER)
        return super().look(box)

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


class Leave(Attached):
    """QUIT: supervise ends and leaves the service to the next one."""

    name = "leave (QUIT)"
    said = ("received QUIT", "supervise ends")

    def ready(self, box: Box) -> None:
        if not lock_holder(box):
            box.start(*self.command)
            until("a service", lambda: settled(box))
            self.rest(box)

    def act(self, box: Box) -> None:
        os.kill(lock_holder(box), signal.SIGQUIT)

    def reached(self, box: Box) -> bool:
        return lock_holder(box) == 0

    def look(self, box: Box) -> list[str]:
        if in_vain(lambda: lock_holder(box) == 0, AFTER):
            return ["no end: supervise runs"]
        problems = [] if self.told(box) else [f"silent: {self.grown(box)}"]
        problems += self.files(box, copies(box))
        left = {entry.name for entry in box.status.iterdir()} - FILES
        if left:
            problems.append(f"strays: {sorted(left)}")
        box.start(*self.command)
        if in_vain(lambda: settled(box), AFTER) or copies(box) != self.before:
            problems.append(f"copies: {self.before} was left, {copies(box)} runs with the next supervise")
        return problems


class Alarm(Restart):
    """An exit that is mailed: the mail comes, or the log says that it does not."""

    name = "restart, an alarm"
    conf = "[app]\nalarm_interval : 60\nalarm_mail : ops@example.org\n"
    used_up = True

    def make(self) -> Box:
        box = super().make()
        return box

    def begin(self, box: Box) -> None:
        place = box.folder / "bin"
        place.mkdir()
        mail = place / "mail"
        mail.write_text(f"#!/bin/sh\ncat >/dev/null\necho sent >>{box.folder}/sent\n")
        mail.chmod(0o755)
        box.env["PATH"] = f"{place}:{box.env['PATH']}"
        super().begin(box)

    def told(self, box: Box) -> bool:
        sent = (box.folder / "sent").exists() or "alarm" in self.grown(box)[1]
        return self.checked or (super().told(box) and sent)


class GiveUp(Exit):
    """One exit too many: supervise ends."""

    name = "give up (max_tries)"
    conf = "[app]\nalarm_interval : 60\nmax_tries : 1\n"
    said = ("was killed by signal 9", "giving up")
    used_up = True

    def ready(self, box: Box) -> None:
        self.age(box)
        old = box.pid
        os.kill(old, signal.SIGKILL)
        until("a restart", lambda: settled(box) and box.pid != old)
        self.age(box)

    def act(self, box: Box) -> None:
        os.kill(box.pid, signal.SIGKILL)


class Check(Attached):
    """Health checks go on, and a fault is not taken for the service's."""

    name = "health checks"
    conf = "[app]\ncheck_command : sh -c 'echo >>checked'\ncheck_delay : 0\ncheck_interval : 1\n"

    def count(self, box: Box) -> int:
        path = box.folder / "checked"
        return path.stat().st_size if path.exists() else 0

    def mark(self, box: Box) -> None:
        super().mark(box)
        self.checks = self.count(box)

    def act(self, box: Box) -> None:
        pass

    def reached(self, box: Box) -> bool:
        return self.count(box) >= self.checks + 2

    def look(self, box: Box) -> list[str]:
        problems = super().look(box)
        now = self.count(box)
        if not problems and in_vain(lambda: self.count(box) > now, AFTER):
            problems.append("checks: there are no more")
        return problems


class Notify(Restart):
    """A service that tells when it is ready, started again."""

    name = "restart, notify"
    conf = "[app]\nnotify : yes\n"
    command = (
        "python3",
        "-ISc",
        "import os, _socket as s; a = os.environ['NOTIFY_SOCKET'].replace('@', chr(0), 1); "
        "s.socket(s.AF_UNIX, s.SOCK_DGRAM).sendto(b'READY=1', a); os.execvp('sleep', ['sleep', '86399'])",
    )
    other = True

    def told(self, box: Box) -> bool:
        try:
            phase = decode_state((box.status / "state").read_bytes())["phase"]
        except (OSError, StateError):
            return False
        return super().told(box) and phase == "ready"
