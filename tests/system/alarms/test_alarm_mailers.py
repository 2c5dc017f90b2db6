"""Mailers that hang or fail, the alarm that outlives supervise, and which exits alarm at all."""

from __future__ import annotations

import os
import re
import signal
import subprocess

import pytest
from conftest import PATIENCE, Box, alive, wait_for
from mailers import ONCE, POLICY, TO, alarms, is_alarm, kill, put, record, recorded
from system import children, needs

# Mailers that misbehave.


def test_a_hanging_mailer(box: Box) -> None:
    """It delays neither restarts nor letters; after 30 seconds it is gone, with its children, and the log says so."""
    needs("pgrep", "fuser")
    put(box, "mail", f"sleep 1000 & echo $$ $! >'{box.folder}/hanging'; sh -c 'sleep 1000; :'; sleep 1000\n")
    box.conf(POLICY)
    pid = box.start("sleep", "1000")
    supervisor = box.supervisor
    box.control("k")
    pid = box.wait_new_pid(pid)
    path = box.folder / "hanging"
    mailer, child = wait_for("the mailer", lambda: path.exists() and [int(word) for word in path.read_text().split()])
    family = {mailer, child, *wait_for("its second child", lambda: set(children(mailer)) - {child})}
    box.control("k")
    pid = box.wait_new_pid(pid)
    box.control("d")
    box.wait_down()
    box.control("u")
    pid = wait_for("the service to be up again", lambda: box.pid)
    session = subprocess.run(["pgrep", "-s", str(supervisor)], capture_output=True, text=True).stdout
    assert {int(word) for word in session.split()} == {supervisor, pid}
    holders = subprocess.run(["fuser", str(box.status / "lock")], capture_output=True, text=True).stdout
    assert holders.split() == [str(supervisor)]
    assert all(map(alive, family)), "the mailer had ended before anything could be delayed by it"
    wait_for("the mailer to be killed", lambda: box.warnings, patience=PATIENCE + 30)
    (line,) = box.warnings.splitlines()
    assert "through mail failed: not finished after 30 seconds: killed" in line
    wait_for("all of the mailer to be gone", lambda: not any(map(alive, family)))
    wait_for("no child but the service", lambda: [*children(supervisor)] == [box.pid])
    assert box.pid == pid, box.log()


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'relay\033[31m down'; echo 'try later' >&2; exit 67", r"exited with status 67: relay.* down.*try later"),
        ("echo sorry; kill -KILL $$", r"was killed by signal 9 \(KILL\): sorry"),
        ("exit 1", r"exited with status 1$"),
    ],
)
def test_a_failing_mailer(box: Box, script: str, said: str) -> None:
    """Its first words are in the log, in one line without anything that disturbs a terminal."""
    put(box, "mail", script + "\n")
    box.conf(POLICY)
    box.start("sh", "-c", ONCE + "exit 3")
    (line,) = box.wait_warning("through mail failed: ").splitlines()
    assert re.search(said, line)
    assert line.isprintable()
    assert "handed over" not in box.log()


def test_a_mailer_that_cannot_be_executed(box: Box) -> None:
    put(box, "mail", "")
    (box.folder / "bin" / "mail").write_text("#!/no/such/shell\n")
    box.conf(POLICY)
    box.start("sh", "-c", ONCE + "exit 3")
    box.wait_warning("through mail failed: cannot be executed: No such file or directory")


def test_the_alarm_of_giving_up_outlives_supervise(box: Box) -> None:
    """The mailer still runs when the lock is free for the next supervise, and its end is logged all the same."""
    needs("fuser")
    go = box.folder / "go"
    descriptors = f"ls -l /proc/$$/fd >'{box.folder}/descriptors'; "
    record(box, "mail", f"{descriptors}until test -e '{go}'; do sleep 0.05; done\n")
    box.conf(POLICY + "max_tries : 1\n")
    box.start("sh", "-c", "exit 7")
    box.wait_gone()
    wait_for("both mailers", lambda: len(recorded(box, "mail")) == 2)
    assert "handed over" not in box.log()
    assert subprocess.run(["fuser", str(box.status / "lock")], capture_output=True, text=True).stdout == ""
    with pytest.raises(OSError):  # nobody reads: the helpers do not keep the FIFO open
        os.open(box.status / "ok", os.O_WRONLY | os.O_NONBLOCK)
    assert str(box.status) not in (box.folder / "descriptors").read_text()
    box.start("sleep", "1000")
    go.touch()
    box.wait_log("through mail: handed over", 2)
    assert any(is_alarm(run[1], "gave up after 1 restarts!") for run in recorded(box, "mail"))


# Which exits alarm.


def test_only_the_first_exit_within_the_interval(box: Box) -> None:
    record(box, "mail")
    box.conf(POLICY)
    box.start("sleep", "1000")
    kill(box)
    os.kill(box.pid, signal.SIGKILL)
    box.wait_log("was killed by signal 9", 2)
    assert len(alarms(box)) == 1
    box.wait_log("through mail: handed over")
    assert [run[:4] for run in recorded(box, "mail")] == [["-s", alarms(box)[0], *TO]]


def test_planned_exits_and_silence(box: Box) -> None:
    """Neither `R` nor `d`, nor anything between `s` and `n`, alarms; the first exit after that does."""
    record(box, "mail")
    box.conf(POLICY)
    pid = box.start("sleep", "1000")
    box.control("R")
    box.wait_new_pid(pid)
    box.control("d")
    box.wait_down()
    box.control("u")
    wait_for("the service to be up again", lambda: box.pid)
    box.control("s")
    box.wait_log("alarms off")
    kill(box)
    box.control("n")
    box.wait_log("alarms on")
    box.wait_log("was killed by signal 9")
    assert alarms(box) == []
    os.kill(box.pid, signal.SIGKILL)
    box.wait_log("through mail: handed over")
    assert len(alarms(box)) == len(recorded(box, "mail")) == 1


def test_an_exit_after_x(box: Box) -> None:
    record(box, "mail")
    box.conf(POLICY)
    pid = box.start("sleep", "1000")
    box.control("x")
    box.wait_log("command x")
    os.kill(pid, signal.SIGKILL)
    box.wait_gone()
    box.wait_log("supervise ends")
    assert alarms(box) == []
    assert box.warnings == ""


def test_nobody_to_tell(box: Box) -> None:
    """Without addresses there is nothing to send, and nothing to warn about."""
    record(box, "mail")
    box.conf("[global]\nalarm_interval : 60\nmax_tries : 1\n")
    box.start("sh", "-c", "exit 3")
    box.wait_gone()
    assert "FATAL" in box.warnings and "WARNING" not in box.warnings
    assert recorded(box, "mail") == []
