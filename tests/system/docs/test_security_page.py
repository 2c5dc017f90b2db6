"""docs/security.md names a test for each promise: they are there, and none of them was renamed behind its back."""

from __future__ import annotations

import re

import pytest
from conftest import ROOT

FILES = {path.name: path for path in (ROOT / "tests").rglob("test_*.py")}
PAGE = (ROOT / "docs" / "security.md").read_text()
TABLE = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if line.startswith("|")]
ROWS = [cells for cells in TABLE if cells[0] not in ("promise", "---")]


@pytest.mark.parametrize("promise, shown_by", ROWS, ids=[f"{number}" for number in range(1, len(ROWS) + 1)])
def test_a_promise_has_its_tests(promise: str, shown_by: str) -> None:
    for named in shown_by.split(", "):
        file, _, name = named.partition("::")
        assert re.fullmatch(r"test_\w+\.py", file), named
        text = FILES[file].read_text()
        assert not name or f"\ndef {name}(" in text, f"{promise}: {named} is not there"


def test_there_are_promises() -> None:
    assert len(ROWS) > 20
