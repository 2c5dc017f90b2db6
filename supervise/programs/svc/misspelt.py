"""What is wrong with the words of svc: which of them it is, and what was probably meant.

What lives here is loaded when something is wrong.
"""

from __future__ import annotations

from supervise.client import LETTERS, ClientError, services
from supervise.client.meant import MEANT
from supervise.programs.svc.verbs import SIGNAL
from supervise.programs.wrong_usage import hint, listing, nearest
from supervise.protocol.text import quoted

_SWITCH = "alarm is to be on or off"
_OPTIONS = ("--help", "--version", "--wait", "--no-wait")


def wrong_verb(words: list[str], verbs: tuple[str, ...], verbs_last: tuple[str, ...]) -> str:
    """What is wrong with words that are no command.  `verbs` may come first, `verbs_last` after a service."""
    first, rest = words[0], words[1:]
    if first == "signal":
        named = [word.upper() for word in rest if nearest(word.upper().replace("SIG", "", 1), SIGNAL)]
        return "no service is named" if named else "the signal is missing" if rest else "no signal and no service"
    if first == "alarm":
        return f"{_SWITCH}, not {quoted(rest[0])}" if len(rest) > 1 else "no service is named" if rest else _SWITCH
    if first in verbs:
        return "no service is named"
    if not rest:
        return _no_verb(first, verbs) if _near(first, verbs) else f"what is to be done with {quoted(first)}: no verb"
    second = rest[0]
    if second == "alarm":
        return f"{_SWITCH}, not {quoted(rest[1])}" if rest[1:] else _SWITCH
    later = [word for word in rest if word in verbs]
    if later:
        return f"the verb comes first: svc {later[0]} {_typed([word for word in words if word != later[0]])}"
    if second in verbs_last:
        return f"{quoted(second)} takes one service, the one before it"
    if not _near(first, verbs) and (_near(second, verbs_last) or _is_service(first)):
        return _no_verb(second, verbs_last)
    return _no_verb(first, verbs)


def _typed(services: list[str]) -> str:
    dashes = ["--"] if any(service.startswith("-") for service in services) else []
    return " ".join([*dashes, *services])


def _no_verb(word: str, verbs: tuple[str, ...]) -> str:
    near = MEANT.get(word.lower(), ("", ""))[1]
    if near:
        return f"there is no verb {quoted(word)}, the nearest is {quoted(near)}"
    return f"there is no verb {quoted(word)}" + (hint(word, verbs) or f", only {listing(verbs)}")


def _near(word: str, verbs: tuple[str, ...]) -> str:
    return MEANT.get(word.lower(), ("", ""))[1] or nearest(word, verbs)


def _is_service(word: str) -> bool:
    try:
        return bool(services(word))
    except ClientError:
        return False


def wrong_option(option: str) -> str:
    """What is wrong with a long option behind letters."""
    name = option.partition("=")[0]
    if name not in _OPTIONS:
        return f"there is no option {name}{hint(name, _OPTIONS)}"
    waited = ", which are never waited for" if "wait" in name else ""
    return f"{name} does not go with letters{waited}"


def wrong_group(group: str, services: list[str], verbs: tuple[str, ...]) -> str:
    """What is wrong with letters after one `-`, where that can be told by the group alone; empty if nothing is."""
    verb = MEANT.get(group.lower(), ("", ""))[1]
    if verb:
        letters = ", ".join(group)
        return f"-{group} is the letters {letters}; the verb is: svc {verb} {_typed(services)}".rstrip()
    option = nearest(f"--{group}", _OPTIONS) if len(group) > 3 else ""
    if f"--{group}" == option:
        return f"-{group} is the letters {', '.join(group)}; the option is {option}"
    unknown = [letter for letter in group if letter not in LETTERS]
    if unknown:
        near = option or nearest(group, verbs) if len(group) > 2 else ""
        more = f", the nearest to -{group} is {near}" if near else ""
        return f"no command has the letter {quoted(unknown[0])}{more}"
    return ""
