"""`manage.py purge`: what goes, what stays, what it waits for, and that statements are the same afterwards."""

import threading
import time
from datetime import timedelta
from decimal import Decimal
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.db.models import ProtectedError

from apps.analytics.billing.ledger import midnight
from apps.analytics.billing.statements import close_ledger, close_month, month_after, month_before
from apps.analytics.models import LedgerDay, LedgerState, RetentionPolicy, Statement
from apps.analytics.retention.partitions import EXECUTIONS, InUse, drop, partitions_of
from apps.analytics.retention.planning import due_of, outlook
from apps.analytics.retention.purging import Purge
from apps.evaluations.models import ABPending
from apps.executions.models import Execution, ExecutionAttempt, ExecutionPayload, Score
from apps.executions.partitions import KEYS, partition_name
from apps.organizations.models import Organization
from everquant.db import uuid7
from tests.analytics.billed import count, days_ago, exists, month_partitions, store, store_unfinished, today
from tests.conftest import make_organization
from tests.evaluations.ab_tests.conftest import make_ab_test
from tests.executions.conftest import make_model, make_prompt, model, prompt

__all__ = ["make_ab_test", "make_model", "make_prompt", "model", "prompt"]

pytestmark = pytest.mark.django_db
USAGE, STATEMENTS = "/api/v1/billing/usage", "/api/v1/billing/statements"
OLD = month_before(month_before(month_before(today().replace(day=1))))


def purge(*arguments) -> str:
    out = StringIO()
    call_command("purge", "--pause", "0", *arguments, stdout=out)
    return out.getvalue()


def policy(organization, **values):
    return RetentionPolicy.objects.create(organization=organization, **values)


def partitions(month) -> list[str]:
    return [partition_name(table, month) for table in KEYS]


@pytest.fixture
def old(organization):
    """Executions of a month of which everything is older than two months, in partitions of its own."""
    month_partitions(OLD)
    return [store(organization, OLD + timedelta(days=day), number=day) for day in (0, 4, 5, 27)]


def everything(person) -> list:
    month = {"from": OLD, "to": today() + timedelta(days=1)}
    usage = [
        person.client.get(USAGE, {**month, "group_by": group}).json()["data"]
        for group in ("prompt", "model", "user", "api_key", "day")
    ]
    return [*usage, person.client.get(f"{STATEMENTS}/{OLD:%Y-%m}").json()["data"]]


def test_partitions_of_which_everything_is_due_are_dropped_and_bills_stay(admin, organization, old):
    policy(organization, payload_days=10, execution_days=30)
    recent = store(organization, days_ago(1))
    close_ledger(organization)
    before = everything(admin)
    assert all(exists(name) for name in partitions(OLD))
    out = purge()
    assert [name for name in partitions(OLD) if exists(name)] == []
    assert out.count(": dropped") == 3
    assert [row.id for row in Execution.objects.all()] == [recent.id]
    assert [score.execution_id for score in Score.objects.all()] == [recent.id]
    assert everything(admin) == before
    assert close_ledger(organization) == 0


def test_rows_go_in_batches_where_others_keep_theirs(admin, organization, old):
    other = make_organization("Keeper")
    kept = [store(other, OLD + timedelta(days=day)) for day in (4, 5)]
    policy(organization, execution_days=30)
    close_ledger(organization)
    before = everything(admin)
    out = purge("--batch", "1")
    assert all(exists(name) for name in partitions(OLD))
    assert {row.id for row in Execution.objects.all()} == {row.id for row in kept}
    assert {row.execution_id for row in ExecutionPayload.objects.all()} == {row.id for row in kept}
    assert {row.execution_id for row in ExecutionAttempt.objects.all()} == {row.id for row in kept}
    assert {row.execution_id for row in Score.objects.all()} == {row.id for row in kept}
    assert everything(admin) == before
    assert f"acme: 1 executions of {OLD}" in out
    assert RetentionPolicy.objects.get().purged_before == OLD + timedelta(days=28)


def test_payloads_go_first_and_executions_later(admin, organization, old):
    rule = policy(organization, payload_days=10)
    purge()
    dropped = [exists(name) for name in partitions(OLD)]
    assert dict(zip(KEYS, dropped, strict=True)) == {
        "executions_execution": True,
        "executions_executionpayload": False,
        "executions_executionattempt": False,
    }
    assert (Execution.objects.count(), Score.objects.count()) == (4, 4)
    rule.refresh_from_db()
    assert (rule.payloads_purged_before, rule.purged_before) == (month_after(OLD), None)
    rule.execution_days = 30
    rule.save()
    purge()
    assert not exists(partition_name("executions_execution", OLD))
    assert Execution.objects.count() == 0


