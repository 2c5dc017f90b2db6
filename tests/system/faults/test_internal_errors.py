"""No answer of the kernel ends supervise, and none leaves anything behind once it has passed."""

from __future__ import annotations

import os
import re
import resource
import select
import signal
import subprocess
import time
from pathlib import Path

import pytest
from conftest import SUPERVISE, Box, alive, wait_for
from hypothesis import given
from hypothesis import strategies as st
from injecting import failing
from mailers import POLICY, record, recorded
from system import cpu, unread

from supervise.protocol.severities import FATAL, NOTICE, WARNING
from supervise.protocol.state_reader import decode
from supervise.runtime import event_log as logs
from supervise.runtime import internal_errors, polling
from supervise.runtime.event_log import Log
from supervise.runtime.polling import Poll
from supervise.service.signal_retry import SignalRetry
from supervise.system import procfs
from supervise.system.pidfd import Process
from supervise.system.statusdir import StatusDir

FAULT = 1.0  # seconds
IGNORING = "trap '' TERM; echo ready; while :; do sleep 1000 & wait; done"


def true(box: Box) -> bool:
    """Whether record and state name the process that runs."""
    state = decode((box.status / "state").read_bytes())
    named = state["service"]
    return bool(
        box.pid
        and alive(box.pid)
        and named
        and named["pid"] == box.pid
        and named["start_ticks"] == procfs.stat_of(box.pid).start_ticks
        and (state["wanted"], state["machine"]) == (box.record.want, "running")
    )


# Poll.


def test_fewer_descriptors_allowed_than_are_open(box: Box) -> None:
    pid = box.start("sleep", "1000")
    supervisor = box.supervisor
    limits = resource.prlimit(supervisor, resource.RLIMIT_NOFILE)
    resource.prlimit(supervisor, resource.RLIMIT_NOFILE, (2, limits[1]))
    box.control("d")
    wait_for("the letter to be obeyed", lambda: not alive(pid))
    before = cpu(supervisor)
    time.sleep(1)  # what is counted is what happens while nothing does
    assert cpu(supervisor) - before < 0.3
    resource.prlimit(supervisor, resource.RLIMIT_NOFILE, limits)
    wait_for("the record", lambda: (box.pid, box.record.want) == (0, "down"))
    box.control("u")
    wait_for("a true record and state", lambda: true(box))
    box.wait_warning("cannot wait by poll: Invalid argument; waiting by select")
    assert box.warnings.count("cannot wait by poll") == 1
    assert box.supervisor == supervisor
    assert children(supervisor) == [box.pid]


def children(pid: int) -> list[int]:
    """The children of a supervise that are a service or a script of these tests, not its helpers."""
    found = subprocess.run(["pgrep", "-x", "-P", str(pid), "sleep"], capture_output=True, text=True).stdout
    return [int(child) for child in found.split()]


@pytest.mark.parametrize("error", ["ENOMEM", "EINVAL"])
def test_a_poll_that_fails(box: Box, error: str) -> None:
    pid = box.start("sleep", "1000")
    supervisor = box.supervisor
    with failing(supervisor, box.folder, f"poll:error={error}:when=1+"):
        box.control("k")
        again = box.wait_new_pid(pid)
        box.control("s")
        wait_for("a letter to be obeyed", lambda: not box.record.alarms)
    assert (box.supervisor, box.pid) == (supervisor, again)
    box.control("n")
    box.wait_log("waiting by poll again")
    assert "internal error" not in box.warnings


class Broken:
    """A poll object that does what poll(2) does without memory."""

    def register(self, fd: int, mask: int) -> None:
        pass

    def unregister(self, fd: int) -> None:
        pass

    def poll(self, timeout: float | None = None) -> list[tuple[int, int]]:
        raise OSError(12, "Cannot allocate memory")


