"""How many units and days a test takes, before it starts."""

from datetime import timedelta

import numpy as np
import pytest
from django.utils import timezone

from apps.evaluations.ab_tests.sizing import plan_of
from apps.evaluations.ab_tests.traffic import read_traffic
from apps.evaluations.statistics.planning import share_deviations, units_needed
from apps.executions.keys import id_bound
from apps.executions.models import Execution, Score
from apps.prompts.models import Prompt
from tests.evaluations.ab_tests.conftest import AB_TESTS

PLAN = f"{AB_TESTS}/plan"


def plan(person, status=200, **body):
    answer = person.client.post(PLAN, {"min_effect": 0.05, **body})
    assert answer.status_code == status, answer.content
    return answer.json()["data" if status == 200 else "error"]


def add_calls(prompt, count, *, days_ago=5.0, failed=0, units=None, source="api", **columns):
    """Executions of late, of which the last `failed` have failed; `units` come in turn."""
    owner, now = Prompt.objects.get(id=prompt["id"]), timezone.now()
    at = now - timedelta(days=days_ago)
    first = id_bound(at).int
    rows = [
        Execution(
            id=type(owner.id)(int=first + number),
            organization_id=owner.organization_id, prompt_id=owner.id, source=source, created_at=at, started_at=at,
            finished_at=at, unit_id=f"unit {number % units}" if units else "",
            status="failed" if number >= count - failed else "succeeded",
            error_code="SERVER_ERROR" if number >= count - failed else "",
            **{name: value(number) if callable(value) else value for name, value in columns.items()},
        )
        for number in range(count)
    ]  # fmt: skip
    return Execution.objects.bulk_create(rows)


def test_a_given_baseline_needs_no_prompt(viewer):
    found = plan(viewer, baseline=0.8)
    expected = units_needed(min_effect=0.05, deviations=share_deviations(0.8, 0.05), weights=[0.5, 0.5])
    assert (found["units"], found["units_per_arm"]) == (expected.units, list(expected.units_per_arm))
    assert found["fixed_units"] == expected.fixed_units < found["units"]
    assert (found["source"], found["days"], found["daily_units"], found["baseline"]) == ("given", None, None, 0.8)


def test_the_prompts_calls_tell_baseline_and_traffic(viewer, prompt):
    add_calls(prompt, 1000, failed=100, days_ago=5)
    found = plan(viewer, prompt_id=prompt["id"], exposed_share=0.5)
    assert found["baseline"] == pytest.approx(0.9)
    assert found["standard_deviation"] == pytest.approx(0.3, rel=0.01)
    assert found["daily_units"] == pytest.approx(200, rel=0.01)
    assert found["days"] == pytest.approx(found["units"] / 100, abs=1)
    assert found["source"] == "history"


def test_units_that_come_again_are_one_each(viewer, prompt):
    rng = np.random.default_rng(0)
    costs = rng.lognormal(-5, 1, 400)
    add_calls(prompt, 400, units=100, cost_usd=lambda number: f"{costs[number]:.12f}", price={})
    found = plan(viewer, prompt_id=prompt["id"], measure="cost_usd", min_effect=0.001)
    means = costs.reshape(4, 100).mean(axis=0)
    assert found["baseline"] == pytest.approx(means.mean())
    assert found["standard_deviation"] == pytest.approx(means.std(ddof=1))
    assert found["daily_units"] == pytest.approx(20, rel=0.01)
    summed = plan(viewer, prompt_id=prompt["id"], measure="cost_usd", aggregation="sum", min_effect=0.001)
    assert summed["baseline"] == pytest.approx(4 * means.mean())


def test_scores_tell_how_they_vary(viewer, prompt):
    calls = add_calls(prompt, 60)
    said = {"organization_id": calls[0].organization_id, "name": "useful", "type": "numeric", "source": "api"}
    Score.objects.bulk_create(
        [Score(execution_id=call.id, number=1 + number % 5, **said) for number, call in enumerate(calls)]
        + [Score(execution_id=calls[0].id, number=1e300, **said)]
    )
    found = plan(viewer, prompt_id=prompt["id"], measure="score:useful", min_effect=0.2)
    assert found["baseline"] == pytest.approx(3)
    assert found["standard_deviation"] == pytest.approx(np.std([1, 2, 3, 4, 5] * 12, ddof=1))


def test_only_units_with_a_value_bring_a_test_to_its_end(viewer, prompt):
    calls = add_calls(prompt, 100)
    said = {"organization_id": calls[0].organization_id, "name": "useful", "type": "numeric", "source": "api"}
    Score.objects.bulk_create(
        [Score(execution_id=call.id, number=number % 5, **said) for number, call in enumerate(calls[:25])]
    )
    found = plan(viewer, prompt_id=prompt["id"], measure="score:useful", min_effect=0.2)
    assert found["daily_units"] == pytest.approx(20, rel=0.01)
    assert found["days"] == pytest.approx(found["units"] / 5, rel=0.01)
    assert "Of these units 0.25 have a value of score:useful, and only they count." in found["assumptions"]


def test_where_there_are_too_many_calls_to_read_a_day_is_what_the_newest_took(prompt):
    owner = Prompt.objects.get(id=prompt["id"])
    add_calls(prompt, 10, days_ago=2)
    add_calls(prompt, 40, days_ago=0.25)
    where = {"organization_id": owner.organization_id, "prompt_id": owner.id, "measure": "success"}
    assert read_traffic(**where).daily_units == pytest.approx(25, rel=0.01)
    assert read_traffic(**where, most_calls=40).daily_units == pytest.approx(160, rel=0.01)


