"""svlog with real services: the last lines, several services, following on a real terminal."""

from __future__ import annotations

import gzip
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import PATIENCE, Box, wait_for

from supervise.programs.labelled import Lines
from supervise.programs.svlog import merged

pexpect = pytest.importorskip("pexpect", reason="pexpect is not installed: no real terminal to test with")

SVLOG = str(Path(sys.executable).with_name("svlog"))
SAY = "echo one; echo two; echo three >&2; exec sleep 1000"
# A service that prints a line for each USR1, and its number of the start.
TALKER = 'trap "echo heard" USR1; echo started; while :; do sleep 1000 & wait; done'


def svlog(box: Box, *args: str, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SVLOG, *args], cwd=box.folder, env=box.env, capture_output=True, text=True, timeout=PATIENCE, **more
    )


def add(box: Box, name: str) -> Box:
    """Another service in the same folder."""
    return Box(box.folder, name)


def fake(box: Box, name: str, **logs: str) -> Path:
    """A status directory with such logs, in which no supervise runs."""
    folder = box.folder / "status" / name
    folder.mkdir(parents=True)
    os.mkfifo(folder / "ok")
    for log, text in logs.items():
        (folder / log.replace("__wf", ".wf").replace("_log", ".log")).write_text(text)
    return folder


@contextmanager
def following(box: Box, *args: str) -> Iterator[subprocess.Popen[bytes]]:
    """`svlog -f` with pipes, which does not outlive the test."""
    child = subprocess.Popen([SVLOG, "-f", *args], cwd=box.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with child:
        try:
            yield child
        finally:
            child.kill()


class Terminal:
    """svlog on a pseudo-terminal."""

    def __init__(self, box: Box, *args: str, **env: str) -> None:
        variables = {**box.env, "TERM": "xterm", **env}
        self.child = pexpect.spawn(SVLOG, [*args], cwd=str(box.folder), env=variables, timeout=PATIENCE)

    def expect(self, text: str) -> None:
        self.child.expect_exact(text.encode())

    def interrupt(self) -> bytes:
        """Ctrl-C; what was printed after the last expectation."""
        self.child.sendintr()
        self.child.expect(pexpect.EOF)
        rest: bytes = self.child.before
        self.child.close()
        return rest


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    opened: list[Terminal] = []
    yield opened
    for terminal in opened:
        terminal.child.close(force=True)


def test_the_last_lines_of_a_service(box: Box) -> None:
    box.start("sh", "-c", SAY)
    box.wait_stdout("two\n")
    wait_for("stderr", lambda: box.log("__stderr"))
    for name in ("app", "status/app", "./status/app/", str(box.status)):
        done = svlog(box, name)
        assert (done.stdout, done.stderr, done.returncode) == ("one\ntwo\n", "", 0)
    assert svlog(box, "-n", "1", "app").stdout == "two\n"
    assert svlog(box, "-n0", "app").stdout == ""
    assert svlog(box, "-e", "app").stdout == "three\n"


def test_ten_lines_rotated_files_included(box: Box) -> None:
    folder = fake(box, "app", __stdout="10\n11")
    (folder / "__stdout.1").write_text("".join(f"{n}\n" for n in range(5, 10)))
    (folder / "__stdout.2.gz").write_bytes(gzip.compress(b"".join(b"%d\n" % n for n in range(5))))
    assert svlog(box, "app").stdout.split() == [str(n) for n in range(2, 12)]
    assert svlog(box, "-n", "100", "app").stdout.split() == [str(n) for n in range(12)]


def test_a_name_below_supervise_root(box: Box, tmp_path_factory: pytest.TempPathFactory) -> None:
    fake(box, "app", __stdout="here\n")
    box.env["SUPERVISE_ROOT"] = str(box.folder)
    elsewhere = Box(tmp_path_factory.mktemp("elsewhere"))
    elsewhere.env = box.env
    assert svlog(elsewhere, "app").stdout == "here\n"


def test_the_log_of_supervise_is_merged_by_time(box: Box) -> None:
    fake(
        box,
        "app",
        supervise_log="[NOTICE] 2026-01-31 23:59:58 a\n[NOTICE] 2026-02-01 00:00:00 c\n"
        "[NOTICE] 2026-02-01 00:00:02 e\n",
        supervise_log__wf="[WARNING] 2026-01-31 23:59:59 b\n[FATAL] 2026-02-01 00:00:00 d\n",
    )
    assert [line[-1] for line in svlog(box, "-s", "app").stdout.splitlines()] == list("abcde")
    assert [line[-1] for line in svlog(box, "-s", "-n", "2", "app").stdout.splitlines()] == list("de")


def test_merging_keeps_the_order_of_each_log() -> None:
    first = [b"[NOTICE] 2026-01-01 03:00:00 a\n", b"[NOTICE] 2026-01-01 02:00:00 b\n"]  # the clock was set back
    second = [b"no time\n", b"[FATAL] 2026-01-01 02:30:00 c\n", b"belongs to c\n"]
    found = merged([first, second])
    assert sorted(found) == sorted(first + second)
    assert [line for line in found if line in first] == first
    assert [line for line in found if line in second] == second


def test_lines_are_whole_and_long_ones_cut() -> None:
    lines = Lines()
    assert lines.add(b"a") == []
    assert lines.add(b"b\nc\nd") == [b"ab\n", b"c\n"]
    assert lines.end() == [b"d\n"] and lines.end() == []
    assert [len(line) for line in lines.add(b"x" * 70000)] == [70001]


def test_real_notices_and_warnings_of_supervise(box: Box) -> None:
    box.start("sleep", "1000")
    box.control("j")
    box.wait_warning("j")
    done = svlog(box, "-s", "app")
    assert "[NOTICE]" in done.stdout and "[WARNING]" in done.stdout


def test_several_services_have_their_names_before_their_lines(box: Box) -> None:
    fake(box, "app", __stdout="one\ntwo\n")
    fake(box, "longer", __stdout="three\nfour")
    expected = "app    | one\napp    | two\nlonger | three\nlonger | four\n"
    for args in (["app", "longer"], ["status/app", "status/longer", "app"], []):
        done = svlog(box, *args)
        assert (done.stdout, done.stderr, done.returncode) == (expected, "", 0)


def test_services_of_the_same_name_have_their_paths(box: Box) -> None:
    fake(box, "app", __stdout="one\n")
    other = Box(box.folder / "other")
    fake(other, "app", __stdout="two\n")
    done = svlog(box, "app", "other/status/app")
    assert done.stdout == "status/app       | one\nother/status/app | two\n"


def test_a_name_cannot_disturb_the_terminal(box: Box) -> None:
    fake(box, "a\033[2Jb", __stdout="one\n")
    assert svlog(box).stdout == "a\\x1b[2Jb | one\n"


def test_an_unknown_name_is_said_and_the_others_are_shown(box: Box) -> None:
    fake(box, "app", __stdout="one\n")
    fake(box, "web", __stdout="two\n")
    done = svlog(box, "app", "wbe")
    assert done.stdout == "app | one\n"
    assert done.returncode == 100
    assert re.fullmatch(r"svlog: fatal: cannot find .*'wbe'.*app, web\n", done.stderr)


def test_a_log_that_cannot_be_read_is_said_and_the_others_are_shown(box: Box) -> None:
    (fake(box, "app") / "__stdout").symlink_to("/etc/passwd")
    fake(box, "no-log")
    fake(box, "web", __stdout="two\n")
    for args in ((), ("app", "no-log", "web")):
        done = svlog(box, *args)
        assert done.stdout == "web    | two\n"
        assert done.returncode == 111
        assert done.stderr.splitlines() == [
            "svlog: fatal: cannot read status/app/__stdout: not a regular file",
            "svlog: fatal: cannot read status/no-log/__stdout: there is no such log",
        ]


def test_following_something_planted_is_refused(box: Box) -> None:
    (fake(box, "app") / "__stdout").symlink_to("/etc/passwd")
    done = svlog(box, "-f", "app")
    assert (done.stdout, done.returncode) == ("", 111)
    assert done.stderr == "svlog: fatal: cannot read status/app/__stdout: not a regular file\n"


@pytest.mark.parametrize(
    "words", ["-n x app", "-n -1 app", "-n", "-n 1e3 app", "-e -s app", "--nonsense", "-x", "app -f app -x"]
)
def test_wrong_usage_is_one_line_and_100(box: Box, words: str) -> None:
    fake(box, "app", __stdout="one\n")
    done = svlog(box, *words.split())
    assert (done.stdout, done.returncode) == ("", 100)
    assert re.fullmatch(r"svlog: fatal: .*\n", done.stderr)


def test_help_and_version(box: Box) -> None:
    assert svlog(box, "--help").stdout.startswith("svlog: ")
    assert re.fullmatch(r"svlog [0-9.]+\n", svlog(box, "--version").stdout)


def test_a_pipe_that_closes_early_is_no_error(box: Box) -> None:
    fake(box, "app", __stdout="line\n" * 100_000)
    script = f'"{SVLOG}" -n 100000 app | head -n 1; echo "${{PIPESTATUS[0]}}"'
    done = subprocess.run(["bash", "-c", script], cwd=box.folder, capture_output=True, text=True, timeout=PATIENCE)
    assert (done.stdout, done.stderr) == ("line\n0\n", "")


def test_a_follower_ends_when_its_reader_does_although_nothing_comes(box: Box) -> None:
    fake(box, "app", __stdout="line\n")
    with following(box, "app") as child:
        assert child.stdout and child.stderr
        assert child.stdout.readline() == b"line\n"
        child.stdout.close()
        assert child.wait(PATIENCE) == 0
        assert child.stderr.read() == b""


def test_a_full_disk_is_said(box: Box) -> None:
    fake(box, "app", __stdout="line\n")
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [SVLOG, "app"], cwd=box.folder, stdout=full, stderr=subprocess.PIPE, text=True, timeout=PATIENCE
        )
    assert (done.returncode, done.stderr) == (111, "svlog: fatal: cannot write: No space left on device\n")


