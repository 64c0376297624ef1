"""Alerts: what they see, when they fire, and when they do so no more."""

import threading
from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.utils import timezone

from apps.analytics.alerts.evaluating import KEPT_FOR, evaluate, evaluate_due, purge_events
from apps.analytics.alerts.measuring import measure
from apps.analytics.models import Alert, AlertEvent
from apps.organizations.models import Organization, WebhookDelivery
from tests.analytics.alerting import ERRORS, Calls, look, make_alert, minutes_ago
from tests.analytics.making import make_world
from tests.conftest import make_organization
from tests.organizations.conftest import empty_queue, make_endpoint  # noqa: F401 (fixtures)

pytestmark = pytest.mark.django_db


@pytest.fixture
def calls(organization):
    return Calls(organization)


def fields_of(answer) -> dict[str, str]:
    assert answer.status_code == 400, answer.content
    return answer.json()["error"]["details"]


# What an alert sees: the executions of the last ten minutes, and of before.
METRICS = [
    ("error_rate", {}, 0.25),
    ("latency_p50_ms", {}, 100),
    ("latency_p95_ms", {}, 900),
    ("latency_p99_ms", {}, 900),
    ("cost_usd", {}, 5.0),
    ("spend_rate_usd_per_hour", {}, 30.0),
    ("score_mean", {"score_name": "quality"}, 3.0),
]


@pytest.mark.parametrize(("metric", "given", "expected"), METRICS, ids=[name for name, *_ in METRICS])
def test_each_metric_fires_and_resolves(organization, calls, metric, given, expected):
    """Nine quick calls and three slow ones that fail, of which each second pair has a score."""
    now = timezone.now()
    calls.add(6, at=minutes_ago(2, now), score=2)
    calls.add(3, at=minutes_ago(3, now), score=5, cost_usd=Decimal("0.5"))
    calls.add(3, at=minutes_ago(9, now), failed=3, latency_ms=900, cost_usd=Decimal("0.5") / 3)
    calls.add(50, at=minutes_ago(11, now), failed=50, latency_ms=5000, score=9)
    above = make_alert(organization, metric=metric, threshold=expected * 0.9, **given)
    high = make_alert(organization, metric=metric, threshold=expected * 1.1, **given)
    below = make_alert(organization, metric=metric, threshold=expected * 1.1, direction="below", **given)
    assert measure(above, now).reading.value == pytest.approx(expected, rel=0.021)
    states = [look(alert, now).state for alert in (above, high, below)]
    assert states == ["firing", "ok", "firing"]
    event = above.events.get()
    assert (event.reason, event.threshold, event.fired_at) == ("threshold", above.threshold, now)
    assert event.value == pytest.approx(expected, rel=0.021)
    assert event.count == {"score_mean": 9}.get(metric, 12)
    assert f"{metric}{' of quality' if given else ''} is " in event.message
    later = now + timedelta(minutes=30)
    calls.add(12, at=minutes_ago(1, later), latency_ms=10, cost_usd=0, score=0.1)
    assert look(above, later).state == "ok"
    event.refresh_from_db()
    assert (event.resolution, event.resolved_at) == ("recovered", later)
    assert event.resolved_value < expected / 2


CHANGES = [
    ("previous", "above", 0.5, 8, "firing"),
    ("previous", "above", 0.7, 8, "ok"),
    ("previous", "below", 0.2, 8, "ok"),
    ("previous", "below", 0.3, 3, "firing"),
    ("day_before", "above", 0.5, 16, "firing"),
    ("day_before", "above", 0.5, 8, "ok"),
    ("week_before", "below", 0.5, 8, "firing"),
]


