"""Files that a configuration includes: which those are, in which order, and what is said of those that are not read."""

from __future__ import annotations

import fnmatch
import os
import re
from pathlib import Path

import pytest
from conftest import rounds
from hypothesis import example, given, settings
from hypothesis import strategies as st

from supervise.config.definitions import Fleet, find, read
from supervise.config.file import names_for
from supervise.config.include import matches, matching
from supervise.config.parser import parse

MAIN = "[global]\numask : 027\n[include]\nfiles : {}\n[main]\ncommand : m\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "supervise.conf"


def write(folder: Path, **files: str) -> None:
    """Write files; `__` in a name stands for a `/`, and each is called *.conf."""
    for name, text in files.items():
        file = folder / (name.replace("__", "/") + ".conf")
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)


def fleet(path: Path, patterns: str) -> Fleet:
    path.write_text(MAIN.format(patterns))
    return read(str(path), {b"ENVIRONMENT": b"live"})


def said(found: Fleet, path: Path) -> tuple[list[str], list[str]]:
    """Errors and warnings without the folder."""
    errors, warnings = (
        [line.replace(f"{path.parent}/", "") for line in lines] for lines in (found.errors, found.warnings)
    )
    return errors, warnings


# What is read.


def test_services_of_included_files_stand_behind_those_of_the_file_itself(path: Path) -> None:
    write(path.parent, conf__b="[b]\ncommand : b\n", conf__a="[a]\ncommand : a\n", z="[z]\ncommand : z\n")
    found = fleet(path, "z.conf conf/*.conf")
    assert said(found, path) == ([], [])
    assert list(found.services) == ["main", "z", "a", "b"]
    assert found.sources == [str(path), *(str(path.parent / name) for name in ("z.conf", "conf/a.conf", "conf/b.conf"))]
    assert found.services["a"].sources == (str(path), str(path.parent / "conf/a.conf"))
    assert find(str(path), "b")[0] == found.services["b"]


def test_global_and_groups_are_those_of_all_files(path: Path) -> None:
    write(path.parent, a="[group:g]\nprograms : main, a\n[a]\ncommand : a\ndepends_on : main\n")
    found = fleet(path, "a.conf")
    assert said(found, path) == ([], [])
    assert found.groups == {"g": ["main", "a"]}
    one = found.services["a"]
    assert parse(one.text(), "a")[0].umask == 0o27
    assert one.place(1) == (str(path), 1)
    assert one.place(3) == (str(path.parent / "a.conf"), 3)


def test_here_is_where_the_file_is_and_paths_are_relative_to_the_main_one(path: Path) -> None:
    text = "[a]\ncommand : %(here)s/a\ncheck_command : %(here)s/check\ndirectory : www\nenvironment : A=%(here)s\n"
    write(path.parent, conf__a=text)
    found = fleet(path, "conf/a.conf")
    folder = path.parent / "conf"
    one = found.services["a"]
    assert one.command == [f"{folder}/a"]
    governed = parse(one.text(), "a", names=names_for(str(path), "a"))[0]
    assert governed.check_command == (f"{folder}/check",)
    assert governed.environment == (("A", str(folder)),)
    assert governed.directory == f"{path.parent}/www"


def test_patterns_are_expanded(path: Path) -> None:
    write(path.parent, live__a="[a]\ncommand : a\n")
    assert list(fleet(path, "%(here)s/%(ENV_ENVIRONMENT)s/*.conf").services) == ["main", "a"]
    assert said(fleet(path, "%(ENV_NONE)s/*"), path)[0] == [
        "supervise.conf:4: files: no variable NONE in the environment"
    ]


def test_an_included_file_may_include_others_relative_to_itself(path: Path) -> None:
    write(path.parent, conf__a="[include]\nfiles : b.conf\n", conf__b="[b]\ncommand : b\n")
    assert list(fleet(path, "conf/a.conf").services) == ["main", "b"]


