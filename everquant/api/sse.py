"""Server-Sent Events: how they are written, and an answer that tells when its reader has gone."""

from collections.abc import Callable, Iterator
from typing import Any

from django.http import StreamingHttpResponse
from drf_spectacular.utils import OpenApiParameter
from rest_framework.exceptions import ValidationError

from everquant.api.envelope import dumps

CONTENT_TYPE = "text/event-stream"
HEARTBEAT_S = 15.0
HEARTBEAT = b": waiting\n\n"
LAST_EVENT_ID = "Last-Event-ID"
MAX_EVENT_ID = 999_999_999
LAST_EVENT_ID_PARAMETER = OpenApiParameter(
    LAST_EVENT_ID,
    {"type": "integer", "minimum": 0, "maximum": MAX_EVENT_ID},
    OpenApiParameter.HEADER,
    description="The id of the last event that was received: the stream goes on after it.",
)
# One event, for the description of the API.
EVENT_SCHEMA = {
    "type": "object",
    "required": ["id", "event", "data"],
    "properties": {
        "id": {"type": "string", "pattern": "^[0-9]+$"},
        "event": {"type": "string"},
        "data": {"type": "string", "contentMediaType": "application/json"},
    },
}


def last_event_id(request: Any) -> int:
    """The request's Last-Event-ID, 0 without one; raises ValidationError."""
    given = request.headers.get(LAST_EVENT_ID, "")
    if not given:
        return 0
    if not (given.isascii() and given.isdigit() and len(given) <= 9):
        raise ValidationError({LAST_EVENT_ID: ["Must be the id of an event."]})
    return int(given)


def encode_event(number: int, name: str, data: Any) -> bytes:
    """One event; JSON has no line breaks, so that its data is one line."""
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (number, name.encode(), dumps(data))


class StreamParts:
    """The body of the answer. Ends once: when it was read to its end, or when the server closes it before."""

    def __init__(self, parts: Iterator[bytes], on_end: Callable[[], None]) -> None:
        self._parts = parts
        self._on_end = on_end

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            return next(self._parts)
        except BaseException:
            self._on_end()
            raise

    def close(self) -> None:
        self._on_end()


def event_stream(parts: Iterator[bytes], on_end: Callable[[], None]) -> StreamingHttpResponse:
    """The answer; `on_end` is called at least once, whether its reader stayed or not, and may be called again."""
    response = StreamingHttpResponse(StreamParts(parts, on_end), content_type=CONTENT_TYPE)
    response.headers["Cache-Control"] = "no-cache, no-transform"
    response.headers["X-Accel-Buffering"] = "no"
    return response
