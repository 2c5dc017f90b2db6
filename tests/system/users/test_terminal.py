"""A supervise in the foreground of a terminal, and its service: another user's has no way to that terminal."""

from __future__ import annotations

import errno
import os
import posix
import pty
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import SUPERVISE, Box, wait_for
from heirs import stat
from starting import Stage, set_stage
from system import child

from supervise.system import credentials

stage = pytest.fixture(set_stage)
root_only = pytest.mark.skipif(os.getuid() != 0, reason="only root may run a service as another user")
needs_perl = pytest.mark.skipif(not shutil.which("perl"), reason="perl is not installed")

# Pushes a keystroke into its controlling terminal (TIOCSTI).  A Python may be where other users cannot reach it.
PUSH = """
$| = 1;
if (!open(my $tty, "+<", "/dev/tty")) { print "no terminal: ", $! + 0, "\\n" }
elsif (ioctl($tty, 0x5412, my $key = "x")) { print "pushed\\n" }
else { print "refused: ", $! + 0, "\\n" }
"""


class Terminal:
    """A supervise in the foreground of a terminal of its own."""

    def __init__(self, box: Box) -> None:
        self.box = box
        self.pid = self.master = 0

    def start(self, *words: str) -> int:
        """Supervise something; its pid."""
        self.pid, self.master = pty.fork()
        if not self.pid:
            try:
                os.chdir(self.box.folder)
                os.execvpe(words[0], words, self.box.env)
            finally:
                os._exit(127)
        os.set_blocking(self.master, False)
        return wait_for("the service", self._its_pid)

    def _its_pid(self) -> int:
        try:
            return self.box.pid
        except OSError:
            return 0

    def key(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def shown(self) -> bytes:
        """What is on it since it was looked at last."""
        try:
            return os.read(self.master, 65536)
        except OSError:
            return b""

    def close(self) -> None:
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            os.close(self.master)


@pytest.fixture
def terminal(box: Box) -> Iterator[Terminal]:
    made = Terminal(box)
    yield made
    box.clean()
    made.close()


SUPERVISED = (SUPERVISE, "--foreground", "-u", "status/app")
SHELL = ("/bin/sh", "-c", '"$@"; exit', "sh")  # so that it is not the leader of the session


BACKGROUND = ("/bin/sh", "-c", 'stty tostop; set -m; "$@" & wait', "sh")


def tty_of(pid: int) -> str:
    """The number of a process's controlling terminal, 0 for none."""
    return stat(pid)[4]


@root_only
@pytest.mark.parametrize("around", [(), SHELL], ids=["leads the session", "under a shell"])
def test_another_users_service_has_no_terminal_and_supervise_keeps_its_own(
    terminal: Terminal, around: tuple[str, ...]
) -> None:
    box = terminal.box
    box.conf("[app]\nuser : nobody\n")
    pid = terminal.start(*around, *SUPERVISED, "sleep", "86399")
    supervisor = box.supervisor
    for _ in range(2):
        assert tty_of(pid) == "0"
        assert stat(pid)[3] == stat(supervisor)[3]  # the session
        assert stat(pid)[2] == str(pid)
        os.kill(pid, signal.SIGKILL)
        pid = box.wait_new_pid(pid)
    assert tty_of(supervisor) != "0"
    box.control("e")
    box.wait_log("replaced by the installed version")
    box.control("k")
    assert tty_of(box.wait_new_pid(pid)) == "0"
    # The terminal is supervise's still.
    terminal.shown()
    terminal.key(b"\x03")
    box.wait_log("received INT")
    box.wait_gone()


def test_without_a_user_nothing_changes(terminal: Terminal) -> None:
    box = terminal.box
    box.conf("[app]\numask : 022\n")
    pid = terminal.start(*SUPERVISED, "sleep", "86399")
    assert tty_of(pid) == tty_of(box.supervisor) != "0"
    box.conf(f"[app]\nuser : {os.getuid()}\n")
    box.wait_log("configuration", 2)
    box.control("k")
    assert tty_of(box.wait_new_pid(pid)) == tty_of(box.supervisor)


@root_only
@needs_perl
@pytest.mark.parametrize("user", ["", "nobody"])
def test_keystrokes(terminal: Terminal, user: str) -> None:
    """Where the kernel lets anybody push them, the service of supervise's own user can, another user's cannot."""
    box = terminal.box
    box.conf(f"[app]\nuser : {user}\n")
    terminal.start(*SUPERVISED, "perl", "-e", PUSH + "sleep 86399")
    said = wait_for("what the service says", box.stdout).splitlines()[0]
    legacy = Path("/proc/sys/dev/tty/legacy_tiocsti")
    pushes = not legacy.exists() or legacy.read_text().strip() == "1"
    if user:
        assert said == f"no terminal: {errno.ENXIO}"
    else:
        assert said == ("pushed" if pushes else f"refused: {errno.EIO}")


@root_only
def test_a_check_has_no_terminal(terminal: Terminal) -> None:
    box = terminal.box
    box.conf("[app]\nuser : nobody\ncheck_command : sleep 77777\ncheck_timeout : 1000\n")
    terminal.start(*SUPERVISED, "sleep", "86399")

    pid = wait_for("the check", lambda: child(box.supervisor, "sleep", "77777"))
    assert (tty_of(pid), stat(pid)[3]) == ("0", str(pid))


# What cannot be done refuses the start.


def refused(code: int) -> object:
    def act(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    return act


def test_a_terminal_that_cannot_be_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    with monkeypatch.context() as patch:
        patch.setattr(posix, "open", refused(errno.ENXIO))
        credentials.leave_terminal()  # there is none
        patch.setattr(posix, "open", refused(errno.ENOENT))
        patch.setattr(credentials, "_has_none", lambda: True)
        credentials.leave_terminal()
        patch.setattr(credentials, "_has_none", lambda: False)
        with pytest.raises(credentials.Refused, match="controlling terminal: /dev/tty: No such file or directory"):
            credentials.leave_terminal()
        patch.setattr(posix, "open", lambda *_: os.dup(0))
        patch.setattr(fcntl, "ioctl", refused(errno.EPERM))
        with pytest.raises(credentials.Refused, match="controlling terminal: Operation not permitted"):
            credentials.leave_terminal()


@root_only
def test_then_nothing_is_started(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def leave() -> None:
        raise credentials.Refused("cannot give up the controlling terminal: x")

    monkeypatch.setattr(credentials, "leave_terminal", leave)
    launcher = stage.launcher("/bin/true", user="nobody")
    assert isinstance(launcher.service(), int)  # without --foreground there can be none
    launcher._options.foreground = True
    found = launcher.service()
    assert not isinstance(found, int) and found.failure == "cannot give up the controlling terminal: x"


@pytest.mark.parametrize("conf", ["", "[global]\numask : 022\n"], ids=["spawned", "forked"])
def test_in_the_background_log_lines_do_not_stop_supervise(box: Box, terminal: Terminal, conf: str) -> None:
    """`stty tostop`: who writes to the terminal is sent TTOU, which stops the service alone, if it does so."""
    box.conf(conf)
    first = terminal.start(*BACKGROUND, *SUPERVISED, "sh", "-c", "date >&2; echo >/dev/tty; exec sleep 1000")
    supervisor = box.supervisor
    assert supervisor != terminal.pid
    assert os.getpgid(supervisor) != os.tcgetpgrp(terminal.master)
    pid = first
    for count in (1, 2):
        wait_for("the service to be stopped by what it writes", lambda pid=pid: stat(pid)[0] == "T")  # type: ignore[misc]
        ignored = dict(line.split(":\t") for line in Path(f"/proc/{pid}/status").read_text().splitlines())["SigIgn"]
        assert not int(ignored, 16) & 1 << (signal.SIGTTOU - 1)
        box.control("e")
        box.wait_log("supervise replaced by the installed version", count)
        os.kill(pid, signal.SIGKILL)
        pid = box.wait_new_pid(pid)
    assert stat(supervisor)[0] != "T"
    seen = bytearray()

    def shown(text: bytes) -> bool:
        seen.extend(terminal.shown())
        return text in seen

    wait_for("its log on the terminal", lambda: shown(b"was killed by signal 9"))
    box.control("dx")
    box.wait_gone()
