"""The path of a status directory: how it is cleaned, and which service it names."""

from __future__ import annotations

import posixpath

import pytest
from conftest import rounds
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from supervise.protocol.paths import BadPath, plain, service_name

STEADY = settings(max_examples=rounds(60, 120), deadline=None, suppress_health_check=[HealthCheck.too_slow])

names = st.text(st.characters(blacklist_characters="/\0"), min_size=1, max_size=8).filter(
    lambda name: name not in (".", "..")
)
parts = st.one_of(st.sampled_from(["", ".", "..", "status", "app", "my.app-1", "mystatus"]), names)
paths = st.lists(parts, max_size=6).map("/".join)


@pytest.mark.parametrize(
    "typed, used",
    [
        ("status/app", "status/app"),
        ("./status/app", "status/app"),
        ("status/app/", "status/app"),
        ("status/app///", "status/app"),
        ("status//app", "status/app"),
        ("status/./app/.", "status/app"),
        ("/home/work/status/some-app", "/home/work/status/some-app"),
        ("//srv/status/app", "/srv/status/app"),
        ("../status/app", "../status/app"),
        ("a/../status/app", "a/../status/app"),  # `a` may be a symlink
        ("/", "/"),
        ("", ""),
    ],
)
def test_trailing_slashes_doubled_ones_and_dots_are_dropped(typed: str, used: str) -> None:
    assert plain(typed) == used


@STEADY
@given(paths)
def test_a_plain_path_is_plain(path: str) -> None:
    found = plain(path)
    assert plain(found) == found
    assert "//" not in found
    assert found == "/" or not found.endswith("/")
    assert "." not in found.split("/")


@STEADY
@given(paths.filter(lambda path: ".." not in path.split("/")))
def test_a_plain_path_leads_where_the_typed_one_led(path: str) -> None:
    def led(path: str) -> str:
        return posixpath.normpath(posixpath.join("/cwd", path)).replace("//", "/")

    assert led(plain(path)) == led(path)


@STEADY
@given(paths)
def test_dots_that_symlinks_give_a_meaning_to_stay(path: str) -> None:
    assert plain(path).split("/").count("..") == path.split("/").count("..")


@pytest.mark.parametrize(
    "path, name",
    [
        ("status/app", "app"),
        ("./status/app/", "app"),
        ("/home/work/status/some-app", "some-app"),
        ("../status/app", "app"),
        ("status/a b", "a b"),
        ("status/.hidden", ".hidden"),
        ("status/...", "..."),
        ("status/status", "status"),
        ("status/caf\u00e9", "caf\u00e9"),
        ("status/status/app", "app"),
        ("status/old/status/app", "app"),  # what follows the last `status/`
        ("status/global", "global"),
    ],
)
def test_the_name_is_what_follows_the_last_status(path: str, name: str) -> None:
    assert service_name(plain(path)) == name


@pytest.mark.parametrize(
    "path", ["", "/", "app", "status", "status/", "status/.", "/srv/status//", "status.d/app", "Status/app"]
)
def test_a_path_without_status_name_is_an_error(path: str) -> None:
    with pytest.raises(BadPath, match="does not hold status/NAME"):
        service_name(plain(path))


@pytest.mark.parametrize(
    "path", ["status/..", "status/../app", "status/app/more", "status/app/..", "status/app/status"]
)
def test_what_follows_status_must_be_one_name(path: str) -> None:
    with pytest.raises(BadPath, match="is not a name"):
        service_name(plain(path))


@STEADY
@given(paths, names, st.sampled_from(["", "/", "//", "/."]))
def test_any_file_name_can_be_a_services_name(folder: str, name: str, tail: str) -> None:
    assert service_name(plain(f"{folder}/status/{name}{tail}")) == name


@STEADY
@given(st.one_of(paths, st.text(max_size=20)))
def test_any_path_has_a_usable_name_or_is_refused(path: str) -> None:
    try:
        name = service_name(plain(path))
    except BadPath:
        return
    assert name not in ("", ".", "..")
    assert "/" not in name
    assert plain(path).endswith(f"status/{name}")