def test_where_select_fails_too_everything_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_select(*args: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    log = Log(StatusDir(str(tmp_path)))
    monkeypatch.setattr(select, "poll", Broken)
    monkeypatch.setattr(select, "select", no_select)
    poll = Poll(log)
    poll.register(0, select.POLLIN)
    poll.register(77, select.POLLIN)
    poll.register(78, 0)
    assert poll.poll(None) == [(0, 0), (77, 0)]
    poll.mend()
    assert poll.poll(1) == [(0, 0)]
    polling.pause(0.01)
    log.flush()
    assert (tmp_path / "supervise.log.wf").read_text().count("Cannot allocate memory") == 1


# Signals that cannot be sent.


@pytest.mark.parametrize("error", ["EPERM", "ESRCH"])
@pytest.mark.parametrize("letter", ["d", "R", "t"])
def test_a_signal_that_is_refused_is_sent_later(box: Box, error: str, letter: str) -> None:
    pid = box.start("sleep", "1000")
    with failing(box.supervisor, box.folder, f"kill:error={error}:when=1+"):
        box.control(letter)
        box.wait_warning("; trying again")
        box.control("s")
        wait_for("another letter to be obeyed", lambda: not box.record.alarms)
        assert alive(pid)
        assert box.pid == pid
    wait_for("its end", lambda: not alive(pid))
    if letter == "d":
        box.wait_down()
        assert box.record.want == "down"
    else:
        box.wait_new_pid(pid)
    box.wait_log("TERM sent to pid")
    assert box.warnings.count("trying again") == 1, box.warnings
    assert "internal error" not in box.warnings


def test_u_after_a_d_that_could_not_be_told_keeps_the_service_up(box: Box) -> None:
    pid = box.start("sleep", "1000")
    with failing(box.supervisor, box.folder, "kill:error=EPERM:when=1+"):
        box.control("d")
        box.wait_warning("trying again")
        box.control("u")
        box.wait_log("command u: keep the service up")
    wait_for("u in the record", lambda: box.record.want == "up")
    box.control("1")
    box.wait_new_pid(pid)  # USR1 ends a sleep, and it is started again
    assert "TERM" not in box.log()
    assert decode((box.status / "state").read_bytes())["totals"]["crashes"] == 1


def test_pause_and_continue_that_are_refused(box: Box) -> None:
    pid = box.start("sleep", "1000")
    with failing(box.supervisor, box.folder, "kill:error=EPERM:when=1+"):
        box.control("p")
        box.wait_warning("cannot send STOP")
    wait_for("the pause", lambda: procfs.stat_of(pid).state == "T")
    assert box.record.paused
    with failing(box.supervisor, box.folder, "kill:error=EPERM:when=1+"):
        box.control("c")
        box.wait_warning("cannot send CONT")
        box.control("p")  # which it is still
        box.wait_log("command p: pause", 2)
        box.control("c")
        box.wait_log("command c: continue", 2)
    wait_for("the end of the pause", lambda: procfs.stat_of(pid).state == "S")
    assert not box.record.paused


def test_kill_after_stopwaitsecs_that_is_refused(box: Box) -> None:
    box.conf("[global]\nstopwaitsecs : 1\n")
    pid = box.start("sh", "-c", IGNORING)
    box.wait_stdout("ready")
    box.control("d")
    box.wait_log("command d: stop")
    with failing(box.supervisor, box.folder, "kill:error=EPERM:when=1+"):
        box.wait_warning("cannot send KILL")
    wait_for("its end", lambda: not alive(pid))
    box.wait_down()


def test_the_time_to_end_begins_when_it_was_told(box: Box) -> None:
    box.conf("[global]\nstopwaitsecs : 3\n")
    box.start("sh", "-c", "trap 'echo told; sleep 1; echo ended; exit' TERM; echo ready; while :; do sleep 0.1; done")
    box.wait_stdout("ready")
    with failing(box.supervisor, box.folder, "kill:error=EPERM:when=1+"):
        box.control("d")
        box.wait_warning("cannot send TERM")
        time.sleep(3.5)  # longer than stopwaitsecs, which must not have begun
    box.wait_stdout("ended")
    box.wait_down()
    assert "KILL" not in box.log() + box.warnings


def test_a_service_that_is_not_ours_to_signal(box: Box) -> None:
    """As a program with the setuid bit is for an unprivileged supervise; one that drops its own uid does the same."""
    if os.geteuid() != 0:
        pytest.skip("another user's process takes root")
    keeping = ["setpriv", "--bounding-set=-kill", "--inh-caps=-kill"]
    program = [os.path.realpath("/usr/bin/python3"), "-c"]
    code = "import os, time; os.setuid(12345); print('ready', flush=True); time.sleep(1000)"
    done = subprocess.run(
        [*keeping, SUPERVISE, "-u", "status/app", *program, code],
        cwd=box.folder,
        env=box.env,
        capture_output=True,
        text=True,
    )
    if done.stderr.startswith("setpriv:"):
        pytest.skip("root cannot give up its capabilities here")
    assert done.returncode == 0, done.stderr
    box.wait_stdout("ready")
    pid = box.pid
    box.control("d")
    box.wait_warning("cannot send TERM to pid")
    box.control("s")
    wait_for("another letter to be obeyed", lambda: not box.record.alarms)
    box.control("x")
    os.kill(pid, signal.SIGKILL)
    box.wait_gone()
    assert box.warnings.count("trying again") == 1
    assert box.pid == 0


def test_the_restart_script_is_ended_later(box: Box) -> None:
    (box.folder / "script").write_text("#!/bin/sh\necho script\nexec sleep 1000\n")
    (box.folder / "script").chmod(0o755)
    box.start("sh", "-c", "test -e ended && exec sleep 1000; touch ended", options=("-r", "./script"))
    box.wait_stdout("script")
    with failing(box.supervisor, box.folder, "kill:error=EPERM:when=1+"):
        box.control("d")
        box.wait_warning("Operation not permitted")
    box.wait_log("command d")
    wait_for("the end of the script", lambda: not children(box.supervisor))
    assert box.pid == 0


def test_what_is_left_of_the_group_is_told_later(box: Box) -> None:
    box.conf("[global]\nkillasgroup : yes\nstopwaitsecs : 60\n")
    box.start("sh", "-c", "sleep 999 & echo $!; exec sleep 1000")
    left = int(box.wait_stdout("\n"))
    with failing(box.supervisor, box.folder, "kill:error=EPERM:when=1+"):
        os.kill(box.pid, signal.SIGKILL)
        box.wait_warning("cannot send TERM to pid")
        assert alive(left)
    wait_for("its end", lambda: not alive(left))
    box.wait_log("service started", 2)


def test_an_alarm_whose_helper_cannot_be_started_is_sent_later(box: Box) -> None:
    record(box, "mail")
    box.conf(POLICY)
    pid = box.start("sleep", "1000")
    with failing(box.supervisor, box.folder, "memfd_create:error=EMFILE:when=1+") as trace:
        os.kill(pid, signal.SIGKILL)
        box.wait_warning("cannot start the alarm helper: Too many open files; trying again")
        wait_for("another try", lambda: trace.read_text().count("INJECTED") > 1)
    box.wait_log("alarm: ")
    assert box.warnings.count("cannot start the alarm helper") == 1
    assert box.log().count("alarm: ") == 1
    wait_for("the mail", lambda: len(recorded(box, "mail")) == 1)


signals = st.sampled_from(["TERM", "KILL", "STOP", "CONT", "HUP"])


@given(st.lists(st.tuples(signals, st.booleans(), st.booleans())))
def test_what_is_left_to_be_sent(steps: list[tuple[str, bool, bool]]) -> None:
    retry = SignalRetry(_Silent())  # type: ignore[arg-type]
    for now, (name, group, works) in enumerate(steps):
        retry.note(7, name, group, None if works else "no", float(now))
        names = [one for one, _ in retry.signals]
        assert len(retry.signals) == len(set(retry.signals))
        assert not {"STOP", "CONT"} <= set(names)
        assert (name, group) in retry.signals or works
        if works and group and name == "KILL":
            assert not {"TERM", "HUP", "STOP"} & set(names)
        assert (retry.at is None) == (not retry.signals)


class _Silent:
    def add(self, *_: object) -> None:
        pass


# Errors around a restart.


@pytest.mark.parametrize(
    "fault",
    [
        *("openat:error=EMFILE", "openat:error=EIO", "read:error=EIO", "close:error=EIO", "newfstatat:error=EIO"),
        *("fstat:error=ENOMEM", "rename:error=EIO", "renameat:error=EIO", "write:error=ENOSPC", "wait4:error=EAGAIN"),
        *("pidfd_open:error=EMFILE", "sched_yield:error=EPERM", "getsid:error=EPERM"),
    ],
)
def test_a_second_of_failing_calls_around_a_restart(box: Box, fault: str) -> None:
    pid = box.start("sleep", "1000")
    supervisor = box.supervisor
    wait_for("a true record and state", lambda: true(box))
    with failing(supervisor, box.folder, f"{fault}:when=1+"):
        box.control("R")
        time.sleep(FAULT)  # so long does it last, whatever is tried meanwhile
    wait_for("another process", lambda: children(supervisor) not in ([], [pid]))
    wait_for("a true record and state", lambda: true(box))
    box.control("s")
    wait_for("a letter to be obeyed", lambda: not box.record.alarms)
    assert children(supervisor) == [box.pid]
    assert box.supervisor == supervisor
    assert len(box.log() + box.warnings) < 8192
    assert "status.new" not in os.listdir(box.status)


def test_a_letter_and_an_exit_that_were_seen_are_not_lost(box: Box) -> None:
    pid = box.start("sleep", "1000")
    calls = ("openat:error=EIO", "rename:error=EIO", "renameat:error=EIO", "fcntl:error=EIO", "sched_yield:error=EIO")
    with failing(box.supervisor, box.folder, *(f"{call}:when=1+" for call in calls)):
        box.control("ssdsn")
        wait_for("its end", lambda: not alive(pid))
        box.control("1sx")
        wait_for("the letters to be read", lambda: not unread(box))
    box.wait_gone()
    record = box.record
    assert (record.pid, record.want, record.alarms) == (0, "down", False)
    state = decode((box.status / "state").read_bytes())
    assert (state["machine"], state["totals"]["exits"], state["totals"]["planned"]) == ("ended", 1, 1)


def test_an_error_that_comes_again_neither_spins_nor_floods(box: Box) -> None:
    """The FIFO cannot be read, and so stays readable."""
    pid = box.start("sleep", "1000")
    supervisor = box.supervisor
    begun = time.monotonic()
    with failing(supervisor, box.folder, "read:error=EIO:when=1+") as trace:
        box.control("s")
        box.wait_warning("internal error, going on: OSError: [Errno 5]")
        wait_for("some tries more", lambda: trace.read_text().count("INJECTED") > 3)
        before = cpu(supervisor)
        time.sleep(2)  # what is counted is what it does in vain
        assert cpu(supervisor) - before < 0.5
        os.kill(pid, signal.SIGKILL)
        wait_for("another process", lambda: children(supervisor) not in ([], [pid]))
    wait_for("the letter to be obeyed", lambda: not box.record.alarms)
    wait_for("a true record", lambda: true(box))
    assert box.warnings.count("\n") < 50 + (time.monotonic() - begun)  # a second from one to the next, later


def test_pauses_between_errors_grow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(internal_errors, "pause", pauses.append)
    one = internal_errors.InternalErrors(Log(StatusDir(str(tmp_path))))
    for _ in range(12):
        one.note(ValueError("again"))
        assert one.fresh
        one.redo(("alarm",))
        one.rest()
        assert (one.fresh, one.undone()) == (False, [("alarm",)])
    one.redo(("alarm",))
    assert one.undone() == []
    assert pauses[:3] == [0.01, 0.02, 0.04]
    assert pauses[-1] == 1.0


def test_an_identity_that_cannot_be_read_is_not_made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = Process(os.getpid())
    try:
        assert mine.identity()["start_ticks"] > 0
        with monkeypatch.context() as patched:
            patched.setattr("builtins.open", _no_descriptor)
            with pytest.raises(OSError, match="Too many"):
                mine.identity()
    finally:
        mine.close()


def _no_descriptor(*_: object, **__: object) -> None:
    raise OSError(24, "Too many open files")


def test_gone_is_said_only_of_what_has_ended() -> None:
    child = subprocess.Popen(["sleep", "1000"])
    mine = Process(child.pid)
    try:
        assert not mine.gone()
        child.kill()
        wait_for("its end", lambda: mine.gone())
        assert mine.exit_status().signal == signal.SIGKILL
        assert mine.exit_status().signal == signal.SIGKILL  # who asks again is told again
        assert mine.gone()
    finally:
        mine.close()
        child.returncode = -9  # reaped above


# The logs.


def lines(folder: Path) -> list[str]:
    text = "".join(path.read_text() for path in sorted(folder.glob("supervise.log*")))
    return [re.sub(r" [-\d]{10} [:\d]{8} ", " ", line) for line in text.splitlines()]


def test_what_is_said_again_and_again_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(logs.time, "monotonic", lambda: now)
    log = Log(StatusDir(str(tmp_path)))
    for _ in range(5000):
        log.add(NOTICE, "command %s: %s", "u", "up")
        log.add(NOTICE, "command %s: %s", "d", "down")
        log.add(WARNING, "number %d", _)
    log.add(FATAL, "other")
    log.flush()
    said = lines(tmp_path)
    assert said.count("[NOTICE] command u: up") == said.count("[NOTICE] command d: down")
    assert len(said) < 300
    assert said[-1] == "[FATAL] other"
    assert log.due == now + logs.SUMMED_UP
    now += logs.SUMMED_UP
    log.flush()
    more = lines(tmp_path)[len(said) :]
    shown = said.count("[NOTICE] command u: up")
    assert f"[NOTICE] command u: up (the same {5000 - shown:,} times more)" in lines(tmp_path)
    assert f"[NOTICE] command d: down (the same {5000 - shown:,} times more)" in lines(tmp_path)
    assert re.search(r"number 4999 \(the last of such lines, [\d,]+ times more\)", "\n".join(lines(tmp_path)))
    assert len(more) == 3
    assert log.due is None


def test_with_time_everything_is_said_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(logs.time, "monotonic", lambda: now)
    log = Log(StatusDir(str(tmp_path)))
    for _ in range(3600):
        now += 1
        log.add(NOTICE, "started (pid %d)", 7)
        log.flush()
    assert lines(tmp_path) == ["[NOTICE] started (pid 7)"] * 3600


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 2), st.floats(0, 30)), max_size=300))
def test_nothing_is_left_out(steps: list[tuple[str, int, float]]) -> None:
    """Lines and counts add up; and however they come, there are not many."""
    written: list[bytes] = []

    class Place:
        def append(self, name: str, text: bytes) -> int:
            written.extend(text.splitlines())
            return len(text)

        def bound(self, name: str, limit: int, backups: int, more: int) -> int:
            return 0

    with pytest.MonkeyPatch.context() as patched:
        now = 1000.0
        patched.setattr(logs.time, "monotonic", lambda: now)
        log = Log(Place())  # type: ignore[arg-type]
        for template, value, wait in steps:
            now += wait
            for _ in range(20):
                log.add(NOTICE, template + " %d", value)
            log.flush()
        log.flush(ending=True)
    counts = [re.search(rb"([\d,]+) times more\)$", line) for line in written]
    total = sum(int(found[1].replace(b",", b"")) if found else 1 for found in counts)
    assert total == 20 * len(steps)


