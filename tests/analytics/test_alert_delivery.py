"""Who is told of alerts, by mail and by signed webhooks, and how often: once."""

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from smtplib import SMTPRecipientsRefused
from typing import Any

import pytest
from django.core import mail
from django.db import DatabaseError, connection, transaction
from django.utils import timezone
from procrastinate.contrib.django import app
from procrastinate.contrib.django.models import ProcrastinateJob
from procrastinate.jobs import Job

from apps.analytics.alerts import telling
from apps.analytics.alerts.evaluating import evaluate
from apps.analytics.models import Alert, AlertEvent, AlertLetter
from apps.organizations.models import EventType, WebhookDelivery
from apps.users.models import AuditEntry
from tests.analytics.alerting import Calls, look, make_alert, minutes_ago
from tests.organizations.conftest import (  # noqa: F401 (fixtures)
    SECRET,
    Answer,
    empty_queue,
    make_endpoint,
    receiver,
    verifies,
)

pytestmark = pytest.mark.django_db
ALERTS = [EventType.ALERT_FIRED, EventType.ALERT_RESOLVED]


@pytest.fixture(autouse=True)
def _mails_are_kept(settings):
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"


@pytest.fixture
def endpoint(organization, make_endpoint, receiver):  # noqa: F811 (fixtures)
    return make_endpoint(organization, url=receiver.url, event_types=ALERTS)


@pytest.fixture
def failing(organization):
    """Two calls of a minute ago that failed."""
    calls = Calls(organization)
    calls.add(2, at=minutes_ago(1), failed=2)
    return calls


def told() -> list[str]:
    return [f"{row.event_type} {row.payload['data']['reason']}" for row in WebhookDelivery.objects.order_by("id")]


@pytest.mark.usefixtures("outsider")
def test_a_breach_is_told_by_mail_and_webhook_and_so_is_its_end(
    organization, admin, editor, viewer, endpoint, receiver, failing, run_jobs  # noqa: F811
):  # fmt: skip
    alert = make_alert(
        organization, name="Errors\u2028Bcc: all@x.example", roles=["admin", "viewer"],
        emails=["ops@acme.example", admin.user.email.upper()],
    )  # fmt: skip
    now = timezone.now()
    look(alert, now)
    assert sorted(run_jobs()) == ["deliver_webhook", *["send_alert_mail"] * 3]
    addresses = {address.lower() for letter in mail.outbox for address in letter.to}
    assert addresses == {"ops@acme.example", admin.user.email, viewer.user.email}
    letter = mail.outbox[0]
    assert letter.subject == "Alert Errors Bcc: all@x.example fires"
    assert 'alert "Errors Bcc: all@x.example" of Acme on EverQuant fires.' in letter.body
    assert "error_rate is 1 of 2 executions in the last 10 minutes, above 0.1." in letter.body
    assert f"/api/v1/alerts/{alert.id}/events" in letter.body
    [received] = receiver.received
    assert verifies(received, SECRET)
    body = json.loads(received.body)
    data = body["data"]
    assert (body["type"], data["alert_id"], data["is_test"]) == ("alert.fired", str(alert.id), False)
    assert (data["value"], data["count"], data["condition"]["threshold"]) == (1.0, 2, 0.1)
    failing.add(100, at=minutes_ago(0.5, now))
    look(alert, now + timedelta(minutes=1))
    run_jobs()
    body = json.loads(receiver.received[1].body)
    assert (body["type"], body["data"]["resolution"]) == ("alert.resolved", "recovered")
    assert body["data"]["event_id"] == data["event_id"]
    assert {letter.subject for letter in mail.outbox[3:]} == {"Alert Errors Bcc: all@x.example is resolved"}
    assert len(mail.outbox) == 6
    look(alert, now + timedelta(minutes=2))
    assert run_jobs() == [], "once"


def test_who_has_left_gets_no_mail(organization, admin, editor, failing, run_jobs):
    editor.membership.is_active = False
    editor.membership.save()
    look(make_alert(organization, roles=["editor"]))
    assert run_jobs() == []
    look(make_alert(organization, roles=[]))
    assert run_jobs() == []