def test_a_partition_stays_while_somebody_without_a_policy_has_rows_in_it(organization, old):
    store(make_organization("Keeper"), OLD + timedelta(days=4))
    policy(organization, payload_days=10)
    purge()
    assert all(exists(name) for name in partitions(OLD))
    assert ExecutionPayload.objects.count() == 1


@pytest.mark.parametrize("table", KEYS)
def test_a_partition_with_rows_of_others_or_of_what_runs_is_not_dropped(organization, old, table):
    """Whoever came to have any since it was found to be whole."""
    partition = next(each for each in partitions_of(table) if each.name == partition_name(table, OLD))
    with pytest.raises(InUse), transaction.atomic():
        drop(partition, [make_organization("Other").id])
    if table == EXECUTIONS:
        store_unfinished(organization, OLD)
        with pytest.raises(InUse), transaction.atomic():
            drop(partition, [organization.id])
    else:
        Execution.objects.all().delete()
        with pytest.raises(InUse, match="of nobody"), transaction.atomic():
            drop(partition, [])
    assert exists(partition.name)


def test_a_legal_hold_stops_all(organization, old):
    rule = policy(organization, payload_days=10, execution_days=30, legal_hold=True, legal_hold_reason="Case 7")
    assert "acme: legal hold. Case 7" in purge()
    assert (Execution.objects.count(), ExecutionPayload.objects.count(), Score.objects.count()) == (4, 4, 4)
    rule.refresh_from_db()
    assert (rule.payloads_purged_before, rule.purged_before) == (None, None)


def test_a_hold_keeps_the_partitions_of_others_too(organization, old):
    policy(organization, execution_days=30)
    other = make_organization("Held")
    held = store(other, OLD + timedelta(days=4))
    policy(other, execution_days=30, legal_hold=True)
    purge()
    assert [row.id for row in Execution.objects.all()] == [held.id]


def test_a_hold_that_is_set_meanwhile_stops_the_next_batch(organization, old):
    store(make_organization("Keeper"), OLD + timedelta(days=4))
    rule = policy(organization, execution_days=30)
    run = Purge(batch=1, pause_s=0)
    steps = run.run()
    next(steps)
    left = Execution.objects.count()
    RetentionPolicy.objects.filter(id=rule.id).update(legal_hold=True)
    assert list(steps) == []
    assert Execution.objects.count() == left
    assert run.left == ["acme: the policy has changed"]


def test_what_is_stopped_goes_on_with_the_next_run(organization, old):
    store(make_organization("Keeper"), OLD + timedelta(days=4))
    policy(organization, payload_days=10, execution_days=30)
    first = Purge(batch=1, pause_s=0, should_stop=lambda: ExecutionPayload.objects.count() < 4)
    list(first.run())
    assert first.left == ["acme: the process ends"]
    assert (Execution.objects.count(), ExecutionPayload.objects.count()) == (5, 3)
    second = Purge(batch=1, pause_s=0, should_stop=lambda: Score.objects.count() < 4)
    list(second.run())
    assert (ExecutionPayload.objects.count(), Score.objects.count()) == (1, 3)
    purge()
    assert (Execution.objects.count(), ExecutionPayload.objects.count()) == (1, 1)
    assert (ExecutionAttempt.objects.count(), Score.objects.count()) == (1, 1)


@pytest.mark.parametrize("status", ["queued", "running"])
def test_nothing_of_a_day_goes_while_something_of_it_runs(organization, old, status):
    waiting = store_unfinished(organization, OLD + timedelta(days=5), status=status)
    policy(organization, payload_days=10, execution_days=30)
    purge()
    days = sorted(row.created_at.date() for row in Execution.objects.all())
    assert days == [OLD + timedelta(days=5), OLD + timedelta(days=5), OLD + timedelta(days=27)]
    assert ExecutionPayload.objects.filter(execution_id=waiting.id).exists()
    waiting.cancel() if status == "queued" else waiting.fail(code="TIMEOUT", message="")
    purge()
    assert Execution.objects.count() == 0


