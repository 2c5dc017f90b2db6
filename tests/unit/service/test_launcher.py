"""What a service, its restart script and its check are started with; and what if that cannot be had."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
from shortage import NO_DESCRIPTORS, few_descriptors
from starting import WAYS, Stage, configuration, finish, set_stage

from supervise.protocol.exitstatus import ExitStatus
from supervise.service.launcher import Launcher, StartError
from supervise.system.spawn import HELPER

stage = pytest.fixture(set_stage)
ways = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())


def environment(text: str) -> dict[str, str]:
    """What env(1) has printed."""
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def started(launcher: Launcher) -> int:
    pid = launcher.service()
    assert not isinstance(pid, ExitStatus), pid.failure
    return pid


# The service.


@ways
def test_it_leads_a_group_of_its_own_in_our_session(stage: Stage, way: dict[str, object]) -> None:
    pid = started(stage.launcher("/bin/sleep", "86399", **way))
    try:
        assert (os.getpgid(pid), os.getsid(pid)) == (pid, os.getsid(0))
    finally:
        os.kill(pid, signal.SIGKILL)
        finish(pid)


@ways
def test_what_it_prints_is_appended(stage: Stage, way: dict[str, object]) -> None:
    for number in "12":
        assert stage.say("/bin/sh", "-c", f"echo out {number}; echo err {number} >&2", **way) == f"out {number}\n"
    assert stage.output("__stderr") == "err 1\nerr 2\n"


@ways
def test_with_redirect_stderr_both_are_one(stage: Stage, way: dict[str, object]) -> None:
    text = "echo 1; echo 2 >&2; echo 3"
    assert stage.shell(text, redirect_stderr=True, **way) == "1\n2\n3\n"
    assert not (stage.status / "__stderr").exists()


@ways
def test_the_configuration_adds_to_its_environment_but_not_what_finds_it_again(
    stage: Stage, way: dict[str, object]
) -> None:
    said = (("GREETING", "h\udce4llo"), ("SUPERVISE_SERVICE", "another"))
    found = environment(stage.say("/usr/bin/env", environment=said, **way))
    assert found["GREETING"] == "h\udce4llo"
    assert (found["SUPERVISE_SERVICE"], found["SUPERVISE_STATUS_DIR"]) == ("app", str(stage.status))


@ways
def test_one_that_tells_when_it_is_ready_is_told_where(stage: Stage, way: dict[str, object]) -> None:
    stage.env[b"WATCHDOG_PID"] = b"1"
    launcher = stage.launcher("/usr/bin/env", **way)
    launcher.notify_socket, launcher.watchdog_usec = "@here", 5_000_000
    found = environment(stage.run(launcher))
    assert (found["NOTIFY_SOCKET"], found["WATCHDOG_USEC"]) == ("@here", "5000000")
    assert "WATCHDOG_PID" not in found
    launcher.watchdog_usec = 0
    assert "WATCHDOG_USEC" not in environment(stage.run(launcher))


@ways
@pytest.mark.parametrize("same", [False, True], ids=["another number", "the same number"])
def test_it_gets_its_end_of_the_pipe_by_the_number_that_it_knows(
    stage: Stage, way: dict[str, object], same: bool
) -> None:
    reading, writing = os.pipe()
    its = writing if same else writing + 1
    launcher = stage.launcher("/bin/sh", "-c", f"echo ready >/proc/self/fd/{its}", notification_fd=its, **way)
    launcher.notification = writing
    try:
        assert finish(started(launcher)) == 0, stage.output("__stderr")
        assert os.read(reading, 100) == b"ready\n"
    finally:
        os.close(writing)
        os.close(reading)


@ways
def test_a_program_that_is_not_there_is_a_failure_that_says_so(stage: Stage, way: dict[str, object]) -> None:
    assert stage.failure("/no/such/program", **way) == "/no/such/program: No such file or directory"


def test_what_blocks_keeps_it_from_being_started(stage: Stage) -> None:
    launcher = stage.launcher("/bin/true")
    launcher.govern(configuration(blocked="user : nobdy is misspelt"))
    result = launcher.service()
    assert isinstance(result, ExitStatus) and result.failure == "user : nobdy is misspelt"
    assert launcher.check_command(("/bin/true",), 1, 1) == result.failure
    launcher.govern(configuration())
    assert finish(started(launcher)) == 0


def test_what_restricts_it_does_not_stay_away_for_want_of_a_module(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The installed files may be another version's by now."""
    launcher = stage.launcher("/bin/true")
    monkeypatch.delitem(sys.modules, "supervise.service.spawn_as", raising=False)
    monkeypatch.delattr("supervise.service.spawn_as", raising=False)
    assert not launcher.can_fork
    launcher.govern(configuration(umask=0o077))
    result = launcher.service()
    assert isinstance(result, ExitStatus) and "another version of supervise is installed" in (result.failure or "")
    launcher.complete()
    launcher.govern(configuration(umask=0o077))
    assert finish(started(launcher)) == 0


# Where its output cannot go.


def plant(stage: Stage, name: str, kind: str) -> Path:
    """Put something in the place of an output; what must not be touched."""
    target = stage.folder / "target"
    target.write_text("mine\n")
    path = stage.status / name
    if kind == "symlink":
        path.symlink_to(target)
    elif kind == "link":
        os.link(target, path)
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.mkdir()
    return target


@pytest.mark.parametrize("kind", ["symlink", "directory", "fifo"])
@pytest.mark.parametrize("name", ["__stdout", "__stderr"])
def test_a_start_is_refused_where_something_stands_in_the_place_of_an_output(
    stage: Stage, name: str, kind: str
) -> None:
    target = plant(stage, name, kind)
    launcher = stage.launcher("/bin/true")
    with pytest.raises(StartError, match=f"cannot use {stage.status}/{name}: is a"):
        launcher.check(str)
    assert target.read_text() == "mine\n"


