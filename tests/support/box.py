"""A real `supervise` in a folder of its own, and waiting for what must happen."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable, TypeVar

import pytest

from supervise.protocol.record import Record, RecordError, decode

ROOT = Path(__file__).parents[2]  # the checkout
SUPERVISE = str(Path(sys.executable).with_name("supervise"))
PATIENCE = 30.0  # seconds: generous, for the machine may be busy
THOROUGH = bool(os.environ.get("THOROUGH"))

T = TypeVar("T")

# A caller may ignore these (nohup, a shell's `&`), and all that the tests start would inherit it.
for _number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
    if signal.getsignal(_number) == signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL)


def rounds(usual: int, thorough: int) -> int:
    """How often a test does what shows more the more often it is done; THOROUGH=1 in the environment asks for more."""
    return thorough if THOROUGH else usual


def wait_for(what: str, found: Callable[[], T], patience: float = PATIENCE) -> T:
    """Poll until `found()` is true, and return it; fail with `what` when it never is."""
    begun = time.monotonic()
    while True:
        asked = time.thread_time()
        result = found()
        if result:
            return result
        cost = time.thread_time() - asked
        waited = time.monotonic() - begun
        if waited >= patience:
            pytest.fail(f"waited {patience:.0f} seconds in vain for: {what}")
        # What takes long is asked less often: others are at work meanwhile.
        time.sleep(min(max(waited / 8, 4 * cost, 0.005), 0.05))


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not, but one that has lost only its first thread does)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return fields[0] not in "ZX" or (fields[0] == "Z" and int(fields[17]) > 1)


def processes() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def in_session(leader: int) -> list[int]:
    """What `pgrep -s` prints; that takes many times as long, and each test asks."""

    def session(pid: int) -> int:
        try:
            return os.getsid(pid)
        except ProcessLookupError:
            return 0

    return [pid for pid in processes() if session(pid) == leader]


class Box:
    """One service in a folder of its own: `start` it, `control` it, look at it."""

    def __init__(self, folder: Path, name: str = "app") -> None:
        self.folder = folder
        self.name = name
        self.status = folder / "status" / name
        self.env = dict(os.environ)
        self.program = SUPERVISE
        self.processes: list[subprocess.Popen[bytes]] = []

    def run(
        self, *args: str | bytes, timeout: float = PATIENCE, before: Callable[[], object] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run `supervise ARGS` in the folder, wait for it, return its exit code and what it printed.

        `before()` is done in its process first.
        """
        return self.run_words(self.program, *args, timeout=timeout, before=before)

    def run_words(
        self, *words: str | bytes, timeout: float = PATIENCE, before: Callable[[], object] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """The same with the words of any command."""
        return subprocess.run(
            words,
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            preexec_fn=before,
        )

    def start(self, *command: str, options: tuple[str, ...] = ()) -> int:
        """Supervise COMMAND; the pid of its first process."""
        done = self.run(*options, "-u", f"status/{self.name}", *command)
        assert done.returncode == 0, done.stderr
        return self.pid

    def foreground(self, *command: str, options: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
        """The same with --foreground, as a child of the test."""
        args = [self.program, *options, "--foreground", "-u", f"status/{self.name}", *command]
        process = subprocess.Popen(
            args,
            cwd=self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.processes.append(process)
        return process

    def conf(self, text: str) -> None:
        """Write supervise.conf, in place."""
        (self.folder / "supervise.conf").write_text(text)

    def control(self, letters: str) -> None:
        """What `echo LETTERS > control` does, but never blocks."""
        self.write_control((letters + "\n").encode())

    def write_control(self, data: bytes) -> None:
        fd = os.open(self.status / "control", os.O_WRONLY | os.O_NONBLOCK)
        try:
            os.set_blocking(fd, True)
            while data:
                data = data[os.write(fd, data) :]
        finally:
            os.close(fd)

    @property
    def record(self) -> Record:
        return decode((self.status / "status").read_bytes())

    @property
    def pid(self) -> int:
        """The service's pid by the record, 0 when it is not running."""
        return self.record.pid

    @property
    def supervisor(self) -> int:
        """supervise's pid: who holds the lock; 0 when nobody does."""
        found = (self.status / "lock").stat()
        wanted = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
        for line in Path("/proc/locks").read_text().splitlines():
            fields = line.split()
            if wanted in fields and "FLOCK" in fields:
                pid = int(fields[fields.index(wanted) - 1])
                # Who has taken it may have ended, and left it to a copy of himself.
                return pid if pid in self.lockers([pid]) else next(iter(self.lockers()), 0)
        return 0

    def lockers(self, among: list[int] | None = None) -> list[int]:
        """The processes that have the lock open, as `fuser lock` prints them."""
        found = (self.status / "lock").stat()
        pids = among if among is not None else processes()

        def has_it(pid: int) -> bool:
            for fd in os.listdir(f"/proc/{pid}/fd"):
                try:
                    if os.path.samestat(os.stat(f"/proc/{pid}/fd/{fd}"), found):
                        return True
                except OSError:
                    continue
            return False

        holders = []
        for pid in pids:
            try:
                if has_it(pid):
                    holders.append(pid)
            except PermissionError:
                if among is not None:
                    holders.append(pid)  # another user's, who is believed
            except OSError:
                continue
        return holders

    def log(self, name: str = "supervise.log") -> str:
        path = self.status / name
        return path.read_text(errors="replace") if path.exists() else ""

    def said(self, text: str, name: str = "supervise.log") -> int:
        """How often a line with this text was said; lines that were only counted (event_log.py) are so many."""
        lines = [line for line in self.log(name).splitlines() if text in line]
        found = (re.search(r"\((?:the same|the last of such lines,) ([\d,]+) times more\)$", line) for line in lines)
        return sum(int(match[1].replace(",", "")) if match else 1 for match in found)

    @property
    def warnings(self) -> str:
        return self.log("supervise.log.wf")

    def stdout(self) -> str:
        return self.log("__stdout")

    def wait_log(self, text: str, count: int = 1) -> str:
        """Wait until a text is in supervise.log so many times."""
        wait_for(f"{text!r} in supervise.log", lambda: self.log().count(text) >= count)
        return self.log()

    def wait_warning(self, text: str, count: int = 1) -> str:
        wait_for(f"{text!r} in supervise.log.wf", lambda: self.warnings.count(text) >= count)
        return self.warnings

    def wait_stdout(self, text: str, count: int = 1) -> str:
        wait_for(f"{text!r} in __stdout", lambda: self.stdout().count(text) >= count)
        return self.stdout()

    def wait_new_pid(self, old: int) -> int:
        """Wait until another process of the service runs; its pid."""
        return wait_for("a new pid in the record", lambda: self.pid if self.pid not in (0, old) else 0)

    def wait_down(self) -> None:
        wait_for("pid 0 in the record", lambda: self.pid == 0)

    def wait_gone(self) -> None:
        """Wait until no supervise runs here."""
        wait_for("the lock to be free", lambda: self.supervisor == 0)
        # The kernel closes the descriptors of one that ends one after the other.
        wait_for("nobody to have `ok` open", lambda: not self.is_ok())

    def is_ok(self) -> bool:
        """Whether somebody has `ok` open for reading."""
        try:
            os.close(os.open(self.status / "ok", os.O_WRONLY | os.O_NONBLOCK))
        except OSError:
            return False
        return True

    def clean(self) -> None:
        """End everything that was started, by force if need be."""
        for status in (self.folder / "status").glob("*"):
            box = Box(self.folder, status.name)
            if not (status / "lock").is_file():
                continue
            while supervisor := box.supervisor:  # another may stand in for one that is killed amid an upgrade
                for pid in (supervisor, *in_session(supervisor)):
                    try:
                        os.kill(pid, signal.SIGKILL)
                    except ProcessLookupError:
                        pass
                wait_for("its end", lambda box=box, killed=supervisor: box.supervisor != killed)  # type: ignore[misc]
            try:
                pid = box.pid
            except (OSError, RecordError):
                pid = 0
            if pid and alive(pid) and self.owns(pid):
                os.kill(pid, signal.SIGKILL)
        for process in self.processes:
            process.kill()
            process.wait()
            for pipe in (process.stdout, process.stderr):
                if pipe:
                    pipe.close()

    def owns(self, pid: int) -> bool:
        """Whether a process is one of this folder's services, by its environment."""
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                return str(self.folder).encode() in file.read()
        except OSError:
            return False