def test_a_dry_run_tells_by_organization_and_partition_and_changes_nothing(organization, old):
    other = make_organization("Other")
    store(other, OLD + timedelta(days=4))
    policy(organization, payload_days=10, execution_days=30)
    store(organization, days_ago(1))
    shown = purge("--dry-run")
    lines = [line.split(maxsplit=3) for line in shown.splitlines()[1:-1]]
    payloads, executions = (partition_name(f"executions_{table}", OLD) for table in ("executionpayload", "execution"))
    assert lines == [["acme", payloads, "4", "in batches"], ["acme", executions, "4", "in batches"]]
    assert shown.splitlines()[-1] == "Nothing was deleted."
    assert (Execution.objects.count(), ExecutionPayload.objects.count()) == (6, 6)
    assert not LedgerDay.objects.exists()
    policy(other, execution_days=30)
    assert {(part.organization, part.is_dropped) for part in outlook()} == {("acme", True), ("other", True)}
    assert [part.organization for part in outlook(other)] == ["other", "other"]


def test_one_organization_alone(organization, old):
    other = make_organization("Other")
    for each in (organization, other):
        store(each, OLD + timedelta(days=4))
        policy(each, execution_days=30)
    purge("--organization", "other")
    assert {row.organization_id for row in Execution.objects.all()} == {organization.id}


@pytest.mark.parametrize(
    "arguments", [["--organization", "nobody"], ["--batch", "0"], ["--pause", "-1"]], ids=lambda words: words[0]
)
def test_wrong_options_are_errors(arguments):
    with pytest.raises(CommandError):
        purge(*arguments)


def test_a_ledger_that_differs_is_put_right_before_anything_goes(admin, organization, old):
    policy(organization, execution_days=30)
    close_ledger(organization)
    right = everything(admin)[0]
    LedgerDay.objects.filter(day=OLD).update(cost_usd=99)
    purge()
    assert Execution.objects.count() == 0
    assert everything(admin)[0] == right


def test_rollups_are_not_taken_back(organization, old):
    policy(organization, execution_days=30)
    before = (count("analytics_pendingexecution"), count("analytics_pendingscore"))
    purge()
    assert (count("analytics_pendingexecution"), count("analytics_pendingscore")) == before


def test_without_days_or_before_the_ledger_nothing_is_due(organization):
    assert due_of(RetentionPolicy(organization=organization), closed_until=today()).of("executions_execution") is None
    rule = RetentionPolicy(organization=organization, payload_days=5, execution_days=10)
    assert due_of(rule, closed_until=None).payloads_before is None
    late = due_of(rule, closed_until=days_ago(30))
    assert (late.payloads_before, late.executions_before) == (days_ago(30), days_ago(30))
    only_executions = RetentionPolicy(organization=organization, execution_days=10)
    assert due_of(only_executions, closed_until=today()).payloads_before == days_ago(10)


@pytest.mark.django_db(transaction=True)
def test_purging_while_executions_are_made_and_end(organization):
    """Two purges, and somebody who finishes executions of today and one who reads: none waits for long or fails."""
    month_partitions(OLD)
    keeper = make_organization("Keeper")
    for number in range(60):
        store(organization, OLD + timedelta(days=number % 5), number=number)
    store(keeper, OLD)
    policy(organization, payload_days=10, execution_days=30)
    ending, failures, made = threading.Event(), [], []

    def work(call):
        try:
            call()
        except Exception as error:  # noqa: BLE001 (told of below)
            failures.append(error)
        finally:
            connection.close()

    def execute():
        while not ending.is_set():
            row = store_unfinished(organization, today())
            row.cancel()
            made.append(row.id)

    def clear():
        list(Purge(batch=7, pause_s=0).run())

    maker = threading.Thread(target=work, args=[execute])
    purgers = [threading.Thread(target=work, args=[clear]) for _ in range(2)]
    for thread in (maker, *purgers):
        thread.start()
    for thread in purgers:
        thread.join(30)
    ending.set()
    maker.join(10)
    assert failures == []
    list(Purge(pause_s=0).run())
    assert {row.id for row in Execution.objects.filter(organization_id=organization.id)} == set(made)
    assert ExecutionPayload.objects.count() == len(made) + 1
    assert sum(LedgerDay.objects.filter(organization=organization).values_list("executions", flat=True)) == 60
    assert LedgerState.objects.get(organization=organization).closed_until <= today()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("read", [Execution, ExecutionPayload], ids=["executions", "payloads"])
def test_a_partition_in_use_is_kept_for_the_next_run(organization, old, read):
    """And that of the executions as long as there are payloads of them."""
    policy(organization, execution_days=30)
    holding, done = threading.Event(), threading.Event()

    def use():
        try:
            with transaction.atomic():
                assert len(read.objects.all()) == 4
                holding.set()
                done.wait(60)
        finally:
            connection.close()

    reader = threading.Thread(target=use)
    reader.start()
    assert holding.wait(10)
    run = Purge(pause_s=0, drop_timeout_ms=50)
    list(run.run())
    assert exists(partition_name("executions_execution", OLD))
    assert exists(partition_name(read._meta.db_table, OLD))
    assert any(f"{read._meta.db_table}_y" in why for why in run.left)
    done.set()
    reader.join(10)
    assert Execution.objects.count() == ExecutionPayload.objects.count() == 0, "they went in batches"
    purge()
    assert [name for name in partitions(OLD) if exists(name)] == []


