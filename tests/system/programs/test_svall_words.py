"""What svall is told that cannot be, and the answers that it gives itself: one line each, and nothing is started."""

from __future__ import annotations

import pytest
from conftest import Box
from tools import run_tool

TWO = "[db]\ncommand : sleep 1000\n[web]\ncommand : sleep 1000\ndepends_on : db\n"
STAYS = "it has to be a file that stays, for every supervise reads it again"
PIPES = ("/dev/stdin", "/dev/fd/63", "/proc/self/fd/0", "-")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("-F", "", "up"), "cannot read '': no file is named"),
        (("-p", "run", "up"), "cannot use run: the directory of services must be named status"),
        (("-p", "status/app", "status"), "cannot use status/app: the directory of services must be named status"),
        (("-F", "none.conf", "up"), "none.conf: does not exist"),
        (("-F", ".", "order"), ".: cannot be read: Is a directory"),
        *(((f"-F{conf}", *words), f"cannot use {conf}: {STAYS}") for conf in PIPES for words in (["up"], ["diff"])),
        (("up", "app"), "no service is named app"),
        (("order", "w?"), "no service matches w?"),
        (("down", "site:web"), "no group is named site"),
        (("restart", ""), "no service is named ''"),
    ],
)
def test_what_cannot_be(box: Box, words: tuple[str, ...], said: str) -> None:
    (box.folder / "supervise.conf").write_text("[db]\ncommand : sleep 1000\n")
    done = run_tool(box, "svall", *words)
    assert (done.returncode, done.stdout, done.stderr) == (100, "", f"svall: fatal: {said}\n")
    assert not (box.folder / "status").exists()


def test_what_is_wrong_in_the_file_is_said_with_its_line(box: Box) -> None:
    (box.folder / "supervise.conf").write_text(TWO + "[web]\ncommand : true\n")
    for verb in ("up", "run", "order", "diff", "status"):
        done = run_tool(box, "svall", verb)
        assert (done.returncode, done.stdout) == (100, "")
        assert done.stderr == "svall: fatal: supervise.conf:6: web is defined in supervise.conf:3 already\n"
    assert not (box.folder / "status").exists()


def test_what_does_not_count_is_said_before_anything_is_started(box: Box) -> None:
    (box.folder / "supervise.conf").write_text(TWO + "colour : blue\n")
    for verb in ("order", "diff"):
        unknown = "svall: warning: supervise.conf:6: unknown key 'colour': probably a typo\n"
        assert run_tool(box, "svall", verb).stderr == unknown


def test_what_is_not_carried_over_is_said_where_it_matters(box: Box) -> None:
    text = "[supervisord]\nlogfile=x\n[program:a]\ncommand=sleep 1000\n"
    (box.folder / "supervisord.conf").write_text(text)
    said = {verb: run_tool(box, "svall", "-F", "supervisord.conf", verb).stderr for verb in ("order", "status", "diff")}
    line = "svall: warning: supervisord.conf:2: logfile: not carried over: each service has its own supervise.log\n"
    assert said == {"order": "", "status": "", "diff": line}


def test_order(box: Box) -> None:
    (box.folder / "supervise.conf").write_text(TWO + "[cron]\ncommand : sleep 1000\npriority : 1\n")
    assert run_tool(box, "svall", "order").stdout == "cron db\nweb\n"
    assert run_tool(box, "svall", "order", "web", "c*").stdout == "cron\nweb\n"


def test_what_does_not_run_is_shown_all_the_same(box: Box) -> None:
    (box.folder / "supervise.conf").write_text(TWO)
    done = run_tool(box, "svall", "status")
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split() for line in done.stdout.splitlines()[1:]] == [
        ["db", "not", "started"],
        ["web", "not", "started"],
    ]
    done = run_tool(box, "svall", "diff")
    assert (done.returncode, done.stdout) == (1, "+ db\n+ web\n")
