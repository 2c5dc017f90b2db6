"""svstat --watch on a real terminal: what it shows, how it ends, and how it leaves the terminal."""

from __future__ import annotations

import os
import re
import shutil
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
    found = re.search(r"restarting in (\d.*?)  ", screen)
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
            first = watched.shows(r"app +restarting in 8m \d+s ")
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


def test_a_service_that_comes_slowly(app: Box, watched: Watched) -> None:
    watched.shows(r"app +up")
    (app.folder / "status" / "late").mkdir()
    drawn = watched.raw.count(b"\033[H")
    wait_for("it to be drawn again", lambda: (watched.read(), watched.raw.count(b"\033[H") > drawn + 1)[1])
    (app.folder / "status" / "late" / "status").write_bytes(Record(0, False, "down", True, 0).encode())
    watched.shows(r"late +no supervise")
    started = Box(app.folder, "started")
    started.start("sleep", "1000")
    watched.shows(r"started +up")
    watched.child.send("q")
    watched.ended()


def test_what_a_pattern_matches_comes_and_goes(app: Box) -> None:
    down = Record(0, False, "down", True, 0)
    made(app, "web_1", down)
    watched = Watched(app, "web_*", "app")
    try:
        watched.shows(r"web_1 +no supervise[^\n]*\napp +up")
        made(app, "web_0", down)
        made(app, "other", down)
        watched.shows(r"web_0 .*\nweb_1 .*\napp ")
        shutil.rmtree(app.folder / "status" / "web_1")
        wait_for("it to go", lambda: "web_1" not in watched.read())
        assert "other" not in watched.read()
        watched.child.send("q")
        watched.ended()
    finally:
        watched.child.close(force=True)


def test_the_uptime_goes_on_without_a_change(watched: Watched) -> None:
    watched.shows(r"app +up +\d+ +2s")
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
    watched.shows(r"app +up +\d+ +\d+s")
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
        said = watched.shows(r"1-7 of 21")
        assert "one00" in said and "one19" not in said
        watched.screen.resize(30, 100)
        watched.child.setwinsize(30, 100)
        watched.shows("one19")
        watched.child.send("q")
        watched.ended()
    finally:
        watched.child.close(force=True)


# Many services.


def made(box: Box, name: str, record: Record) -> None:
    path = box.folder / "status" / name
    path.mkdir(parents=True)
    (path / "status").write_bytes(record.encode())


def lines_of(screen: str) -> list[str]:
    """The names that are shown, from the top."""
    return [line.split()[0] for line in screen.splitlines()[2:-1] if line.strip()]


@pytest.fixture
def many(box: Box) -> Iterator[Watched]:
    """On 80 columns and 24 lines: 30 without a supervise that are down as wanted, one that runs, one that should."""
    for number in range(30):
        made(box, f"web{number:02}", Record(time.time_ns(), False, "down", True, 0))
    made(box, "zz-wanted", Record(time.time_ns(), False, "up", True, 0))
    box.start("sleep", "1000")
    watched = Watched(box, size=(24, 80))
    yield watched
    watched.child.close(force=True)


KEYS = {"up": "\033[A", "down": "\033OB", "next": "\033[6~", "back": "\033[5~", "home": "\033[1~", "end": "\033[F"}


def test_it_scrolls(many: Watched) -> None:
    said = many.shows(r"1-21 of 32")
    assert said.startswith("1 up, 1 failing, 30 down") and lines_of(said)[:2] == ["app", "web00"]
    for key, place in (
        *((KEYS["down"], "2-22"), ("j", "3-23"), (KEYS["up"], "2-22"), ("k", "1-21"), ("k", "1-21")),
        *((KEYS["next"], "12-32"), (KEYS["back"], "1-21"), (" ", "12-32"), ("b", "1-21")),
        *((KEYS["end"], "12-32"), (KEYS["down"], "12-32"), (KEYS["home"], "1-21"), ("G", "12-32"), ("g", "1-21")),
    ):
        many.child.send(key)
        said = many.shows(f"{place} of 32")
    assert lines_of(said)[0] == "app"
    many.child.send(KEYS["end"])
    assert lines_of(many.shows("12-32 of 32"))[-1] == "zz-wanted"
    many.child.send("q")
    many.ended()


