"""Services that print as many numbered lines as the file `quota` says, which may grow."""

from __future__ import annotations

import sys

from box import Box

_TOLD = """
import os, time
number = 0
while True:
    while number < int(open("quota").read()):
        os.write(1, b"%d\\n" % number)
        number += 1
    time.sleep(0.01)
"""
ON_REQUEST = (sys.executable, "-S", "-E", "-c", _TOLD)


def quota(box: Box, lines: int) -> None:
    """Have so many lines printed, all in all."""
    new = box.folder / "quota.new"
    new.write_text(str(lines))
    new.rename(box.folder / "quota")
