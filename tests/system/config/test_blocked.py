"""A configuration in which what restricts cannot be understood, in front of real services: never root instead."""

from __future__ import annotations

import errno
import json
import os
import pwd
import re
import signal
import types
from pathlib import Path
from typing import Any

import pytest
from conftest import Box, alive, wait_for
from heirs import Private, kill_both, kill_supervise, state

from supervise.config import file
from supervise.config.file import SIZE_LIMIT, ConfFile
from supervise.runtime.event_log import Log
from supervise.runtime.reactor import Reactor
from supervise.service.launcher import Launcher
from supervise.service.parts import Parts
from supervise.service.service import Service
from supervise.supervisor.conf_follower import ConfFollower

root_only = pytest.mark.skipif(os.getuid() != 0, reason="only root may run a service as another user")

GOOD = "[app]\nuser : nobody\numask : 027\n"
BAD = '[app]\nuser : "nobody"\nstopsignal : HUP\n'
STAYS = "what restricts the service stays as it was: user nobody, group (empty), umask 027, directory (empty)"
SHELL = ("/bin/sh", "-c", "umask; exec sleep 86399")


def user_of(pid: int) -> str:
    return pwd.getpwuid(os.stat(f"/proc/{pid}").st_uid).pw_name


def restarted(box: Box) -> str:
    """The user of the next process, with its umask."""
    pid, count = box.pid, box.stdout().count("\n")
    os.kill(pid, signal.SIGKILL)
    pid = box.wait_new_pid(pid)
    wait_for("its umask", lambda: box.stdout().count("\n") > count)
    return f"{user_of(pid)} {box.stdout().splitlines()[-1]}"


# A start.


@pytest.mark.parametrize("options", [(), ("--foreground",)], ids=["daemon", "foreground"])
@pytest.mark.parametrize(
    ("data", "why"),
    [
        (BAD, """:2: user: '"nobody"' is neither the name nor the number of a user"""),
        ("[global]\nusers : nobody\n", ":2: unknown key 'users': probably a typo of user"),
        ("[app]\nuser nobody:nogroup\n", ":2: unknown key 'user nobody': probably a typo of user"),
        ("[app]\numask : 0o77\n", ":2: umask: '0o77' is not an octal number"),
        ("[app]\ndirectory : %(ENV_NOPE)s/x\n", ":2: directory: '%(ENV_NOPE)s/x': no variable NOPE in supervise's env"),
        ("[app]\nmax_tries : x\nnonsense\n user : nobody\n", ":4: indented, so it does not count: 'user : nobody'"),
        ("[app]\nuser : nobody\n".encode("utf-16"), ":2: holds a NUL byte: skipped"),
        ("[app]\n" + "#" * SIZE_LIMIT + "\nuser : nobody\n", f": longer than {SIZE_LIMIT} bytes: the rest is not read"),
    ],
    ids=["a value", "a key", "a sign", "a number", "a variable", "indented", "UTF-16", "behind the limit"],
)
def test_nothing_is_started(box: Box, data: str | bytes, why: str, options: tuple[str, ...]) -> None:
    (box.folder / "supervise.conf").write_bytes(data if isinstance(data, bytes) else data.encode())
    done = box.run(*options, "-u", "status/app", "/usr/bin/touch", "ran")
    assert (done.returncode, done.stdout) == (111, "")
    line, *more = done.stderr.splitlines()
    assert line.startswith(f"supervise: fatal: cannot start the service: supervise.conf{why}")
    assert not more
    assert sorted(os.listdir(box.folder)) == ["supervise.conf"]


def test_check_says_what_keeps_the_service_from_starting(box: Box) -> None:
    box.conf("[other]\numask : 9\n[global]\nusr : x\nmax_tries : y\n[app]\n")
    blocks = " (the service is not started)"
    for name, blocking in (("app", {4}), ("other", {2}), ("", {2, 4})):
        done = box.run("--check", *filter(None, [name]))
        assert done.returncode == 100
        lines = [line for line in done.stdout.splitlines() if line.startswith("supervise.conf:")]
        assert len(lines) == 3
        assert {int(line.split(":")[1]) for line in lines if line.endswith(blocks)} == blocking


# A supervise that runs.


@root_only
@pytest.mark.parametrize("how", ["inotify", "r", "HUP"])
def test_on_a_reload_what_restricts_stays_and_the_rest_applies(box: Box, how: str) -> None:
    box.conf(GOOD)
    box.start(*SHELL)
    box.wait_stdout("0027\n")
    box.conf(BAD)
    if how != "inotify":
        box.control("r") if how == "r" else os.kill(box.supervisor, signal.SIGHUP)
    box.wait_warning(f"supervise.conf: {STAYS}")
    box.wait_warning('supervise.conf:2: user: \'"nobody"\' is neither')
    assert "stopsignal HUP" in box.wait_log("configuration supervise.conf: ", 2)
    assert restarted(box) == "nobody 0027"
    box.conf("[app]\numask : 077\n")
    box.wait_log(", umask 077\n")
    assert restarted(box) == f"{user_of(os.getpid())} 0077"


