"""The http node against a server on loopback, and against what must not be called."""

import gzip
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from apps.models.providers.cancellation import Cancellation
from apps.workflows.nodes.base import NodeFailure, RunInfo
from everquant.network.address import parse_base_url
from everquant.network.hosts import is_listed
from tests.workflows.conftest import definition, template
from tests.workflows.nodes import Attempts

pytestmark = pytest.mark.django_db


class Handler(BaseHTTPRequestHandler):
    """Answers as its server's `answers` say for a path: (status, headers, body or a function that writes it)."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        length = int(self.headers.get("Content-Length", 0))
        self.server.requests.append((self.command, self.path, dict(self.headers), self.rfile.read(length)))
        status, headers, body = self.server.answers.get(self.path.partition("?")[0], (404, {}, b"none"))
        self.send_response(status)
        is_whole = isinstance(body, bytes)
        for name, value in {**headers, **({"Content-Length": len(body)} if is_whole else {})}.items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command == "HEAD":
            return
        if is_whole:
            self.wfile.write(body)
        else:
            body(self)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_GET  # noqa: N815 (the library's names)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.requests, server.answers, server.leave = [], {}, threading.Event()
    server.root = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=lambda: server.serve_forever(0.01), daemon=True).start()
    yield server
    server.leave.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def run(make_version, start):
    return start(make_version(definition([template("a")])))


@pytest.fixture
def attempts(run):
    return Attempts(RunInfo(run.id, run.organization_id, run.workflow_id, None, None))


@pytest.fixture
def allowed(organization, server, settings):
    """The server's address and port are on the list, and private addresses may be called."""
    settings.ALLOW_PRIVATE_WORKFLOW_URLS = True
    organization.http_hosts = [f"127.0.0.1:{server.server_port}"]
    organization.save()


def failure_of(attempts, config, **more) -> NodeFailure:
    with pytest.raises(NodeFailure) as caught:
        attempts.run("http", config, **more)
    return caught.value


def test_a_request_and_its_answer(attempts, run, server, allowed):
    server.answers["/a/b"] = (201, {"Content-Type": "application/json", "Set-Cookie": "s=1"}, b'{"n": "a\\u0000"}')
    config = {
        "method": "POST",
        "url": server.root + "/a/{{inputs.id}}?x=1",
        "query": {"q": "ä &=", "tag": ["a", 2], "none": None},
        "headers": {"authorization": "Bearer {{inputs.key}}"},
        "json": {"items": {"$ref": "inputs.items"}},
    }
    roots = {"inputs": {"id": "b", "key": "k1", "items": [1, None]}}
    result = attempts.run("http", config, roots=roots)
    assert result.output["status"] == 201
    assert result.output["body"] == {"n": "a\N{REPLACEMENT CHARACTER}"}
    assert result.output["headers"]["content-type"] == "application/json"
    assert "set-cookie" not in result.output["headers"]
    [(method, path, headers, body)] = server.requests
    assert (method, path) == ("POST", "/a/b?x=1&q=%C3%A4+%26%3D&tag=a&tag=2")
    assert body == b'{"items":[1,null]}'
    assert headers["Authorization"] == "Bearer k1"
    assert headers["Content-Type"] == "application/json"
    assert headers["Idempotency-Key"] == f"{run.id}:it:1"
    assert headers["X-EverQuant-Run"] == str(run.id)
    assert headers["Host"] == f"127.0.0.1:{server.server_port}"
    assert "Bearer" not in str(result.input)


@pytest.mark.parametrize(
    ("expect", "kind", "body", "output"),
    [
        ("auto", "application/problem+json; charset=utf-8", b"[1]", [1]),
        ("auto", "text/plain", b"[1]", "[1]"),
        ("auto", "application/json", b"{", "{"),
        ("auto", "", b"\xff\x00", "\N{REPLACEMENT CHARACTER}" * 2),
        ("text", "application/json", b"[1]", "[1]"),
        ("text", "text/plain; charset=iso-8859-1", b"\xe4", "ä"),
        ("json", "text/plain", b"[1]", [1]),
        ("json", "application/json", b"", None),
    ],
)
def test_what_the_body_becomes(attempts, server, allowed, expect, kind, body, output):
    server.answers["/"] = (200, {"Content-Type": kind}, body)
    assert attempts.run("http", {"url": server.root + "/", "expect": expect}).output["body"] == output


def test_an_answer_that_is_not_the_json_it_should_be_fails(attempts, server, allowed):
    server.answers["/"] = (200, {}, b"<html>")
    assert failure_of(attempts, {"url": server.root + "/", "expect": "json"}).code == "INVALID_RESPONSE"
    server.answers["/"] = (200, {}, b"[" * 100 + b"]" * 100)
    assert failure_of(attempts, {"url": server.root + "/", "expect": "json"}).code == "INVALID_OUTPUT"


