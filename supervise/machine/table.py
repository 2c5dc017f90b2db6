"""The transition table: for each state and event the handler that is called, and the next state.

What lives here: the grid, reading it, and `handle`; and some of its cells said again, for speed.  What does not: what
its words do.  Each is a function, of on_command.py, on_process.py or on_liveness.py, and none of them asks for the
state: that is asked here, once.

How to read it
--------------

A line is an event (letters.py, states.py), a column a state.  A cell is `function>next`: what is called, and the
state in which that leaves the machine.

    .          it stays in this one
    spawning*  spawning, or delay, where the last start is not long enough ago
    idle*      idle, or ended, where supervise is to end with the service
    *NEXT      the choice of one function, Situation.after_exit(): ended, idle*, script or spawning*
    a|b        one of several, by what is configured, wanted or left of the service
    PHASE      it depends on how far the service is: see there
    -          nothing follows

PHASE        within running, by what the service has said of itself; `next` is a phase or a state.
ALWAYS       the same in every state but ended.
ELSEWHERE    every event there is, and what it leads to where no cell above says it, as in all of ended.

`timer` comes when the deadline is past; one that is early leads to nothing.
"""

from __future__ import annotations

from supervise.machine.on_command import (
    abandon,
    absent,
    alarms_off,
    alarms_on,
    cancel,
    end_script,
    exit_later,
    exit_now,
    exit_script,
    keep_starting,
    keep_up,
    no_pause,
    once_after_cleanup,
    once_after_script,
    once_now,
    pass_on,
    pause,
    pause_timed,
    reload,
    restart,
    restart_again,
    resume,
    resume_timed,
    signals_nobody,
    start_after_cleanup,
    start_after_script,
    start_anew,
    start_now,
    stay_down,
    stop,
    stop_again,
    up_again,
    upgrade,
    want_down,
    want_once,
)
from supervise.machine.on_liveness import (
    abort_late,
    end_late,
    extended,
    interval,
    is_ending,
    is_ready,
    is_sick,
    kicked,
    next_is_ready,
    not_ready,
    note_interval,
    overdue,
    reloaded,
    reloads,
    says,
    stop_late,
    triggered,
)
from supervise.machine.on_process import (
    adopted,
    amended,
    begin,
    cleared,
    configure,
    exited,
    failed,
    give_up_waiting,
    left_over,
    main_ends,
    main_exited,
    main_stops,
    new_main,
    no_successor,
    script_done,
    spared,
    start_due,
    started,
    stopped,
    succeeded,
    unexpected,
)
from supervise.protocol.record import UP as WANT_UP
from supervise.protocol.states import (
    ENDED,
    ENDING,
    READY,
    RELOADING,
    RUNNING,
    STARTING,
    STATES,
    STOPPING,
    TIMER,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from supervise.machine.situation import Action, Handler, Situation

    _Answers = dict[str, Handler]

GRID = """
    event         running                 stopping               aborting
    u             keep_up>.               up_again>.             up_again>.
    o             want_once>.             want_once>.            want_once>.
    d             stop>stopping           stop_again>.           stop_again>stopping
    R             restart>stopping        restart_again>.        restart_again>stopping
    x             exit_later>.            exit_later>.           exit_later>.
    p             pause>.                 pause_timed>.          no_pause>.
    c             resume>.                resume_timed>.         resume_timed>.
    signal_letter pass_on>.               pass_on>.              pass_on>.
    e             upgrade>.               upgrade>.              upgrade>.
    exited        exited>cleanup|*NEXT    stopped>cleanup|*NEXT  exited>cleanup|*NEXT
    main_exited   main_exited>succession  stopped>cleanup|*NEXT  exited>cleanup|*NEXT
    main          new_main>.              main_stops>.           main_ends>.
    spared        -                       spared>running         -
    timer         PHASE                   stop_late>.            abort_late>.
    text          says>.                  says>.                 says>.
    extend        extended>.              extended>.             -
    trigger       triggered>aborting      -                      -
    ready         PHASE                   -                      -
    reloading     PHASE                   -                      -
    stopping      PHASE                   -                      -
    kick          PHASE                   -                      -
    watchdog      PHASE                   -                      -
    unhealthy     PHASE                   -                      -

    event         spawning                  succession                     cleanup
    u             keep_starting>.           keep_up>.                      start_after_cleanup>.
    o             want_once>.               want_once>.                    once_after_cleanup>.
    d             want_down>.               abandon>cleanup                want_down>.
    R             keep_starting>.           start_anew>cleanup             start_after_cleanup>.
    x             exit_later>.              exit_later>.                   exit_later>.
    p             absent>.                  absent>.                       absent>.
    c             absent>.                  absent>.                       absent>.
    signal_letter signals_nobody>.          signals_nobody>.               signals_nobody>.
    e             unexpected>.              upgrade>.                      upgrade>.
    started       started>running|stopping  unexpected>.                   unexpected>.
    failed        failed>*NEXT              unexpected>.                   unexpected>.
    main          -                         succeeded>running              -
    no_successor  -                         no_successor>cleanup|*NEXT     -
    cleared       -                         -                              cleared>*NEXT
    timer         -                         give_up_waiting>cleanup|*NEXT  left_over>.|*NEXT
    text          -                         says>.                         -
    ready         -                         next_is_ready>.                -
    watchdog      -                         note_interval>.                -

    event         idle                               delay                script
    u             start_now>spawning*                start_now>spawning*  start_after_script>.
    o             once_now>spawning*                 once_now>spawning*   once_after_script>.
    d             stay_down>.                        cancel>idle*         end_script>.
    R             start_now>spawning*                start_now>spawning*  start_after_script>.
    x             exit_now>ended                     exit_now>ended       exit_script>ended
    p             absent>.                           absent>.             absent>.
    c             absent>.                           absent>.             absent>.
    signal_letter signals_nobody>.                   signals_nobody>.     signals_nobody>.
    e             upgrade>.                          upgrade>.            upgrade>.
    begin         begin>cleanup|spawning|idle*       -                    -
    adopted       adopted>running|stopping|aborting  unexpected>.         unexpected>.
    script_done   unexpected>.                       unexpected>.         script_done>idle*|spawning*
    timer         -                                  start_due>spawning   -

    PHASE      none                starting                  ready               reloading           ending
    timer      overdue>aborting    not_ready>ready|aborting  overdue>aborting    overdue>aborting    end_late>aborting
    ready      is_ready>ready      is_ready>ready            -                   reloaded>ready      is_ready>ready
    reloading  reloads>reloading   -                         reloads>reloading   -                   -
    stopping   is_ending>ending    is_ending>ending          is_ending>ending    is_ending>ending    -
    kick       kicked>.            -                         kicked>.            kicked>.            -
    watchdog   interval>.          note_interval>.           interval>.          interval>.          note_interval>.
    unhealthy  is_sick>.|aborting  -                         is_sick>.|aborting  is_sick>.|aborting  -

    ALWAYS
    s             alarms_off>.
    n             alarms_on>.
    r             reload>.
    config        configure>.
    amended       amended>.

    ELSEWHERE
    unexpected>.  adopted started failed exited main_exited script_done
    -             u o d R x p c signal_letter s n r e config amended
    -             begin no_successor main cleared timer spared
    -             ready reloading stopping text kick trigger watchdog extend unhealthy
"""
PHASES = {"none": None, "starting": STARTING, "ready": READY, "reloading": RELOADING, "ending": ENDING}


def _nothing(machine: Situation, event: str, now: float, value: Any) -> None:
    """Defined: nothing follows from this event in this state."""


def _in_phase(machine: Situation, event: str, now: float, value: Any) -> None:
    """The same event in the other grid; a phase that nobody here knows, of another release, is none."""
    BY_PHASE.get(machine.phase, BY_PHASE[None])[event](machine, event, now, value)


# fmt: off
_HANDLERS: tuple[Handler, ...] = (
    abandon, abort_late, absent, adopted, alarms_off, alarms_on, amended, begin, cancel, cleared, configure, end_late,
    end_script, exit_later, exit_now, exit_script, exited, extended, failed, give_up_waiting, interval, is_ending,
    is_ready, is_sick, keep_starting, keep_up, kicked, left_over, main_ends, main_exited, main_stops, new_main,
    next_is_ready, no_pause, no_successor, not_ready, note_interval, once_after_cleanup, once_after_script, once_now,
    overdue, pass_on, pause, pause_timed, reload, reloaded, reloads, restart, restart_again, resume, resume_timed,
    says, script_done, signals_nobody, spared, start_after_cleanup, start_after_script, start_anew, start_due,
    start_now, started, stay_down, stop, stop_again, stop_late, stopped, succeeded, triggered, unexpected, up_again,
    upgrade, want_down, want_once,
)
# fmt: on


def _read(grid: str, handlers: Iterable[Handler]) -> tuple[dict[str, _Answers], dict[str | None, _Answers]]:
    """The answers by state and event, and those by phase and event.

    Raises LookupError: a cell that is no handler, a handler that is no cell, an event or a column that does not exist.
    """
    names = {handler.__name__: handler for handler in handlers}
    known: dict[str, Handler] = {"-": _nothing, "PHASE": _in_phase}  # by all of a cell
    states: dict[str, _Answers] = {state: {} for state in STATES}
    phases: dict[str | None, _Answers] = {phase: {} for phase in PHASES.values()}
    always: _Answers = {}
    elsewhere: _Answers = {}
    columns: list[_Answers] = []
    for line in grid.splitlines():
        first, *cells = line.split() or ("",)
        if first == "event":
            columns = [states[name] for name in cells]
        elif first == "PHASE":
            columns = [phases[PHASES[name]] for name in cells]
        elif first in ("ALWAYS", "ELSEWHERE"):
            columns = [always] if first == "ALWAYS" else []
        elif columns and first:
            if len(cells) != len(columns):
                raise LookupError(f"table: {first} has {len(cells)} cells for {len(columns)} columns")
            for column, cell in zip(columns, cells):
                if cell not in known:
                    known[cell] = names[cell.partition(">")[0]]
                column[first] = known[cell]
        elif first:
            elsewhere.update(dict.fromkeys(cells, known[first]))
    unused = {*names.values()}.difference(known.values())
    if unused:
        raise LookupError(f"table: no cell has {', '.join(sorted(handler.__name__ for handler in unused))}")
    for state, answers in states.items():
        states[state] = {**elsewhere, **always, **answers} if state != ENDED else elsewhere
        if len(states[state]) != len(elsewhere):
            raise LookupError(f"table: {state} answers an event that does not exist")
    return states, phases


BY_STATE, BY_PHASE = _read(GRID, _HANDLERS)


def handle(machine: Situation, event: str, now: float, value: Any) -> list[Action]:
    """Answer one event; see Machine.handle."""
    machine._actions = []
    if event != TIMER or (machine.deadline is not None and now >= machine.deadline):
        BY_STATE[machine.state][event](machine, event, now, value)
    return machine._actions


# What the loop has to know without asking: cells in other words, and to agree with them.


def eager_from(machine: Situation) -> float | None:
    """The time from which on `exited` is answered with START first of all, however the service ends; see Machine."""
    if machine.state != RUNNING or machine.want != WANT_UP or machine.leaving or machine.script:
        return None
    config = machine.config
    if config.autorestart != "always" or config.killasgroup or machine.started_at is None:
        return None
    if config.pidfile or config.notify or config.notification_fd or config.watchdog_secs:
        return None  # its end may be that of one main process among several; or the start needs more
    if machine.phase or machine.watchdog:
        return None
    if machine.alarms and machine.window.may_give_up(config):
        return None
    counts = config.restart_delay_max > config.restart_delay or config.startretries is not None
    return machine.started_at + max(config.restart_delay, config.startsecs if counts else 0)


def passes_signals(machine: Situation) -> bool:
    """Whether `signal_letter` has the cell `pass_on`, and the service is not being ended because of a fault."""
    return machine.state in (RUNNING, STOPPING)


def healthy(machine: Situation) -> bool:
    """Whether `unhealthy` leads to aborting."""
    return machine.state == RUNNING and machine.phase in (None, READY, RELOADING) and not machine.paused
