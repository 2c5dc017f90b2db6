"""A supervise whose status directory is about to be moved, removed or replaced, and what it does then."""

from __future__ import annotations

import os
import re
import shutil
import signal
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from box import PATIENCE, SUPERVISE, Box, alive, wait_for
from heirs import TELL
from system import children

WHOLE = {"lock", "control", "ok", "status", "state", "__stdout", "__stderr", "supervise.log", "supervise.log.wf"}


def words_of(pid: int) -> bytes:
    """A process's command line; empty where there is none."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def waits_for_signals(pid: int) -> bool:
    """Whether a process sleeps in sigwait(3), as TELL does; or just sleeps, where the kernel does not tell in what."""
    where = Path(f"/proc/{pid}/wchan").read_text()
    state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return state == "S" and ("sigtimedwait" in where or where == "0")


def remove(path: Path) -> None:
    """rm -r, also where supervise has just written a file."""
    wait_for(f"{path} to be removed", lambda: not shutil.rmtree(path, ignore_errors=True) and not path.exists())


class App(Box):
    """A service that tells what it is told (heirs.py): `supervisor_pid` and `service` are there to be compared with."""

    supervisor_pid = 0
    service = 0
    words: bytes = b""  # of the service

    def begin(
        self, *options: str, path: str = "", prefix: tuple[str, ...] = (), command: tuple[str, ...] = TELL
    ) -> App:
        """Supervise it, and wait until it is ready and what is to be watched is watched."""
        words = [*prefix, SUPERVISE, *options, "-u", path or f"status/{self.name}", *command]
        done = subprocess.run(words, cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == 0, done.stderr
        self.service = self.pid
        self.supervisor_pid = int(Path(f"/proc/{self.service}/stat").read_text().rpartition(")")[2].split()[1])
        if command == TELL:
            self.wait_stdout("ready\n")
        self.words = words_of(self.service)
        self.wait_watched()
        return self

    def wait_watched(self) -> None:
        """Wait until no helper is at work any more."""
        wait_for("the watches to be set", lambda: [*children(self.supervisor_pid)] == [self.service])

    def second_start(self) -> subprocess.CompletedProcess[str]:
        """What a user does who has not noticed: start it again."""
        return self.run("-u", f"status/{self.name}", *TELL)

    def is_here(self) -> bool:
        """Whether the directory is there, locked by the same supervise, and says what is true."""
        try:
            complete = {path.name for path in self.status.iterdir()} >= WHOLE - {"supervise.log.wf"}
            return complete and self.supervisor == self.supervisor_pid and self.pid == self.service
        except (OSError, ValueError):
            return False

    def wait_here(self) -> None:
        """Wait until it is there again, and nothing more is to be done."""
        wait_for("the status directory to be there again", self.is_here)
        self.wait_watched()

    def assert_whole(self) -> None:
        """The directory is as a start makes it, and whoever asks by name finds the same supervise and service."""
        names = {path.name for path in self.status.iterdir()}
        assert names <= WHOLE, names
        assert stat.S_IMODE(self.status.stat().st_mode) == 0o700
        assert alive(self.service) and self.is_here()
        os.close(os.open(self.status / "ok", os.O_WRONLY | os.O_NONBLOCK))
        count = self.log().count("command h")
        if b"sigwait" in self.words:
            wait_for("the service to heed HUP", lambda: waits_for_signals(self.service))
        self.control("h")
        self.wait_log("command h", count + 1)

    def restart(self) -> None:
        """End the service by its door, and see that the next one prints into the directory that is there."""
        count = self.stdout().count("ready\n")
        self.control("k")
        self.service = self.wait_new_pid(self.service)
        self.wait_stdout("ready\n", count + 1)

    def processes_of_service(self) -> set[int]:
        """Whatever the record says, and whether there is one."""
        pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
        return {pid for pid in pids if self.owns(pid) and words_of(pid) == self.words}

    def wait_another(self) -> None:
        """Wait until another process of the service runs."""
        before = self.service
        self.service = wait_for("another process", lambda: next(iter(self.processes_of_service() - {before}), 0))

    def succeed(self) -> None:
        """Kill supervise and start another: the service is taken over from what the directory says."""
        os.kill(self.supervisor_pid, signal.SIGKILL)
        wait_for("supervise to be gone", lambda: not alive(self.supervisor_pid))
        done = self.second_start()
        assert done.returncode == 0, done.stderr
        assert self.pid == self.service and alive(self.service)
        self.supervisor_pid = self.supervisor

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Supervise stands still, so it can notice nothing."""
        os.kill(self.supervisor_pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.supervisor_pid, signal.SIGCONT)

    def wait_ended(self) -> None:
        """Wait until neither supervise nor service is left."""
        wait_for("supervise to end", lambda: not alive(self.supervisor_pid))
        assert not alive(self.service)

    def clean(self) -> None:
        """End supervise even where nothing leads to it, so that what it supervises can be ended for good."""
        if self.supervisor_pid and re.search(rb"daemon\.py\0.*status/", words_of(self.supervisor_pid)):
            os.kill(self.supervisor_pid, signal.SIGKILL)
        super().clean()

    def kill_all(self) -> None:
        """What is left of the service, which no record names."""
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and self.owns(int(entry.name)):
                os.kill(int(entry.name), signal.SIGKILL)
