"""svall run --logs: what the services print is what it prints, and nothing that happens to that touches it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from all_services import SVALL, SVC, Services
from box import PATIENCE, wait_for
from system import children

# Prints what the file `say.NAME` says, a piece each time it is written anew, and `bye` when it is told to end.
SPEAKER = """
import os, signal, sys, time
name = sys.argv[1]
def end(*_):
    os.write(1, b"bye\\n")
    os._exit(0)
signal.signal(signal.SIGTERM, end)
os.write(1, b"begins\\n")
while True:
    try:
        with open("say." + name, "rb") as file:
            data = file.read()
        os.unlink("say." + name)
        os.write(2 if data.startswith(b"!") else 1, data)
    except FileNotFoundError:
        pass
    time.sleep(0.02)
"""


class Shown:
    """`svall run --logs`, and what it shows."""

    def __init__(self, services: Services) -> None:
        self.services = services
        (services.folder / "speaker.py").write_text(SPEAKER)

    def conf(self, *names: str) -> None:
        sections = [f"[{name}]\ncommand : python3 speaker.py {name}\n" for name in names]
        self.services.conf("[global]\nstartsecs : 0\n" + "".join(sections))

    def run(self) -> subprocess.Popen[str]:
        with open(self.services.folder / "shown", "a") as out:
            return self.services.run("--logs", stdout=out)

    def say(self, name: str, data: bytes) -> None:
        path = self.services.folder / f"say.{name}"
        path.with_suffix(".new").write_bytes(data)
        path.with_suffix(".new").rename(path)
        wait_for(f"{name} to say it", lambda: not path.exists())

    @property
    def lines(self) -> list[bytes]:
        return (self.services.folder / "shown").read_bytes().splitlines(keepends=True)

    def wait(self, *lines: bytes) -> None:
        for line in lines:
            wait_for(f"{line!r} among the lines", lambda line=line: line in self.lines)


@pytest.fixture
def shown(services: Services) -> Shown:
    return Shown(services)


def shower(process: subprocess.Popen[str]) -> int:
    """The pid of what shows the output."""

    def found() -> int:
        for pid in children(process.pid):
            if b"shower.py" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return pid
        return 0

    return wait_for("what shows the output", found)


def sleeps(pid: int) -> str:
    """How often a process has gone to sleep."""
    text = Path(f"/proc/{pid}/status").read_text()
    return next(line for line in text.splitlines() if line.startswith("voluntary_ctxt"))


def test_what_is_printed_from_then_on(shown: Shown) -> None:
    """Of what ran before and what did not, by a service that is added or restarted, in a file that is another one."""
    services = shown.services
    shown.conf("db", "web")
    services.done("up", "db")
    shown.say("db", b"before\n")
    process = shown.run()
    shown.wait(b"web | begins\n")
    shown.say("db", b"one\n")
    shown.say("db", b"!two\xff\x1b[2J\n")
    shown.wait(b"db  | one\n", b"db  | !two\xff\x1b[2J\n")
    log = services.folder / "status/db/__stdout"
    log.rename(f"{log}.1")
    services.done("restart", "db")
    shown.wait(b"db  | bye\n", b"db  | begins\n")
    shown.say("db", b"a line\n")
    shown.wait(b"db  | a line\n")
    log.write_bytes(b"")  # truncated
    shown.say("db", b"three\n")
    shown.wait(b"db  | three\n")
    shown.conf("web", "worker")
    process.send_signal(signal.SIGHUP)
    shown.wait(b"worker | begins\n")
    shown.say("web", b"four\n")
    shown.wait(b"web    | four\n")
    shown.say("web", b"a question? ")
    shown.wait(b"web    | a question? \n")  # after a while
    pid = shower(process)
    seen = [sleeps(pid)]

    def rests() -> bool:
        time.sleep(0.5)
        seen.append(sleeps(pid))
        return seen[-1] == seen[-2]

    if "anon_inode:inotify" in [os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir()]:  # else it looks
        wait_for("half a second without a wakeup", rests)
    os.kill(pid, signal.SIGKILL)
    wait_for("the word of it", lambda: "what shows the output of services has died" in services.said)
    wait_for("another", lambda: shower(process) != pid)
    time.sleep(0.1)
    while b"web    | again\n" not in shown.lines:  # it shows what is printed once it has begun
        shown.say("web", b"again\n")
        time.sleep(0.1)
    shown.say("worker", b"no end")
    process.terminate()
    assert process.wait(PATIENCE) == 0
    assert shown.lines.count(b"web    | bye\n") == 1
    ends = [line[len(b"worker | ") :].rstrip() for line in shown.lines if line.startswith(b"worker | ")]
    assert b"".join(ends).endswith(b"no endbye")
    assert b"db  | before\n" not in shown.lines
    assert shown.lines.count(b"db  | one\n") == 1
    assert "fatal" not in services.said


def test_nobody_reads(shown: Shown) -> None:
    """A pipe that is full, then has no reader any more: svall goes on with all else, and ends."""
    services = shown.services
    shown.conf("db")
    reading, writing = os.pipe()
    try:
        process = services.run("--logs", stdout=writing)
        os.close(writing)
        services.wait_up("db")
        before = services.pids()
        os.set_blocking(reading, False)
        for _ in range(40):
            shown.say("db", b"x" * 4095 + b"\n")
        supervise = services["db"].supervisor
        os.kill(supervise, signal.SIGKILL)
        wait_for("another", lambda: services["db"].supervisor not in (0, supervise) and services.pid("db"))
        assert services.pids() == before
    finally:
        os.close(reading)
    wait_for("the word of it", lambda: "nobody reads it" in services.said)
    process.terminate()
    assert process.wait(PATIENCE) == 0
    reading, writing = os.pipe()
    process = services.run("--logs", stdout=writing)
    os.close(writing)
    services.wait_up("db")
    for _ in range(40):
        shown.say("db", b"x" * 4095 + b"\n")
    process.terminate()
    try:
        assert process.wait(PATIENCE) == 0
    finally:
        os.close(reading)


def test_on_a_terminal(shown: Shown) -> None:
    """Coloured by name, and harmless."""
    pexpect = pytest.importorskip("pexpect")
    services = shown.services
    shown.conf("db", "web")
    env = {**services.env, "TERM": "xterm"}
    env.pop("NO_COLOR", None)
    words = ["-F", services.file.name, "run", "--logs"]
    child = pexpect.spawn(SVALL, words, cwd=str(services.folder), env=env, timeout=PATIENCE)
    try:
        child.expect_exact("\x1b[0;33mweb | \x1b[0mbegins")
        shown.say("db", b"\x1b[2J\n")
        child.expect_exact("\x1b[0;36mdb  | \x1b[0m^[[2J")
        child.sendintr()
        child.expect_exact("bye")
        child.expect(pexpect.EOF)
    finally:
        child.close(force=True)
    assert child.exitstatus == 0


INHERITS = "[db]\ncommand : python3 speaker.py db\nstdout_logfile : INHERIT\nstderr_logfile : INHERIT\nstartsecs : 0\n"


def test_inherited(shown: Shown) -> None:
    """A service may have the output of svall itself, at each start by a supervise that run has started."""
    services = shown.services
    services.conf(f"{INHERITS}[broken]\ncommand : ./none\nstdout_logfile : INHERIT\n")
    with open(services.folder / "shown", "a") as out:
        process = services.run(stdout=out)
    shown.wait(b"begins\n")
    wait_for("the other's failure", lambda: "broken did not come up: cannot start the service" in services.said)
    shown.say("db", b"!to stderr\n")
    wait_for("the error", lambda: "!to stderr\n" in services.said)
    before = services.pid("db")
    killed = services["db"].supervisor
    os.kill(killed, signal.SIGKILL)
    wait_for("another", lambda: services["db"].supervisor not in (0, killed) and services.pid("db") == before)
    assert services.words(SVC, "upgrade", "db").returncode == 0
    services.done("restart", "db")
    wait_for("both beginnings", lambda: shown.lines.count(b"begins\n") == 2)
    assert not (services.folder / "status/db/__stdout").exists()
    supervise = services["db"].supervisor
    services.conf(INHERITS.replace("stdout_logfile : INHERIT\n", ""))
    process.send_signal(signal.SIGHUP)
    wait_for("another output", lambda: services["db"].supervisor not in (0, supervise) and services.pid("db"))
    wait_for("the file", lambda: b"begins" in (services.folder / "status/db/__stdout").read_bytes())
    process.terminate()
    assert process.wait(PATIENCE) == 0
    services.conf(INHERITS)
    assert services.done("up") == (
        "svall: warning: supervise.conf:3: stdout_logfile : INHERIT needs svall run: db prints to its files\n"
    )
    wait_for("the file", lambda: (services.folder / "status/db/__stdout").read_bytes().count(b"begins\n") == 2)
    assert "INHERIT needs a supervise that was started by svall run" in services["db"].log("supervise.log.wf")
    assert services.svall("diff").stdout == ""


def test_what_is_no_output_of_svall(shown: Shown) -> None:
    """A file of the user's choice is none, and is shown; nor is a logger's pipe, whose end takes another supervise."""
    services = shown.services
    files = "[db]\ncommand : python3 speaker.py db\nstdout_logfile : db.out\nstderr_logfile : NONE\nstartsecs : 0\n"
    services.up(files)
    services.conf(files + INHERITS.replace("db", "web") + "stdout_command : cat\nstderr_command : cat\n")
    process = shown.run()
    wait_for("both", lambda: services.pid("web"))
    shown.say("db", b"it\n")
    shown.wait(b"db  | it\n")
    assert (services.folder / "db.out").read_bytes() == b"begins\nit\n"
    supervise = services["web"].supervisor
    assert not os.path.samefile(f"/proc/{supervise}/fd/1", services.folder / "shown")
    services.conf(files + INHERITS.replace("db", "web"))
    process.send_signal(signal.SIGHUP)
    wait_for("another", lambda: services["web"].supervisor not in (0, supervise) and services.pid("web"))
    assert os.path.samefile(f"/proc/{services['web'].supervisor}/fd/1", services.folder / "shown")
    shown.wait(b"begins\n")
    assert "INHERIT" not in services.said
