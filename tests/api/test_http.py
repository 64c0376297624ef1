"""Envelope, errors, paging, conditions, idempotency, limits and logs, as a client meets them."""

import json
from concurrent.futures import ThreadPoolExecutor

import orjson
import pytest
from django.db import connection
from django.test import Client
from rest_framework.test import APIClient

from apps.prompts.models import Prompt
from everquant.api.models import IdempotencyKey
from everquant.db import uuid7

pytestmark = pytest.mark.django_db

PROMPT = {"slug": "hello", "name": "Hello", "type": "text", "content": "Hello, {{name}}!"}


def create(person, **changes):
    return person.client.post("/api/v1/prompts", {**PROMPT, **changes})


def check_error(response, status, code):
    """The error of an answer that must have this status and code in the envelope."""
    assert response.status_code == status, response.content
    body = orjson.loads(response.content)
    assert body["success"] is False
    assert body["error"]["code"] == code
    assert isinstance(body["error"]["details"], dict)
    return body["error"]


class TestEnvelope:
    def test_an_object_is_in_data_without_meta(self, editor):
        body = create(editor).json()
        assert body["success"] is True
        assert body["data"]["slug"] == "hello"
        assert "meta" not in body

    def test_a_list_has_meta(self, editor):
        for number in range(3):
            create(editor, slug=f"p{number}")
        body = editor.client.get("/api/v1/prompts", {"per_page": 2, "page": 2}).json()
        assert body["meta"] == {"page": 2, "per_page": 2, "total": 3, "total_pages": 2}
        assert len(body["data"]) == 1

    @pytest.mark.parametrize("path", ["/api/v1/nothing", "/api", "/api/v2/prompts", "/api/v1/prompts/not-a-uuid"])
    def test_an_unknown_path_is_a_json_404(self, editor, path):
        check_error(editor.client.get(path), 404, "NOT_FOUND")

    def test_an_unknown_path_elsewhere_is_not_json(self, client):
        response = client.get("/nothing")
        assert response.status_code == 404
        assert "json" not in response["Content-Type"]

    def test_a_wrong_method_is_405_and_says_what_is_allowed(self, editor):
        response = editor.client.delete("/api/v1/prompts")
        check_error(response, 405, "METHOD_NOT_ALLOWED")
        assert set(response["Allow"].replace(" ", "").split(",")) >= {"GET", "POST"}

    def test_without_a_credential_it_is_401_with_a_challenge(self, anonymous):
        response = anonymous.get("/api/v1/prompts")
        check_error(response, 401, "UNAUTHORIZED")
        assert response["WWW-Authenticate"] == "Bearer"

    def test_a_crash_is_a_json_500_with_the_request_id_and_nothing_of_the_inside(self, editor):
        create(editor)
        with connection.cursor() as cursor:
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
            cursor.execute("ALTER TABLE prompts_prompt RENAME COLUMN description TO secret_inside")
        response = editor.client.get("/api/v1/prompts")
        error = check_error(response, 500, "INTERNAL_SERVER_ERROR")
        assert error["request_id"] == response["X-Request-ID"]
        assert "secret_inside" not in response.content.decode()
        assert "prompts_prompt" not in response.content.decode()


class TestBodies:
    @pytest.mark.parametrize(
        "body",
        [b"{", b"[1,2]", b'"text"', b"null", b"\xff\xfe", b'{"slug": "a", }', b'{"name": "\\ud800"}', b"[" * 3000],
    )
    def test_what_is_no_json_object_is_a_400(self, editor, body):
        response = editor.client.generic("POST", "/api/v1/prompts", body, content_type="application/json")
        check_error(response, 400, "BAD_REQUEST")
        assert Prompt.objects.count() == 0

    @pytest.mark.parametrize(
        ("changes", "path"),
        [
            ({"name": 7}, "name"),
            ({"name": "x" * 201}, "name"),
            ({"name": "a\x00b"}, "name"),
            ({"slug": "Not A Slug"}, "slug"),
            ({"colour": "red"}, "colour"),
            ({"tags": "one"}, "tags"),
            ({"type": "novel"}, "type"),
            ({"content": "{{"}, "content"),
            ({"model_id": "not-a-uuid"}, "model_id"),
            ({"model_id": str(uuid7())}, "model_id"),
            ({"parameters": []}, "parameters"),
            ({"id": str(uuid7())}, "id"),
        ],
    )
    def test_a_wrong_field_is_named(self, editor, changes, path):
        error = check_error(create(editor, **changes), 400, "BAD_REQUEST")
        assert any(name.split(".")[0] == path for name in error["details"]), error
        assert Prompt.objects.count() == 0

    def test_a_large_body_is_413(self, editor, settings):
        body = json.dumps({**PROMPT, "content": "x" * 10_000_000})
        response = editor.client.generic("POST", "/api/v1/prompts", body, content_type="application/json")
        check_error(response, 413, "PAYLOAD_TOO_LARGE")

    def test_another_media_type_is_415(self, editor):
        response = editor.client.generic("POST", "/api/v1/prompts", "a=b", content_type="text/plain")
        check_error(response, 415, "UNSUPPORTED_MEDIA_TYPE")

    def test_a_body_of_unknown_length_is_refused(self, editor):
        response = editor.client.generic(
            "POST", "/api/v1/prompts", b"", content_type="application/json", HTTP_TRANSFER_ENCODING="chunked",
            CONTENT_LENGTH="",
        )  # fmt: skip
        check_error(response, 400, "BAD_REQUEST")


