"""`manage.py reprice`: what it shows, what it changes, and what it leaves."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from apps.executions.models import Execution
from apps.executions.repricing import Repricing, Selection
from apps.models.models import LLMModel
from apps.users.models import AuditEntry
from tests.budgets.conftest import state

pytestmark = pytest.mark.django_db
COST = Decimal("0.000119375")
DOUBLE = COST + Decimal("0.0001")  # 10 tokens of output at 20 USD a million instead of 10


def reprice(*arguments) -> str:
    out = StringIO()
    call_command("reprice", *arguments, stdout=out, stderr=StringIO())
    return out.getvalue()


@pytest.fixture
def dearer(execute, prompt, model):
    """Two executions, and an output price that was doubled after them."""
    rows = [execute(prompt)["id"], execute(prompt)["id"]]
    LLMModel.objects.filter(id=model.id).update(output_price_usd="20")
    return rows


def costs():
    return list(Execution.objects.order_by("id").values_list("cost_usd", flat=True))


def test_a_dry_run_shows_and_changes_nothing(dearer):
    shown = reprice("--dry-run")
    last = shown.splitlines()[-2].split()
    assert last == ["all", "2", "2", "0", "0.00023875", "0.00043875", "0.0002"]
    assert costs() == [COST, COST]
    assert not AuditEntry.objects.filter(object_repr="Repricing of executions").exists()


def test_rows_keep_their_price_until_they_are_asked_to_change(dearer, make_budget, organization):
    budget = make_budget("1")
    assert state(budget["id"]) == (2 * COST, 0)
    reprice()
    assert costs() == [DOUBLE, DOUBLE]
    assert Execution.objects.first().price["output"] == "20.000000"
    assert state(budget["id"]) == (2 * DOUBLE, 0)
    entry = AuditEntry.objects.get(object_repr="Repricing of executions")
    assert entry.organization_id == organization.id
    assert entry.changes == {"executions": ["0", "2"], "cost_usd": ["0.000238750000", "0.000438750000"]}
    assert "all" in reprice()
    assert AuditEntry.objects.filter(object_repr="Repricing of executions").count() == 1


def test_several_batches_are_one_entry(dearer):
    assert list(Repricing(Selection(), is_dry=False, batch=1).run()) == [1, 2]
    assert costs() == [DOUBLE, DOUBLE]
    assert AuditEntry.objects.get(object_repr="Repricing of executions").changes["executions"] == ["0", "2"]


@pytest.mark.parametrize(
    ("arguments", "changed"),
    [
        (["--since", f"{datetime.now(UTC) + timedelta(days=1):%Y-%m-%d}"], 0),
        (["--until", "2020-01-01"], 0),
        (["--until", "2020-01-01T00:00+02:00"], 0),
        (["--since", "2020-01-01"], 2),
        (["--organization", "acme"], 2),
        (["--model", "gpt-5-mini"], 2),
        (["--model", "another"], 0),
        (["--only-unknown"], 0),
    ],
    ids=str,
)
def test_what_is_chosen(dearer, arguments, changed):
    reprice(*arguments)
    assert costs().count(DOUBLE) == changed


def test_another_organizations_rows_stay(dearer, outsider):
    reprice("--organization", outsider.organization.slug)
    assert costs() == [COST, COST]


def test_an_unknown_cost_becomes_known_and_a_known_one_is_not_forgotten(execute, make_prompt, make_model):
    no_price = {"input_price_usd": None, "cached_input_price_usd": None, "output_price_usd": None}
    model = make_model("unheard-of", is_default=True, **no_price)
    execute(make_prompt())
    assert costs() == [None]
    prices = {"input_price_usd": "1.25", "cached_input_price_usd": "0.125", "output_price_usd": "10"}
    LLMModel.objects.filter(id=model.id).update(**prices)
    reprice("--only-unknown")
    assert costs() == [COST]
    LLMModel.objects.filter(id=model.id).update(**no_price)
    assert reprice().splitlines()[-1].split()[1:4] == ["1", "0", "1"]
    assert costs() == [COST]


@pytest.mark.parametrize(
    "arguments", [["--since", "yesterday"], ["--until", "2026-13-01"], ["--organization", "nobody"]], ids=" ".join
)
def test_wrong_options_are_named(db, arguments):
    with pytest.raises(CommandError, match=arguments[0]):
        reprice(*arguments)
