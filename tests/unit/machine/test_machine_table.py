"""The table says what is so: driven through every cell, under all settings, the machine lands where the cell says."""

from __future__ import annotations

import copy
import dis
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import product
from types import CodeType, FunctionType
from typing import Any

import pytest
from grid import CELLS, NAMES, WORDS, Cell, cell_of, cells
from machines import CONFIGS, EVENTS, PHASES, VALUES, fingerprint, found_state, fresh, twin
from simulated import Loop, in_phase, in_state, policy

from supervise.machine import on_command, on_liveness, on_process, table
from supervise.machine.machine import Machine
from supervise.protocol import states
from supervise.protocol.letters import SIGNAL_LETTER
from supervise.protocol.states import (
    ABORTING,
    CLEANUP,
    DELAY,
    ENDED,
    IDLE,
    RUNNING,
    SCRIPT_RUN,
    SPAWNING,
    STARTING,
    STATES,
    STOPPING,
)

# What is written there.


def test_what_follows_when_d_comes_while_it_is_stopping_is_one_cell() -> None:
    assert cell_of(STOPPING, "d") == ("stop_again", (".",))


def test_nothing_is_said_twice() -> None:
    counts = Counter((column, event) for column, event, _ in cells())
    assert [where for where, count in counts.items() if count > 1] == []
    assert {column for column, _ in CELLS} == {*STATES, *table.PHASES, "ALWAYS", "ELSEWHERE"} - {ENDED}
    for event in EVENTS:
        assert ("ALWAYS", event) not in CELLS or not [state for state in STATES if (state, event) in CELLS]


def test_it_is_read_as_it_is_written() -> None:
    for state, event in product(STATES, EVENTS):
        name = cell_of(state, event).function
        known = {"-": table._nothing, "PHASE": table._in_phase}
        assert table.BY_STATE[state][event] is known.get(name, getattr(table, name, None)), (state, event)
    for phase, answers in table.BY_PHASE.items():
        for event, answer in answers.items():
            name = CELLS[NAMES[phase], event].function
            assert answer is (table._nothing if name == "-" else getattr(table, name)), (phase, event)


def test_what_depends_on_the_phase_is_said_for_each_phase() -> None:
    """And nothing else is."""
    assert set(table.BY_PHASE) == set(PHASES)
    depends = {event for event in EVENTS if cell_of(RUNNING, event).function == "PHASE"}
    assert depends
    for answers in table.BY_PHASE.values():
        assert set(answers) == depends
    for state, event in product(STATES, EVENTS):
        assert state == RUNNING or cell_of(state, event).function != "PHASE"


def test_every_word_is_a_known_one() -> None:
    for (column, event), cell in CELLS.items():
        assert set(cell.words) <= {*WORDS, "."}, (column, event)
        if cell.function in ("-", "PHASE"):
            assert cell.words == (".",)


def test_a_phase_that_nobody_knows_is_none() -> None:
    """The state of another release may have one."""
    loop = in_phase(None, policy(watchdog_secs=10))
    loop.machine.phase = "resting"
    loop.due()
    assert loop.state == ABORTING


# What cannot be read.


@pytest.mark.parametrize(
    "old, new, said",
    [
        ("stop_again>.  ", "stop_agian>.  ", "stop_agian"),
        ("cancel>idle*", "no_pause>.", "no cell has cancel"),
        ("\n    spared ", "\n    spraed ", "event that does not exist"),
        ("running  ", "runing  ", "runing"),
        ("ending\n", "endign\n", "endign"),
        ("spared>running         -", "spared>running", "spared has 2 cells for 3 columns"),
    ],
)
def test_a_mistake_is_noticed_when_the_module_is_read(old: str, new: str, said: str) -> None:
    assert old in table.GRID
    with pytest.raises(LookupError, match=said):
        table._read(table.GRID.replace(old, new, 1), table._HANDLERS)


def test_only_what_is_imported_by_name_can_be_a_cell() -> None:
    modules = {module.__name__ for module in (on_command, on_process, on_liveness)}
    for handler in table._HANDLERS:
        assert handler.__module__ in modules
        assert getattr(table, handler.__name__) is handler
    assert len({handler.__name__ for handler in table._HANDLERS}) == len(table._HANDLERS)