class TestQueryParameters:
    @pytest.mark.parametrize(
        ("query", "path"),
        [
            ({"colour": "red"}, "colour"),
            ({"page": "0"}, "page"),
            ({"page": "-1"}, "page"),
            ({"page": "x"}, "page"),
            ({"page": "99999999999999999999"}, "page"),
            ({"per_page": "101"}, "per_page"),
            ({"ordering": "password"}, "ordering"),
            ({"search": "a\x00"}, "search"),
            ({"search": "x" * 1001}, "search"),
            ({"type": "novel"}, "type"),
        ],
    )
    def test_what_is_wrong_is_named(self, editor, query, path):
        error = check_error(editor.client.get("/api/v1/prompts", query), 400, "BAD_REQUEST")
        assert path in error["details"]

    def test_a_repeated_parameter_is_refused(self, editor):
        error = check_error(editor.client.get("/api/v1/prompts?page=1&page=2"), 400, "BAD_REQUEST")
        assert "page" in error["details"]

    def test_a_page_beyond_the_last_is_empty(self, editor):
        create(editor)
        body = editor.client.get("/api/v1/prompts", {"page": 10_000}).json()
        assert body["data"] == []
        assert body["meta"]["total"] == 1


class TestConditions:
    def test_if_none_match_gives_304_until_the_object_changes(self, editor):
        created = create(editor)
        path = f"/api/v1/prompts/{created.json()['data']['id']}"
        etag = editor.client.get(path)["ETag"]
        unchanged = editor.client.get(path, HTTP_IF_NONE_MATCH=etag)
        assert (unchanged.status_code, unchanged.content) == (304, b"")
        editor.client.patch(path, {"name": "New"})
        changed = editor.client.get(path, HTTP_IF_NONE_MATCH=etag)
        assert changed.status_code == 200
        assert changed["ETag"] != etag

    def test_if_match_guards_put_patch_and_delete(self, admin):
        created = create(admin)
        path = f"/api/v1/prompts/{created.json()['data']['id']}"
        old = admin.client.get(path)["ETag"]
        changed = admin.client.patch(path, {"name": "New"}, HTTP_IF_MATCH=old)
        assert changed.status_code == 200
        assert changed["ETag"] == admin.client.get(path)["ETag"]
        for write in (
            lambda: admin.client.patch(path, {"name": "Newer"}, HTTP_IF_MATCH=old),
            lambda: admin.client.put(path, PROMPT, HTTP_IF_MATCH=old),
            lambda: admin.client.delete(path, HTTP_IF_MATCH=old),
        ):
            check_error(write(), 412, "PRECONDITION_FAILED")
        assert Prompt.objects.get().name == "New"
        assert admin.client.delete(path, HTTP_IF_MATCH=changed["ETag"]).status_code == 204


