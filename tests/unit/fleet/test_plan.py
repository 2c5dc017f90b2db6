"""How commands are carried out over many services."""

from __future__ import annotations

import pytest
from conftest import rounds
from planned import START_WITHIN, STOP_WITHIN, Planned, facts, running

from supervise.fleet.job import (
    DONE,
    DOWN,
    EXTEND,
    FAILED,
    GONE,
    READY,
    REFUSED,
    REMOVE,
    REPLACE,
    RESTART,
    RUNNING,
    SKIPPED,
    START,
    STARTED,
    STOP,
    UP,
)
from supervise.fleet.plan import Plan

STACK = """
    db :
    cache :
    web : db cache
    proxy : web
"""


# Up.


def test_what_depends_on_nothing_is_started_at_once_and_the_rest_when_that_is_up() -> None:
    fleet = Planned(facts(STACK))
    assert fleet.carry_out(START) == ["start db", "start cache"]
    assert fleet.event(STARTED, "db") + fleet.event(STARTED, "cache") == []
    assert fleet.event(UP, "db") == []
    assert fleet.plan.state("web") == ("waiting", GONE, "cache")
    assert fleet.event(UP, "cache") == ["start web"]
    assert fleet.comes_up("web") == ["start proxy"]
    assert not fleet.plan.finished
    assert fleet.comes_up("proxy") == ["finished"]
    assert fleet.plan.finished and fleet.plan.successful
    assert fleet.plan.results == dict.fromkeys(["db", "cache", "web", "proxy"], (DONE, None))
    assert fleet.said == []
    assert fleet.plan.deadline is None


def test_what_is_up_is_left_alone_and_counts() -> None:
    fleet = Planned(facts(STACK, {"db": UP, "cache": UP}))
    assert fleet.carry_out(START) == ["start web"]
    assert running(STACK).carry_out(START) == ["finished"]


@pytest.mark.parametrize("presence", [DOWN, RUNNING])
def test_a_supervise_that_runs_is_told_to_start_its_service(presence: str) -> None:
    fleet = Planned(facts(STACK, {"db": presence, "cache": UP}))
    assert fleet.carry_out(START) == ["start db"]


def test_where_a_service_tells_that_it_is_ready_being_up_is_not_enough() -> None:
    fleet = Planned(facts(STACK, {"cache": UP}, readiness=["db"]))
    fleet.carry_out(START, "db", "web")
    fleet.event(STARTED, "db")
    assert fleet.event(UP, "db") == []
    assert fleet.event(READY, "db") == ["start web"]


def test_what_was_seen_to_be_up_before_its_start_was_reported_is_up() -> None:
    fleet = Planned(facts("db:\nweb: db"))
    fleet.carry_out(START)
    assert fleet.event(UP, "db") == ["start web"]
    assert fleet.event(STARTED, "db") == []


def test_what_somebody_else_has_brought_up_need_not_be_started() -> None:
    fleet = Planned(facts("db:\nweb: db\nproxy: web"))
    fleet.carry_out(START)
    assert fleet.event(UP, "web") == ["start proxy"]
    assert fleet.comes_up("db") == []


def test_only_what_was_asked_for_is_started() -> None:
    fleet = Planned(facts(STACK))
    assert fleet.carry_out(START, "db") == ["start db"]
    assert fleet.comes_up("db") == ["finished"]
    assert fleet.plan.results == {"db": (DONE, None)}


def test_by_priority_and_then_by_place() -> None:
    fleet = Planned(facts("a:\nb/5:\nc/1:\nd/5:"))
    assert fleet.carry_out(START) == ["start c", "start b", "start d", "start a"]


def test_no_more_are_being_started_than_the_limit_allows() -> None:
    fleet = Planned(facts("a:\nb:\nc:\nd/1:\ne/0: a"), limit=2)
    assert fleet.carry_out(START) == ["start d", "start a"]
    assert fleet.event(STARTED, "a") == ["start b"]
    assert fleet.event(UP, "a") == []
    assert fleet.event(REFUSED, "d", "no memory") == ["start e"], "before c, by its priority"
    assert fleet.late() == ["start c"], "b and e were not started in time"
    with pytest.raises(ValueError, match="limit: 0"):
        Plan(0)


def test_nothing_to_do_is_finished_at_once() -> None:
    fleet = Planned(facts(STACK))
    assert fleet.carry_out({}) == ["finished"]
    assert (fleet.plan.results, fleet.plan.successful) == ({}, True)


