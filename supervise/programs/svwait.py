"""svwait: wait until services are up, have stayed up, are ready, down, and so on.

Usage:
  svwait (-u | -U | -s | -d | -r | -x) [-t SECONDS] [-o] DIR...
  svwait -h | --help | --version

Options:
  -u          until they run
  -U          until they run and are ready; of one that does not say so (notify,
              notification_fd): until it runs
  -s          until they have stayed up: as -U, and for as long as their
              startsecs say
  -d          until they do not run
  -r          until they have been started after svwait was
  -x          until no supervise runs there
  -t SECONDS  at most so long (default: for ever)
  -o          until one of them is so, not all
  -h, --help  this text
  --version   the version

DIR is a status directory, the name of a service, or in quotes a pattern such
as 'web_*', GROUP:* or GROUP:NAME.

Exit codes: 0 it is so; 1 with -s: one has ended too soon; 99 the time is over;
100 wrong usage, or there is no such service; 111 it can't come true any more,
because supervise has given up or ended, or the system refused.
"""

from __future__ import annotations

from supervise.client import ClientError, TimeLimit
from supervise.client.conditions import CONDITIONS
from supervise.client.named import named
from supervise.client.wait import look, outcomes
from supervise.programs.program import complain, parse, run, seconds, warning

TYPE_CHECKING = False
if TYPE_CHECKING:
    from supervise.client.conditions import ConditionName

_CONDITION: dict[str, ConditionName]
_CONDITION = {"-u": "up", "-U": "ready", "-s": "stayed_up", "-d": "down", "-r": "restarted", "-x": "unsupervised"}


def main() -> int:
    """The console script; the exit code."""
    return run("svwait", _main)


def _main(argv: list[str]) -> int:
    args = parse("svwait", str(__doc__), argv, lambda words: words.wrong(_CONDITION, needed=True, services=(1, 0)))
    if args is None:
        return 0
    limit = seconds("-t", args["-t"]) if args["-t"] is not None else None
    condition = CONDITIONS[next(name for option, name in _CONDITION.items() if args[option])]
    failures: list[ClientError] = []
    pending = {}
    for _, service in named(args["DIR"], warning("svwait")):
        try:
            if isinstance(service, ClientError):
                raise service
            pending[service] = (look(service, condition), condition)
        except ClientError as why:
            if not args["-o"]:
                raise
            failures.append(why)
    for _, outcome in outcomes(pending, limit):
        if isinstance(outcome, ClientError):
            failures.append(outcome)
            if not args["-o"] and not isinstance(outcome, TimeLimit):
                break  # all of them can't be any more
        elif args["-o"]:
            return 0
    for failure in failures:
        complain("svwait", failure)
    return max((failure.exit_code for failure in failures), default=0)
