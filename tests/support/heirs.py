"""Services that outlive their supervise: killing it, starting its successor, and what tests put in between."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Callable

from box import PATIENCE, SUPERVISE, Box, alive, wait_for
from system import children

INSTALLED = Path(sysconfig.get_path("purelib")) / "supervise"
SLEEP = ("sleep", "86399")
# What is said of an upgrade.
REPLACED = "supervise replaced by the installed version"
NOT_REPLACED = "not replaced by the installed version"
# Says that it was told to stop, and does not.
STAYS = ("sh", "-c", 'trap "echo TERM" TERM; echo ready; while :; do sleep 0.05; done')

# Says which signals it gets, one a line; `2` (USR2) ends it with status 23.
TELLER = """
import os, signal
NAMES = "HUP INT QUIT USR1 USR2 ALRM TERM CONT WINCH".split()
numbers = {getattr(signal, "SIG" + name): name for name in NAMES}
signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
os.write(1, b"ready\\n")
while True:
    name = numbers[signal.sigwait(numbers)]
    os.write(1, f"got {name}\\n".encode())
    if name == "USR2":
        os._exit(23)
    if name == "TERM":
        os._exit(0)
"""
TELL = (sys.executable, "-S", "-E", "-c", TELLER)


def start(box: Box, *command: str, options: tuple[str, ...] = ()) -> int:
    """Start a service (by default the one that tells) and wait until it is ready."""
    if command:
        return box.start(*command, options=options)
    count = box.stdout().count("ready\n")
    pid = box.start(*TELL, options=options)
    box.wait_stdout("ready\n", count + 1)
    return pid


def kill_supervise(box: Box, number: int = signal.SIGKILL) -> int:
    """End supervise, by default with kill -9, and wait until the lock is free; its pid."""
    pid = box.supervisor
    assert pid
    os.kill(pid, number)
    wait_for("supervise to be gone", lambda: box.supervisor == 0 and not alive(pid))
    return pid


def kill_both(box: Box) -> int:
    """End supervise and then the service, and wait until the kernel has forgotten the latter; its pid."""
    pid = box.pid
    kill_supervise(box)
    os.kill(pid, signal.SIGKILL)
    wait_for("the service to be gone", lambda: not alive(pid))
    return pid


def state(box: Box) -> dict[str, Any]:
    found = json.loads((box.status / "state").read_text())
    assert isinstance(found, dict)
    return found


def edit_state(box: Box, **changes: Any) -> None:
    """Change fields of the state, in place of a supervise that is gone."""
    assert box.supervisor == 0
    (box.status / "state").write_text(json.dumps({**state(box), **changes}))


def service_of(living: int, **changes: Any) -> dict[str, Any]:
    """What the state says of a living process, so that it would be taken over; with changes."""
    fields = Path(f"/proc/{living}/stat").read_text().rpartition(")")[2].split()
    fd = os.pidfd_open(living)
    inode = os.fstat(fd).st_ino
    os.close(fd)
    own = os.pidfd_open(os.getpid())
    unique = os.fstat(own).st_ino != inode
    os.close(own)
    known = {"pid": living, "start_ticks": int(fields[19]), "pidfd_inode": inode if unique else None}
    return {**known, "start_time": round(time.time(), 3), **changes}


def copies(box: Box, command: Sequence[str] = SLEEP) -> list[int]:
    """The processes that run a command in a service's environment."""
    entry = b"SUPERVISE_STATUS_DIR=" + os.fsencode(box.status)
    wanted = b"".join(os.fsencode(word) + b"\0" for word in command)
    found = []
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            try:
                mine = entry in (place / "environ").read_bytes().split(b"\0")
                if mine and (place / "cmdline").read_bytes() == wanted and alive(int(place.name)):
                    found.append(int(place.name))
            except OSError:
                pass
    return sorted(found)


def adopted(box: Box, pid: int, count: int = 1) -> None:
    """A successor runs, and has this process."""
    box.wait_log(f"taken over (pid {pid})", count)
    assert box.pid == pid
    assert alive(pid)
    assert box.supervisor


def succeed(box: Box, *command: str, options: tuple[str, ...] = ()) -> None:
    """Start a successor, which must return 0."""
    done = box.run(*options, "-u", f"status/{box.name}", *(command or TELL))
    assert (done.returncode, done.stderr) == (0, "")


