"""Code that is executed is copied, and does what it did."""

from __future__ import annotations

import gc
import sys

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

    @staticmethod
    def plain(word: str = "a word") -> str:
        return f"{word}, and {NAME}"

    def __repr__(self) -> str:
        return super().__repr__()[:1]


NAME = "a name"
TABLE = {"one": {"first": first}, "two": second}


def test_what_was_executed_has_a_copy() -> None:
    value = vars(Third)["value"]
    functions = first, second, value.fget, Third.plain, Third.__repr__
    codes = [function.__code__ for function in functions]
    executed = Executed()
    with executed:
        first(1)
        Third().value  # noqa: B018
        Third.plain()
        repr(Third())
    here = sys.modules[__name__]
    before = here.first(3), here.second(), Third().value, Third.plain(), repr(Third()), Third.plain.__defaults__
    old = executed.gather([here])
    gc.collect()
    new = here.first, here.second, vars(Third)["value"].fget, Third.plain, Third.__repr__
    for number, (function, code, copy) in enumerate(zip(functions, codes, new)):
        if number == 1:  # which was not executed
            assert copy is function and copy.__code__ is code
            continue
        assert copy is not function and copy.__code__ is not code
        assert copy.__code__ == code
        assert (copy.__qualname__, copy.__module__) == (function.__qualname__, function.__module__)
        assert any(one is code for one in old) and any(one is function for one in old)  # they keep their place
    assert {"one": {"first": new[0]}, "two": second} == TABLE
    after = here.first(3), here.second(), Third().value, Third.plain(), repr(Third()), Third.plain.__defaults__
    assert after == before
    assert NAME == "a name"


def test_without_noting_nothing_is_gathered() -> None:
    executed = Executed(noting=False)
    with executed:
        first(1)
    assert executed.gather([sys.modules[__name__]]) == []