def test_a_goal_for_what_is_not_known_is_a_mistake_of_the_program() -> None:
    fleet = Planned(facts(STACK))
    with pytest.raises(KeyError):
        fleet.carry_out(START, "db", "bd")
    assert fleet.plan.handle(GONE, "bd", 1.0) == []
    assert fleet.carry_out(START, "db") == ["start db"]


# What does not come up.


def test_a_dependency_that_does_not_come_up_is_said_and_who_waits_for_it() -> None:
    fleet = Planned(facts(STACK))
    fleet.carry_out(START)
    fleet.event(STARTED, "db")
    assert fleet.event(FAILED, "db", "exited with status 1") == []
    assert fleet.said == [
        "db did not come up: exited with status 1",
        "web not started: it waits for db",
        "proxy not started: it waits for web",
    ]
    assert fleet.comes_up("cache") == ["finished"]
    assert not fleet.plan.successful
    assert fleet.plan.results == {
        "db": (FAILED, "exited with status 1"),
        "cache": (DONE, None),
        "web": (SKIPPED, "it waits for db"),
        "proxy": (SKIPPED, "it waits for web"),
    }


def test_two_dependencies_that_fail_are_two_lines_and_one_for_who_waits() -> None:
    fleet = Planned(facts(STACK))
    fleet.carry_out(START)
    fleet.event(REFUSED, "cache", "cannot fork: no memory")
    assert fleet.event(GONE, "db") == ["finished"]
    assert fleet.said == [
        "cache did not come up: cannot fork: no memory",
        "web not started: it waits for cache",
        "proxy not started: it waits for web",
        "db did not come up: its supervise has ended",
    ]


@pytest.mark.parametrize(
    "event, value, reason",
    [
        (FAILED, "exited with status 3", "exited with status 3"),
        (REFUSED, "held by pid 7 under another command line", "held by pid 7 under another command line"),
        (DOWN, None, "it is down"),
        (DOWN, "it was told to stay down", "it was told to stay down"),
        (GONE, None, "its supervise has ended"),
    ],
)
@pytest.mark.parametrize("started", [False, True])
def test_why_it_did_not_come_up(started: bool, event: str, value: str | None, reason: str) -> None:
    fleet = Planned(facts("db:"))
    fleet.carry_out(START)
    if started:
        fleet.event(STARTED, "db")
    assert fleet.event(event, "db", value) == ["finished"]
    assert fleet.plan.results == {"db": (FAILED, reason)}


def test_everything_has_its_time() -> None:
    fleet = Planned(facts("a:\nb:\nc:", readiness=["c"]))
    fleet.carry_out(START)
    fleet.event(STARTED, "b")
    fleet.event(STARTED, "c")
    began = fleet.now
    assert fleet.late() == ["finished"]
    assert fleet.now == began + START_WITHIN
    assert fleet.said == [
        "a did not come up: its supervise did not start within 10 s",
        "b did not come up: not up within 10 s",
        "c did not come up: not ready within 10 s",
    ]


def test_a_service_may_ask_for_more_time_and_not_for_less() -> None:
    fleet = Planned(facts("a:"))
    fleet.carry_out(START)
    fleet.event(STARTED, "a")
    began = fleet.now
    fleet.event(EXTEND, "a", began + START_WITHIN + 20)
    fleet.event(EXTEND, "a", began + 1)
    fleet.late()
    assert (fleet.now, fleet.said) == (began + START_WITHIN + 20, ["a did not come up: not up within 30 s"])


def test_a_dependency_that_is_not_up_and_will_not_be_is_said() -> None:
    fleet = Planned(facts(STACK))
    assert fleet.carry_out(START, "web", "proxy", "cache") == ["start cache"]
    assert fleet.said == ["web not started: it waits for db, which is not up", "proxy not started: it waits for web"]


def test_what_comes_up_too_late_is_up_for_the_next_command() -> None:
    fleet = Planned(facts("db:\nweb: db"))
    fleet.carry_out(START)
    fleet.late()
    assert fleet.event(UP, "db") == []
    assert fleet.plan.results["db"][0] == FAILED
    assert fleet.carry_out(START, known=True) == ["start web"]


def test_a_dependency_that_was_up_and_has_failed_since_was_up() -> None:
    """Its supervise starts it again."""
    fleet = Planned(facts("a:\nb:\nweb: a b"))
    fleet.carry_out(START)
    fleet.comes_up("b")
    fleet.event(FAILED, "b", "exited with status 1")
    assert fleet.comes_up("a") == ["start web"]


