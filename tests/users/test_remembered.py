"""Reads that are answered ahead of Django are its answers, and refuse whatever it refuses."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from django.dispatch import Signal
from django.test import RequestFactory
from prometheus_client import REGISTRY

from apps.users import authentication
from apps.users.models import ApiKey, Membership
from everquant.application import Application
from tests.prompts.conftest import URL
from tests.users.test_api_keys import key_of

pytestmark = pytest.mark.django_db

HELLO = f"{URL}/by-slug/hello?label=production"
OF_ONE_REQUEST = {"X-Request-ID", "X-RateLimit-Remaining", "X-RateLimit-Reset"}


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    content: bytes
    was_kept: bool


@contextmanager
def heard(signal: Signal) -> Iterator[list[Any]]:
    """What is sent through it within the block."""
    sent: list[Any] = []

    def note(**given: Any) -> None:
        sent.append(given)

    signal.connect(note)
    yield sent
    signal.disconnect(note)


@contextmanager
def within_the_transaction() -> Iterator[None]:
    """The end of a request gives its connection back; that of a test is needed on. (Django's client does the same.)"""
    signals = [signal for signal in (request_started, request_finished) if signal.disconnect(close_old_connections)]
    yield
    for signal in signals:
        signal.connect(close_old_connections)


class Front:
    """Asks as the server does, for whom a client of the API is signed in."""

    def __init__(self, client: Any) -> None:
        self._authorization = client.defaults["HTTP_AUTHORIZATION"]

    def get(self, target: str, **environ: Any) -> Answer:
        return self.ask("GET", target, **environ)

    def ask(self, method: str, target: str, **environ: Any) -> Answer:
        given = {"HTTP_AUTHORIZATION": self._authorization, "REMOTE_ADDR": "192.0.2.7", **environ}
        request = RequestFactory().generic(method, target, **given)
        head: list[Any] = []
        with heard(request_started) as started, within_the_transaction():
            body = Application()(request.environ, lambda *given: head.extend(given))
        names = [name for name, _ in head[1]]
        assert len(names) == len(set(names))
        return Answer(int(head[0].split()[0]), dict(head[1]), b"".join(body), not started)


@pytest.fixture
def prompt(editor):
    body = {"slug": "hello", "name": "Hello", "type": "text", "content": "Hello, {{name}}!"}
    prompt = editor.client.post(URL, body).json()["data"]
    assert editor.client.put(f"{URL}/{prompt['id']}/labels/production", {"version": 1}).status_code == 200
    return prompt


@pytest.fixture
def front(viewer):
    return Front(viewer.client)


@pytest.fixture
def kept(prompt, front):
    """The answers to these targets are kept from here on."""
    targets = [HELLO, f"{URL}/{prompt['id']}", f"{URL}?per_page=5", f"{URL}/bundle"]
    for target in targets:
        answer = front.get(target)
        assert (answer.status, answer.was_kept) == (200, False)
        assert front.get(target).was_kept
    return targets


def comparable(headers):
    return {name: value for name, value in headers.items() if name not in OF_ONE_REQUEST}


@pytest.mark.parametrize("known", [None, "the tag", "*", '"other"', 'W/"other", the tag', "W/the tag", "the tag,x"])
def test_a_kept_answer_is_djangos_answer(kept, front, viewer, django_assert_num_queries, known):
    for target in kept:
        tag = viewer.client.get(target).headers["ETag"]
        given = {} if known is None else {"HTTP_IF_NONE_MATCH": known.replace("the tag", tag)}
        whole_way = viewer.client.get(target, **given)
        with django_assert_num_queries(0):
            answer = front.get(target, **given)
        assert answer.was_kept
        assert (answer.status, answer.content) == (whole_way.status_code, whole_way.content)
        assert answer.status == (200 if known in {None, '"other"'} else 304)
        assert comparable(answer.headers) == comparable(whole_way.headers)
        assert set(answer.headers) == set(whole_way.headers)


def test_what_was_first_answered_with_304_is_the_same(prompt, front, viewer):
    tag, host = viewer.client.get(HELLO).headers["ETag"], {"HTTP_HOST": "localhost"}
    answers = [front.get(HELLO, HTTP_IF_NONE_MATCH=tag, **host) for _ in range(2)]
    assert [(answer.status, answer.was_kept) for answer in answers] == [(304, False), (304, True)]
    whole = front.get(HELLO, **host)
    assert (whole.was_kept, whole.content) == (True, viewer.client.get(HELLO).content)


def test_each_read_is_counted_once_however_it_is_answered(kept, front, prompt, editor):
    left = [int(front.get(HELLO).headers["X-RateLimit-Remaining"]) for _ in range(2)]
    assert editor.client.patch(f"{URL}/{prompt['id']}", {"name": "Renamed"}).status_code == 200
    again = front.get(kept[1])  # its answer is no longer kept: what was counted for it goes along
    assert not again.was_kept
    assert json.loads(again.content)["data"]["name"] == "Renamed"
    assert [left[0], left[0] - 1, left[0] - 2] == [*left, int(again.headers["X-RateLimit-Remaining"])]


def test_its_line_in_the_log_is_that_of_any_request(kept, front, viewer, capsys):
    for given in ({"HTTP_USER_AGENT": "probe"}, {"HTTP_ORIGIN": "https://x.example"}):
        capsys.readouterr()
        answer = front.get(HELLO, **given)
        [line] = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "/by-slug/hello" in line]
        assert line.pop("latency_ms") > 0
        assert line.pop("timestamp")
        assert line.pop("request_id") == answer.headers["X-Request-ID"]
        assert line.pop("user_agent") == ("probe" if answer.was_kept else "")
        assert line == {
            "event": "request",
            "level": "info",
            "method": "GET",
            "path": f"{URL}/by-slug/hello",
            "status": 200,
            "client_ip": "192.0.2.7",
            "user": str(viewer.user.id),
            "organization": str(viewer.organization.id),
        }