@pytest.mark.parametrize(("baseline", "direction", "threshold", "count", "state"), CHANGES)
def test_changes_against_a_baseline(organization, calls, baseline, direction, threshold, count, state):
    now = timezone.now()
    calls.add(count, at=minutes_ago(5, now))
    calls.add(5, at=minutes_ago(15, now))
    calls.add(10, at=minutes_ago(5, now) - timedelta(days=1))
    calls.add(20, at=minutes_ago(5, now) - timedelta(days=7))
    alert = make_alert(
        organization, metric="cost_usd", baseline=baseline, direction=direction, threshold=threshold
    )  # fmt: skip
    assert look(alert, now).state == state
    if state == "firing":
        event = alert.events.get()
        before = {"previous": 5, "day_before": 10, "week_before": 20}[baseline]
        assert (event.reason, event.value, event.baseline_value) == ("change", count / 2, before / 2)
        assert (event.count, event.baseline_count) == (count, before)
        assert f"{count / before - 1:+.1%}" in event.message


def test_too_little_says_nothing(organization, calls):
    now = timezone.now()
    alert = make_alert(organization, min_count=4)
    change = make_alert(organization, metric="cost_usd", baseline="previous", threshold=0.5, min_count=4)
    calls.add(3, at=minutes_ago(5, now), failed=3)
    assert look(alert, now).state == "ok"
    assert measure(alert, now).is_breached is None
    calls.add(1, at=minutes_ago(5, now))
    assert look(alert, now).state == "firing"
    calls.add(3, at=minutes_ago(15, now), cost_usd=Decimal("0.01"))
    assert look(change, now).state == "ok", "the baseline is of too few"
    calls.add(1, at=minutes_ago(15, now), cost_usd=0)
    assert look(change, now).state == "firing"


def test_nothing_known_ends_a_breach_after_a_window(organization, calls):
    now = timezone.now()
    alert = make_alert(organization)
    calls.add(2, at=minutes_ago(1, now), failed=2)
    assert look(alert, now).state == "firing"
    assert look(alert, now + timedelta(minutes=8)).state == "firing"
    assert look(alert, now + timedelta(minutes=17)).state == "firing", "it was known nine minutes ago"
    assert look(alert, now + timedelta(minutes=18)).state == "ok"
    assert alert.events.get().resolution == "no_data"


def test_no_data_may_fire(organization, calls):
    now = timezone.now()
    quiet, loud = make_alert(organization), make_alert(organization, fires_on_no_data=True, min_count=3)
    calls.add(2, at=minutes_ago(1, now))
    assert [look(alert, now).state for alert in (quiet, loud)] == ["ok", "firing"]
    event = loud.events.get()
    assert (event.reason, event.count, event.value) == ("no_data", 2, 0.0)
    assert event.message == "There are only 2 executions in the last 10 minutes; error_rate needs at least 3."
    assert look(loud, now + timedelta(minutes=40)).state == "firing"
    calls.add(3, at=now + timedelta(minutes=49))
    assert look(loud, now + timedelta(minutes=50)).state == "ok"
    event.refresh_from_db()
    assert event.resolution == "recovered"


def test_a_cost_is_known_of_nothing(organization, calls):
    now = timezone.now()
    alert = make_alert(organization, metric="cost_usd", threshold=1, min_count=0)
    calls.add(3, at=minutes_ago(1, now))
    assert look(alert, now).state == "firing"
    assert look(alert, now + timedelta(minutes=10)).state == "ok"
    assert alert.events.get().resolution == "recovered"


def test_a_breach_fires_once_and_anew_only_after_the_cooldown(organization, calls):
    now = timezone.now()
    alert = make_alert(organization, cooldown_minutes=30)
    for minute in range(3):
        calls.add(2, at=now + timedelta(minutes=minute - 1), failed=2)
        assert look(alert, now + timedelta(minutes=minute)).state == "firing"
    assert alert.events.count() == 1
    calls.add(200, at=now + timedelta(minutes=3))
    ended = now + timedelta(minutes=4)
    assert look(alert, ended).state == "ok"
    again = ended + timedelta(minutes=29)
    calls.add(2, at=minutes_ago(1, again), failed=2)
    assert look(alert, again).state == "ok"
    assert look(alert, ended + timedelta(minutes=31)).state == "firing"
    assert [event.resolution for event in alert.events.order_by("id")] == ["recovered", ""]


