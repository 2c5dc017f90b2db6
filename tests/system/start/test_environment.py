"""What the service finds: environment, descriptors, signals, process group (the specification's sections 1 and 5).

Where a test has a `way`, it must be the same for posix_spawn and for a fork.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from pathlib import Path

import pytest
from conftest import Box, alive, wait_for
from starting import WAYS, Stage, configuration, descriptors, finish, set_stage

from supervise.protocol.exitstatus import ExitStatus
from supervise.service.launcher import StartError

ENV = "/usr/bin/env"
SHOW_DESCRIPTORS = "for fd in /proc/self/fd/*; do if test -e $fd; then echo ${fd##*/}; fi; done"

stage = pytest.fixture(set_stage)
way = pytest.mark.parametrize("way", WAYS.values(), ids=list(WAYS))


def variables(text: str) -> dict[str, str]:
    """What env(1) has printed."""
    return dict(line.split("=", 1) for line in text.splitlines())


# The environment.


@way
def test_the_service_has_the_environment_of_the_caller(stage: Stage, way: dict[str, object]) -> None:
    stage.env = {b"A": b"1", b"B": b"", b"SUPERVISE_SERVICE": b"app"}
    assert variables(stage.say(ENV, **way)) == {"A": "1", "B": "", "SUPERVISE_SERVICE": "app"}


@way
def test_environment_is_stronger_than_the_caller(stage: Stage, way: dict[str, object]) -> None:
    stage.env = {b"A": b"1", b"B": b"2"}
    said = stage.say(ENV, environment=(("A", "new"), ("C", "x y=z")), **way)
    assert variables(said) == {"A": "new", "B": "2", "C": "x y=z"}
    assert stage.env == {b"A": b"1", b"B": b"2"}


@way
def test_environment_cannot_hide_whose_the_service_is(stage: Stage, way: dict[str, object]) -> None:
    asked = (("SUPERVISE_SERVICE", "other"), ("SUPERVISE_STATUS_DIR", "/tmp"))
    found = variables(stage.say(ENV, environment=asked, **way))
    assert (found["SUPERVISE_SERVICE"], found["SUPERVISE_STATUS_DIR"]) == ("app", str(stage.status))


@way
def test_environment_may_hold_any_bytes(stage: Stage, way: dict[str, object]) -> None:
    text = b"\xff\xe9 \xc3\xa4".decode("utf-8", "surrogateescape")  # as parser.py reads it
    stage.say(ENV, environment=(("A", text),), **way)
    assert b"\nA=\xff\xe9 \xc3\xa4\n" in b"\n" + (stage.status / "__stdout").read_bytes()


def test_a_name_that_cannot_be_is_a_failed_start(stage: Stage) -> None:
    for values in WAYS.values():
        assert "'/bin/true': " in stage.failure("/bin/true", environment=(("A=B", "1"),), **values)


def test_the_next_start_has_the_new_configuration(stage: Stage) -> None:
    launcher = stage.launcher(ENV, environment=(("A", "1"),))
    assert variables(stage.run(launcher))["A"] == "1"
    launcher.config = configuration(environment=(("A", "2"),), umask=0o077)
    assert variables(stage.run(launcher))["A"] == "2"
    launcher.config = configuration()
    assert "A" not in variables(stage.run(launcher))


def test_the_program_is_looked_for_in_the_path_of_the_service(stage: Stage) -> None:
    for name, text in (("one", "echo ours"), ("two", "echo two")):
        folder = stage.folder / name
        folder.mkdir()
        (folder / "prog").write_text(f"#!/bin/sh\n{text}\n")
    (stage.folder / "two" / "prog").chmod(0o755)
    path = f"{stage.folder}/none:{stage.folder}/one:{stage.folder}/two:/bin"
    # The first that can be executed, as execvp(3) has it.
    assert stage.say("prog", environment=(("PATH", path),)) == "two\n"
    (stage.folder / "one" / "prog").chmod(0o755)
    assert stage.say("prog", environment=(("PATH", path),)) == "ours\n"
    assert stage.failure("prog") == "prog: not found in PATH"
    assert stage.failure("sleep", environment=(("PATH", str(stage.folder)),)) == "sleep: not found in PATH"


def test_an_empty_entry_of_the_path_is_the_current_directory(stage: Stage) -> None:
    (stage.folder / "prog").write_text("#!/bin/sh\npwd\n")
    (stage.folder / "prog").chmod(0o755)
    for path in ("/none:", ":/none", "", "."):
        said = stage.say("prog", environment=(("PATH", path),), directory=str(stage.folder))
        assert said == f"{stage.folder}\n"


# Where it prints to.


@way
def test_redirect_stderr(stage: Stage, way: dict[str, object]) -> None:
    text = "echo one; echo two >&2; echo three"
    assert stage.shell(text, redirect_stderr=True, **way) == "one\ntwo\nthree\n"
    assert not (stage.status / "__stderr").exists()
    assert stage.shell(text, **way) == "one\nthree\n"
    assert stage.output("__stderr") == "two\n"


def test_what_is_not_opened_need_not_be_there(stage: Stage) -> None:
    (stage.status / "__stderr").mkdir()
    stage.launcher("/bin/true", redirect_stderr=True).check(str)
    with pytest.raises(StartError, match="__stderr: is a directory, not a regular file"):
        stage.launcher("/bin/true").check(str)


@way
def test_output_that_cannot_be_opened_is_lost_with_one_warning(stage: Stage, way: dict[str, object]) -> None:
    (stage.status / "__stdout").mkdir()
    launcher = stage.launcher("/bin/sh", "-c", "echo lost; echo kept >&2", **way)
    for count in (1, 2):
        assert finish(int(str(launcher.service()))) == 0
        assert stage.output("__stderr") == "kept\n" * count
    assert stage.warnings().count("what the service prints there is lost") == 1


@way
def test_redirected_output_that_cannot_be_opened_is_lost_whole(stage: Stage, way: dict[str, object]) -> None:
    (stage.status / "__stdout").mkdir()
    launcher = stage.launcher("/bin/sh", "-c", "echo lost; echo lost >&2", redirect_stderr=True, **way)
    assert finish(int(str(launcher.service()))) == 0
    assert not (stage.status / "__stderr").exists()


# Descriptors, signals, process group.


@way
def test_it_has_0_1_2_and_no_other(stage: Stage, way: dict[str, object]) -> None:
    assert stage.shell(SHOW_DESCRIPTORS, **way).split() == ["0", "1", "2"]
    assert stage.shell(SHOW_DESCRIPTORS, redirect_stderr=True, **way).split() == ["0", "1", "2"]


SIGNALS = ("SigBlk", "SigIgn", "SigCgt", "SigPnd", "ShdPnd")  # of /proc/PID/status


def test_signals_are_the_same_either_way(stage: Stage) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGTERM)}
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: None)
        launchers = [stage.launcher("/bin/cat", "/proc/self/status", **values) for values in WAYS.values()]
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, signal.SIGTERM])
        spawned, forked = map(stage.run, launchers)
        assert signal.SIGUSR1 in signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1, signal.SIGTERM])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for said in (spawned, forked):
        fields = dict(line.split(":\t") for line in said.splitlines())
        found = {name: int(fields[name], 16) for name in SIGNALS}
        # glibc leaves its own two signals (32, 33), which no program can have, ignored in what it spawns.
        found["SigIgn"] &= ~(3 << 31)
        assert found == dict.fromkeys(SIGNALS, 0)


@way
def test_its_own_process_group_in_the_session_of_supervise(stage: Stage, way: dict[str, object]) -> None:
    launcher = stage.launcher("/bin/cat", "/proc/self/stat", **way)
    pid = launcher.service()
    assert isinstance(pid, int)
    assert finish(pid) == 0
    fields = stage.output().rpartition(")")[2].split()
    parent, group, session = map(int, fields[1:4])
    assert (parent, group, session) == (os.getpid(), pid, os.getsid(0))


# Readiness.


@way
def test_the_variables_of_sd_notify(stage: Stage, way: dict[str, object]) -> None:
    stage.env.update({b"NOTIFY_SOCKET": b"/other", b"WATCHDOG_USEC": b"1", b"WATCHDOG_PID": b"1", b"WATCHDOG": b"x"})
    names = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "WATCHDOG")
    launcher = stage.launcher(ENV, environment=(("NOTIFY_SOCKET", "/mine"),), **way)

    def found() -> list[str | None]:
        said = variables(stage.run(launcher))
        return [said.get(name) for name in names]

    assert found() == ["/mine", "1", "1", "x"]
    launcher.notify_socket = "@supervise/1"
    assert found() == ["@supervise/1", None, None, "x"]
    launcher.watchdog_usec = 10_000_000
    assert found() == ["@supervise/1", "10000000", None, "x"]
    launcher.notify_socket = ""
    assert found() == ["/mine", "1", "1", "x"]
    assert stage.env[b"WATCHDOG_USEC"] == b"1"


@way
@pytest.mark.parametrize("which", ["3", "directory", "end", "other end", "null", "next", "after next", "1000"])
def test_the_notification_descriptor_has_its_number(stage: Stage, way: dict[str, object], which: str) -> None:
    launcher = stage.launcher("/bin/sh", "-c", "", **way)
    reading, writing = os.pipe()
    try:
        free = sorted(set(range(3, 100)) - {int(name) for name in descriptors()})
        ours = {"directory": stage.directory.fd, "end": writing, "other end": reading, "null": launcher._null}
        number = {**ours, "next": free[0], "after next": free[1]}.get(which) or int(which)
        launcher = stage.launcher(sys.executable, "-c", f"import os; os.write({number}, b'ready')", **way)
        config = configuration(notification_fd=number, **way)
        launcher.config, launcher.notification = config, writing
        before = descriptors()
        assert stage.run(launcher) == ""
        assert os.read(reading, 100) == b"ready"
        launcher = stage.launcher("/bin/sh", "-c", SHOW_DESCRIPTORS)
        launcher.config, launcher.notification = config, writing
        assert stage.run(launcher).split() == sorted(["0", "1", "2", str(number)])
        assert len(descriptors()) == len(before) + 1  # the second launcher's
        # And when the files are opened beforehand.
        (stage.status / "__stderr").unlink()
        (stage.status / "__stderr").mkdir()
        assert set(stage.run(launcher).split()) == {"0", "1", "2", str(number)}
        assert not os.get_inheritable(writing)
    finally:
        os.close(reading)
        os.close(writing)


@way
def test_a_notification_descriptor_beyond_the_limit_is_a_failed_start(stage: Stage, way: dict[str, object]) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    reading, writing = os.pipe()
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        launcher = stage.launcher("/bin/true", notification_fd=1000, **way)
        launcher.notification = writing
        result = launcher.service()
        assert isinstance(result, ExitStatus)
        assert result.failure == "cannot give it descriptor 1000: Bad file descriptor"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        os.close(reading)
        os.close(writing)


# The programs beside it.


@way
def test_the_health_check_sees_what_the_service_sees(stage: Stage, way: dict[str, object]) -> None:
    stage.env.update({b"NOTIFY_SOCKET": b"/other", b"WATCHDOG_USEC": b"1"})
    launcher = stage.launcher("/bin/true", environment=(("A", "1"), ("WATCHDOG_PID", "1")), **way)
    launcher.notify_socket, launcher.watchdog_usec = "@supervise/1", 1
    output = os.memfd_create("output")
    text = f"echo out; echo err >&2; cat /proc/self/stat; readlink /proc/self/fd/0; {SHOW_DESCRIPTORS}; env"
    before = descriptors()
    pid = launcher.check_command(("/bin/sh", "-c", text), 4711, output)
    assert isinstance(pid, int), pid
    assert finish(pid) == 0
    assert descriptors() == before
    out, err, stat, null, *rest = os.pread(output, 65536, 0).decode().splitlines()
    os.close(output)
    assert (out, err, null, rest[:3]) == ("out", "err", "/dev/null", ["0", "1", "2"])
    assert stat.rpartition(")")[2].split()[3] == str(pid)  # its session
    found = variables("\n".join(rest[3:]))
    assert (found["A"], found["SUPERVISE_PID"], found["SUPERVISE_SERVICE"]) == ("1", "4711", "app")
    assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} & found.keys()
    assert stage.output() == "" if (stage.status / "__stdout").exists() else True


@way
def test_a_health_check_that_cannot_be_run_says_why(stage: Stage, way: dict[str, object]) -> None:
    launcher = stage.launcher("/bin/true", **way)
    said = launcher.check_command(("./none",), 4711, 2)
    assert said == "./none: No such file or directory"


def test_the_restart_script_is_the_administrators(stage: Stage) -> None:
    script = ["/bin/sh", "-c", "id -un; pwd; echo $A; umask; echo $0; echo err >&2"]
    keys = {"user": "nobody", "directory": "/", "umask": 0o077, "environment": (("A", "1"),), "redirect_stderr": True}
    launcher = stage.launcher("/bin/true", script=script, **keys)
    pid = launcher.script(3)
    assert isinstance(pid, int), pid
    assert finish(pid) == 0
    mask = os.umask(0o022)
    os.umask(mask)
    name = "root" if os.getuid() == 0 else os.environ["USER"]
    assert stage.output() == f"{name}\n{os.getcwd()}\n\n{mask:04o}\n3\n"
    assert stage.output("__stderr") == "err\n"


# From supervise.conf.


def test_the_keys_work_from_the_file(box: Box) -> None:
    (box.folder / "bin").mkdir()
    (box.folder / "bin" / "prog").write_text('#!/bin/sh\necho "$A:$HERE:$NAME"; echo err >&2; exec sleep 1000\n')
    (box.folder / "bin" / "prog").chmod(0o755)
    box.conf(
        "[global]\nredirect_stderr : yes\n"
        'environment : A="x y",HERE=%(here)s,NAME=%(program_name)s,PATH="%(here)s/bin:/bin:/usr/bin"\n'
    )
    box.start("prog")
    assert box.wait_stdout("err\n") == f"x y:{box.folder}:app\nerr\n"
    assert not (box.status / "__stderr").exists()


def test_a_change_is_for_the_next_start(box: Box) -> None:
    box.conf("[global]\nenvironment : A=1\n")
    pid = box.start("/bin/sh", "-c", "echo A=$A; exec sleep 1000")
    box.wait_stdout("A=1\n")
    box.conf("[global]\nenvironment : A=2\n")
    box.control("r")
    wait_for("the new configuration", lambda: box.log().count("configuration") >= 2)
    assert alive(pid)
    assert box.pid == pid
    box.control("R")
    box.wait_new_pid(pid)
    assert box.wait_stdout("A=2\n") == "A=1\nA=2\n"


def test_another_search_path_is_no_obstacle_for_adoption(box: Box) -> None:
    box.conf(f"[global]\nenvironment : PATH=/bin,HOME={box.folder}\n")
    pid = box.start("sleep", "1000")
    os.kill(box.supervisor, signal.SIGKILL)
    box.wait_gone()
    assert box.start("sleep", "1000") == pid
    assert Path(f"/proc/{pid}/environ").read_bytes().count(b"\0PATH=/bin\0") == 1
