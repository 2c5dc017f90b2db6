"""svc: command services.

Usage:
  svc [options] (start|stop|restart|once|exit|pause|resume) DIR...
  svc [options] (reload|upgrade|kill|status|reopen) DIR...
  svc [options] signal SIGNAL DIR...
  svc [options] alarm (on|off) DIR...
  svc [options] DIR (start|stop|restart|status|exit|reconf)
  svc [options] DIR alarm (on|off)
  svc -h | --help | --version

Options:
  --wait SECONDS  wait at most so long until it is so (default: 30, and
                  startsecs)
  --no-wait       only send the command, `start` to a supervise that it
                  starts if need be
  -h, --help      this text; -h DIR... is the letter
  --version       the version

Or letters, as daemontools has them, `svc -d DIR...` or `svc -dx DIR...`: sent
in this order, in one write, without waiting for what comes of them.
  u up    d down    o once    x exit when down    R planned restart
  p pause    c continue    s alarms off    n alarms on
  t TERM  k KILL  h HUP  a ALRM  i INT  q QUIT  1 USR1  2 USR2  w WINCH
  + what follows goes to the process group    = to the service alone
  r read the configuration again    e upgrade supervise in place

DIR is a status directory, the name of a service, or in quotes a pattern such
as 'web_*', GROUP:* or GROUP:NAME.  All are commanded first, and waited
for together.  `reopen` commands nothing: it says whether the log files of a
service are in place, or what it takes to have them made anew.  `start`,
`restart` and `once` wait until the service has been up for its startsecs, and
is ready where it tells that; `exit` takes it down and ends its supervise.
Where no supervise runs any more, `start` starts
one that goes on as the last one did; everything else is refused.

Exit codes: 0 it is so; 1 the service has ended instead, or is stopped, or its
configuration has problems; 99 not so within the time; 100 wrong usage, or there
is no such service; 111 it can't be, or the system refused.
"""

from __future__ import annotations

from supervise.client import LETTERS, ClientError, NotRunning
from supervise.client.meant import MEANT, check
from supervise.client.named import named
from supervise.programs.program import UsageError, complain, parse, remark, run, seconds, warning, wrong_usage
from supervise.protocol.text import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from supervise.client import Service
    from supervise.programs.svc.verbs import Verb
    from supervise.programs.wrong_usage import Words

_VERBS = ("start", "stop", "restart", "once", "exit", "pause", "resume", "reload", "upgrade", "kill")
_VERBS_LAST = ("start", "stop", "restart", "status", "exit", "reconf")
_LOOKS = ("status", "reopen")  # that command nothing
_SWITCH = ("on", "off")

# What docopt is to match: the whole of the usage takes it half as long as an interpreter takes to start.
_GRAMMAR = """Usage: svc [options] WORD...

Options:
  --wait SECONDS
  --no-wait
"""


def main() -> int:
    """The console script; the exit code."""
    return run("svc", _main)


def _main(argv: list[str]) -> int:
    if argv and argv[0].startswith("-") and not argv[0].startswith("--") and argv != ["-h"]:
        return _send_letters(argv)
    args = parse("svc", str(__doc__), argv, _missing, _GRAMMAR)
    if args is None:
        return 0
    limit = None if args["--wait"] is None else seconds("--wait", args["--wait"])
    name, detail, directories = _sort(args["WORD"])
    if name == "reopen":
        from supervise.programs.svc.reopen import reopen

        return reopen(directories)
    if name == "status":
        from supervise.programs.svstat.main import short

        return short(directories, "svc")
    return command(_verb(name, detail), directories, limit, not args["--no-wait"])


def _missing(words: Words) -> str:
    return words.problem or "no verb and no service"


def _sort(words: list[str]) -> tuple[str, str, list[str]]:
    """The verb, the signal or `on` or `off` that belongs to it, and the services.  Raises UsageError.

    A verb is one where it stands first; so `svc stop start` stops the service `start`.
    """
    first, rest = words[0], words[1:]
    if rest and (first in _VERBS or first in _LOOKS):
        return first, "", rest
    if len(rest) > 1 and (first == "signal" or (first == "alarm" and rest[0] in _SWITCH)):
        return first, rest[0], rest[1:]
    if len(rest) == 1 and rest[0] in _VERBS_LAST:
        return rest[0], "", [first]
    if len(rest) == 2 and rest[0] == "alarm" and rest[1] in _SWITCH:
        return "alarm", rest[1], [first]
    from supervise.programs.svc.misspelt import wrong_verb

    raise wrong_usage("svc", wrong_verb(words, (*_VERBS, "reopen", "signal", "alarm"), _VERBS_LAST))


def _send_letters(argv: list[str]) -> int:
    groups = []
    while argv and argv[0].startswith("-") and argv[0] not in ("-", "--"):
        if argv[0].startswith("--"):
            from supervise.programs.svc.misspelt import wrong_option

            raise wrong_usage("svc", wrong_option(argv[0]))
        groups.append(argv.pop(0)[1:])
    if argv[:1] == ["--"]:
        argv.pop(0)
    for group in groups:
        if len(group) > 3 or group.lower() in MEANT or any(letter not in LETTERS for letter in group):
            from supervise.programs.svc.misspelt import wrong_group

            wrong = wrong_group(group, argv, _VERBS)
            if wrong:
                raise wrong_usage("svc", wrong)
    letters = "".join(groups)
    if not letters or not argv:
        raise wrong_usage("svc", "no service is named" if letters else "there are no letters")
    check(letters)
    code = 0
    for _, service in named(argv, warning("svc")):
        try:
            if isinstance(service, ClientError):
                raise service
            service.command(letters)
        except ClientError as why:
            complain("svc", why)
            code = max(code, why.exit_code)
    return code


def _verb(name: str, detail: str) -> Verb:
    from supervise.programs.svc.verbs import ALARM, SIGNAL, VERBS

    if name == "alarm":
        return ALARM[detail]
    if name == "signal":
        wanted = detail.upper()
        wanted = wanted[3:] if wanted.startswith("SIG") else wanted
        if wanted not in SIGNAL:
            from supervise.programs.wrong_usage import hint

            instead = f"{hint(wanted, SIGNAL)}; there are {', '.join(SIGNAL)}"
            raise UsageError(f"cannot send the signal {quoted(detail)}{instead}")
        return SIGNAL[wanted]
    return VERBS[name]


def command(verb: Verb, directories: list[str], limit: float | None, wait: bool) -> int:
    """Command services, and `wait` for what comes of it, for `limit` seconds (None: the usual); the exit code."""
    services = []
    code = 0
    for _, service in named(directories, warning("svc")):
        if isinstance(service, ClientError):
            complain("svc", service)
            code = max(code, service.exit_code)
        else:
            services.append(service)
    if not wait:
        return max(code, _only_send(verb, services))
    from supervise.programs.svc.run import Execution

    return max(code, Execution(verb, limit).run(services))


def _command(service: Service, verb: Verb) -> None:
    try:
        service.command(verb.letters)
    except NotRunning:
        from supervise.client.commanding import reach

        reach(service, verb.name, remark)
        service.command(verb.letters)


def _only_send(verb: Verb, services: list[Service]) -> int:
    code = 0
    for service in services:
        try:
            _command(service, verb)
            print(f"{service.shown_path}: {verb.name}: sent")
        except ClientError as why:
            complain("svc", why)
            code = max(code, why.exit_code)
    return code
