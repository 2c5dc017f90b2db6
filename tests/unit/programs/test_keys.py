"""Which keys were pressed, by what a terminal sends."""

from __future__ import annotations

import pytest

from supervise.programs.svstat.terminal import keys


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"q", ["q"]),
        (b"jk", ["j", "k"]),
        (b"\033[A\033OA\033[B", ["<up>", "<up>", "<down>"]),
        (b"\033[5~x\033[6~", ["<page up>", "x", "<page down>"]),
        (b"\033[1;5A", []),
        (b"\033[200~", []),
        (b"\033", ["<escape>"]),
        (b"\033\033", ["<escape>", "<escape>"]),
        (b"\033[", ["<escape>", "["]),
        (b"\r\n", ["<enter>", "<enter>"]),
        (b"\x7f\b\x15", ["<backspace>", "<backspace>", "<clear>"]),
        (b"\x01\x00\x9b", []),
        ("\u8ba2".encode(), ["\u8ba2"]),
        ("\u8ba2".encode()[:2], []),
        (b"\x03", ["q"]),
    ],
)  # fmt: skip
def test_keys(data: bytes, found: list[str]) -> None:
    assert keys(data) == found
