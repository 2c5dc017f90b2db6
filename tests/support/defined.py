"""Definitions of services as far as their order goes, and graphs of them at random."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import strategies as st


class Defined(NamedTuple):
    """A service of a file that is called `x.conf`."""

    name: str
    depends_on: tuple[str, ...] = ()
    priority: int = 999
    line: int = 1
    file: str = "x.conf"


def defined(text: str) -> list[Defined]:
    """Definitions, one a line: `name[/priority]: dependency ...`; the line numbers are those of this text, from 1."""
    found = []
    for number, line in enumerate(text.strip().splitlines(), 1):
        head, _, others = line.partition(":")
        name, _, priority = head.strip().partition("/")
        found.append(Defined(name, tuple(others.split()), int(priority or 999), number))
    return found


@st.composite
def graphs(draw: st.DrawFn, most: int = 8, cycles: bool = False) -> dict[str, tuple[str, ...]]:
    """What each name depends on, in an order that says nothing about that; `cycles`: these may be there, too."""
    count = draw(st.integers(1, most))
    names = [f"s{number}" for number in range(count)]
    graph = {}
    for number, name in enumerate(names):
        others = names if cycles else names[:number]
        graph[name] = tuple(draw(st.lists(st.sampled_from(others), max_size=3))) if others else ()
    return {name: graph[name] for name in draw(st.permutations(names))}
