"""svstat: say how services are.

Usage:
  svstat [--long | --json | --watch] [DIR...]
  svstat -h | --help | --version

Options:
  --long      a table for people, in colour on a terminal, unless NO_COLOR is set
  --json      one JSON document
  --watch     the table, live, until q or Ctrl-C
  -h, --help  this text
  --version   the version

DIR is a status directory, or the name of a service; none: every service below ./status, or where there is no such
directory below $SUPERVISE_ROOT.
Exit codes: 0 all could be read, whether they are up or down; 100 wrong usage, or there is no such service; 111 one
could not be read, which is said on standard error, the others are shown.

The fields of --json are in man svstat.
"""

from __future__ import annotations

import os
import sys

from supervise.programs.program import complain, parse, run
from supervise.programs.svstat.line import line
from supervise.programs.svstat.reading import read, rows
from supervise.protocol.text import one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from supervise.programs.svstat.reading import Found


def main() -> int:
    """The console script; the exit code."""
    return run("svstat", _main)


def _main(argv: list[str]) -> int:
    args = parse("svstat", str(__doc__), argv)
    if args is None:
        return 0
    if args["--watch"]:
        from supervise.programs.svstat.live import watch

        return watch(args["DIR"], coloured())
    if args["--long"]:
        return _long(args["DIR"])
    if args["--json"]:
        from supervise.programs.svstat.document import document

        found = list(read(args["DIR"]))
        print(document(found))
        return _complaints("svstat", found)
    return short(args["DIR"], "svstat")


def short(directories: list[str], program: str) -> int:
    """A line a service; the exit code."""
    code = 0
    for path, _, status, problem in read(directories):
        if status:
            print(f"{one_line(path)}: {line(status)}")
        if problem:
            complain(program, problem)
            code = max(code, problem.exit_code)
    return code


def _complaints(program: str, found: list[Found]) -> int:
    code = 0
    for _, _, _, problem in found:
        if problem:
            complain(program, problem)
            code = max(code, problem.exit_code)
    return code


def coloured() -> bool:
    """Whether colours are wanted: on a terminal, unless NO_COLOR says no (https://no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _long(directories: list[str]) -> int:
    from supervise.programs.svstat.table import table

    found = list(read(directories))
    for text in table(rows(found), coloured()):
        print(text)
    return _complaints("svstat", found)
