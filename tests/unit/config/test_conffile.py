"""The configuration as a file: whatever it is, reading it goes on, and whatever changes on the way to it is noticed."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from conftest import rounds
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from watched import kinds

from supervise.config.config import Config
from supervise.config.file import (
    DIR,
    FILE,
    LINKS,
    NAMES,
    SIZE_LIMIT,
    WRITES,
    ConfFile,
    joined,
    names_for,
    read_file,
    watch_plan,
)
from supervise.config.restrictions import stays

STEADY = settings(max_examples=rounds(100, 200), deadline=None, suppress_health_check=[HealthCheck.too_slow])

FIVE = "[global]\nmax_tries : 5\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "supervise.conf"


def conf_file(path: Path, named: bool = True) -> ConfFile:
    return ConfFile(str(path), "app", named)


def policy(max_tries: int) -> Config:
    config = Config()
    config.max_tries = max_tries
    return config


def conf_text(config: Config) -> str:
    return stays(config).partition(": ")[2]


# Reading.


def test_a_file_is_read(path: Path) -> None:
    path.write_text(FIVE)
    conf = conf_file(path)
    assert conf.read() == (policy(5), [])
    assert conf.present


def test_what_was_wrong_when_it_was_last_read_is_kept(path: Path) -> None:
    conf = conf_file(path)
    path.write_text("[app]\nmax_tries : many\n")
    assert conf.read()[1] == conf.problems != []
    path.write_text("[app]\nuser : root\n")
    was = conf.read()[0]
    assert conf.problems == []
    path.write_text("")
    assert conf.read(was)[1] == []  # what restricted it does so
    assert conf.problems == [f"{path}: what restricts the service stays as it was: {conf_text(was)}"]


@pytest.mark.parametrize("named", [True, False])
def test_that_there_is_none_is_wrong_where_it_was_named(path: Path, named: bool) -> None:
    conf = conf_file(path, named)
    conf.read()
    assert conf.problems == ([f"{path} does not exist: no policy"] if named else [])


def test_a_file_that_is_absent_means_no_policy(path: Path) -> None:
    conf = conf_file(path)
    assert conf.read() == (Config(), [])
    assert not conf.present


def test_a_file_that_is_removed_means_no_policy(path: Path) -> None:
    path.write_text(FIVE)
    conf = conf_file(path)
    before, _ = conf.read()
    path.unlink()
    assert conf.read(before) == (Config(), [])
    assert not conf.present


@pytest.mark.parametrize("target", ["nowhere", "/nowhere/x", "nowhere/x"])
def test_a_symlink_that_leads_nowhere_is_a_file_that_cannot_be_read(path: Path, target: str) -> None:
    path.symlink_to(target)
    conf = conf_file(path)
    problem = f"{path}: cannot be read: A symlink leads nowhere"
    assert conf.read(policy(7)) == (policy(7), [problem])
    assert conf.read()[0].blocked == problem
    assert conf.failing  # what it leads to may be mounted without an event
    path.with_name("link").symlink_to(".")
    assert conf_file(path.parent / "link" / "none").read() == (Config(), [])


def test_problems_are_told_with_file_and_line(path: Path) -> None:
    path.write_text("[global]\nmax_tries : x\n")
    config, problems = conf_file(path).read(policy(7))
    assert config == policy(7)
    assert problems == [f"{path}:2: max_tries: 'x' is not a whole number"]


def test_what_cannot_be_read_leaves_the_policy_in_force(path: Path) -> None:
    path.mkdir()
    conf = conf_file(path)
    assert conf.read(policy(7)) == (policy(7), [f"{path}: cannot be read: Is a directory"])
    assert conf.read() == (Config(), [f"{path}: cannot be read: Is a directory"])
    assert conf.present


def test_a_loop_of_symlinks_leaves_the_policy_in_force(path: Path) -> None:
    path.symlink_to(path.name)
    config, problems = conf_file(path).read(policy(7))
    assert config == policy(7)
    assert problems == [f"{path}: cannot be read: Too many levels of symbolic links"]


def test_nobody_is_waited_for(path: Path) -> None:
    """A FIFO without a writer would hold up a supervise forever."""
    os.mkfifo(path)
    assert conf_file(path).read() == (Config(), [f"{path}: cannot be read: Is a FIFO"])


def test_of_an_endless_file_the_beginning_is_read() -> None:
    data, cut, _ = read_file("/dev/zero")
    assert (len(data), cut) == (SIZE_LIMIT, True)


@pytest.mark.parametrize("more, cut", [(0, False), (1, True)])
def test_what_is_beyond_the_size_limit_is_not_read(path: Path, more: int, cut: bool) -> None:
    rest = SIZE_LIMIT - len(FIVE) + more
    path.write_bytes(FIVE.encode() + (b"#" * 127 + b"\n") * (rest // 128) + b"\n" * (rest % 128))
    config, problems = conf_file(path).read()
    assert config == policy(5)
    assert problems == ([f"{path}: longer than {SIZE_LIMIT} bytes: the rest is not read"] if cut else [])
    assert read_file(str(path))[1] == cut


def test_reading_leaves_no_descriptor_open(path: Path) -> None:
    before = os.listdir("/proc/self/fd")
    for make in (path.touch, path.unlink, path.mkdir):
        make()
        conf_file(path).read()
    assert os.listdir("/proc/self/fd") == before


# What can be expanded in it.


def test_what_a_file_says_is_expanded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONFFILE_TEST", "a value")
    path.write_text(
        "[app]\ndirectory : %(here)s/run\npidfile : %(program_name)s.pid\n"
        "environment : HOST=%(host_node_name)s,X=%(ENV_CONFFILE_TEST)s\n"
    )
    config, problems = conf_file(path).read()
    assert problems == []
    assert config.directory == f"{path.parent}/run"
    assert config.pidfile == "app.pid"
    assert config.environment == (("HOST", os.uname().nodename), ("X", "a value"))


def test_what_cannot_be_expanded_is_told_with_file_and_line(path: Path) -> None:
    path.write_text("[app]\ndirectory : %(nosuch)s\n")
    config, (problem,) = conf_file(path).read(policy(7))
    assert config.directory == ""
    assert problem.startswith(f"{path}:2: directory: '%(nosuch)s': ")


@pytest.mark.parametrize(
    "given_path, here",
    [
        ("supervise.conf", "{cwd}"),
        ("./supervise.conf", "{cwd}"),
        ("etc/app.conf", "{cwd}/etc"),
        ("etc//./app.conf", "{cwd}/etc"),
        ("../app.conf", "{cwd}/.."),
        ("/etc/app/supervise.conf", "/etc/app"),
        ("//supervise.conf", "/"),
    ],
)
def test_here_is_the_directory_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given_path: str, here: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert names_for(given_path, "app").here == here.format(cwd=tmp_path)


def test_here_is_where_the_file_is_named_not_where_a_symlink_leads(path: Path) -> None:
    (path.parent / "real").mkdir()
    (path.parent / "real" / "conf").write_text("[app]\ndirectory : %(here)s\n")
    path.symlink_to("real/conf")
    assert conf_file(path).read()[0].directory == str(path.parent)


def test_here_is_not_known_where_the_current_directory_was_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert names_for("supervise.conf", "app").here == ""
    assert names_for("/etc/supervise.conf", "app").here == "/etc"


def test_here_may_be_no_text(tmp_path: Path) -> None:
    folder = os.path.join(os.fsencode(tmp_path), b"caf\xe9")
    assert names_for(os.fsdecode(folder + b"/conf"), "app").here.encode("utf-8", "surrogateescape") == folder


# Has it changed?


def test_a_file_has_not_changed_since_it_was_read(path: Path) -> None:
    path.write_text(FIVE)
    conf = conf_file(path)
    conf.read()
    assert not conf.changed()


def test_a_file_that_nobody_has_read_yet_has_changed(path: Path) -> None:
    path.write_text(FIVE)
    assert conf_file(path).changed()


def test_a_file_that_is_absent_has_changed_once_it_exists(path: Path) -> None:
    conf = conf_file(path)
    conf.read()
    assert not conf.changed()
    path.write_text(FIVE)
    assert conf.changed()
    conf.read()
    path.unlink()
    assert conf.changed()


def test_a_file_written_in_place_has_changed(path: Path) -> None:
    path.write_text(FIVE)
    conf = conf_file(path)
    conf.read()
    path.write_text(FIVE + "\n")
    assert conf.changed()


def test_a_file_renamed_into_place_has_changed(path: Path) -> None:
    """Even if size and times are those of the old one."""
    path.write_text(FIVE)
    conf = conf_file(path)
    conf.read()
    found = path.stat()
    new = path.with_suffix(".new")
    new.write_text(FIVE.replace("5", "6"))
    os.utime(new, ns=(found.st_atime_ns, found.st_mtime_ns))
    new.rename(path)
    assert conf.changed()


def test_another_target_of_a_symlink_is_a_change(path: Path) -> None:
    for name in ("a", "b"):
        path.with_name(name).write_text(FIVE)
    path.symlink_to("a")
    conf = conf_file(path)
    conf.read()
    path.unlink()
    path.symlink_to("b")
    assert conf.changed()


def test_what_cannot_be_read_is_not_read_over_and_over(path: Path) -> None:
    path.mkdir()
    conf = conf_file(path)
    conf.read()
    assert not conf.changed()


# What to watch.


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "etc" / "app").mkdir(parents=True)
    (tmp_path / "etc" / "app" / "conf").write_text(FIVE)
    return tmp_path


def test_the_file_and_every_directory_on_the_way_are_watched(tree: Path) -> None:
    plan = watch_plan(str(tree / "etc/app/conf"))
    assert kinds(tree, plan) == {".": DIR, "etc": DIR, "etc/app": NAMES, "etc/app/conf": FILE}


def test_for_a_file_that_is_absent_its_directory_is_watched(tree: Path) -> None:
    assert kinds(tree, watch_plan(str(tree / "etc/app/new"))) == {".": DIR, "etc": DIR, "etc/app": NAMES}


def test_for_a_directory_that_is_absent_the_one_above_is_watched(tree: Path) -> None:
    assert kinds(tree, watch_plan(str(tree / "etc/new/conf"))) == {".": DIR, "etc": NAMES}


def test_a_symlink_and_what_it_leads_to_are_watched(tree: Path) -> None:
    (tree / "link").symlink_to("etc/app")
    assert kinds(tree, watch_plan(str(tree / "link/conf"))) == {
        ".": NAMES,
        "etc": DIR,
        "etc/app": NAMES,
        "etc/app/conf": FILE,
    }


def test_a_symlink_is_still_watched_where_its_target_leads_past_it(tree: Path) -> None:
    (tree / "link").symlink_to(tree / "etc/app")
    assert kinds(tree, watch_plan(str(tree / "link/conf")))["."] == NAMES


def test_where_a_symlink_leads_nowhere_its_target_is_waited_for(tree: Path) -> None:
    (tree / "conf").symlink_to("etc/new")
    assert kinds(tree, watch_plan(str(tree / "conf"))) == {".": NAMES, "etc": NAMES}


def test_dots_are_followed_as_the_kernel_does(tree: Path) -> None:
    (tree / "deep").symlink_to("etc/app")
    assert kinds(tree, watch_plan(str(tree / "deep/../app/./conf")))["etc/app/conf"] == FILE


def test_of_a_directory_only_where_it_is(tree: Path) -> None:
    plan = watch_plan(str(tree / "etc/app"), directory=True)
    assert kinds(tree, plan) == {".": DIR, "etc": DIR, "etc/app": DIR}
    (tree / "etc/link").symlink_to("app")
    plan = watch_plan(str(tree / "etc/link"), directory=True)
    assert kinds(tree, plan) == {".": DIR, "etc": NAMES, "etc/app": DIR}
    plan = watch_plan(str(tree / "etc/new"), directory=True)
    assert kinds(tree, plan) == {".": DIR, "etc": NAMES}


def test_two_plans_are_one(tree: Path) -> None:
    first = watch_plan(str(tree / "etc/app/conf"))
    second = (*watch_plan(str(tree / "etc/app"), directory=True), (str(tree / "etc/app/conf"), LINKS, 1, 2))
    third = watch_plan(str(tree / "etc/app/pid"), through_directory=True)
    assert joined(first) == first
    assert joined(first, second) == joined(second, first) == first
    assert kinds(tree, joined(second, third))["etc/app"] == WRITES
    assert kinds(tree, joined(second, third))["etc/app/conf"] == LINKS


def test_a_plan_changes_when_what_it_leads_through_is_replaced(tree: Path) -> None:
    conf = tree / "etc/app/conf"
    before = watch_plan(str(conf))
    assert watch_plan(str(conf)) == before

    conf.write_text("")
    assert watch_plan(str(conf)) == before  # the same file

    (tree / "new").write_text(FIVE)
    (tree / "new").rename(conf)
    replaced = watch_plan(str(conf))
    assert replaced != before

    (tree / "etc").rename(tree / "old")
    assert kinds(tree, watch_plan(str(conf))) == {".": NAMES}
    (tree / "old").rename(tree / "etc")
    assert watch_plan(str(conf)) == replaced


def test_a_relative_path_is_planned_from_the_current_directory(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree / "etc")
    assert ConfFile("app/conf", "app", True).plan() == watch_plan(str(tree / "etc/app/conf"))


def test_a_current_directory_that_was_removed_does_not_matter(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tree / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert ConfFile(str(tree / "etc/app/conf"), "app", True).plan() == watch_plan(str(tree / "etc/app/conf"))
    conf = ConfFile("conf", "app", True)
    assert conf.read() == (Config(), [])
    conf.plan()


@pytest.fixture(scope="module")
def maze(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tree in which every kind of turn can be taken."""
    root = tmp_path_factory.mktemp("maze").resolve()
    (root / "dir" / "sub").mkdir(parents=True)
    (root / "dir" / "file").touch()
    links = {
        "link": "dir",
        "file": "dir/file",
        "up": "..",
        "abs": str(root / "dir"),
        "loop": "loop",
        "away": "dir/none",
        "dir/back": "../link/sub",
        "dir/chain": "../link/./sub/../file",
        "dir/sub/file": "../../abs/chain",
    }
    for name, target in links.items():
        (root / name).symlink_to(target)
    return str(root)