def test_a_name_of_any_kind_is_said_in_one_line() -> None:
    fleet = Planned(facts("a\x1b:\nweb: a\x1b"))
    fleet.carry_out(START)
    fleet.event(FAILED, "a\x1b", "no")
    assert fleet.said == ["a\\x1b did not come up: no", "web not started: it waits for a\\x1b"]


# Down.


def test_what_others_depend_on_is_stopped_after_them() -> None:
    fleet = running(STACK)
    assert fleet.carry_out(STOP) == ["stop proxy"]
    assert fleet.event(DOWN, "proxy") == ["stop web"]
    assert fleet.event(GONE, "proxy") == []
    assert fleet.event(GONE, "web") == ["stop cache", "stop db"]
    assert fleet.event(GONE, "db") == []
    assert fleet.event(GONE, "cache") == ["finished"]
    assert fleet.plan.successful
    assert fleet.plan.results["proxy"] == (DONE, None)


def test_the_lower_priority_is_stopped_last() -> None:
    assert running("a:\nb/5:\nc/1:").carry_out(STOP) == ["stop a", "stop b", "stop c"]


def test_what_is_down_already_has_only_its_supervise_to_end() -> None:
    fleet = Planned(facts(STACK, {"db": DOWN, "web": UP}))
    assert fleet.carry_out(STOP) == ["stop db", "stop web"]
    assert fleet.event(GONE, "web") == []
    assert fleet.event(GONE, "db") == ["finished"]


def test_what_is_not_to_be_stopped_does_not_keep_others_up() -> None:
    assert running(STACK).carry_out(STOP, "db") == ["stop db"]


def test_what_does_not_stop_is_said_and_the_rest_is_stopped_anyway() -> None:
    fleet = running("db:\nweb: db")
    assert fleet.carry_out(STOP) == ["stop web"]
    began = fleet.now
    assert fleet.late() == ["stop db"]
    assert fleet.now == began + STOP_WITHIN
    fleet.now += 3
    assert fleet.event(DOWN, "db") == []
    assert fleet.late() == ["finished"]
    assert fleet.now == began + 2 * STOP_WITHIN, "for the service and its supervise together"
    assert fleet.said == [
        "web did not stop: not down within 5 s",
        "db did not stop: its supervise did not end within 5 s",
    ]
    assert fleet.plan.results["web"] == (FAILED, "not down within 5 s")


def test_what_cannot_be_told_to_stop_is_said() -> None:
    fleet = running("db:\nweb: db")
    fleet.carry_out(STOP)
    assert fleet.event(REFUSED, "web", "permission denied") == ["stop db"]
    assert fleet.said == ["web did not stop: permission denied"]


def test_what_goes_down_by_itself_before_its_turn_has_its_supervise_to_end() -> None:
    fleet = running("db:\nweb: db")
    fleet.carry_out(STOP)
    assert fleet.event(DOWN, "db") == ["stop db"]
    assert fleet.event(GONE, "web") == []
    assert fleet.event(GONE, "db") == ["finished"]


def test_what_has_gone_by_itself_before_its_turn_is_gone() -> None:
    fleet = running("db:\nweb: db")
    fleet.carry_out(STOP)
    assert fleet.event(GONE, "db") == []
    assert fleet.event(GONE, "web") == ["finished"]


# Restart.


def test_restarts_go_in_start_order() -> None:
    fleet = running(STACK)
    assert fleet.carry_out(RESTART) == ["restart db", "restart cache"]
    assert fleet.event(READY, "db") == []
    assert fleet.event(READY, "cache") == ["restart web"]
    assert fleet.event(READY, "web") == ["restart proxy"]
    assert fleet.event(READY, "proxy") == ["finished"]


def test_a_restart_does_not_touch_what_depends_on_it() -> None:
    fleet = running(STACK)
    assert fleet.carry_out(RESTART, "db") == ["restart db"]
    assert fleet.event(UP, "db") == ["finished"]


def test_a_restart_does_not_wait_for_what_is_down_anyway() -> None:
    fleet = Planned(facts(STACK, {"web": UP, "db": DOWN}))
    assert fleet.carry_out(RESTART, "web") == ["restart web"]


def test_without_a_supervise_a_restart_is_a_start() -> None:
    fleet = Planned(facts("db:\nweb: db", {"db": UP}))
    assert fleet.carry_out(RESTART) == ["restart db"]
    assert fleet.event(UP, "db") == ["start web"]


