"""Users as people write them: names, numbers, with a group or without, in passwd or not (credentials.py)."""

from __future__ import annotations

import grp
import os
import posix
import pwd
import random
import subprocess
from pathlib import Path
from typing import Any, Callable

import pytest
from conftest import PATIENCE, SUPERVISE, Box
from starting import Stage, configuration, finish, set_stage
from system import as_somebody, identity, needs

from supervise.service import spawn_as

stage = pytest.fixture(set_stage)
root_only = pytest.mark.skipif(os.getuid() != 0, reason="only root may run a service as another user")

NOBODY = pwd.getpwnam("nobody")
HIS_GROUP = grp.getgrgid(NOBODY.pw_gid).gr_name
ADM = grp.getgrnam("adm").gr_gid
STRANGER = 1234567  # nobody in passwd, and in no group
CAT = ("/bin/cat", "/proc/self/status")
ASK = "echo ${HOME-none} ${USER-none} ${LOGNAME-none}"


def groups_of(name: str, gid: int) -> set[int]:
    return set(os.getgrouplist(name, gid))


@pytest.fixture
def many_groups() -> Any:
    """The test is in groups of its own, as root may be that was somebody else before."""
    groups = os.getgroups()
    os.setgroups([0, 4, 6, 54321])
    yield
    os.setgroups(groups)


@root_only
@pytest.mark.usefixtures("many_groups")
@pytest.mark.parametrize(
    ("user", "group", "uid", "gid"),
    [
        ("nobody", "", NOBODY.pw_uid, NOBODY.pw_gid),
        (f"nobody:{HIS_GROUP}", "", NOBODY.pw_uid, NOBODY.pw_gid),
        ("nobody:adm", "", NOBODY.pw_uid, ADM),
        (f"nobody:{ADM}", "", NOBODY.pw_uid, ADM),
        ("nobody:678", "", NOBODY.pw_uid, 678),
        ("nobody", "adm", NOBODY.pw_uid, ADM),
        ("nobody:adm", "adm", NOBODY.pw_uid, ADM),
        ("nobody", "678", NOBODY.pw_uid, 678),
        (f"{NOBODY.pw_uid}", "", NOBODY.pw_uid, NOBODY.pw_gid),
        (f"{NOBODY.pw_uid}:adm", "", NOBODY.pw_uid, ADM),
        (f"{STRANGER}", "", STRANGER, STRANGER),
        (f"{STRANGER}:678", "", STRANGER, 678),
        (f"{STRANGER}:adm", "", STRANGER, ADM),
        (f"{STRANGER}", "adm", STRANGER, ADM),
        ("root:adm", "", 0, ADM),
        ("", "adm", 0, ADM),
        ("", "678", 0, 678),
    ],
)
def test_who_it_is(stage: Stage, user: str, group: str, uid: int, gid: int) -> None:
    uids, gids, groups = identity(stage.say(*CAT, user=user, group=group))
    assert (set(uids), set(gids)) == ({uid}, {gid})
    # Those of initgroups(3) with the group that is given; for who is not known, that one only.  None of supervise's.
    expected = {gid} if uid == STRANGER else groups_of(pwd.getpwuid(uid).pw_name, gid)
    assert set(groups) == expected
    assert 54321 not in groups


@root_only
@pytest.mark.parametrize("name", ["www-data", "_apt", "user.name", "DOMAIN\\user", "user@dom", "host$"])
@pytest.mark.parametrize("more", ["", ":adm"])
def test_any_name_that_there_is(stage: Stage, monkeypatch: pytest.MonkeyPatch, name: str, more: str) -> None:
    asked = []

    def getpwnam(name: str) -> pwd.struct_passwd:
        asked.append(name)
        return pwd.struct_passwd((name, "x", STRANGER, 678, "", "/srv/" + name, "/bin/sh"))

    monkeypatch.setattr(pwd, "getpwnam", getpwnam)
    text = f"{ASK}; cat /proc/self/status"
    said, _, status = stage.shell(text, user=name + more).partition("\n")
    assert said == f"/srv/{name} {name} {name}"
    gid = ADM if more else 678
    assert identity(status) == ([STRANGER] * 4, [gid] * 4, [gid])


