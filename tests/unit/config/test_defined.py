"""The configuration of a service that its file defines: what is read, where problems are, what is watched."""

from __future__ import annotations

import errno
import gc
import os
from pathlib import Path

import pytest

from supervise.config import sources
from supervise.config.defined import DefinedConf
from supervise.config.definitions import Fleet
from supervise.config.file import joined, watch_plan

MAIN = """\
[global]
alarm_interval : 60

[include]
files : more/*.conf

[web]
command : sleep 1000
stopwaitsecs : 5
"""
MORE = """\
; a comment
[program:worker]
command : sleep %(process_num)d
numprocs : 2
process_name : %(program_name)s_%(process_num)02d
startretries : 3
environment : NUMBER="%(process_num)d"
max_tries : 7
"""


class Files:
    def __init__(self, folder: Path) -> None:
        self.main = folder / "supervise.conf"
        self.more = folder / "more/worker.conf"
        self.more.parent.mkdir()
        self.main.write_text(MAIN)
        self.more.write_text(MORE)

    def of(self, name: str) -> DefinedConf:
        return DefinedConf(str(self.main), name)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_a_service_is_governed_by_what_its_file_says(files: Files) -> None:
    config, problems = files.of("web").read()
    assert (config.alarm_interval, config.stopwaitsecs, config.startretries) == (60, 5, None)
    assert problems == [] and not config.blocked


def test_each_of_several_instances_is_its_own(files: Files) -> None:
    for number in range(2):
        config, problems = files.of(f"worker_0{number}").read()
        assert problems == []
        assert (config.max_tries, config.startretries) == (7, 3)
        assert config.environment == (("NUMBER", str(number)),)


def test_problems_are_where_the_user_has_written_them(files: Files) -> None:
    files.more.write_text(MORE + "max_try : 5\n")
    conf = files.of("worker_00")
    assert conf.read()[1] == [f"{files.more}:9: unknown key 'max_try': probably a typo"]
    files.more.write_text(MORE + "user : no such\n")
    config, (problem,) = conf.read()
    assert problem.startswith(f"{files.more}:9: user: ") and config.blocked == problem
    assert conf.where("user") == f"{files.more}:9"


def test_a_change_in_any_of_its_files_is_one(files: Files) -> None:
    web, worker = files.of("web"), files.of("worker_00")
    for conf in (web, worker):
        conf.read()
        assert not conf.changed()
    files.more.write_text(MORE.replace("max_tries : 7", "max_tries : 8"))
    assert not web.changed() and worker.changed()
    assert worker.read()[0].max_tries == 8 and not worker.changed()
    files.main.write_text(MAIN.replace("60", "61"))
    assert web.changed() and worker.changed()
    assert web.plan() == watch_plan(str(files.main))
    assert worker.plan() == joined(watch_plan(str(files.main)), watch_plan(str(files.more)))


@pytest.mark.parametrize(
    "text, why",
    [
        (MAIN.replace("[web]", "[www]"), "it defines no service web"),
        (MAIN.replace("sleep 1000", "sleep '1000"), ":8: command: "),
        ("", "it defines no service web"),
        (None, "does not exist"),
    ],
)
def test_what_is_not_defined_any_more_stays_as_it_was(files: Files, text: str | None, why: str) -> None:
    conf = files.of("web")
    before, _ = conf.read()
    files.main.unlink() if text is None else files.main.write_text(text)
    assert conf.changed()
    after, (problem,) = conf.read(before)
    assert after == before and not conf.failing and not conf.changed()
    assert problem.startswith(f"{files.main}: cannot be read: ") and why in problem
    assert conf.problems == [problem]
    # Where nothing is in force, nothing is started.
    assert files.of("web").read()[0].blocked == problem


def test_what_may_pass_is_tried_again(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    conf = files.of("worker_00")
    before, _ = conf.read()
    real = sources.open_configuration

    def full(path: str) -> int:
        if path.endswith("worker.conf"):
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return real(path)

    monkeypatch.setattr(sources, "open_configuration", full)
    after, (problem,) = conf.read(before)
    assert after == before and conf.failing and "Too many open files" in problem
    monkeypatch.undo()
    assert conf.read(after) == (before, []) and not conf.failing


def test_it_is_written_for_the_log_without_the_keys_of_the_definition(files: Files) -> None:
    assert "command" not in str(files.of("web").read()[0])


@pytest.mark.parametrize("text", [MAIN, MAIN + "[supervisord]\n", MAIN.replace("[web]", "[web\n[web]")])
def test_reading_it_leaves_nothing_to_the_collector(files: Files, text: str) -> None:
    """Which hardly ever comes past where nothing happens: memory would grow with each time the file is written."""
    files.main.write_text(text.replace("[web]", "[program:web]"))
    conf = files.of("web")
    gc.collect()
    gc.disable()
    try:
        conf.read()
        made = [one for one in gc.get_objects() if isinstance(one, (Fleet, sources.Source, sources.Section))]
    finally:
        gc.enable()
    assert made == []