def test_the_current_directory_is_where_a_bare_name_is(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(path.parent, conf__a="[a]\ncommand : %(here)s/a\n")
    path.write_text(MAIN.format("conf/*"))
    monkeypatch.chdir(path.parent)
    found = read(path.name)
    assert found.services["a"].command == [f"{path.parent}/conf/a"]
    assert found.services["a"].file == "conf/a.conf"


# What is not.


def test_what_matches_nothing_is_a_warning(path: Path) -> None:
    found = fleet(path, "none.conf conf/*")
    assert said(found, path) == (
        [],
        ["supervise.conf:4: files: none.conf matches nothing", "supervise.conf:4: files: conf/* matches nothing"],
    )
    assert list(found.services) == ["main"]


def test_a_file_that_includes_itself_is_read_once(path: Path) -> None:
    found = fleet(path, "*.conf")
    assert said(found, path) == ([], ["supervise.conf:4: files: supervise.conf is read already: ignored"])
    assert list(found.services) == ["main"]


def test_two_that_include_each_other_are_read_once(path: Path) -> None:
    write(
        path.parent,
        a="[include]\nfiles : b.conf\n[a]\ncommand : a\n",
        b="[include]\nfiles : a.conf\n[b]\ncommand : b\n",
    )
    os.symlink("a.conf", path.parent / "link.conf")
    found = fleet(path, "a.conf link.conf b.conf")
    assert list(found.services) == ["main", "a", "b"]
    assert said(found, path) == (
        [],
        [
            "supervise.conf:4: files: link.conf is read already: ignored",
            "a.conf:2: files: b.conf is read already: ignored",
            "b.conf:2: files: a.conf is read already: ignored",
        ],
    )


def test_global_stands_in_the_main_file_alone(path: Path) -> None:
    write(path.parent, a="[global]\numask : 022\n[a]\ncommand : a\n")
    assert said(fleet(path, "a.conf"), path)[0] == ["a.conf:1: [global] stands in supervise.conf only"]


def test_a_service_is_defined_in_one_file_alone(path: Path) -> None:
    write(path.parent, a="[main]\ncommand : a\n")
    assert said(fleet(path, "a.conf"), path)[0] == ["a.conf:1: main is defined in supervise.conf:5 already"]


def test_a_file_that_others_can_write_is_not_believed(path: Path) -> None:
    write(path.parent, a="[a]\ncommand : a\n")
    (path.parent / "a.conf").chmod(0o666)
    (error,) = said(fleet(path, "a.conf"), path)[0]
    assert error.startswith("a.conf: not believed: it can be written to by everybody")
    assert error.endswith(", and supervise.conf:4 includes it")
    path.chmod(0o666)
    assert read(str(path)).services == {}
    assert "not believed" in read(str(path)).errors[0]


def test_a_file_that_cannot_be_read_is_an_error(path: Path) -> None:
    (path.parent / "a.conf").mkdir()
    os.mkfifo(path.parent / "b.conf")
    os.symlink("nowhere", path.parent / "c.conf")
    assert said(fleet(path, "?.conf"), path)[0] == [
        "a.conf: cannot be read: Is a directory, and supervise.conf:4 includes it",
        "b.conf: cannot be read: Is a FIFO, and supervise.conf:4 includes it",
        "c.conf: cannot be read: A symlink leads nowhere, and supervise.conf:4 includes it",
    ]


def test_a_file_beyond_the_limit_is_an_error(path: Path) -> None:
    path.write_bytes(b"#" * ((16 << 20) + 1))
    assert read(str(path)).errors == [f"{path}: longer than 16777216 bytes"]


def test_other_keys_of_the_section_are_an_error(path: Path) -> None:
    path.write_text("[include]\nfile : x\n")
    assert said(read(str(path)), path)[0] == ["supervise.conf:2: not `files : ...`: 'file : x'"]


# Patterns.


@pytest.mark.parametrize(
    "pattern, found",
    [
        ("*.conf", ["a.conf", "b.conf"]),
        ("[!a].conf", ["b.conf"]),
        (".*.conf", [".h.conf"]),
        ("*/*.conf", ["d/c.conf"]),
        ("?/?.conf", ["d/c.conf"]),
        ("d/../a.conf", ["d/../a.conf"]),
        ("none/*", []),
        ("a.conf/*", []),
        ("a\0*", []),
    ],
)
def test_patterns_name_what_is_there(tmp_path: Path, pattern: str, found: list[str]) -> None:
    write(tmp_path, a="", b="", d__c="")
    (tmp_path / ".h.conf").touch()
    assert matching(pattern, str(tmp_path)) == [f"{tmp_path}/{name}" for name in found]
    assert matching(f"{tmp_path}/{pattern}", "/elsewhere") == [f"{tmp_path}/{name}" for name in found]


@settings(max_examples=rounds(40, 150))
@given(st.text("ab-]", max_size=6), st.text("ab-*?[]!", max_size=8))
@example("a", "[a-b]")
@example("b", "[!]a]")
@example("]", "[]]")
@example("aab", "*ab")
def test_patterns_mean_what_they_do_elsewhere(name: str, pattern: str) -> None:
    try:
        meant = fnmatch.fnmatchcase(name, pattern)
    except re.error:  # a range that is none, in some versions
        return
    assert matches(name, pattern) == meant


def test_a_pattern_of_many_stars_takes_no_long_time() -> None:
    assert not matches("a" * 200, "*a" * 100 + "b")