def test_following_through_restart_rotation_and_a_new_supervise(box: Box, terminals: list[Terminal]) -> None:
    pid = box.start("sh", "-c", TALKER)
    box.wait_stdout("started")
    terminal = Terminal(box, "-f", "app")
    terminals.append(terminal)
    terminal.expect("started\r\n")

    box.control("1")
    terminal.expect("heard\r\n")

    box.control("R")
    pid = box.wait_new_pid(pid)
    terminal.expect("started\r\n")

    (box.status / "__stdout").rename(box.status / "__stdout.1")
    box.control("1")  # into the renamed file
    terminal.expect("heard\r\n")
    box.control("R")
    pid = box.wait_new_pid(pid)
    terminal.expect("started\r\n")
    assert (box.status / "__stdout").read_text() == "started\n"

    os.truncate(box.status / "__stdout", 0)
    box.control("1")
    terminal.expect("heard\r\n")

    box.control("dx")
    box.wait_gone()
    box.start("sh", "-c", TALKER)
    terminal.expect("started\r\n")

    assert terminal.interrupt() in (b"", b"^C")
    assert terminal.child.exitstatus == 130


def test_following_several_services_in_colour(box: Box, terminals: list[Terminal]) -> None:
    web = add(box, "web")
    box.start("sh", "-c", TALKER)
    web.start("sh", "-c", TALKER)
    box.wait_stdout("started")
    web.wait_stdout("started")
    terminal = Terminal(box, "-f", "-n", "1")
    terminals.append(terminal)
    terminal.expect("\033[0;36mapp | \033[0mstarted\r\n")
    terminal.expect("\033[0;33mweb | \033[0mstarted\r\n")
    box.control("1")
    terminal.expect("\033[0;36mapp | \033[0mheard\r\n")
    web.control("1")
    terminal.expect("\033[0;33mweb | \033[0mheard\r\n")
    assert terminal.interrupt() in (b"", b"^C")


