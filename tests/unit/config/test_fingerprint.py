"""What only a start changes: what is recorded of it, and what of a file is not so."""

from __future__ import annotations

from starting import configuration

from supervise.config.fingerprint import differing, fingerprint


def test_of_a_logger_only_whether_there_is_one() -> None:
    """For it may be another while the service runs; and its arguments may be secret."""
    with_one = fingerprint(configuration(stdout_command=("ship", "--key", "secret")))
    assert "secret" not in str(with_one)
    assert differing(with_one, configuration(stdout_command=("logger",))) == []
    assert differing(with_one, configuration()) == ["stdout_command"]
    assert differing(fingerprint(configuration()), configuration(stderr_command=("logger",))) == ["stderr_command"]


def test_what_is_not_at_its_default() -> None:
    recorded = fingerprint(configuration(user="app", redirect_stderr=True))
    assert recorded == {"user": "app", "redirect_stderr": "yes"}
    assert differing(recorded, configuration(user="app", redirect_stderr=True)) == []
    assert differing(recorded, configuration(user="root")) == ["user", "redirect_stderr"]


def test_of_variables_that_they_are_others_and_not_which() -> None:
    config = configuration(environment=(("KEY", "secret"),))
    recorded = fingerprint(config)
    assert "secret" not in str(recorded)
    assert recorded != fingerprint(config), "nobody can compare two"
    assert differing(recorded, config) == []
    assert differing(recorded, configuration(environment=(("KEY", "other"),))) == ["environment"]
