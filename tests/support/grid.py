"""The grid of the state machine (table.py), in another reading than its own: what each cell says of where it leads."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from supervise.machine import table
from supervise.protocol.states import DELAY, ENDED, IDLE, RUNNING, SCRIPT_RUN, SPAWNING, STATES

NAMES = {phase: name for name, phase in table.PHASES.items()}
# What the words of a cell stand for; `.` is where the machine was.
WORDS = {"spawning*": {SPAWNING, DELAY}, "idle*": {IDLE, ENDED}, "*NEXT": {ENDED, IDLE, SCRIPT_RUN, SPAWNING, DELAY}}
WORDS.update({name: {name} for name in (*STATES, *table.PHASES)})


class Cell(NamedTuple):
    """A function, or `-` or PHASE, and the words for where it leads."""

    function: str
    words: tuple[str, ...]


def cells() -> Iterator[tuple[str, str, Cell]]:
    """The grid in another reading than that of table.py: what column, what event, what cell."""
    for block in re.split(r"\n\s*\n", table.GRID.strip()):
        head, *rows = (line.split() for line in block.splitlines())
        for first, *rest in rows:
            if head[0] == "ELSEWHERE":
                found = [("ELSEWHERE", event, first) for event in rest]
            else:
                columns = head[1:] if head[0] in ("event", "PHASE") else head
                assert len(columns) == len(rest), (first, rest)
                found = [(column, first, cell) for column, cell in zip(columns, rest)]
            for column, event, text in found:
                function, _, words = text.partition(">")
                yield column, event, Cell(function, tuple(words.split("|")) if words else (".",))


CELLS = {(column, event): cell for column, event, cell in cells()}


def cell_of(state: str, event: str) -> Cell:
    """The one cell that says what an event leads to in a state."""
    if state != ENDED:
        for column in (state, "ALWAYS"):
            if (column, event) in CELLS:
                return CELLS[column, event]
    return CELLS["ELSEWHERE", event]


def place(state: str, phase: str | None, event: str) -> str:
    """The column that says what an event leads to."""
    return NAMES[phase] if (state, cell_of(state, event).function) == (RUNNING, "PHASE") else state


def may_follow(state: str, phase: str | None, event: str) -> set[str]:
    """The states, or for what depends on the phase the phases and states, in which it may be then."""
    column = place(state, phase, event)
    cell = CELLS[column, event] if column != state else cell_of(state, event)
    return set().union(*(WORDS.get(word, {column}) for word in cell.words))