class TestIdempotency:
    def post(self, person, key, **changes):
        return person.client.post("/api/v1/prompts", {**PROMPT, **changes}, HTTP_IDEMPOTENCY_KEY=key)

    def test_a_repetition_is_answered_and_not_done(self, editor):
        first, again = self.post(editor, "k1"), self.post(editor, "k1")
        assert first.status_code == again.status_code == 201
        assert again.content == first.content
        assert again["Location"] == first["Location"]
        assert again["ETag"] == first["ETag"]
        assert again["Idempotent-Replayed"] == "true"
        assert Prompt.objects.count() == 1

    def test_the_same_key_with_another_request_is_409(self, editor):
        self.post(editor, "k1")
        check_error(self.post(editor, "k1", name="Other"), 409, "CONFLICT")
        assert Prompt.objects.count() == 1

    def test_a_failure_frees_the_key(self, editor):
        check_error(self.post(editor, "k1", slug="Not A Slug"), 400, "BAD_REQUEST")
        assert IdempotencyKey.objects.count() == 0
        assert self.post(editor, "k1").status_code == 201

    def test_keys_of_others_do_not_meet(self, editor, outsider):
        assert self.post(editor, "k1").status_code == 201
        assert self.post(outsider, "k1").status_code == 201

    @pytest.mark.parametrize("key", ["", "a b", "é", "x" * 256])
    def test_a_key_that_is_none_is_named(self, editor, key):
        error = check_error(self.post(editor, key), 400, "BAD_REQUEST")
        assert "Idempotency-Key" in error["details"]

    def test_the_kept_answer_is_not_readable_in_the_database(self, admin):
        response = admin.client.post(
            "/api/v1/api-keys", {"name": "ci", "scopes": ["prompts:read"]}, HTTP_IDEMPOTENCY_KEY="k1"
        )
        assert response.status_code == 201, response.content
        secret = next(v for v in response.json()["data"].values() if isinstance(v, str) and v.startswith("eq_"))
        assert secret.encode() not in bytes(IdempotencyKey.objects.get().body)


@pytest.mark.django_db(transaction=True)
def test_many_equal_requests_at_once_are_one(editor):
    token = editor.client._credentials or editor.client.defaults

    def post(_: int) -> tuple[int, bytes]:
        client = APIClient(HTTP_AUTHORIZATION=token["HTTP_AUTHORIZATION"])
        try:
            response = client.post("/api/v1/prompts", PROMPT, HTTP_IDEMPOTENCY_KEY="once")
            return response.status_code, response.content
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(post, range(16)))
    assert {status for status, _ in answers} == {201}
    assert len({content for _, content in answers}) == 1
    assert Prompt.objects.count() == 1


class TestLimits:
    def test_headers_tell_the_tightest_limit(self, editor, settings):
        settings.RATE_LIMITS = {**settings.RATE_LIMITS, "key": "5/m", "organization": "100/m"}
        response = editor.client.get("/api/v1/prompts")
        assert response["X-RateLimit-Limit"] == "5"
        assert response["X-RateLimit-Remaining"] == "4"
        assert int(response["X-RateLimit-Reset"]) > 0

    def test_over_the_limit_is_429_with_retry_after(self, editor, viewer, settings):
        settings.RATE_LIMITS = {**settings.RATE_LIMITS, "key": "2/m"}
        statuses = [editor.client.get("/api/v1/prompts").status_code for _ in range(3)]
        assert statuses == [200, 200, 429]
        response = editor.client.get("/api/v1/prompts")
        check_error(response, 429, "RATE_LIMITED")
        assert 1 <= int(response["Retry-After"]) <= 60
        assert viewer.client.get("/api/v1/prompts").status_code == 200

    def test_the_organization_is_limited_in_all(self, editor, viewer, outsider, settings):
        settings.RATE_LIMITS = {**settings.RATE_LIMITS, "organization": "2/m"}
        statuses = [person.client.get("/api/v1/prompts").status_code for person in (editor, viewer, editor)]
        assert statuses == [200, 200, 429]
        assert outsider.client.get("/api/v1/prompts").status_code == 200

    def test_refused_credentials_are_limited_by_address(self, settings):
        settings.RATE_LIMITS = {**settings.RATE_LIMITS, "anonymous": "3/m"}
        guesser = APIClient(HTTP_AUTHORIZATION="Bearer eq_guess")
        assert [guesser.get("/api/v1/prompts").status_code for _ in range(4)] == [401, 401, 401, 429]

    def test_forwarded_addresses_count_only_behind_trusted_proxies(self, anonymous, settings):
        settings.RATE_LIMITS = {**settings.RATE_LIMITS, "anonymous": "1/m"}

        def get(address: str) -> int:
            return anonymous.get("/api/v1/prompts", HTTP_X_FORWARDED_FOR=address).status_code

        assert [get("203.0.113.1"), get("203.0.113.2")] == [401, 429]
        settings.TRUSTED_PROXIES = 1
        assert [get("203.0.113.9, 203.0.113.3"), get("203.0.113.9, 203.0.113.4")] == [401, 401]
        assert get("198.51.100.1, 203.0.113.4") == 429

    def test_without_redis_requests_pass_and_it_is_told(self, editor, settings, redis_away, capsys):
        settings.RATE_LIMITS = {**settings.RATE_LIMITS, "key": "1/m"}
        assert [editor.client.get("/api/v1/prompts").status_code for _ in range(3)] == [200, 200, 200]
        told = capsys.readouterr().out
        assert "rate_limit_fail_open" in told
        assert "No such file or directory" in told


