"""The help of every program, which a terminal of 80 columns shows as it is."""

from __future__ import annotations

import importlib

import pytest

PROGRAMS = ("command_line", "svall.main", "svc.main", "svlog", "svok", "svstat.main", "svwait")


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_help_fits_80_columns(name: str) -> None:
    text = importlib.import_module(f"supervise.programs.{name}").__doc__
    assert text and text.isascii()
    assert [line for line in text.splitlines() if len(line) > 80] == []
    program = "supervise" if name == "command_line" else name.partition(".")[0]
    assert text.startswith(f"{program}: ") and f"\n  {program} " in text