@root_only
def test_a_file_that_goes_away_does_not_take_it_along(box: Box) -> None:
    """An editor that deletes and creates, or writes into an emptied file, must not open a window to root."""
    box.conf(GOOD + "stopsignal : HUP\n")
    box.start(*SHELL)
    box.wait_stdout("0027\n")
    for count, change in enumerate((lambda: (box.folder / "supervise.conf").unlink(), lambda: box.conf("")), 1):
        change()
        box.wait_warning(f"supervise.conf: {STAYS}", count)
        assert restarted(box) == "nobody 0027"
    box.conf("# nothing\n")
    box.wait_log("configuration supervise.conf: no policy: alarm_interval is 0, restarts are not limited\n")
    assert restarted(box).startswith(user_of(os.getpid()))
    assert state(box)["restrictions"] == {}


@root_only
@pytest.mark.parametrize("change", ["bad", "gone"])
@pytest.mark.parametrize("how", ["e", "kill"])
def test_the_next_supervise_keeps_what_the_state_says(box: Box, how: str, change: str) -> None:
    box.conf(GOOD)
    pid = box.start(*SHELL)
    box.wait_stdout("0027\n")
    assert state(box)["restrictions"] == {"user": "nobody", "umask": "027"}
    if how == "kill":
        kill_supervise(box)
    (box.folder / "supervise.conf").unlink() if change == "gone" else box.conf(BAD)
    if how == "kill":
        assert STAYS in box.run("-u", "status/app", *SHELL).stderr
        box.wait_log("taken over")
    else:
        box.wait_warning(STAYS)
        box.control("e")
        box.wait_log("replaced by the installed version")
    box.wait_warning(STAYS, 1 if how == "kill" else 2)
    assert box.pid == pid
    assert restarted(box) == "nobody 0027"
    assert state(box)["restrictions"] == {"user": "nobody", "umask": "027"}


@root_only
def test_a_process_that_the_state_does_not_name_yet_is_known_by_the_user_in_force(box: Box) -> None:
    """As if supervise had been killed between a start and the state that names it, and then the file was broken."""
    box.conf(GOOD)
    pid = box.start("sleep", "86399")
    old = (box.status / "state").read_bytes()
    os.kill(pid, signal.SIGKILL)
    pid = box.wait_new_pid(pid)
    wait_for("the new state", lambda: state(box)["service"] and state(box)["service"]["pid"] == pid)
    kill_supervise(box)
    (box.status / "state").write_bytes(old)
    box.conf("[app]\numask : 9\n")
    assert box.run("-u", "status/app", "sleep", "86399").returncode == 0
    assert box.pid == pid
    os.kill(pid, signal.SIGKILL)
    assert user_of(box.wait_new_pid(pid)) == "nobody"


@root_only
@pytest.mark.parametrize("recorded", [None, {"user": "no body"}, {"future": "1"}], ids=["old", "broken", "newer"])
def test_where_nobody_knows_what_was_in_force_starts_fail(box: Box, recorded: Any) -> None:
    box.conf(GOOD)
    pid = box.start("sleep", "86399")
    kill_supervise(box)
    fields = state(box)
    if recorded is None:
        del fields["restrictions"]
    else:
        fields["restrictions"] = recorded
    (box.status / "state").write_text(json.dumps(fields))
    box.conf(BAD)
    done = box.run("-u", "status/app", "sleep", "86399")
    assert (done.returncode, box.pid) == (0, pid)
    why = """supervise.conf:2: user: '"nobody"' is neither the name nor the number of a user"""
    assert f"supervise.conf: the service is not started: {why}" in done.stderr
    os.kill(pid, signal.SIGKILL)
    box.wait_warning(why, 3)
    assert box.pid == 0
    # The next supervise does not know it either, not even where there is no file.
    (box.folder / "supervise.conf").unlink()
    box.wait_warning("is absent: no policy")
    box.control("e")
    box.wait_log("replaced by the installed version")
    count = box.warnings.count(why)
    box.wait_warning(why, count + 1)
    assert box.pid == 0
    box.conf(GOOD)
    assert user_of(box.wait_new_pid(pid)) == "nobody"


@root_only
def test_without_a_service_to_take_over_nothing_is_started(box: Box) -> None:
    box.conf(GOOD)
    box.start("sleep", "86399")
    pid = kill_both(box)
    before = sorted(os.listdir(box.status))
    box.conf(BAD)
    for more in ((), ("--resume",)):
        done = box.run(*more, "-u", "status/app", "sleep", "86399")
        assert done.returncode == 111
        assert re.fullmatch("supervise: fatal: cannot start the service: supervise.conf:2: user: .*\n", done.stderr)
    assert not box.supervisor and not alive(pid)
    assert {*os.listdir(box.status)} - {*before} <= {"supervise.log.wf"}


# What a new configuration takes and is not there.