def test_it_sorts_by_trouble(many: Watched) -> None:
    many.shows("1-21 of 32")
    many.child.send("s")
    said = many.shows("by trouble")
    assert lines_of(said)[:3] == ["zz-wanted", "app", "web00"]
    many.child.send("s")
    wait_for("the names again", lambda: lines_of(many.read())[:2] == ["app", "web00"])


def test_it_finds(many: Watched) -> None:
    many.shows("1-21 of 32")
    many.child.send("/")
    many.shows(r"show: _")
    many.child.send("WEB1xq")
    many.shows(r"show: WEB1xq_")
    many.child.send("\x7f\x7f")
    said = many.shows(r"show: WEB1_")
    assert lines_of(said) == [f"web{number}" for number in range(10, 20)]
    assert said.startswith("1 up, 1 failing, 30 down"), "the summary is that of all"
    many.child.send("\r")
    many.shows(r'1-10 of 10  with "WEB1"')
    many.child.send("/\x15no supervise\r")
    assert len(lines_of(many.shows(r'1-21 of 31  with "no supervise"'))) == 21, "states are found, too"
    many.child.send("\033")
    many.shows("1-21 of 32  q quits")
    many.child.send("/zzz\033")
    many.shows("1-21 of 32  q quits")
    many.child.send("q")
    many.ended()


def test_only_those_that_fail(many: Watched) -> None:
    many.shows("1-21 of 32")
    many.child.send("f")
    assert lines_of(many.shows("1-1 of 1  failing only")) == ["zz-wanted"]
    many.child.send("f")
    many.shows("1-21 of 32")


def test_failed_begins_with_them(box: Box) -> None:
    box.start("sleep", "1000")
    watched = Watched(box, "--failed", size=(24, 80))
    try:
        watched.shows("0-0 of 0  failing only")
        os.kill(box.pid, signal.SIGSTOP)  # no event tells of that
        watched.shows(r"app +stopped by a signal")
        os.kill(box.pid, signal.SIGCONT)
        wait_for("it to go", lambda: "app" not in watched.read())
        watched.child.send("q")
        watched.ended()
        assert watched.child.exitstatus == 0
    finally:
        watched.child.close(force=True)


@pytest.mark.parametrize(("option", "code"), [(("--failed",), 1), ((), 0)])
@pytest.mark.parametrize("key", ["q", "\3"])
def test_how_failed_ends(box: Box, option: tuple[str, ...], code: int, key: str) -> None:
    made(box, "zz-wanted", Record(0, False, "up", True, 0))
    watched = Watched(box, *option)
    try:
        watched.shows("zz-wanted")
        watched.child.send("f")  # what is shown now says nothing of the end
        watched.child.send(key)
        watched.ended()
        assert watched.child.exitstatus == code
    finally:
        watched.child.close(force=True)


def test_it_tells_its_keys(many: Watched) -> None:
    many.shows("1-21 of 32")
    many.child.send("?")
    said = many.shows("sort by trouble")
    assert "Any key goes back." in said
    many.child.send("q")  # a key like any other
    wait_for("the services", lambda: "web00" in many.read())
    many.child.send("q")
    many.ended()


def test_nothing_wraps_at_80_columns(box: Box) -> None:
    """Long names, wide names, long reasons: each service has its line, and the reason can be seen."""
    names = ["a" * 70 + "-01", "a" * 70 + "-02", "\u8ba2\u5355" * 15, "e\u0301" * 40, "\033[2Jescape", "web"]
    for name in names:
        made(box, name, Record(time.time_ns(), False, "up", True, 0))
    with pretended(box) as supervise:
        supervise.write(0, machine="delay", deadline_at=time.monotonic() + 50000, last_exit={"code": 3})
        watched = Watched(box, size=(12, 80))
        try:
            said = watched.shows(rf"1-{len(names) + 1} of {len(names) + 1}")
            lines = said.splitlines()
            assert len(lines_of(said)) == len(set(lines_of(said))) == len(names) + 1
            assert lines[1].split() == ["SERVICE", "STATE", "UPTIME", "REASON"]
            states = [line.index(word) for line in lines[2:-1] for word in ("no superv", "restarting") if word in line]
            assert re.search(r"restarting in 13h .*exit status 3, \d+d ago", said)
            assert len(states) == len(names) + 1
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
