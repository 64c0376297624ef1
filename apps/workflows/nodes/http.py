"""One request to an allowed host."""

import re
from collections.abc import Mapping
from email.message import Message
from typing import Any, ClassVar
from urllib.parse import urlencode

import orjson
from urllib3.util import Url

from apps.organizations.models import Organization
from apps.prompts.rendering.values import to_text
from apps.workflows.nodes import fields
from apps.workflows.nodes.base import NodeCall, NodeFailure, NodeKind, Result
from apps.workflows.nodes.repeating import stable_key
from apps.workflows.nodes.requesting import Answer, Request, request
from apps.workflows.nodes.resolving import resolved, resolved_object, resolved_text, storable
from everquant.db import release_connection
from everquant.network.address import parse_base_url
from everquant.network.connections import retry_after_s
from everquant.network.hosts import is_listed

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD")
MAX_BYTES = 10_000_000
DEFAULT_MAX_BYTES = 1_000_000
MAX_SENT_BYTES = 5_000_000
MAX_URL = 4_000
MAX_HEADERS = 50
MAX_HEADER = 8_000
LONGEST_S = 300.0
TOLD_CHARS = 200
HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_UNPRINTABLE = re.compile(r"[^\t\x20-\x7e\x80-\xff]")
# What the connection says for itself, and what would let a request say two things.
RESERVED_HEADERS = frozenset(
    {
        "accept-encoding", "connection", "content-length", "expect", "host", "idempotency-key", "keep-alive",
        "proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "x-everquant-run",
    }
)  # fmt: skip
ANSWERED_HEADERS = (
    "content-language", "content-location", "content-type", "date", "etag", "last-modified", "link", "location",
    "retry-after", "x-request-id",
)  # fmt: skip
_RETRYABLE = frozenset({408, 425, 429, *range(500, 600)})
_SUCCESS = range(200, 300)
_FIELDS: dict[str, Any] = {
    "method": fields.choice(*METHODS, description="How.", default="GET"),
    "url": fields.value_of(description="Absolute, http or https, to a host that the organization allows."),
    "headers": fields.value_of(description="By name."),
    "query": fields.value_of(description="Added to the URL, by name; a list gives a name several times."),
    "json": fields.value("The body, sent as JSON; or `body`."),
    "body": fields.value_of(description="The body, sent as text."),
    "expect": fields.choice(
        "json",
        "text",
        "auto",
        description="What the answer's body becomes; auto: JSON where its content type says so.",
        default="auto",
    ),
    "ok_status": {
        "type": "array",
        "description": "Which answers are no failure; without it 200 to 299.",
        "items": {"type": "integer", "minimum": 100, "maximum": 599},
        "minItems": 1,
        "maxItems": 100,
    },
    "max_bytes": fields.whole(1, MAX_BYTES, "A longer answer fails the node.", DEFAULT_MAX_BYTES),
}


class Http(NodeKind):
    """Output: `{"status", "headers", "body"}`; an empty body is null."""

    kind = "http"
    config_schema: ClassVar[dict[str, Any]] = fields.config(
        "One request to a host that the organization allows. Redirects are answers.", _FIELDS, "url"
    )

    def check(self, config: Mapping[str, Any]) -> list[tuple[str, str, str]]:
        problems = []
        if "json" in config and "body" in config:
            problems.append(("INVALID_CONFIG", "Either json or body.", "body"))
        try:
            if not fields.has_placeholder(config["url"]):
                _url(to_text(config["url"]))
        except ValueError as problem:
            problems.append(("INVALID_CONFIG", str(problem), "url"))
        headers = config.get("headers")
        names = headers if isinstance(headers, dict) and "$ref" not in headers else ()
        wrong = {name: why for name in names if (why := header_problem(name))}
        return problems + [("INVALID_CONFIG", f"{name[:100]}: {why}", "headers") for name, why in wrong.items()]

    def run(self, call: NodeCall) -> Result:
        url, query = resolved_text(call, "url"), resolved_object(call, "query")
        said: dict[str, Any] = {"method": call.config.get("method", "GET"), "url": url[:MAX_URL]}
        said |= {"query": query} if query else {}
        said |= {key: resolved(call, key) for key in ("json", "body") if key in call.config}
        try:
            wanted = _request(call, url, query, said)
            _check_host(call, wanted.url)
            release_connection()
            total_s = min(call.seconds_left(), LONGEST_S)
            answer = request(wanted, total_s=total_s, cancellation=call.cancellation)
            return Result(_output(call.config, answer), input=said)
        except NodeFailure as failure:
            failure.input = said
            raise


