"""What is known of the request that this thread serves: read by logs, audit entries and limits."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class RequestContext:
    """`principal` is whoever was authenticated: its `user_id`, `organization_id` and `api_key_id` are read.

    `prefetched` has what was read from Redis for this request in one round trip (see everquant/cache.py).
    """

    request_id: str
    client_ip: str | None = None
    principal: Any = None
    prefetched: dict[str, Any] = field(default_factory=dict)


_context: ContextVar[RequestContext | None] = ContextVar("everquant_request", default=None)


def current() -> RequestContext | None:
    return _context.get()


@contextmanager
def request_context(context: RequestContext) -> Iterator[RequestContext]:
    token = _context.set(context)
    try:
        yield context
    finally:
        _context.reset(token)