@root_only
def test_what_the_environment_says(stage: Stage) -> None:
    stage.env.update({b"HOME": b"/root", b"USER": b"root", b"LOGNAME": b"root"})
    assert stage.shell(ASK) == "/root root root\n"
    assert stage.shell(ASK, group="adm") == "/root root root\n"
    assert stage.shell(ASK, user="nobody:adm") == f"{NOBODY.pw_dir} nobody nobody\n"
    # Of a user who is not known, nothing that was said of root.
    assert stage.shell(ASK, user=str(STRANGER)) == "/ none none\n"
    own = (("HOME", "/srv"), ("USER", "x"))
    assert stage.shell(ASK, user=str(STRANGER), environment=own) == "/srv x none\n"


def test_who_or_what_does_not_exist(stage: Stage) -> None:
    assert stage.failure("/bin/true", user="nobody2:adm") == "user nobody2 does not exist"
    own = str(os.getuid())
    for keys in ({"user": f"{own}:nobody2"}, {"user": own, "group": "nobody2"}, {"group": "nobody2"}):
        assert stage.failure("/bin/true", **keys) == "group nobody2 does not exist"


@root_only
def test_a_group_that_the_system_refuses(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(1, os.strerror(1))

    monkeypatch.setattr(posix, "setresgid", refused)
    assert stage.failure("/bin/true", user="nobody:adm") == "cannot become user nobody:adm: Operation not permitted"
    assert stage.failure("/bin/true", group="adm") == "cannot become group adm: Operation not permitted"


# An unprivileged supervise.


def as_stranger(found: Callable[[], str]) -> str:
    """What a function returns in a process of a user without an entry, of group 678."""
    return as_somebody(STRANGER, 678, [678, 679], found)


@root_only
@pytest.mark.parametrize(
    ("user", "group", "result"),
    [
        (f"{STRANGER}", "", "code 0"),
        (f"{STRANGER}:678", "", "code 0"),
        (f"{STRANGER}", "678", "code 0"),
        ("", "678", "code 0"),
        (f"{STRANGER}:adm", "", "cannot become group adm: only root may run a service with another group"),
        (f"{STRANGER}:0", "", "cannot become group 0: only root may run a service with another group"),
        ("", "adm", "cannot become group adm: only root may run a service with another group"),
        ("nobody", "", "cannot become user nobody: only root may run a service as another user"),
        ("0", "", "cannot become user 0: only root may run a service as another user"),
        ("", "", "code 0"),
    ],
)
def test_without_privileges_one_may_only_stay_who_one_is(stage: Stage, user: str, group: str, result: str) -> None:
    text = (
        '[ "$(id -u) $(id -g) $(id -G)" = "1234567 678 678 679" ] && [ "$HOME $USER" = "/x y" ]'  # nothing has changed
    )

    def start() -> str:
        env = {b"HOME": b"/x", b"USER": b"y", b"PATH": b"/usr/bin:/bin"}
        found = spawn_as.spawn_as(configuration(user=user, group=group), ["/bin/sh", "-c", text], env, (), [])
        return found if isinstance(found, str) else f"code {finish(found)}"

    assert as_stranger(start) == result


# From the file.


@root_only
def test_from_the_file_to_the_process(box: Box) -> None:
    box.conf(f"[global]\nuser : {STRANGER}:678\n")
    box.start("/bin/sh", "-c", f"{ASK}; cat /proc/self/status; exec sleep 1000")
    said = box.wait_stdout("Groups:")
    box.wait_log(f", user {STRANGER}:678\n")
    assert f"  user : {STRANGER}:678\n" in box.run("--check", "app").stdout
    assert said.startswith("/ none none\n")
    assert os.stat(f"/proc/{box.pid}").st_uid == STRANGER


@root_only
@pytest.mark.parametrize("conf", ["user : {0}\n", "user : {0}:{0}\n", "group : {0}\n", "user : {0}\ngroup : {0}\n"])
def test_a_supervise_that_is_a_user_without_an_entry(box: Box, conf: str) -> None:
    needs("setpriv")
    user = random.randrange(1 << 28, 1 << 29)
    os.chown(box.folder, user, user)
    # It may have to read what only root can reach, this Python to begin with.
    may = "-all,+dac_override,+dac_read_search"
    words = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", f"--inh-caps={may}"]
    words.append(f"--ambient-caps={may}")
    if subprocess.run([*words, "/bin/true"], capture_output=True).returncode:
        pytest.skip("setpriv may not make a process another user's here")
    box.conf("[app]\n" + conf.format(user))
    args = [*words, SUPERVISE, "-u", "status/app", "sleep", "1000"]
    done = subprocess.run(args, cwd=box.folder, env=box.env, capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stderr) == (0, "")
    status = Path(f"/proc/{box.pid}/status").read_text()
    assert identity(status) == ([user] * 4, [user] * 4, [])
