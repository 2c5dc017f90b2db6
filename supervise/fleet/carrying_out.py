"""Carrying a task out, from what the command line said to the exit code."""

from __future__ import annotations

import time

from supervise.client.errors import ClientError
from supervise.fleet.goals import goals_of, load, make_room
from supervise.fleet.lookout import Lookout
from supervise.fleet.manager import Manager
from supervise.fleet.neighbours import Neighbours
from supervise.fleet.nursery_process import NurseryGone
from supervise.fleet.signals import Signals, held_back
from supervise.fleet.starts import Starts
from supervise.fleet.task import PROGRAM, Task, become
from supervise.protocol.exitcodes import FAILED, SYSTEM, USAGE
from supervise.protocol.text import say
from supervise.system.spawn import ignored_signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

    from supervise.fleet.nursery_process import NurseryProcess
    from supervise.fleet.output import Output

_FOR_GOOD = 10.0  # seconds after which a nursery that ends is not taken for one that cannot work


def _output(env: dict[bytes, bytes]) -> Output:
    from supervise.fleet.output import Output  # which few ask for

    return Output(env, ignored_signals())


def run(task: Task, nursery: Callable[[], NurseryProcess], env: dict[bytes, bytes]) -> int:
    """Carry a task out; the exit code."""
    begun = time.monotonic()
    loaded = load(task, env)
    if loaded is None:
        return USAGE
    try:
        names, errors = loaded.select(task.words, there=task.verb == "down")
        for line in errors:
            say(PROGRAM, "fatal", line)
        if errors:
            return USAGE
        goals, running, complete = goals_of(task, loaded, names)
        make_room(loaded, goals)
        signals = Signals() if task.stays else None
        lookout = Lookout(loaded.root)
        starts = Starts(nursery, lookout)
        output = _output(env) if task.logs else None
        neighbours = Neighbours(loaded.conf) if task.stays else None
        try:
            code = Manager(task, loaded, starts, lookout, env, signals, running, output, neighbours).carry_out(goals)
            return code if complete else max(code, FAILED)
        except NurseryGone as why:
            if not signals or not (starts.made or time.monotonic() - begun > _FOR_GOOD):
                raise
            # What it is forked from has to be as new, so all is begun anew: as after a kill, it finds what runs.
            say(PROGRAM, "warning", f"{why}: begin anew")
            held_back()
            become(task, env)
        finally:
            lookout.close()
            if neighbours:
                neighbours.close()
            if output:
                output.close()
    except ClientError as why:
        say(PROGRAM, "fatal", str(why))
        return why.exit_code
    except OSError as why:
        say(PROGRAM, "fatal", why.strerror or str(why))
        return SYSTEM