def test_filters_are_the_executions_that_count(admin, organization, calls):
    now, world = timezone.now(), make_world(admin)
    prompt, other = world.prompts[:2]
    model = world.models[0]
    calls.add(4, at=minutes_ago(1, now), failed=4, prompt_id=prompt.id, model_id=model.id)
    calls.add(5, at=minutes_ago(1, now), prompt_id=other.id, source="batch")
    cases = [
        ({}, 9, 4 / 9),
        ({"prompt": [str(prompt.id)]}, 4, 1.0),
        ({"prompt": [str(other.id)]}, 5, 0.0),
        ({"prompt": [str(prompt.id), str(other.id)], "source": ["batch"]}, 5, 0.0),
        ({"tag": ["german"]}, 4, 1.0),
        ({"provider": [str(model.provider_id)]}, 4, 1.0),
        ({"model": [str(model.id)], "user": [str(admin.user.id)]}, 0, None),
    ]
    for filters, count, value in cases:
        reading = measure(make_alert(organization, filters=filters), now).reading
        assert (reading.count, reading.value) == (count, value), filters


def test_executions_of_others_are_not_seen(organization, outsider, calls):
    now = timezone.now()
    Calls(outsider.organization).add(5, at=minutes_ago(1, now), failed=5)
    assert measure(make_alert(organization), now).reading.count == 0


def test_all_that_are_due_are_evaluated_and_none_twice_in_a_row(organization, outsider, calls):
    calls.add(2, at=minutes_ago(1), failed=2)
    asleep = make_organization("Asleep")
    alerts = [
        make_alert(organization),
        make_alert(outsider.organization),
        make_alert(organization, is_active=False),
        make_alert(asleep),
    ]
    Organization.objects.filter(id=asleep.id).update(is_active=False)
    assert evaluate_due() == 2
    assert evaluate_due() == 0
    assert not evaluate(alerts[0].id)
    for alert in alerts:
        alert.refresh_from_db()
    assert [alert.state for alert in alerts] == ["firing", "ok", "ok", "ok"]
    assert [alert.evaluated_at is None for alert in alerts] == [False, False, True, True]


def test_long_windows_wait_longer(organization):
    now = timezone.now()
    short, long = make_alert(organization, window_minutes=1440), make_alert(organization, window_minutes=1441)
    expected = {20: set(), 60: {short.id}, 240: {short.id}, 300: {short.id, long.id}}
    for seconds, ids in expected.items():
        Alert.objects.update(evaluated_at=now - timedelta(seconds=seconds))
        assert set(Alert.objects.due(now).values_list("id", flat=True)) == ids


def test_what_fails_holds_up_no_other(organization, calls):
    """A filter that no serializer would take."""
    calls.add(2, at=minutes_ago(1), failed=2)
    broken = make_alert(organization, name="A", filters={"prompt": ["no id"]})
    fine = make_alert(organization, name="B")
    assert evaluate_due() == 1
    for alert in (broken, fine):
        alert.refresh_from_db()
    assert (broken.state, broken.evaluated_at, fine.state) == ("ok", None, "firing")


@pytest.mark.django_db(transaction=True)
def test_two_workers_fire_once(organization, make_endpoint, empty_queue):  # noqa: F811 (fixtures)
    """Both at the same moment, again and again."""
    Calls(organization).add(2, at=minutes_ago(1), failed=2)
    make_endpoint(organization, event_types=["alert.fired"])
    alerts = [make_alert(organization, name=str(number)) for number in range(8)]
    gate, done = threading.Barrier(2), []

    def work() -> None:
        for alert in alerts:
            gate.wait(20)
            done.append(evaluate(alert.id))
        connection.close()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(done) == [False] * 8 + [True] * 8
    assert AlertEvent.objects.count() == WebhookDelivery.objects.count() == 8


