"""Usage and statements: to the last digit what the executions say, and the same when those are gone."""

import csv
import io
import zlib
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

import orjson
import pytest
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.analytics.billing.ledger import bounds, close_days, has_unfinished, is_verified, last_closable_day
from apps.analytics.billing.pdf import statement_pdf
from apps.analytics.billing.statements import (
    close_all,
    close_ledger,
    month_after,
    month_before,
    revise_marked,
    rounded,
    sha256_of,
)
from apps.analytics.billing.usage import read
from apps.analytics.models import LedgerDay, LedgerMark, LedgerState, Statement
from apps.analytics.seeding.copying import mark_days
from apps.executions.models import Execution
from apps.models.models import LLMModel
from apps.models.services import create_default_models
from apps.organizations.models import Organization
from apps.prompts.models import Prompt
from apps.users.models import ApiKey, User
from tests.analytics.billed import PRICE, days_ago, store, store_unfinished, today

pytestmark = pytest.mark.django_db
USAGE, STATEMENTS = "/api/v1/billing/usage", "/api/v1/billing/statements"
LAST_MONTH = month_before(today().replace(day=1))


def by_sql(organization, start, end):
    """Executions, known cost and unpriced ones of these days, straight from the rows."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*), sum(cost_usd), count(*) FILTER (WHERE cost_usd IS NULL AND input_tokens IS NOT NULL)"
            " FROM executions_execution WHERE organization_id = %s AND created_at >= %s AND created_at < %s"
            " AND finished_at IS NOT NULL",
            [organization.id, f"{start} 00:00+00", f"{end} 00:00+00"],
        )
        return cursor.fetchone()


@pytest.fixture
def objects(admin):
    create_default_models(admin.organization)
    model = LLMModel.objects.filter(organization=admin.organization).order_by("slug").first()
    made = admin.client.post("/api/v1/prompts", {"slug": "hello", "name": "Hello", "content": "Hi"}).json()["data"]
    key = ApiKey(organization=admin.organization, user=admin.user, name="ci", scopes=["prompts:read"])
    key.give_secret()
    key.save()
    return {
        "prompt_id": UUID(made["id"]),
        "model_id": model.id,
        "created_by_id": admin.user.id,
        "api_key_id": key.id,
    }


@pytest.fixture
def month(organization, objects):
    """Executions of last month, of which one is not priced, one has failed without usage and one was cached."""
    for number, day in enumerate([0, 0, 9, 27]):
        store(organization, LAST_MONTH + timedelta(days=day), number=number, **objects)
    middle = LAST_MONTH + timedelta(days=14)
    store(organization, middle, cost_usd=None, price=None, provider_model="mystery", **objects)
    failed = {"status": "failed", "error_code": "TIMEOUT", "cost_usd": None, "price": None}
    store(organization, middle, input_tokens=None, output_tokens=None, **failed)
    store(organization, middle, is_cached=True, cost_usd=0, saved_cost_usd=Decimal("0.25"), input_tokens=0)
    store(organization, LAST_MONTH, hour=0)
    store(organization, month_after(LAST_MONTH) - timedelta(days=1), hour=23.9999)
    return LAST_MONTH


def statement(person, which, **parameters):
    answer = person.client.get(f"{STATEMENTS}/{which:%Y-%m}", parameters)
    assert answer.status_code == 200, answer.content
    return answer.json()["data"]


def usage(person, **parameters):
    answer = person.client.get(USAGE, parameters)
    assert answer.status_code == 200, answer.content
    return answer.json()["data"]


def test_a_statement_says_what_the_rows_say(admin, organization, month):
    executions, cost, unpriced = by_sql(organization, month, month_after(month))
    said = statement(admin, month)
    assert (said["total"]["executions"], said["total"]["unpriced"]) == (executions, unpriced) == (9, 1)
    assert Decimal(said["total"]["cost_usd"]) == cost
    assert said["total"]["rounded_usd"] == rounded(cost)
    assert said["total"]["without_usage"] == 1
    assert said["total"]["saved_cost_usd"] == "0.250000000000"
    for section in ("lines", "prompts", "users", "api_keys", "days"):
        assert sum(Decimal(row["cost_usd"] or 0) for row in said[section]) == cost, section
        assert sum(row["executions"] for row in said[section]) == executions, section


@pytest.mark.parametrize(
    ("amount", "cents"),
    [("0.005", "0.00"), ("0.015", "0.02"), ("0.025", "0.02"), ("0.0250000000001", "0.03"), ("0.0249999", "0.02"),
     ("12", "12.00"), ("0", "0.00"), (None, None)],
)  # fmt: skip
def test_cents_are_rounded_half_to_even(amount, cents):
    assert rounded(None if amount is None else Decimal(amount)) == cents


def test_each_line_is_its_tokens_at_its_price(admin, month):
    for line in statement(admin, month)["lines"]:
        if line["cost_usd"] is not None and not line["cached"]:
            price = {name: Decimal(value) for name, value in line["price"].items() if value and name != "source"}
            computed = line["input_tokens"] * price["input"] + line["output_tokens"] * price["output"]
            assert Decimal(line["cost_usd"]) == computed / 1_000_000


def test_what_has_no_price_is_listed_and_is_not_nothing(admin, month):
    lines = {line["provider_model"]: line for line in statement(admin, month)["lines"]}
    assert (lines["mystery"]["cost_usd"], lines["mystery"]["unpriced"], lines["mystery"]["price"]) == (None, 1, None)
    only = usage(admin, **{"from": month + timedelta(days=14), "to": month + timedelta(days=15), "group_by": "api_key"})
    by_key = {row["name"]: row for row in only["rows"]}
    assert (by_key["ci"]["cost_usd"], by_key["ci"]["unpriced"]) == (None, 1)


def test_usage_by_everything_adds_up(admin, organization, month, objects):
    store(organization, today(), hour=0, **objects)
    store(organization, days_ago(400), **objects)
    close_ledger(organization)
    start, end = days_ago(90), today() + timedelta(days=1)
    executions, cost, _ = by_sql(organization, start, end)
    for group in ("prompt", "model", "user", "api_key", "day"):
        found = usage(admin, **{"from": start, "to": end, "group_by": group})
        assert (found["total"]["executions"], Decimal(found["total"]["cost_usd"])) == (executions, cost)
        assert sum(Decimal(row["cost_usd"] or 0) for row in found["rows"]) == cost
    names = {row["name"] for row in usage(admin, **{"from": start, "group_by": "user"})["rows"]}
    assert names == {"ada@acme.example", None}


def test_usage_begins_with_the_month_and_ends_with_today(admin, organization, objects):
    store(organization, today(), hour=0, **objects)
    found = usage(admin)
    assert (found["from"], found["to"]) == (str(today().replace(day=1)), str(today() + timedelta(days=1)))
    assert [row["key"] for row in found["rows"]] == [str(today())]
    assert found["group_by"] == "day"


def test_of_nothing_nothing_is_known(admin):
    assert usage(admin)["total"]["cost_usd"] is None
    assert usage(admin)["rows"] == []
    assert statement(admin, LAST_MONTH)["total"]["executions"] == 0


def test_a_closed_month_is_stored_once_with_its_hash(admin, organization, month):
    before = statement(admin, month)
    assert (before["revision"], before["is_final"], before["sha256"]) == (0, False, None)
    assert close_all() >= 1
    assert close_all() == 0
    said = statement(admin, month)
    assert (said["revision"], said["is_final"], said["replaces"]) == (1, True, None)
    for name in ("total", "lines", "prompts", "users", "api_keys", "days"):
        assert said[name] == before[name]
    assert sha256_of({name: value for name, value in said.items() if name != "sha256"}) == said["sha256"]
    rows = admin.client.get(STATEMENTS).json()["data"]
    assert [(row["month"], row["revision"], row["sha256"]) for row in rows] == [(f"{month:%Y-%m}", 1, said["sha256"])]


def test_the_ledger_is_read_as_the_rows_are(admin, organization, month):
    open_one = statement(admin, month)
    close_days(organization)
    assert LedgerDay.objects.count() > 0
    Execution.objects.all().delete()
    closed = statement(admin, month)
    assert orjson.dumps(closed, option=orjson.OPT_SORT_KEYS) == orjson.dumps(open_one, option=orjson.OPT_SORT_KEYS)


def test_repricing_makes_a_revision_that_says_the_difference(admin, organization, month):
    close_ledger(organization)
    first = statement(admin, month)
    row = Execution.objects.filter(cost_usd__gt=0, created_at__date__lt=month_after(month)).first()
    Execution.objects.filter(id=row.id).update(cost_usd=row.cost_usd + Decimal("0.5"))
    assert LedgerMark.objects.count() == 1
    now = usage(admin, **{"from": month, "to": month_after(month)})
    assert Decimal(now["total"]["cost_usd"]) == Decimal(first["total"]["cost_usd"]) + Decimal("0.5")
    assert statement(admin, month)["revision"] == 1
    assert revise_marked() == 1
    assert revise_marked() == 0
    second = statement(admin, month)
    assert second["replaces"] == {
        "revision": 1,
        "sha256": first["sha256"],
        "total_usd": first["total"]["cost_usd"],
        "difference_usd": "0.500000000000",
    }
    assert statement(admin, month, revision=1) == first
    assert statement(admin, month, revision=2) == second
    listed = admin.client.get(STATEMENTS).json()["data"]
    assert [(one["revision"], one["difference_usd"]) for one in listed] == [(2, "0.500000000000")]
    assert not LedgerMark.objects.exists()


def test_the_command_that_reprices_makes_revisions(admin, organization, month, objects):
    close_ledger(organization)
    LLMModel.objects.filter(id=objects["model_id"]).update(input_price_usd="100", output_price_usd="100")
    call_command("reprice", "--organization", organization.slug)
    revise_marked()
    said = statement(admin, month)
    assert said["revision"] == 2
    assert Decimal(said["total"]["cost_usd"]) == by_sql(organization, month, month_after(month))[1]


def test_a_revision_that_fails_is_made_with_the_next_run(admin, organization, month):
    """A day is never written anew without the statement that follows from it."""
    close_ledger(organization)
    row = Execution.objects.filter(cost_usd__gt=0, created_at__date__lt=month_after(month)).first()
    Execution.objects.filter(id=row.id).update(cost_usd=row.cost_usd + 1)
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TRIGGER refused BEFORE INSERT ON analytics_statement"
            " FOR EACH ROW EXECUTE FUNCTION analytics_refuse_statement_update()"
        )
        assert revise_marked() == 0
        cursor.execute("DROP TRIGGER refused ON analytics_statement")
    assert revise_marked() == 1
    assert statement(admin, month)["replaces"]["difference_usd"] == "1.000000000000"


def test_what_ends_in_a_closed_day_after_all_is_billed(admin, organization, month):
    """As when the clock of who made its key is days behind."""
    close_ledger(organization)
    late = store_unfinished(organization, month + timedelta(days=3))
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE executions_execution SET status = 'succeeded', finished_at = now(), cost_usd = 2, price = '{}'"
            " WHERE id = %s",
            [late.id],
        )
    assert revise_marked() == 1
    assert statement(admin, month)["replaces"]["difference_usd"] == "2.000000000000"


def test_whether_something_runs_is_asked_in_one_moment(organization, month, django_assert_num_queries):
    """Between two questions a running one could go back to the queue, and be seen by neither."""
    day = month + timedelta(days=20)
    with django_assert_num_queries(1):
        assert has_unfinished(organization.id, *bounds(day, day + timedelta(days=1))) is False
    for status in ("queued", "running"):
        row = store_unfinished(organization, day, status=status)
        assert has_unfinished(organization.id, *bounds(day, day + timedelta(days=1))) is True
        row.cancel() if status == "queued" else row.fail(code="TIMEOUT", message="")


def test_many_changes_of_one_transaction_leave_one_mark(organization, month):
    close_days(organization)
    Execution.objects.filter(cost_usd__gt=0).update(cost_usd=Decimal(1))
    marked = LedgerMark.objects.values_list("day", flat=True)
    assert len(marked) == len(set(marked)) > 1


def test_what_is_no_cost_leaves_no_mark(organization, month):
    close_days(organization)
    Execution.objects.update(metadata={"a": 1}, latency_ms=5)
    assert not LedgerMark.objects.exists()


def test_a_renamed_prompt_makes_no_revision(organization, month, objects):
    close_ledger(organization)
    Prompt.objects.filter(id=objects["prompt_id"]).update(slug="renamed")
    LedgerMark.objects.create(organization_id=organization.id, day=month, transaction_id=1)
    assert revise_marked() == 0


def test_a_statement_cannot_be_changed(organization, month):
    close_ledger(organization)
    with pytest.raises(IntegrityError, match="immutable"), transaction.atomic():
        Statement.objects.update(total_usd=0)


def test_a_month_with_an_unfinished_execution_waits(admin, organization, month):
    waiting = store_unfinished(organization, month + timedelta(days=20))
    close_ledger(organization)
    assert LedgerState.objects.get().closed_until == month + timedelta(days=20)
    assert statement(admin, month)["is_final"] is False
    assert statement(admin, month)["total"]["executions"] == 9
    waiting.cancel()
    close_ledger(organization)
    assert statement(admin, month)["is_final"] is True
    assert statement(admin, month)["total"]["executions"] == 10


def test_a_day_is_closed_an_hour_after_its_end():
    assert last_closable_day(datetime.fromisoformat("2026-11-01T00:59:59+00:00")) == date(2026, 10, 31)
    assert last_closable_day(datetime.fromisoformat("2026-11-01T01:00:00+00:00")) == date(2026, 11, 1)


def test_names_of_what_is_gone_are_kept(admin, organization, month, objects):
    close_days(organization)
    ApiKey.objects.all().delete()
    Prompt.objects.filter(id=objects["prompt_id"]).delete()
    said = statement(admin, month)
    assert {row["name"] for row in said["api_keys"]} == {"ci", None}
    assert {row["name"] for row in said["prompts"]} == {"hello", None}


@pytest.mark.parametrize("file_format", ["json", "csv", "pdf"])
def test_other_organizations_see_nothing_of_it(admin, outsider, organization, month, objects, file_format):
    close_ledger(organization)
    for path in (f"{STATEMENTS}/{month:%Y-%m}", f"{USAGE}?from={month}&to={today()}"):
        answer = outsider.client.get(path, {"format": file_format} if "usage" not in path else {})
        content = b"".join(answer.streaming_content) if answer.streaming else answer.content
        assert answer.status_code == 200
        for secret in (b"hello", b"ada@acme", str(objects["model_id"]).encode()):
            assert secret not in content
    assert outsider.client.get(STATEMENTS).json()["data"] == []
    assert outsider.client.get(f"{STATEMENTS}/{month:%Y-%m}?revision=1").status_code == 404


@pytest.mark.parametrize("are_closed", [False, True])
def test_what_others_use_is_in_no_sum(outsider, organization, month, are_closed):
    """From the executions, and from the ledger once both have closed the month."""
    mine = store(outsider.organization, month, number=5)
    if are_closed:
        close_ledger(organization)
        LedgerState.objects.create(organization=outsider.organization, opened_on=month, closed_until=month)
        close_ledger(outsider.organization)
    for group_by in ("day", "prompt", "model", "user", "api_key"):
        found = usage(outsider, **{"from": month, "to": today(), "group_by": group_by})
        assert [row["executions"] for row in [*found["rows"], found["total"]]] == [1, 1]
        assert Decimal(found["total"]["cost_usd"]) == mine.cost_usd
    said = statement(outsider, month)
    assert (said["revision"], said["total"]["executions"], len(said["lines"])) == (int(are_closed), 1, 1)


def test_names_of_others_are_not_told_for_their_ids(outsider, organization, month, objects):
    """Rows of one organization that somehow carry ids of another: no name leaks."""
    store(outsider.organization, LAST_MONTH, **{**objects, "created_by_id": None})
    close_days(outsider.organization)
    said = statement(outsider, LAST_MONTH)
    assert [row["name"] for section in ("prompts", "api_keys") for row in said[section]] == [None, None]
    assert [line["model"] for line in said["lines"]] == [None]


@pytest.mark.parametrize("who", ["editor", "viewer"])
def test_who_may_not_manage_billing_sees_none(request, who):
    person = request.getfixturevalue(who)
    for path in (USAGE, STATEMENTS, f"{STATEMENTS}/{LAST_MONTH:%Y-%m}"):
        assert person.client.get(path).status_code == 403


def test_csv_has_every_line_and_no_formula(admin, organization, month, objects):
    ApiKey.objects.update(name="=cmd|' /C calc'!A0")
    answer = admin.client.get(f"{STATEMENTS}/{month:%Y-%m}", {"format": "csv"})
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(b"".join(answer.streaming_content).decode())))
    cost = by_sql(organization, month, month_after(month))[1]
    for section in ("lines", "prompts", "users", "api_keys", "days", "total"):
        assert sum(Decimal(row["cost_usd"] or 0) for row in rows if row["section"] == section) == cost
    assert {row["name"] for row in rows if row["section"] == "api_keys"} == {"'=cmd|' /C calc'!A0", ""}
    assert {row["input_price_usd"] for row in rows if row["section"] == "lines"} >= {PRICE["input"], ""}


def test_usage_as_csv(admin, organization, month):
    answer = admin.client.get(USAGE, {"from": month, "to": month_after(month), "format": "csv", "group_by": "prompt"})
    rows = list(csv.DictReader(io.StringIO(b"".join(answer.streaming_content).decode())))
    assert rows[-1]["key"] == "total"
    assert Decimal(rows[-1]["cost_usd"]) == by_sql(organization, month, month_after(month))[1]
    assert f'filename="usage-{month}-{month_after(month)}-prompt.csv"' in answer.headers["Content-Disposition"]
    again = admin.client.get(
        USAGE, {"from": month, "to": month_after(month), "format": "csv", "group_by": "prompt"},
        headers={"If-None-Match": answer.headers["ETag"]},
    )  # fmt: skip
    assert again.status_code == 304


def test_the_pdf_is_the_same_each_time(admin, organization, month):
    Organization.objects.update(name="Ācme 株式会社 <b>")
    close_ledger(organization)
    path = f"{STATEMENTS}/{month:%Y-%m}"
    first, second = (b"".join(admin.client.get(path, {"format": "pdf"}).streaming_content) for _ in range(2))
    assert first == second
    assert first.startswith(b"%PDF-")
    assert len(first) > 1500


def shown_by(written: bytes) -> str:
    """What a PDF's pages draw."""
    streams = [part.split(b"endstream")[0].strip(b"\r\n") for part in written.split(b"stream\n")[1::2]]
    return b"".join(zlib.decompress(one) for one in streams if one.startswith(b"x")).decode("latin-1")


