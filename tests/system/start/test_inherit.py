"""A service that prints to supervise's own output (stdout_logfile, stderr_logfile)."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import PATIENCE, SUPERVISE, Box, wait_for
from heirs import kill_supervise, state
from tools import run_tool

LATER = (
    ": INHERIT needs --foreground: else supervise prints to nowhere itself; the service prints to its files from its"
    " next start on"
)
BOTH = "stdout_logfile : INHERIT\nstderr_logfile : INHERIT\n"
PRINTS = ("/bin/sh", "-c", "echo out $$; echo err $$ >&2; exec sleep 86399")
FORKED = pytest.mark.parametrize("extra", ["", "umask : 022\n"], ids=["spawned", "forked"])


class Foreground:
    """A supervise in the foreground, with what it prints in two files, as a shell's redirection has it."""

    def __init__(self, box: Box, *command: str, options: tuple[str, ...] = ()) -> None:
        self.files = box.folder / "out", box.folder / "err"
        with open(self.files[0], "ab") as out, open(self.files[1], "ab") as err:
            words = [SUPERVISE, "--foreground", *options, "-u", "status/app", *command]
            self.process = subprocess.Popen(words, cwd=box.folder, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        box.processes.append(self.process)
        box.wait_log("service started")

    def out(self) -> str:
        return self.files[0].read_text()

    def err(self) -> str:
        """Without the lines of the log, which are copied there."""
        return "".join(line for line in self.files[1].read_text().splitlines(True) if line[0] != "[")

    def wait(self, said: Callable[[], str], text: str) -> str:
        wait_for(repr(text), lambda: text in said())
        return said()


def files(box: Box) -> set[str]:
    return {name for name in ("__stdout", "__stderr") if (box.status / name).exists()}


@FORKED
def test_both(box: Box, extra: str) -> None:
    box.conf(f"[app]\n{BOTH}{extra}")
    made = Foreground(box, *PRINTS)
    for count in (1, 2):
        wait_for("both", lambda count=count: (made.out().count("out "), made.err().count("err ")) == (count, count))
        if count == 1:
            os.kill(int(made.out().split()[1]), signal.SIGKILL)
    assert files(box) == set()
    box.control("dx")
    assert made.process.wait(PATIENCE) == 0


@FORKED
@pytest.mark.parametrize(
    ("keys", "out", "err", "kept"),
    [
        ("stdout_logfile : INHERIT", "out", "", {"__stderr"}),
        ("stderr_logfile : INHERIT", "", "err", {"__stdout"}),
        ("stdout_logfile : INHERIT\nredirect_stderr : yes", "out err", "", set()),
        ("stderr_logfile : INHERIT\nredirect_stderr : yes", "", "", {"__stdout"}),
    ],
)
def test_one(box: Box, keys: str, out: str, err: str, kept: set[str], extra: str) -> None:
    box.conf(f"[app]\n{keys}\n{extra}")
    made = Foreground(box, "/bin/sh", "-c", "echo out; echo err >&2; echo done > done; exec sleep 86399")
    wait_for("its end", lambda: (box.folder / "done").exists())
    assert (made.out().split(), made.err().split()) == (out.split(), err.split())
    assert files(box) == kept
    box.control("dx")
    assert made.process.wait(PATIENCE) == 0


def test_without_a_foreground_there_is_nothing_to_inherit(box: Box) -> None:
    box.conf("[app]\nstderr_logfile : inherit\n")
    done = box.run("-u", "status/app", *PRINTS)
    assert (done.returncode, done.stdout) == (111, "")
    assert done.stderr == (
        "supervise: fatal: cannot start the service: supervise.conf:2: stderr_logfile : INHERIT needs --foreground:"
        " else supervise prints to nowhere itself\n"
    )
    assert sorted(os.listdir(box.folder)) == ["supervise.conf"]


def test_later_that_is_a_warning_and_the_files_are_used(box: Box) -> None:
    pid = box.start(*PRINTS)
    box.wait_stdout("out ")
    box.conf(f"[app]\n{BOTH}")
    box.wait_warning(f"supervise.conf:2: stdout_logfile {LATER}")
    os.kill(pid, signal.SIGKILL)
    box.wait_stdout("out ", 2)


def test_svc_reload_says_that_it_does_not_count(box: Box) -> None:
    box.start(*PRINTS)
    box.conf("[app]\nmax_tries : 3\nstderr_logfile : INHERIT\n")
    done = run_tool(box, "svc", "reload", "app")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"supervise.conf:3: stderr_logfile {LATER}\n" in done.stderr
    box.conf("[app]\nmax_tries : 3\n")
    done = run_tool(box, "svc", "reload", "app")
    assert (done.returncode, done.stderr) == (0, "")


def test_another_value_is_refused_and_the_rest_applies(box: Box) -> None:
    box.conf("[app]\nstdout_logfile : /dev/stdout\nmax_tries : 3\nalarm_interval : 60\n")
    done = box.run("-u", "status/app", *PRINTS)
    assert done.returncode == 0
    assert done.stderr == (
        "supervise: warning: supervise.conf:2: stdout_logfile: '/dev/stdout' is not INHERIT, by which it goes to"
        " what supervise prints to itself\n"
    )
    box.wait_stdout("out ")


def test_a_change_takes_effect_at_the_next_start(box: Box) -> None:
    made = Foreground(box, *PRINTS)
    box.wait_stdout("out ")
    pid = box.pid
    box.conf(f"[app]\n{BOTH}")
    box.wait_log("stdout_logfile INHERIT")
    os.kill(pid, signal.SIGKILL)
    made.wait(made.out, "out ")
    assert box.stdout().count("out ") == 1
    box.control("dx")
    assert made.process.wait(PATIENCE) == 0


def test_an_upgrade_keeps_it(box: Box) -> None:
    box.conf(f"[app]\n{BOTH}")
    made = Foreground(box, *PRINTS)
    made.wait(made.err, "err ")
    box.control("e")
    box.wait_log("replaced by the installed version")
    for count in (2, 3):
        box.control("k")
        wait_for("both", lambda count=count: (made.out().count("out "), made.err().count("err ")) == (count, count))
    assert files(box) == set()
    box.control("dx")
    assert made.process.wait(PATIENCE) == 0


def test_after_a_takeover_it_is_the_new_supervises(box: Box) -> None:
    box.conf(f"[app]\n{BOTH}")
    first = Foreground(box, *PRINTS)
    first.wait(first.out, "out ")
    pid = box.pid
    kill_supervise(box)
    for path in first.files:
        path.rename(f"{path}.old")
    second = Foreground(box, *PRINTS)
    box.wait_log("taken over")
    assert (box.pid, second.out()) == (pid, "")
    box.control("k")
    second.wait(second.out, "out ")
    assert (box.folder / "out.old").read_text().count("out ") == 1
    box.control("dx")
    assert second.process.wait(PATIENCE) == 0


def test_a_takeover_in_the_background_warns_and_goes_on(box: Box) -> None:
    """The service runs: that its next output goes to the files is no reason to leave it alone."""
    box.conf(f"[app]\n{BOTH}")
    first = Foreground(box, *PRINTS)
    first.wait(first.out, "out ")
    pid = box.pid
    kill_supervise(box)
    assert box.start(*PRINTS) == pid
    box.wait_warning(f"supervise.conf:2: stdout_logfile {LATER}")
    assert f"supervise.conf:2: stdout_logfile {LATER}" in state(box)["config_problems"]
    box.control("e")
    box.wait_warning(f"supervise.conf:2: stdout_logfile {LATER}", 2)
    assert (box.pid, box.stdout()) == (pid, "")  # as it says: not yet
    box.control("k")
    box.wait_stdout("out ")


def test_an_output_that_the_caller_has_closed(box: Box) -> None:
    box.conf(f"[app]\n{BOTH}")
    text = "exec >&- 2>&-; exec \"$@\""
    service = "echo x && echo y >&2 && echo fine > done; exec sleep 86399"
    words = ["/bin/sh", "-c", text, "sh", SUPERVISE, "--foreground", "-u", "status/app", "/bin/sh", "-c", service]
    process = subprocess.Popen(words, cwd=box.folder, stdin=subprocess.DEVNULL)
    box.processes.append(process)
    wait_for("its output", lambda: (box.folder / "done").exists() and Path(box.folder / "done").read_text())
    box.control("dx")
    assert process.wait(PATIENCE) == 0


def test_the_restart_script_prints_to_the_files(box: Box) -> None:
    box.conf(f"[app]\n{BOTH}")
    made = Foreground(box, *PRINTS, options=("-r", "/bin/echo"))
    made.wait(made.out, "out ")
    os.kill(box.pid, signal.SIGKILL)
    assert box.wait_stdout("1\n") == "1\n"
    made.wait(made.out, "out ")
    box.control("dx")
    assert made.process.wait(PATIENCE) == 0


@pytest.mark.skipif(os.getuid() != 0, reason="only root may run a service as another user")
def test_what_supervise_prints_to_stays_whose_it_is(box: Box) -> None:
    """It is the caller's file, not one of supervise's."""
    box.conf(f"[app]\n{BOTH}user : nobody\n")
    made = Foreground(box, *PRINTS)
    made.wait(made.err, "err ")
    assert [path.stat().st_uid for path in made.files] == [0, 0]
    box.control("dx")
    assert made.process.wait(PATIENCE) == 0