@root_only
def test_where_the_package_was_replaced_it_is_not_started_without_what_restricts_it(box: Box) -> None:
    private = Private(box)
    private.conf("[app]\nmax_tries : 99\n")
    pid = private.start("sleep", "86399")
    private.restore("system.installed")  # which makes it another one
    private.conf(GOOD)
    private.wait_warning("another version is installed")
    os.kill(pid, signal.SIGKILL)
    private.wait_warning("another version of supervise is installed: upgrade this one (letter e)", 2)
    assert private.pid == 0
    private.conf("[app]\nuser : nobody\numask : 9\n")
    private.wait_warning("what restricts the service stays as it was: user nobody, group (empty), umask 027")
    private.conf(GOOD)
    private.control("e")
    assert user_of(private.wait_new_pid(pid)) == "nobody"


@root_only
def test_where_it_cannot_even_be_read_any_more_only_what_plainly_does_not_restrict_is_passed_over(box: Box) -> None:
    """A supervise that has never had a configuration has nothing in memory that reads one."""
    private = Private(box)
    pid = private.start("sleep", "86399")
    private.restore("system.installed")
    why = "supervise.conf: cannot be read: another version of supervise is installed: upgrade this one (letter e)"
    private.conf("# none\n[app]\nmax_tries : 9\n")
    private.wait_warning(why)
    os.kill(pid, signal.SIGKILL)
    pid = private.wait_new_pid(pid)
    private.conf("[app]\nuser : nobody\n")
    private.wait_warning(why, 2)
    private.wait_warning("the service is not started")
    count = private.warnings.count(why)
    os.kill(pid, signal.SIGKILL)
    private.wait_warning(why, count + 2)
    assert private.pid == 0
    private.control("e")
    assert user_of(private.wait_new_pid(pid)) == "nobody"


def test_what_cannot_be_loaded_for_a_moment_blocks_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    class Pretended:
        config: Any = None
        blocked = not_inherited = ""
        conf = None
        not_in_force: list[str] = []
        notify_socket = ""
        watchdog_usec = 0
        notify_address = None
        loggers = None
        can_fork = True

        def needs_fork(self, config: Any) -> bool:
            return False

        def govern(self, config: Any) -> None:
            self.config, self.blocked = config, ""

    launcher: Any = Pretended()
    config = file.Config()
    machine: Any = types.SimpleNamespace(config=config)
    other: Any = types.SimpleNamespace(configure=lambda config: None)
    service = Service(machine, launcher, launcher, *[other] * 5)

    def refused(*_: object) -> bool:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patch:
        patch.setattr(Parts, "_import_parts", refused)
        for _ in range(2):
            service.parts.equip()
            assert "cannot load what its configuration takes: " in launcher.blocked
            assert launcher.not_in_force == [f"the service is not started: {launcher.blocked}"]
    service.parts.equip()
    assert (launcher.blocked, launcher.config, launcher.not_in_force) == ("", config, [])


def test_what_is_blocked_starts_neither_service_nor_check(tmp_path: Path) -> None:
    launcher = Launcher.__new__(Launcher)
    launcher.blocked = "conf:2: no"
    found = launcher.service()
    assert not isinstance(found, int) and found.failure == "conf:2: no"
    assert launcher.check_command(("true",), 1, 1) == "conf:2: no"


# A file that cannot be read for a moment.


class Unwatched:
    """In the place of a Watch."""

    fd, arming, plan, helper = -1, False, None, 0

    def arm(self, plan: object) -> None:
        self.plan = plan  # type: ignore[assignment]


def test_a_file_that_could_not_be_read_is_read_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "conf"
    path.write_text("[app]\nmax_tries : 1\n")
    conf = ConfFile(str(path), "app", True)
    config, _ = conf.read()
    lines: list[str] = []

    class Heard(Log):
        def __init__(self) -> None:
            pass

        def add(self, severity: str, template: str, *values: object) -> None:
            lines.append(template % values)

    follower = ConfFollower(conf, config, Unwatched(), Reactor(Heard()), Heard())  # type: ignore[arg-type]
    path.write_text("[app]\nmax_tries : 2\n")
    with monkeypatch.context() as patch:

        def refused(_: str) -> object:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

        patch.setattr(file, "read_file", refused)
        assert follower.read() == config
        for _ in range(3):
            assert follower.look_at is not None
            assert follower.look() is None
    assert lines.count(f"{path}: cannot be read: Too many open files") == 1
    found = follower.look()
    assert found is not None and found.max_tries == 2


def test_what_was_read_is_not_lost_with_the_watches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "conf"
    path.write_text("[app]\nuser : www\n")
    conf = ConfFile(str(path), "app", True)
    log: Any = types.SimpleNamespace(add=lambda *_: None)
    follower = ConfFollower(conf, conf.read()[0], Unwatched(), Reactor(log), log)  # type: ignore[arg-type]
    path.write_text("[app]\nuser : nobody\n")

    def refused() -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(follower, "rewatch", refused)
        with pytest.raises(MemoryError):
            follower.read()
    assert follower.look_at is not None
    found = follower.look()
    assert found is not None and found.user == "nobody"
