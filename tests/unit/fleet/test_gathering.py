"""Code that is executed is copied, and does what it did."""

from __future__ import annotations

import gc

from supervise.fleet.gathering import Executed


def first(number: int, more: int = 2) -> int:
    """It is executed."""
    return number + more


def second() -> str:
    return "not executed"


class Third:
    @property
    def value(self) -> int:
        return sum(number for number in (1, 2, 3))


def test_what_was_executed_has_a_copy_of_its_code() -> None:
    codes = first.__code__, second.__code__, Third.value.fget.__code__  # type: ignore[attr-defined]
    executed = Executed()
    with executed:
        first(1)
        Third().value  # noqa: B018
    first_before, second_before = first(3), second()
    old = executed.gather()
    gc.collect()
    assert first.__code__ is not codes[0]
    assert first.__code__ == codes[0]
    assert second.__code__ is codes[1]
    assert Third.value.fget.__code__ is not codes[2]  # type: ignore[attr-defined]
    assert any(code is codes[0] for code in old)  # they keep their place
    assert (first(3), second(), Third().value) == (first_before, second_before, 6)


def test_without_noting_nothing_is_gathered() -> None:
    executed = Executed(noting=False)
    with executed:
        first(1)
    assert executed.gather() == []
