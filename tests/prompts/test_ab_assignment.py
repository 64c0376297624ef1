"""Which unit gets which variant: uniform, stable, and the same for ever once it was given."""

import threading
from dataclasses import replace
from hashlib import sha256
from uuid import uuid4

import numpy as np
import pytest
from django.db import connection, transaction
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from apps.prompts.ab_tests import assignment
from apps.prompts.ab_tests.assignment import choose, choose_each, hash_share, pick
from apps.prompts.ab_tests.routing import Arm, LiveTest, load_live
from apps.prompts.models import ABAssignment, Prompt, PromptVersion
from tests.evaluations.ab_tests.conftest import make_ab_test  # noqa: F401 (a fixture)

WEIGHTS = (0.5, 0.3, 0.15, 0.05)
UNITS = [f"user-{number}" for number in range(20_000)]


def live(weights=WEIGHTS, **fields) -> LiveTest:
    version = PromptVersion(version_number=1, content="Hi")
    arms = tuple(
        Arm(version=version, compiled=version.compiled(), model_id=None, parameters={}, name=f"v{number}",
            is_control=not number, weight=weight)
        for number, weight in enumerate(weights)
    )  # fmt: skip
    common = {"phase": 1, "exposed_share": 1.0, "segments": {}, "is_paused": False, "mode": "fixed"}
    return LiveTest(**{"id": uuid4(), "salt": uuid4().hex, **common, **fields}, arms=arms)


def picked(test, units=UNITS):
    return [pick(test.arms, hash_share(test.salt, unit)) for unit in units]


def test_a_share_is_the_first_53_bits_of_the_hash():
    bits = f"{int(sha256(b'salt:unit').hexdigest(), 16):0256b}"[:53]
    assert hash_share("salt", "unit") == int(bits, 2) / 2**53
    assert hash_share("salt", "unit") == 0.403259239154509


def test_shares_are_uniform():
    shares = [hash_share("a" * 32, unit) for unit in UNITS]
    assert stats.kstest(shares, "uniform").pvalue > 0.01
    assert min(shares) >= 0
    assert max(shares) < 1


@pytest.mark.parametrize("salt", ["a" * 32, "b" * 32, "c" * 32])
def test_units_are_spread_as_the_weights_say(salt):
    test = live(salt=salt)
    found = picked(test)
    counts = [found.count(arm.name) for arm in test.arms]
    assert stats.chisquare(counts, [weight * len(UNITS) for weight in WEIGHTS]).pvalue > 0.01


def test_tests_are_independent_of_each_other_and_of_who_takes_part():
    one, other = live((0.5, 0.5), salt="a" * 32), live((0.5, 0.5), salt="b" * 32)
    drawn = np.array(
        [
            [name == "v1" for name in picked(one)],
            [name == "v1" for name in picked(other)],
            [hash_share(f"{one.salt}:coverage", unit) < 0.5 for unit in UNITS],
        ]
    )
    correlations = np.corrcoef(drawn)[np.triu_indices(3, 1)]
    # three standard errors of the correlation of independent draws
    assert np.abs(correlations).max() < 3 / len(UNITS) ** 0.5


@pytest.mark.parametrize(
    ("weights", "share", "name"),
    [
        ((0.5, 0.5), 0.0, "v0"),
        ((0.5, 0.5), 0.4999999, "v0"),
        ((0.5, 0.5), 0.5, "v1"),
        ((0.0, 1.0), 0.0, "v1"),
        ((1.0, 0.0), 0.9999999999999999, "v0"),
        ((1 / 3, 1 / 3, 0.3333, 0.0), 0.9999999999999999, "v2"),
        ((0.25, 0.0, 0.75), 0.25, "v2"),
    ],
)
def test_the_part_of_each_weight(weights, share, name):
    assert pick(live(weights).arms, share) == name


def exposed(test, units):
    chosen = choose_each(test, [(unit, {}) for unit in units])
    return {unit: choice.arm.name for unit, choice in zip(units, chosen, strict=True) if choice}


def stored(make_ab_test, create, weights=(0.5, 0.5), **fields):  # noqa: F811 (the fixture, given on)
    prompt = create()
    contents = [f"Dear {number}, {{{{name}}}}" for number in range(len(weights) - 1)]
    return make_ab_test(prompt, contents, weights=weights, **fields), Prompt.objects.get(id=prompt["id"])


@pytest.fixture
def running(db, make_ab_test, create):  # noqa: F811
    """The rows of a running test, and how it looks to requests."""
    row, prompt = stored(make_ab_test, create)
    return row, load_live(prompt)


def test_ramping_up_and_down_moves_nobody(running):
    test, units = running[1], UNITS[:2000]
    whole = exposed(test, units)
    before: set[str] = set()
    for share in (0.0, 0.1, 0.4, 1.0):
        found = exposed(replace(test, exposed_share=share), units)
        assert before <= set(found)
        assert {unit: whole[unit] for unit in found} == found
        assert abs(len(found) / len(units) - share) < 0.04
        before = set(found)
    assert exposed(replace(test, exposed_share=0.1), units).keys() < before


def test_of_those_who_take_part_as_many_as_the_weights_say_get_each_variant(running):
    found = list(exposed(replace(running[1], exposed_share=0.4), UNITS[:2000]).values())
    assert abs(found.count("candidate-1") / len(found) - 0.5) < 0.09, "four standard errors"


