"""A folder with a configuration, and svall in it: real services, and nothing left of them afterwards."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from box import PATIENCE, Box, processes, wait_for

SVALL = str(Path(sys.executable).with_name("svall"))
SVC = str(Path(sys.executable).with_name("svc"))
SLEEP = "sleep 86399"


class Services:
    """What one file in a folder of its own defines: `svall` over it, each service as a Box."""

    def __init__(self, folder: Path, conf: str = "supervise.conf") -> None:
        self.folder = folder
        self.file = folder / conf
        self.env = dict(os.environ)
        self.outer = Box(folder)
        self.runs: list[subprocess.Popen[str]] = []

    def conf(self, text: str) -> None:
        """Write the configuration, in place."""
        self.file.write_text(text)

    def svall(self, *words: str, timeout: float = 2 * PATIENCE) -> subprocess.CompletedProcess[str]:
        """Run svall on it from the folder, and wait for that."""
        return self.words(SVALL, "-F", self.file.name, *words, timeout=timeout)

    def words(self, *words: str, timeout: float = 2 * PATIENCE) -> subprocess.CompletedProcess[str]:
        """The same with the words of any command."""
        self.outer.env = self.env
        return self.outer.run_words(*words, timeout=timeout)

    def done(self, *words: str) -> str:
        """Run svall, which has to succeed; what it said to its standard error."""
        found = self.svall(*words)
        assert found.returncode == 0, (found.stdout, found.stderr)
        return found.stderr

    def up(self, text: str | None = None, *names: str) -> None:
        """Write a configuration, and bring up what it defines; nothing is said then."""
        if text is not None:
            self.conf(text)
        assert self.done("up", *names) == ""

    def run(
        self, *names: str, words: tuple[str, ...] = (), stdout: int | IO[str] | None = None
    ) -> subprocess.Popen[str]:
        """`svall run`, which stays; its standard error goes to the file `said`, of all of them, and so does its
        standard output, if it is not to go elsewhere.
        """
        with open(self.folder / "said", "a") as said:
            process = subprocess.Popen(
                [*words, SVALL, "-F", self.file.name, "run", *names],
                cwd=self.folder,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=said if stdout is None else stdout,
                stderr=said,
                text=True,
            )
        self.runs.append(process)
        return process

    @property
    def said(self) -> str:
        """What all `svall run` have said."""
        return (self.folder / "said").read_text()

    def __getitem__(self, name: str) -> Box:
        box = Box(self.folder, name)
        box.env = self.env
        return box

    @property
    def names(self) -> list[str]:
        """The services that have a directory."""
        return sorted(path.name for path in (self.folder / "status").glob("*"))

    def pid(self, name: str) -> int:
        """The pid of a service, 0 if it does not run or never has."""
        box = self[name]
        return box.pid if (box.status / "status").exists() and box.is_ok() else 0

    def pids(self, *names: str) -> dict[str, int]:
        """The pids of all that run, or of these, which have to."""
        found = {name: self.pid(name) for name in names or self.names}
        assert not names or all(found.values()), found
        return {name: pid for name, pid in found.items() if pid}

    def wait_up(self, *names: str) -> dict[str, int]:
        """Wait until these run; their pids."""
        wait_for(f"{', '.join(names)} to run", lambda: all(map(self.pid, names)))
        return self.pids(*names)

    @property
    def log(self) -> list[str]:
        """What the services have written to the file `log`, line by line."""
        path = self.folder / "log"
        return path.read_text().split("\n")[:-1] if path.exists() else []

    def clean(self) -> None:
        """End everything that was started, by force: who starts supervises again before those."""
        for process in self.runs:
            process.kill()
            process.wait()
        self.outer.clean()
        for pid in [pid for pid in processes() if self.outer.owns(pid)]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def some_services(folder: Path) -> Iterator[Services]:
    """Services in a folder, and nothing left of either afterwards."""
    made = Services(folder)
    try:
        yield made
    finally:
        made.clean()


def logs(name: str, more: str = "") -> str:
    """A service that writes to `log` that it begins and, told to, that it ends; `more` is done between.

    A shell may miss a signal that comes just before it waits, but not the end of what it waits for.
    """
    return (
        f"""sh -c 'trap "echo {name} down >> log; exit 0" TERM; echo "{name} up" >> log; {more}"""
        """ while :; do sleep 1 & wait $!; done'"""
    )
