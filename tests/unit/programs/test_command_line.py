"""supervise's command line: what is read without docopt is read as docopt reads it."""

from __future__ import annotations

from typing import Any

import pytest
from docopt import DocoptExit, docopt
from hypothesis import example, given
from hypothesis import strategies as st

from supervise.programs import command_line

PLAIN = [
    ["-p", "status/app", "-f", "sleep 9"],
    ["-F", "x.conf", "-r", "script", "-t", "5", "--resume", "-f", "a b", "-p", "status/app", "--exit-with-service"],
    ["-u", "status/app", "sleep", "9"],
    ["-u", "status/app", "sh", "-c", "x", "--", "-u"],
    ["--foreground", "-t", "x", "-u", "status/app", "sleep"],
]
WORDS = st.sampled_from(
    [
        *(word for line in PLAIN for word in line),
        *("", "-", "--", "--fore", "--check", "-pstatus/app", "-h", "-v", "--help", "-x"),
    ]
)
LINES, MORE = st.sampled_from(PLAIN), st.lists(WORDS, max_size=1)


def by_docopt(argv: list[str]) -> dict[str, Any] | None:
    try:
        return dict(docopt(str(command_line.__doc__), argv, help=False, options_first=True))
    except DocoptExit:
        return None


@pytest.mark.parametrize("argv", PLAIN, ids=" ".join)
def test_a_plain_command_line_does_not_need_docopt(argv: list[str]) -> None:
    assert command_line.plain_command_line(argv)


@pytest.mark.parametrize("argv", [["-p", "x"], ["-u", "x"], ["--check"], ["-v"], ["-h"]], ids=" ".join)
def test_anything_else_is_for_docopt_to_judge(argv: list[str]) -> None:
    assert command_line.plain_command_line(argv) is None


@given(st.lists(WORDS, max_size=8) | st.permutations(PLAIN[1]) | st.builds(lambda one, more: one + more, LINES, MORE))
@example(["-p", "--", "-f", "x"])
@example(["-p", "-f", "-f", "x"])
@example(["-u", "x", "-", "y"])
@example(["-p", "a", "-f", "b", "-p", "c"])
def test_docopt_says_the_same(argv: list[str]) -> None:
    found = command_line.plain_command_line(argv)
    if found is not None:
        read = by_docopt(argv)
        assert read is not None
        assert found == {name: read[name] for name in found}
        assert set(read) - set(found) <= {"-h", "-v"}