def test_what_is_remembered_does_not_grow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(logs.time, "monotonic", lambda: now)
    log = Log(StatusDir(str(tmp_path)))
    for number in range(1000):
        log.add(NOTICE, f"template {number}")
        now += 1
        log.flush()
    assert len(log._templates) < 100
    assert len(lines(tmp_path)) == 1000


def test_lines_that_cannot_be_written_are_written_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = StatusDir(str(tmp_path))
    log = Log(directory)
    now = 1000.0
    monkeypatch.setattr(logs.time, "monotonic", lambda: now)
    with monkeypatch.context() as patched:
        patched.setattr(directory, "append", _no_descriptor)
        for number in range(2000):
            log.add(WARNING, f"line {number} of many %s", "x" * 100)
            log.flush()
    assert log.due is not None
    now += 60
    log.flush()
    said = lines(tmp_path)
    assert said[:3] == [f"[WARNING] line {number} of many {'x' * 100}" for number in range(3)]
    assert len("\n".join(said)) < 20000
    assert all(line.endswith("x" * 100) for line in said)
    assert log.due is None


def test_a_flood_of_letters_is_obeyed_and_makes_few_lines(box: Box) -> None:
    pid = box.start("sleep", "1000")
    box.write_control(b"u" * 200000 + b"pc" * 1000 + b"s")
    wait_for("the last letter to be obeyed", lambda: not box.record.alarms)
    wait_for("the count", lambda: box.said("command u: keep the service up") == 200000)
    assert len(box.log()) < 30000
    assert (box.pid, procfs.stat_of(pid).state) == (pid, "S")
    box.write_control(b"ud" * 20000 + b"n")
    wait_for("the last letter to be obeyed", lambda: box.record.alarms)
    box.wait_down()
    assert (box.record.want, len(box.log()) < 60000) == ("down", True)


def test_an_exit_does_not_wait_for_a_flood(box: Box) -> None:
    """Each r reads the configuration, which takes its time; supervise finds all of them at once, and the exit."""
    box.conf("[global]\n" + "".join(f"environment : A{number}=1\n" for number in range(300)))
    pid = box.start("sleep", "1000")
    wait_for("the next start to be due at once", lambda: time.time_ns() - box.record.changed_ns > 1_200_000_000)
    os.kill(box.supervisor, signal.SIGSTOP)
    try:
        box.write_control(b"r" * 500 + b"s")
        os.kill(pid, signal.SIGKILL)
        wait_for("the exit", lambda: not alive(pid))
    finally:
        os.kill(box.supervisor, signal.SIGCONT)
    said = box.wait_log("command s:")
    assert said.index("was killed") < said.rindex("service started") < said.index("command s:")
