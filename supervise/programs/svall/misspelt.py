"""What is wrong with the words of svall: which of them it is, and what was probably meant.

What lives here is loaded when something is wrong.
"""

from __future__ import annotations

from supervise.programs.wrong_usage import listing, nearest
from supervise.protocol.text import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from supervise.programs.wrong_usage import Words

# What other programs call it.
_MEANT = {
    **dict.fromkeys(("start", "begin"), "up"),
    **dict.fromkeys(("stop", "exit", "shutdown", "halt", "kill"), "down"),
    **dict.fromkeys(("reload", "reread", "reconf", "apply"), "update"),
    **dict.fromkeys(("list", "ps"), "status"),
    **dict.fromkeys(("foreground", "daemon"), "run"),
}


def wrong_words(words: Words, verbs: Sequence[str]) -> str:
    """What is wrong with a command line; empty if nothing was found."""
    if words.problem:
        return words.problem
    if not words.words:
        return f"no verb: {listing(verbs)}"
    first, *rest = words.words
    if first in verbs:
        return "--logs is for run alone" if first != "run" and words.given(("--logs",)) else ""
    later = next((word for word in rest if word in verbs), "")
    near = _MEANT.get(first.lower()) or nearest(first, verbs)
    if later and not near:
        names = [word for word in words.words if word != later]
        dashes = ["--"] if any(name.startswith("-") for name in names) else []
        return f"the verb comes first: svall {' '.join([later, *dashes, *names])}"
    if near:
        return f"there is no verb {quoted(first)}, the nearest is {quoted(near)}"
    return f"there is no verb {quoted(first)}, only {listing(verbs)}"
