"""Names, patterns and groups of a command line."""

from __future__ import annotations

import pytest

from supervise.protocol.selection import select

NAMES = ["web_0", "web_1", "db", "a:b", "x[1]", "x1", "Web"]
GROUPS = {
    "site": ["web_0", "web_1", "a:b"],
    "sets": ["db"],
    "empty": [],
    "a": ["web_1"],
    "gone": ["lost"],
    "p:q": ["db"],
}


@pytest.mark.parametrize(
    "words, found",
    [
        ("", []),
        ("db", ["db"]),
        ("db web_1 db", ["web_1", "db"]),
        ("web_*", ["web_0", "web_1"]),
        ("*", NAMES),
        ("web_[!0]", ["web_1"]),
        ("?b", ["db"]),
        ("[Ww]eb", ["Web"]),
        ("site:*", ["web_0", "web_1", "a:b"]),
        ("site:web_1", ["web_1"]),
        ("site:web_*", ["web_0", "web_1"]),
        ("s*:*", ["web_0", "web_1", "db", "a:b"]),
        ("site:a:b", ["a:b"]),
        ("p:q:db", ["db"]),
        ("a:b", ["a:b"]),
        ("a:*", ["web_1", "a:b"]),
        ("x[1]", ["x[1]"]),
        ("x[12]", ["x1"]),
        ("db site:*", ["web_0", "web_1", "db", "a:b"]),
    ],
)
def test_what_is_named(words: str, found: list[str]) -> None:
    assert select(words.split(), NAMES, GROUPS) == (found, [])


@pytest.mark.parametrize(
    "word, said",
    [
        ("bd", "no service is named bd"),
        ("", "no service is named ''"),
        ("WEB", "no service is named WEB"),
        ("wbe_*", "no service matches wbe_*"),
        ("site", "no service is named site; the services of that group are site:*"),
        ("site:db", "no service of the group site is named db"),
        ("site:d*", "no service of the group site matches d*"),
        ("empty:*", "no service of the group empty matches *"),
        ("gone:lost", "no service of the group gone is named lost"),
        ("stie:db", "no group is named stie"),
        (":", "no group is named ''"),
        ("site:", "no service of the group site is named ''"),
        ("stie:*", "no service matches stie:*"),
        ("a\nb", "no service is named a\\nb"),
    ],
)
def test_what_names_nothing_is_said(word: str, said: str) -> None:
    assert select([word, "db", word], NAMES, GROUPS) == (["db"], [said])


def test_ten_thousand_names_of_ten_thousand() -> None:
    names = [f"s{number}" for number in range(10_000)]
    assert select(names[::-1], names, {}) == (names, [])
    assert select(["*"], names, {"g": names}) == (names, [])
