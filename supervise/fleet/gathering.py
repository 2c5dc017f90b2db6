"""Code that is executed by all copies of a process, gathered in few pages of memory.

To execute a function writes to its code: how many refer to it, and what the interpreter has learned of it.  Where it
was loaded, between ten that are never executed, that costs each copy a page of its own.
"""

from __future__ import annotations

import gc
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType, FrameType, TracebackType


class Executed:
    """Notes what is executed in a `with` block."""

    def __init__(self, noting: bool = True) -> None:
        """`noting`: or does not, to do the same without."""
        self._noting = noting
        self._codes: dict[int, CodeType] = {}

    def __enter__(self) -> None:
        if self._noting:
            sys.setprofile(self._note)

    def __exit__(
        self, kind: type[BaseException] | None, why: BaseException | None, trace: TracebackType | None
    ) -> None:
        sys.setprofile(None)

    def _note(self, frame: FrameType, event: str, arg: object) -> None:
        if event == "call":
            self._codes[id(frame.f_code)] = frame.f_code

    def gather(self) -> list[CodeType]:
        """Give the functions copies of their code, made one after the other; the old ones.

        Those are to be kept: where they have been, what is made later would be as scattered as they were.
        """
        gc.unfreeze()
        old = []
        for function in gc.get_objects():
            if type(function) is _FUNCTION and id(function.__code__) in self._codes:
                old.append(function.__code__)
                function.__code__ = function.__code__.replace()
        return old


_FUNCTION = type(Executed.gather)
