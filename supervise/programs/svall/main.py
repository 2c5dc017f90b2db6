"""svall: start, stop and look at all services that one file defines.

Usage:
  svall [-F CONF] [-p ROOT] (up | down | restart | update) [NAME...]
  svall [-F CONF] [-p ROOT] (status | diff | order) [NAME...]
  svall [-F CONF] [-p ROOT] run [--logs] [NAME...]
  svall -h | --help | --version

Options:
  -F CONF     what defines the services: a supervise.conf, a supervisord.conf or
              a Procfile [default: supervise.conf]
  -p ROOT     where they live, each in a directory of its name: a directory
              named status; the one beside CONF, if it is not given
  --logs      show what the services print from now on, each line behind the
              name of its service
  -h, --help  this text
  --version   the version

NAME is the name of a service, a shell pattern in quotes, GROUP:* or
GROUP:NAME; none: all of them.

up       start what is not running, in order, and wait until each is up
down     stop services and their supervises, in reverse order
restart  restart them, in order
update   do what diff says; what does not differ keeps its pid
status   a table of them, and of what is there and not defined
diff     what update would do: + NAME, - NAME, ~ NAME: KEYS; 1 if anything
order    the names in start order, one line a level
run      up, and stay: TERM or INT is down, HUP is update

Exit codes: 0 all done; 1 some could not, or diff found something; 100 wrong
usage or configuration, and nothing was started; 111 the system refused.
"""

from __future__ import annotations

import os
import sys

from supervise.client.errors import ClientError
from supervise.programs.program import UsageError, complain, parse, remark, run
from supervise.protocol.exitcodes import FAILED, SYSTEM, USAGE
from supervise.protocol.text import shown_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from supervise.fleet.loaded import Loaded
    from supervise.programs.wrong_usage import Words

VERBS = ("up", "down", "restart", "update", "status", "diff", "order", "run")
_PLAIN = ("status", "diff", "order")  # which start nothing
_ROOT = "status"


def main() -> int:
    """The console script; the exit code."""
    return run("svall", _main)


def _main(argv: list[str]) -> int:
    args = parse("svall", str(__doc__), argv, _wrong)
    if args is None:
        return 0
    conf = args["-F"]
    if not conf:
        raise UsageError("cannot read '': no file is named")
    _refuse_descriptor(conf)
    root = args["-p"] or os.path.join(os.path.dirname(conf), _ROOT)
    try:
        named = os.path.basename(os.path.abspath(root))
    except OSError as why:
        from supervise.system.errors import lost_directory

        raise ClientError(f"cannot use {shown_name(root)}: {why.strerror}{lost_directory(root)}") from None
    if named != _ROOT:
        raise UsageError(f"cannot use {shown_name(root)}: the directory of services must be named {_ROOT}")
    verb = next(verb for verb in VERBS if args[verb])
    if verb not in _PLAIN:
        from supervise.fleet.task import Task, become
        from supervise.system.isolated import callers_environment

        try:
            task = Task(verb, args["NAME"], conf, root, logs=args["--logs"], typed=argv)
            become(task, callers_environment())
        except OSError as why:
            raise ClientError(f"cannot execute {sys.executable}: {why.strerror}") from None
    from supervise.fleet.loaded import Loaded

    loaded = Loaded(conf, root, carries=verb == "diff")
    for line in loaded.warnings:
        remark(f"svall: warning: {line}")
    names, errors = loaded.select(args["NAME"], there=verb == "status")
    for line in loaded.errors or errors:
        complain("svall", line)
    if loaded.errors or errors:
        return USAGE
    if verb != "status":
        for line in loaded.problems(names):
            remark(f"svall: warning: {line}")
    return {"order": _order, "diff": _diff, "status": _status}[verb](loaded, names, bool(args["NAME"]))


def _refuse_descriptor(conf: str) -> None:
    """Refuse standard input, and what a shell makes of `<(...)`: what is read once.  Raises UsageError."""
    from supervise.config.from_descriptor import descriptor

    if descriptor(conf) is not None or (conf == "-" and not os.path.lexists(conf)):
        why = "it has to be a file that stays, for every supervise reads it again"
        raise UsageError(f"cannot use {shown_name(conf)}: {why}")


def _wrong(words: Words) -> str:
    from supervise.programs.svall.misspelt import wrong_words

    return wrong_words(words, VERBS)


def _order(loaded: Loaded, names: list[str], some: bool) -> int:
    wanted = {*names}
    for level in loaded.order.levels:
        shown = [shown_name(name) for name in level if not some or name in wanted]
        if shown:
            print(" ".join(shown))
    return 0


def _diff(loaded: Loaded, names: list[str], some: bool) -> int:
    from supervise.fleet.changes import changes, refuse_nothing

    compared = changes(loaded)
    refuse_nothing(loaded, compared.found)
    wanted = {*names}
    found = [change for change in compared.found if not some or change.name in wanted]
    unknown = [line for name, line in compared.unknown.items() if not some or name in wanted]
    for line in compared.alone:
        remark(f"svall: warning: {line}")
    for change in found:
        print(change)
    for line in unknown:
        complain("svall", line)
    return SYSTEM if unknown else FAILED if found else 0


def _status(loaded: Loaded, names: list[str], some: bool) -> int:
    from supervise.client.resolve import listed
    from supervise.programs.svstat.main import coloured, width
    from supervise.programs.svstat.reading import read, rows
    from supervise.programs.svstat.table import Row, table
    from supervise.protocol.filenames import from_file

    wanted = [from_file(name) for name in (names if some else [*names, *loaded.undefined()])]
    known = {*listed(loaded.root)} if os.path.isdir(loaded.root) else set()
    there = [name for name in wanted if name in known]
    found = list(read([os.path.join(loaded.root, name) for name in there])) if there else []
    made = dict(zip(there, rows(found)))
    shown = [made.get(name) or Row(name) for name in wanted]
    if shown:
        for text in table(shown, coloured(), width()):
            print(text)
    code = 0
    for _, _, _, problem in found:
        if problem:
            complain("svall", problem)
            code = max(code, problem.exit_code)
    return code


if __name__ == "__main__":
    sys.exit(main())
