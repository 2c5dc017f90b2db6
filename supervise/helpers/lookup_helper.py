"""Run as a script: look for what a configuration names outside of its file, and write down what is not there.

    lookup_helper.py SIZE       standard input: a file whose first SIZE bytes are what to look for (config/lookup.py)

The answer is behind them: for each thing that is not there, or of which that cannot be told, three texts, separated by
NULs.  It is complete where the exit code is 0.
"""

from __future__ import annotations

import os
import sys

# Last: no module of the standard library is to be found there.
sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from supervise.config.lookup import decode, look


def main(words: list[str]) -> int:
    """Look, and answer."""
    size = int(words[0])
    found = look(decode(os.pread(0, size, 0)))
    data = "\0".join(text for finding in found for text in finding).encode("utf-8", "surrogateescape")
    while data:
        written = os.pwrite(0, data, size)
        data, size = data[written:], size + written
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
