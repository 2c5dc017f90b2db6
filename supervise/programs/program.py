"""Common to the programs over status directories: command line, messages, exit codes, SIGPIPE.

What lives here: nothing about services.  The messages are as daemontools has them, `svc: fatal: cannot ...: why`; the
exit codes 0, 100 ("you"), 111 ("the system"), 130 after Ctrl-C.
"""

from __future__ import annotations

import os
import sys

from supervise.client.errors import ClientError
from supervise.protocol.exitcodes import USAGE
from supervise.protocol.text import one_line, quoted
from supervise.system.isolated import reach_others

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    from supervise.programs.wrong_usage import Words

    Args = dict[str, Any]

_INTERRUPTED = 130


class UsageError(ClientError):
    """The command line asks for something that cannot be; the message says what."""

    exit_code = USAGE


def run(name: str, main: Callable[[list[str]], int]) -> int:
    """Run a program, and turn its exceptions into messages; its exit code.

    A reader of its output that leaves early (`| head -1`) ends it silently: nobody is there any more to tell.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a name that the terminal cannot show must not end anything
            stream.reconfigure(errors="backslashreplace")
    try:
        code = main(sys.argv[1:])
        if sys.stdout is not None:
            sys.stdout.flush()
        # Everything is said: what is left is the end of an interpreter, which takes as long as its beginning.
        os._exit(code)
    except ClientError as why:
        complain(name, why)
        return why.exit_code
    except BrokenPipeError:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)  # for what is still in the buffer, which Python would write at the end
        return 0
    except OSError as why:
        complain(name, f"cannot write: {why.strerror}")
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return ClientError.exit_code
    except ImportError as why:
        complain(name, f"cannot start: {why}")
        return ClientError.exit_code
    except KeyboardInterrupt:
        return _INTERRUPTED


def complain(name: str, why: object) -> None:
    """Print an error message, after what was printed before it."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
        print(f"{name}: fatal: {one_line(str(why))}", file=sys.stderr, flush=True)
    except BrokenPipeError:
        raise
    except (OSError, AttributeError):
        pass  # standard error is closed


def remark(line: str) -> None:
    """Print what another program has said, after what was printed before it; not if standard error is closed."""
    if sys.stdout is not None:
        sys.stdout.flush()
    if sys.stderr is not None:
        print(one_line(line), file=sys.stderr, flush=True)


def warning(name: str) -> Callable[[str], None]:
    """What prints warnings of a program, after what was printed before them."""
    return lambda line: remark(f"{name}: warning: {line}")


def parse(name: str, usage: str, argv: list[str], wrong: Callable[[Words], str], grammar: str = "") -> Args | None:
    """The command line as docopt reads it; None when it asked for help or the version, which is printed then.

    `usage` is for people, and for docopt as well unless there is a `grammar`.  `wrong` says what is wrong with one that
    does not match.  Raises UsageError.
    """
    asked = {"--help": "--help", "-h": "--help", "--version": "--version"}.get(argv[0]) if argv else None
    args = None if asked else _read(grammar or usage, argv)
    if args is None and not asked:
        from supervise.programs.wrong_usage import Words

        words = Words(usage, argv)
        asked = next(iter([] if words.problem else words.given(("--help", "--version"))), None)
        if not asked:
            raise wrong_usage(name, wrong(words))
    elif args:
        asked = next((option for option in ("--help", "--version") if args.get(option)), None)
    if not asked:
        return args
    if asked == "--help":
        print(usage, end="")
    else:
        from supervise import __version__

        print(f"{name} {__version__}")
    return None


def _read(grammar: str, argv: list[str]) -> Args | None:
    """The command line as docopt reads it; None where it does not match."""
    reach_others()
    from docopt import DocoptExit, DocoptLanguageError, docopt

    try:
        # By position: docopt-ng, which has the same module, has other names for them.
        args: Args = docopt(grammar, argv, False)
    except (DocoptExit, DocoptLanguageError):
        return None
    for words in args.values():
        # docopt leaves the `--` behind which all are words among them, but where the grammar has it, too.
        if isinstance(words, list) and "--" in words and not args.get("--"):
            words.remove("--")
    return args


def wrong_usage(name: str, what: str) -> UsageError:
    """The exception for a command line in which this is wrong."""
    return UsageError(f"wrong usage{': ' if what else ''}{what}; see {name} --help")


def seconds(option: str, text: str) -> float:
    """A number of seconds, fractions included.  Raises UsageError."""
    digits = text.replace(".", "", 1)
    if not (digits.isascii() and digits.isdigit() and len(text) <= 12):
        raise UsageError(f"{option} takes a number of seconds, not {quoted(text)}")
    return float(text)
