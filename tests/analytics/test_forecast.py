"""What a month will have cost: exact where days repeat, and an interval that holds as often as it says."""

import math
import random
from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.analytics.billing.forecasting import forecast

FRIDAY = date(2026, 10, 16)


def days(count, cost=lambda day: 10, last=FRIDAY):
    return [Decimal(cost(last - timedelta(days=count - 1 - place))) for place in range(count)]


@pytest.mark.parametrize("count", range(7))
def test_under_seven_days_nothing_is_foretold(count):
    assert forecast(days(count), last_day=FRIDAY, days_left=15) is None


def test_days_that_are_all_alike_go_on():
    found = forecast(days(30), last_day=FRIDAY, days_left=15, spent_so_far=Decimal("160.5"))
    assert (found.low, found.expected, found.high) == (Decimal("310.5"),) * 3


def test_weekends_are_expected_to_be_weekends():
    found = forecast(
        days(28, lambda day: 2 if day.weekday() >= 5 else 10), last_day=FRIDAY, days_left=9.5, spent_so_far=Decimal(1)
    )
    # half a Saturday, Sunday, five working days, Saturday, Sunday, Monday
    assert found.expected == Decimal(1) + 1 + 2 + 50 + 4 + 10
    assert found.low == found.expected == found.high


def test_nothing_left_is_what_was_spent():
    found = forecast(days(20, lambda day: day.day), last_day=FRIDAY, days_left=0, spent_so_far=Decimal("12.34"))
    assert found.low == found.expected == found.high == Decimal("12.34")


def test_only_the_last_eight_weeks_count():
    old = [Decimal(10_000)] * 100
    assert forecast(old + days(56), last_day=FRIDAY, days_left=1) == forecast(days(56), last_day=FRIDAY, days_left=1)


@given(
    st.lists(st.decimals(0, 1000, places=6), min_size=7, max_size=70),
    st.floats(0, 31),
    st.dates(date(2020, 1, 1), date(2030, 1, 1)),
    st.decimals(0, 10_000, places=12),
)
def test_an_interval_is_around_what_is_expected_and_never_below_what_is_spent(daily, days_left, last_day, spent):
    found = forecast(daily, last_day=last_day, days_left=days_left, spent_so_far=spent)
    assert found is not None
    assert spent <= found.low <= found.expected <= found.high


def weekly(rng, day, state):
    return max(0.0, (4 if day.weekday() >= 5 else 10) + rng.gauss(0, 2))


def skewed(rng, day, state):
    return (4 if day.weekday() >= 5 else 10) * math.exp(rng.gauss(0, 0.4))


def clinging(rng, day, state):
    state["noise"] = 0.5 * state.get("noise", 0.0) + rng.gauss(0, 2)
    return max(0.0, (4 if day.weekday() >= 5 else 10) + state["noise"])


def share_held(cost, seen, left, trials=600):
    rng, held = random.Random(20261123), 0
    for _ in range(trials):
        last, state = FRIDAY + timedelta(days=rng.randrange(28)), {}
        costs = [cost(rng, last + timedelta(days=place - seen + 1), state) for place in range(seen + left)]
        found = forecast([Decimal(one) for one in costs[:seen]], last_day=last, days_left=left)
        held += float(found.low) <= sum(costs[seen:]) <= float(found.high)
    return held / trials


@pytest.mark.parametrize("left", [3, 20])
@pytest.mark.parametrize("seen", [14, 28])
@pytest.mark.parametrize(("cost", "least"), [(weekly, 0.93), (skewed, 0.92), (clinging, 0.85)])
def test_the_interval_holds_as_often_as_it_says(cost, least, seen, left):
    assert share_held(cost, seen, left) >= least


def test_the_interval_is_not_wide_for_nothing():
    rng = random.Random(1)
    daily = [Decimal(weekly(rng, FRIDAY - timedelta(days=55 - place), {})) for place in range(56)]
    found = forecast(daily, last_day=FRIDAY, days_left=15)
    # 15 days with a standard deviation of 2, twice to each side, and some for the mean being estimated
    assert found.high - found.low < 2 * 2 * 2 * math.sqrt(15) * 1.6
