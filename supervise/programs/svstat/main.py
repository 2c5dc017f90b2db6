"""svstat: say how services are.

Usage:
  svstat [--failed] [--long | --json | --watch] [DIR...]
  svstat -h | --help | --version

Options:
  --failed    only those with which something is amiss that nobody asked for
  --long      a table for people, in colour on a terminal unless NO_COLOR is set
  --json      one JSON document
  --watch     the table, live, until q or Ctrl-C; ? there says which keys it has
  -h, --help  this text
  --version   the version

DIR is a status directory, the name of a service, or in quotes a pattern such
as 'web_*', GROUP:* or GROUP:NAME; none: every service below ./status, or where
there is no such directory below $SUPERVISE_ROOT.

Exit codes: 0 all could be read, whether they are up or down; 1 with --failed:
something is amiss with one (with --watch: when it is quit); 100 wrong usage, or
there is no such service; 111 one could not be read, which is said on standard
error, the others are shown.

The fields of --json, and what is amiss, are in man svstat.
"""

from __future__ import annotations

import os
import sys

from supervise.programs.program import complain, parse, run
from supervise.programs.svstat.line import line
from supervise.programs.svstat.reading import fails, read, rows
from supervise.protocol.exitcodes import FAILED
from supervise.protocol.text import shown_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from supervise.programs.svstat.reading import Found


def main() -> int:
    """The console script; the exit code."""
    return run("svstat", _main)


def _main(argv: list[str]) -> int:
    args = parse("svstat", str(__doc__), argv, lambda words: words.wrong(("--long", "--json", "--watch")))
    if args is None:
        return 0
    if args["--watch"]:
        from supervise.programs.svstat.live import watch

        return watch(args["DIR"], coloured(), args["--failed"])
    found: Iterable[Found] = read(args["DIR"])
    if args["--failed"]:
        found = list(filter(fails, found))
    amiss = FAILED if args["--failed"] and found else 0
    if args["--long"]:
        return max(_long(list(found)), amiss)
    if args["--json"]:
        from supervise.client.document import document

        found = list(found)
        print(document(found))
        return max(_complaints(found), amiss)
    return max(_lines(found, "svstat"), amiss)


def short(directories: list[str], program: str) -> int:
    """A line a service; the exit code."""
    return _lines(read(directories, program), program)


def _lines(found: Iterable[Found], program: str) -> int:
    code = 0
    for path, _, status, problem in found:
        if status:
            print(f"{shown_name(path)}: {line(status)}")
        if problem:
            complain(program, problem)
            code = max(code, problem.exit_code)
    return code


def _complaints(found: list[Found]) -> int:
    code = 0
    for _, _, _, problem in found:
        if problem:
            complain("svstat", problem)
            code = max(code, problem.exit_code)
    return code


def coloured() -> bool:
    """Whether colours are wanted: on a terminal, unless NO_COLOR says no (https://no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def width() -> int | None:
    """How wide the table may be: as the terminal; None in a pipe, whose reader is to have all of it."""
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or None
    except OSError:
        return None


def _long(found: list[Found]) -> int:
    from supervise.programs.svstat.table import table

    if found:
        for text in table(rows(found), coloured(), width()):
            print(text)
    return _complaints(found)
