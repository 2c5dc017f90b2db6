"""Whose the log files of a service with a `user` are: its own, so that it can open /dev/stdout."""

from __future__ import annotations

import os
import pwd
import signal
from functools import partial

import pytest
from conftest import Box
from system import as_user

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root may run a service as another user")

USER = "nobody"
LOGS = ("__stdout", "__stderr")
# Opens them by name, as programs with a configuration of their own do.
OPENS = (
    "/bin/sh",
    "-c",
    "exec 3>>/dev/stdout 4>>/dev/stderr; echo out >&3; echo err >&4; echo by name >> /proc/self/fd/1; exec sleep 86399",
)


def owners(box: Box, *names: str) -> dict[str, str]:
    return {name: pwd.getpwuid((box.status / name).stat().st_uid).pw_name for name in names}


@pytest.mark.parametrize("mode", [0o755, 0o700], ids=["searchable", "closed"])
def test_the_service_opens_them(box: Box, mode: int) -> None:
    """Whether or not it may look into the status directory."""
    box.status.mkdir(parents=True)
    box.status.chmod(mode)
    box.conf(f"[app]\nuser : {USER}\n")
    box.start(*OPENS)
    assert box.wait_stdout("by name\n") == "out\nby name\n"
    assert (box.status / "__stderr").read_text() == "err\n"
    assert owners(box, *LOGS) == dict.fromkeys(LOGS, USER)
    kept = ("supervise.log", "status", "state", "lock", "control", "ok", ".")
    assert owners(box, *kept) == dict.fromkeys(kept, "root")
    os.kill(box.pid, signal.SIGKILL)
    box.wait_stdout("by name\n", 2)


def test_those_of_a_time_without_a_user(box: Box) -> None:
    pid = box.start(*OPENS)
    box.wait_stdout("by name\n")
    assert owners(box, *LOGS) == dict.fromkeys(LOGS, "root")
    box.conf(f"[app]\nuser : {USER}\nredirect_stderr : yes\n")
    box.wait_log(f"user {USER}")
    os.kill(pid, signal.SIGKILL)
    assert box.wait_stdout("by name\n", 2).endswith("out\nerr\nby name\n")
    # Where it does not print to, it has nothing.
    assert owners(box, *LOGS) == {"__stdout": USER, "__stderr": "root"}


def test_what_somebody_else_owns_stays_his(box: Box) -> None:
    box.status.mkdir(parents=True)
    (box.status / "__stdout").touch()
    other = pwd.getpwnam("daemon")
    os.chown(box.status / "__stdout", other.pw_uid, other.pw_gid)
    box.conf(f"[app]\nuser : {USER}\n")
    box.start("/bin/sh", "-c", "echo out; exec sleep 86399")
    box.wait_stdout("out\n")
    assert owners(box, *LOGS) == {"__stdout": "daemon", "__stderr": USER}


def test_nothing_is_given_in_a_directory_of_another_users(open_box: Box) -> None:
    """There it can be a file of root's that he has moved to that name."""
    box = open_box
    box.status.mkdir(parents=True)
    entry = pwd.getpwnam(USER)
    os.chown(box.status, entry.pw_uid, entry.pw_gid)
    secret = box.status / "root's"
    secret.write_text("secret\n")
    secret.chmod(0o600)
    as_user(USER, lambda: str(os.rename(secret, box.status / "__stdout")))
    box.conf(f"[app]\nuser : {USER}\n")
    box.start("/bin/sh", "-c", "echo out; exec sleep 86399")
    box.wait_stdout("out\n")
    assert owners(box, *LOGS) == dict.fromkeys(LOGS, "root")
    assert (box.status / "__stdout").stat().st_mode & 0o777 == 0o600


def test_a_symlink_or_a_second_name_leads_nowhere(box: Box) -> None:
    victim = box.folder / "victim"
    victim.touch()
    box.conf(f"[app]\nuser : {USER}\n")
    pid = box.start("sleep", "86399")
    (box.status / "__stdout").unlink()
    (box.status / "__stdout").symlink_to(victim)
    (box.status / "__stderr").unlink()
    os.link(victim, box.status / "__stderr")
    os.kill(pid, signal.SIGKILL)
    box.wait_new_pid(pid)
    assert victim.stat().st_uid == 0


def test_it_can_do_nothing_in_the_directory(open_box: Box) -> None:
    box = open_box
    box.conf(f"[app]\nuser : {USER}\n")
    box.start(*OPENS)
    box.status.chmod(0o755)
    box.wait_stdout("by name\n")

    def outcome(act: partial[object]) -> str:
        try:
            act()
        except PermissionError:
            return "refused"
        return "done"

    def said() -> str:
        at, log = box.status, box.status / "__stdout"
        acts = [
            partial(os.rename, log, at / "x"),
            partial(os.unlink, log),
            partial(os.symlink, "/etc/passwd", at / "x"),
            partial(os.link, log, at / "x"),
            partial(os.open, at / "control", os.O_WRONLY | os.O_NONBLOCK),
            partial(os.open, at / "supervise.log", os.O_WRONLY),
            partial(os.open, at / "state", os.O_WRONLY),
        ]
        return " ".join(outcome(act) for act in acts)

    assert set(as_user(USER, said).split()) == {"refused"}