@pytest.mark.parametrize("status", [400, 404, 408, 409, 425, 429, 500, 503])
def test_failures_say_whether_another_attempt_may_succeed(attempts, server, allowed, status):
    server.answers["/"] = (status, {"Retry-After": "7"}, b"why")
    failure = failure_of(attempts, {"url": server.root + "/"})
    assert failure.code == f"HTTP_{status}"
    assert "why" in failure.message
    assert failure.is_retryable is (status not in {400, 404, 409})
    assert failure.retry_after_s == 7
    assert failure.input["url"] == server.root + "/"
    assert attempts.run("http", {"url": server.root + "/", "ok_status": [status]}).output["status"] == status


def test_redirects_are_not_followed(attempts, server, allowed):
    server.answers["/"] = (302, {"Location": "http://169.254.169.254/latest/meta-data"}, b"")
    assert failure_of(attempts, {"url": server.root + "/"}).code == "HTTP_302"
    output = attempts.run("http", {"url": server.root + "/", "ok_status": [302]}).output
    assert output["headers"]["location"] == "http://169.254.169.254/latest/meta-data"
    assert len(server.requests) == 2


def test_nothing_may_be_called_unless_it_is_allowed(attempts, server, settings):
    settings.ALLOW_PRIVATE_WORKFLOW_URLS = True
    assert failure_of(attempts, {"url": server.root + "/"}).code == "HOST_NOT_ALLOWED"
    assert server.requests == []


def test_private_addresses_are_refused_also_when_they_are_listed(attempts, server, allowed, settings):
    settings.ALLOW_PRIVATE_WORKFLOW_URLS = False
    assert failure_of(attempts, {"url": server.root + "/"}).code == "BLOCKED_ADDRESS"
    assert server.requests == []


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST"])
def test_names_that_lead_to_private_addresses_are_refused(attempts, organization, server, host):
    organization.http_hosts = [f"localhost:{server.server_port}"]
    organization.save()
    failure = failure_of(attempts, {"url": f"http://{host}:{server.server_port}/"})
    assert (failure.code, failure.is_retryable) == ("BLOCKED_ADDRESS", False)
    assert server.requests == []


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://allowed.example.com@evil.example/", "INVALID_URL"),
        ("http://allowed.example.com:80@evil.example/", "INVALID_URL"),
        ("http://evil.example/#@allowed.example.com", "INVALID_URL"),
        ("http://evil.example\\@allowed.example.com/", "INVALID_URL"),
        ("http://allowed.example.com\r\nX: y/", "INVALID_URL"),
        ("http://allowed.example.com\x00.evil.example/", "INVALID_URL"),
        ("file:///etc/passwd", "INVALID_URL"),
        ("//allowed.example.com/", "INVALID_URL"),
        ("http://allowed.example.com.evil.example/", "HOST_NOT_ALLOWED"),
        ("http://notallowed.example.com/", "HOST_NOT_ALLOWED"),
        ("http://allowed.example.com:8080/", "HOST_NOT_ALLOWED"),
        ("http://example.org/", "HOST_NOT_ALLOWED"),
        ("http://2130706433/", "HOST_NOT_ALLOWED"),
        ("http://[::ffff:127.0.0.1]/", "HOST_NOT_ALLOWED"),
        ("http://169.254.169.254/latest", "HOST_NOT_ALLOWED"),
    ],
)
def test_urls_that_pretend(attempts, organization, url, code):
    organization.http_hosts = ["allowed.example.com", "*.example.org"]
    organization.save()
    assert failure_of(attempts, {"url": "{{inputs.url}}"}, roots={"inputs": {"url": url}}).code == code


@pytest.mark.parametrize(
    ("pattern", "url", "is_allowed"),
    [
        ("api.example.com", "https://api.example.com/a", True),
        ("api.example.com", "https://API.example.com.:443/", True),
        ("api.example.com", "https://api.example.com:8443/", False),
        ("api.example.com", "http://api.example.com:443/", False),
        ("api.example.com:8443", "https://api.example.com:8443/", True),
        ("*.example.com", "https://a.b.example.com/", True),
        ("*.example.com", "https://example.com/", False),
        ("*.example.com", "https://aexample.com/", False),
        ("[2001:db8::1]:8080", "http://[2001:db8::1]:8080/", True),
        ("[2001:db8::1]", "http://[2001:db8::1]/", True),
    ],
)
def test_patterns_of_hosts(pattern, url, is_allowed):
    assert is_listed(parse_base_url(url), [pattern]) is is_allowed


