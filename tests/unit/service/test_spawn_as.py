"""A service as another user, in another directory, with another umask (supervise/service/spawn_as.py)."""

from __future__ import annotations

import errno
import grp
import os
import posix
import pwd
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable

import pytest
import starting
from conftest import rounds
from starting import Stage, configuration, descriptors, finish, set_stage
from system import as_user, identity

import supervise
from supervise.service import spawn_as
from supervise.system.spawn import inherit

stage = pytest.fixture(set_stage)
root_only = pytest.mark.skipif(os.getuid() != 0, reason="only root may run a service as another user")

USER = "nobody"


def program(path: Path, text: str, mode: int = 0o755) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(mode)
    return path


# What is changed.


def test_umask(stage: Stage) -> None:
    mask = os.umask(0o027)
    try:
        assert stage.shell("umask") == "0027\n"
        assert stage.shell("umask", umask=0o077) == "0077\n"
        assert stage.shell("umask", umask=0) == "0000\n"
        assert stage.shell("umask") == "0027\n"
        assert (stage.status / "__stdout").stat().st_mode & 0o777 == 0o640  # supervise has made it
    finally:
        os.umask(mask)


def test_directory(stage: Stage) -> None:
    (stage.folder / "in here").mkdir()
    program(stage.folder / "in here" / "prog", "pwd; echo $0")
    here = os.getcwd()
    where = f"{stage.folder}/in here"
    # A relative program is relative to it.
    assert stage.say("./prog", directory=where) == f"{where}\n./prog\n"
    assert os.getcwd() == here
    os.chdir(stage.folder)
    try:
        assert stage.say("./prog", directory="in here") == f"{where}\n./prog\n"
    finally:
        os.chdir(here)


def test_a_directory_of_any_bytes(stage: Stage) -> None:
    name = os.fsencode(stage.folder) + b"/\xff \xc3\xa4"
    os.mkdir(name)
    stage.say("/bin/pwd", directory=name.decode("utf-8", "surrogateescape"))
    assert (stage.status / "__stdout").read_bytes() == name + b"\n"


@root_only
@pytest.mark.parametrize("numeric", [False, True], ids=["name", "uid"])
def test_user(stage: Stage, numeric: bool) -> None:
    entry = pwd.getpwnam(USER)
    groups = os.getgroups()
    os.setgroups([0, 4])
    try:
        said = stage.say("/bin/cat", "/proc/self/status", user=str(entry.pw_uid) if numeric else USER)
    finally:
        os.setgroups(groups)
    uids, gids, its_groups = identity(said)
    assert (set(uids), set(gids)) == ({entry.pw_uid}, {entry.pw_gid})
    assert set(its_groups) == set(os.getgrouplist(USER, entry.pw_gid))
    assert os.getuid() == 0