def test_the_pdf_shows_names_as_far_as_it_can_and_ids_beside_the_others(admin, organization, month, objects):
    Organization.objects.update(name="Łódź “Œuvre” Đà Nẵng ﬁve — 5 €")
    ApiKey.objects.update(name="株式会社?")
    shown = shown_by(b"".join(admin.client.get(f"{STATEMENTS}/{month:%Y-%m}", {"format": "pdf"}).streaming_content))
    assert '(L\xf3dz "OEuvre" D\xe0 Nang five - 5 EUR)' in shown
    assert "?????" in shown
    assert str(objects["api_key_id"])[:13] in shown


def test_the_pdf_of_very_many_prompts_shows_the_dearest_and_the_sum_of_the_others(admin, month):
    content = statement(admin, month)
    row = {**content["total"], "cost_usd": "0.000000000001"}
    rows = [{**row, "key": str(number), "name": f"prompt-{number}", "executions": 1} for number in range(1000)]
    shown = shown_by(statement_pdf({**content, "prompts": rows}))
    assert "(prompt-198)" in shown
    assert "(prompt-199)" not in shown
    assert "(801 more: see JSON or CSV)" in shown
    assert "(0.000000000801)" in shown


@pytest.mark.parametrize(
    ("path", "field"),
    [
        (f"{USAGE}?from=2026-13-01", "from"),
        (f"{USAGE}?from=20261101", "from"),
        (f"{USAGE}?from=2026-02-30", "from"),
        (f"{USAGE}?from=0001-01-01", "from"),
        (f"{USAGE}?from=", "from"),
        (f"{USAGE}?from=2026-11-02&to=2026-11-02", "to"),
        (f"{USAGE}?from=2020-01-01&to=2026-11-02", "from"),
        (f"{USAGE}?group_by=source", "group_by"),
        (f"{USAGE}?format=pdf", "format"),
        (f"{USAGE}?colour=red", "colour"),
        (f"{USAGE}?to=%00", "to"),
        (f"{STATEMENTS}/2026-10?revision=0", "revision"),
        (f"{STATEMENTS}/2026-10?revision=x", "revision"),
        (f"{STATEMENTS}/2026-10?format=xml", "format"),
        (f"{STATEMENTS}?month=2026-10", "month"),
    ],
)
def test_bad_input_is_named(admin, path, field):
    answer = admin.client.get(path)
    assert answer.status_code == 400, answer.content
    assert field in answer.json()["error"]["details"]