def started_refused(box: Box, *command: str) -> str:
    """Start a supervise, which must be refused with one line; that line."""
    done = box.run("-u", f"status/{box.name}", *(command or SLEEP))
    assert (done.returncode, done.stderr.count("\n")) == (111, 1), (done.returncode, done.stderr)
    assert done.stderr.startswith("supervise: fatal: ")
    return done.stderr


def wait_byte(box: Box, index: int, value: int) -> None:
    wait_for(f"byte {index} to be {value}", lambda: (box.status / "status").read_bytes()[index] == value)


def wait_state(box: Box, **fields: object) -> None:
    wait_for(f"{fields} in the state", lambda: {name: state(box)[name] for name in fields} == fields)


def upgrade(box: Box) -> None:
    """Send `e` and wait until it is done."""
    count = box.log().count(REPLACED)
    box.control("e")
    box.wait_log(REPLACED, count + 1)


def stat(pid: int) -> list[str]:
    """/proc/PID/stat from the third field on: state, parent, group, session, ..."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def watches(pid: int) -> bool:
    """Whether a supervise has its inotify descriptor: it has loaded all of its code by then."""
    found = Path(f"/proc/{pid}/fd")
    try:
        return "anon_inode:inotify" in {os.readlink(path) for path in found.iterdir()}
    except FileNotFoundError:  # one was closed meanwhile
        return False


def has_loaded(pid: int) -> bool:
    """Whether a supervise has loaded all of its code, and so has begun to have its watches set."""
    try:
        helpers = [child for child in children(pid) if b"inotify_helper" in Path(f"/proc/{child}/cmdline").read_bytes()]
    except OSError:  # one has ended meanwhile
        return False
    return bool(helpers) or watches(pid)


class Private(Box):
    """The same box, but supervised by a copy of the package, which the test may change: `package`."""

    def __init__(self, box: Box) -> None:
        super().__init__(box.folder, box.name)
        self.env = box.env
        self.package = box.folder / "lib" / "supervise"
        # With what is compiled, for compiling it takes longer than most tests.
        shutil.copytree(INSTALLED, self.package, ignore=shutil.ignore_patterns("*.opt-*"))

    def run(
        self, *args: str | bytes, timeout: float = PATIENCE, before: Callable[[], object] | None = None
    ) -> subprocess.CompletedProcess[str]:
        code = (
            f"import sys; sys.path.insert(0, {str(self.package.parent)!r});"
            f"sys.argv[0] = {SUPERVISE!r}; from supervise.programs.supervise import main; sys.exit(main())"
        )
        return self.run_words(sys.executable, "-B", "-c", code, *args, timeout=timeout, before=before)

    def start(self, *command: str, options: tuple[str, ...] = ()) -> int:
        """The same, and what is changed from now on is not what this one is made of."""
        pid = super().start(*command, options=options)
        supervisor = self.supervisor
        wait_for("all of it to be loaded", lambda: not supervisor or not alive(supervisor) or has_loaded(supervisor))
        return pid

    def path(self, module: str) -> Path:
        """The file of a module, such as `supervisor.startup`."""
        return self.package.joinpath(*module.split(".")).with_suffix(".py")

    def forget(self, module: str) -> None:
        """Remove what is kept compiled of a module: a change within a second may leave it as long as it was."""
        path = self.path(module)
        for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*"):
            compiled.unlink(missing_ok=True)

    def change(self, module: str, old: str, new: str) -> None:
        """Replace a text of a module, which must be there once."""
        path = self.path(module)
        text = path.read_text()
        assert text.count(old) == 1, (module, old)
        path.write_text(text.replace(old, new))
        self.forget(module)

    def append(self, module: str, text: str) -> None:
        """Add to the end of a module."""
        with self.path(module).open("a") as file:
            file.write(text)
        self.forget(module)

    def restore(self, module: str) -> None:
        shutil.copy(INSTALLED / self.path(module).relative_to(self.package), self.path(module))
        self.forget(module)


def leave_unnamed(box: Box) -> int:
    """Kill supervise when it has restarted its service, with the state as before; the pid of the service."""
    first = box.start(*SLEEP)
    wait_for("the state to name it", lambda: (state(box)["service"] or {}).get("pid") == first)
    before = (box.status / "state").read_bytes()
    box.control("k")
    pid = box.wait_new_pid(first)
    wait_for("the state to name it", lambda: (state(box)["service"] or {}).get("pid") == pid)
    kill_supervise(box)
    (box.status / "state").write_bytes(before)
    return pid
