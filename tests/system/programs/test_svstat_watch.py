"""svstat --watch on a real terminal: what it shows, how it ends, and how it leaves the terminal."""

from __future__ import annotations

import os
import re
import signal
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pyte
import pytest
from conftest import PATIENCE, Box, wait_for
from pretended import pretended
from tools import BIN, run_tool

from supervise.protocol.record import Record


class Watched:
    """svstat --watch on a terminal of its own, and the screen of that."""

    def __init__(self, box: Box, *args: str, size: tuple[int, int] = (24, 120)) -> None:
        self.child = pexpect.spawn(
            str(BIN / "svstat"),
            ["--watch", *args],
            cwd=str(box.folder),
            env={**box.env, "TERM": "xterm"},
            dimensions=size,
            timeout=PATIENCE,
        )
        self.modes = termios.tcgetattr(self.child.child_fd)
        self.screen = pyte.Screen(size[1], size[0])
        self.stream = pyte.ByteStream(self.screen)
        self.raw = b""

    def read(self) -> str:
        """The screen as it is now."""
        try:
            while True:
                data = self.child.read_nonblocking(65536, timeout=0.02)
                self.raw += data
                self.stream.feed(data)
        except (pexpect.TIMEOUT, pexpect.EOF):
            return "\n".join(self.screen.display)

    def shows(self, pattern: str) -> str:
        """Wait until the screen matches."""
        wait_for(f"{pattern!r} on the screen", lambda: re.search(pattern, self.read()))
        return "\n".join(self.screen.display)

    def ended(self) -> None:
        """Wait for its end; the terminal is as it was."""
        wait_for("its end", lambda: (self.read(), not self.child.isalive())[1])
        assert termios.tcgetattr(self.child.child_fd) == self.modes
        assert self.raw.count(b"\033[?1049h") == self.raw.count(b"\033[?1049l") > 0
        assert self.raw.rindex(b"\033[?25h") > self.raw.rindex(b"\033[?25l")


@pytest.fixture
def app(box: Box) -> Box:
    box.start("sleep", "1000")
    return box


@pytest.fixture
def watched(app: Box) -> Iterator[Watched]:
    watched = Watched(app)
    yield watched
    watched.child.close(force=True)


def test_it_shows_changes(app: Box, watched: Watched) -> None:
    first = app.pid
    watched.shows(rf"app +up +{first} ")
    app.control("d")
    watched.shows(r"app +down ")
    app.control("u")
    watched.shows(r"app +up ")
    app.control("p")
    watched.shows(r"app +paused ")
    app.control("c")  # the kernel hangs up on a stopped process whose supervise dies
    watched.shows(r"app +up ")
    os.kill(app.supervisor, signal.SIGKILL)
    watched.shows(r"app +no supervise, runs on")
    watched.child.send("q")
    watched.ended()
    assert watched.child.exitstatus == 0


def until(screen: str) -> str:
    """How long it is until the next start, in words; nothing if the screen is between two pictures."""
    found = re.search(r"restarting in (.*? seconds?)  ", screen)
    return found[1] if found else ""


def test_it_shows_how_far_a_service_is(box: Box) -> None:
    with pretended(box) as supervise:
        supervise.write(phase="starting")
        watched = Watched(box)
        try:
            watched.shows(r"app +up, starting +\d+ ")
            supervise.write(phase="ready", status_text="40%\33[31m")
            watched.shows(r"app +up, ready +\d+ .* 40%\\x1b\[31m")
            supervise.write(0, machine="delay", deadline_at=time.monotonic() + 500)
            first = watched.shows(r"app +restarting in 8 minutes \d+ seconds? ")
            # Which no event tells of.
            wait_for("it to come nearer", lambda: until(watched.read()) not in ("", until(first)))
            supervise.write(0, machine="idle", last_exit={})
            watched.shows(r"app +finished ")
            watched.child.send("q")
            watched.ended()
        finally:
            watched.child.close(force=True)


def test_services_that_come_and_go(app: Box, watched: Watched) -> None:
    watched.shows(r"app +up")
    made = app.folder / "other"
    made.mkdir()
    (made / "status").write_bytes(Record(0, False, "down", True, 0).encode())
    made.rename(app.folder / "status" / "other")
    watched.shows(r"other +no supervise")
    for path in (app.folder / "status" / "other" / "status", app.folder / "status" / "other"):
        path.unlink() if path.is_file() else path.rmdir()
    wait_for("it to go", lambda: "other" not in watched.read())
    watched.child.send("q")
    watched.ended()


def test_the_uptime_goes_on_without_a_change(watched: Watched) -> None:
    watched.shows(r"app +up +\d+ +2 seconds")
    watched.child.sendintr()
    watched.ended()
    assert watched.child.exitstatus == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_the_terminal_as_it_was(watched: Watched, number: int) -> None:
    watched.shows(r"app +up")
    os.kill(watched.child.pid, number)
    watched.ended()
    assert watched.child.signalstatus == number


def test_the_files_are_not_polled(app: Box, watched: Watched) -> None:
    watched.shows(r"app +up +\d+ +\d+ second")
    accessed = app.status / "status"
    os.utime(accessed, (0, 0))  # an access from now on sets it: relatime
    before = accessed.stat().st_atime_ns
    watched.read()
    drawn = watched.raw.count(b"\033[H")
    wait_for("it to be drawn again", lambda: (watched.read(), watched.raw.count(b"\033[H") > drawn + 2)[1])
    assert accessed.stat().st_atime_ns == before
    watched.child.send("q")
    watched.ended()


def test_it_fits_the_terminal(app: Box) -> None:
    for number in range(20):
        path = app.folder / "status" / f"one{number:02}"
        path.mkdir()
        (path / "status").write_bytes(Record(0, False, "down", True, 0).encode())
    watched = Watched(app, size=(10, 40))
    try:
        said = watched.shows(r"and \d+ more")
        assert "one00" in said and "one19" not in said
        watched.screen.resize(30, 100)
        watched.child.setwinsize(30, 100)
        watched.shows("one19")
        watched.child.send("q")
        watched.ended()
    finally:
        watched.child.close(force=True)


def test_it_needs_a_terminal(app: Box) -> None:
    done = run_tool(app, "svstat", "--watch")
    assert (done.returncode, done.stderr) == (100, "svstat: fatal: cannot watch: standard output is not a terminal\n")


def test_an_unknown_name(app: Box) -> None:
    watched = Watched(app, "nope")
    try:
        watched.child.expect_exact("svstat: fatal: cannot find a service named 'nope'")
        watched.child.expect(pexpect.EOF)
    finally:
        watched.child.close(force=True)
    assert watched.child.exitstatus == 100 and Path(app.status).is_dir()