@pytest.mark.parametrize("which", ["2199-01", "2026-13", "2026-1", "9999-12", "0000-01", "2026-10-01", "latest"])
def test_months_that_there_are_not(admin, which):
    assert admin.client.get(f"{STATEMENTS}/{which}").status_code == 404


def test_a_user_who_is_gone_is_named_as_before(admin, organization, month, objects):
    somebody = User.objects.create_user("gone@acme.example")
    store(organization, days_ago(3), **{**objects, "created_by_id": somebody.id})
    close_days(organization)
    somebody.delete()
    names = {row["name"] for row in usage(admin, **{"from": days_ago(5), "group_by": "user"})["rows"]}
    assert names == {"gone@acme.example"}


_COSTS = st.one_of(st.none(), st.decimals(0, 1000, places=12))
_ROWS = st.lists(
    st.tuples(_COSTS, st.integers(0, 10**6), st.integers(1, 6), st.floats(0, 23.99), st.integers(0, 2)),
    min_size=1,
    max_size=12,
)


@settings(max_examples=6)
@given(_ROWS)
def test_any_rows_are_the_same_from_rows_ledger_and_sql(rows):
    with transaction.atomic():
        organization = Organization.objects.create(name="Some", slug=f"s-{uuid4()}")
        models = [uuid4() for _ in range(3)]
        for cost, tokens, ago, hour, model in rows:
            store(organization, days_ago(ago), hour=hour, cost_usd=cost, price=PRICE if cost is not None else None,
                  input_tokens=tokens, model_id=models[model])  # fmt: skip
        start, end = days_ago(7), today() + timedelta(days=1)
        sums = [_sums(organization, start, end)]
        close_days(organization)
        sums.append(_sums(organization, start, end))
        assert sums[0] == sums[1]
        total = sums[0][-1][0]
        assert (total.counts["executions"], total.cost_usd, total.counts["unpriced"]) == by_sql(
            organization, start, end
        )
        assert all(is_verified(organization.id, days_ago(ago)) for ago in range(1, 8))
        transaction.set_rollback(True)


def _sums(organization, start, end):
    groupings = [("model_id", "provider_model", "price"), ("day",), ()]
    return [sorted(rows, key=lambda row: str(row.key)) for rows in read(organization.id, start, end, groupings)]


def test_executions_that_are_stored_in_closed_days_are_a_revision_once_their_days_are_marked(
    admin, organization, month
):
    close_ledger(organization)
    store(organization, month + timedelta(days=3), cost_usd=Decimal(2))
    mark_days(organization.id, datetime(month.year, month.month, 1, tzinfo=UTC), datetime.now(UTC))
    assert close_ledger(organization) == 1
    assert statement(admin, month)["replaces"]["difference_usd"] == "2.000000000000"


def test_operators_read_statements_in_the_admin(organization, month, client, django_user_model):
    close_ledger(organization)
    client.force_login(django_user_model.objects.create_superuser("op@everquant.example", "a long password 123"))
    listed = client.get("/admin/analytics/statement/")
    assert f"{month:%Y-%m}" in listed.content.decode()
    made = Statement.objects.get(month=month)
    shown = client.get(f"/admin/analytics/statement/{made.id}/change/")
    assert shown.status_code == 200
    assert made.sha256 in shown.content.decode()
