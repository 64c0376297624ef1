"""Every answer of the API that a test gets through APIClient is held against openapi.yaml."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs
import orjson
import yaml
from rest_framework.test import APIClient

OPENAPI = Path(__file__).parent.parent / "openapi.yaml"
_JSON = "application/json"
# These must not come where the description does not know of them.
_TELLING_HEADERS = {"ETag", "Location", "Idempotent-Replayed"}


@cache
def described() -> dict[str, Any]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    document: dict[str, Any] = yaml.load(OPENAPI.read_bytes(), Loader=loader)  # noqa: S506 (a safe loader, in C)
    return document


@cache
def _routes() -> list[tuple[re.Pattern[str], str]]:
    """Patterns of paths, those with the fewest parameters first, and the templates they are of."""

    def pattern(template: str) -> re.Pattern[str]:
        parts = re.split(r"(\{\w+\})", template)
        expressions = {"{slug}": ".+"}
        return re.compile("".join(expressions.get(p, "[^/]+") if p.startswith("{") else re.escape(p) for p in parts))

    return [(pattern(path), path) for path in sorted(described()["paths"], key=lambda path: path.count("{"))]


@cache
def _template_of(path: str) -> str | None:
    return next((template for pattern, template in _routes() if pattern.fullmatch(path)), None)


def _resolved(part: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in part:
        return part
    found: Any = described()
    for step in part["$ref"].removeprefix("#/").split("/"):
        found = found[step]
    return dict(found)


@cache
def _response(template: str, method: str, status: str) -> dict[str, Any] | None:
    responses = described()["paths"][template][method]["responses"]
    return _resolved(responses[status]) if status in responses else None


def _schemas() -> dict[str, Any]:
    schemas: dict[str, Any] = described()["components"]["schemas"]
    return schemas


def _named_in(schema: Any) -> set[str]:
    """Names of the components that it refers to, directly or not: a validator of all takes its time to make."""
    found: set[str] = set()
    names = _references(schema)
    while names:
        found |= names
        names = set().union(*(_references(_schemas()[name]) for name in names)) - found
    return found


def _references(part: Any) -> set[str]:
    return set(re.findall(r'"#/components/schemas/(\w+)"', orjson.dumps(part).decode()))


@cache
def _validator(template: str, method: str, status: str, content_type: str) -> Any:
    content = (_response(template, method, status) or {}).get("content", {})
    if content_type not in content:
        return None
    schema = content[content_type]["schema"]
    whole = {**schema, "components": {"schemas": {name: _schemas()[name] for name in _named_in(schema)}}}
    return jsonschema_rs.Draft202012Validator(whole, validate_formats=True)


def deviations(method: str, path: str, response: Any) -> Iterator[str]:
    """What is not as described. Methods and paths that are not described are somebody else's (405, 404)."""
    template, method, status = _template_of(path), method.lower(), str(response.status_code)
    if template is None or method not in described()["paths"][template] or status == "405":
        return
    known = _response(template, method, status)
    if known is None:
        yield f"{status} is not described"
        return
    headers = {name: _resolved(header) for name, header in known.get("headers", {}).items()}
    yield from (f"no header {name}" for name, header in headers.items() if header["required"] and name not in response)
    yield from (f"header {name}" for name in _TELLING_HEADERS - headers.keys() if name in response)
    if getattr(response, "streaming", False):
        return
    content_type = response.headers.get("Content-Type", "").partition(";")[0]
    validator = _validator(template, method, status, content_type)
    if validator is not None:
        read = yaml.safe_load if content_type.endswith("yaml") else orjson.loads
        found = validator.iter_errors(read(response.content))
        yield from (f"{'.'.join(map(str, error.instance_path))}: {error.message[:500]}" for error in found)
    elif known.get("content") or response.content:
        yield f"a body of type {content_type!r}"


def check_answers(patch: Any) -> None:
    """From now on APIClient raises AssertionError for an answer that is not as described."""
    ask = APIClient.request

    def request(client: APIClient, **kwargs: Any) -> Any:
        response = ask(client, **kwargs)
        method, path = kwargs["REQUEST_METHOD"], kwargs["PATH_INFO"]
        found = list(deviations(method, path, response))
        assert not found, f"{method} {path} is not as openapi.yaml says: " + "; ".join(found[:5])
        return response

    patch.setattr(APIClient, "request", request)