turns = st.sampled_from(
    ["dir", "sub", "file", "link", "abs", "loop", "away", "back", "chain", "none", "up", "..", ".", ""]
)


@STEADY
@given(turns=st.lists(turns, min_size=1, max_size=6))
@example(turns=["dir", "sub", "file"])
@example(turns=["link", "back", "..", "chain"])
@example(turns=["dir", "file", "none"])
@example(turns=["loop"])
def test_any_path_is_watched_as_the_kernel_would_walk_it(maze: str, turns: list[str]) -> None:
    path = "/".join([maze, *turns])
    plan = {where: (kind, dev, inode) for where, kind, dev, inode in watch_plan(path)}
    for where, (_, dev, inode) in plan.items():
        found = os.lstat(where)
        assert os.path.realpath(where) == where
        assert (found.st_dev, found.st_ino) == (dev, inode)
    files = [where for where, (kind, _, _) in plan.items() if kind == FILE]
    names = [where for where, (kind, _, _) in plan.items() if kind == NAMES]
    try:
        found = os.stat(path)
    except FileNotFoundError:
        assert names  # where what is missing will appear
        return
    except OSError:
        assert plan
        return
    if stat.S_ISREG(found.st_mode):
        real = os.path.realpath(path)
        assert files == [real]
        assert os.path.samestat(os.stat(real), found)
        assert os.path.dirname(real) in names
        for above in Path(real).parents:
            assert str(above) in plan or str(above) == "/"