@ways
def test_a_restart_goes_on_with_nothing_in_its_place_and_one_warning(stage: Stage, way: dict[str, object]) -> None:
    target = plant(stage, "__stdout", "symlink")
    launcher = stage.launcher("/bin/sh", "-c", "echo lost; echo kept >&2", **way)
    for _ in range(2):
        assert finish(started(launcher)) == 0
    assert target.read_text() == "mine\n"
    assert stage.output("__stderr") == "kept\nkept\n"
    assert stage.warnings().count("what the service prints there is lost") == 1
    (stage.status / "__stdout").unlink()
    assert stage.run(launcher) == "lost\n"


def test_without_descriptors_it_is_started_all_the_same(stage: Stage) -> None:
    launcher = stage.launcher("/bin/sh", "-c", "echo lost")
    with few_descriptors():
        pid = started(launcher)
    assert finish(pid) == 0
    assert NO_DESCRIPTORS in stage.warnings() or stage.output() == "lost\n"


def test_what_is_checked_leaves_no_descriptor(stage: Stage) -> None:
    launcher = stage.launcher("/bin/true")
    before = len(os.listdir("/proc/self/fd"))
    launcher.check(str)
    assert len(os.listdir("/proc/self/fd")) == before


# The restart script.


@ways
def test_the_script_is_told_how_often_and_nothing_of_the_configuration(stage: Stage, way: dict[str, object]) -> None:
    script = stage.folder / "script"
    script.write_text("#!/bin/sh\necho $1 $GREETING $(ps -o sid= $$) >&2\nenv\n")
    script.chmod(0o755)
    launcher = stage.launcher("/bin/true", script=[str(script)], environment=(("GREETING", "hello"),), **way)
    pid = launcher.script(3)
    assert isinstance(pid, int), pid
    assert finish(pid) == 0
    assert stage.output("__stderr").split() == ["3", str(pid)]  # in a session of its own
    assert environment(stage.output())[HELPER.decode()].isdigit()
    stage.log.flush()
    assert f"restart script started (pid {pid}), exits: 3" in stage.output("supervise.log")


def test_a_script_that_cannot_be_run_says_why(stage: Stage) -> None:
    launcher = stage.launcher("/bin/true", script=[str(stage.folder)])
    assert launcher.script(1) == f"cannot run the restart script: {stage.folder}: is a directory"
    launcher = stage.launcher("/bin/true", script=["/no/such/script"])
    assert launcher.script(1) == "cannot run the restart script: /no/such/script: No such file or directory"


# The check.


@ways
def test_a_check_sees_what_the_service_sees_and_cannot_speak_for_it(stage: Stage, way: dict[str, object]) -> None:
    launcher = stage.launcher("/bin/true", environment=(("GREETING", "hello"),), **way)
    launcher.notify_socket, launcher.watchdog_usec = "@here", 5
    reading, writing = os.pipe()
    pid = launcher.check_command(("/bin/sh", "-c", "ps -o sid= $$; env; cat >&2"), 4711, writing)
    os.close(writing)
    assert isinstance(pid, int), pid
    with open(reading) as file:
        session, *rest = file.read().splitlines()
    assert finish(pid) == 0
    found = environment("\n".join(rest))
    assert int(session) == pid
    assert (found["GREETING"], found["SUPERVISE_PID"]) == ("hello", "4711")
    assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC"} & found.keys()


@ways
def test_a_check_that_cannot_be_run_says_why(stage: Stage, way: dict[str, object]) -> None:
    launcher = stage.launcher("/bin/true", **way)
    assert launcher.check_command(("/no/such/check",), 4711, 2) == "/no/such/check: No such file or directory"


# Where it prints to, if that is not in the status directory.


@ways
def test_to_nothing_and_to_files_of_ones_own(stage: Stage, way: dict[str, object]) -> None:
    out, err = stage.folder / "out", stage.folder / "err"
    said = dict(stdout_logfile=str(out), stderr_logfile="NONE", **way)
    launcher = stage.launcher("/bin/sh", "-c", "echo one; echo two >&2", **said)
    launcher.complete()
    launcher.complete_outputs()
    assert finish(started(launcher)) == 0 and out.read_text() == "one\n"
    assert launcher.places == {"stdout": str(out), "stderr": "NONE"}
    launcher.govern(configuration(stdout_logfile="NONE", stderr_logfile=str(err), **way))
    assert finish(started(launcher)) == 0 and (out.read_text(), err.read_text()) == ("one\n", "two\n")
    launcher.govern(configuration(stdout_logfile=str(out), redirect_stderr=True, stderr_logfile="/no/such", **way))
    assert finish(started(launcher)) == 0 and out.read_text() == "one\none\ntwo\n"
    launcher.govern(configuration(stdout_logfile="NONE", redirect_stderr=True, **way))
    assert finish(started(launcher)) == 0 and launcher.places == {"stdout": "NONE", "stderr": "NONE"}
    launcher.govern(configuration(**way))
    assert launcher.places is None and not list(stage.status.glob("__std*"))


def test_a_file_that_cannot_be_opened_is_a_start_that_fails(stage: Stage) -> None:
    said = stage.failure("/bin/true", stdout_logfile="/no/such/log")
    assert said == "cannot open stdout_logfile /no/such/log: its directory does not exist"
    assert stage.failure("/bin/true", stderr_logfile="x\u20ac\x1b/y") != ""