def test_a_day_of_which_a_part_is_gone_is_gone_on_with(admin, organization):
    month_partitions(OLD)
    for number in range(4):
        store(organization, OLD, number=number)
    store(make_organization("Keeper"), OLD)
    policy(organization, execution_days=30)
    close_ledger(organization)
    before = everything(admin)
    first = Purge(batch=1, pause_s=0, should_stop=lambda: Execution.objects.count() < 5)
    list(first.run())
    assert Execution.objects.count() == 4
    second = Purge(batch=1, pause_s=0)
    list(second.run())
    assert second.left == []
    assert Execution.objects.count() == 1
    assert everything(admin) == before


def test_payloads_of_months_that_others_keep_go_though_a_later_month_is_dropped(organization, old):
    """Also when the run ends between the two."""
    later = month_after(OLD)
    month_partitions(later)
    store(organization, later + timedelta(days=2))
    keeper = store(make_organization("Keeper"), OLD + timedelta(days=4))
    policy(organization, payload_days=10)
    first = Purge(pause_s=0, should_stop=lambda: not exists(partition_name("executions_executionpayload", later)))
    list(first.run())
    assert not exists(partition_name("executions_executionpayload", later))
    assert ExecutionPayload.objects.count() == 5
    purge()
    assert [row.execution_id for row in ExecutionPayload.objects.all()] == [keeper.id]
    assert [row.execution_id for row in ExecutionAttempt.objects.all()] == [keeper.id]


@pytest.mark.parametrize("kind", ["execution", "score"])
def test_what_is_not_in_the_sums_of_a_test_keeps_its_day(organization, old, make_ab_test, prompt, kind):
    test = make_ab_test(prompt)
    score = Score.objects.get(execution_id=old[1].id)
    refs = {"execution": old[1].id, "score": score.id}
    waiting = ABPending.objects.create(test_id=test.id, kind=kind, ref_id=refs[kind])
    policy(organization, payload_days=10, execution_days=30)
    run = Purge(pause_s=0)
    list(run.run())
    kept = {row.id for row in old[1:]}
    assert {row.id for row in Execution.objects.all()} == kept
    assert {row.execution_id for row in ExecutionPayload.objects.all()} == kept
    assert any("is not added up yet" in why for why in run.left)
    waiting.delete()
    purge()
    assert Execution.objects.count() == 0


def test_what_waits_of_others_or_of_a_deleted_test_keeps_nothing(organization, old):
    ABPending.objects.create(test_id=uuid7(), kind="execution", ref_id=old[1].id)
    policy(organization, execution_days=30)
    purge()
    assert Execution.objects.count() == 0


def test_a_ledger_that_differed_makes_a_revision(admin, organization, old):
    policy(organization, execution_days=30)
    close_ledger(organization)
    right = Statement.objects.get(month=OLD).total_usd
    LedgerDay.objects.filter(day=OLD).update(cost_usd=99)
    close_month(organization=organization, month=OLD)
    assert Statement.objects.filter(month=OLD).count() == 2
    purge()
    newest = Statement.objects.filter(month=OLD).first()
    assert (newest.revision, newest.total_usd) == (3, right)


def test_what_is_given_up_is_repriced_no_more(admin, organization, old):
    """Its cost in the ledger is final: a purge that is stopped leaves rows whose cost nobody reads."""
    rule = policy(organization, execution_days=30)
    close_ledger(organization)
    before = everything(admin)
    rule.purged_before = OLD + timedelta(days=1)
    rule.save()
    Execution.objects.filter(id__in=[old[0].id, old[1].id]).update(cost_usd=5, metadata={"a": 1})
    costs = {row.id: row.cost_usd for row in Execution.objects.filter(metadata={"a": 1})}
    assert costs == {old[0].id: old[0].cost_usd, old[1].id: 5}
    close_ledger(organization)
    after = everything(admin)
    assert Decimal(after[0]["total"]["cost_usd"]) == Decimal(before[0]["total"]["cost_usd"]) + 5 - old[1].cost_usd