@pytest.mark.parametrize(("given", "is_taken"), [("my-id.1", True), ("not mine", False), ("", False)])
def test_the_requests_id_is_the_clients_or_a_new_one(kept, front, given, is_taken):
    answer = front.get(HELLO, HTTP_X_REQUEST_ID=given)
    assert answer.was_kept
    assert (answer.headers["X-Request-ID"] == given) is is_taken
    assert answer.headers["X-Request-ID"]


def test_a_kept_answer_is_measured_under_its_route(kept, front):
    def measured():
        labels = {"method": "GET", "route": "api/v1/prompts/by-slug/<path:slug>", "status": "200"}
        return REGISTRY.get_sample_value("everquant_http_request_seconds_count", labels)

    before = measured()
    assert front.get(HELLO).was_kept
    assert measured() == before + 1


def test_others_read_their_own(kept, outsider):
    other = Front(outsider.client)
    for _ in range(2):
        assert [other.get(target).status for target in kept[:2]] == [404, 404]
        assert json.loads(other.get(kept[2]).content)["data"] == []
        assert json.loads(other.get(kept[3]).content)["data"]["prompts"] == {}
    assert other.get(kept[2]).was_kept


def test_a_label_that_moves_is_read_at_once(kept, front, prompt, editor):
    assert editor.client.post(f"{URL}/{prompt['id']}/versions", {"content": "Bye, {{name}}!"}).status_code == 201
    old = front.get(HELLO)
    assert editor.client.put(f"{URL}/{prompt['id']}/labels/production", {"version": 2}).status_code == 200
    new = [front.get(HELLO, HTTP_IF_NONE_MATCH=old.headers["ETag"]) for _ in range(2)]
    assert [(answer.status, b"Bye" in answer.content) for answer in new] == [(200, True), (200, True)]
    assert new[1].was_kept


def test_a_key_needs_the_scope_and_its_use_is_noted(kept, admin):
    may, may_not = Front(key_of(admin, "prompts:read")), Front(key_of(admin, "prompts:create"))
    for _ in range(2):
        assert [may.get(target).status for target in kept] == [200] * 4
        assert [may_not.get(target).status for target in kept] == [403] * 4
    assert may.get(HELLO).was_kept
    assert ApiKey.objects.filter(last_used_at__isnull=False).count() == 2


def test_the_use_of_a_key_is_noted_again_though_answers_are_kept(kept, admin):
    by_key = Front(key_of(admin, "prompts:read"))
    assert [by_key.get(HELLO).was_kept for _ in range(2)] == [False, True]
    ApiKey.objects.update(last_used_at=None)
    authentication._last_noted.clear()  # as after a minute
    assert by_key.get(HELLO).status == 200
    assert ApiKey.objects.get().last_used_at is not None
    assert by_key.get(HELLO).was_kept


def test_a_revoked_key_reads_nothing(kept, admin, django_capture_on_commit_callbacks):
    by_key = Front(key_of(admin, "prompts:read"))
    assert [by_key.get(HELLO).status for _ in range(2)] == [200, 200]
    assert by_key.get(HELLO).was_kept
    with django_capture_on_commit_callbacks(execute=True):
        assert admin.client.delete(f"/api/v1/api-keys/{ApiKey.objects.get().id}").status_code == 204
    assert by_key.get(HELLO).status == 401


