"""In what order services start: who waits for whom, from what their definitions say.

What lives here: the graph of `depends_on`, and what is wrong with it.  What does not: reading definitions, and which
command is carried out over them (plan.py).

Rule 1.  A service is in the level after the last of those that it depends on.  Within a level a lower priority comes
         first, and of one priority what comes first in the file.
Rule 2.  Stopping goes the other way: what starts last is stopped first, and a lower priority last.
Rule 3.  A name that is no service and a cycle are errors, with the file and line of the definition.  What is in a
         cycle, or waits for one, is in no level.
Rule 4.  Nothing here takes more time than definitions and their dependencies are many, nor recurses.
"""

from __future__ import annotations

from supervise.protocol.text import shown_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Protocol

    class Defined(Protocol):
        """What has to be known of a service."""

        @property
        def name(self) -> str: ...

        @property
        def depends_on(self) -> Sequence[str]:
            """Names of services: groups are those in them."""

        @property
        def priority(self) -> int: ...

        @property
        def file(self) -> str: ...

        @property
        def line(self) -> int: ...


_SHOWN = 8  # names of a cycle that are shown, when it has more than that


class Order:
    """The order of some services.

    `levels`: the names, in start order, those together that could start at the same time.  `problems`: file, line and
    what is wrong there; where there are any, nothing is to be started.
    """

    __slots__ = ("levels", "problems", "_dependencies", "_dependents", "_places")

    def __init__(self, definitions: Iterable[Defined]) -> None:
        """Sort `definitions`, which come in the order of the file, each name once."""
        known = {definition.name: definition for definition in definitions}
        self.problems = _unknown_names(known)
        self._dependencies = {
            name: [other for other in dict.fromkeys(definition.depends_on) if other in known]
            for name, definition in known.items()
        }
        self._dependents: dict[str, list[str]] = {name: [] for name in known}
        for name, others in self._dependencies.items():
            for other in others:
                self._dependents[other].append(name)
        places = {name: place for place, name in enumerate(known)}
        self.levels = self._sorted(lambda name: (known[name].priority, places[name]))
        if sum(map(len, self.levels)) < len(known):
            self.problems += self._cycles(known, places)
        self._places = {name: place for place, name in enumerate(self.names)}

    @property
    def errors(self) -> list[str]:
        """The problems as lines, `FILE:LINE: what is wrong`."""
        return [f"{file}:{line}: {what}" for file, line, what in self.problems]

    @property
    def names(self) -> list[str]:
        """All of the levels, in start order."""
        return [name for level in self.levels for name in level]

    def started(self, names: Iterable[str]) -> list[str]:
        """These names in start order.  Raises KeyError: one that is in no level."""
        return sorted({*names}, key=self._places.__getitem__)

    def stopped(self, names: Iterable[str]) -> list[str]:
        """These names in the order in which they are stopped.  Raises KeyError: one that is in no level."""
        return self.started(names)[::-1]

    def dependencies(self, name: str) -> list[str]:
        """What a service names itself in depends_on, in that order.  Raises KeyError."""
        return self._dependencies[name]

    def with_dependencies(self, names: Iterable[str]) -> list[str]:
        """These names and all that they depend on, be it through others, in start order.  Raises KeyError."""
        return self.started(_reached(names, self._dependencies))

    def with_dependents(self, names: Iterable[str]) -> list[str]:
        """These names and all that depends on them, be it through others, in start order.  Raises KeyError."""
        return self.started(_reached(names, self._dependents))

    def _sorted(self, key: _Key) -> list[list[str]]:
        """The levels: rule 1."""
        missing = {name: len(others) for name, others in self._dependencies.items()}
        levels = []
        level = [name for name, count in missing.items() if not count]
        while level:
            levels.append(sorted(level, key=key))
            following = []
            for name in level:
                for dependent in self._dependents[name]:
                    missing[dependent] -= 1
                    if not missing[dependent]:
                        following.append(dependent)
            level = following
        return levels

    def _cycles(self, known: Mapping[str, Defined], places: Mapping[str, int]) -> list[_Problem]:
        """An error for each set of services that wait for each other: the shortest cycle with the first of them."""
        left = known.keys() - {name for level in self.levels for name in level}
        graph = {name: [other for other in self._dependencies[name] if other in left] for name in known if name in left}
        errors = []
        for tangle in sorted(_tangles(graph), key=lambda names: min(places[name] for name in names)):
            first = min(tangle, key=places.__getitem__)
            cycle = [shown_name(name) for name in _way_back(first, {name: graph[name] for name in tangle})]
            if len(cycle) > _SHOWN:
                cycle[_SHOWN - 1 : -1] = [f"({len(cycle) - _SHOWN} more)"]
            errors.append(_error(known[first], "a cycle: " + " -> ".join(cycle)))
        return errors


if TYPE_CHECKING:
    from typing import Callable

    _Key = Callable[[str], tuple[int, int]]
    _Graph = Mapping[str, list[str]]
    _Problem = tuple[str, int, str]


def _unknown_names(known: Mapping[str, Defined]) -> list[_Problem]:
    """An error for each name that is no service; once, if all instances of one section have it."""
    errors: dict[_Problem, None] = {}
    for definition in known.values():
        for name in definition.depends_on:
            if name not in known:
                errors[_error(definition, f"no service or group is named {shown_name(name)}")] = None
    return [*errors]


def _error(definition: Defined, what: str) -> _Problem:
    return definition.file, definition.line, f"depends_on: {what}"


def _reached(names: Iterable[str], graph: _Graph) -> set[str]:
    """All that can be reached from these, and themselves."""
    found = {*names}
    pending = [*found]
    while pending:
        new = [name for name in graph[pending.pop()] if name not in found]
        found.update(new)
        pending += new
    return found


def _way_back(first: str, graph: _Graph) -> list[str]:
    """The shortest cycle that begins and ends with `first`; all of the graph can reach all of it."""
    came_from: dict[str, str] = {}
    reached = [first]
    for name in reached:  # which grows
        for other in graph[name]:
            if other in graph and other not in came_from:
                came_from[other] = name
                reached.append(other)
        if first in came_from:
            break
    way = [first]
    while len(way) < 2 or way[-1] != first:
        way.append(came_from[way[-1]])
    return way[::-1]


def _tangles(graph: _Graph) -> Iterator[list[str]]:
    """The sets of names that can all reach each other, by Tarjan's algorithm; one alone only if on itself."""
    numbers: dict[str, int] = {}  # in what order they were found
    lowest: dict[str, int] = {}  # the first found of those on the stack that a name can reach
    stack: dict[str, int] = {}  # names with their places on it
    for root in graph:
        path = [] if root in numbers else [(root, iter(graph[root]))]
        if path:
            numbers[root] = lowest[root] = len(numbers)
            stack[root] = len(stack)
        while path:
            name, others = path[-1]
            for other in others:
                if other not in numbers:
                    numbers[other] = lowest[other] = len(numbers)
                    stack[other] = len(stack)
                    path.append((other, iter(graph[other])))
                    break
                if other in stack:
                    lowest[name] = min(lowest[name], numbers[other])
            else:
                path.pop()
                if path:
                    lowest[path[-1][0]] = min(lowest[path[-1][0]], lowest[name])
                if lowest[name] == numbers[name]:
                    tangle = [stack.popitem()[0] for _ in range(len(stack) - stack[name])]
                    if len(tangle) > 1 or name in graph[name]:
                        yield tangle