def header_problem(name: str) -> str | None:
    if not HEADER_NAME.fullmatch(name):
        return "This is not the name of a header."
    return "This header is not yours to set." if name.lower() in RESERVED_HEADERS else None


def _url(text: str) -> Url:
    """Raises ValueError."""
    return parse_base_url(text, with_query=True, longest=MAX_URL)


def _request(call: NodeCall, url: str, query: dict[str, Any], said: Mapping[str, Any]) -> Request:
    try:
        parts = _url(url)
    except ValueError as problem:
        raise NodeFailure("INVALID_URL", f"url: {problem}") from None
    if query:
        given = [(name, value) for name, value in query.items() if value is not None]
        pairs = [(name, one) for name, value in given for one in (value if isinstance(value, list) else [value])]
        added = urlencode([(name, to_text(one)) for name, one in pairs])
        parts = parts._replace(query="&".join(part for part in (parts.query, added) if part) or None)
    body, content_type = _body(said)
    headers = {"User-Agent": "everquant", **content_type, **_headers(call)}
    headers |= {"Idempotency-Key": stable_key(call), "X-EverQuant-Run": str(call.run.id)}
    return Request(said["method"], parts, headers, body, call.config.get("max_bytes", DEFAULT_MAX_BYTES))


def _headers(call: NodeCall) -> dict[str, str]:
    given = resolved_object(call, "headers")
    if len(given) > MAX_HEADERS:
        raise NodeFailure("INVALID_CONFIG", f"headers: At most {MAX_HEADERS}.")
    headers: dict[str, str] = {}
    for name, value in given.items():
        text = to_text(value)
        problem = header_problem(name)
        if problem is None and (_UNPRINTABLE.search(text) or len(text) > MAX_HEADER):
            problem = f"At most {MAX_HEADER} characters of Latin-1, and none that ends a line."
        if problem is not None:
            raise NodeFailure("INVALID_CONFIG", f"headers: {name[:100]}: {problem}")
        headers[name.title()] = text
    return headers


def _body(said: Mapping[str, Any]) -> tuple[bytes | None, dict[str, str]]:
    if "json" in said:
        body, kind = to_text_of_json(said["json"]), "application/json"
    elif "body" in said:
        body, kind = to_text(said["body"]).encode(), "text/plain; charset=utf-8"
    else:
        return None, {}
    if len(body) > MAX_SENT_BYTES:
        raise NodeFailure("TOO_LARGE", f"The body is longer than {MAX_SENT_BYTES} bytes.")
    return body, {"Content-Type": kind}


def to_text_of_json(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError as error:
        raise NodeFailure("INVALID_CONFIG", "json: The value cannot be written as JSON.") from error


def _check_host(call: NodeCall, url: Url) -> None:
    organizations = Organization.objects.filter(id=call.run.organization_id)
    if not is_listed(url, organizations.values_list("http_hosts", flat=True).get()):
        message = "The organization does not allow this host and port: see http_hosts of the organization."
        raise NodeFailure("HOST_NOT_ALLOWED", message)


def _output(config: Mapping[str, Any], answer: Answer) -> dict[str, Any]:
    text = answer.body.decode(_charset(answer), errors="replace")
    if answer.status not in config.get("ok_status", _SUCCESS):
        raise NodeFailure(
            f"HTTP_{answer.status}",
            storable(f"The server answered with status {answer.status}. {text[:TOLD_CHARS]}".strip()),
            is_retryable=answer.status in _RETRYABLE,
            retry_after_s=retry_after_s(answer.headers),
        )
    headers = {name: storable(answer.headers[name][:1000]) for name in ANSWERED_HEADERS if name in answer.headers}
    return {"status": answer.status, "headers": headers, "body": _value(config.get("expect", "auto"), answer, text)}


def _value(expect: str, answer: Answer, text: str) -> Any:
    if not answer.body:
        return None
    if expect == "json" or (expect == "auto" and _is_json(answer)):
        try:
            return storable(orjson.loads(answer.body))
        except orjson.JSONDecodeError:
            if expect == "json":
                raise NodeFailure("INVALID_RESPONSE", "The answer is not JSON.") from None
    return storable(text)


def _content_type(answer: Answer) -> Message:
    message = Message()
    message["Content-Type"] = answer.headers.get("content-type", "")
    return message


def _is_json(answer: Answer) -> bool:
    kind = _content_type(answer).get_content_type()
    return kind == "application/json" or kind.endswith("+json")


def _charset(answer: Answer) -> str:
    """UTF-8 unless another one is named that Python has and that decodes bytes to text."""
    named = _content_type(answer).get_content_charset("utf-8")
    return named if named in {"iso-8859-1", "windows-1252", "us-ascii", "utf-16"} else "utf-8"