def test_a_restart_has_the_time_to_stop_and_to_start() -> None:
    fleet = running("db:\nweb: db")
    fleet.carry_out(RESTART)
    began = fleet.now
    assert fleet.late() == ["finished"]
    assert fleet.now == began + START_WITHIN + STOP_WITHIN
    assert fleet.said == ["db did not come up: not up within 15 s", "web not restarted: it waits for db"]


def test_what_is_to_be_restarted_with_its_dependency_is_and_so_on() -> None:
    fleet = running("db:\nweb: db\nproxy: web\nlog: proxy\ncron: db\n", depends_restart=["web", "proxy"])
    assert fleet.carry_out(RESTART, "db") == ["restart db"]
    assert fleet.event(UP, "db") == ["restart web"]
    assert fleet.event(UP, "web") == ["restart proxy"]
    assert fleet.event(UP, "proxy") == ["finished"]
    assert list(fleet.plan.results) == ["db", "web", "proxy"]


def test_what_is_down_is_not_restarted_with_its_dependency() -> None:
    fleet = Planned(facts("db:\nweb: db\ncron: db", {"db": UP, "web": DOWN}, depends_restart=["web", "cron"]))
    fleet.carry_out(RESTART, "db")
    assert fleet.event(UP, "db") == ["finished"]


def test_a_start_of_what_is_up_becomes_a_restart_with_its_dependency() -> None:
    fleet = running("db:\nweb: db", depends_restart=["web"])
    assert fleet.carry_out({"db": REPLACE, "web": START}) == ["stop db"]
    assert fleet.event(GONE, "db") == ["start db"]
    assert fleet.comes_up("db") == ["restart web"]


def test_no_restart_after_a_dependency_that_did_not_come_up_again() -> None:
    fleet = running("db:\nweb: db", depends_restart=["web"])
    fleet.carry_out(RESTART, "db")
    assert fleet.event(FAILED, "db", "exited with status 1") == ["finished"]
    assert fleet.said[1:] == ["web not restarted: it waits for db"]


# Update.


def test_what_is_replaced_is_stopped_in_one_order_and_started_in_the_other() -> None:
    fleet = running(STACK)
    assert fleet.carry_out(REPLACE, "db", "web") == ["stop web"]
    assert fleet.event(DOWN, "web") == ["stop db"]
    assert fleet.event(GONE, "web") == []
    assert fleet.event(GONE, "db") == ["start db"]
    assert fleet.comes_up("db") == ["start web"]
    assert fleet.comes_up("web") == ["finished"]


def test_what_is_not_replaced_is_not_touched() -> None:
    fleet = running(STACK)
    assert fleet.carry_out(REPLACE, "db") == ["stop db"]
    assert fleet.event(GONE, "db") == ["start db"]
    assert fleet.comes_up("db") == ["finished"]


def test_what_does_not_stop_cannot_be_replaced() -> None:
    fleet = running("db:\nweb: db", depends_restart=["web"])
    fleet.carry_out(REPLACE, "db")
    assert fleet.late() == ["finished"]
    assert fleet.said == ["db did not stop: not down within 5 s", "web not restarted: it waits for db"]


def test_what_does_not_run_is_replaced_by_a_start() -> None:
    assert Planned(facts("db:")).carry_out(REPLACE) == ["start db"]
    fleet = Planned(facts("db:", DOWN))
    assert fleet.carry_out(REPLACE) == ["stop db"]
    assert fleet.event(GONE, "db") == ["start db"]


def test_a_dependency_that_failed_leaves_what_was_to_be_replaced_as_it_is() -> None:
    fleet = Planned(facts("new:\nweb: new\nproxy: web", {"web": UP, "proxy": UP}))
    assert fleet.carry_out({"new": START, "web": REPLACE, "proxy": REPLACE}) == ["stop proxy", "start new"]
    fleet.event(FAILED, "new", "no")
    assert fleet.said == ["new did not come up: no", "web not restarted: it waits for new"]
    assert fleet.event(GONE, "proxy") == ["finished"]
    assert fleet.said[2:] == ["proxy not started: it waits for web"]


def test_what_is_removed_is_gone_before_anything_is_started() -> None:
    """A section with another name is the same service: two of them would be in each other's way."""
    fleet = Planned(facts("web:\ncron:\nold:\nolder: old", {"cron": UP, "old": UP, "older": UP}))
    assert fleet.carry_out({"web": START, "cron": RESTART, "old": REMOVE, "older": REMOVE}) == ["stop older"]
    assert fleet.event(DOWN, "older") == ["stop old"]
    assert fleet.event(GONE, "older") == []
    assert fleet.late() == ["restart cron", "start web"], "old did not stop in time: nothing hangs"