def test_the_first_assignment_stays_whatever_the_weights_become(running):
    row, test = running
    first = exposed(test, UNITS[:50])
    assert set(first.values()) == {"control", "candidate-1"}
    later = replace(test, phase=2, arms=tuple(replace(arm, weight=1 - arm.is_control) for arm in test.arms))
    choices = choose_each(later, [(unit, {}) for unit in UNITS[:60]])
    assert [choice.arm.name for choice in choices[:50]] == list(first.values())
    assert {choice.phase for choice in choices[:50]} == {1}
    assert {(choice.arm.name, choice.phase) for choice in choices[50:]} == {("candidate-1", 2)}
    rows = ABAssignment.objects.filter(test=row)
    assert rows.count() == 60
    assert {unit.unit_id: unit.variant for unit in rows.filter(phase=1)} == first


def forget_recent():
    """As in another process, or after a day of other units."""
    for number in range(50_000):
        assignment._recent.keep(number.to_bytes(8), ("x", 1))


def test_a_known_unit_costs_no_query(running, django_assert_num_queries, django_capture_on_commit_callbacks):
    test = running[1]
    with django_capture_on_commit_callbacks(execute=True), django_assert_num_queries(1):
        first = choose(test, unit_id="ada", metadata={})
    with django_assert_num_queries(0):
        assert choose(test, unit_id="ada", metadata={}) == first
        forget_recent()
        assert choose(test, unit_id="ada", metadata={}) == first
        assert choose(test, unit_id="", metadata={}) is not None


def test_redis_may_be_away(running, redis_away, django_capture_on_commit_callbacks, django_assert_num_queries):
    test = running[1]
    with django_capture_on_commit_callbacks(execute=True):
        first = choose(test, unit_id="ada", metadata={})
    forget_recent()
    with django_assert_num_queries(1):
        assert choose(test, unit_id="ada", metadata={}) == first


@pytest.mark.django_db(transaction=True)
def test_what_is_rolled_back_is_not_believed(make_ab_test, create):  # noqa: F811
    row, prompt = stored(make_ab_test, create, weights=(1, 0))
    test = load_live(prompt)
    with transaction.atomic():
        assert choose(test, unit_id="ada", metadata={}).arm.name == "control"
        transaction.set_rollback(True)
    changed = replace(test, arms=tuple(replace(arm, weight=1 - arm.is_control) for arm in test.arms))
    assert choose(changed, unit_id="ada", metadata={}).arm.name == "candidate-1"
    assert ABAssignment.objects.get(test=row).variant == "candidate-1"


def test_requests_without_a_unit_are_units_of_their_own(running):
    row, test = running
    chosen = choose_each(test, [("", {})] * 2000)
    share = sum(choice.arm.is_control for choice in chosen) / len(chosen)
    # five standard errors: one run in two million
    assert abs(share - 0.5) < 5 * 0.5 / len(chosen) ** 0.5
    covered = choose_each(replace(test, exposed_share=0.3), [("", {})] * 2000)
    assert abs(sum(choice is not None for choice in covered) / 2000 - 0.3) < 5 * (0.21 / 2000) ** 0.5
    assert not ABAssignment.objects.filter(test=row).exists()


def test_segments_are_asked_at_every_request(running):
    row, test = running
    segmented = replace(test, segments={"include": [{"key": "plan", "operator": "equals", "value": "pro"}]})
    requests = [("ada", {"plan": "free"}), ("ada", {"plan": "pro"}), ("ada", {}), ("", {"plan": "pro"})]
    chosen = choose_each(segmented, requests)
    assert [choice is not None for choice in chosen] == [False, True, False, True]
    assert list(ABAssignment.objects.filter(test=row).values_list("unit_id", flat=True)) == ["ada"]


def test_a_paused_test_gives_the_control_and_stores_nothing(running):
    row, test = running
    paused = replace(test, is_paused=True, exposed_share=0.0)
    for choice in choose_each(paused, [(unit, {}) for unit in ("ada", "", "bob")]):
        assert (choice.arm.name, choice.is_exposed, choice.phase) == ("control", False, 1)
    assert not ABAssignment.objects.filter(test=row).exists()


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=200)


def test_units_have_any_name(running):
    row, test = running

    @settings(max_examples=40)
    @given(TEXT)
    def is_kept(unit):
        choice = choose(test, unit_id=unit, metadata={})
        assert choose(test, unit_id=unit, metadata={}) == choice
        assert ABAssignment.objects.get(test=row, unit_id=unit).variant == choice.arm.name

    is_kept()


def test_names_that_look_alike_are_different_units(running):
    row, test = running
    alike = ["é", "e\u0301", "E\u0301", " é", "ﬁ", "fi", "\u200bfi"]
    choose_each(test, [(unit, {}) for unit in alike])
    assert sorted(ABAssignment.objects.filter(test=row).values_list("unit_id", flat=True)) == sorted(alike)


@pytest.mark.django_db(transaction=True)
def test_processes_that_know_different_weights_serve_what_was_first(make_ab_test, create):  # noqa: F811
    row, prompt = stored(make_ab_test, create, weights=(1, 0))
    old = load_live(prompt)
    new = replace(old, phase=2, arms=tuple(replace(arm, weight=1 - arm.is_control) for arm in old.arms))
    units = [f"unit-{number}" for number in range(40)]
    barrier, served = threading.Barrier(6), []

    def work(number):
        test = (old, new)[number % 2]
        try:
            barrier.wait(10)
            # in opposite orders, a few at once: nobody waits for each other in a circle
            mine = units if number < 3 else units[::-1]
            for start in range(0, len(mine), 8):
                part = mine[start : start + 8]
                choices = choose_each(test, [(unit, {}) for unit in part])
                served.extend((unit, choice.arm.name, choice.phase) for unit, choice in zip(part, choices, strict=True))
        finally:
            connection.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(served) == 6 * len(units)
    rows = {(each.unit_id, each.variant, each.phase) for each in ABAssignment.objects.filter(test=row)}
    assert len(rows) == len(units)
    assert set(served) == rows