@pytest.mark.django_db(transaction=True)
def test_a_cost_that_changes_while_its_day_is_given_up_is_not_lost(organization, old):
    """The purge waits for the transaction that changes it, and leaves the day to the next run."""
    policy(organization, execution_days=30)
    store(make_organization("Keeper"), OLD)
    close_ledger(organization)
    failures, left = [], []

    def clear():
        try:
            run = Purge(pause_s=0)
            list(run.run())
            left.extend(run.left)
        except Exception as error:  # noqa: BLE001 (told of below)
            failures.append(error)
        finally:
            connection.close()

    purger = threading.Thread(target=clear)
    with transaction.atomic():
        assert Execution.objects.filter(id=old[0].id).update(cost_usd=5) == 1
        purger.start()
        deadline = time.monotonic() + 10
        while not count_waiting() and purger.is_alive() and time.monotonic() < deadline:
            time.sleep(0.01)
    purger.join(20)
    assert failures == []
    purge()
    assert Execution.objects.filter(organization_id=organization.id).count() == 0
    assert LedgerDay.objects.get(organization=organization, day=OLD).cost_usd == 5


def count_waiting() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND state = 'active'")
        return int(cursor.fetchone()[0])


def test_one_organization_whose_ledger_fails_holds_up_nobody(organization, old):
    other = make_organization("Huge")
    for number in range(11):
        store(other, OLD, cost_usd=Decimal(10) ** 11, number=number)
    policy(other, execution_days=30)
    policy(organization, execution_days=30)
    run = Purge(pause_s=0)
    list(run.run())
    assert {row.organization_id for row in Execution.objects.all()} == {other.id}
    assert any(why.startswith("huge: ") for why in run.left)


def test_what_a_deleted_organization_has_left_goes(organization, outsider, old):
    other = outsider.organization
    theirs = [store(other, day, number=1) for day in (OLD, days_ago(1))]
    running = store_unfinished(other, days_ago(1), status="running")
    policy(other, execution_days=30)
    Organization.objects.filter(id=other.id).first().delete()
    assert Execution.objects.filter(organization_id=other.id).count() == 3
    assert purge("--organization", "acme") == ""
    assert "2 executions" not in purge("--dry-run")
    out = purge("--batch", "1")
    assert out.count("as it is deleted") == 2
    kept = {row.id for row in old}
    assert {row.id for row in Execution.objects.all()} == {*kept, running.id}
    assert {row.execution_id for row in ExecutionPayload.objects.all()} == {*kept, running.id}
    assert not {row.id for row in theirs} & {row.execution_id for row in ExecutionAttempt.objects.all()}
    assert {score.organization_id for score in Score.objects.all()} == {organization.id}


def test_an_organization_under_a_legal_hold_is_not_deleted(organization, old, admin_client):
    rule = policy(organization, execution_days=30, legal_hold=True)
    with pytest.raises(ProtectedError, match="RetentionPolicy"):
        organization.delete()
    page = admin_client.post(f"/admin/organizations/organization/{organization.id}/delete/", {"post": "yes"})
    assert page.status_code == 200, "it asks for what is in the way"
    assert Organization.objects.filter(id=organization.id).exists()
    rule.legal_hold = False
    rule.save()
    organization.delete()
    purge()
    assert Execution.objects.count() == 0


def test_what_has_not_ended_stays_though_its_day_is_closed(organization, old):
    """Such as by a clock that is wrong."""
    close_ledger(organization)
    late = store_unfinished(organization, OLD + timedelta(days=5), status="running")
    policy(organization, execution_days=30)
    purge()
    assert [row.id for row in Execution.objects.all()] == [late.id]
    assert [row.execution_id for row in ExecutionPayload.objects.all()] == [late.id]


def test_a_partition_with_days_that_are_not_due_yet_is_not_begun(organization, old):
    policy(organization, execution_days=30)
    run = Purge(pause_s=0, now=midnight(OLD + timedelta(days=50)))
    days = [OLD + timedelta(days=day) for day in (0, 4, 5)]
    steps = {step.what for step in run.run()}
    assert steps == {f"{what} of {day}" for what in ("payloads", "executions") for day in days}
    assert run.left == []
    assert [row.id for row in Execution.objects.all()] == [old[3].id]
    assert all(exists(name) for name in partitions(OLD))


def test_scores_of_what_is_kept_longer_meanwhile_stay(organization):
    for _ in range(4):
        store(organization, OLD)
    store(make_organization("Keeper"), OLD)
    rule = policy(organization, execution_days=30)
    close_ledger(organization)

    def longer():
        if Score.objects.count() < 5:
            RetentionPolicy.objects.filter(id=rule.id).update(execution_days=3650)
        return False

    list(Purge(batch=1, pause_s=0, should_stop=longer).run())
    assert Score.objects.count() == 4
