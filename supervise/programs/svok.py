"""svok: tell by the exit code whether a supervise runs.

Usage:
  svok DIR
  svok -h | --help | --version

Options:
  -h, --help  this text
  --version   the version

DIR is a status directory, or the name of a service.
Exit codes: 0 a supervise runs there; 100 none does, or that cannot be known.
Nothing is printed.
"""

from __future__ import annotations

import sys

from supervise.client import ClientError, Service
from supervise.protocol.exitcodes import USAGE

_GRAMMAR = "Usage: svok [--] DIR"  # what docopt is to match: a name may begin with a dash


def main() -> int:
    """The console script; the exit code."""
    argv = sys.argv[1:]
    if len(argv) != 1 or argv[0].startswith("-"):
        return _unusual()
    try:
        return 0 if Service(argv[0]).supervised() else USAGE
    except ClientError:
        return USAGE


def _unusual() -> int:
    """Help, a mistake, or a directory whose name begins with a dash: only these need docopt."""
    from supervise.programs.program import parse, run

    def ask(argv: list[str]) -> int:
        args = parse("svok", str(__doc__), argv, lambda words: words.wrong(services=(1, 1)), _GRAMMAR)
        if args is None:
            return 0
        try:
            return 0 if Service(args["DIR"]).supervised() else USAGE
        except ClientError:
            return USAGE

    return run("svok", ask)
