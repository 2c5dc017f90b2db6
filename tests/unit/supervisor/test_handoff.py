"""What of its command line a supervise shows to ps(1)."""

from __future__ import annotations

import pytest

from supervise.supervisor.handoff import DAEMON, interpreter, title


@pytest.mark.parametrize(
    "typed, shown",
    [
        ("-p status/app -f CMD", "-p status/app"),
        ("-f CMD -p status/app --resume", "-p status/app --resume"),
        ("-pstatus/app -fCMD -FCONF -t5 -rCMD", "-pstatus/app -FCONF -t5"),
        ("-p status/app -f=CMD -t 5", "-p status/app -t 5"),
        ("-F CONF -r CMD -t 5 --foreground -u status/app CMD -p CMD", "-F CONF -t 5 --foreground -u status/app"),
        ("-u status/app -- CMD", "-u status/app"),
        ("-ustatus/app --fore --exit CMD --resume", "-ustatus/app --fore --exit"),
        ("--resume=CMD -p status/app", ""),
        ("-x CMD -p status/app -f CMD", ""),
        ("- -p status/app", ""),
        ("-- -p CMD", ""),
        ("-p", "-p"),
        ("-p status/app -f", "-p status/app"),
        ("", ""),
    ],
)
def test_what_is_shown(typed: str, shown: str) -> None:
    assert title(typed.split()) == shown.split()
    assert title(shown.split()) == shown.split()


def test_an_empty_word_ends_it() -> None:
    assert title(["", "-p", "CMD"]) == []
    assert title(["-p", "", "-f", "", "-t", "5"]) == ["-p", "", "-t", "5"]


def test_the_interpreter_shows_no_command() -> None:
    words = interpreter(["-u", "status/app", "CMD"])
    assert words[words.index(DAEMON) :] == [DAEMON, "-u", "status/app"]