def test_what_was_removed_is_forgotten() -> None:
    fleet = running("web:\nold:")
    fleet.carry_out({"old": REMOVE})
    assert fleet.event(GONE, "old") == ["finished"]
    fleet.services = facts("web: old", UP)
    assert fleet.carry_out(RESTART, "web") == ["restart web"]
    with pytest.raises(KeyError):
        fleet.plan.state("old")


def test_a_dependency_that_is_new_counts_from_the_next_command_on() -> None:
    fleet = running("a:\nb:")
    fleet.carry_out(RESTART, "a")
    fleet.event(UP, "a")
    fleet.services = facts("b:\na: b", UP)
    assert fleet.carry_out(RESTART) == ["restart b"]


# A command while another is carried out.


def test_down_takes_over_what_up_has_not_finished() -> None:
    fleet = Planned(facts("db:\ncache:\nslow:\nweb: db cache slow\nlog:", {"log": UP}), limit=2)
    assert fleet.carry_out(START) == ["start db", "start cache"]
    assert fleet.comes_up("db") == ["start slow"]
    assert fleet.shown(fleet.plan.down(fleet.now)) == ["stop log", "stop db"]
    assert {name: fleet.state(name) for name in ("cache", "slow", "web")} == {
        "cache": "recalled",
        "slow": "recalled",
        "web": DONE,
    }
    assert fleet.event(STARTED, "cache") == ["stop cache"]
    assert fleet.event(REFUSED, "slow", "no memory") == []
    for name in ("log", "db"):
        assert fleet.event(GONE, name) == []
    assert fleet.event(GONE, "cache") == ["finished"]
    assert fleet.plan.ended and fleet.plan.successful
    assert fleet.said == []


def test_a_supervise_that_was_being_started_and_has_not_been_heard_of_is_stopped_all_the_same() -> None:
    fleet = Planned(facts("db:"))
    fleet.carry_out(START)
    began = fleet.now
    fleet.now += 3
    fleet.plan.down(fleet.now)
    assert fleet.late() == ["stop db"]
    assert fleet.now == began + START_WITHIN, "it has no more time than it had"
    assert fleet.late() == ["finished"]
    assert fleet.said == ["db did not stop: not down within 5 s"]


def test_what_is_coming_up_is_stopped_after_what_depends_on_it() -> None:
    fleet = running("db:\nweb: db")
    fleet.carry_out(RESTART, "db")
    assert fleet.shown(fleet.plan.down(fleet.now)) == ["stop web"]
    assert fleet.event(DOWN, "web") == ["stop db"]


def test_an_update_waits_until_the_command_is_finished_and_is_one() -> None:
    fleet = Planned(facts("db:"))
    fleet.carry_out(START)
    assert fleet.plan.update(fleet.now) == []
    assert fleet.plan.update(fleet.now) == []
    assert fleet.comes_up("db") == ["finished", "update"]
    assert fleet.plan.finished
    assert fleet.shown(fleet.plan.update(fleet.now)) == ["update"]
    assert fleet.carry_out({}) == ["finished"]


def test_there_is_no_update_after_down() -> None:
    fleet = running("db:")
    fleet.carry_out(RESTART)
    fleet.plan.update(fleet.now)
    assert fleet.shown(fleet.plan.down(fleet.now)) == ["stop db"]
    assert fleet.plan.update(fleet.now) == []
    assert fleet.carry_out(START) == []
    assert fleet.shown(fleet.plan.down(fleet.now)) == []
    assert fleet.event(GONE, "db") == ["finished"]
    assert fleet.plan.ended
    assert fleet.plan.update(fleet.now) == fleet.plan.down(fleet.now) == fleet.carry_out(START) == []


def test_what_is_being_stopped_is_started_again_when_it_is_gone() -> None:
    fleet = running("db:\nweb: db")
    fleet.carry_out(STOP, "web")
    assert fleet.carry_out(START, known=True) == []
    assert fleet.event(GONE, "web") == ["start web"]
    assert fleet.comes_up("web") == ["finished"]


def test_but_not_without_what_it_depends_on() -> None:
    fleet = running("db:\nweb: db")
    fleet.carry_out(STOP)
    assert fleet.carry_out(START, "web") == []
    assert fleet.event(GONE, "web") == ["stop db"]
    assert fleet.event(GONE, "db") == ["finished"]
    assert fleet.said == ["web not started: it waits for db, which is to be down"]