def follows(terminal: Terminal, status: Path) -> None:
    """Wait until svlog has the log open: from then on whatever is printed is new to it."""
    fds = Path(f"/proc/{terminal.child.pid}/fd")
    wait_for("svlog to follow", lambda: any(os.path.realpath(fd) == str(status / "__stdout") for fd in fds.iterdir()))


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_colours_for_who_does_not_want_them(box: Box, terminals: list[Terminal], env: dict[str, str]) -> None:
    fake(box, "app", __stdout="one\n")
    terminal = Terminal(box, "app", "app", **env)
    terminals.append(terminal)
    terminal.child.expect(pexpect.EOF)
    assert terminal.child.before == b"app | one\r\n"


NASTY = b"a\33[31mred\33[0m\33]0;title\7\n10%\r20%\r\n\x9b2J\xc2\x9b2J \xe8\xae\xa2\xe3\x80\x80\xe2\x80\xae\n"
TAMED = "a^[[31mred^[[0m^[]0;title^G\r\n10%^M20%\r\n\\x9b2J\\x9b2J \u8ba2\u3000\\u202e\r\n"


@pytest.mark.parametrize("args", [(), ("-f",)])
def test_no_escape_sequence_of_a_service_reaches_a_terminal(
    box: Box, terminals: list[Terminal], args: tuple[str, ...]
) -> None:
    for name in ("one", "two"):
        (fake(box, name) / "__stdout").write_bytes(NASTY)
    terminal = Terminal(box, *args, "one", LC_ALL="C.UTF-8")
    terminals.append(terminal)
    terminal.expect(TAMED)
    if args:
        with (box.folder / "status/one/__stdout").open("ab") as file:
            file.write(b"more \33")
        terminal.expect("more ^[")
        assert terminal.interrupt() == b"^C"
    several = Terminal(box, *args, LC_ALL="C.UTF-8", NO_COLOR="1")
    terminals.append(several)
    for name in ("one", "two"):
        several.expect("".join(f"{name} | {line}\r\n" for line in TAMED.splitlines()))


