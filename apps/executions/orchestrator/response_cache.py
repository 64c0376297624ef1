"""Answers kept for equal questions of the same organization, for as long as the question allows.

An entry is found by a keyed hash of everything that shapes an answer, and is encrypted: Redis holds neither what was
asked nor what was answered in clear. Without Redis nothing is found and nothing is kept.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

import orjson
import structlog
from django.conf import settings
from django.utils import timezone
from django.utils.crypto import salted_hmac

from apps.executions.models import Execution, ExecutionAttempt, ExecutionPayload, Status
from apps.executions.orchestrator.command import Json
from apps.executions.orchestrator.outcome import SMALLEST_USD, USAGE
from apps.executions.orchestrator.tries import Target
from apps.models.prices import BUCKETS, Prices
from apps.models.providers.base import Delta, FinishReason, ToolCallFragment
from everquant.cache import RedisAway, with_redis
from everquant.encryption import DecryptionError, decrypt, encrypt
from everquant.metrics import RESPONSE_CACHE

logger = structlog.get_logger(__name__)

_COMPLETE = frozenset({FinishReason.STOP.value, FinishReason.TOOL_CALLS.value})
_FREE = Prices("cached", **dict.fromkeys(BUCKETS, Decimal(0))).as_row()


@dataclass(frozen=True, slots=True)
class CachedAnswer:
    """`cost_usd` is what it cost when it was made, None when that is not known; `latency_ms` is of finding it."""

    text: str
    tool_calls: list[Json]
    finish_reason: str
    cost_usd: Decimal | None
    latency_ms: int

    def as_delta(self) -> Delta:
        """All of it in one piece of a stream."""
        fragments = [
            ToolCallFragment(index, call["id"], call["function"]["name"], call["function"]["arguments"])
            for index, call in enumerate(self.tool_calls)
        ]
        return Delta(text=self.text, tool_calls=tuple(fragments))


def find(payload: ExecutionPayload, target: Callable[[], Target]) -> CachedAnswer | None:
    """An answer of this model to these very messages that is not older than the question's `cache_ttl_s`.

    The target is made only for a question that may be answered from here.
    """
    if payload.cache_ttl_s is None:
        return None
    began = time.monotonic()
    name = _name(target())
    try:
        kept = with_redis(lambda redis: redis.get(name))
        entry = orjson.loads(decrypt(kept)) if kept is not None else None
    except (RedisAway, DecryptionError):
        entry = None
    found = entry is not None and time.time() - entry["made_at"] <= payload.cache_ttl_s
    RESPONSE_CACHE.labels("hit" if found else "miss").inc()
    if entry is None or not found:
        return None
    cost_usd = None if entry["cost_usd"] is None else Decimal(entry["cost_usd"])
    latency_ms = round((time.monotonic() - began) * 1000)
    return CachedAnswer(entry["text"], entry["tool_calls"], entry["finish_reason"], cost_usd, latency_ms)


def keep(execution: Execution, payload: ExecutionPayload, target: Target) -> None:
    """Keep a whole answer for the next; none that is too large, failed, was cut, or came from here."""
    is_whole = execution.status == Status.SUCCEEDED and execution.finish_reason in _COMPLETE
    if payload.cache_ttl_s is None or execution.is_cached or not is_whole:
        return
    entry = orjson.dumps(
        {
            "text": payload.output or "",
            "tool_calls": payload.tool_calls,
            "finish_reason": execution.finish_reason,
            "cost_usd": None if execution.cost_usd is None else str(execution.cost_usd),
            "made_at": time.time(),
        }
    )
    if len(entry) > settings.RESPONSE_CACHE_MAX_BYTES:
        return
    try:
        with_redis(lambda redis: redis.set(_name(target), encrypt(entry), ex=payload.cache_ttl_s))
    except RedisAway:
        logger.info("response_not_cached", execution_id=str(execution.id))


def conclude(execution: Execution, payload: ExecutionPayload, answer: CachedAnswer) -> list[ExecutionAttempt]:
    """Fill in an execution that was answered from here: it used no tokens, cost nothing and has no attempts."""
    execution.status = Status.SUCCEEDED
    execution.finish_reason = answer.finish_reason
    for name in USAGE:
        setattr(execution, name, 0)
    execution.is_cached, execution.saved_cost_usd = True, answer.cost_usd
    execution.cost_usd, execution.price = Decimal(0).quantize(SMALLEST_USD), _FREE
    execution.latency_ms = answer.latency_ms
    execution.finished_at = timezone.now()
    payload.output, payload.tool_calls = answer.text, answer.tool_calls
    return []


def _name(target: Target) -> str:
    request = target.request
    asked = [
        str(target.organization_id),
        str(target.provider_id),
        target.server,
        request.model,
        request.messages,
        sorted(request.parameters.items()),
        request.tools,
        request.response_schema,
        request.max_output_tokens,
    ]
    digest = salted_hmac("everquant.response-cache", orjson.dumps(asked), algorithm="sha256").hexdigest()
    return f"eq:answers:{target.organization_id}:{digest}"
