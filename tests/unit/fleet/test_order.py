"""The order in which services start, from what they depend on."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest
from conftest import rounds
from defined import Defined, defined, graphs
from hypothesis import given, settings
from hypothesis import strategies as st

from supervise.fleet.order import Order


def order(text: str) -> Order:
    return Order(defined(text))


STACK = """
    web : db cache
    cache :
    db :
    proxy : web
    cron : db
"""


def test_what_depends_on_nothing_comes_first() -> None:
    found = order(STACK)
    assert found.levels == [["cache", "db"], ["web", "cron"], ["proxy"]]
    assert found.names == ["cache", "db", "web", "cron", "proxy"]
    assert found.errors == []


def test_no_services_are_no_levels() -> None:
    assert (Order([]).levels, Order([]).errors) == ([], [])


def test_within_a_level_the_lower_priority_comes_first_and_then_the_place_in_the_file() -> None:
    found = order("a:\nb/5:\nc/-1: \nd:\ne/5:")
    assert found.levels == [["c", "b", "e", "a", "d"]]


def test_a_priority_counts_for_nothing_against_a_dependency() -> None:
    assert order("web/1: db\ndb/500:").levels == [["db"], ["web"]]


def test_a_service_is_behind_the_last_of_what_it_depends_on() -> None:
    assert order("a:\nb: a\nc: a b\nd: c a").levels == [["a"], ["b"], ["c"], ["d"]]


def test_a_name_that_is_said_twice_is_one_dependency() -> None:
    found = order("web: db db\ndb:")
    assert found.levels == [["db"], ["web"]]
    assert found.dependencies("web") == ["db"]


def test_stopping_goes_the_other_way() -> None:
    found = order("a:\nb/5:\nc/1: a")
    assert found.started(["c", "a", "b", "a"]) == ["b", "a", "c"]
    assert found.stopped(["c", "a", "b", "a"]) == ["c", "a", "b"]


def test_what_a_service_needs_and_what_needs_it() -> None:
    found = order(STACK)
    assert found.with_dependencies(["proxy"]) == ["cache", "db", "web", "proxy"]
    assert found.with_dependencies(["cron", "cache"]) == ["cache", "db", "cron"]
    assert found.with_dependents(["cache"]) == ["cache", "web", "proxy"]
    assert found.with_dependents([]) == []


# What is wrong.


def test_an_unknown_name_is_an_error_with_its_place() -> None:
    found = order("db:\nweb: db cahce")
    assert found.errors == ["x.conf:2: depends_on: no service or group is named cahce"]
    assert found.levels == [["db"], ["web"]]


def test_all_instances_of_one_section_are_one_error() -> None:
    found = Order([Defined(f"web_{number}", ("no\x1bne",), line=7) for number in range(3)])
    assert found.errors == ["x.conf:7: depends_on: no service or group is named no\\x1bne"]


@pytest.mark.parametrize(
    "text, said",
    [
        ("a: a", ["x.conf:1: depends_on: a cycle: a -> a"]),
        ("z:\na: b\nb: a", ["x.conf:2: depends_on: a cycle: a -> b -> a"]),
        ("a: b\nb: c\nc: a\nd: a\ne: f", ["x.conf:1: depends_on: a cycle: a -> b -> c -> a"]),
        ("a: b c\nb: c\nc: a", ["x.conf:1: depends_on: a cycle: a -> c -> a"]),
        (
            "x: a\na: b\nb: a\nc: d\nd: c x",
            ["x.conf:2: depends_on: a cycle: a -> b -> a", "x.conf:4: depends_on: a cycle: c -> d -> c"],
        ),
    ],
)
def test_a_cycle_is_named(text: str, said: list[str]) -> None:
    assert [one for one in order(text).errors if "cycle" in one] == said


def test_what_waits_for_a_cycle_is_in_no_level() -> None:
    assert order("a: b\nb: a\nc: b\nd:").levels == [["d"]]


def test_a_long_cycle_is_shown_in_part() -> None:
    found = Order([Defined(f"s{number}", (f"s{(number + 1) % 500}",), line=number) for number in range(500)])
    assert found.errors == [
        "x.conf:0: depends_on: a cycle: s0 -> s1 -> s2 -> s3 -> s4 -> s5 -> s6 -> (493 more) -> s0"
    ]


# What always holds.


@settings(max_examples=rounds(40, 150))
@given(graphs(), st.lists(st.integers(0, 3), min_size=8, max_size=8))
def test_each_comes_after_what_it_depends_on_and_no_later_than_it_must(
    graph: Mapping[str, tuple[str, ...]], priorities: list[int]
) -> None:
    found = Order(
        Defined(name, others, priority) for (name, others), priority in zip(graph.items(), priorities)
    )
    level = {name: number for number, names in enumerate(found.levels) for name in names}
    assert found.errors == []
    assert sorted(level) == sorted(graph)
    for name, others in graph.items():
        assert level[name] == max((level[other] + 1 for other in others), default=0)
    given_priority = dict(zip(graph, priorities))
    for names in found.levels:
        keys = [(given_priority[name], list(graph).index(name)) for name in names]
        assert keys == sorted(keys)
    assert found.stopped(graph) == found.names[::-1]


def reachable(graph: Mapping[str, tuple[str, ...]], name: str) -> set[str]:
    """What a name depends on, be it through others."""
    found: set[str] = set()
    pending = [*graph[name]]
    while pending:
        one = pending.pop()
        if one not in found:
            found.add(one)
            pending += graph[one]
    return found


@settings(max_examples=rounds(40, 150))
@given(graphs(cycles=True))
def test_a_cycle_is_an_error_for_each_tangle_and_is_one(graph: Mapping[str, tuple[str, ...]]) -> None:
    found = Order(Defined(name, others) for name, others in graph.items())
    reaches = {name: reachable(graph, name) for name in graph}
    cyclic = {name for name in graph if name in reaches[name]}
    tangles = {frozenset(two for two in cyclic if two in reaches[one] and one in reaches[two]) for one in cyclic}
    assert len(found.errors) == len(tangles)
    named = set()
    for error in found.errors:
        match = re.fullmatch(r"x\.conf:1: depends_on: a cycle: (.*)", error)
        assert match
        cycle = match[1].split(" -> ")
        named.add(next(tangle for tangle in tangles if cycle[0] in tangle))
        assert cycle[0] == cycle[-1]
        if not any("more)" in name for name in cycle):
            assert all(other in graph[name] for name, other in zip(cycle, cycle[1:]))
            assert len({*cycle}) == len(cycle) - 1
    assert named == tangles
    assert {*found.names} == {name for name in graph if name not in cyclic and not reaches[name] & cyclic}


@settings(max_examples=rounds(40, 150))
@given(graphs())
def test_what_a_service_needs_needs_it(graph: Mapping[str, tuple[str, ...]]) -> None:
    found = Order(Defined(name, others) for name, others in graph.items())
    for name in graph:
        assert {*found.with_dependencies([name])} == {name, *reachable(graph, name)}
        assert {*found.with_dependents([name])} == {name, *(one for one in graph if name in reachable(graph, one))}


# Many.

MANY = 10_000
NAMES = [f"s{number}" for number in range(MANY)]


def test_ten_thousand_in_a_row() -> None:
    found = Order(Defined(name, (other,)) for name, other in zip(NAMES, ["", *NAMES]) if other or name)
    assert len(found.errors) == 1  # the first depends on what has no name
    assert found.names == NAMES
    assert found.with_dependents(["s0"]) == NAMES
    assert found.with_dependencies(["s9999"]) == NAMES


def test_ten_thousand_in_a_ring() -> None:
    found = Order(Defined(name, (NAMES[number - 1],)) for number, name in enumerate(NAMES))
    assert (len(found.errors), found.levels) == (1, [])


def test_ten_thousand_that_depend_on_one_and_one_on_all_of_them() -> None:
    found = Order([Defined("db"), *(Defined(name, ("db",)) for name in NAMES), Defined("all", tuple(NAMES))])
    assert found.levels == [["db"], NAMES, ["all"]]


def test_ten_thousand_in_rings_of_two() -> None:
    found = Order(Defined(name, (NAMES[number ^ 1],)) for number, name in enumerate(NAMES))
    assert len(found.errors) == MANY // 2
