"""Running a verb of svc on several services: commanding them, and waiting for all of them together.

Rule 1.  Each service is looked at before it is commanded: whether it was restarted shows in the difference.
Rule 2.  All are commanded before the first is waited for.
Rule 3.  A service that cannot be commanded is said to be so, and the others are not kept waiting by it.
"""

from __future__ import annotations

import os
import sys

from supervise.client import (
    ClientError,
    DidNotStayUp,
    Service,
    Status,
    SystemRefused,
    TimeLimit,
)
from supervise.client.commanding import of_verb, send
from supervise.client.conditions import Lasting, Obeyed, startsecs
from supervise.client.errors import ConfigurationProblem, cannot
from supervise.client.wait import outcomes
from supervise.programs.program import complain, remark
from supervise.programs.svc.verbs import Problems, ended_badly
from supervise.protocol.text import one_line, shown_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from supervise.client.conditions import Condition
    from supervise.programs.svc.verbs import Verb

_LIMIT = 30.0  # seconds
_CLEAR = "\r\033[K"


class Execution:
    """The execution of one verb: `run` sends it, waits for at most `limit` seconds, and says what happened.

    Without a limit it is _LIMIT, and the longest time more that a service has to stay up for.
    """

    def __init__(self, verb: Verb, limit: float | None) -> None:
        self._verb = verb
        self._limit = _LIMIT if limit is None else limit
        self._may_take_longer = limit is None and isinstance(verb.condition, Lasting)
        self._code = 0
        self._progress = sys.stderr is not None and sys.stderr.isatty()

    def run(self, services: list[Service]) -> int:
        """The exit code: the gravest of all."""
        pending: dict[Service, tuple[Status, Condition]] = {}
        for service in services:
            try:
                pending[service] = self._send(service)
            except ClientError as why:
                self._failed(why)
        if self._may_take_longer:
            self._limit += max((startsecs(before) for before, _ in pending.values()), default=0)
        try:
            for service, outcome in outcomes(pending, self._limit, self._show if self._progress else None):
                self._say(service, *pending[service], outcome)
        finally:
            self._clear()
        return self._code

    def _send(self, service: Service) -> tuple[Status, Condition]:
        verb = self._verb
        return send(service, verb.name, verb.letters, verb.condition, verb.counts, remark)

    def _say(self, service: Service, before: Status, condition: Condition, outcome: Status | ClientError) -> None:
        self._clear()
        name = self._verb.name
        outcome = of_verb(outcome, name, service)
        if isinstance(outcome, TimeLimit):
            how = "it is unknown how it is"
            if outcome.status:
                from supervise.programs.svstat.line import beginning

                how = f"it is {beginning(outcome.status)}"
            self._failed(TimeLimit(f"{cannot(name, service.path)} within {self._limit:g} seconds: {how}"))
        elif isinstance(outcome, ClientError):
            self._failed(outcome)
        elif name == "once" and ended_badly(before, outcome):
            from supervise.client.last_words import why

            self._failed(DidNotStayUp(cannot(name, service.path), why(service, outcome), outcome))
        elif self._verb.condition is None and not (isinstance(condition, Obeyed) and condition.known):
            print(f"{service.shown_path}: sent", flush=True)
        else:
            try:
                words = self._verb.words(before, outcome)
            except SystemRefused as problem:
                self._failed(SystemRefused(f"{cannot(name, service.path)}: {problem}"))
            except Problems as problems:
                for line in problems.lines:
                    self._failed(ConfigurationProblem(f"cannot {name} all of {service.shown_path}: {line}"))
            else:
                print(f"{service.shown_path}: {words}", flush=True)

    def _failed(self, why: ClientError) -> None:
        self._clear()
        complain("svc", why)
        self._code = max(self._code, why.exit_code)

    def _show(self, waiting: list[Service], left: float | None) -> None:
        """The line of progress, on a terminal only."""
        from supervise.programs.width import cut

        names = ", ".join(shown_name(service.name) for service in waiting)
        text = one_line(f"{self._verb.name}: waiting for {names}")
        end = f" ({left:.0f} s left)"
        width = os.get_terminal_size(sys.stderr.fileno()).columns - len(end) - 1
        self._write(f"{_CLEAR}{cut(text, width)}{end}")

    def _clear(self) -> None:
        if self._progress:
            self._write(_CLEAR)

    def _write(self, text: str) -> None:
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except OSError:
            self._progress = False