def test_a_start_does_not_take_back_a_restart_or_a_replacement() -> None:
    fleet = running("db:\nweb: db\nproxy: web")
    fleet.carry_out({"db": RESTART, "web": RESTART})
    fleet.carry_out(START, known=True)
    assert fleet.event(UP, "db") == ["restart web"]
    fleet = running("db:\nweb: db\nproxy: web")
    fleet.carry_out(REPLACE)
    fleet.carry_out(START, known=True)
    fleet.carry_out(RESTART, known=True)
    assert fleet.event(GONE, "proxy") == ["stop web"]


def test_the_results_are_those_of_the_command_that_is_carried_out() -> None:
    fleet = Planned(facts("a:\nb:"))
    fleet.carry_out(START, "a")
    fleet.carry_out(START, "b")
    fleet.event(FAILED, "a", "no")
    assert list(fleet.plan.results) == ["a", "b"]
    fleet.comes_up("b")
    assert not fleet.plan.successful
    fleet.carry_out(RESTART, "b")
    assert (list(fleet.plan.results), fleet.plan.successful) == (["b"], True)


def test_what_is_being_stopped_is_not_restarted_with_its_dependency() -> None:
    fleet = running("db:\nweb: db", depends_restart=["web"])
    fleet.carry_out(STOP, "web")
    assert fleet.carry_out(RESTART, "db", known=True) == []
    assert fleet.event(DOWN, "web") == ["restart db"]
    assert fleet.event(GONE, "web") == []
    assert fleet.event(UP, "db") == ["finished"]


def test_of_what_is_being_carried_out_the_plan_knows_better_than_who_looked_before() -> None:
    fleet = Planned(facts("db:"))
    fleet.carry_out(START)
    fleet.event(STARTED, "db")
    fleet.services = facts("db:", GONE)
    assert fleet.carry_out(STOP) == ["stop db"]


def test_two_events_at_once_are_answered_one_after_the_other() -> None:
    fleet = Planned(facts("a:\nb:\nweb: a b\nlog: web"))
    fleet.carry_out(START)
    assert fleet.late() == ["finished"]
    assert fleet.said == [
        "a did not come up: its supervise did not start within 10 s",
        "b did not come up: its supervise did not start within 10 s",
        "web not started: it waits for a",
        "log not started: it waits for web",
    ]


def test_how_far_it_is() -> None:
    fleet = Planned(facts(STACK))
    fleet.carry_out(START)
    assert fleet.plan.progress == (0, 4, ["db", "cache"])
    fleet.comes_up("cache")
    assert fleet.plan.progress == (1, 4, ["db"])
    fleet.event(FAILED, "db", "no")
    assert fleet.plan.progress == (1, 4, [])


def test_services_that_wait_for_each_other_do_not_hang() -> None:
    """order.py does not let them pass; but whatever comes here ends."""
    fleet = running("a: b\nb: a\nc: c")
    assert fleet.carry_out(STOP) == ["stop c"]
    assert fleet.event(GONE, "c") == ["stop b"]
    assert fleet.event(GONE, "b") == ["stop a"]
    assert fleet.event(GONE, "a") == ["finished"]
    assert fleet.carry_out(START, known=True) == ["finished"]
    assert fleet.said == [
        "a not started: it waits for b",
        "b not started: it waits for a",
        "c not started: it waits for c",
    ]


# Many.

MANY = rounds(1_500, 10_000)


def finish(fleet: Planned, first: list[str]) -> None:
    """Carry out what is asked for, until it is finished."""
    pending = first
    while pending != ["finished"]:
        following = []
        for action in pending:
            verb, name = action.split()
            following += fleet.event(GONE, name) if verb == STOP else fleet.comes_up(name)
        pending = following


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(f"s{number}: s{number - 1}" if number else "s0:" for number in range(MANY)),
        "\n".join(["db:", *(f"s{number}: db" for number in range(MANY))]),
        "\n".join([*(f"s{number}:" for number in range(MANY)), "all: " + " ".join(f"s{one}" for one in range(MANY))]),
    ],
    ids=["in a row", "all on one", "one on all"],
)
def test_thousands(text: str) -> None:
    fleet = Planned(facts(text), limit=20)
    finish(fleet, fleet.carry_out(START))
    assert fleet.plan.successful
    fleet.services = facts(text, UP)
    finish(fleet, fleet.carry_out(RESTART))
    finish(fleet, fleet.shown(fleet.plan.down(fleet.now)))
    assert fleet.plan.ended and fleet.plan.successful
