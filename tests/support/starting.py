"""A Launcher without a supervise: the test is the parent of what it starts, and sees what that sees."""

from __future__ import annotations

import gc
import os
import select
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from supervise.config.config import Config
from supervise.protocol.exitstatus import ExitStatus
from supervise.protocol.options import Options
from supervise.runtime.event_log import Log
from supervise.service.launcher import Launcher
from supervise.system.spawn import ignored_signals
from supervise.system.statusdir import StatusDir

# What makes a start go the one way and the other: the configuration says nothing that posix_spawn cannot do, or does.
WAYS: dict[str, dict[str, object]] = {"spawned": {}, "forked": {"umask": 0o022}}


def configuration(**values: object) -> Config:
    """A configuration with some of its keys."""
    config = Config()
    for key, value in values.items():
        setattr(config, key, value)
    return config


def descriptors() -> set[str]:
    """The descriptors of the test."""
    return set(os.listdir("/proc/self/fd"))


def children() -> list[int]:
    """Children of the test, zombies included."""
    return [int(pid) for task in os.listdir("/proc/self/task") for pid in _children_of(task)]


def _children_of(task: str) -> list[str]:
    return Path(f"/proc/self/task/{task}/children").read_text().split()


class Stage:
    """One service's status directory, in a folder that every user may enter."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.status = folder / "status" / "app"
        self.directory = StatusDir(str(self.status))
        self.env = {**os.environb, b"SUPERVISE_SERVICE": b"app", b"SUPERVISE_STATUS_DIR": os.fsencode(self.status)}
        self.log = Log(self.directory)
        self.launchers: list[Launcher] = []
        for name in descriptors() - {"0", "1", "2"}:
            try:
                os.set_inheritable(int(name), False)  # as all of supervise's are
            except OSError:
                pass  # the one that listdir read

    def launcher(self, *command: str, script: list[str] | None = None, **values: object) -> Launcher:
        """A Launcher of COMMAND, with these keys in its configuration."""
        options = Options(str(self.status), list(command), script=script)
        made = Launcher(options, self.directory, self.env, ignored_signals(), self.log, configuration(**values))
        self.launchers.append(made)
        return made

    def clean(self) -> None:
        for launcher in self.launchers:
            os.close(launcher._null)
        os.close(self.directory.fd)
        shutil.rmtree(self.folder)

    def output(self, name: str = "__stdout") -> str:
        return (self.status / name).read_text(errors="surrogateescape")

    def run(self, launcher: Launcher) -> str:
        """Start the service, wait for its end, which must be a good one; what it has added to __stdout."""
        before = len(self.output()) if (self.status / "__stdout").exists() else 0
        pid = launcher.service()
        assert not isinstance(pid, ExitStatus), pid.failure
        assert finish(pid) == 0, self.output("__stderr")
        return self.output()[before:]

    def say(self, *command: str, **values: object) -> str:
        """What COMMAND prints, with these keys in its configuration."""
        return self.run(self.launcher(*command, **values))

    def shell(self, text: str, **values: object) -> str:
        return self.say("/bin/sh", "-c", text, **values)

    def failure(self, *command: str, **values: object) -> str:
        """Why COMMAND cannot be started; nothing is left of the attempt."""
        launcher = self.launcher(*command, **values)
        gc.collect()  # or descriptors of earlier tests may be closed meanwhile
        before = descriptors(), children()
        result = launcher.service()
        assert isinstance(result, ExitStatus), "it was started"
        assert result.failure
        after = descriptors(), children()
        assert after == before, f"{after}, and before {before}"
        return result.failure

    def warnings(self) -> str:
        self.log.flush()
        path = self.status / "supervise.log.wf"
        return path.read_text() if path.exists() else ""


def finish(pid: int) -> int:
    """Wait for the end of a child, with patience; its exit code, or minus its signal."""
    fd = os.pidfd_open(pid)
    try:
        assert select.select([fd], [], [], 30)[0], f"process {pid} does not end"
    finally:
        os.close(fd)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def set_stage() -> Iterator[Stage]:
    """A fixture.  In a folder in /tmp, for the temporary folders of pytest are the user's alone."""
    folder = Path(tempfile.mkdtemp(prefix="supervise-"))
    folder.chmod(0o755)
    made = Stage(folder)
    yield made
    made.clean()