def test_the_database_refuses_a_second_open_event(organization, calls):
    from django.db import IntegrityError

    calls.add(2, at=minutes_ago(1), failed=2)
    alert = look(make_alert(organization))
    event = alert.events.get()
    event.pk = None
    with pytest.raises(IntegrityError, match="analytics_alertevent_one_open"):
        event.save(force_insert=True)


def test_old_events_go(organization, calls):
    now = timezone.now()
    calls.add(2, at=minutes_ago(1, now), failed=2)
    kept = look(make_alert(organization), now).events.get()
    old = look(make_alert(organization), now).events.get()
    long_ago = now - KEPT_FOR - timedelta(days=1)
    AlertEvent.objects.filter(id=old.id).update(fired_at=long_ago, resolved_at=long_ago, resolution="recovered")
    assert purge_events() == 1
    assert list(AlertEvent.objects.values_list("id", flat=True)) == [kept.id]


# The API


def test_an_alert_is_made_read_changed_and_deleted(admin, viewer):
    made = admin.client.post("/api/v1/alerts", ERRORS)
    assert made.status_code == 201, made.content
    alert = made.json()["data"]
    usual = {"min_count": 20, "cooldown_minutes": 30, "roles": ["admin"], "emails": [], "state": "ok", "filters": {}}
    assert {name: alert[name] for name in usual} == usual
    url = f"/api/v1/alerts/{alert['id']}"
    assert made.headers["Location"] == url
    assert viewer.client.get(url).json()["data"] == alert
    changed = admin.client.patch(url, {"metric": "cost_usd", "min_count": None}, HTTP_IF_MATCH=made.headers["ETag"])
    assert (changed.status_code, changed.json()["data"]["min_count"]) == (200, 0)
    assert admin.client.patch(url, {"name": "B"}, HTTP_IF_MATCH=made.headers["ETag"]).status_code == 412
    replaced = admin.client.put(url, {**ERRORS, "baseline": "week_before", "direction": "below", "threshold": 0.5})
    assert replaced.json()["data"]["min_count"] == 20
    assert admin.client.delete(url).status_code == 204
    assert not Alert.objects.exists()


def test_an_evaluation_does_not_change_the_etag(admin, organization, calls):
    alert = make_alert(organization)
    before = admin.client.get(f"/api/v1/alerts/{alert.id}").headers["ETag"]
    look(alert)
    assert admin.client.get(f"/api/v1/alerts/{alert.id}").headers["ETag"] == before


