"""svok: tell by the exit code whether a supervise runs.

Usage:
  svok DIR
  svok -h | --help | --version

Options:
  -h, --help  this text
  --version   the version

DIR is a status directory, the name of a service, or in quotes a pattern such
as 'web_*', GROUP:* or GROUP:NAME.
Exit codes: 0 a supervise runs there, and of several for each; 100 none does, or
that cannot be known.
Nothing is printed.
"""

from __future__ import annotations

import sys

from supervise.client import ClientError, Service, UnknownService, services
from supervise.protocol.exitcodes import USAGE

_GRAMMAR = "Usage: svok [--] DIR"  # what docopt is to match: a name may begin with a dash


def main() -> int:
    """The console script; the exit code."""
    argv = sys.argv[1:]
    if len(argv) != 1 or argv[0].startswith("-"):
        return _unusual()
    try:
        return 0 if Service(argv[0]).supervised() else USAGE
    except UnknownService:
        return _several(argv[0])
    except ClientError:
        return USAGE


def _several(word: str) -> int:
    """A word that is no service, but may name several: 0 if a supervise runs for each."""
    try:
        return 0 if all(service.supervised() for service in services(word)) else USAGE
    except ClientError:
        return USAGE


def _unusual() -> int:
    """Help, a mistake, or a directory whose name begins with a dash: only these need docopt."""
    from supervise.programs.program import parse, run

    def ask(argv: list[str]) -> int:
        args = parse("svok", str(__doc__), argv, lambda words: words.wrong(services=(1, 1)), _GRAMMAR)
        if args is None:
            return 0
        return _several(args["DIR"])

    return run("svok", ask)