def test_only_calls_that_a_test_would_have_assigned_count(viewer, prompt, make_prompt):
    add_calls(prompt, 50, source="evaluation")
    add_calls(prompt, 50, days_ago=20)
    add_calls(make_prompt(), 50)
    error = plan(viewer, 400, prompt_id=prompt["id"])
    assert error["details"].keys() == {"baseline"}


def test_what_is_given_goes_before_what_was_seen(viewer, prompt):
    add_calls(prompt, 500, failed=250)
    found = plan(viewer, prompt_id=prompt["id"], baseline=0.9)
    assert (found["source"], found["baseline"]) == ("given", 0.9)
    assert found["daily_units"] is not None
    spread = plan(viewer, prompt_id=prompt["id"], standard_deviation=1.5)
    assert (spread["standard_deviation"], spread["baseline"]) == (1.5, pytest.approx(0.5))


def test_more_variants_and_uneven_weights_need_more_units(viewer):
    half, uneven, four = (
        plan(viewer, baseline=0.5, **more)
        for more in ({}, {"weights": [0.9, 0.1]}, {"weights": [0.25, 0.25, 0.25, 0.25]})
    )
    assert half["units"] < uneven["units"]
    assert 2 * half["units"] < four["units"]
    assert uneven["units_per_arm"][0] == pytest.approx(9 * uneven["units_per_arm"][1], rel=0.01)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"min_effect": 0}, "min_effect"),
        ({"min_effect": "0.1", "baseline": 0.5}, "min_effect"),
        ({"min_effect": 1e300, "baseline": 0.5}, "min_effect"),
        ({"baseline": 1.5}, "baseline"),
        ({"baseline": True}, "baseline"),
        ({}, "baseline"),
        ({"measure": "latency_ms"}, "standard_deviation"),
        ({"measure": "latency_ms", "baseline": 100}, "standard_deviation"),
        ({"measure": "custom:revenue"}, "standard_deviation"),
        ({"measure": "beauty"}, "measure"),
        ({"measure": "score:\x00"}, "measure"),
        ({"standard_deviation": -1}, "standard_deviation"),
        ({"weights": [0.5, 0.6], "baseline": 0.5}, "weights"),
        ({"weights": [0, 1], "baseline": 0.5}, "weights"),
        ({"weights": [1, 0], "baseline": 0.5}, "weights"),
        ({"weights": [1], "baseline": 0.5}, "weights"),
        ({"alpha": 0.9, "baseline": 0.5}, "alpha"),
        ({"power": 1, "baseline": 0.5}, "power"),
        ({"exposed_share": 2, "baseline": 0.5}, "exposed_share"),
        ({"prompt_id": "01a20761-3947-752b-a7ed-d716d2ef0f29"}, "prompt_id"),
        ({"colour": "red", "baseline": 0.5}, "colour"),
    ],
    ids=str,
)
def test_what_cannot_be_planned_is_named(viewer, body, field):
    details = plan(viewer, 400, **body)["details"]
    assert {path.split(".")[0] for path in details} == {field}


def test_another_organizations_prompt_is_unknown(outsider, prompt):
    assert plan(outsider, 400, prompt_id=prompt["id"], baseline=0.5)["details"].keys() == {"prompt_id"}


def test_nobody_takes_part_and_so_it_takes_forever(viewer, prompt):
    add_calls(prompt, 100, failed=50)
    assert plan(viewer, prompt_id=prompt["id"], exposed_share=0)["days"] is None


@pytest.mark.parametrize(
    ("body", "days"),
    [({"exposed_share": 5e-324}, None), ({"weights": [1, 5e-324]}, None), ({"exposed_share": 0.01}, "some")],
    ids=str,
)
def test_the_least_of_shares_are_no_errors(viewer, prompt, body, days):
    add_calls(prompt, 100, failed=50)
    found = plan(viewer, prompt_id=prompt["id"], **body)
    assert found["units"] <= 2e15
    assert found["days"] == (
        None if days is None else pytest.approx(found["units"] / 20 / body["exposed_share"], rel=0.01)
    )


def test_calls_that_all_succeed_say_how_a_rate_would_vary_and_equal_costs_say_nothing(viewer, prompt):
    add_calls(prompt, 100, units=20, cost_usd="0.5", price={})
    found = plan(viewer, prompt_id=prompt["id"])
    expected = units_needed(min_effect=0.05, deviations=share_deviations(1.0, 0.05), weights=[0.5, 0.5])
    assert (found["baseline"], found["units"]) == (1.0, expected.units)
    error = plan(viewer, 400, prompt_id=prompt["id"], measure="cost_usd")
    assert error["details"].keys() == {"standard_deviation"}


def test_the_least_of_effects_has_a_number_of_units(viewer):
    assert plan(viewer, measure="latency_ms", standard_deviation=1e12, min_effect=1e-9)["units"] >= 1e15


def test_a_test_that_starts_is_planned_by_its_prompts_calls(prompt, make_ab_test):
    test = make_ab_test(prompt, status="draft")
    variants = list(test.variants.all())
    assert plan_of(test, variants) is None
    add_calls(prompt, 400, failed=40)
    found = plan_of(test, variants)
    expected = units_needed(min_effect=0.05, deviations=share_deviations(0.9, 0.05), weights=[0.5, 0.5])
    assert found.units == expected.units


def test_a_plan_costs_one_query_for_the_traffic(prompt, make_ab_test, django_assert_num_queries):
    test = make_ab_test(prompt, status="draft")
    variants = list(test.variants.all())
    with django_assert_num_queries(1):
        plan_of(test, variants)