SCORE = {"metric": "score_mean", "score_name": "quality"}
BAD = [
    ({"threshold": "0.1"}, "threshold"),
    ({"threshold": True}, "threshold"),
    ({"threshold": 1}, "threshold"),
    ({"threshold": -0.1}, "threshold"),
    ({"threshold": 0, "direction": "below"}, "threshold"),
    ({"threshold": 1e300, "metric": "cost_usd"}, "threshold"),
    ({"threshold": -1, "metric": "cost_usd"}, "threshold"),
    ({"threshold": 0, "baseline": "previous"}, "threshold"),
    ({"threshold": 1, "baseline": "previous", "direction": "below"}, "threshold"),
    ({"metric": "luck"}, "metric"),
    ({"metric": "score_mean"}, "score_name"),
    ({"score_name": "quality"}, "score_name"),
    ({"name": "a\x00"}, "name"),
    ({"name": " "}, "name"),
    ({"window_minutes": 4}, "window_minutes"),
    ({"window_minutes": 43201}, "window_minutes"),
    ({"window_minutes": 1441, "baseline": "day_before"}, "baseline"),
    ({"window_minutes": 10081, "baseline": "week_before"}, "baseline"),
    ({"min_count": -1}, "min_count"),
    ({"cooldown_minutes": 1e30}, "cooldown_minutes"),
    ({"roles": ["owner"]}, "roles.0"),
    ({"emails": ["nobody"]}, "emails.0"),
    ({"emails": ["a@b.example\nBcc: c@d.example"]}, "emails.0"),
    # Letters have a line's end at each of these in the header, and end the header at two.
    ({"emails": ['"\x1e\x1eHello"@b.example']}, "emails.0"),
    ({"emails": ["a@" + "\xfc" * 60 + ".example"]}, "emails.0"),
    ({"emails": [f"a{number}@b.example" for number in range(21)]}, "emails"),
    ({"filters": []}, "filters"),
    ({"filters": {"luck": ["a"]}}, "filters.luck"),
    ({"filters": {"prompt": []}}, "filters.prompt"),
    ({"filters": {"prompt": ["x"]}}, "filters.prompt.0"),
    ({"filters": {"tag": ["\x00"]}}, "filters.tag.0"),
    ({"filters": {"source": ["nowhere"]}}, "filters.source.0"),
    ({"filters": {"user": ["018f0000-0000-7000-8000-000000000000"]}}, "filters.user.0"),
    ({"state": "ok"}, "state"),
    ({"muted_until": None}, "muted_until"),
]


@pytest.mark.parametrize(("given", "field"), BAD, ids=[f"{place}-{field}" for place, (_, field) in enumerate(BAD)])
def test_bad_input_is_named(admin, given, field):
    assert field in fields_of(admin.client.post("/api/v1/alerts", {**ERRORS, **given}))
    assert not Alert.objects.exists()


def test_a_change_must_fit_the_rest(admin, organization):
    alert = make_alert(organization)
    url = f"/api/v1/alerts/{alert.id}"
    assert "score_name" in fields_of(admin.client.patch(url, {"metric": "score_mean"}))
    assert "threshold" in fields_of(admin.client.patch(url, {"threshold": 2}))
    assert admin.client.patch(url, {"metric": "score_mean", "score_name": "q", "threshold": -4}).status_code == 200


def test_filters_are_of_the_organization(admin, outsider):
    mine, others = make_world(admin), make_world(outsider)
    ids = {
        "prompt": [str(mine.prompts[0].id), str(others.prompts[0].id)],
        "model": [str(others.models[0].id)],
        "provider": [str(others.models[0].provider_id)],
        "user": [str(outsider.user.id)],
    }
    found = fields_of(admin.client.post("/api/v1/alerts", {**ERRORS, "filters": ids}))
    assert set(found) == {"filters.prompt.1", "filters.model.0", "filters.provider.0", "filters.user.0"}
    fine = {"prompt": ids["prompt"][:1] * 2, "user": [str(admin.user.id).upper()]}
    made = admin.client.post("/api/v1/alerts", {**ERRORS, "filters": fine})
    assert made.json()["data"]["filters"] == {"prompt": ids["prompt"][:1], "user": [str(admin.user.id)]}


def test_lists_are_filtered(admin, outsider, organization, calls):
    calls.add(2, at=minutes_ago(1), failed=2)
    firing = look(make_alert(organization, name="B"))
    muted = make_alert(organization, name="A", metric="cost_usd", muted_until=timezone.now() + timedelta(hours=1))
    make_alert(outsider.organization)

    def listed(query: str) -> list[str]:
        return [row["id"] for row in admin.client.get(f"/api/v1/alerts?{query}").json()["data"]]

    assert listed("") == listed("ordering=name") == [str(muted.id), str(firing.id)]
    assert listed("state=firing") == listed("metric=error_rate") == listed("is_muted=false") == [str(firing.id)]
    assert listed("state=ok") == listed("is_muted=true") == listed("search=a") == [str(muted.id)]
    assert admin.client.get("/api/v1/alerts?state=fine").status_code == 400