@pytest.mark.parametrize(
    "host",
    [
        "",
        "*",
        "*.com",
        "a.*.com",
        "http://a.com",
        "a.com/x",
        "A.com",
        "a.com:0",
        "a.com:",
        "a b",
        "a.com\n",
        "-a.com",
        5,
    ],
)
def test_lists_of_hosts_hold_only_hosts(admin, host):
    response = admin.client.patch("/api/v1/organizations/current", {"http_hosts": [host]})
    assert response.status_code == 400
    assert "http_hosts.0" in response.json()["error"]["details"]


def test_the_list_of_hosts_is_the_admins(admin, editor, organization):
    body = {"http_hosts": ["api.example.com", "*.example.org:8443", "api.example.com"]}
    assert editor.client.patch("/api/v1/organizations/current", body).status_code == 403
    assert admin.client.patch("/api/v1/organizations/current", body).status_code == 200
    organization.refresh_from_db()
    assert organization.http_hosts == ["api.example.com", "*.example.org:8443"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"content-length": "5"},
        {"Transfer-Encoding": "chunked"},
        {"X-EverQuant-Run": "x"},
        {"Idempotency-Key": "mine"},
        {"a": "b\r\nHost: evil"},
        {"a": "\N{SNOWMAN}"},
        {"a b": "c"},
        {"": "c"},
    ],
)
def test_headers_that_are_not_the_users(attempts, server, allowed, headers):
    failure = failure_of(
        attempts, {"url": server.root + "/", "headers": {"$ref": "inputs.h"}}, roots={"inputs": {"h": headers}}
    )
    assert failure.code == "INVALID_CONFIG"
    assert server.requests == []


def test_an_answer_has_a_largest_size(attempts, server, allowed):
    server.answers["/"] = (200, {}, b"x" * 1001)
    assert failure_of(attempts, {"url": server.root + "/", "max_bytes": 1000}).code == "TOO_LARGE"
    assert len(attempts.run("http", {"url": server.root + "/", "max_bytes": 1001}).output["body"]) == 1001


def test_a_small_answer_that_unpacks_to_a_large_one_is_refused(attempts, server, allowed):
    server.answers["/"] = (200, {"Content-Encoding": "gzip"}, gzip.compress(b"0" * 20_000_000))
    assert failure_of(attempts, {"url": server.root + "/"}).code == "TOO_LARGE"


def test_a_server_that_drips_is_left_at_the_deadline(attempts, server, allowed):
    def drip(handler):
        while not server.leave.wait(0.02):
            handler.wfile.write(b"x")

    server.answers["/"] = (200, {"Content-Length": 1000}, drip)
    began = time.monotonic()
    failure = failure_of(attempts, {"url": server.root + "/"}, seconds=0.3)
    assert (failure.code, failure.is_retryable) == ("TIMEOUT", True)
    assert time.monotonic() - began < 2


def test_a_server_that_says_nothing_is_left_when_the_run_is_cancelled(attempts, server, allowed):
    cancellation, reached = Cancellation(), threading.Event()

    def stall(handler):
        reached.set()
        server.leave.wait(10)

    server.answers["/"] = (200, {"Content-Length": 1000}, stall)

    def cancel():
        reached.wait(5)
        cancellation.request()

    threading.Thread(target=cancel).start()
    began = time.monotonic()
    failure = failure_of(attempts, {"url": server.root + "/"}, cancellation=cancellation)
    assert (failure.code, failure.is_retryable) == ("CANCELLED", False)
    assert time.monotonic() - began < 3


def test_nobody_there(attempts, server, allowed, organization):
    organization.http_hosts = ["127.0.0.1:1"]
    organization.save()
    failure = failure_of(attempts, {"url": "http://127.0.0.1:1/"})
    assert (failure.code, failure.is_retryable) == ("CONNECTION", True)


@pytest.mark.parametrize(
    ("config", "code"),
    [
        ({"json": "{{inputs.big}}"}, "TOO_LARGE"),
        ({"body": "{{inputs.big}}"}, "TOO_LARGE"),
        ({"query": "{{inputs.text}}"}, "INVALID_CONFIG"),
        ({"headers": {f"h{number}": "a" for number in range(51)}}, "INVALID_CONFIG"),
    ],
)
def test_what_is_too_large_or_of_another_type_is_not_sent(attempts, server, allowed, config, code):
    roots = {"inputs": {"big": "ä" * 2_600_000, "text": "x"}}
    assert failure_of(attempts, {"url": server.root + "/", **config}, roots=roots).code == code
    assert server.requests == []