@pytest.mark.parametrize("header", ["", "Bearer nonsense", "Basic abc", "Bearer", "Bearer eq_unknown", "Bearer é"])
def test_without_credential_or_with_a_bad_one(kept, front, header):
    assert front.get(HELLO, HTTP_AUTHORIZATION=header).status == 401


def test_a_forged_token_reads_nothing(kept, front, viewer):
    token = viewer.client.defaults["HTTP_AUTHORIZATION"]
    assert front.get(HELLO, HTTP_AUTHORIZATION=token[:-4] + "AAAA").status == 401


def test_a_member_who_left_reads_nothing(kept, front, viewer, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        Membership.objects.get(user=viewer.user).delete()
    assert front.get(HELLO).status == 401


def test_an_expired_token_reads_nothing(kept, front, monkeypatch):
    from apps.users import authentication

    late = authentication.time.time() + 3600
    monkeypatch.setattr(authentication.time, "time", lambda: late)
    assert front.get(HELLO).status == 401


def test_who_has_used_up_the_limit_is_told(kept, front, settings):
    settings.RATE_LIMITS = {**settings.RATE_LIMITS, "key": "2/h"}
    answers = [front.get(HELLO) for _ in range(4)]
    assert [answer.status for answer in answers] == [200, 200, 429, 429]
    assert answers[1].was_kept
    assert answers[1].headers["X-RateLimit-Remaining"] == "0"
    assert int(answers[3].headers["Retry-After"]) > 0


@pytest.mark.parametrize(
    ("more", "environ", "status"),
    [
        ("&x=1", {}, 400),
        ("&label=A%00", {}, 400),
        ("", {"HTTP_IF_NONE_MATCH": ""}, 400),
        ("", {"HTTP_IF_NONE_MATCH": "é"}, 400),
        ("", {"HTTP_HOST": "elsewhere.example"}, 400),
        ("", {"CONTENT_LENGTH": "100000000"}, 413),
        ("", {"HTTP_TRANSFER_ENCODING": "chunked"}, 400),
    ],
)
def test_what_django_refuses_is_refused(kept, front, more, environ, status):
    assert [front.get(HELLO + more, **environ).status for _ in range(2)] == [status, status]


def test_an_origin_is_answered_as_the_settings_say(kept, front, settings):
    settings.CORS_ALLOWED_ORIGINS = ["https://ours.example"]
    allowed = [front.get(HELLO, HTTP_ORIGIN=f"https://{name}.example").headers for name in ("ours", "other", "ours")]
    assert [headers.get("access-control-allow-origin") for headers in allowed] == [
        "https://ours.example",
        None,
        "https://ours.example",
    ]
    assert "access-control-allow-origin" not in front.get(HELLO).headers


def test_each_scheme_has_the_headers_of_its_own(kept, front, settings):
    settings.SECURE_SSL_REDIRECT, settings.SECURE_HSTS_SECONDS = True, 60
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    secure = [front.get(HELLO, HTTP_X_FORWARDED_PROTO="https") for _ in range(2)]
    assert [(answer.status, answer.was_kept) for answer in secure] == [(200, False), (200, True)]
    assert secure[1].headers["Strict-Transport-Security"] == "max-age=60"
    plain = [front.get(HELLO, HTTP_X_FORWARDED_PROTO="http") for _ in range(2)]
    assert [answer.status for answer in plain] == [301, 301]


def test_what_a_client_makes_long_is_not_remembered(kept, front):
    long = {"HTTP_X_FORWARDED_PROTO": "x" * 1100}
    assert [(answer.status, answer.was_kept) for answer in (front.get(HELLO, **long), front.get(HELLO, **long))] == [
        (200, False),
        (200, False),
    ]


def test_without_redis_the_view_answers(kept, front, redis_away):
    answers = [front.get(target) for target in kept]
    assert [(answer.status, answer.was_kept) for answer in answers] == [(200, False)] * 4


@pytest.mark.parametrize(
    ("method", "status"), [("HEAD", 200), ("OPTIONS", 200), ("POST", 405), ("PROPFIND", 405), ("get", 200)]
)
def test_other_methods_go_the_whole_way(kept, front, viewer, method, status):
    answer = front.ask(method, HELLO)
    whole_way = viewer.client.generic(method, HELLO)
    assert not answer.was_kept
    assert answer.status == whole_way.status_code
    assert method == "HEAD" or answer.content == whole_way.content  # the server leaves it out
    assert front.ask("DELETE", kept[1]).status == 403
