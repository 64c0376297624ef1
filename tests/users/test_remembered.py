"""Reads that are answered ahead of their view refuse whatever the view refuses."""

import json

import pytest
from prometheus_client import REGISTRY

from apps.users.models import ApiKey, Membership
from tests.prompts.conftest import URL
from tests.users.test_api_keys import key_of

pytestmark = pytest.mark.django_db

HELLO = f"{URL}/by-slug/hello?label=production"


@pytest.fixture
def prompt(editor):
    body = {"slug": "hello", "name": "Hello", "type": "text", "content": "Hello, {{name}}!"}
    prompt = editor.client.post(URL, body).json()["data"]
    assert editor.client.put(f"{URL}/{prompt['id']}/labels/production", {"version": 1}).status_code == 200
    return prompt


@pytest.fixture
def kept(prompt, viewer):
    """The answers to these targets are kept from here on."""
    targets = [HELLO, f"{URL}/{prompt['id']}", f"{URL}?per_page=5", f"{URL}/bundle"]
    for target in targets:
        assert viewer.client.get(target).status_code == 200
    return targets


def test_a_kept_answer_is_the_views_answer(kept, viewer, editor, django_assert_num_queries):
    for target in kept:
        first = editor.client.get(target)
        with django_assert_num_queries(0):
            again = viewer.client.get(target)
        assert (again.status_code, again.content, again.headers["ETag"]) == (200, first.content, first.headers["ETag"])
        assert again.headers["Content-Type"] == "application/json"
        assert int(again.headers["X-RateLimit-Remaining"]) < int(again.headers["X-RateLimit-Limit"])
        unchanged = viewer.client.get(target, HTTP_IF_NONE_MATCH=again.headers["ETag"])
        assert (unchanged.status_code, unchanged.content) == (304, b"")
        assert {*unchanged.headers, "Allow"} == {*first.headers, "Allow"}
        assert viewer.client.get(target, HTTP_IF_NONE_MATCH='"other"').content == first.content


def test_each_read_is_counted_once_and_logged_with_its_reader(kept, viewer, capsys):
    before, after = (int(viewer.client.get(HELLO).headers["X-RateLimit-Remaining"]) for _ in range(2))
    assert before - after == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "/by-slug/hello" in line]
    assert {(line["user"], line["status"]) for line in lines} == {(str(viewer.user.id), 200)}


def test_a_kept_answer_is_measured_under_its_route(kept, viewer):
    def measured():
        labels = {"method": "GET", "route": "api/v1/prompts/by-slug/<path:slug>", "status": "200"}
        return REGISTRY.get_sample_value("everquant_http_request_seconds_count", labels)

    before = measured()
    assert viewer.client.get(HELLO).status_code == 200
    assert measured() == before + 1


def test_others_read_their_own(kept, outsider):
    for target in kept[:2]:
        assert outsider.client.get(target).status_code == 404
    assert outsider.client.get(kept[2]).json()["data"] == []
    assert outsider.client.get(kept[3]).json()["data"]["prompts"] == {}


def test_a_key_needs_the_scope(kept, admin):
    may, may_not = key_of(admin, "prompts:read"), key_of(admin, "prompts:create")
    for _ in range(2):
        assert [may.get(target).status_code for target in kept] == [200] * 4
        assert [may_not.get(target).status_code for target in kept] == [403] * 4


def test_a_revoked_key_reads_nothing(kept, admin, django_capture_on_commit_callbacks):
    by_key = key_of(admin, "prompts:read")
    assert [by_key.get(HELLO).status_code for _ in range(2)] == [200, 200]
    assert admin.client.delete(f"/api/v1/api-keys/{ApiKey.objects.get().id}").status_code == 204
    assert by_key.get(HELLO).status_code == 401


def test_without_credential_or_with_a_bad_one(kept, anonymous, viewer):
    assert anonymous.get(HELLO).status_code == 401
    for header in ("Bearer nonsense", "Basic abc", "Bearer", "Bearer eq_unknown"):
        assert anonymous.get(HELLO, HTTP_AUTHORIZATION=header).status_code == 401
    token = viewer.client.defaults["HTTP_AUTHORIZATION"]
    assert anonymous.get(HELLO, HTTP_AUTHORIZATION=token[:-4] + "AAAA").status_code == 401


def test_a_member_who_left_reads_nothing(kept, viewer, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        Membership.objects.get(user=viewer.user).delete()
    assert viewer.client.get(HELLO).status_code == 401


def test_an_expired_token_reads_nothing(kept, viewer, settings, monkeypatch):
    from apps.users import authentication

    late = authentication.time.time() + 3600
    monkeypatch.setattr(authentication.time, "time", lambda: late)
    assert viewer.client.get(HELLO).status_code == 401


def test_who_has_used_up_the_limit_is_told(kept, viewer, settings):
    settings.RATE_LIMITS = {**settings.RATE_LIMITS, "key": "2/h"}
    statuses = [viewer.client.get(HELLO).status_code for _ in range(4)]
    assert statuses == [200, 200, 429, 429]


@pytest.mark.parametrize(
    ("more", "headers"),
    [("&x=1", {}), ("&label=A%00", {}), ("", {"HTTP_IF_NONE_MATCH": ""}), ("", {"HTTP_IF_NONE_MATCH": "é"})],
)
def test_what_the_view_refuses_is_refused(kept, viewer, more, headers):
    assert viewer.client.get(HELLO + more, **headers).status_code == 400


def test_without_redis_the_view_answers(kept, viewer, redis_away):
    assert [viewer.client.get(target).status_code for target in kept] == [200] * 4


def test_other_methods_go_to_the_view(kept, viewer):
    assert viewer.client.delete(kept[1]).status_code == 403
    assert viewer.client.post(kept[2], {}).status_code == 403
    assert viewer.client.head(HELLO).status_code in {200, 405}
