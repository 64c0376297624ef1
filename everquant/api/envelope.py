"""Rendering: `{success, data, meta}` around every answer, and JSON only."""

from dataclasses import dataclass
from typing import Any

import orjson
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.utils.encoders import JSONEncoder

_fallback = JSONEncoder().default


@dataclass(frozen=True, slots=True)
class Page:
    """A list's answer: what goes to `data`, and what goes to `meta`."""

    data: Any
    meta: dict[str, Any]


def dumps(data: Any) -> bytes:
    """JSON with UUIDs, datetimes, Decimals (as strings) and lazy strings as DRF writes them."""
    return orjson.dumps(data, default=_fallback, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_UTC_Z)


def envelope(data: Any) -> dict[str, Any]:
    if isinstance(data, Page):
        return {"success": True, "data": data.data, "meta": data.meta}
    return {"success": True, "data": data}


class EnvelopeRenderer(BaseRenderer):
    media_type = "application/json"
    format = "json"
    charset = None

    def render(self, data: Any, accepted_media_type: str | None = None, renderer_context: Any = None) -> bytes:
        response = renderer_context["response"] if renderer_context else None
        if response is not None and response.status_code == 204:
            return b""
        if getattr(response, "is_error", False):
            return dumps(data)
        return dumps(envelope(data))


class JSONOnlyNegotiation(BaseContentNegotiation):
    """Answers are JSON whatever `Accept` says (event streams are opened by the body's `stream`)."""

    def select_parser(self, request: Any, parsers: Any) -> Any:
        media_type = (request.content_type or "").split(";")[0].strip().lower()
        return next((parser for parser in parsers if parser.media_type == media_type), None)

    def select_renderer(self, request: Any, renderers: Any, format_suffix: str | None = None) -> Any:
        return renderers[0], renderers[0].media_type