def test_a_muted_alert_tells_afterwards_what_still_holds(admin, organization, endpoint, failing, run_jobs):
    now, alert = timezone.now(), make_alert(organization, cooldown_minutes=0)
    until = (now + timedelta(minutes=5)).isoformat()
    muted = admin.client.post(f"/api/v1/alerts/{alert.id}/mute", {"until": until, "reason": "Known"})
    assert muted.status_code == 200, muted.content
    assert muted.json()["data"]["mute_reason"] == "Known"
    assert look(alert, now).state == "firing"
    assert (told(), run_jobs(), alert.events.get().fired_told_at) == ([], [], None)
    later = now + timedelta(minutes=6)
    look(alert, later)
    assert told() == ["alert.fired threshold"]
    assert alert.events.get().fired_told_at == later
    look(alert, later)
    assert len(told()) == 1


def test_what_began_and_ended_while_muted_is_told_to_nobody(organization, endpoint, failing):
    now = timezone.now()
    alert = make_alert(organization, muted_until=now + timedelta(minutes=5))
    look(alert, now)
    failing.add(100, at=now)
    look(alert, now + timedelta(minutes=1))
    look(alert, now + timedelta(minutes=6))
    assert told() == []
    assert alert.events.get().resolution == "recovered"


def test_an_end_while_muted_is_told_when_it_is_unmuted(admin, organization, endpoint, failing):
    now, alert = timezone.now(), make_alert(organization)
    look(alert, now)
    url = f"/api/v1/alerts/{alert.id}"
    assert admin.client.post(f"{url}/mute", {"minutes": 60}).status_code == 200
    failing.add(100, at=now)
    look(alert, now + timedelta(minutes=1))
    assert len(told()) == 1
    for _ in range(2):
        answer = admin.client.post(f"{url}/unmute")
        assert answer.json()["data"]["muted_until"] is None
    assert told() == ["alert.fired threshold", "alert.resolved threshold"]
    changes = AuditEntry.objects.filter(object_pk=str(alert.id)).values_list("changes", flat=True)
    assert [set(change) for change in changes if "muted_until" in change and "mute_reason" not in change]


MUTES = [
    ({}, "until"),
    ({"minutes": 5, "until": "2030-01-01T00:00:00Z"}, "until"),
    ({"minutes": 0}, "minutes"),
    ({"minutes": "5"}, "minutes"),
    ({"until": "2001-01-01T00:00:00Z"}, "until"),
    ({"until": "9999-12-31T23:59:59-23:59"}, "until"),
    ({"minutes": 5, "reason": "\x00"}, "reason"),
    ({"minutes": 5, "reason": "x" * 501}, "reason"),
    ({"minutes": 5, "extra": 1}, "extra"),
]


@pytest.mark.parametrize(("given", "field"), MUTES, ids=[f"{place}-{field}" for place, (_, field) in enumerate(MUTES)])
def test_bad_mutes_are_named(admin, organization, given, field):
    alert = make_alert(organization)
    answer = admin.client.post(f"/api/v1/alerts/{alert.id}/mute", given)
    assert answer.status_code == 400
    assert field in answer.json()["error"]["details"]


def test_a_deleted_or_changed_alert_says_that_it_is_over(admin, organization, endpoint, failing):
    for change in ("delete", "patch"):
        alert = look(make_alert(organization, name=change))
        Alert.objects.filter(id=alert.id).update(muted_until=timezone.now() + timedelta(hours=1))
        body = [{"is_active": False}] if change == "patch" else []
        assert getattr(admin.client, change)(f"/api/v1/alerts/{alert.id}", *body).status_code < 300
    payloads = [row.payload for row in WebhookDelivery.objects.order_by("id")]
    said = [(each["type"], each["data"]["name"], each["data"]["resolution"]) for each in payloads]
    assert said == [
        ("alert.fired", "delete", None), ("alert.resolved", "delete", "deleted"),
        ("alert.fired", "patch", None), ("alert.resolved", "patch", "changed"),
    ]  # fmt: skip


def test_who_was_told_is_told_of_the_end_though_others_are_from_now_on(admin, organization, failing, run_jobs):
    alert = look(make_alert(organization, name="Old", roles=[], emails=["before@acme.example"]))
    given = {"name": "New", "emails": ["after@acme.example"], "threshold": 0.9}
    assert admin.client.patch(f"/api/v1/alerts/{alert.id}", given).json()["data"]["state"] == "ok"
    run_jobs()
    assert [letter.to for letter in mail.outbox] == [["before@acme.example"]] * 2
    assert mail.outbox[1].subject == "Alert Old is resolved"
    look(alert)
    run_jobs()
    assert [(letter.to, letter.subject) for letter in mail.outbox[2:]] == [(["after@acme.example"], "Alert New fires")]


