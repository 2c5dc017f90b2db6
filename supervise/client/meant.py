"""Letters that cannot be meant: those that spell a word, and those that contradict each other.

`stop` as letters is s, t, o, p: alarms off, TERM, once, pause.  supervise obeys all that is written to its FIFO; here
such letters are refused, and what was meant is said.

Rule 1.  A group that is a word of protocol/letters.py (WORDS), in whatever case, is refused; `+` and `=` do not count.
Rule 2.  So is one that wants two things of which one undoes the other (_OPPOSITES).  Of u, d and o there is one, for
         each says what is wanted from now on; R, after which the service is up, goes with none of d, o and x; of s and
         n, and of p and c, there is one.
"""

from __future__ import annotations

from supervise.client.errors import BadLetters
from supervise.protocol.letters import COMMANDS, SIGNALS
from supervise.protocol.text import quoted

LETTERS = COMMANDS + "".join(SIGNALS) + "+="  # all that `control` is documented to take

# Word -> the letters that mean it, and the verb of svc.  Empty: there is none.
MEANT: dict[str, tuple[str, str]] = {
    **dict.fromkeys(("start", "up"), ("u", "start")),
    **dict.fromkeys(("stop", "down"), ("d", "stop")),
    **dict.fromkeys(("resume", "cont"), ("c", "resume")),
    **dict.fromkeys(("reload", "reconf"), ("r", "reload")),
    "restart": ("R", "restart"),
    "once": ("o", "once"),
    "exit": ("dx", "exit"),
    "pause": ("p", "pause"),
    "upgrade": ("e", "upgrade"),
    "kill": ("k", "kill"),
    "signal": ("", "signal"),
    "alarm": ("", "alarm"),
    "status": ("", "status"),
    **{name.lower(): (letter, f"signal {name}") for letter, name in SIGNALS.items() if name != "KILL"},
}
_OPPOSITES = (("u", "d"), ("u", "o"), ("d", "o"), ("R", "d"), ("R", "o"), ("R", "x"), ("s", "n"), ("p", "c"))


def check(letters: str) -> None:
    """Raises BadLetters: one means nothing, they spell a word, or contradict each other; TypeError."""
    if not isinstance(letters, str):
        raise TypeError(f"letters are a str, not {type(letters).__name__}")
    word = letters.translate({ord("+"): None, ord("="): None}).lower()
    if word in MEANT:
        meant = MEANT[word][0]
        instead = f": the letter{'s' if len(meant) > 1 else ''} for that: {quoted(meant)}" if meant else ""
        raise BadLetters(f"cannot send {quoted(letters)}, which is a word, letter by letter{instead}")
    for letter in letters:
        if letter not in LETTERS:
            raise BadLetters(f"no command has the letter {quoted(letter)}")
    for one, other in _OPPOSITES:
        if one in letters and other in letters:
            restart = "; R is a restart" if one + other == "ud" else ""
            raise BadLetters(f"cannot send {quoted(letters)}: {one} and {other} contradict each other{restart}")
