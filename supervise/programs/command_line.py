"""supervise: start a program, keep it running, say what happened, obey.

Usage:
  supervise -p STATUS_DIR -f COMMAND [-F CONF] [-r SCRIPT] [-t SECONDS]
            [--resume] [--foreground] [--exit-with-service]
  supervise [-F CONF] [-r SCRIPT] [-t SECONDS] [--resume] [--foreground]
            [--exit-with-service] -u STATUS_DIR COMMAND [ARG ...]
  supervise -p STATUS_DIR --resume [-F CONF] [-r SCRIPT] [-t SECONDS]
            [--foreground] [--exit-with-service]
  supervise --check [-F CONF] [NAME]
  supervise -h | --help | -v | --version

Options:
  -p STATUS_DIR  where the service's files live; the path must hold status/NAME
  -f COMMAND     the program and its arguments, split as a shell splits words
  -u STATUS_DIR  like -p, with the command as separate arguments, taken verbatim
  -F CONF        the configuration (default: supervise.conf in this directory);
                 - is standard input
  -r SCRIPT      run SCRIPT N before each restart, N = how often the service has
                 exited
  -t SECONDS     let N start again at 1 when the last exit was SECONDS ago
  --resume       want what the last supervise wanted: down stays down, alarms
                 off stay off; with no command, supervise what it has
                 supervised, in its working directory
  --foreground   do not become a daemon; may be process 1 of a container
  --exit-with-service  end when the service has ended and is not restarted, with
                 its exit code, or 128 + N after signal N
  --check        say what CONF means for the service NAME, and what is wrong
  -h, --help     this text
  -v, --version  the version

Exit codes: 0 the service's program has been executed; 100 wrong usage; 111 the
system refused.

Commands go to STATUS_DIR/control, one letter each:
  u up    d down    o once    x exit when down    R planned restart
  p pause    c continue    s alarms off    n alarms on
  t TERM  k KILL  h HUP  a ALRM  i INT  q QUIT  1 USR1  2 USR2  w WINCH
  + what follows goes to the process group    = to the service alone
  r read the configuration again    e upgrade supervise in place
Signals to supervise: TERM and INT do dx, HUP does r, QUIT ends it and leaves
the service to the next supervise.
"""

from __future__ import annotations

import posix as os

from supervise import __version__
from supervise.config.shellwords import Unbalanced, split, suspicious
from supervise.programs.daemon_process import Daemon, execute
from supervise.protocol.exitcodes import USAGE
from supervise.protocol.options import Options
from supervise.protocol.paths import BadPath, plain, service_name
from supervise.protocol.text import quoted, say, shown_name
from supervise.system.isolated import reach_others

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from supervise.programs.wrong_usage import Words

DEFAULT_CONF = "supervise.conf"
_WITH_A_VALUE = ("-p", "-f", "-u", "-F", "-r", "-t")
_ALONE = ("--resume", "--foreground", "--exit-with-service")


class UsageError(Exception):
    """The command line asks for something that cannot be; the message says what."""


def run(argv: list[str], env: dict[bytes, bytes], apart: dict[bytes, bytes], daemon: Daemon | None) -> int:
    """Carry out the command line; `env` and what is set `apart` are the caller's.  The exit code.

    Raises OSError.
    """
    try:
        return _do(parse(argv), argv, env, apart, daemon)
    except UsageError as why:
        say("supervise", "fatal", str(why))
        return USAGE


def _do(
    args: dict[str, Any], argv: list[str], env: dict[bytes, bytes], apart: dict[bytes, bytes], daemon: Daemon | None
) -> int:
    if args["--help"]:
        print(__doc__, end="")
        return 0
    if args["--version"]:
        print(f"supervise {__version__}")
        return 0
    if args["--check"]:
        from supervise.programs.check import check

        os.environ.clear()
        os.environ.update({**env, **apart})
        return check(configuration(args) or DEFAULT_CONF, args["NAME"])
    if args["-p"] is not None and args["-f"] is None:
        from supervise.programs.resumption import enter

        options, place = read_resumed(args)
        if daemon:
            daemon.dismiss()  # it has been started where this is
            daemon = None
        enter(place, env)
    else:
        options = read_options(args)
    options.variables = apart
    if options.conf.startswith(("/dev/", "/proc/")):
        options.conf_text = read_descriptor(options.conf)
    if options.foreground:
        if daemon:
            daemon.dismiss()
        execute(options, argv, env)
    return (daemon or Daemon(argv, env)).supervise(options)


def parse(argv: list[str]) -> dict[str, Any]:
    """The command line as docopt reads it.  Raises UsageError."""
    args = plain_command_line(argv)
    if args:
        return args
    reach_others()
    from docopt import DocoptExit, DocoptLanguageError, docopt

    try:
        # By position: docopt-ng, which has the same module, has other names for them.
        read: dict[str, Any] = docopt(str(__doc__), argv, False, None, True)
        return read
    except (DocoptExit, DocoptLanguageError):
        pass
    from supervise.programs.wrong_usage import Words

    words = Words(str(__doc__), argv, options_first=True)
    if "--help" in words.options and not words.problem:
        return {"--help": True}
    what = _what_is_wrong(words)
    raise UsageError(f"wrong usage{': ' if what else ''}{what}; see supervise --help")