def test_what_it_sees_now(viewer, organization, calls):
    alert = make_alert(organization, baseline="previous", threshold=0.5)
    seen = viewer.client.get(f"/api/v1/alerts/{alert.id}/current").json()["data"]
    assert (seen["value"], seen["count"], seen["is_breached"], seen["baseline_count"]) == (None, 0, None, 0)
    calls.add(4, at=minutes_ago(1), failed=2)
    calls.add(4, at=minutes_ago(15), failed=1)
    seen = viewer.client.get(f"/api/v1/alerts/{alert.id}/current").json()["data"]
    assert (seen["value"], seen["baseline_value"], seen["change"], seen["is_breached"]) == (0.5, 0.25, 1.0, True)
    assert not AlertEvent.objects.exists()


def test_the_history_is_paged_by_key(viewer, organization, calls):
    now, alert = timezone.now(), make_alert(organization, cooldown_minutes=0)
    for number in range(3):
        moment = now + timedelta(minutes=30 * number)
        calls.add(2, at=minutes_ago(1, moment), failed=2)
        look(alert, moment)
        calls.add(100, at=moment)
        look(alert, moment + timedelta(minutes=1))
    url = f"/api/v1/alerts/{alert.id}/events"
    first = viewer.client.get(f"{url}?per_page=2").json()
    rest = viewer.client.get(f"{url}?per_page=2&cursor={first['meta']['next_cursor']}").json()
    events = first["data"] + rest["data"]
    assert [event["fired_at"] for event in events] == sorted((e["fired_at"] for e in events), reverse=True)
    assert [(e["value"], e["threshold"], e["count"]) for e in events] == [(1.0, 0.1, 2)] * 3
    assert {event["condition"]["metric"] for event in events} == {"error_rate"}


def test_alerts_are_limited(admin, organization):
    Alert.objects.bulk_create(Alert(organization=organization, min_count=1, **ERRORS) for _ in range(100))
    answer = admin.client.post("/api/v1/alerts", ERRORS)
    assert answer.status_code == 409


def test_a_changed_condition_ends_what_it_fired_for(admin, organization, calls):
    calls.add(2, at=minutes_ago(1), failed=2)
    alert = look(make_alert(organization))
    url = f"/api/v1/alerts/{alert.id}"
    assert admin.client.patch(url, {"name": "Other", "cooldown_minutes": 5}).json()["data"]["state"] == "firing"
    assert admin.client.patch(url, {"threshold": 0.2}).json()["data"]["state"] == "ok"
    assert alert.events.get().resolution == "changed"
    assert look(alert).state == "firing", "no cooldown holds for what was changed"
    assert admin.client.patch(url, {"is_active": False}).json()["data"]["firing_since"] is None
    assert [event.resolution for event in alert.events.all()] == ["changed", "changed"]


def test_operators_see_alerts_and_switch_them_off(admin_client, organization, calls):
    calls.add(2, at=minutes_ago(1), failed=2)
    alert = look(make_alert(organization, name="<b>Errors</b>"))
    page = "/admin/analytics/alert/"
    assert "&lt;b&gt;Errors" in admin_client.get(page).content.decode()
    assert "error_rate is 1" in admin_client.get("/admin/analytics/alertevent/").content.decode()
    event = alert.events.get()
    assert admin_client.get(f"/admin/analytics/alertevent/{event.id}/change/").status_code == 200
    assert admin_client.get(f"{page}{alert.id}/change/").status_code == 200
    form = {"name": "Errors", "cooldown_minutes": "5", "mute_reason": "", "muted_until_0": "", "muted_until_1": ""}
    assert admin_client.post(f"{page}{alert.id}/change/", form).status_code == 302
    alert.refresh_from_db()
    assert (alert.is_active, alert.name, alert.state) == (False, "Errors", "ok")
    assert alert.events.get().resolution == "changed"