def test_a_pipe_gets_every_byte(box: Box) -> None:
    (fake(box, "one") / "__stdout").write_bytes(NASTY + b"\xff no end")
    done = subprocess.run([SVLOG, "one"], cwd=box.folder, env=box.env, capture_output=True, timeout=PATIENCE)
    assert done.stdout == NASTY + b"\xff no end"


def test_names_are_aligned_by_the_columns_they_take(box: Box) -> None:
    for name in ("web", "\u8ba2\u5355", "e\u0301"):
        fake(box, name, __stdout="line\n")
    assert sorted(svlog(box).stdout.splitlines()) == ["e\u0301    | line", "web  | line", "\u8ba2\u5355 | line"]


def test_an_incomplete_line_of_several_services_waits_for_its_end(box: Box, terminals: list[Terminal]) -> None:
    app, web = fake(box, "app", __stdout=""), fake(box, "web", __stdout="")
    terminal = Terminal(box, "-f", NO_COLOR="1")
    terminals.append(terminal)
    follows(terminal, app)
    follows(terminal, web)
    with open(app / "__stdout", "a", buffering=1) as first, open(web / "__stdout", "a", buffering=1) as second:
        first.write("one, ")
        first.flush()
        second.write("two\n")
        terminal.expect("web | two\r\n")
        first.write("three\n")
        terminal.expect("app | one, three\r\n")


def test_following_the_log_of_supervise(box: Box, terminals: list[Terminal]) -> None:
    box.start("sleep", "1000")
    box.wait_log("started")
    terminal = Terminal(box, "-f", "-s", "-n", "1", "app")
    terminals.append(terminal)
    terminal.expect("started")
    box.control("j")
    terminal.expect("[WARNING]")
    box.control("R")
    terminal.expect("started")


def test_following_a_log_that_is_not_there_yet(box: Box, terminals: list[Terminal]) -> None:
    folder = fake(box, "app")
    terminal = Terminal(box, "-f", "app")
    terminals.append(terminal)
    # Looked for once; whether before or after it comes, it is shown.
    (folder / "__stdout").write_text("first\n")
    terminal.expect("first\r\n")


def test_names_and_floods_that_pyinotify_stumbles_over(box: Box) -> None:
    folder = fake(box, "app", __stdout="one\n")
    with following(box, "app") as child:
        assert child.stdout and child.stderr
        assert child.stdout.readline() == b"one\n"
        Path(os.fsdecode(bytes(folder) + b"/\xff\xfe")).touch()
        with open(folder / "__stdout", "a") as log:
            log.write("two\n")
        assert child.stdout.readline() == b"two\n"
        child.send_signal(signal.SIGSTOP)
        with open(folder / "__stdout", "a", buffering=1) as log, open(folder / "__stderr", "a", buffering=1) as other:
            for _ in range(20_000):  # more events than the kernel keeps
                log.write("x\n")
                other.write("x\n")
            log.write("three\n")
        child.send_signal(signal.SIGCONT)
        assert sum(1 for _ in iter(child.stdout.readline, b"three\n")) == 20_000
        child.send_signal(signal.SIGINT)
        assert child.wait(PATIENCE) == 130
        assert child.stderr.read() == b""


def test_the_time_of_lines_where_it_is_known(box: Box) -> None:
    folder = fake(box, "app", __stdout="one\n@400000006b49d20a00000000 two\n@nothing\nlast\n")
    os.utime(folder / "__stdout", (1_700_000_000, 1_700_000_000))
    box.env["TZ"] = "UTC"
    blank = " " * 20
    two = "2027-01-15 08:00:00 two\n"
    done = svlog(box, "-t", "app")
    assert done.stdout == f"{blank}one\n{two}{blank}@nothing\n2023-11-14 22:13:20 last\n"
    (folder / "__stdout.1").write_text("0\n")  # made just now: what has changed the file last may be a rotation
    os.utime(folder / "__stdout")
    assert svlog(box, "-t", "-n1", "app").stdout == f"{blank}last\n"
    assert svlog(box, "-n1", "app").stdout == "last\n"


def test_the_time_of_lines_that_come(box: Box) -> None:
    folder = fake(box, "app", __stdout="one\n")
    box.env["TZ"] = "UTC"
    command = [SVLOG, "-f", "-t", "app"]
    with subprocess.Popen(command, cwd=box.folder, env=box.env, stdout=subprocess.PIPE) as child:
        assert child.stdout
        assert child.stdout.readline() == b" " * 20 + b"one\n"
        with open(folder / "__stdout", "a", buffering=1) as log:
            for piece in ("@400000006b49", "d20a00000000 t", "wo\nthree"):
                log.write(piece)
                log.flush()
        assert child.stdout.readline() == b"2027-01-15 08:00:00 two\n"
        child.kill()