@transaction.atomic
def evaluate_until_killed(alert: Alert) -> None:
    assert evaluate(alert.id)
    assert (AlertEvent.objects.count(), WebhookDelivery.objects.count()) == (1, 1)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")


@pytest.mark.django_db(transaction=True)
def test_a_worker_that_is_killed_between_has_told_nobody(organization, admin, endpoint, empty_queue, failing):  # noqa: F811
    """The connection is cut by the server between the event and the commit: nothing of it is left, and the next
    worker fires once."""
    alert = make_alert(organization)
    with pytest.raises(DatabaseError):
        evaluate_until_killed(alert)
    connection.close()
    alert.refresh_from_db()
    assert (alert.state, alert.evaluated_at) == ("ok", None)
    assert [rows.objects.count() for rows in (AlertEvent, WebhookDelivery, ProcrastinateJob)] == [0, 0, 0]
    assert evaluate(alert.id)
    assert not evaluate(alert.id)
    assert [rows.objects.count() for rows in (AlertEvent, WebhookDelivery, ProcrastinateJob)] == [1, 1, 2]


# Letters that are not sent


def mails_of(person, alert) -> dict[str, Any]:
    [event] = person.client.get(f"/api/v1/alerts/{alert.id}/events").json()["data"]
    return event["mails"]


def test_the_history_shows_that_a_letter_was_given_up(viewer, organization, failing, settings, admin_client):
    alert = make_alert(organization, emails=["ops@acme.example"], roles=[])
    look(alert)
    unsent = {"pending": 1, "succeeded": 0, "failed": 0, "last_error": ""}
    assert mails_of(viewer, alert) == unsent
    job = ProcrastinateJob.objects.get(task_name=telling.SEND_TASK)
    task, refused = app.tasks[job.task_name], {**unsent, "last_error": "The mail server refuses it."}
    with refusing(settings):
        for attempts in range(telling.MOST_ATTEMPTS):
            if attempts:
                assert mails_of(viewer, alert) == refused
            with pytest.raises(SMTPRecipientsRefused) as raised:
                task(**job.args)
            made = Job(id=job.id, queue="", lock=None, queueing_lock=None, task_name=task.name, attempts=attempts)
            is_last = task.get_retry_exception(raised.value, made) is None
            assert is_last == (attempts == telling.MOST_ATTEMPTS - 1)
    assert mails_of(viewer, alert) == {**refused, "pending": 0, "failed": 1}
    page = "/admin/analytics/alertevent/"
    assert "1 given up, 0 tried again: The mail server refuses it." in admin_client.get(page).content.decode()
    detail = admin_client.get(f"{page}{alert.events.get().id}/change/").content.decode()
    assert "ops@acme.example" in detail
    assert "The mail server refuses it." in detail


def test_a_letter_that_is_sent_later_has_no_error(viewer, organization, failing, settings, run_jobs):
    alert = make_alert(organization, emails=["ops@acme.example", "z@acme.example"], roles=[])
    look(alert)
    with refusing(settings), pytest.raises(SMTPRecipientsRefused):
        run_jobs()
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    assert run_jobs() == ["send_alert_mail"] * 2
    assert mails_of(viewer, alert) == {"pending": 0, "succeeded": 2, "failed": 0, "last_error": ""}
    assert [letter.attempts for letter in AlertLetter.objects.order_by("email")] == [2, 1]


def test_the_letter_of_a_deleted_alert_is_sent_all_the_same(admin, organization, failing, run_jobs):
    alert = make_alert(organization, emails=["ops@acme.example"], roles=[])
    look(alert)
    run_jobs()
    assert admin.client.delete(f"/api/v1/alerts/{alert.id}").status_code == 204
    assert run_jobs() == ["send_alert_mail"]
    assert [letter.subject for letter in mail.outbox] == ["Alert Errors fires", "Alert Errors is resolved"]


# The test that a person asks for