# Who asks for the state.


def loaded(function: Callable[..., Any]) -> set[str]:
    """The attributes and global names that a function reads."""
    found: set[str] = set()
    pending: list[CodeType] = [function.__code__]  # type: ignore[attr-defined]
    while pending:
        code = pending.pop()
        pending += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
        for one in dis.get_instructions(code):
            if one.opname in ("LOAD_ATTR", "LOAD_METHOD", "LOAD_GLOBAL"):
                found.add(one.argval)
    return found


def reachable(function: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """A function and those of the package's machine that it may call, properties of Machine included."""
    pending, done = [function], set()
    while pending:
        one = pending.pop()
        if one in done:
            continue
        done.add(one)
        yield one
        for name in loaded(one):
            for found in (one.__globals__.get(name), vars(Machine).get(name)):  # type: ignore[attr-defined]
                found = found.fget if isinstance(found, property) else found
                if isinstance(found, FunctionType) and found.__module__.startswith("supervise.machine."):
                    pending.append(found)


def test_no_cell_asks_for_the_state() -> None:
    for handler in table._HANDLERS:
        if handler is not on_process.unexpected:  # which says in its line what the state was
            for function in reachable(handler):
                assert "state" not in loaded(function), (handler.__name__, function.__name__)


def test_no_cell_of_a_phase_asks_for_the_phase() -> None:
    for handler in {answer for answers in table.BY_PHASE.values() for answer in answers.values()}:
        for function in reachable(handler):
            assert "phase" not in loaded(function), (handler.__name__, function.__name__)
    assert "phase" in loaded(on_liveness.watch)  # so that this shows something


# Where it leads.

SETTINGS = [
    *CONFIGS,
    policy(killasgroup="all", restart_delay=30),
    policy(autorestart="never"),
    policy(pidfile="app.pid", watchdog_secs=10, notification_fd=3, starttimeoutsecs=2, stopwaitsecs=60),
]
BEFORE = ("", "o", "d", "u", "x", "p", "s", "ou", "ox", "dx", "do", "px", "xs")  # letters that came in that state
DRIVEN = {**VALUES, states.BEGIN: [False, True], SIGNAL_LETTER: [("t", "TERM", False), ("k", "KILL", True)]}
SECONDS = (0.5, 10_000.0)


def led_to(state: str) -> Iterator[Loop]:
    """Machines in a state, under each of the settings."""
    for config in SETTINGS:
        config = copy.copy(config)
        unreachable = state in (DELAY, SCRIPT_RUN) and (config.autorestart == "never" or config.killasgroup)
        if state == CLEANUP:
            config.killasgroup = config.killasgroup or True
        loop = in_state(state, config=None if unreachable else config)
        if unreachable:  # but the configuration may change there
            loop.event(states.CONFIG, config)
        yield loop
        if state == IDLE:  # it has run before
            loop = in_state(STOPPING, config=config)
            loop.letters("d")
            loop.leaves = None
            loop.exit()
            yield loop


def variants(loops: Iterator[Loop], here: Callable[[Machine], bool]) -> Iterator[tuple[Machine, float]]:
    """What else may be so in that state, and the time there."""
    seen = set()
    for loop in loops:
        for letters, late, script, ends, again in product(BEFORE, *[(False, True)] * 4):
            found = twin(loop.machine)
            found.script = found.state == SCRIPT_RUN or script
            found.exit_with_service = ends
            if found.state == IDLE:
                found.will_restart = again  # as restore.after_takeover leaves it
            elif again:
                continue
            for letter in letters:
                found.handle(letter, loop.now, False)
            if late:
                found.handle(states.TIMER, found.deadline or loop.now)
            if here(found) and (found.config, fingerprint(found)) not in seen:
                seen.add((found.config, fingerprint(found)))
                yield found, loop.now


def drive(found: Machine, event: str, now: float) -> Iterator[Machine]:
    """The machines that come of it, for each value that the event may have, soon and late."""
    for value in DRIVEN.get(event, [False, True]):
        for seconds in SECONDS:
            other = twin(found)
            when = now + seconds
            if event == states.TIMER:
                if found.deadline is None:
                    return
                when = max(when, found.deadline)
            other.handle(event, when, fresh(value))
            yield other


def check_cell(cell: Cell, here: str, landed: set[str]) -> None:
    """All that was reached is said, and all that is said was reached."""
    said = {word: WORDS.get(word, {here}) for word in cell.words}
    assert landed <= set().union(*said.values()), (cell, landed)
    for word, places in said.items():
        if word == "*NEXT":
            assert len(landed & places) >= 3, (cell, landed)  # after a failed start no other can be due at once
        else:
            assert places <= landed, (cell, word, landed)


@pytest.mark.parametrize("state", STATES)
def test_in_every_state_every_event_leads_where_its_cell_says(state: str) -> None:
    situations = list(variants(led_to(state), lambda found: found.state == state))
    assert situations
    for event in EVENTS:
        cell = cell_of(state, event)
        if cell.function == "-":
            for found, now in situations[::20]:  # whatever the settings, nothing is called
                for other in drive(found, event, now):
                    assert (other._actions, fingerprint(other)) == ([], fingerprint(found))
        elif cell.function != "PHASE":
            check_cell(cell, state, {other.state for found, now in situations for other in drive(found, event, now)})


def led_to_phase(phase: str | None) -> Iterator[Loop]:
    for config in SETTINGS:
        config = copy.copy(config)
        config.notification_fd = config.notification_fd if phase else 0
        yield in_phase(phase, config)
        if phase == STARTING:  # since before this supervise was there
            loop = Loop(copy.copy(config))
            loop.pid = 77
            loop.event(states.ADOPTED, (77, found_state(RUNNING, 77, phase=STARTING)))
            if loop.machine.phase == STARTING:
                yield loop


@pytest.mark.parametrize("phase", PHASES)
def test_in_every_phase_every_event_leads_where_its_cell_says(phase: str | None) -> None:
    situations = list(
        variants(led_to_phase(phase), lambda found: (found.state, found.phase) == (RUNNING, phase))
    )
    assert situations
    for event in table.BY_PHASE[phase]:
        landed = set()
        for found, now in situations:
            for other in drive(found, event, now):
                landed.add(NAMES[other.phase] if other.state == RUNNING else other.state)
        check_cell(CELLS[NAMES[phase], event], NAMES[phase], landed)


@pytest.mark.parametrize("state", STATES)
def test_a_timer_that_is_early_leads_to_nothing(state: str) -> None:
    for found, now in variants(led_to(state), lambda found: found.state == state):
        if found.deadline is None or found.deadline > now:
            other = twin(found)
            assert other.handle(states.TIMER, now) == []
            assert fingerprint(other) == fingerprint(found)


# What is said again, for speed.  Of `eager_from` check_eager (machines.py) holds it at every step of other tests, too.


@pytest.mark.parametrize("state", STATES)
def test_signals_are_passed_on_at_once_where_the_table_passes_them_on(state: str) -> None:
    for found, _ in variants(led_to(state), lambda found: found.state == state):
        passed_on = cell_of(state, SIGNAL_LETTER).function == "pass_on"
        assert found.passes_signals == (passed_on and state != ABORTING)  # there is no hurry in that one


@pytest.mark.parametrize("state", STATES)
def test_a_service_is_healthy_where_the_table_would_end_one_that_is_not(state: str) -> None:
    loops = led_to(state) if state != RUNNING else (loop for phase in PHASES for loop in led_to_phase(phase))
    for found, now in variants(loops, lambda found: found.state == state):
        for other in drive(found, states.UNHEALTHY, now):
            assert found.healthy == (state == RUNNING and other.state == ABORTING)


def test_an_exit_that_is_answered_before_it_is_asked_about_is_answered_so() -> None:
    """The cell of `exited` in running leads to spawning then, and to nothing else; and there are such machines."""
    eager = 0
    loops = (loop for phase in PHASES for loop in led_to_phase(phase))
    for found, now in variants(loops, lambda found: found.state == RUNNING):
        if found.eager_from is not None:
            eager += 1
            for how in VALUES[states.EXITED]:
                other = twin(found)
                actions = other.handle(states.EXITED, max(now, found.eager_from), fresh(how))
                assert (actions[0], other.state) == ((states.START,), SPAWNING)
    assert eager
    for state in STATES:
        for loop in led_to(state):
            assert loop.machine.eager_from is None or state == RUNNING
