"""Commanding a service and waiting for what comes of it: how a verb is sent, and the verbs of Service.

Rule 1.  A service is looked at before it is commanded: whether it was restarted shows in the difference.
Rule 2.  No condition counts before the letters were obeyed (conditions.Obeyed): straight after a command, the status
         may still be that of the time before.
Rule 3.  What is asked of a service that no supervise runs for is refused, whatever its record says; but to start it:
         then a supervise is started first (resume.py).
"""

from __future__ import annotations

from supervise.client.conditions import Obeyed, back_up, kept_down, kept_up
from supervise.client.errors import CannotComeTrue, ClientError, NotRunning, cannot, typed
from supervise.client.status import DidNotStayUp, IsStopped, TimeLimit
from supervise.client.wait import check_seconds, look, outcomes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

    from supervise.client.conditions import Condition
    from supervise.client.service import Service
    from supervise.client.status import Status


START = "start"  # the verb for which a supervise is started
PAUSE = "pause"  # the verb that needs a process
WORKS = (START, "restart", "once")  # the verbs after which a service is to work


def _unsaid(line: str) -> None:
    """Who asks for a status wants no lines: what a supervise warns of is in its log as well."""


def reach(service: Service, what: str, say: Callable[[str], None] = _unsaid) -> Status | None:
    """See to it that a supervise runs that can obey: to start a service, one is started, whose lines are said.

    How the service was before that; None where one runs already.  Raises what `send` does.
    """
    if service.supervised():
        return None
    from supervise.client.resume import gone, resume

    if what != START:
        raise gone(service, what)
    earlier = look(service, None)
    for line in resume(service):
        say(line)
    return earlier


def is_stopped(service: Service, what: str, status: Status) -> IsStopped | None:
    """The exception for a service that was to work, and is paused or stopped by a signal; None if it is neither."""
    if not status.pid or not (status.paused or status.stopped):
        return None
    how = "paused" if status.paused else "stopped by a signal"
    goes_on = f"it is up (pid {status.pid}), but {how}; to have it go on: svc resume {typed(service.path)}"
    return IsStopped(f"{cannot(what, service.path)}: {goes_on}", status)


def send(
    service: Service,
    what: str,
    letters: str,
    condition: Condition | None,
    counts: bool = True,
    say: Callable[[str], None] = _unsaid,
) -> tuple[Status, Condition]:
    """Look at a service, then command it; how it was before, and the condition of what is to come of that.

    `what`: the verb, for messages.  `counts`: the letters are counted, and so `condition` is not asked before they were
    obeyed; otherwise there must be a condition.  Raises NotRunning, NotAStatusDir, DamagedRecord, NoPermission,
    SystemRefused.
    """
    earlier = reach(service, what, say)
    before = look(service, condition)
    if what == PAUSE and not before.pid:
        raise NotRunning(f"{cannot(what, service.path)}: the service is not running")
    length = service.send(letters)
    return earlier or before, condition if condition and not counts else Obeyed(length, condition)


def outcome(service: Service, what: str, letters: str, condition: Condition, seconds: float | None) -> Status:
    """Command a service and wait until the condition is true: the status then.

    Raises TimeLimit, CannotComeTrue, DidNotStayUp, IsStopped, and what `send` does.
    """
    check_seconds(seconds)
    before, condition = send(service, what, letters, condition)
    for _, result in outcomes({service: (before, condition)}, seconds):
        if isinstance(result, TimeLimit):
            raise TimeLimit(f"{cannot(what, service.path)} within {seconds:g} seconds", result.status)
        found = of_verb(result, what, service)
        if isinstance(found, ClientError):
            raise found
        return found
    raise AssertionError("one service has one outcome")


def of_verb(outcome: Status | ClientError, what: str, service: Service) -> Status | ClientError:
    """What waiting has met, for the verb `what` that was waited for: its exceptions are in the words of that."""
    if isinstance(outcome, CannotComeTrue):
        return CannotComeTrue(cannot(what, service.path), outcome.why)
    if isinstance(outcome, DidNotStayUp):
        return DidNotStayUp(cannot(what, service.path), outcome.why, outcome.status)
    if isinstance(outcome, ClientError) or what not in WORKS:
        return outcome
    return is_stopped(service, what, outcome) or outcome


def start(service: Service, seconds: float | None) -> Status:
    """Do what Service.start says."""
    return outcome(service, START, "u", kept_up, seconds)


def restart(service: Service, seconds: float | None) -> Status:
    """Do what Service.restart says."""
    return outcome(service, "restart", "R", back_up, seconds)


def stop(service: Service, seconds: float | None) -> Status:
    """Do what Service.stop says."""
    return outcome(service, "stop", "d", kept_down, seconds)