def test_a_test_tells_at_once_and_says_what_came_of_it(
    admin, organization, endpoint, receiver, make_endpoint, failing  # noqa: F811
):  # fmt: skip
    make_endpoint(organization, name="deaf", url=receiver.url + "&deaf", event_types=[EventType.ALERT_RESOLVED])
    broken = make_endpoint(organization, name="z", url="http://127.0.0.1:9/hook", event_types=ALERTS)
    alert = make_alert(organization, emails=["ops@acme.example"], muted_until=timezone.now() + timedelta(hours=1))
    answer = admin.client.post(f"/api/v1/alerts/{alert.id}/test")
    assert answer.status_code == 200, answer.content
    said = answer.json()["data"]
    assert said["message"] == "error_rate is 1 of 2 executions in the last 10 minutes; it fires above 0.1."
    assert said["mails"] == [
        {"email": email, "is_sent": True, "error": ""} for email in [admin.user.email, "ops@acme.example"]
    ]
    assert [letter.subject for letter in mail.outbox] == ["Test of alert Errors"] * 2
    assert said["message"] in mail.outbox[0].body
    taken, refused = said["webhooks"]
    assert (taken["webhook_id"], taken["status"], taken["last_status"]) == (str(endpoint.id), "succeeded", 200)
    assert (refused["webhook_id"], refused["status"], refused["last_status"]) == (str(broken.id), "pending", None)
    assert refused["error"]
    [received] = receiver.received
    assert verifies(received, SECRET)
    body = json.loads(received.body)
    assert (body["type"], body["data"]["is_test"], body["data"]["event_id"]) == ("alert.fired", True, None)
    alert.refresh_from_db()
    assert (alert.state, AlertEvent.objects.count()) == ("ok", 0)
    assert admin.client.post(f"/api/v1/alerts/{alert.id}/test").status_code == 409, "not again at once"
    assert len(mail.outbox) == 2


class Refusing(socketserver.StreamRequestHandler):
    """A mail server that takes no recipient."""

    def handle(self) -> None:
        self.wfile.write(b"220 here\r\n")
        while line := self.rfile.readline():
            verb = line[:4].upper()
            answer = {b"RCPT": b"550 Nobody of that name\r\n", b"QUIT": b"221 Bye\r\n"}.get(verb, b"250 Yes\r\n")
            self.wfile.write(answer)
            if verb == b"QUIT":
                return


@contextmanager
def refusing(settings: Any) -> Iterator[None]:
    """Mails go to a server that takes none."""
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_USE_TLS = "127.0.0.1", False
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Refusing) as server:
        settings.EMAIL_PORT = server.server_address[1]
        threading.Thread(target=lambda: server.serve_forever(0.01), daemon=True).start()
        yield
        server.shutdown()


def test_a_test_says_when_mail_cannot_be_sent(admin, organization, settings):
    with refusing(settings):
        alert = make_alert(organization, emails=["a@acme.example", "b@acme.example"], roles=[])
        refused = admin.client.post(f"/api/v1/alerts/{alert.id}/test").json()["data"]["mails"]
    assert {each["error"] for each in refused} == {"The mail server refuses it."}
    Alert.objects.update(tested_at=None)
    away = admin.client.post(f"/api/v1/alerts/{alert.id}/test").json()["data"]["mails"]
    assert [each["is_sent"] for each in away] == [False, False]
    assert {each["error"] for each in away} == {"The mail server cannot be reached."}


def test_an_address_that_no_letter_can_have_holds_up_no_other(admin, organization, settings):
    """Such as an operator may give a user."""
    settings.EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"
    addresses = ["a@" + "\xfc" * 60 + ".example", '"<\x1e[:"@acme.example', "z@acme.example"]
    alert = make_alert(organization, emails=addresses, roles=[])
    answer = admin.client.post(f"/api/v1/alerts/{alert.id}/test")
    assert answer.status_code == 200, answer.content
    said = {each["email"]: each["error"] for each in answer.json()["data"]["mails"]}
    unwritable = "No mail can be written to this address."
    assert said == dict.fromkeys(addresses[:2], unwritable) | {"z@acme.example": ""}


def test_what_others_have_is_not_found(outsider, organization):
    alert = make_alert(organization)
    for action in ("mute", "unmute", "test"):
        body = {"minutes": 5} if action == "mute" else {}
        assert outsider.client.post(f"/api/v1/alerts/{alert.id}/{action}", body).status_code == 404
    assert outsider.client.get(f"/api/v1/alerts/{alert.id}/events").status_code == 404
    alert.refresh_from_db()
    assert (alert.muted_until, alert.tested_at) == (None, None)