class TestRequests:
    def test_a_request_id_is_taken_or_made(self, editor):
        assert editor.client.get("/api/v1/prompts", HTTP_X_REQUEST_ID="abc-1")["X-Request-ID"] == "abc-1"
        made = {
            editor.client.get("/api/v1/prompts", HTTP_X_REQUEST_ID=bad)["X-Request-ID"] for bad in ("", "a b", "x" * 65)
        }
        assert len(made) == 3
        assert all(len(request_id) == 36 for request_id in made)

    def test_each_request_is_one_json_line(self, editor, capsys):
        editor.client.get("/api/v1/prompts?search=x", HTTP_USER_AGENT="tests \udcff", HTTP_X_REQUEST_ID="line-1")
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if '"line-1"' in line]
        assert len(lines) == 1
        line = lines[0]
        assert (line["method"], line["path"], line["status"]) == ("GET", "/api/v1/prompts", 200)
        assert line["user"] == str(editor.user.id)
        assert line["organization"] == str(editor.organization.id)
        assert line["client_ip"] == "127.0.0.1"
        assert line["latency_ms"] > 0

    def test_no_credential_is_ever_logged(self, editor, capsys):
        header = editor.client.defaults.get("HTTP_AUTHORIZATION") or editor.client._credentials["HTTP_AUTHORIZATION"]
        editor.client.get("/api/v1/prompts")
        APIClient(HTTP_AUTHORIZATION="Bearer eq_verysecret").get("/api/v1/prompts")
        output = capsys.readouterr()
        assert header.split()[1] not in output.out + output.err
        assert "verysecret" not in output.out + output.err


class TestCors:
    def test_a_listed_origin_may_read_and_preflight(self, client, settings):
        settings.CORS_ALLOWED_ORIGINS = ["https://app.example"]
        response = client.options(
            "/api/v1/prompts",
            HTTP_ORIGIN="https://app.example",
            HTTP_ACCESS_CONTROL_REQUEST_METHOD="POST",
            HTTP_ACCESS_CONTROL_REQUEST_HEADERS="authorization,idempotency-key,if-match",
        )
        assert response.status_code == 200
        assert response["Access-Control-Allow-Origin"] == "https://app.example"
        assert "idempotency-key" in response["Access-Control-Allow-Headers"]

    def test_another_origin_may_not(self, client, settings):
        settings.CORS_ALLOWED_ORIGINS = ["https://app.example"]
        response = client.get("/api/v1/prompts", HTTP_ORIGIN="https://evil.example")
        assert "Access-Control-Allow-Origin" not in response


class TestHealth:
    def test_alive_without_anything(self, client, redis_away):
        assert client.get("/healthz").json() == {"status": "ok"}

    def test_ready_tells_of_each_part(self, client):
        body = client.get("/readyz").json()
        assert body["checks"]["database"] == body["checks"]["migrations"] == body["checks"]["cache"] == {"ok": True}
        assert body["checks"]["worker"]["ok"] is False
        assert "worker" in body["checks"]["worker"]["reason"]

    def test_ready_without_redis_but_saying_so(self, client, redis_away):
        response = client.get("/readyz")
        assert response.status_code == 200
        assert response.json()["checks"]["cache"]["ok"] is False

    def test_metrics_count_requests_by_route(self, editor, client):
        editor.client.get("/api/v1/prompts")
        text = client.get("/metrics").content.decode()
        assert 'everquant_http_request_seconds_count{method="GET",route="api/v1/prompts",status="200"}' in text

    def test_hosts_that_are_not_ours_are_refused(self):
        assert Client(HTTP_HOST="evil.example").get("/api/v1/prompts").status_code == 400