def _what_is_wrong(typed: Words) -> str:
    """What is wrong with a command line that docopt does not match; empty where nothing was found."""
    options, words = typed.options, typed.words
    if typed.problem:
        return typed.problem
    if "--version" in options:
        return "--version stands alone"
    if "--check" in options:
        senseless = typed.given((*_WITH_A_VALUE[:3], *_WITH_A_VALUE[4:], *_ALONE))
        if senseless:
            return f"{senseless[0]} means nothing to --check"
        return f"--check takes one NAME, {quoted(words[1])} is one word too many" if words[1:] else ""
    if "-u" in options:
        together = typed.given(("-p", "-f"))
        return f"-u and {together[0]} exclude each other" if together else "the command after -u STATUS_DIR is missing"
    if words and "-f" in options:
        return f"{quoted(words[0])} is one word too many: quote the whole command of -f, or use -u"
    if "-p" in options:
        return "-f COMMAND is missing"
    return f"{'-p' if '-f' in options else '-p or -u'} STATUS_DIR is missing"


def plain_command_line(argv: list[str]) -> dict[str, Any] | None:
    """Parse a plain command line without docopt, which takes a third of the time of a start; None: it needs docopt.

    That is: options by their full names, none twice, values apart, all that one of the first two forms asks for.
    """
    args: dict[str, Any] = dict.fromkeys((*_WITH_A_VALUE, "COMMAND", "NAME"))
    args.update(dict.fromkeys((*_ALONE, "--check", "--help", "--version"), False), ARG=[])
    at = 0
    while at < len(argv) and argv[at].startswith("-"):
        option = argv[at]
        if args.get(option, True):
            return None
        if option in _ALONE:
            args[option] = True
            at += 1
        elif option in _WITH_A_VALUE and at + 1 < len(argv) and argv[at + 1] not in ("", "--"):
            args[option] = argv[at + 1]
            at += 2
        else:
            return None
    command = argv[at:]
    if args["-u"] and command and not args["-p"] and not args["-f"]:
        args["COMMAND"], args["ARG"] = command[0], command[1:]
        return args
    return args if args["-p"] and (args["-f"] or args["--resume"]) and not args["-u"] and not command else None


def read_options(args: dict[str, Any]) -> Options:
    """Validate the arguments.  Raises UsageError."""
    path = status_directory(args["-u"] if args["-p"] is None else args["-p"])
    advice: list[str] = []
    command = words("-f", args["-f"], advice) if args["-p"] is not None else [args["COMMAND"], *args["ARG"]]
    if not command[0]:
        raise UsageError("the command is empty")
    return Options(
        path,
        command,
        conf=configuration(args) or DEFAULT_CONF,
        conf_named=bool(args["-F"]),
        script=words("-r", args["-r"], advice) if args["-r"] is not None else None,
        reset=seconds("-t", args["-t"]) if args["-t"] is not None else None,
        foreground=bool(args["--foreground"]),
        resume=bool(args["--resume"]),
        exit_with_service=bool(args["--exit-with-service"]),
        advice=advice,
    )


def read_resumed(args: dict[str, Any]) -> tuple[Options, str]:
    """The options for --resume without a command, and where to: resumption.py.  Raises UsageError, OSError.

    What was typed comes before what is recorded, and --foreground is never that.
    """
    from supervise.programs.resumption import NotResumable, resumed

    try:
        options, place = resumed(status_directory(args["-p"]), configuration(args))
    except NotResumable as why:
        raise UsageError(str(why)) from None
    if args["-r"] is not None:
        options.script = words("-r", args["-r"], options.advice)
    if args["-t"] is not None:
        options.reset = seconds("-t", args["-t"])
    options.foreground = bool(args["--foreground"])
    options.exit_with_service |= bool(args["--exit-with-service"])
    return options, place


def configuration(args: dict[str, Any]) -> str | None:
    """The configuration that was named, if one was; `-` is standard input."""
    conf: str | None = args["-F"]
    return "/dev/stdin" if conf == "-" else conf


def status_directory(typed: str) -> str:
    """A status directory without what is superfluous in its path.  Raises UsageError."""
    path = plain(typed)
    try:
        service_name(path)
    except BadPath as why:
        raise UsageError(f"cannot use {shown_name(typed) or quoted(typed)} as a status directory: {why}") from None
    return path


def read_descriptor(path: str) -> bytes | None:
    """What a configuration says that is a descriptor; None where it is none.  Raises UsageError."""
    from supervise.config.from_descriptor import Unreadable, read

    try:
        return read(path)
    except Unreadable as why:
        raise UsageError(str(why)) from None


def words(option: str, text: str, advice: list[str]) -> list[str]:
    """Split as a shell would; what else a shell would do is added to `advice`.  Raises UsageError."""
    try:
        found = split(text)
    except Unbalanced as why:
        raise UsageError(f"cannot split {option} {quoted(text)} into words: {why}") from None
    if not found or not found[0]:
        raise UsageError(f"the command of {option} is empty")
    if suspicious(text, found):
        from supervise.config.shellsyntax import in_command

        advice += [f"{option}: {one}" for one in in_command(text, option)]
    return found


def seconds(option: str, text: str) -> int:
    """A whole number of seconds.  Raises UsageError."""
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        raise UsageError(f"{option} takes a whole number of seconds, not {quoted(text)}")
    return int(text)
