"""Whose is the configuration?  It decides what is run as root, so what others can have written blocks."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from conftest import Box, alive
from heirs import kill_both

from supervise.config.file import ConfFile
from supervise.system.trust import Untrusted, open_file

root_only = pytest.mark.skipif(os.getuid() != 0, reason="only root may give files away")

OTHER = 65534
FIVE = "[global]\nmax_tries : 5\n"


def why_not(path: Path) -> str:
    try:
        os.close(open_file(str(path), os.O_RDONLY))
    except Untrusted as why:
        return str(why)
    return ""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "etc"
    folder.mkdir(mode=0o755)
    (folder / "conf").write_text(FIVE)
    return folder / "conf"


def test_ones_own_is_believed(path: Path) -> None:
    assert why_not(path) == ""
    os.chown(path, -1, os.getegid())
    path.chmod(0o664)  # a umask of 002, and a group of one's own
    os.chown(path.parent, -1, os.getegid())
    path.parent.chmod(0o775)
    assert why_not(path) == ""
    os.link(path, f"{path}2")
    assert why_not(path) == ""
    assert why_not(Path("/dev/null")) == ""


@root_only
@pytest.mark.parametrize("owner", [OTHER, 0])
def test_a_users_own_and_roots_are_believed_by_him(owner: int) -> None:
    """A umask of 002, and a group for each user."""
    with tempfile.TemporaryDirectory(dir="/tmp") as made:  # what pytest makes is closed to others
        folder = Path(made)
        (folder / "conf").write_text(FIVE)
        for one, mode in ((folder, 0o2775), (folder / "conf", 0o664)):
            os.chown(one, owner, OTHER)
            one.chmod(mode)
        os.setegid(OTHER)
        os.seteuid(OTHER)
        try:
            why = why_not(folder / "conf")
        finally:
            os.seteuid(0)
            os.setegid(0)
    assert why == ""


def test_one_that_everybody_may_write_to(path: Path) -> None:
    path.chmod(0o666)
    assert why_not(path) == "it can be written to by everybody (mode 0666)"


@root_only
def test_one_that_a_group_may_write_to(path: Path) -> None:
    os.chown(path, 0, 12345)
    path.chmod(0o664)
    assert why_not(path) == "it can be written to by group 12345 (mode 0664)"


@root_only
def test_one_of_another_user(path: Path) -> None:
    os.chown(path, OTHER, OTHER)
    path.chmod(0o400)
    assert why_not(path) == f"it belongs to user {OTHER}"


@root_only
def test_one_in_a_directory_of_another_user(path: Path) -> None:
    os.chown(path.parent, OTHER, OTHER)
    assert why_not(path) == f"{path.parent}, which it is in, belongs to user {OTHER}"


@pytest.mark.parametrize("mode", [0o777, 0o1777])
def test_one_below_a_directory_that_everybody_may_write_to(path: Path, mode: int) -> None:
    path.parent.parent.chmod(mode)
    where = path.parent.parent
    why = f"{where}, which it is in, can be written to by everybody (mode 0777)"
    assert why_not(path) == ("" if mode & 0o1000 else why)
    assert why_not(path.with_name("..") / "etc" / "conf") == why_not(path)


def test_what_is_above_the_current_directory_counts(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    assert why_not(Path("conf")) == ""
    path.parent.parent.chmod(0o777)
    assert "can be written to by everybody" in why_not(Path("conf"))


@root_only
def test_one_behind_a_symlink_of_another_user(path: Path) -> None:
    link = path.parent / "link"
    for target in ("conf", str(path), "../etc/conf"):
        link.symlink_to(target)
        assert why_not(link) == ""
        os.chown(link, OTHER, OTHER, follow_symlinks=False)
        assert why_not(link) == f"user {OTHER} has put a symlink on the way there, in {path.parent}"
        link.unlink()


def test_a_symlink_of_ones_own_is_followed_to_where_it_leads(path: Path) -> None:
    (path.parent / "open").mkdir()
    (path.parent / "open").chmod(0o777)
    (path.parent / "open" / "conf").write_text(FIVE)
    link = path.parent / "link"
    link.symlink_to("open/conf")
    assert "can be written to by everybody" in why_not(link)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("none", FileNotFoundError),
        ("", FileNotFoundError),
        ("none/x", FileNotFoundError),
        ("conf/x", NotADirectoryError),
        ("conf/", NotADirectoryError),
    ],
)
def test_what_is_not_there(path: Path, name: str, kind: type[OSError]) -> None:
    with pytest.raises(kind):
        open_file(f"{path.parent}/{name}" if name else "", os.O_RDONLY)


def test_on_a_reload_nothing_of_it_applies(path: Path) -> None:
    conf = ConfFile(str(path), "app", True)
    before, _ = conf.read()
    path.write_text("[global]\nmax_tries : 6\nuser : www\n")
    path.chmod(0o666)
    problem = f"{path}: not believed: it can be written to by everybody (mode 0666)"
    assert conf.read(before) == (before, [problem])
    assert conf.held is False and conf.failing
    assert conf.read()[0].blocked == problem
    path.chmod(0o644)
    assert conf.read(before)[0].user == "www"


def test_nothing_is_left_open(path: Path) -> None:
    before = os.listdir("/proc/self/fd")
    for mode in (0o644, 0o666):
        path.chmod(mode)
        ConfFile(str(path), "app", True).read()
    (path.parent / "link").symlink_to("nowhere")
    ConfFile(str(path.parent / "link"), "app", True).read()
    assert os.listdir("/proc/self/fd") == before


# In front of a real start.


@pytest.mark.parametrize("options", [(), ("-F", "./supervise.conf")], ids=["default", "named"])
def test_nothing_is_started(box: Box, options: tuple[str, ...]) -> None:
    box.conf(FIVE)
    (box.folder / "supervise.conf").chmod(0o666)
    done = box.run(*options, "-u", "status/app", "/usr/bin/touch", "ran")
    name = options[-1] if options else "supervise.conf"
    why = f"{name}: not believed: it can be written to by everybody (mode 0666)"
    assert (done.returncode, done.stderr) == (111, f"supervise: fatal: cannot start the service: {why}\n")
    assert os.listdir(box.folder) == ["supervise.conf"]
    done = box.run("--check", "-F", name, "app")
    assert done.returncode == 100
    assert f"{why} (the service is not started)\n" in done.stdout


@root_only
def test_root_does_not_run_what_a_user_wrote_into_a_directory_for_everybody(box: Box) -> None:
    box.folder.chmod(0o1777)
    box.conf('[global]\ncheck_command : sh -c "id > ran"\ncheck_interval : 1\n')
    os.chown(box.folder / "supervise.conf", OTHER, OTHER)
    done = box.run("-u", "status/app", "sleep", "86399")
    assert done.returncode == 111
    assert done.stderr.endswith(f"supervise.conf: not believed: it belongs to user {OTHER}\n")
    assert not (box.folder / "ran").exists()


# One that is gone.

GOOD = "[app]\numask : 027\ndirectory : /\n"


@pytest.mark.parametrize("gone", ["absent", "empty", "named", "dangling", "after an exit"])
def test_a_start_without_the_file_that_restricted_the_service(box: Box, gone: str) -> None:
    conf, options = box.folder / "supervise.conf", ("-F", "x.conf") if gone == "named" else ()
    box.conf(GOOD)
    box.start("sleep", "86399")
    if gone == "after an exit":
        box.control("dx")
        box.wait_gone()
    else:
        kill_both(box)
    conf.write_text("") if gone == "empty" else conf.unlink()
    if gone == "dangling":
        conf.symlink_to("/nowhere/x.conf")
    done = box.run(*options, "-u", "status/app", "/usr/bin/touch", "ran")
    assert done.returncode == 111
    if gone == "dangling":
        assert "supervise.conf: cannot be read: A symlink leads nowhere" in done.stderr
    else:
        assert "the last supervise here had in force: umask 027, directory /" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (box.folder / "ran").exists()
    if gone == "dangling":
        conf.unlink()
    (box.folder / (options[-1] if options else "supervise.conf")).write_text("# nothing\n")
    done = box.run(*options, "-u", "status/app", "sleep", "86399")
    assert done.returncode == 0, done.stderr
    assert alive(box.pid)


def test_nothing_in_force_needs_no_file(box: Box) -> None:
    box.conf(FIVE)
    box.start("sleep", "86399")
    kill_both(box)
    (box.folder / "supervise.conf").unlink()
    assert box.run("-u", "status/app", "sleep", "86399").returncode == 0