@root_only
def test_it_is_in_all_groups_of_its_user(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    more = [group.gr_gid for group in grp.getgrall()][-2:]
    asked = []

    def getgrouplist(name: str, group: int) -> list[int]:
        asked.append((name, group))
        return [group, *more] if asked == [(USER, pwd.getpwnam(USER).pw_gid)] else []

    monkeypatch.setattr(posix, "getgrouplist", getgrouplist)
    groups = identity(stage.say("/bin/cat", "/proc/self/status", user=USER))[2]
    assert set(groups) == {pwd.getpwnam(USER).pw_gid, *more}


@root_only
def test_the_environment_of_the_user(stage: Stage) -> None:
    entry = pwd.getpwnam(USER)
    stage.env.update({b"HOME": b"/root", b"USER": b"root", b"LOGNAME": b"root"})
    text = "echo $HOME $USER $LOGNAME"
    assert stage.shell(text) == "/root root root\n"
    assert stage.shell(text, user=USER) == f"{entry.pw_dir} {USER} {USER}\n"
    assert stage.shell(text, user=str(entry.pw_uid)) == f"{entry.pw_dir} {USER} {USER}\n"
    own = (("HOME", "/srv"), ("LOGNAME", ""))
    assert stage.shell(text, user=USER, environment=own) == f"/srv {USER}\n"


def test_the_current_user_stays_as_he_is(stage: Stage) -> None:
    entry = pwd.getpwuid(os.getuid())
    before = identity(Path("/proc/self/status").read_text())
    stage.env.update({b"HOME": b"/x", b"USER": b"x"})
    said = stage.shell("echo $HOME $USER; cat /proc/self/status", user=entry.pw_name)
    first, _, status = said.partition("\n")
    assert first == f"{entry.pw_dir} {entry.pw_name}"
    assert identity(status) == before


@root_only
def test_an_unprivileged_supervise_may_only_stay_who_it_is(stage: Stage) -> None:
    def start(user: str) -> str:
        result = spawn_as.spawn_as(configuration(user=user), ["/usr/bin/true"], {}, (), [])
        return result if isinstance(result, str) else f"code {finish(result)}"

    assert as_user(USER, lambda: start(USER)) == "code 0"
    assert as_user(USER, lambda: start(str(pwd.getpwnam(USER).pw_uid))) == "code 0"
    refusal = "cannot become user {}: only root may run a service as another user"
    assert as_user(USER, lambda: start("daemon")) == refusal.format("daemon")
    assert as_user(USER, lambda: start("root")) == refusal.format("root")
    assert as_user(USER, lambda: start("nobody2")) == "user nobody2 does not exist"


@root_only
def test_outputs_are_opened_by_supervise(stage: Stage) -> None:
    assert stage.status.stat().st_mode & 0o777 == 0o700
    assert stage.shell("echo out; echo err >&2", user=USER) == "out\n"
    assert stage.output("__stderr") == "err\n"
    assert (stage.status / "__stdout").stat().st_uid == pwd.getpwnam(USER).pw_uid  # and given to him


@root_only
def test_everything_at_once(stage: Stage) -> None:
    (stage.folder / "in").mkdir()
    program(stage.folder / "in" / "prog", "id -un; pwd; umask; echo $A; echo err >&2")
    said = stage.say(
        "prog",
        user=USER,
        directory=f"{stage.folder}/in",
        umask=0o007,
        environment=(("A", "1"), ("PATH", ".:/usr/bin:/bin")),
        redirect_stderr=True,
    )
    assert said == f"{USER}\n{stage.folder}/in\n0007\n1\nerr\n"


@root_only
def test_the_health_check_is_the_same_user_in_the_same_place(stage: Stage) -> None:
    launcher = stage.launcher("/bin/true", user=USER, directory=str(stage.folder), umask=0o007)
    output = os.memfd_create("output")
    try:
        pid = launcher.check_command(("/bin/sh", "-c", "id -un; pwd; umask; echo $HOME"), 4711, output)
        assert isinstance(pid, int), pid
        assert finish(pid) == 0
        home = pwd.getpwnam(USER).pw_dir
        assert os.pread(output, 4096, 0).decode() == f"{USER}\n{stage.folder}\n0007\n{home}\n"
    finally:
        os.close(output)


# What cannot be done is said.  `failure` also sees that no process and no descriptor is left.


def test_a_user_that_does_not_exist(stage: Stage) -> None:
    assert stage.failure("/bin/true", user="nobody2") == "user nobody2 does not exist"
    assert stage.failure("/bin/true", user="nobody2:root") == "user nobody2 does not exist"
    assert stage.failure("/bin/true", user=f"{os.getuid()}:nobody2") == "group nobody2 does not exist"
    assert stage.failure("/bin/true", group="nobody2") == "group nobody2 does not exist"


@root_only
def test_a_user_that_the_system_refuses(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def setgroups(groups: list[int]) -> None:
        raise PermissionError(1, os.strerror(1))

    monkeypatch.setattr(posix, "setgroups", setgroups)
    assert stage.failure("/bin/true", user=USER) == f"cannot become user {USER}: Operation not permitted"


def test_a_directory_that_cannot_be_entered(stage: Stage) -> None:
    where = f"{stage.folder}/none"
    assert stage.failure("/bin/true", directory=where) == (
        f"cannot change to directory {where}: No such file or directory"
    )
    Path(where).write_text("")
    assert stage.failure("/bin/true", directory=where) == f"cannot change to directory {where}: Not a directory"


@root_only
def test_a_directory_that_the_user_cannot_enter(stage: Stage) -> None:
    where = f"{stage.folder}/private"
    os.mkdir(where, 0o700)
    assert stage.say("/bin/pwd", directory=where) == f"{where}\n"
    assert stage.failure("/bin/pwd", directory=where, user=USER) == (
        f"cannot change to directory {where}: Permission denied"
    )


def test_a_program_that_cannot_be_executed(stage: Stage) -> None:
    where = stage.folder / "in"
    where.mkdir()
    program(where / "plain", "", 0o644)
    (where / "none").write_text("#!/no/such\n")
    (where / "none").chmod(0o755)
    (where / "text").write_text("echo no\n")
    (where / "text").chmod(0o755)
    (where / "folder").mkdir()

    def failure(name: str) -> str:
        return stage.failure(name, directory=str(where))

    assert failure("./missing") == "./missing: No such file or directory"
    assert failure("./plain") == "./plain: not executable"
    assert failure("./none") == "./none: its interpreter does not exist: '/no/such'"
    assert failure("./folder") == "./folder: is a directory"
    assert failure("./text/x") == "./text/x: Not a directory"
    assert failure("./text").startswith("./text: not a program: ")
    assert failure("no-such-program") == "no-such-program: not found in PATH"
    assert failure("a\0b").startswith("'a\\x00b': ")


@root_only
def test_a_folder_of_the_path_that_may_not_be_searched_is_named(stage: Stage) -> None:
    closed = stage.folder / "closed"
    closed.mkdir(0o700)
    program(closed / "prog", "", 0o755)
    failure = stage.failure("prog", user=USER, environment=(("PATH", f"/none:{closed}"),))
    assert failure == f"prog: not found in PATH, as far as that may be searched: {closed}/prog: Permission denied"


@root_only
def test_a_program_that_the_user_may_not_execute(stage: Stage) -> None:
    path = program(stage.folder / "prog", "echo ran", 0o700)
    assert stage.say(str(path), umask=0o022) == "ran\n"
    assert stage.failure(str(path), user=USER) == f"{path}: Permission denied"


def test_the_reasons_are_those_of_posix_spawn(stage: Stage) -> None:
    (stage.folder / "text").write_text("echo no\n")
    (stage.folder / "text").chmod(0o755)
    for name in ("/none", "none", "/", f"{stage.folder}/text", "/etc/passwd"):
        assert stage.failure(name, umask=0o022) == stage.failure(name)


def test_no_process_and_no_pipe(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> int:
        raise BlockingIOError(11, os.strerror(11))

    with monkeypatch.context() as patch:
        patch.setattr(posix, "fork", refused)
        assert stage.failure("/bin/true", umask=0) == "cannot fork: Resource temporarily unavailable"
        patch.setattr(posix, "pipe2", refused)
        assert stage.failure("/bin/true", umask=0) == "cannot make a pipe: Resource temporarily unavailable"
    assert stage.say("/bin/true", umask=0) == ""
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()


def test_a_child_that_waits_for_ever_is_given_up(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spawn_as, "PATIENCE", 0.1)
    monkeypatch.setattr(spawn_as, "change_to", lambda _: time.sleep(1000))
    assert stage.failure("/bin/true", directory="/").startswith("not executed within 0 seconds: its directory, or ")


# The child never gets into the code of its parent.


def child_that_fails(stage: Stage, monkeypatch: pytest.MonkeyPatch, why: Callable[[], Any]) -> str:
    monkeypatch.setattr(spawn_as, "change_to", lambda _: why())
    return stage.failure("/bin/true", directory="/")


def test_the_process_is_known_whatever_fails_after_its_start(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    poll, read, close = select.poll, os.read, os.close
    failures = [4]

    def failing(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            failures[0] -= 1
            if failures[0] > 0:
                raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
            return real(*args)

        return call

    def closing(fd: int) -> None:
        close(fd)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    launcher = stage.launcher("/bin/echo", "once", umask=0)
    with monkeypatch.context() as patch:
        patch.setattr(select, "poll", failing(poll))
        patch.setattr(posix, "read", failing(read))
        patch.setattr(posix, "close", closing)
        pid = launcher.service()
    assert isinstance(pid, int)
    assert finish(pid) == 0
    assert stage.output() == "once\n"


def test_a_bug_in_the_child_is_a_failed_start(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def bug() -> None:
        raise RuntimeError("no good")

    assert child_that_fails(stage, monkeypatch, bug) == "cannot prepare its process: RuntimeError: no good"


def test_what_is_buffered_is_written_once(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    with open(stage.folder / "buffered", "w") as file:
        file.write("once\n")
        assert stage.failure("/bin/true", directory="/none")
        assert child_that_fails(stage, monkeypatch, lambda: [][0]).endswith("IndexError: list index out of range")
    assert (stage.folder / "buffered").read_text() == "once\n"


def test_no_handler_runs_in_the_child(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe2(os.O_NONBLOCK)
    handled = []
    before = signal.signal(signal.SIGTERM, lambda *_: handled.append(1))
    wakeup = signal.set_wakeup_fd(writing)
    try:
        # To itself, while all are blocked: it comes when they no longer are, and ends a process that has no handler.
        monkeypatch.setattr(spawn_as, "change_to", lambda _: os.kill(os.getpid(), signal.SIGTERM))
        pid = stage.launcher("/bin/true", directory="/").service()
        assert isinstance(pid, int), pid
        assert finish(pid) == -signal.SIGTERM
        assert handled == []
        assert select.select([reading], [], [], 0)[0] == []
    finally:
        signal.set_wakeup_fd(wakeup)
        signal.signal(signal.SIGTERM, before)
        os.close(reading)
        os.close(writing)


def test_signals_to_the_parent_are_not_lost_meanwhile(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    handled = []
    before = signal.signal(signal.SIGTERM, lambda *_: handled.append(1))
    parent = os.getpid()
    try:
        monkeypatch.setattr(spawn_as, "change_to", lambda _: os.kill(parent, signal.SIGTERM))
        assert stage.say("/bin/echo", "on", directory="/") == "on\n"
        assert handled == [1]
    finally:
        signal.signal(signal.SIGTERM, before)


# In a process of its own, which is smaller than the test's and so forks faster.
MANY_STARTS = """
import os, sys
sys.path[:0] = sys.argv[1:3]
from starting import children, descriptors, set_stage
from supervise.protocol.exitstatus import ExitStatus

for stage in set_stage():
    good, bad = stage.launcher("/bin/true", directory="/"), stage.launcher("/bin/true", directory="/none")
    before = descriptors(), children()
    for _ in range(int(sys.argv[3])):
        os.waitpid(good.service(), 0)
        assert isinstance(bad.service(), ExitStatus)
    assert (descriptors(), children()) == before
    print("nothing")
"""


def test_many_starts_leave_nothing() -> None:
    places = [str(Path(module.__file__).parent) for module in (starting, supervise)]
    args = [sys.executable, "-S", "-E", "-c", MANY_STARTS, places[0], str(Path(places[1]).parent)]
    args.append(str(rounds(100, 500)))
    done = subprocess.run(args, capture_output=True, text=True, timeout=100)
    assert (done.stderr, done.stdout) == ("", "nothing\n")


def test_descriptors_may_cross(stage: Stage) -> None:
    # The pipe on which the child reports has the first free number.
    first = os.open(os.devnull, os.O_RDONLY)
    os.close(first)
    output = os.memfd_create("output")  # now that one
    free = min(set(range(3, 100)) - {int(name) for name in descriptors()})
    for number in range(3, free + 4):
        os.ftruncate(output, 0)
        os.lseek(output, 0, os.SEEK_SET)
        if number == output:
            continue
        actions = [inherit(output, 1), inherit(output, number)]
        pid = spawn_as.spawn_as(
            configuration(), ["/bin/sh", "-c", f"echo one; echo two >/dev/fd/{number}"], stage.env, (), actions
        )
        assert isinstance(pid, int), pid
        assert finish(pid) == 0
        assert os.pread(output, 100, 0) in (b"one\ntwo\n", b"two\n")  # the second is opened anew
        failed = spawn_as.spawn_as(configuration(), ["/none"], stage.env, (), actions)
        assert failed == "/none: No such file or directory"
    os.close(output)
